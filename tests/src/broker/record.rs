//! Records as they lie in a batch's payload: written and read by code that shares nothing with what it tests.
//!
//! Headers keep their order and may repeat a key; whatever a length claims, no more than what is there is read.

use bytes::Bytes;

/// A record's place and time are relative to its batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// The payload isn't what the batch claims: too few records, too many, or none at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// The payload, not compressed, of these records.
pub fn write(records: &[Record]) -> Vec<u8> {
    let mut payload = Vec::new();
    for record in records {
        let mut body = vec![0];
        varint(&mut body, record.timestamp_delta);
        varint(&mut body, i64::from(record.offset_delta));
        bytes(&mut body, record.key.as_ref());
        bytes(&mut body, record.value.as_ref());
        varint(&mut body, length(record.headers.len()));
        for (key, value) in &record.headers {
            bytes(&mut body, Some(key));
            bytes(&mut body, value.as_ref());
        }
        varint(&mut payload, length(body.len()));
        payload.extend(body);
    }
    payload
}

/// # Errors
/// There are not exactly `count` records.
pub fn read(payload: &Bytes, count: i32) -> Result<Vec<Record>, Malformed> {
    let mut rest = Rest(payload.clone());
    let mut records = Vec::new();
    for _ in 0..count {
        let size = rest.varint()?;
        let mut body = Rest(rest.take(size)?);
        body.take(1)?;
        let timestamp_delta = body.varint()?;
        let offset_delta = body.varint32()?;
        let key = body.bytes()?;
        let value = body.bytes()?;
        let mut headers = Vec::new();
        let count = body.varint32()?;
        if count < 0 {
            return Err(Malformed("a negative number of headers"));
        }
        for _ in 0..count {
            let key = body.bytes()?.ok_or(Malformed("a header without a key"))?;
            headers.push((key, body.bytes()?));
        }
        if !body.0.is_empty() {
            return Err(Malformed("a record with bytes left"));
        }
        records.push(Record { timestamp_delta, offset_delta, key, value, headers });
    }
    if rest.0.is_empty() { Ok(records) } else { Err(Malformed("more than the declared records")) }
}

fn length(length: usize) -> i64 {
    i64::try_from(length).expect("it fits in memory")
}

fn varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).expect("seven bits"));
}

fn bytes(out: &mut Vec<u8>, value: Option<&Bytes>) {
    let Some(value) = value else { return varint(out, -1) };
    varint(out, length(value.len()));
    out.extend_from_slice(value);
}

struct Rest(Bytes);

impl Rest {
    fn take(&mut self, size: i64) -> Result<Bytes, Malformed> {
        let size = usize::try_from(size).map_err(|_| Malformed("a negative size"))?;
        if size > self.0.len() {
            return Err(Malformed("fewer than the declared records"));
        }
        Ok(self.0.split_to(size))
    }

    fn varint(&mut self) -> Result<i64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(Malformed("a number that doesn't end"))
    }

    fn varint32(&mut self) -> Result<i32, Malformed> {
        i32::try_from(self.varint()?).map_err(|_| Malformed("a number that doesn't fit"))
    }

    fn bytes(&mut self) -> Result<Option<Bytes>, Malformed> {
        match self.varint()? {
            -1 => Ok(None),
            size => self.take(size).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written() {
        let headers = vec![
            (Bytes::from("h"), Some(Bytes::from("1"))),
            (Bytes::from("h"), None),
            (Bytes::from(&[0xff][..]), Some(Bytes::new())),
        ];
        let records = [
            Record { key: Some(Bytes::from("k")), headers, ..Record::default() },
            Record {
                timestamp_delta: i64::MIN,
                offset_delta: i32::MAX,
                value: Some(Bytes::new()),
                ..Record::default()
            },
        ];
        let payload = Bytes::from(write(&records));
        assert_eq!(read(&payload, 2).unwrap(), records);
        assert_eq!(read(&payload, 1), Err(Malformed("more than the declared records")));
        assert_eq!(read(&payload, i32::MAX), Err(Malformed("fewer than the declared records")));
    }
}
