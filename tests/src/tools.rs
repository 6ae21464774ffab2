//! The independent producer and reader: a Java program on Kafka's own clients, one JVM per `Tools`, asked over its pipes.
//!
//! It shares no code with Twinlog and none with librdkafka. Requests may be made from many threads at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::sandbox::{
    DEFAULT_KAFKA, Kafka, Sandbox, ensure_java_tools, ensure_kafka, java_classpath, spawn_mortal,
};
use crate::verify::Dump;

/// No request takes longer, the corpus with its log compaction included.
const ANSWER: Duration = Duration::from_secs(300);

const SOURCES: &[(&str, &str)] = &[
    ("Clusters.java", include_str!("../java/Clusters.java")),
    ("Corpus.java", include_str!("../java/Corpus.java")),
    ("Dump.java", include_str!("../java/Dump.java")),
    ("Group.java", include_str!("../java/Group.java")),
    ("Load.java", include_str!("../java/Load.java")),
    ("Medley.java", include_str!("../java/Medley.java")),
    ("Mirror.java", include_str!("../java/Mirror.java")),
    ("Tail.java", include_str!("../java/Tail.java")),
    ("Tool.java", include_str!("../java/Tool.java")),
];

/// Which records a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    Committed,
    Uncommitted,
}

impl Isolation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "read_committed",
            Self::Uncommitted => "read_uncommitted",
        }
    }
}

/// A committed offset of a consumer group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, serde::Serialize)]
pub struct Committed {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    #[serde(default)]
    pub metadata: String,
}

/// What `MirrorClient` says of a target.
#[derive(Debug, Clone, Deserialize)]
pub struct MirrorView {
    pub heartbeat_topics: BTreeSet<String>,
    pub checkpoint_topics: BTreeSet<String>,
    pub upstream_clusters: BTreeSet<String>,
    /// Of the flow, and of any flow.
    pub remote_topics: BTreeSet<String>,
    pub all_remote_topics: BTreeSet<String>,
    pub hops: i32,
    /// The group's offsets, translated, under the target's topic names.
    pub offsets: Vec<Committed>,
}

/// What a `Tail` has seen.
#[derive(Debug, Clone, Deserialize)]
pub struct TailStats {
    pub records: u64,
    /// The longest time without a record in any partition that had one.
    pub silence_ms: u64,
    /// Missing, repeated and misplaced records.
    pub wrong: u64,
    pub first_wrong: String,
    /// From the record's timestamp (its making) to its arrival at the reader of the target.
    pub p50_ms: i64,
    pub p99_ms: i64,
    pub partitions: BTreeMap<i32, TailPartition>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct TailPartition {
    pub records: u64,
    /// The next number due: all below have arrived, if `missing` is 0.
    pub next: u64,
    pub duplicates: u64,
    pub missing: u64,
    pub misplaced: u64,
    pub silence_ms: u64,
}

/// A steady producer, see `Tools::load`.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    pub partitions: u32,
    /// Records per second over all partitions.
    pub rate: f64,
    /// Ends by itself after so many records.
    pub records: Option<u64>,
    pub value_bytes: u32,
    pub compression: &'static str,
}

impl LoadOptions {
    /// 1,000 records of 100 bytes per second, without an end.
    pub fn new(partitions: u32) -> Self {
        Self { partitions, rate: 1_000.0, records: None, value_bytes: 100, compression: "lz4" }
    }
}

type Waiting = Arc<Mutex<HashMap<u64, mpsc::SyncSender<Result<Value, String>>>>>;

/// The Java program; killed when dropped.
pub struct Tools {
    child: Mutex<Child>,
    input: Mutex<ChildStdin>,
    waiting: Waiting,
    next: AtomicU64,
    folder: PathBuf,
}

impl Tools {
    pub fn start(sandbox: &Sandbox) -> Result<Arc<Self>> {
        let jars = ensure_kafka(DEFAULT_KAFKA)?;
        let classes = ensure_java_tools(DEFAULT_KAFKA, SOURCES)?;
        let folder = sandbox.folder_of("java-tools")?;
        let mut command = Command::new("java");
        command.args(["-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command.args(["-Dlog4j2.level=WARN", "-cp"]);
        command.arg(format!("{}:{}", classes.display(), java_classpath(&jars)?)).arg("Tool");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(folder.join("log"))?);
        let mut child = spawn_mortal(command).context("cannot start java (Debian: default-jdk-headless)")?;
        let input = child.stdin.take().expect("it is piped");
        let output = child.stdout.take().expect("it is piped");
        let waiting = Waiting::default();
        let readers = waiting.clone();
        std::thread::spawn(move || deliver(output, &readers));
        Ok(Arc::new(Self {
            child: Mutex::new(child),
            input: Mutex::new(input),
            waiting,
            next: AtomicU64::new(1),
            folder,
        }))
    }

    /// One request; see `tests/java` for the operations.
    pub fn call(&self, op: &str, mut request: Value) -> Result<Value> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        request["id"] = json!(id);
        request["op"] = json!(op);
        let (sender, receiver) = mpsc::sync_channel(1);
        lock(&self.waiting).insert(id, sender);
        let written = writeln!(lock(&self.input), "{request}");
        written.with_context(|| format!("the Java tools are gone: see {}", self.folder.display()))?;
        let answer = receiver.recv_timeout(ANSWER);
        lock(&self.waiting).remove(&id);
        let answer = answer
            .map_err(|_| anyhow!("{op}: the Java tools don't answer: see {}", self.folder.display()))?;
        answer.map_err(|error| anyhow!("{op} {request}: {error}"))
    }

    fn on(&self, kafka: &Kafka, op: &str, mut request: Value) -> Result<Value> {
        request["bootstrap"] = json!(kafka.bootstrap());
        self.call(op, request)
    }

    /// Creates a topic with the cluster's replication factor, and waits until its partitions are led.
    pub fn create_topic(
        &self,
        kafka: &Kafka,
        topic: &str,
        partitions: u32,
        configs: &[(&str, &str)],
    ) -> Result<()> {
        let configs: BTreeMap<_, _> = configs.iter().copied().collect();
        let request = json!({"topic": topic, "partitions": partitions, "configs": configs});
        self.on(kafka, "create_topic", request).map(drop)
    }

    pub fn add_partitions(&self, kafka: &Kafka, topic: &str, total: u32) -> Result<()> {
        self.on(kafka, "add_partitions", json!({"topic": topic, "partitions": total})).map(drop)
    }

    pub fn delete_topic(&self, kafka: &Kafka, topic: &str) -> Result<()> {
        self.on(kafka, "delete_topic", json!({"topic": topic})).map(drop)
    }

    /// All topics, internal ones too.
    pub fn topics(&self, kafka: &Kafka) -> Result<Vec<String>> {
        Ok(serde_json::from_value(self.on(kafka, "topics", json!({}))?)?)
    }

    /// How many partitions a topic has; an error if it isn't there.
    pub fn partitions(&self, kafka: &Kafka, topic: &str) -> Result<u32> {
        Ok(serde_json::from_value(self.on(kafka, "partitions", json!({"topic": topic}))?)?)
    }

    /// The configs set on the topic itself.
    pub fn topic_configs(&self, kafka: &Kafka, topic: &str) -> Result<BTreeMap<String, String>> {
        Ok(serde_json::from_value(self.on(kafka, "topic_configs", json!({"topic": topic}))?)?)
    }

    /// An empty value takes a config back to its default.
    pub fn alter_topic(&self, kafka: &Kafka, topic: &str, configs: &[(&str, &str)]) -> Result<()> {
        let configs: BTreeMap<_, _> = configs.iter().copied().collect();
        self.on(kafka, "alter_topic", json!({"topic": topic, "configs": configs})).map(drop)
    }

    /// Per partition (log start, last stable offset).
    pub fn offsets(&self, kafka: &Kafka, topic: &str) -> Result<BTreeMap<i32, (i64, i64)>> {
        Ok(serde_json::from_value(self.on(kafka, "offsets", json!({"topic": topic}))?)?)
    }

    /// Deletes what lies before the given offset of each partition.
    pub fn delete_records(&self, kafka: &Kafka, topic: &str, before: &[(i32, i64)]) -> Result<()> {
        let before: BTreeMap<_, _> = before.iter().map(|(p, o)| (p.to_string(), *o)).collect();
        self.on(kafka, "delete_records", json!({"topic": topic, "before": before})).map(drop)
    }

    /// Produces the mixed corpus: topic to records committed in it.
    pub fn corpus(
        &self,
        kafka: &Kafka,
        prefix: &str,
        seed: u64,
        scale: u32,
    ) -> Result<BTreeMap<String, u64>> {
        let request = json!({"prefix": prefix, "seed": seed, "scale": scale});
        Ok(serde_json::from_value(self.on(kafka, "corpus", request)?)?)
    }

    /// Produces random topics of everything, drawn from a seed, in so many steps; some transactions stay open until `end_medley`. Their names.
    pub fn medley(&self, kafka: &Kafka, prefix: &str, seed: u64, steps: u32) -> Result<Vec<String>> {
        let request = json!({"prefix": prefix, "seed": seed, "steps": steps});
        Ok(serde_json::from_value(self.on(kafka, "medley_start", request)?)?)
    }

    /// Ends the open transactions of a medley, some by aborting them, and writes more.
    pub fn end_medley(&self, kafka: &Kafka, prefix: &str) -> Result<()> {
        self.on(kafka, "medley_end", json!({"prefix": prefix})).map(drop)
    }

    /// Reads a whole topic.
    pub fn dump(&self, kafka: &Kafka, topic: &str, isolation: Isolation) -> Result<Dump> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let file = self.folder.join(format!("dump-{}-{number}", kafka.name()));
        let request = json!({"topic": topic, "isolation": isolation.as_str(), "file": file});
        let summary = self.on(kafka, "dump", request)?;
        let dump = Dump::read(&file, &summary["partitions"])
            .with_context(|| format!("the dump of {topic} in {} is not as expected", file.display()))?;
        let _ = std::fs::remove_file(&file);
        Ok(dump)
    }

    /// A member of `group` goes on where the group is, reads so many records of the topics (all there are: `None`), commits and
    /// leaves. What it read of each topic, with where the group is now as each partition's end.
    pub fn consume(
        &self,
        kafka: &Kafka,
        group: &str,
        topics: &[String],
        records: Option<u64>,
    ) -> Result<BTreeMap<String, Dump>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let file = self.folder.join(format!("read-{}-{number}", kafka.name()));
        let mut request = json!({"group": group, "topics": topics, "file": file});
        if let Some(records) = records {
            request["records"] = json!(records);
        }
        let read: BTreeMap<String, Value> = serde_json::from_value(self.on(kafka, "consume", request)?)?;
        let dump = |(topic, read): (String, Value)| {
            let file = PathBuf::from(read["file"].as_str().context("a file")?);
            let dump = Dump::read(&file, &read["partitions"]).with_context(|| {
                format!("what {group} read of {topic}, in {}, is not as expected", file.display())
            })?;
            std::fs::remove_file(&file)?;
            Ok((topic, dump))
        };
        read.into_iter().map(dump).collect()
    }

    /// Kafka's own `kafka-consumer-groups.sh ARGS`; what it printed.
    pub fn consumer_groups(&self, kafka: &Kafka, args: &[&str]) -> Result<String> {
        let bootstrap = kafka.bootstrap();
        let args = [&["--bootstrap-server", &bootstrap], args].concat();
        self.command("consumer.group.ConsumerGroupCommand", &args)
    }

    /// Kafka's own `kafka-transactions.sh ARGS`; what it printed.
    pub fn transactions(&self, args: &[&str]) -> Result<String> {
        self.command("TransactionsCommand", args)
    }

    fn command(&self, class: &str, args: &[&str]) -> Result<String> {
        let classpath = java_classpath(&ensure_kafka(DEFAULT_KAFKA)?)?;
        let mut command = Command::new("java");
        command.args([
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Dlog4j2.level=ERROR",
            "-cp",
        ]);
        let output =
            command.args([&classpath, &format!("org.apache.kafka.tools.{class}")]).args(args).output()?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        anyhow::ensure!(output.status.success(), "{class} {args:?}: {out}{err}");
        Ok(format!("{out}{err}"))
    }

    /// Where Kafka's Java producer puts records with these keys (hex) in a topic with so many partitions.
    pub fn partitions_for_keys(&self, keys: &[String], partitions: u32) -> Result<Vec<i32>> {
        let request = json!({"keys": keys, "partitions": partitions});
        Ok(serde_json::from_value(self.call("partitions_for_keys", request)?)?)
    }

    /// Commits offsets for an idle group.
    pub fn commit(&self, kafka: &Kafka, group: &str, offsets: &[Committed]) -> Result<()> {
        self.on(kafka, "commit", json!({"group": group, "offsets": offsets})).map(drop)
    }

    pub fn group_offsets(&self, kafka: &Kafka, group: &str) -> Result<Vec<Committed>> {
        Ok(serde_json::from_value(self.on(kafka, "group_offsets", json!({"group": group}))?)?)
    }

    /// The offsets of every group whose id begins with `prefix`.
    pub fn all_group_offsets(&self, kafka: &Kafka, prefix: &str) -> Result<BTreeMap<String, Vec<Committed>>> {
        Ok(serde_json::from_value(self.on(kafka, "all_group_offsets", json!({"prefix": prefix}))?)?)
    }

    pub fn groups(&self, kafka: &Kafka) -> Result<Vec<String>> {
        Ok(serde_json::from_value(self.on(kafka, "groups", json!({}))?)?)
    }

    /// Makes a share group that has read a little of a topic (Kafka 4.2 and later).
    pub fn share_group(&self, kafka: &Kafka, group: &str, topic: &str) -> Result<()> {
        self.on(kafka, "share_group", json!({"group": group, "topic": topic})).map(drop)
    }

    /// What MirrorMaker 2's own client library sees on a target, of the flow from cluster `alias` and of `group`.
    pub fn mirror_client(&self, kafka: &Kafka, alias: &str, group: &str) -> Result<MirrorView> {
        let request = json!({"alias": alias, "group": group});
        Ok(serde_json::from_value(self.on(kafka, "mirror_client", request)?)?)
    }

    /// Makes a SCRAM-SHA-256 user.
    pub fn scram_user(&self, kafka: &Kafka, user: &str, password: &str) -> Result<()> {
        kafka.mark_altered();
        self.on(kafka, "scram_user", json!({"user": user, "password": password})).map(drop)
    }

    /// Allows `principal` (`User:name`) an operation: `("READ", "TOPIC", "orders")`; `*` is any name.
    pub fn allow(&self, kafka: &Kafka, principal: &str, grant: (&str, &str, &str)) -> Result<()> {
        let (operation, kind, name) = grant;
        let request =
            json!({"principal": principal, "operation": operation, "resource_type": kind, "name": name});
        self.on(kafka, "acl", request).map(drop)
    }

    /// Adds or removes a permission on topics, written as `acls` gives it: `TOPIC PREFIXED orders User:x READ ALLOW`.
    pub fn acl(&self, kafka: &Kafka, text: &str, remove: bool) -> Result<()> {
        let words: Vec<&str> = text.split(' ').collect();
        let [kind, pattern, name, principal, operation, permission] = words[..] else {
            return Err(anyhow!("{text:?} is not an ACL"));
        };
        let request = json!({
            "resource_type": kind, "prefixed": pattern == "PREFIXED", "name": name, "principal": principal,
            "operation": operation, "permission": permission, "remove": remove,
        });
        self.on(kafka, "acl", request).map(drop)
    }

    /// Every permission: `TOPIC LITERAL orders User:x READ ALLOW`.
    pub fn acls(&self, kafka: &Kafka) -> Result<BTreeSet<String>> {
        Ok(serde_json::from_value(self.on(kafka, "acls", json!({}))?)?)
    }

    /// Sets dynamic defaults of all brokers.
    pub fn alter_cluster(&self, kafka: &Kafka, configs: &[(&str, &str)]) -> Result<()> {
        kafka.mark_altered();
        let configs: BTreeMap<_, _> = configs.iter().copied().collect();
        self.on(kafka, "alter_cluster", json!({"configs": configs})).map(drop)
    }

    /// Sets a quota of every client id, such as `producer_byte_rate`; `None` removes it.
    pub fn quota(&self, kafka: &Kafka, name: &str, value: Option<u32>) -> Result<()> {
        kafka.mark_altered();
        self.on(kafka, "quota", json!({"name": name, "value": value})).map(drop)
    }

    /// Starts to produce numbered records to `topic`; they go on until `stop_load`.
    pub fn load(&self, kafka: &Kafka, topic: &str, options: &LoadOptions) -> Result<()> {
        let mut request = json!({
            "name": topic, "topic": topic, "partitions": options.partitions, "rate": options.rate,
            "value_bytes": options.value_bytes, "compression": options.compression,
        });
        if let Some(records) = options.records {
            request["records"] = json!(records);
        }
        self.on(kafka, "load_start", request).map(drop)
    }

    /// Records made so far in each partition of a load's topic.
    pub fn load_stats(&self, topic: &str) -> Result<BTreeMap<i32, u64>> {
        Ok(serde_json::from_value(self.call("load_stats", json!({"name": topic}))?)?)
    }

    /// Stops a load; the number of records that stand in each partition.
    pub fn stop_load(&self, topic: &str) -> Result<BTreeMap<i32, u64>> {
        Ok(serde_json::from_value(self.call("load_stop", json!({"name": topic}))?)?)
    }

    /// Starts to follow `topic` on the target, the copy of a load's topic, from its first record; it may not exist yet.
    pub fn tail(&self, kafka: &Kafka, topic: &str, isolation: Isolation) -> Result<()> {
        let request = json!({"name": topic, "topic": topic, "isolation": isolation.as_str()});
        self.on(kafka, "tail_start", request).map(drop)
    }

    /// What a tail has seen; with `reset` the silences and latencies begin anew.
    pub fn tail_stats(&self, topic: &str, reset: bool) -> Result<TailStats> {
        Ok(serde_json::from_value(self.call("tail_stats", json!({"name": topic, "reset": reset}))?)?)
    }

    pub fn stop_tail(&self, topic: &str) -> Result<TailStats> {
        Ok(serde_json::from_value(self.call("tail_stop", json!({"name": topic}))?)?)
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        let mut child = lock(&self.child);
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Hands each answer to who waits for it. Ends with the program, and so do the waits.
fn deliver(output: ChildStdout, waiting: &Waiting) {
    for line in BufReader::new(output).lines() {
        let Ok(line) = line else { break };
        let Ok(mut answer) = serde_json::from_str::<Value>(&line) else { continue };
        let sender = answer["id"].as_u64().and_then(|id| lock(waiting).remove(&id));
        let result = match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["result"].take()),
        };
        if let Some(sender) = sender {
            let _ = sender.try_send(result);
        }
    }
    lock(waiting).clear();
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
