//! The records of the benchmarks: JSON-like values of an exact size that compress as business events do (lz4 about 2.5x).
//!
//! A value begins with its number, so that a record on the target can be matched with its source. The same number and size
//! give the same bytes always.

use std::io::Write as _;

const CITIES: [&str; 8] = ["Utrecht", "Lisbon", "Osaka", "Quito", "Accra", "Tartu", "Perth", "Leeds"];
const STATES: [&str; 6] = ["created", "paid", "packed", "shipped", "returned", "refunded"];

const ID_START: usize = r#"{"id":""#.len();
const ID_DIGITS: usize = 12;
/// Smaller ones have no room for the fields.
#[cfg(test)]
const MIN_SIZE: usize = 96;
/// The longest `item`, and the closing field behind it.
const ITEM_ROOM: usize = 110;

/// Writes value number `id` of `size` bytes (at least 96) into `out`.
pub(super) fn write_value(id: u64, size: usize, out: &mut Vec<u8>) {
    let mut random = Random(id);
    out.clear();
    let (city, state) = (random.pick(&CITIES), random.pick(&STATES));
    let (user, cents) = (random.below(1_000_000), random.below(100_000));
    put(out, format_args!(r#"{{"id":"{id:012}","user":"u{user:06}","state":"{state}","city":"{city}""#));
    put(out, format_args!(r#","cents":{cents}"#));
    let mut number = 0;
    while out.len() + ITEM_ROOM < size {
        let (sku, more) = (random.next(), random.below(256));
        let (city, state) = (random.pick(&CITIES), random.pick(&STATES));
        let (count, gift) = (random.below(9) + 1, random.below(2) == 0);
        put(out, format_args!(r#","item{number}":{{"sku":"{sku:016x}{more:02x}","name":"{city} {state}""#));
        put(out, format_args!(r#","count":{count},"gift":{gift}}}"#));
        number += 1;
    }
    put(out, format_args!(r#","ref":""#));
    while out.len() + 2 < size {
        let digit = b"0123456789abcdef"[random.below(16) as usize];
        out.push(digit);
    }
    out.extend_from_slice(br#""}"#);
    debug_assert_eq!(out.len(), size);
}

/// The number a value was made with.
pub(super) fn id_of(value: &[u8]) -> Option<u64> {
    let digits = value.get(ID_START..ID_START + ID_DIGITS)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing into memory can't fail");
}

/// SplitMix64: small, fast, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_size_and_tell_their_number() {
        let mut value = Vec::new();
        for size in [MIN_SIZE, 100, 1024, 10_000] {
            for id in [0, 7, 123_456_789_012] {
                write_value(id, size, &mut value);
                assert_eq!(value.len(), size);
                assert_eq!(id_of(&value), Some(id));
                let again: serde_json::Value = serde_json::from_slice(&value).unwrap();
                assert!(again["ref"].is_string());
            }
        }
    }

    #[test]
    fn a_foreign_value_has_no_number() {
        assert_eq!(id_of(b"{}"), None);
        assert_eq!(id_of(br#"{"id":"not a number"}"#), None);
    }
}
