//! A sandbox: real processes of one test on ports of their own, gone when the test is gone.
//!
//! Promises: every process dies with this one, even if this one is killed; parallel sandboxes never share a port; the log of
//! every process is kept, and its folder is printed when a test panics. Nothing here needs an async runtime, so a sandbox may be
//! made once per test file and shared.
//!
//! ```no_run
//! use twinlog_tests::sandbox::{KafkaOptions, Sandbox};
//! let sandbox = Sandbox::new("story")?;
//! let source = sandbox.kafka("a", KafkaOptions::default())?;
//! println!("{}", source.bootstrap());
//! # anyhow::Ok(())
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

mod archive;
mod cache;
mod certificates;
mod etcd;
mod folder;
mod jars;
mod kafka;
mod legacy;
mod lending;
mod line;
mod mm1;
mod mm2;
mod options;
mod ports;
mod process;
mod services;
mod wait;

pub use cache::{cache_root, ensure_java_tools, ensure_kafka};
pub use certificates::Certificates;
pub use etcd::Etcd;
pub(crate) use jars::classpath as java_classpath;
pub use kafka::Kafka;
pub use lending::Lent;
pub use line::Line;
pub use mm1::Mm1;
pub use mm2::mm2_properties;
pub use options::{DEFAULT_KAFKA, KafkaOptions, Listener, kafka_version};
pub use ports::Port;
pub(crate) use process::spawn_mortal;
pub use process::{Process, Program};
pub use services::{Controller, ControllerOptions, Single, Worker, WorkerOptions, binary};
pub use wait::{wait_until, wait_until_async};

/// The processes of one test, or of one file of tests.
#[derive(Clone)]
pub struct Sandbox {
    folder: Arc<folder::Folder>,
}

impl Sandbox {
    /// Makes an empty sandbox. `name` only names its folder.
    pub fn new(name: &str) -> Result<Self> {
        let folder =
            folder::Folder::create(name).with_context(|| format!("cannot make the sandbox {name}"))?;
        Ok(Self { folder: Arc::new(folder) })
    }

    /// Where logs, settings and data of all processes are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A new folder for the process `name`.
    pub(crate) fn folder_of(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// Starts a Kafka cluster and waits until all its brokers answer.
    pub fn kafka(&self, name: &str, options: KafkaOptions) -> Result<Kafka> {
        let cluster = Kafka::start(self, name, options)?;
        cluster.wait_ready()?;
        Ok(cluster)
    }

    /// Starts two clusters at the same time.
    pub fn kafka_pair(&self, a: (&str, KafkaOptions), b: (&str, KafkaOptions)) -> Result<(Kafka, Kafka)> {
        let (first, second) = (Kafka::start(self, a.0, a.1)?, Kafka::start(self, b.0, b.1)?);
        first.wait_ready()?;
        second.wait_ready()?;
        Ok((first, second))
    }

    /// Starts an etcd cluster of one or three members.
    pub fn etcd(&self, members: usize) -> Result<Etcd> {
        Etcd::start(self, members)
    }

    /// Starts a controller and waits until it serves.
    pub fn controller(&self, name: &str, options: ControllerOptions) -> Result<Controller> {
        Controller::start(self, name, options)
    }

    /// Starts a worker. It is up when the controller lists it.
    pub fn worker(&self, name: &str, options: WorkerOptions) -> Result<Worker> {
        Worker::start(self, name, options)
    }
}
