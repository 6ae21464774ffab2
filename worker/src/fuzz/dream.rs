//! Valid messages of a type, made up by the one who reads them: whatever is asked for is small and is written down.

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::protocol::Decodable;
use kafka_protocol::protocol::buf::ByteBuf;

use super::Random;

/// A try fails where it makes up nothing for what must be something.
const TRIES: usize = 1_000;
/// One number of so many is null.
const RARE: usize = 40;

/// The bytes of some message of this type and version.
pub(crate) fn dream<R: Decodable>(version: i16, random: &mut Random) -> Vec<u8> {
    for _ in 0..TRIES {
        let mut dreamer = Dreamer { random, written: Vec::new() };
        if R::decode(&mut dreamer, version).is_ok() {
            return dreamer.written;
        }
    }
    panic!("no message of version {version} came in {TRIES} tries")
}

struct Dreamer<'a> {
    random: &'a mut Random,
    written: Vec<u8>,
}

impl Dreamer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.written.extend_from_slice(bytes);
    }

    fn rarely(&mut self) -> bool {
        self.random.below(RARE) == 0
    }
}

impl Buf for Dreamer<'_> {
    fn remaining(&self) -> usize {
        usize::MAX
    }

    fn chunk(&self) -> &[u8] {
        unreachable!("every number has its own call")
    }

    fn advance(&mut self, _: usize) {
        unreachable!("every number has its own call")
    }

    /// A truth, or a varint: a length and one more.
    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        let number = if self.rarely() { 0 } else { 1 + self.random.below(3) as u8 };
        self.put(&[number]);
        Ok(number)
    }

    fn try_get_i8(&mut self) -> Result<i8, TryGetError> {
        let number = self.random.below(8) as i8;
        self.put(&number.to_be_bytes());
        Ok(number)
    }

    fn try_get_u16(&mut self) -> Result<u16, TryGetError> {
        self.try_get_i16().map(|number| number as u16)
    }

    /// A code, or the length of a text.
    fn try_get_i16(&mut self) -> Result<i16, TryGetError> {
        let number = if self.rarely() { -1 } else { self.random.below(6) as i16 };
        self.put(&number.to_be_bytes());
        Ok(number)
    }

    /// A number, or a length.
    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        let number = if self.rarely() { -1 } else { self.random.below(4) as i32 };
        self.put(&number.to_be_bytes());
        Ok(number)
    }

    fn try_get_u32(&mut self) -> Result<u32, TryGetError> {
        self.try_get_i32().map(|number| number as u32)
    }

    fn try_get_i64(&mut self) -> Result<i64, TryGetError> {
        let number = self.random.below(1_000) as i64 - 1;
        self.put(&number.to_be_bytes());
        Ok(number)
    }

    fn try_get_f64(&mut self) -> Result<f64, TryGetError> {
        let number = self.random.below(1_000) as f64;
        self.put(&number.to_be_bytes());
        Ok(number)
    }

    fn try_copy_to_slice(&mut self, to: &mut [u8]) -> Result<(), TryGetError> {
        let bytes = self.get_bytes(to.len());
        to.copy_from_slice(&bytes);
        Ok(())
    }
}

impl ByteBuf for Dreamer<'_> {
    fn peek_bytes(&mut self, _: std::ops::Range<usize>) -> Bytes {
        unreachable!("nothing is looked at before it is read")
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        let bytes: Vec<u8> = (0..size).map(|_| b'a' + self.random.below(26) as u8).collect();
        self.put(&bytes);
        Bytes::from(bytes)
    }
}
