//! Byte sizes as people write them: `512MiB`, `2g`, `1048576`.

/// A size that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a size: write a whole number and one of B, KiB, MiB, GiB, TiB (K, M, G, T mean the same)"
)]
pub struct InvalidSize(pub String);

/// Parses a size to bytes. Units are binary; without one the number is bytes.
pub fn parse_size(text: &str) -> Result<u64, InvalidSize> {
    let bad = || InvalidSize(text.to_owned());
    let text_trimmed = text.trim();
    let digits = text_trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(text_trimmed.len());
    let (number, unit) = text_trimmed.split_at(digits);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(bad()),
    };
    number.checked_mul(1 << shift).ok_or_else(bad)
}
