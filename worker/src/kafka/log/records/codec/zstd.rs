//! Zstandard, straight into the place where it ends up: a reader by pieces would reserve the window that a frame's header claims.

use zstd::bulk::Compressor;
use zstd::zstd_safe::{DCtx, get_error_name};

use super::{Failure, broken};

/// Level of Kafka's own producer.
const LEVEL: i32 = 3;
/// libzstd's number for "the place is too small", stable since version 1.3.
const TOO_SMALL: isize = -70;
/// The first guess at what comes out, and by how much the next ones are larger.
const LEAST_GUESS: usize = 16 << 10;
const GUESS: usize = 8;
const GROWTH: usize = 4;

pub(super) fn unpack(packed: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    let mut context = DCtx::try_create().ok_or_else(|| broken("there is no memory for it"))?;
    let mut room = packed.len().saturating_mul(GUESS).max(LEAST_GUESS).min(limit);
    loop {
        let mut plain = Vec::with_capacity(room);
        match context.decompress(&mut plain, packed) {
            Ok(_) if plain.len() > limit => return Err(Failure::TooLarge),
            Ok(_) => return Ok(plain),
            Err(code) if code as isize == TOO_SMALL && room >= limit => return Err(Failure::TooLarge),
            Err(code) if code as isize == TOO_SMALL => room = room.saturating_mul(GROWTH).min(limit),
            Err(code) => return Err(broken(get_error_name(code))),
        }
    }
}

pub(super) fn pack(plain: &[u8]) -> Result<Vec<u8>, Failure> {
    Compressor::new(LEVEL).and_then(|mut c| c.compress(plain)).map_err(broken)
}
