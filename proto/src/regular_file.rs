//! Files that others name: read with a bound, and only where they are files. A device never ends, a FIFO never begins, and what
//! the kernel makes up (`/proc`) holds what nobody put there to be read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Largest file, bytes: stores with long chains are far smaller.
pub const MAX_BYTES: u64 = 1024 * 1024;
/// Made by the kernel, not by people.
const NOT_FILES: [&str; 3] = ["/proc", "/sys", "/dev"];

/// The content of a regular file of at most `MAX_BYTES`. Waits for nothing but the disk.
///
/// # Errors
/// The file is not there, may not be read, is no regular file, or is larger.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_resolved(&path.canonicalize()?)
}

/// `read` for a path that is canonical already.
pub(crate) fn read_resolved(path: &Path) -> io::Result<Vec<u8>> {
    if NOT_FILES.iter().any(|folder| path.starts_with(folder)) {
        return Err(io::Error::other("it is none that people write: the kernel makes it up"));
    }
    let file = open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= MAX_BYTES => Ok(bytes),
        _ => Err(io::Error::other(format!("it is larger than {MAX_BYTES} bytes"))),
    }
}

/// Doesn't wait for the other end of a FIFO, and follows no link that came to be since the path was resolved.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Whether the path is absolute and goes only downwards, as it is written.
pub(crate) fn is_plain(path: &Path) -> bool {
    use std::path::Component;
    path.is_absolute()
        && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("small"), "x").unwrap();
        assert_eq!(read(&file("small")).unwrap(), b"x");
        std::fs::write(file("large"), vec![b'x'; usize::try_from(MAX_BYTES).unwrap() + 1]).unwrap();
        assert!(read(&file("large")).unwrap_err().to_string().contains("larger than 1048576 bytes"));
        // Sparse: its length alone says nothing of what reading it takes.
        File::create(file("sparse")).unwrap().set_len(1 << 40).unwrap();
        assert!(read(&file("sparse")).is_err());
        rustix::fs::mkfifoat(rustix::fs::CWD, file("fifo"), rustix::fs::Mode::RUSR).unwrap();
        assert!(read(&file("fifo")).unwrap_err().to_string().contains("not a regular file"));
        std::os::unix::fs::symlink("/dev/zero", file("link")).unwrap();
        for path in ["/dev/zero", "/proc/self/environ", "/proc/1/../self/environ", "/", "/dev/stdin"] {
            assert!(read(Path::new(path)).is_err(), "{path}");
        }
        assert!(read(&file("link")).is_err() && read(folder.path()).is_err());
    }
}
