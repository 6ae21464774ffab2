//! MirrorMaker's files on real clusters: `twinlog run` and `twinlog import` go on where the MirrorMaker 2 of the same file stopped, and
//! Strimzi's resources copy records.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use twinlog_tests::api::Api;
use twinlog_tests::sandbox::{
    Certificates, Controller, ControllerOptions, DEFAULT_KAFKA, Kafka, KafkaOptions, Sandbox, Single, Worker,
    WorkerOptions, mm2_properties, wait_until,
};
use twinlog_tests::tools::{Isolation, LoadOptions, Tools};
use twinlog_tests::verify::compare;

use crate::beside;

/// MM2 copies some 15 s after its start; more on a busy machine.
const MM2_READY: Duration = Duration::from_secs(120);
const SETTLED: Duration = Duration::from_secs(60);
const PARTITIONS: u32 = 3;

/// Two clusters, and a fleet of one worker.
struct Place {
    worker: Worker,
    controller: Controller,
    tools: Arc<Tools>,
    a: Kafka,
    b: Kafka,
    sandbox: Sandbox,
}

impl Place {
    fn start(name: &str, a: KafkaOptions) -> Result<Self> {
        let sandbox = Sandbox::new(name)?;
        let (a, b) = sandbox.kafka_pair(("a", a), ("b", KafkaOptions::default()))?;
        let tools = Tools::start(&sandbox)?;
        let controller = sandbox.controller("1", ControllerOptions::default())?;
        let mut options = WorkerOptions::of(&[&controller]);
        options.args = vec!["--secret-dir".to_owned(), text_of(sandbox.folder())?];
        let worker = sandbox.worker("1", options)?;
        Api::new(&controller.url())?.wait_workers(1, SETTLED)?;
        Ok(Self { worker, controller, tools, a, b, sandbox })
    }

    /// A file with this text; its path.
    fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.sandbox.folder().join(name);
        std::fs::write(&path, text)?;
        text_of(&path)
    }

    /// Every record of the topic is in the copy, once, as it was.
    fn wait_exact(&self, (from, topic): (&Kafka, &str), (to, copy): (&Kafka, &str)) -> Result<()> {
        let mut last = String::new();
        wait_until(SETTLED, &format!("{copy} to equal {topic}"), || {
            if !self.tools.topics(to)?.iter().any(|name| name == copy) {
                return Ok(None);
            }
            let source = self.tools.dump(from, topic, Isolation::Committed)?;
            let verdict = compare(&source, &self.tools.dump(to, copy, Isolation::Committed)?);
            last = verdict.to_string();
            Ok((verdict.is_exact() && verdict.source_records > 0).then_some(()))
        })
        .with_context(|| last)
    }
}

fn text_of(path: &Path) -> Result<String> {
    Ok(path.to_str().context("a sandbox's folder is plain text")?.to_owned())
}

/// A topic under load whose copy is followed.
struct Flow<'a> {
    place: &'a Place,
    from: &'a Kafka,
    to: &'a Kafka,
    topic: &'static str,
    copy: &'static str,
}

impl Flow<'_> {
    fn begin(&self) -> Result<()> {
        let tools = &self.place.tools;
        tools.create_topic(self.from, self.topic, PARTITIONS, &[])?;
        tools.load(self.from, self.topic, &LoadOptions { rate: 1_000.0, ..LoadOptions::new(PARTITIONS) })?;
        tools.tail(self.to, self.copy, Isolation::Committed)
    }

    /// Waits until what has been made by now is on the target, each record once.
    fn wait_caught_up(&self, deadline: Duration) -> Result<()> {
        let made = self.place.tools.load_stats(self.topic)?;
        wait_until(deadline, &format!("{} to hold what was made", self.copy), || {
            let seen = self.place.tools.tail_stats(self.copy, false)?;
            ensure!(seen.wrong == 0, "{}: {} wrong: {}", self.copy, seen.wrong, seen.first_wrong);
            Ok(made.iter().all(|(p, n)| seen.partitions.get(p).is_some_and(|s| s.next >= *n)).then_some(()))
        })
    }

    fn end(&self) -> Result<()> {
        self.place.tools.stop_load(self.topic)?;
        self.place.wait_exact((self.from, self.topic), (self.to, self.copy))?;
        let tail = self.place.tools.stop_tail(self.copy)?;
        assert_eq!(tail.wrong, 0, "{}: {}", self.copy, tail.first_wrong);
        Ok(())
    }
}

/// One MM2 copies both ways. One flow of its file is taken over by `twinlog run`, the other by `twinlog import`; both wait for its end.
#[test]
fn run_and_import_go_on_where_the_mirror_maker_of_their_file_stopped() -> Result<()> {
    let _beside = beside();
    let place = Place::start("handover-file", KafkaOptions::default())?;
    let (a, b) = (&place.a, &place.b);
    let both = "b->a.enabled=true\na->b.topics=orders\nb->a.topics=returns\n";
    let text = mm2_properties(("a", a), ("b", b), both);
    let there = Flow { place: &place, from: a, to: b, topic: "orders", copy: "a.orders" };
    let back = Flow { place: &place, from: b, to: a, topic: "returns", copy: "b.returns" };
    let flows = [there, back];
    flows.iter().try_for_each(Flow::begin)?;
    let mm2 = place.sandbox.mm2("1", DEFAULT_KAFKA, &text)?;
    for flow in &flows {
        flow.wait_caught_up(MM2_READY).with_context(|| mm2.log_tail())?;
    }

    let file = place.file("mm2.properties", &text)?;
    let single = Single::start(&place.sandbox, "file", &[&file, "--clusters", "b"])?;
    let said = place.controller.cli(&["import", &file, "--clusters", "a"])?;
    assert!(said.contains("mirror b-a (b -> a) created") && !said.contains("a-b"), "{said}");
    wait_until(SETTLED, "twinlog run to serve", || Ok(Api::new(&single.url())?.workers().ok()))?;
    let apis = [(Api::new(&single.url())?, "a-b"), (Api::new(&place.controller.url())?, "b-a")];
    for (api, mirror) in &apis {
        let message = api.wait_cause(mirror, "MM2_RUNNING", SETTLED)?;
        assert!(message.contains("Stop it"), "{message}");
    }
    for flow in &flows {
        // While it waits it copies nothing.
        flow.wait_caught_up(SETTLED)?;
        place.tools.tail_stats(flow.copy, true)?;
    }
    mm2.terminate()?;
    for flow in &flows {
        flow.wait_caught_up(SETTLED)?;
        let silence = place.tools.tail_stats(flow.copy, false)?.silence_ms;
        println!("{}: stood still for {silence} ms while it changed hands", flow.copy);
    }
    flows.iter().try_for_each(Flow::end)?;
    place.worker.process.check_running()?;
    single.process.check_running()
}

/// Files row 2: the trick of files for "no prefix", both aliases and the separator empty. A real MM2 keeps names, and its own topics and
/// positions under none; Twinlog goes on from there.
#[test]
fn empty_aliases_and_separator_go_on_where_mirror_maker_2_stopped() -> Result<()> {
    let _beside = beside();
    let place = Place::start("empty-aliases", KafkaOptions::default())?;
    let (a, b) = (&place.a, &place.b);
    let trick =
        "topics=orders\nsource.cluster.alias=\ntarget.cluster.alias=\nreplication.policy.separator=\n";
    let text = mm2_properties(("a", a), ("b", b), trick);
    let flow = Flow { place: &place, from: a, to: b, topic: "orders", copy: "orders" };
    flow.begin()?;
    let mm2 = place.sandbox.mm2("1", DEFAULT_KAFKA, &text)?;
    flow.wait_caught_up(MM2_READY).with_context(|| mm2.log_tail())?;
    let file = place.file("mm2.properties", &text)?;
    let single = Single::start(&place.sandbox, "file", &[&file])?;
    wait_until(SETTLED, "twinlog run to serve", || Ok(Api::new(&single.url())?.workers().ok()))?;
    let api = Api::new(&single.url())?;
    api.wait_cause("a-b", "MM2_RUNNING", SETTLED)?;
    mm2.terminate()?;
    flow.wait_caught_up(SETTLED)?;
    flow.end()?;
    let topics = place.tools.topics(b)?;
    println!("on the target: {topics:?}");
    ensure!(!topics.iter().any(|topic| topic.ends_with(".orders")), "{topics:?}");
    single.process.check_running()
}

/// Both versions of Strimzi's resource: TLS and SCRAM from mounted secrets, imported into a fleet; and plain, by `twinlog run`.
#[test]
fn strimzis_resources_copy_records() -> Result<()> {
    let _beside = beside();
    let files = Sandbox::new("strimzi-files")?;
    let certificates = Certificates::create(files.folder())?;
    let place = Place::start("strimzi", KafkaOptions::default().scram_over_tls("SECURE", &certificates))?;
    let (a, b) = (&place.a, &place.b);
    place.tools.scram_user(a, "mirror", "hush")?;
    let secrets = place.sandbox.folder().join("secrets");
    for (secret, key) in [("a-ca", "ca.crt"), ("a-user", "pw")] {
        std::fs::create_dir_all(secrets.join(secret))?;
        let value = if key == "pw" { "hush".to_owned() } else { std::fs::read_to_string(&certificates.ca)? };
        std::fs::write(secrets.join(secret).join(key), value)?;
    }
    for (kafka, topic) in [(a, "orders"), (b, "returns")] {
        place.tools.create_topic(kafka, topic, PARTITIONS, &[])?;
        let load = LoadOptions { rate: 20_000.0, records: Some(3_000), ..LoadOptions::new(PARTITIONS) };
        place.tools.load(kafka, topic, &load)?;
    }

    let v1beta2 = place.file("v1beta2.yaml", &v1beta2(&a.bootstrap_of("SECURE")?, &b.bootstrap()))?;
    let said = place.controller.cli(&["import", &v1beta2, "--secrets-dir", &text_of(&secrets)?])?;
    assert!(said.contains("created") && !said.contains("hush"), "{said}");
    let v1 = place.file("v1.yaml", &v1(&b.bootstrap(), &a.bootstrap()))?;
    let single = Single::start(&place.sandbox, "strimzi", &[&v1])?;
    place.wait_exact((a, "orders"), (b, "cluster-a.orders"))?;
    place.wait_exact((b, "returns"), (a, "cluster-b.returns")).with_context(|| single.process.log_tail())?;
    wait_until(SETTLED, "the checkpoints topic of the resource with a checkpoint connector", || {
        let topics = place.tools.topics(b)?;
        Ok(topics.iter().any(|topic| topic == "cluster-a.checkpoints.internal").then_some(()))
    })?;
    let topics = place.tools.topics(a)?;
    assert!(!topics.iter().any(|topic| topic == "cluster-b.checkpoints.internal"), "{topics:?}");
    single.process.check_running()
}

fn v1beta2(source: &str, target: &str) -> String {
    format!(
        r#"
apiVersion: kafka.strimzi.io/v1beta2
kind: KafkaMirrorMaker2
metadata: {{name: forth}}
spec:
  version: 4.0.0
  replicas: 1
  connectCluster: cluster-b
  clusters:
  - alias: cluster-a
    bootstrapServers: "{source}"
    tls: {{trustedCertificates: [{{secretName: a-ca, certificate: ca.crt}}]}}
    authentication: {{type: scram-sha-256, username: mirror, passwordSecret: {{secretName: a-user, password: pw}}}}
  - alias: cluster-b
    bootstrapServers: "{target}"
    config: {{config.storage.replication.factor: -1, offset.storage.replication.factor: -1, status.storage.replication.factor: -1}}
  mirrors:
  - sourceCluster: cluster-a
    targetCluster: cluster-b
    sourceConnector:
      tasksMax: 1
      config: {{replication.factor: -1, offset-syncs.topic.replication.factor: -1, refresh.topics.interval.seconds: 1}}
    checkpointConnector: {{config: {{checkpoints.topic.replication.factor: -1, refresh.groups.interval.seconds: 1}}}}
    topicsPattern: "orders|payments"
    groupsPattern: ".*"
"#
    )
}

fn v1(source: &str, target: &str) -> String {
    format!(
        r#"
apiVersion: kafka.strimzi.io/v1
kind: KafkaMirrorMaker2
metadata: {{name: back}}
spec:
  replicas: 1
  target:
    alias: cluster-a
    bootstrapServers: "{target}"
    groupId: back-group
    configStorageTopic: back-configs
    offsetStorageTopic: back-offsets
    statusStorageTopic: back-status
  mirrors:
  - source: {{alias: cluster-b, bootstrapServers: "{source}"}}
    sourceConnector: {{config: {{replication.factor: -1, offset-syncs.topic.replication.factor: -1}}}}
    topicsPattern: "returns"
"#
    )
}
