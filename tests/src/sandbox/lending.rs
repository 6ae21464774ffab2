//! Clusters that the tests of one process use one after the other: to start two of them takes longer than many a test.
//!
//! A cluster is lent again only if none of its processes was ever disturbed, nothing was set on it as a whole, whoever had it did not
//! panic, and all topics and groups could be taken away. What is left at the end of the process dies with it.

use std::collections::VecDeque;
use std::ops::Deref;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::{Kafka, KafkaOptions, Sandbox, wait_until};

/// Clusters that wait for the next test: two pairs.
const KEPT: usize = 4;
/// A cluster that can't be emptied in this time is not lent again.
const EMPTIED: Duration = Duration::from_secs(20);
/// Topics that the brokers keep for themselves.
const BROKERS_OWN: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

/// A cluster that somebody else had before, perhaps, and will have afterwards.
pub struct Lent {
    kafka: Option<Kafka>,
    /// It is nobody else's: it ends with its only test.
    own: bool,
}

impl From<Kafka> for Lent {
    /// One that nobody had before and nobody will have afterwards.
    fn from(kafka: Kafka) -> Self {
        Self { kafka: Some(kafka), own: true }
    }
}

impl Deref for Lent {
    type Target = Kafka;

    fn deref(&self) -> &Kafka {
        self.kafka.as_ref().expect("it is given back at the end only")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(kafka) = self.kafka.take().filter(|_| !std::thread::panicking()) else { return };
        if self.own || !kafka.is_as_it_began() {
            return;
        }
        match empty(&kafka) {
            Ok(()) => keep(kafka),
            Err(error) => eprintln!("a cluster is not lent again: {error:#}"),
        }
    }
}

impl Sandbox {
    /// Two clusters without topics, new or used. Their logs are found in this sandbox's folder, too.
    pub fn lent_pair(&self, a: (&str, KafkaOptions), b: (&str, KafkaOptions)) -> Result<(Lent, Lent)> {
        let first = started(&a.1)?;
        let second = started(&b.1)?;
        for (name, cluster) in [(a.0, &first), (b.0, &second)] {
            cluster.wait_ready()?;
            for (node, broker) in (1..).zip(cluster.brokers()) {
                let folder = self.folder_of(&format!("kafka-{name}-{node}"))?;
                symlink(broker.log_path(), folder.join("log"))?;
            }
        }
        Ok((first, second))
    }
}

fn idle() -> MutexGuard<'static, VecDeque<Kafka>> {
    static IDLE: Mutex<VecDeque<Kafka>> = Mutex::new(VecDeque::new());
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One that waits and is what is wanted, or a new one.
fn started(options: &KafkaOptions) -> Result<Lent> {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    static HOME: OnceLock<Sandbox> = OnceLock::new();
    let mut waiting = idle();
    let found = waiting.iter().position(|kafka| kafka.options() == options);
    if let Some(kafka) = found.and_then(|at| waiting.remove(at)) {
        return Ok(Lent { kafka: Some(kafka), own: false });
    }
    let home = match HOME.get() {
        Some(home) => home,
        None => {
            let made = Sandbox::new("clusters")?;
            HOME.get_or_init(|| made)
        }
    };
    drop(waiting);
    let name = format!("lent{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    Ok(Lent { kafka: Some(Kafka::start(home, &name, options.clone())?), own: false })
}

fn keep(kafka: Kafka) {
    let mut waiting = idle();
    let oldest = if waiting.len() >= KEPT { waiting.pop_front() } else { None };
    waiting.push_back(kafka);
    drop(waiting);
    // Its end takes a moment, in which others may go on.
    drop(oldest);
}

/// Takes away all topics and groups.
fn empty(kafka: &Kafka) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap()).set("log_level", "0");
    let client: BaseConsumer = config.create()?;
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let options = AdminOptions::new().request_timeout(Some(EMPTIED)).operation_timeout(Some(EMPTIED));

    let groups = client.fetch_group_list(None, EMPTIED).context("cannot list groups")?;
    let groups: Vec<String> = groups.groups().iter().map(|group| group.name().to_owned()).collect();
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    if !groups.is_empty() {
        let deleted = block_on(admin.delete_groups(&groups, &options)).context("cannot delete groups")?;
        deleted.into_iter().try_for_each(|group| {
            group.map(drop).map_err(|(name, code)| anyhow::anyhow!("group {name}: {code}"))
        })?;
    }
    wait_until(EMPTIED, "a cluster without topics", || {
        let metadata = client.fetch_metadata(None, EMPTIED)?;
        let names = metadata.topics().iter().map(|topic| topic.name());
        let names: Vec<&str> = names.filter(|name| !BROKERS_OWN.contains(name)).collect();
        if names.is_empty() {
            return Ok(Some(()));
        }
        let deleted = block_on(admin.delete_topics(&names, &options))?;
        ensure!(deleted.iter().all(|topic| topic.is_ok()), "some topics stay");
        Ok(None)
    })
}
