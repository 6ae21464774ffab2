//! The headers of a record as they are written: pairs in their order, names of any bytes, the same name more than once.

use super::varint;

/// A name and what it stands for.
type Pair<'a> = (&'a [u8], Option<&'a [u8]>);

/// Headers, as a view of the bytes that a record carries them in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Headers<'a> {
    count: i32,
    /// Without the count. Always as many whole pairs as that says.
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    /// Reads as many pairs as the bytes begin with a count of; nothing may be left. The error completes "the record ...".
    pub(super) fn read(mut bytes: &'a [u8]) -> Result<Self, &'static str> {
        let count = varint::take_i32(&mut bytes).ok_or("has a number of headers that runs on")?;
        if count < 0 {
            return Err("claims fewer headers than none");
        }
        let mut rest = bytes;
        for _ in 0..count {
            take(&mut rest).ok_or("has headers that reach beyond its end")?;
        }
        if rest.is_empty() { Ok(Self { count, bytes }) } else { Err("is longer than what it holds") }
    }

    pub fn count(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = Pair<'a>> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || take(&mut rest))
    }

    pub(super) fn length(&self) -> usize {
        varint::length_i32(self.count) + self.bytes.len()
    }

    pub(super) fn put(&self, to: &mut Vec<u8>) {
        varint::put_i32(to, self.count);
        to.extend_from_slice(self.bytes);
    }
}

/// Headers that are being put together; `Headers` is a view of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeadersOf {
    count: i32,
    bytes: Vec<u8>,
}

impl HeadersOf {
    /// # Panics
    /// A name or a value is larger than a batch can be.
    pub fn push(&mut self, (name, value): Pair<'_>) {
        let length = |part: &[u8]| i32::try_from(part.len()).expect("smaller than the largest batch");
        varint::put_i32(&mut self.bytes, length(name));
        self.bytes.extend_from_slice(name);
        varint::put_i32(&mut self.bytes, value.map_or(-1, length));
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.count += 1;
    }

    pub fn view(&self) -> Headers<'_> {
        Headers { count: self.count, bytes: &self.bytes }
    }
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<Pair<'a>> {
    let name = bytes(rest)??;
    Some((name, bytes(rest)?))
}

/// Bytes with their length before them: `None` where they are cut off, nothing where there are none (a length below 0).
pub(super) fn bytes<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let Ok(length) = usize::try_from(varint::take_i32(rest)?) else { return Some(None) };
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(Some(taken))
}
