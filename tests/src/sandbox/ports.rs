//! Ports that no other sandbox has.
//!
//! They lie below the ephemeral range: there a client's connection could hold a port just when a broker wants to bind it again.
//! Each is locked by a file as long as the `Port` lives; the lock goes with the process, whatever ends it.

use std::fs::File;
use std::net::TcpListener;

use anyhow::{Context, Result, bail};

const FIRST: u16 = 10_000;
/// Above this people run scratch clusters by hand.
const LAST: u16 = 19_999;

/// A free port on loopback, ours until dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    pub fn take() -> Result<Self> {
        let folder = std::env::temp_dir().join("twinlog-ports");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let span = LAST - FIRST;
        let start = rand::random_range(0..span);
        for step in 0..span {
            let number = FIRST + (start + step) % span;
            let path = folder.join(number.to_string());
            let lock = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
            if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        bail!("no free port between {FIRST} and {LAST} on 127.0.0.1")
    }

    pub fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}
