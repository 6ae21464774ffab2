//! The folder of one sandbox: locked while its process lives, so that a later one can clear what a dead one left.
//!
//! Logs are kept for some hours, whether the test failed or not: a test that returns an error fails after its sandbox is gone.
//! Data is not kept.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

/// Logs of a dead sandbox are cleared after this long.
const KEEP_LOGS: Duration = Duration::from_secs(12 * 3600);

pub(super) struct Folder {
    path: PathBuf,
    // Held as long as the folder is in use.
    _lock: File,
}

static NUMBER: AtomicUsize = AtomicUsize::new(0);
static LIVE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

impl Folder {
    pub(super) fn create(name: &str) -> Result<Self> {
        let root = std::env::temp_dir().join("twinlog-sandbox");
        std::fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        clear_dead(&root);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = root.join(format!("{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let lock = File::create(path.join(".lock")).context("cannot make the lock file")?;
        lock.lock().context("cannot lock the sandbox folder")?;
        print_on_panic();
        // The test runner shows this when the test fails.
        eprintln!("sandbox {name}: logs in {}", path.display());
        LIVE.lock().unwrap_or_else(|e| e.into_inner()).push(path.clone());
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        LIVE.lock().unwrap_or_else(|e| e.into_inner()).retain(|live| *live != self.path);
        clear_data(&self.path);
        let shown = crate::marks::in_logs(&self.path);
        // A test that fails already says why.
        assert!(shown.is_none() || std::thread::panicking(), "a log shows what a record holds: {shown:?}");
    }
}

/// A test that fails says where the logs are, also where the sandbox is shared and lives on.
fn print_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            before(info);
            for path in LIVE.lock().unwrap_or_else(|e| e.into_inner()).iter() {
                eprintln!("sandbox logs: {}", path.display());
            }
        }));
    });
}

fn clear_dead(root: &Path) {
    let Ok(entries) = std::fs::read_dir(root) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(lock) = File::open(path.join(".lock")) else { continue };
        if lock.try_lock().is_err() {
            continue;
        }
        let age = entry.metadata().and_then(|m| m.modified()).ok();
        let old = age.is_some_and(|t| SystemTime::now().duration_since(t).is_ok_and(|d| d > KEEP_LOGS));
        if old {
            let _ = std::fs::remove_dir_all(&path);
        } else {
            clear_data(&path);
        }
    }
}

/// Removes the data folders of a sandbox and leaves its logs.
fn clear_data(path: &Path) {
    let Ok(entries) = std::fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        let _ = std::fs::remove_dir_all(entry.path().join("data"));
    }
}
