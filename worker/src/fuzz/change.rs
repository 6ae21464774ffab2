//! One change of an input: what transmission damages, and what somebody would do who wants to do harm.

use super::Random;

/// Numbers at which code goes wrong.
const NUMBERS: [i64; 16] = [
    0,
    1,
    -1,
    -2,
    2,
    127,
    128,
    255,
    32_767,
    65_535,
    1 << 24,
    i32::MAX as i64,
    i32::MIN as i64,
    i64::MAX,
    i64::MIN,
    1 << 62,
];
/// Varints of extremes.
const VARINTS: [&[u8]; 5] = [
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xfe, 0xff, 0xff, 0xff, 0x0f],
    &[0x80, 0x80, 0x80, 0x08],
    &[0xff, 0x7f],
    &[0xff; 10],
];

pub(super) fn change(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let to = at + random.below((input.len() - at).min(64) + 1);
    match random.below(10) {
        0 => flip(input, at, random),
        1 => set(input, at, &[random.next() as u8]),
        2 => set(input, at, &[[0, 1, 0x7f, 0x80, 0xff][random.below(5)]]),
        3 => {
            let number = NUMBERS[random.below(NUMBERS.len())].wrapping_add(random.below(3) as i64 - 1);
            set(input, at, &number_bytes(number, random));
        }
        4 => {
            let varint = VARINTS[random.below(VARINTS.len())];
            match random.below(2) {
                0 => set(input, at, varint),
                _ => drop(input.splice(at..(at + 1).min(input.len()), varint.iter().copied())),
            }
        }
        5 => input.truncate(at),
        6 => drop(input.drain(at..to)),
        7 => {
            let piece = input[at..to].repeat(1 + random.below(8));
            input.splice(at..at, piece);
        }
        8 => {
            let begin = random.below(other.len() + 1);
            let piece = &other[begin..(begin + random.below(256)).min(other.len())];
            input.splice(at..to, piece.iter().copied());
        }
        _ => {
            // The length of what is there, or nearly.
            let number = (input.len() - at) as i64 + random.below(9) as i64 - 4;
            set(input, at, &number_bytes(number, random));
        }
    }
}

fn flip(input: &mut [u8], at: usize, random: &mut Random) {
    if let Some(byte) = input.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

fn set(input: &mut [u8], at: usize, bytes: &[u8]) {
    input[at..].iter_mut().zip(bytes).for_each(|(byte, new)| *byte = *new);
}

fn number_bytes(number: i64, random: &mut Random) -> Vec<u8> {
    match random.below(6) {
        0 => (number as i16).to_be_bytes().to_vec(),
        1 | 2 => (number as i32).to_be_bytes().to_vec(),
        3 => number.to_be_bytes().to_vec(),
        4 => (number as i32).to_le_bytes().to_vec(),
        _ => number.to_le_bytes().to_vec(),
    }
}
