//! What an answer looks like, version by version, and reading one: it is walked over before it is decoded.
//!
//! The message types reserve room for as many entries as an answer claims to have; a few bytes that claim 2^31 of them would end the
//! process. Walking takes no memory, and what it has passed holds as many entries as it says.

use bytes::Bytes;
use kafka_protocol::protocol::Decodable;

/// A kind of answer, in all versions that are read here.
#[derive(Debug)]
pub(in crate::kafka) struct Shape {
    /// From this version on lengths are varints and structures end with tags.
    pub(super) flexible: i16,
    pub(super) fields: &'static [Field],
}

/// A field, and the versions that have it.
#[derive(Debug)]
pub(super) struct Field {
    kind: Kind,
    from: i16,
    to: i16,
}

#[derive(Debug)]
enum Kind {
    /// A number, a truth, an id: so many bytes.
    Fixed(usize),
    Text,
    Bytes,
    Each(&'static Field),
    List(&'static [Field]),
    One(&'static [Field]),
    /// Behind the other fields, by its number.
    Tag(u32, &'static Field),
}

pub(super) const TEXT: Field = field(Kind::Text);
pub(super) const BYTES: Field = field(Kind::Bytes);

pub(super) const fn fixed(bytes: usize) -> Field {
    field(Kind::Fixed(bytes))
}

/// As many of these as are claimed before them.
pub(super) const fn each(of: &'static Field) -> Field {
    field(Kind::Each(of))
}

/// As many structures as are claimed before them.
pub(super) const fn list(of: &'static [Field]) -> Field {
    field(Kind::List(of))
}

pub(super) const fn one(of: &'static [Field]) -> Field {
    field(Kind::One(of))
}

pub(super) const fn tag(number: u32, of: &'static Field) -> Field {
    field(Kind::Tag(number, of))
}

const fn field(kind: Kind) -> Field {
    Field { kind, from: 0, to: i16::MAX }
}

impl Field {
    pub(super) const fn since(self, from: i16) -> Self {
        Self { from, to: self.to, kind: self.kind }
    }

    pub(super) const fn until(self, to: i16) -> Self {
        Self { from: self.from, to, kind: self.kind }
    }

    pub(super) const fn within(self, from: i16, to: i16) -> Self {
        Self { from, to, kind: self.kind }
    }

    fn is_in(&self, version: i16) -> bool {
        (self.from..=self.to).contains(&version)
    }
}

impl Shape {
    /// Reads the answer at the start of `body`.
    ///
    /// # Errors
    /// It is cut off, or claims more than there is.
    pub(in crate::kafka) fn read<R: Decodable>(&self, mut body: Bytes, version: i16) -> Result<R, String> {
        self.length(&body, version)?;
        R::decode(&mut body, version).map_err(|error| error.to_string())
    }

    /// How many bytes the answer at the start of `body` has.
    pub(super) fn length(&self, body: &[u8], version: i16) -> Result<usize, String> {
        let mut walk = Walk { rest: body, version, is_flexible: version >= self.flexible };
        walk.structure(self.fields)?;
        Ok(body.len() - walk.rest.len())
    }
}

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    is_flexible: bool,
}

impl Walk<'_> {
    fn structure(&mut self, fields: &[Field]) -> Result<(), String> {
        let version = self.version;
        for field in fields.iter().filter(|field| field.is_in(version)) {
            self.field(field)?;
        }
        if self.is_flexible { self.tags(fields) } else { Ok(()) }
    }

    fn field(&mut self, field: &Field) -> Result<(), String> {
        match field.kind {
            Kind::Fixed(bytes) => self.skip(bytes),
            Kind::Text if !self.is_flexible => {
                let length = i16::from_be_bytes(self.take()?);
                self.skip(nullable(length.into())?)
            }
            Kind::Text | Kind::Bytes => {
                let length = self.count()?;
                self.skip(length)
            }
            Kind::Each(of) => {
                for _ in 0..self.entries()? {
                    self.field(of)?;
                }
                Ok(())
            }
            Kind::List(of) => {
                for _ in 0..self.entries()? {
                    self.structure(of)?;
                }
                Ok(())
            }
            Kind::One(of) => self.structure(of),
            Kind::Tag(..) => Ok(()),
        }
    }

    /// A tag that is known is read as what it is, whatever its length says: that is how it is decoded.
    fn tags(&mut self, fields: &[Field]) -> Result<(), String> {
        for _ in 0..self.varint()? {
            let (number, length) = (self.varint()?, self.varint()?);
            let known = fields.iter().find_map(|field| match field.kind {
                Kind::Tag(tag, of) if tag == number && field.is_in(self.version) => Some(of),
                _ => None,
            });
            match known {
                Some(of) => self.field(of)?,
                None => self.skip(length as usize)?,
            }
        }
        Ok(())
    }

    /// No entry has no bytes.
    fn entries(&mut self) -> Result<usize, String> {
        let count = self.count()?;
        let there = self.rest.len();
        if count > there { Err(format!("it claims {count} entries in {there} bytes")) } else { Ok(count) }
    }

    fn count(&mut self) -> Result<usize, String> {
        if self.is_flexible {
            // 0 is null.
            return Ok((self.varint()? as usize).saturating_sub(1));
        }
        nullable(i32::from_be_bytes(self.take()?))
    }

    fn varint(&mut self) -> Result<u32, String> {
        let mut value = 0;
        for at in 0..5 {
            let [byte] = self.take()?;
            value |= u32::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                break;
            }
        }
        Ok(value)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(cut_off)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn skip(&mut self, bytes: usize) -> Result<(), String> {
        self.rest = self.rest.get(bytes..).ok_or_else(cut_off)?;
        Ok(())
    }
}

fn cut_off() -> String {
    "it is cut off".to_owned()
}

/// -1 is null.
fn nullable(length: i32) -> Result<usize, String> {
    match length {
        -1 => Ok(0),
        length => usize::try_from(length).map_err(|_| format!("it claims a length of {length}")),
    }
}

#[cfg(test)]
mod tests;
