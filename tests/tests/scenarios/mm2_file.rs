//! `twinlog run mm2.properties`: what `connect-mirror-maker.sh mm2.properties` would do, in one process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use twinlog_proto::v1::{DesiredState, GetMirrorRequest, ListMirrorsRequest};
use twinlog_tests::api::{Api, told};
use twinlog_tests::sandbox::{
    ControllerOptions, Kafka, KafkaOptions, Sandbox, Single, Worker, WorkerOptions, wait_until,
};
use twinlog_tests::tools::{Isolation, LoadOptions, Tools};
use twinlog_tests::verify::compare;

use crate::beside;

const COPIED: Duration = Duration::from_secs(90);
const ENDS: Duration = Duration::from_secs(30);
const PARTITIONS: u32 = 3;

/// Two clusters whose aliases are A and B, and the tools.
struct Pair {
    a: Kafka,
    b: Kafka,
    tools: Arc<Tools>,
    file: PathBuf,
    sandbox: Sandbox,
}

impl Pair {
    fn start(name: &str) -> Result<Self> {
        let sandbox = Sandbox::new(name)?;
        let (a, b) = sandbox.kafka_pair(("a", KafkaOptions::default()), ("b", KafkaOptions::default()))?;
        let tools = Tools::start(&sandbox)?;
        let file = sandbox.folder().join("mm2.properties");
        Ok(Self { a, b, tools, file, sandbox })
    }

    /// The file of MM2's own test of its dedicated mode: one broker each, quick intervals, and `more`.
    fn write(&self, more: &str) -> Result<()> {
        let text = format!(
            "# one broker each\nclusters = A, B\nA.bootstrap.servers = {}\nB.bootstrap.servers = {}\nreplication.factor = 1\n\
             checkpoints.topic.replication.factor = 1\nheartbeats.topic.replication.factor = 1\noffset.storage.replication.factor = 1\n\
             refresh.topics.interval.seconds = 1\nrefresh.groups.interval.seconds = 1\nemit.checkpoints.interval.seconds = 1\nsync.topic.acls.enabled = false\n{more}",
            self.a.bootstrap(),
            self.b.bootstrap(),
        );
        Ok(std::fs::write(&self.file, text)?)
    }

    fn run(&self) -> Result<Single> {
        Single::start(&self.sandbox, "mm2", &[path(&self.file)?])
    }

    fn produce(&self, kafka: &Kafka, topic: &str, records: u64) -> Result<()> {
        let load = LoadOptions { rate: 5_000.0, records: Some(records), ..LoadOptions::new(PARTITIONS) };
        self.tools.load(kafka, topic, &load)?;
        wait_until(COPIED, &format!("{records} records in {topic}"), || {
            Ok((self.tools.load_stats(topic)?.values().sum::<u64>() >= records).then_some(()))
        })?;
        self.tools.stop_load(topic).map(|_| ())
    }

    /// Every record of the topic is in the copy, once, as it was.
    fn wait_exact(&self, (from, topic): (&Kafka, &str), (to, copy): (&Kafka, &str)) -> Result<()> {
        wait_until(COPIED, &format!("{copy} to equal {topic}"), || {
            if !self.tools.topics(to)?.iter().any(|name| name == copy) {
                return Ok(None);
            }
            let source = self.tools.dump(from, topic, Isolation::Committed)?;
            let target = self.tools.dump(to, copy, Isolation::Committed)?;
            Ok(compare(&source, &target).is_exact().then_some(()))
        })
    }

    fn wait_topics(&self, kafka: &Kafka, expected: &[&str]) -> Result<Vec<String>> {
        wait_until(COPIED, &format!("the topics {expected:?}"), || {
            let topics = self.tools.topics(kafka)?;
            Ok(expected.iter().all(|name| topics.iter().any(|topic| topic == name)).then_some(topics))
        })
    }
}

fn path(file: &Path) -> Result<&str> {
    file.to_str().context("a sandbox's folder is plain text")
}

/// Whether `topic` is one of them.
fn has(topics: &[String], topic: &str) -> bool {
    topics.iter().any(|name| name == topic)
}

/// D1: one flow of one node: a topic made after the start is copied as A.test-topic-1.
/// D2: without offset syncs the data is copied, and there is no mm2-offset-syncs.B.internal.
#[test]
fn d1_d2_one_flow_with_and_without_offset_syncs() -> Result<()> {
    let _beside = beside();
    let pair = Pair::start("mm2-file-one-flow")?;
    let one_flow = "A->B.enabled = true\nA->B.topics = ^test-topic-.*\nB->A.enabled = false\nB->A.emit.heartbeats.enabled = false\n";

    pair.write(&format!("{one_flow}emit.offset-syncs.enabled = false\n"))?;
    let single = pair.run()?;
    pair.tools.create_topic(&pair.a, "test-topic-1", PARTITIONS, &[])?;
    pair.tools.create_topic(&pair.a, "other", PARTITIONS, &[])?;
    pair.produce(&pair.a, "test-topic-1", 300)?;
    pair.produce(&pair.a, "other", 10)?;
    pair.wait_exact((&pair.a, "test-topic-1"), (&pair.b, "A.test-topic-1"))?;
    let topics = pair.wait_topics(&pair.b, &["heartbeats"])?;
    assert!(!has(&topics, "A.other") && !has(&topics, "A.checkpoints.internal"), "{topics:?}");
    let topics = pair.tools.topics(&pair.a)?;
    assert!(!topics.iter().any(|topic| topic.starts_with("mm2-offset-syncs")), "{topics:?}");
    assert!(!has(&topics, "heartbeats"), "the other flow emits nothing: {topics:?}");

    // The file changes, and so does the mirror: it goes on where it was.
    pair.write(&format!("{one_flow}offset-syncs.topic.replication.factor = 1\n"))?;
    single.process.interrupt()?;
    assert!(single.process.wait_exit(ENDS)?.success(), "{}", single.process.log_tail());
    single.process.start_again()?;
    pair.tools.create_topic(&pair.a, "test-topic-2", PARTITIONS, &[])?;
    pair.produce(&pair.a, "test-topic-2", 300)?;
    pair.wait_exact((&pair.a, "test-topic-2"), (&pair.b, "A.test-topic-2"))?;
    pair.wait_exact((&pair.a, "test-topic-1"), (&pair.b, "A.test-topic-1"))?;
    pair.wait_topics(&pair.a, &["mm2-offset-syncs.B.internal"])?;
    assert!(
        single.process.log().contains("mirror a-b (A -> B) changed, and goes on"),
        "{}",
        single.process.log_tail()
    );
    single.process.check_running()
}

/// Both flows of one file in one process; MM2's own topics are where MM2 has them; a flow that leaves the file is paused.
#[test]
fn two_flows_of_one_file_are_active_active() -> Result<()> {
    let _beside = beside();
    let pair = Pair::start("mm2-file-two-flows")?;
    let both = "A->B.enabled = true\nB->A.enabled = true\ntopics = orders.*\noffset-syncs.topic.replication.factor = 1\ntasks.max = 4\n";
    pair.write(both)?;
    for (kafka, records) in [(&pair.a, 2_000), (&pair.b, 3_000)] {
        pair.tools.create_topic(kafka, "orders", PARTITIONS, &[])?;
        pair.produce(kafka, "orders", records)?;
    }
    let single = pair.run()?;
    pair.wait_exact((&pair.a, "orders"), (&pair.b, "A.orders"))?;
    pair.wait_exact((&pair.b, "orders"), (&pair.a, "B.orders"))?;
    let on_a = ["heartbeats", "B.heartbeats", "B.checkpoints.internal", "mm2-offset-syncs.B.internal"];
    let on_b = ["heartbeats", "A.heartbeats", "A.checkpoints.internal", "mm2-offset-syncs.A.internal"];
    for (kafka, expected, never) in [(&pair.a, on_a, "B.A.orders"), (&pair.b, on_b, "A.B.orders")] {
        let topics = pair.wait_topics(kafka, &expected)?;
        assert!(!has(&topics, never), "records go round: {topics:?}");
    }
    let log = single.process.log();
    assert!(
        log.contains("mirror a-b (A -> B) created") && log.contains("mirror b-a (B -> A) created"),
        "{log}"
    );

    // The flow back leaves the file.
    pair.write("A->B.enabled = true\nB->A.enabled = false\nB->A.emit.heartbeats.enabled = false\ntopics = orders.*\noffset-syncs.topic.replication.factor = 1\n")?;
    single.process.interrupt()?;
    assert!(single.process.wait_exit(ENDS)?.success(), "{}", single.process.log_tail());
    single.process.start_again()?;
    pair.produce(&pair.a, "orders", 500)?;
    pair.wait_exact((&pair.a, "orders"), (&pair.b, "A.orders"))?;
    let log = single.process.log();
    assert!(log.contains("mirror b-a (B -> A) is not in the file any more: paused"), "{log}");
    let api = Api::new(&single.url())?;
    let state = |id: &str| -> Result<DesiredState> {
        let request = GetMirrorRequest { name: format!("mirrors/{id}") };
        Ok(api.get_mirror(request).map_err(told)?.desired_state())
    };
    assert_eq!(state("b-a")?, DesiredState::Paused);
    assert_eq!(state("a-b")?, DesiredState::Running);
    single.process.check_running()
}

/// `twinlog import` makes the same in a fleet, again and again; what would go wrong there is refused with what to do.
#[test]
fn a_file_is_imported_into_a_fleet() -> Result<()> {
    let _beside = beside();
    let sandbox = Sandbox::new("mm2-import")?;
    let controller = sandbox.controller("1", ControllerOptions::default())?;
    let file = sandbox.folder().join("mm2.properties");
    let import = |text: &str, more: &[&str]| -> Result<(bool, String)> {
        std::fs::write(&file, text)?;
        let output = controller.try_cli(&[&["import", path(&file)?], more].concat())?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
    };
    let base = "clusters=A,B\nA.bootstrap.servers=a:9092\nB.bootstrap.servers=b:9092\nA->B.enabled=true\nB->A.enabled=true\n";

    let (ok, said) = import(base, &["--dry-run"])?;
    assert!(ok && said.contains("a-b") && !controller.cli(&["mirror", "list"])?.contains("a-b"), "{said}");
    let (ok, said) = import(base, &[])?;
    assert!(
        ok && said.contains("mirror a-b (A -> B) created") && said.contains("mirror b-a (B -> A) created"),
        "{said}"
    );
    let (ok, said) = import(base, &[])?;
    assert!(ok && said.contains("mirror a-b (A -> B) goes on"), "{said}");
    let (ok, said) = import(&format!("{base}A->B.topics=orders.*\n"), &[])?;
    assert!(
        ok && said.contains("mirror a-b (A -> B) changed, and goes on")
            && said.contains("mirror b-a (B -> A) goes on"),
        "{said}"
    );
    assert!(controller.cli(&["mirror", "get", "a-b", "-o", "yaml"])?.contains("orders.*"));

    let identity = "replication.policy.class=org.apache.kafka.connect.mirror.IdentityReplicationPolicy\n";
    let (ok, said) = import(&format!("{base}{identity}"), &[])?;
    assert!(!ok && said.contains("naming"), "the naming of a mirror is for life: {said}");
    let fresh = base.replace('A', "C").replace('B', "D");
    let (ok, said) = import(&format!("{fresh}{identity}"), &[])?;
    assert!(!ok && said.contains("LOOP"), "records would go round: {said}");
    let (ok, said) = import(&format!("{fresh}{identity}"), &["--dry-run"])?;
    assert!(!ok && said.contains("LOOP"), "a dry run refuses what the run refuses: {said}");
    let (ok, said) = import(&format!("{fresh}{identity}"), &["--dry-run", "--allow-loops"])?;
    assert!(ok, "{said}");
    let data = sandbox.folder().join("never");
    let flags = [
        "run",
        "--source",
        "a:9092",
        "--target",
        "b:9092",
        "--topics",
        "x",
        "--data",
        path(&data)?,
        "--dry-run",
    ];
    let said = controller.cli(&flags)?;
    assert!(said.contains("source-target") && !data.exists(), "a dry run copies nothing: {said}");
    let (ok, said) = import(&format!("{fresh}{identity}"), &["--allow-loops"])?;
    assert!(ok, "{said}");

    let secret = format!(
        "{base}A.security.protocol=SASL_SSL\nA.sasl.mechanism=PLAIN\nA.sasl.jaas.config=x.PlainLoginModule required username=\"u\" password=\"hush\";\n"
    );
    let (ok, said) = import(&secret, &[])?;
    assert!(!ok && said.contains("--secrets-file") && !said.contains("hush"), "{said}");
    let (ok, said) = import(&secret, &["--secrets-file", "/etc/twinlog/mm2.properties"])?;
    assert!(ok && !said.contains("hush"), "{said}");
    let stored = controller.cli(&["cluster", "get", "A", "-o", "yaml"])?;
    assert!(stored.contains("${file:/etc/twinlog/mm2.properties:A.sasl.jaas.config}"), "{stored}");

    let (ok, said) = import(&format!("{base}transforms=drop\n"), &[])?;
    assert!(!ok && said.contains("transforms") && said.contains("--ignore-unsupported"), "{said}");
    Ok(())
}

/// As in MM2's own test: whatever an alias can hold.
const ALIAS: &str = r#"B- ._~:/?#[]@!$&'()*+;="<>%{}|\^`618"#;

/// A key as a properties file spells it.
fn escaped(key: &str) -> String {
    key.chars().flat_map(|c| [(!c.is_ascii_alphanumeric()).then_some('\\'), Some(c)]).flatten().collect()
}

/// D3: three workers, a target alias of any characters, offset syncs on the target, exactly once: the topics made after the start
/// all arrive, whichever worker copies them.
/// D4: a changed refresh interval reaches every worker while they are restarted one by one.
#[test]
fn d3_d4_three_workers_and_an_alias_of_any_characters() -> Result<()> {
    let _beside = beside();
    let pair = Pair::start("mm2-file-fleet")?;
    let controller = pair.sandbox.controller("1", ControllerOptions::default())?;
    let workers: Vec<Worker> = (1..=3)
        .map(|number| pair.sandbox.worker(&number.to_string(), WorkerOptions::of(&[&controller])))
        .collect::<Result<_>>()?;
    let import = |seconds: u32| -> Result<String> {
        let (a, alias, b) = (pair.a.bootstrap(), escaped(ALIAS), pair.b.bootstrap());
        let text = format!(
            "clusters = A, {ALIAS_VALUE}\nA.bootstrap.servers = {a}\n{alias}.bootstrap.servers = {b}\nA->{alias}.enabled = true\n\
             A->{alias}.topics = ^test-topic-.*\n{alias}->A.enabled = false\n{alias}->A.emit.heartbeats.enabled = false\n\
             replication.factor = 1\ncheckpoints.topic.replication.factor = 1\nheartbeats.topic.replication.factor = 1\n\
             offset-syncs.topic.replication.factor = 1\noffset-syncs.topic.location = target\nlisteners = http://localhost:0\n\
             dedicated.mode.enable.internal.rest = true\n{alias}.exactly.once.source.support = enabled\nA.consumer.isolation.level = read_committed\n\
             {alias}.scheduled.rebalance.max.delay.ms = 1000\nrefresh.topics.interval.seconds = {seconds}\nsync.topic.acls.enabled = false\n",
            ALIAS_VALUE = ALIAS.replace('\\', r"\\"),
        );
        std::fs::write(&pair.file, text)?;
        controller.cli(&["import", path(&pair.file)?])
    };
    let said = import(1)?;
    assert!(said.contains("(A -> B-") && said.contains("created"), "{said}");
    for number in 1..=workers.len() {
        let topic = format!("test-topic-{number}");
        pair.tools.create_topic(&pair.a, &topic, PARTITIONS, &[])?;
        pair.produce(&pair.a, &topic, 10)?;
        pair.wait_exact((&pair.a, &topic), (&pair.b, &format!("A.{topic}")))?;
    }
    pair.wait_topics(&pair.b, &["mm2-offset-syncs.A.internal"])?;

    let said = import(2)?;
    assert!(said.contains("changed, and goes on"), "{said}");
    for worker in &workers {
        worker.process.terminate()?;
        worker.process.start_again()?;
    }
    let api = Api::new(&controller.url())?;
    let mirrors = api.list_mirrors(ListMirrorsRequest::default()).map_err(told)?.mirrors;
    let [mirror] = &mirrors[..] else { panic!("one flow is one mirror: {mirrors:?}") };
    assert_eq!(mirror.refresh.and_then(|refresh| refresh.topics).map(|interval| interval.seconds), Some(2));
    pair.tools.create_topic(&pair.a, "test-topic-after", PARTITIONS, &[])?;
    pair.produce(&pair.a, "test-topic-after", 10)?;
    pair.wait_exact((&pair.a, "test-topic-after"), (&pair.b, "A.test-topic-after"))
}
