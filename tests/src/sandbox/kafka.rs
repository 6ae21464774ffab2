//! A KRaft cluster: one process per broker, each broker and controller in one.
//!
//! Brokers have a PLAINTEXT listener that the sandbox itself uses, and whatever further listeners a test asks for. With an
//! authorizer, the sandbox (`User:ANONYMOUS`) is a super user.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::archive::{ARCHIVE, JVM};
use super::cache::{ensure_kafka, ensure_start_files};
use super::jars::classpath;
use super::legacy;
use super::options::KafkaOptions;
use super::{Port, Process, Program, Sandbox, wait_until};

/// 2-3 s on a quiet machine; a busy one of two cores needs more.
const READY: Duration = Duration::from_secs(90);
/// One try: a client with its own long timeout makes ten tries last minutes.
const TRY: Duration = Duration::from_secs(1);

struct Broker {
    process: Process,
    client: Port,
    extra: Vec<Port>,
    _controller: Port,
}

/// A running cluster; killed when dropped.
pub struct Kafka {
    name: String,
    options: KafkaOptions,
    brokers: Vec<Broker>,
    /// Before KRaft.
    zookeeper: Option<Process>,
    /// Something was set on the cluster as a whole: nobody else can use it.
    altered: AtomicBool,
}

struct Ports {
    client: Port,
    controller: Port,
    extra: Vec<Port>,
}

impl Kafka {
    /// Starts the processes without waiting for them.
    pub(super) fn start(sandbox: &Sandbox, name: &str, options: KafkaOptions) -> Result<Self> {
        ensure!(options.brokers > 0, "a cluster needs a broker");
        if options.version.starts_with("2.") {
            return Self::start_legacy(sandbox, name, options);
        }
        let jars = ensure_kafka(&options.version)?;
        let start_files = ensure_start_files(&options.version)?;
        let mut ports = Vec::new();
        for _ in 0..options.brokers {
            let extra = options.listeners.iter().map(|_| Port::take()).collect::<Result<_>>()?;
            ports.push(Ports { client: Port::take()?, controller: Port::take()?, extra });
        }
        let voters = (ports.iter().enumerate())
            .map(|(i, p)| format!("{}@{}", i + 1, p.controller.address()))
            .collect::<Vec<_>>()
            .join(",");
        let cluster_id = uuid();
        let mut brokers = Vec::new();
        for (i, ports) in ports.into_iter().enumerate() {
            let node = i + 1;
            let folder = sandbox.folder_of(&format!("kafka-{name}-{node}"))?;
            let settings = settings(&options, node, &ports, &voters, &folder.join("data"));
            lay_out(&folder, &settings, &start_files, &cluster_id, node)?;
            let program = program(&options, &folder, &jars, &start_files)?;
            let process = Process::start(&format!("kafka-{name}-{node}"), &folder, program)?;
            let Ports { client, controller, extra } = ports;
            brokers.push(Broker { process, client, extra, _controller: controller });
        }
        Ok(Self { name: name.to_owned(), options, brokers, zookeeper: None, altered: AtomicBool::new(false) })
    }

    /// A broker with a ZooKeeper beside it. The options' listeners are for newer ones.
    fn start_legacy(sandbox: &Sandbox, name: &str, options: KafkaOptions) -> Result<Self> {
        ensure!(options.brokers == 1, "a cluster with ZooKeeper has one broker here");
        let (client, controller) = (Port::take()?, Port::take()?);
        let (zookeeper, process) = legacy::start(sandbox, name, &options, &client, &controller)?;
        let broker = Broker { process, client, extra: Vec::new(), _controller: controller };
        let (name, brokers) = (name.to_owned(), vec![broker]);
        Ok(Self { name, options, brokers, zookeeper: Some(zookeeper), altered: AtomicBool::new(false) })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn version(&self) -> &str {
        &self.options.version
    }

    pub(super) fn options(&self) -> &KafkaOptions {
        &self.options
    }

    /// To be called where a user, a quota or a default of all brokers is set.
    pub(crate) fn mark_altered(&self) {
        self.altered.store(true, Ordering::Relaxed);
    }

    /// Nothing was set on the cluster as a whole, and all its processes are those that it began with. Permissions are set by many: a
    /// cluster that has some is never as it began.
    pub(super) fn is_as_it_began(&self) -> bool {
        let guarded = self.options.props.contains_key("authorizer.class.name") || self.zookeeper.is_some();
        let disturbed = self.brokers().any(|broker| broker.was_disturbed() || !broker.is_running());
        !guarded && !disturbed && !self.altered.load(Ordering::Relaxed)
    }

    /// The sandbox's own plaintext listener on every broker.
    pub fn bootstrap(&self) -> String {
        self.brokers.iter().map(|b| b.client.address()).collect::<Vec<_>>().join(",")
    }

    /// The addresses of one of `KafkaOptions::listeners`.
    pub fn bootstrap_of(&self, listener: &str) -> Result<String> {
        let at = self.options.listeners.iter().position(|l| l.name == listener);
        let at = at.with_context(|| format!("cluster {} has no listener {listener}", self.name))?;
        Ok(self.brokers.iter().map(|b| b.extra[at].address()).collect::<Vec<_>>().join(","))
    }

    /// Broker 1, 2, ...: the process, to kill, stop or restart.
    pub fn broker(&self, node: usize) -> &Process {
        &self.brokers[node - 1].process
    }

    pub fn brokers(&self) -> impl Iterator<Item = &Process> {
        self.brokers.iter().map(|b| &b.process)
    }

    /// Waits until every broker is up and in the cluster's metadata.
    pub fn wait_ready(&self) -> Result<()> {
        if let Some(zookeeper) = &self.zookeeper {
            zookeeper.check_running()?;
        }
        for broker in &self.brokers {
            let probe = probe(&broker.client.address())?;
            let what = format!("{} to see {} brokers", broker.process.name(), self.brokers.len());
            let mut ended = None;
            wait_until(READY, &what, || {
                if let Err(error) = broker.process.check_running() {
                    ended = Some(error);
                    return Ok(Some(()));
                }
                let metadata = probe.fetch_metadata(None, TRY)?;
                Ok((metadata.brokers().len() == self.brokers.len()).then_some(()))
            })?;
            if let Some(error) = ended {
                return Err(error);
            }
        }
        Ok(())
    }
}

fn probe(address: &str) -> Result<BaseConsumer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address).set("log_level", "0").set("reconnect.backoff.max.ms", "200");
    Ok(config.create()?)
}

/// 22 characters of base64url, as Kafka writes a UUID.
fn uuid() -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    // The last character carries only four bits, so it must be one with two zero bits.
    let mut id: String = (0..21).map(|_| ALPHABET[rand::random_range(0..ALPHABET.len())] as char).collect();
    id.push('w');
    id
}

fn settings(
    options: &KafkaOptions,
    node: usize,
    ports: &Ports,
    voters: &str,
    data: &Path,
) -> BTreeMap<String, String> {
    let mut listeners = format!("PLAINTEXT://{}", ports.client.address());
    let mut advertised = listeners.clone();
    let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
    for (listener, port) in options.listeners.iter().zip(&ports.extra) {
        let _ = write!(listeners, ",{}://{}", listener.name, port.address());
        let told = listener.advertised.clone().unwrap_or_else(|| port.address());
        let _ = write!(advertised, ",{}://{told}", listener.name);
        let _ = write!(protocols, ",{}:{}", listener.name, listener.protocol);
    }
    let replicas = options.brokers.min(3).to_string();
    let min_isr = if options.brokers >= 3 { "2" } else { "1" };
    let fixed = [
        ("process.roles", "broker,controller"),
        ("controller.quorum.voters", voters),
        ("controller.listener.names", "CONTROLLER"),
        ("inter.broker.listener.name", "PLAINTEXT"),
        ("advertised.listeners", &advertised),
        ("listener.security.protocol.map", &protocols),
        // A topic that appears by itself hides a defect.
        ("auto.create.topics.enable", "false"),
        ("default.replication.factor", &replicas),
        ("min.insync.replicas", min_isr),
        ("offsets.topic.replication.factor", &replicas),
        ("offsets.topic.num.partitions", "4"),
        ("transaction.state.log.replication.factor", &replicas),
        ("transaction.state.log.min.isr", min_isr),
        ("transaction.state.log.num.partitions", "4"),
        ("share.coordinator.state.topic.replication.factor", &replicas),
        ("share.coordinator.state.topic.min.isr", min_isr),
        ("share.coordinator.state.topic.num.partitions", "2"),
        ("group.initial.rebalance.delay.ms", "0"),
        // The corpus has records from 1970: they must not expire.
        ("log.retention.ms", "-1"),
        ("log.cleaner.backoff.ms", "500"),
        ("log.cleaner.dedupe.buffer.size", "4194304"),
        ("log.segment.delete.delay.ms", "1000"),
        ("log.initial.task.delay.ms", "1000"),
        // A killed broker is missed after seconds, not after the default 9.
        ("broker.heartbeat.interval.ms", "500"),
        ("broker.session.timeout.ms", "3000"),
        ("super.users", "User:ANONYMOUS"),
    ];
    let mut all: BTreeMap<_, _> = fixed.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    all.insert("node.id".into(), node.to_string());
    if options.brokers > 1 {
        all.insert("broker.rack".into(), format!("rack-{node}"));
    }
    all.insert("log.dirs".into(), data.display().to_string());
    all.insert("listeners".into(), format!("{listeners},CONTROLLER://{}", ports.controller.address()));
    all.extend(options.props.clone());
    all
}

/// Writes the settings and a formatted data folder.
fn lay_out(
    folder: &Path,
    settings: &BTreeMap<String, String>,
    start_files: &Path,
    cluster_id: &str,
    node: usize,
) -> Result<()> {
    let data = folder.join("data");
    std::fs::create_dir_all(&data)?;
    let text: String = settings.iter().map(|(k, v)| format!("{k}={}\n", v.replace('\n', "\\\n"))).collect();
    std::fs::write(folder.join("server.properties"), text)?;
    std::fs::copy(start_files.join("bootstrap.checkpoint"), data.join("bootstrap.checkpoint"))?;
    let directory = uuid();
    let meta = format!("version=1\ncluster.id={cluster_id}\nnode.id={node}\ndirectory.id={directory}\n");
    std::fs::write(data.join("meta.properties"), meta)?;
    Ok(())
}

fn program(options: &KafkaOptions, folder: &Path, jars: &Path, start_files: &Path) -> Result<Program> {
    let log4j = start_files.join("log4j2.xml");
    let archive = Some(start_files.join(ARCHIVE)).filter(|file| file.is_file() && options.jvm == JVM);
    let archive = archive.map(|file| format!("-XX:SharedArchiveFile={}", file.display()));
    Ok(Program::new("java")
        .arg(format!("-Xmx{}m", options.heap_mib))
        .arg("-Xms128m")
        .args(options.jvm.iter().cloned())
        .arg("-Xshare:auto")
        .args(archive)
        .arg(format!("-Dlog4j2.configurationFile={}", log4j.display()))
        .arg("-cp")
        .arg(classpath(jars)?)
        .arg("kafka.Kafka")
        .arg(folder.join("server.properties").display().to_string()))
}
