//! The checksum of a batch whose header was rewritten, without looking at its records: CRC-32C is linear, so the difference of two
//! headers, moved past the records, is the difference of the checksums. What the source's producer summed up is what the target's
//! broker checks.

/// The reflected polynomial of CRC-32C.
const POLYNOMIAL: u32 = 0x82F6_3B78;
/// `x^(2^k)` modulo the polynomial; bit 31 is `x^0`.
const POWERS: [u32; 32] = powers();

const fn powers() -> [u32; 32] {
    let mut powers = [1 << 30; 32];
    let mut k = 1;
    while k < powers.len() {
        powers[k] = multiply(powers[k - 1], powers[k - 1]);
        k += 1;
    }
    powers
}

/// The product of two polynomials, modulo CRC-32C's.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let (mut bit, mut product) = (1_u32 << 31, 0);
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = if b & 1 == 0 { b >> 1 } else { (b >> 1) ^ POLYNOMIAL };
        bit >>= 1;
    }
    product
}

/// `x^(8 * bytes)`. Batches are far smaller than 256 MiB.
fn past(bytes: usize) -> u32 {
    let (mut left, mut k, mut product) = (bytes, 3, 1 << 31);
    while left > 0 {
        if left & 1 == 1 {
            product = multiply(POWERS[k], product);
        }
        left >>= 1;
        k += 1;
    }
    product
}

/// The checksum of `new` and what follows it, where `old` and the same `following` bytes sum up to `crc`. Both are equally long.
pub(super) fn patched(crc: u32, old: &[u8], new: &[u8], following: usize) -> u32 {
    crc ^ multiply(past(following), crc32c::crc32c(old) ^ crc32c::crc32c(new))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_patched_sum_is_the_sum_of_the_new_bytes(
            old in prop::collection::vec(any::<u8>(), 40),
            new in prop::collection::vec(any::<u8>(), 40),
            payload in prop::collection::vec(any::<u8>(), 0..5000),
        ) {
            let sum = |header: &[u8]| crc32c::crc32c_append(crc32c::crc32c(header), &payload);
            prop_assert_eq!(patched(sum(&old), &old, &new, payload.len()), sum(&new));
        }
    }

    #[test]
    fn large_batches_too() {
        let payload = vec![0xA5; (3 << 20) + 17];
        let sum = |header: &[u8]| crc32c::crc32c_append(crc32c::crc32c(header), &payload);
        assert_eq!(patched(sum(&[1; 40]), &[1; 40], &[2; 40], payload.len()), sum(&[2; 40]));
    }
}
