//! File descriptors of this process: how many it may have, and how many it has.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More helps nobody: some systems allow a billion, and tables are made for as many.
const ENOUGH: u64 = 1 << 20;

/// Raises what the process may have to what it is allowed to raise it to, and says how many that are. Call it at start.
pub fn raise() -> u64 {
    let before = getrlimit(Resource::Nofile);
    let wanted = before.maximum.unwrap_or(ENOUGH).min(ENOUGH);
    if before.current.is_none_or(|now| now >= wanted) {
        return allowed();
    }
    let raised = Rlimit { current: Some(wanted), maximum: before.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, wanted, "the limit of file descriptors can't be raised");
    }
    allowed()
}

/// How many the process may have now.
pub fn allowed() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many are open; `None` where the system doesn't tell.
pub fn open() -> Option<u64> {
    // One of them is this reading.
    let listed = std::fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(listed.saturating_sub(1)).ok()
}

/// Whether a failure means that there are no more.
pub fn are_used_up(error: &std::io::Error) -> bool {
    let code = |errno: rustix::io::Errno| Some(errno.raw_os_error());
    [code(rustix::io::Errno::MFILE), code(rustix::io::Errno::NFILE)].contains(&error.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_counted_and_the_limit_is_raised() {
        let limit = raise();
        assert!(limit >= 64 && limit == allowed(), "{limit}");
        let Some(before) = open() else { return };
        let files: Vec<_> = (0..50).map(|_| std::fs::File::open("/dev/null").expect("a file")).collect();
        let now = open().expect("it could be counted before");
        assert!(now >= before.saturating_sub(20) + 50, "{before} and 50 more are not {now}");
        drop(files);
        assert!(are_used_up(&std::io::Error::from_raw_os_error(24)));
        assert!(!are_used_up(&std::io::Error::from_raw_os_error(2)));
    }
}
