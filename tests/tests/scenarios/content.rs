//! What records hold is shown nowhere, whatever happens to them: refused, purged, fenced, lost with a broker or a process.
//!
//! Keys, values and headers carry marks. Logs at their most talkative, statuses, tables, metrics pages and exported traces are
//! searched for them.

use std::io::Write;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tonic::{Request, Response, Status};
use twinlog_proto::text::SENTENCE;
use twinlog_proto::v1;
use twinlog_tests::api::causes;
use twinlog_tests::marks;
use twinlog_tests::sandbox::{Kafka, KafkaOptions, binary, wait_until};
use twinlog_tests::tools::{Isolation, LoadOptions};
use twinlog_tests::world::{World, WorldOptions, mirror, naming};

use crate::beside;

const SAID: Duration = Duration::from_secs(60);
const COPIED: Duration = Duration::from_secs(90);
/// Partitions that stopped are tried again every 30 s.
const HEALED: Duration = Duration::from_secs(120);
const KEYLESS: &str = "c.keyless";
const DAMAGED: &str = "damaged";
/// Bytes before the records of a batch.
const BATCH_HEADER: usize = 61;
/// The target forgets transactional ids that are idle for this long.
const EXPIRY: Duration = Duration::from_secs(5);

/// Ranges of a worker that is away run elsewhere by then.
const TAKEN_OVER: Duration = Duration::from_secs(4);

/// Every trace that was exported, as text.
#[derive(Clone, Default)]
struct Traces(Arc<Mutex<String>>);

#[tonic::async_trait]
impl TraceService for Traces {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let text = format!("{:?}\n", request.into_inner());
        self.0.lock().unwrap_or_else(|e| e.into_inner()).push_str(&text);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Traces {
    fn listen(&self, runtime: &tokio::runtime::Runtime) -> Result<String> {
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let url = format!("http://{}", listener.local_addr()?);
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let service = TraceServiceServer::new(self.clone());
        runtime.spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        Ok(url)
    }
}

/// Writes records with marks to a partition, in one batch where they fit; those of `keyless` have no key, and as many bytes.
fn produce(
    kafka: &Kafka,
    topic: &str,
    partition: i32,
    count: usize,
    keyless: &[(usize, usize)],
) -> Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .set("enable.idempotence", "true")
        .set("linger.ms", "50")
        .create()?;
    for number in 0..count {
        let (key, mut value) = (format!("{}-{number}", marks::KEY), format!("{number}: {}", marks::VALUE));
        let headers = OwnedHeaders::new().insert(Header { key: "h", value: Some(marks::HEADER) });
        let mut record = BaseRecord::to(topic).partition(partition).headers(headers);
        match keyless.iter().find(|(at, _)| *at == number) {
            Some((_, bytes)) => value = marks::VALUE.repeat(bytes / marks::VALUE.len() + 1),
            None => record = record.key(&key),
        }
        producer.send(record.payload(&value)).map_err(|(error, _)| error)?;
    }
    producer.flush(SAID).context("the source takes the records")
}

/// A batch whose bytes on the source's disk are not what was written, three records behind it, and sound ones in the other
/// partition of its range.
fn arrange_damage(world: &World) -> Result<()> {
    world.tools.create_topic(&world.source, DAMAGED, 2, &[])?;
    produce(&world.source, DAMAGED, 0, 20, &[])?;
    let log = world.source.broker(1).folder().join("data").join(format!("{DAMAGED}-0"));
    let log = log.join("00000000000000000000.log");
    let mut bytes = std::fs::read(&log)?;
    bytes[BATCH_HEADER + 10] ^= 0x55;
    std::fs::OpenOptions::new().write(true).open(&log)?.write_all(&bytes)?;
    produce(&world.source, DAMAGED, 0, 3, &[])?;
    produce(&world.source, DAMAGED, 1, 50, &[])?;
    world.api.add_mirror("d", mirror(&[DAMAGED])).map(drop)
}

/// The batch is named, with where it ends; the other partition flows; what the cause advises lets the partition go on.
fn a_batch_that_cannot_be_read(world: &World) -> Result<()> {
    let message = world.api.wait_cause("d", "SOURCE_RECORD_UNREADABLE", SAID)?;
    for part in
        ["damaged partition 0 of cluster a", "offset 0 ", "ends at offset 19", "kafka-delete-records.sh"]
    {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
    println!("{message}");
    produce(&world.source, DAMAGED, 1, 50, &[])?;
    wait_until(COPIED, "the sound partition of the same range", || {
        let dump = world.tools.dump(&world.target, "a.damaged", Isolation::Committed)?;
        let counts = [0, 1].map(|p| dump.partitions[&p].records.len());
        ensure!(counts[0] == 0, "records behind an unreadable batch: {counts:?}");
        Ok((counts[1] == 100).then_some(()))
    })?;
    let resume = v1::Mirror { gap_policy: v1::GapPolicy::Resume.into(), ..Default::default() };
    update(world, "d", "gap_policy", resume)?;
    world.tools.delete_records(&world.source, DAMAGED, &[(0, 20)])?;
    world.wait_exact(DAMAGED, "a.damaged", HEALED).map(drop)
}

fn update(world: &World, id: &str, field: &str, mirror: v1::Mirror) -> Result<()> {
    let mirror = Some(v1::Mirror { name: format!("mirrors/{id}"), ..mirror });
    let update_mask = Some(prost_types::FieldMask { paths: vec![field.to_owned()] });
    let request = v1::UpdateMirrorRequest { mirror, update_mask, ..Default::default() };
    world.api.update_mirror(request).map(drop).map_err(twinlog_tests::api::told)
}

fn long_name() -> String {
    format!("c.long-{}", "n".repeat(240))
}

/// Records without keys, then compaction: the copies refuse them. One record is larger than any text should be.
fn arrange(world: &World) -> Result<()> {
    let source = &world.source;
    world.tools.create_topic(source, KEYLESS, 3, &[])?;
    produce(source, KEYLESS, 0, 4, &[(2, 900_000)])?;
    produce(source, KEYLESS, 1, 7, &[(3, 100)])?;
    produce(source, KEYLESS, 2, 5, &[])?;
    world.tools.alter_topic(source, KEYLESS, &[("cleanup.policy", "compact")])?;
    for topic in ["c.quiet", &long_name()] {
        world.tools.create_topic(source, topic, 1, &[])?;
        produce(source, topic, 0, 20, &[])?;
    }
    world.tools.create_topic(source, "c.good", 4, &[])?;
    world.tools.load(source, "c.good", &LoadOptions { rate: 2_000.0, ..LoadOptions::new(4) })?;
    world.api.add_mirror("m", mirror(&[r"c\..*"]))?;
    let at_least_once = v1::Mirror {
        guarantee: v1::Guarantee::AtLeastOnce.into(),
        naming: naming(v1::naming::Kind::Identity),
        ..mirror(&[r"c\.keyless"])
    };
    world.api.add_mirror("n", at_least_once)?;
    Ok(())
}

/// What stops the partition, once it is said.
fn wait_refused(world: &World, id: &str, partition: i32) -> Result<String> {
    let cause = wait_until(SAID, &format!("{id}: {KEYLESS} partition {partition} to stop"), || {
        let ranges = world.api.ranges(id)?;
        let partitions = ranges.iter().filter(|r| r.source_topic == KEYLESS).flat_map(|r| &r.partitions);
        let stopped = partitions.filter(|p| p.partition == partition && p.state() == v1::State::Stopped);
        Ok(stopped.filter_map(|p| p.cause.as_ref()).next().cloned())
    })?;
    ensure!(cause.reason == "RECORD_REFUSED", "{cause:?}");
    Ok(cause.message)
}

/// The very record is named, in the broker's words, with what to do; the others of the range are there.
fn refusals_are_named(world: &World) -> Result<()> {
    for (id, copy) in [("m", "a.c.keyless"), ("n", KEYLESS)] {
        for (partition, offset) in [(0, 2), (1, 3)] {
            let message = wait_refused(world, id, partition)?;
            for part in [
                &*format!("c.keyless partition {partition} offset {offset}:"),
                copy,
                "cleanup.policy=compact",
                "ompacted topic cannot accept message without key",
                "topic_creation.config_overrides",
                "gap_policy",
            ] {
                assert!(message.contains(part), "{part:?} is not in {message:?}");
            }
        }
        wait_until(COPIED, &format!("all of {copy} that can be copied"), || {
            let dump = world.tools.dump(&world.target, copy, Isolation::Committed)?;
            let counts = [0, 1, 2].map(|p| dump.partitions[&p].records.len());
            ensure!(counts[0] <= 2 && counts[1] <= 3, "records behind a refused one: {counts:?}");
            Ok((counts == [2, 3, 5]).then_some(()))
        })?;
    }
    println!("{}", wait_refused(world, "m", 0)?);
    Ok(())
}

fn nothing_is_shown(world: &World, when: &str) -> Result<()> {
    let mut texts = Vec::new();
    for id in ["m", "n", "d"] {
        let status = world.api.status(id)?;
        for cause in causes(&status) {
            assert!(cause.message.chars().count() <= SENTENCE, "{when}: {cause:?}");
        }
        texts.extend([format!("{status:?}"), format!("{:?}", world.api.ranges(id)?)]);
        for command in [["mirror", "status", id, "--ranges"], ["mirror", "status", id, "-ojson"]] {
            texts.push(cli(world, &command)?);
        }
    }
    texts.extend([cli(world, &["mirror", "list"])?, cli(world, &["status"])?]);
    texts.extend(world.workers.iter().map(|worker| worker.metrics()).collect::<Result<Vec<_>>>()?);
    texts.push(world.controllers[0].metrics()?);
    for text in &texts {
        marks::none_in(when, text);
    }
    Ok(())
}

/// What a command prints; tables fit a terminal of 80 columns.
fn cli(world: &World, args: &[&str]) -> Result<String> {
    let mut command = Command::new(binary("twinlog")?);
    command.env("TWINLOG_CONTROLLER", world.controllers[0].url()).env("COLUMNS", "80");
    let output = command.args(args).output()?;
    ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let is_table = !args.contains(&"-ojson");
    // Sentences are wrapped by the terminal itself.
    for line in text.lines().filter(|line| is_table && line.contains("  ")) {
        ensure!(line.chars().count() <= 80, "{args:?}: {} columns: {line}", line.chars().count());
    }
    Ok(text)
}

/// Whatever empties a producer's queue by force.
fn trouble(world: &World) -> Result<()> {
    // Fenced: its ranges run elsewhere when it goes on.
    let frozen = &world.workers[0];
    frozen.process.pause()?;
    world.api.wait_workers(1, SAID)?;
    std::thread::sleep(TAKEN_OVER);
    frozen.process.resume()?;
    world.api.wait_workers(2, SAID)?;
    nothing_is_shown(world, "after a fenced worker")?;
    world.target.broker(1).restart()?;
    world.target.wait_ready()?;
    world.workers[1].process.restart()?;
    world.api.wait_workers(2, SAID)?;
    // By now the quiet topic's transactional id has been forgotten.
    std::thread::sleep(EXPIRY);
    produce(&world.source, "c.quiet", 0, 20, &[])?;
    world.wait_exact("c.quiet", "a.c.quiet", COPIED)?;
    nothing_is_shown(world, "after broker and worker were killed")
}

#[test]
fn what_records_hold_is_shown_nowhere() -> Result<()> {
    let _beside = beside();
    let runtime = tokio::runtime::Runtime::new()?;
    let traces = Traces::default();
    let expiry = EXPIRY.as_millis().to_string();
    let target = KafkaOptions::default()
        .prop("transactional.id.expiration.ms", &*expiry)
        .prop("transaction.remove.expired.transaction.cleanup.interval.ms", "1000");
    let env =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", traces.listen(&runtime)?), ("TWINLOG_LOG", "trace".to_owned())];
    let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let world =
        World::start("content", WorldOptions { etcd_members: 0, target, env, ..WorldOptions::default() })?;
    arrange(&world)?;
    arrange_damage(&world)?;
    refusals_are_named(&world)?;
    nothing_is_shown(&world, "after refusals")?;
    world.workers.iter().try_for_each(|worker| worker.process.check_running())?;
    trouble(&world)?;

    // What the cause advises.
    let overrides = [("cleanup.policy".to_owned(), "delete".to_owned())].into();
    let creation = v1::TopicCreation { config_overrides: overrides, ..Default::default() };
    for id in ["m", "n"] {
        let mirror = v1::Mirror { topic_creation: Some(creation.clone()), ..Default::default() };
        update(&world, id, "topic_creation.config_overrides", mirror)?;
    }
    a_batch_that_cannot_be_read(&world)?;
    world.wait_exact(KEYLESS, "a.c.keyless", HEALED)?;
    // At least once: what was killed meanwhile may have been copied twice.
    wait_until(HEALED, "all records without a key", || {
        let dump = world.tools.dump(&world.target, KEYLESS, Isolation::Committed)?;
        Ok([4, 7, 5]
            .iter()
            .zip(0..)
            .all(|(count, p)| dump.partitions[&p].records.len() >= *count)
            .then_some(()))
    })?;
    world.tools.stop_load("c.good")?;
    world.wait_exact("c.good", "a.c.good", COPIED)?;
    world.wait_exact(&long_name(), &format!("a.{}", long_name()), COPIED)?;

    let exported = traces.0.lock().unwrap_or_else(|e| e.into_inner()).clone();
    ensure!(!exported.is_empty(), "nothing was traced");
    marks::none_in("a trace", &exported);
    nothing_is_shown(&world, "at the end")
    // The logs are searched when the world ends.
}
