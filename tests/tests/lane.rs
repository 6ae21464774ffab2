//! Lanes and the translator on real Kafka, in this process, without a controller: what is copied is compared record by record,
//! and every position of every partition is translated.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use twinlog_proto::id::{ClusterId, Epoch, SourceOffset, TaskName, WorkerId};
use twinlog_proto::reason::Reason;
use twinlog_proto::{model, v1};
use twinlog_tests::sandbox::{Kafka, KafkaOptions, Sandbox, wait_until};
use twinlog_worker::budget::Budget;
use twinlog_worker::cluster::ClusterHandle;
use twinlog_worker::kafka::NewTopic;
use twinlog_worker::lane::{LaneHandle, LaneSpec, LaneStatus, Range, Translation, Translator, start};
use twinlog_worker::status::State;
use twinlog_worker::topic::TopicPartition;

/// For what must come, on a machine that may be busy with other things.
const SOON: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 3;

/// One record as a consumer sees it: offset, key, value, headers, timestamp.
type Seen = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>, Option<i64>);

/// All partitions of a topic, as one range.
fn range(topic: &str) -> Range {
    Range {
        source_topic: topic.to_owned(),
        target_topic: format!("a.{topic}"),
        block: 0,
        first_partition: 0,
        partition_count: PARTITIONS,
        source_topic_id: None,
        target_max_message_bytes: None,
        initial_partitions: PARTITIONS,
        target_topic_id: None,
    }
}

struct World {
    source: Arc<ClusterHandle>,
    target: Arc<ClusterHandle>,
    servers: [String; 2],
    budget: Arc<Budget>,
}

/// Runs a story between two clusters of its own.
fn story(name: &str, tell: impl AsyncFnOnce(&World) -> Result<()>) -> Result<()> {
    // One at a time: two clusters are enough for two cores.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let sandbox = Sandbox::new(name)?;
    let (a, b) = sandbox.kafka_pair(("a", KafkaOptions::default()), ("b", KafkaOptions::default()))?;
    let handle = |id: &str, kafka: &Kafka| -> Result<Arc<ClusterHandle>> {
        let cluster = model::Cluster {
            id: ClusterId::new(id)?,
            bootstrap_servers: kafka.bootstrap().split(',').map(str::to_owned).collect(),
            properties: BTreeMap::new(),
        };
        Ok(Arc::new(ClusterHandle::open(&cluster)?))
    };
    let world = World {
        source: handle("a", &a)?,
        target: handle("b", &b)?,
        servers: [a.bootstrap(), b.bootstrap()],
        budget: Budget::new(64 << 20),
    };
    tokio::runtime::Runtime::new()?.block_on(tell(&world))
}

impl World {
    fn mirror(&self, id: &str, change: impl FnOnce(&mut v1::Mirror)) -> Arc<model::Mirror> {
        let mut wire = v1::Mirror {
            name: format!("mirrors/{id}"),
            source: "clusters/a".to_owned(),
            target: "clusters/b".to_owned(),
            topics: vec![".*".to_owned()],
            ..Default::default()
        };
        change(&mut wire);
        Arc::new(model::Mirror::parse(&wire).expect("a valid mirror"))
    }

    async fn create(&self, topic: &str, configs: &[(&str, &str)]) -> Result<()> {
        for (cluster, name) in [(&self.source, topic.to_owned()), (&self.target, format!("a.{topic}"))] {
            let configs = configs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let topic = NewTopic { name, partitions: PARTITIONS, replication_factor: 1, configs };
            cluster.client.ensure_topic(&topic).await?;
        }
        Ok(())
    }

    fn lane(&self, mirror: &Arc<model::Mirror>, topic: &str, epoch: i64) -> LaneHandle {
        let range = range(topic);
        let target_topic = range.target_topic.clone();
        let task = TaskName::Replicate { mirror: mirror.id.clone(), target_topic, block: 0 };
        let spec = LaneSpec {
            task,
            epoch: Epoch(epoch),
            worker: WorkerId::new(format!("w{epoch}")).expect("a valid id"),
            mirror: mirror.clone(),
            range,
            source: self.source.clone(),
            target: self.target.clone(),
        };
        start(spec, &self.budget)
    }

    fn producer(&self, transactional_id: Option<&str>) -> Result<BaseProducer> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers[0]).set("linger.ms", "1");
        if let Some(id) = transactional_id {
            config.set("transactional.id", id);
        }
        Ok(config.create()?)
    }

    /// Every record that a `read_committed` consumer sees, by partition, and where each partition ends.
    fn read(&self, cluster: usize, topic: &str) -> Result<Vec<(Vec<Seen>, i64)>> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.servers[cluster])
            .set("group.id", "reader")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("enable.auto.commit", "false")
            .create()?;
        let mut all: Vec<(Vec<Seen>, i64)> = Vec::new();
        for partition in 0..PARTITIONS {
            let (_, end) = consumer.fetch_watermarks(topic, partition, SOON)?;
            let mut one = TopicPartitionList::new();
            one.add_partition_offset(topic, partition, Offset::Beginning)?;
            consumer.assign(&one)?;
            let mut seen = Vec::new();
            loop {
                match consumer.poll(SOON).context("nothing came")? {
                    Ok(message) => seen.push(record(&message)),
                    Err(rdkafka::error::KafkaError::PartitionEOF(_)) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            all.push((seen, end));
        }
        Ok(all)
    }

    /// Source and target hold the same, and every position of the source leads to the record that follows on the target.
    async fn check(&self, mirror: &Arc<model::Mirror>, topic: &str) -> Result<()> {
        let (source, target) = (self.read(0, topic)?, self.read(1, &format!("a.{topic}"))?);
        let mut wanted = Vec::new();
        let mut expected = Vec::new();
        for (partition, ((source, source_end), (target, target_end))) in
            source.iter().zip(&target).enumerate()
        {
            let bare = |all: &[Seen]| {
                all.iter().map(|(_, k, v, h, t)| (k.clone(), v.clone(), h.clone(), *t)).collect::<Vec<_>>()
            };
            ensure!(bare(source) == bare(target), "{topic} partition {partition} differs");
            for position in 0..=*source_end {
                let next = source.partition_point(|(offset, ..)| *offset < position);
                expected.push(target.get(next).map_or(*target_end, |(offset, ..)| *offset));
                wanted.push((TopicPartition::new(topic, i32::try_from(partition)?), SourceOffset(position)));
            }
        }
        let translator = Translator::open(mirror.clone(), self.source.clone(), self.target.clone()).await?;
        for ((question, answer), expected) in
            wanted.iter().zip(translator.translate(&wanted, Ok(())).await).zip(expected)
        {
            let exact = matches!(&answer, Translation::Exact(offset) if offset.0 == expected);
            ensure!(exact, "{question:?}: {answer:?}, not {expected}");
        }
        Ok(())
    }
}

fn record(message: &impl Message) -> Seen {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect()
    });
    (
        message.offset(),
        message.key().map(<[u8]>::to_vec),
        message.payload().map(<[u8]>::to_vec),
        headers,
        message.timestamp().to_millis(),
    )
}

/// Null and empty keys and values, repeated headers with null values, old timestamps.
fn produce_mixed(producer: &BaseProducer, topic: &str, count: usize) -> Result<()> {
    for i in 0..count {
        let (key, value) = (format!("k{}", i % 17), "v".repeat(i % 300));
        let mut record = BaseRecord::<str, str>::to(topic).partition(i32::try_from(i)? % PARTITIONS);
        record = record.timestamp([1, 1_000_000, 1_700_000_000_000][i % 3]);
        if i % 5 != 0 {
            record = record.key(if i % 7 == 0 { "" } else { &key });
        }
        if i % 4 != 0 {
            record = record.payload(&value);
        }
        if i % 3 == 0 {
            let headers = OwnedHeaders::new()
                .insert(Header { key: "h", value: Some("1") })
                .insert(Header { key: "h", value: Some("2") })
                .insert(Header { key: "", value: None::<&str> });
            record = record.headers(headers);
        }
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(SOON)?;
    Ok(())
}

/// Small transactions, every third aborted.
fn produce_transactions(producer: &BaseProducer, topic: &str, count: usize) -> Result<()> {
    for transaction in 0..count {
        producer.begin_transaction()?;
        produce_mixed(producer, topic, 1 + transaction % 7)?;
        if transaction % 3 == 1 {
            producer.abort_transaction(SOON)?;
        } else {
            producer.commit_transaction(SOON)?;
        }
    }
    Ok(())
}

fn wait(lane: &LaneHandle, what: &str, when: impl Fn(&LaneStatus) -> bool) -> Result<LaneStatus> {
    let status = lane.status();
    wait_until(SOON, what, || {
        let now = status.borrow().clone();
        if when(&now) { Ok(Some(now)) } else { anyhow::bail!("{now:?}") }
    })
}

/// Position by partition, once all of it is copied.
fn caught_up(world: &World, lane: &LaneHandle, topic: &str) -> Result<()> {
    let ends: Vec<i64> = world.read(0, topic)?.into_iter().map(|(_, end)| end).collect();
    wait(lane, "everything is copied", |status| {
        let positions: Vec<i64> =
            status.partitions.iter().map(|p| p.position.map_or(-1, |at| at.0)).collect();
        status.state == State::Active && positions == ends
    })?;
    Ok(())
}

#[test]
fn every_record_and_every_position_with_both_guarantees() -> Result<()> {
    story("lane-exact", async |world| {
        for (id, guarantee) in [("eos", v1::Guarantee::ExactlyOnce), ("alo", v1::Guarantee::AtLeastOnce)] {
            let mirror = world.mirror(id, |m| m.set_guarantee(guarantee));
            let [plain, transactions, empty] =
                ["plain", "transactions", "empty"].map(|t| format!("{id}-{t}"));
            for topic in [&plain, &transactions, &empty] {
                world.create(topic, &[("retention.ms", "-1")]).await?;
            }
            produce_mixed(&world.producer(None)?, &plain, 3000)?;
            let producer = world.producer(Some(id))?;
            producer.init_transactions(SOON)?;
            produce_transactions(&producer, &transactions, 60)?;
            for topic in [&plain, &transactions, &empty] {
                let mut lane = world.lane(&mirror, topic, 1);
                caught_up(world, &lane, topic)?;
                lane.drain();
                lane.stopped().await;
                world.check(&mirror, topic).await?;
            }
            // A restart goes on exactly where it was.
            produce_transactions(&producer, &transactions, 20)?;
            let mut lane = world.lane(&mirror, &transactions, 2);
            caught_up(world, &lane, &transactions)?;
            lane.drain();
            lane.stopped().await;
            world.check(&mirror, &transactions).await?;
        }
        Ok(())
    })
}

/// Waits until a lane says that it is fenced, and by which epoch.
async fn fenced_by(lane: &LaneHandle, epoch: i64) -> Result<()> {
    let mut status = lane.status();
    let is_fenced = |status: &LaneStatus| {
        status.state == State::Stopped
            && status.cause.as_ref().is_some_and(|cause| cause.reason == Reason::FENCED)
    };
    tokio::time::timeout(SOON, status.wait_for(is_fenced)).await??;
    let deadline = Instant::now() + SOON;
    while lane.later_epoch() != Some(Epoch(epoch)) {
        ensure!(Instant::now() < deadline, "fenced by {:?}", lane.later_epoch());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[test]
fn a_newer_owner_fences_the_older_one_for_good() -> Result<()> {
    story("lane-fence", async |world| {
        let mirror = world.mirror("m", |_| ());
        world.create("t", &[("retention.ms", "-1")]).await?;
        let producer = world.producer(None)?;
        produce_mixed(&producer, "t", 500)?;
        let old = world.lane(&mirror, "t", 1);
        caught_up(world, &old, "t")?;
        let mut new = world.lane(&mirror, "t", 2);
        caught_up(world, &new, "t")?;
        produce_mixed(&producer, "t", 500)?;
        caught_up(world, &new, "t")?;
        fenced_by(&old, 2).await?;
        // One that comes late stops at once, and the present owner goes on.
        let late = world.lane(&mirror, "t", 1);
        fenced_by(&late, 2).await?;
        produce_mixed(&producer, "t", 500)?;
        caught_up(world, &new, "t")?;
        new.drain();
        new.stopped().await;
        world.check(&mirror, "t").await
    })
}

#[test]
fn deleted_records_halt_a_range_or_are_recorded() -> Result<()> {
    story("lane-gap", async |world| {
        let halt = world.mirror("m", |_| ());
        world.create("t", &[("retention.ms", "-1")]).await?;
        produce_mixed(&world.producer(None)?, "t", 300)?;
        let mut lane = world.lane(&halt, "t", 1);
        caught_up(world, &lane, "t")?;
        lane.drain();
        lane.stopped().await;

        // Partition 0 loses 50 records that were never copied; the others only wait.
        produce_mixed(&world.producer(None)?, "t", 300)?;
        let mut cut = TopicPartitionList::new();
        cut.add_partition_offset("t", 0, Offset::Offset(150))?;
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &world.servers[0]).create()?;
        admin.delete_records(&cut, &AdminOptions::new()).await?;

        let mut lane = world.lane(&halt, "t", 2);
        let degraded = wait(&lane, "the loss shows and the others go on", |status| {
            status.state == State::Degraded
                && status.partitions.iter().skip(1).all(|p| p.position == Some(SourceOffset(200)))
        })?;
        let cause = degraded.cause.context("no cause")?;
        ensure!(cause.reason == Reason::SOURCE_OFFSETS_LOST, "{cause:?}");
        ensure!(cause.message.contains("100 to 149"), "{}", cause.message);
        ensure!(
            degraded.partitions[0].position == Some(SourceOffset(100)),
            "a position is never moved silently"
        );

        let resume = world.mirror("m", |m| m.set_gap_policy(v1::GapPolicy::Resume));
        lane.update(resume, range("t"));
        let status = wait(&lane, "it goes on behind the gap", |status| {
            status.state == State::Active
                && status.partitions.iter().all(|p| p.position == Some(SourceOffset(200)))
        })?;
        let gap = status.partitions[0].gaps.first().context("no gap was recorded")?;
        ensure!((gap.first.0, gap.end.0) == (100, 150), "{gap:?}");
        lane.drain();
        lane.stopped().await;
        Ok(())
    })
}

#[test]
fn a_record_that_is_too_large_stops_its_partition_only() -> Result<()> {
    story("lane-large", async |world| {
        let mirror = world.mirror("m", |m| m.set_compression(v1::Compression::None));
        world.create("t", &[("retention.ms", "-1")]).await?;
        let small = BTreeMap::from([("max.message.bytes".to_owned(), "20000".to_owned())]);
        world.target.client.incremental_alter_configs("a.t", &small, &[]).await?;
        let producer = world.producer(None)?;
        produce_mixed(&producer, "t", 300)?;
        let large = "x".repeat(100_000);
        let record = BaseRecord::<str, str>::to("t").partition(1).key("large").payload(&large);
        producer.send(record).map_err(|(error, _)| error)?;
        produce_mixed(&producer, "t", 300)?;

        let mut lane = world.lane(&mirror, "t", 1);
        let status = wait(&lane, "partition 1 stops at the record, the others are done", |status| {
            let positions: Vec<i64> =
                status.partitions.iter().map(|p| p.position.map_or(-1, |at| at.0)).collect();
            status.state == State::Degraded && positions == [200, 100, 200]
        })?;
        let cause = status.cause.context("no cause")?;
        ensure!(cause.reason == Reason::RECORD_TOO_LARGE, "{cause:?}");
        ensure!(cause.message.contains("t partition 1 offset 100"), "{}", cause.message);

        // The limit is raised: the survey's next look says so, and the range goes on.
        let enough = BTreeMap::from([("max.message.bytes".to_owned(), "200000".to_owned())]);
        world.target.client.incremental_alter_configs("a.t", &enough, &[]).await?;
        let range = Range { target_max_message_bytes: Some(200_000), ..range("t") };
        lane.update(mirror.clone(), range);
        caught_up(world, &lane, "t")?;
        lane.drain();
        lane.stopped().await;
        world.check(&mirror, "t").await
    })
}
