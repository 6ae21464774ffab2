//! Waiting for a condition: polled, with a deadline, and with the last thing seen in the error.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const POLL: Duration = Duration::from_millis(50);

/// Polls `check` until it gives something. `check` answers `Ok(Some(T))` when done, `Ok(None)` or an error to go on.
pub fn wait_until<T>(
    deadline: Duration,
    what: &str,
    mut check: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        let last = match check() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => String::new(),
            Err(error) => format!("; last error: {error:#}"),
        };
        if Instant::now() >= end {
            bail!("waited {deadline:?} in vain for: {what}{last}");
        }
        std::thread::sleep(POLL);
    }
}

/// `wait_until` for async checks.
pub async fn wait_until_async<T, F>(deadline: Duration, what: &str, mut check: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let end = Instant::now() + deadline;
    loop {
        let last = match check().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => String::new(),
            Err(error) => format!("; last error: {error:#}"),
        };
        if Instant::now() >= end {
            bail!("waited {deadline:?} in vain for: {what}{last}");
        }
        tokio::time::sleep(POLL).await;
    }
}
