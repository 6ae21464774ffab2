//! A broker of the ZooKeeper era: what many still mirror from. Kafka 2.8.2 works on today's Java.

use std::collections::BTreeMap;

use anyhow::Result;

use super::archive::JVM;
use super::cache::{LOG4J, ensure_kafka};
use super::jars::classpath;
use super::{KafkaOptions, Port, Process, Program, Sandbox};

/// Starts ZooKeeper and one broker, without waiting for them: the broker waits for ZooKeeper.
pub(super) fn start(
    sandbox: &Sandbox,
    name: &str,
    options: &KafkaOptions,
    client: &Port,
    zookeeper: &Port,
) -> Result<(Process, Process)> {
    let jars = ensure_kafka(&options.version)?;
    let folder = sandbox.folder_of(&format!("zookeeper-{name}"))?;
    let address = zookeeper.address();
    let port = address.rsplit(':').next().unwrap_or_default();
    let settings = [
        ("dataDir", folder.join("data").display().to_string()),
        ("clientPort", port.to_owned()),
        ("clientPortAddress", "127.0.0.1".to_owned()),
        ("admin.enableServer", "false".to_owned()),
    ];
    let settings: BTreeMap<_, _> = settings.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    let java = |main: &str, heap: &str, folder: &std::path::Path| -> Result<Program> {
        let (log4j, file) = (folder.join("log4j2.xml"), folder.join("server.properties"));
        std::fs::write(&log4j, LOG4J)?;
        Ok(Program::new("java")
            .arg(heap)
            .args(JVM)
            .arg(format!("-Dlog4j2.configurationFile={}", log4j.display()))
            .args(["-cp", &classpath(&jars)?, main, &file.display().to_string()]))
    };
    std::fs::write(folder.join("server.properties"), text(&settings))?;
    let program = java("org.apache.zookeeper.server.quorum.QuorumPeerMain", "-Xmx128m", &folder)?;
    let zookeeper = Process::start(&format!("zookeeper-{name}"), &folder, program)?;

    let folder = sandbox.folder_of(&format!("kafka-{name}-1"))?;
    std::fs::write(
        folder.join("server.properties"),
        text(&broker(options, client, &address, &folder.join("data").display().to_string())),
    )?;
    let program = java("kafka.Kafka", &format!("-Xmx{}m", options.heap_mib), &folder)?;
    Ok((zookeeper, Process::start(&format!("kafka-{name}-1"), &folder, program)?))
}

fn broker(options: &KafkaOptions, client: &Port, zookeeper: &str, data: &str) -> BTreeMap<String, String> {
    let listener = format!("PLAINTEXT://{}", client.address());
    let fixed = [
        ("broker.id", "1"),
        ("zookeeper.connect", zookeeper),
        ("listeners", &listener),
        ("log.dirs", data),
        ("auto.create.topics.enable", "false"),
        ("offsets.topic.replication.factor", "1"),
        ("offsets.topic.num.partitions", "4"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("transaction.state.log.num.partitions", "4"),
        ("group.initial.rebalance.delay.ms", "0"),
        ("log.retention.ms", "-1"),
    ];
    let mut all: BTreeMap<_, _> = fixed.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    all.extend(options.props.clone());
    all
}

fn text(settings: &BTreeMap<String, String>) -> String {
    settings.iter().map(|(k, v)| format!("{k}={v}\n")).collect()
}
