//! A dry run, by the same code as the run: clusters and mirrors are written by the API of a controller without workers, into a copy
//! of the state that is thrown away. What it refuses is refused, with the same exit code.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::super::desired::Settings;
use super::super::failure::Failure;
use super::{Parts, apply, connected, open_store};
use twinlog_controller::config::EMBEDDED_STORE_FILE;
use twinlog_controller::server::ServerConfig;

/// A folder that goes with it.
struct Scratch(PathBuf);

impl Scratch {
    /// With a copy of the state, where there is some. Others may be using it: it is only read.
    fn new(data: Option<&Path>) -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("twinlog-dry-run-{}", Uuid::now_v7()));
        std::fs::create_dir_all(&folder)?;
        let scratch = Self(folder);
        let state = data.map(|data| data.join(EMBEDDED_STORE_FILE)).filter(|file| file.exists());
        if let Some(state) = state {
            std::fs::copy(state, scratch.0.join(EMBEDDED_STORE_FILE))?;
        }
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Does all that the run would do before it copies, and undoes it. `keep`: the state counts, as `run` has it.
///
/// # Errors
/// What the run would refuse.
pub(crate) async fn try_out(settings: &Settings, keep: bool) -> Result<(), Failure> {
    let scratch = Scratch::new(keep.then_some(settings.data.as_path()))?;
    let store = open_store(&scratch.0)?;
    let (listener, address) = super::listen(Some(([127, 0, 0, 1], 0).into())).await?;
    let url = format!("http://{address}");
    let mut parts = Parts::without_worker(store, listener, ServerConfig::default(), &url);
    let tried = async {
        let connection = connected(&url).await?;
        apply::apply(&connection, settings).await
    };
    let tried = tried.await;
    parts.stop().await;
    tried.map(drop)
}
