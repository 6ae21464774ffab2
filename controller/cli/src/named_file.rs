//! Files that whoever calls a command names on it: pipes and devices too, but never more than so many bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Largest file, bytes.
pub(crate) const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// # Errors
/// It can't be read, or is larger than `MAX_BYTES`.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    bounded(File::open(path)?)
}

/// The same as text.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    text(read(path)?)
}

/// What comes through standard input.
pub(crate) fn read_stdin() -> io::Result<String> {
    text(bounded(io::stdin().lock())?)
}

fn bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= MAX_BYTES => Ok(bytes),
        _ => Err(io::Error::other(format!("it is larger than {MAX_BYTES} bytes"))),
    }
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_refused_and_nothing_of_it_kept() {
        let refused = read(Path::new("/dev/zero")).unwrap_err().to_string();
        assert_eq!(refused, "it is larger than 4194304 bytes");
        assert_eq!(read(Path::new("/dev/null")).unwrap(), b"");
    }
}
