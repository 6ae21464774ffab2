//! What a source may hold, case by case, through a lane of the native engine between two fakes: what goes on as it is, what is written
//! anew, and what is named. `tests/native.md` says which case is shown where.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use twinlog_proto::id::{Epoch, TaskName, WorkerId};
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;
use twinlog_tests::broker::batch::{HEADER_LEN, Header};
use twinlog_tests::broker::codec::{CODECS, Codec};
use twinlog_tests::broker::golden::{self, Spec, Writer};
use twinlog_tests::broker::reader::{self, Content, Entry};
use twinlog_tests::broker::{FakeKafka, Options};
use twinlog_worker::budget::Budget;
use twinlog_worker::cause::Cause;
use twinlog_worker::lane::{LaneHandle, LaneSpec, Range, start};

use crate::lane::{SOON, committed, handle, mirror, range};
use crate::script::now;

const GUARANTEES: [v1::Guarantee; 2] = [v1::Guarantee::AtLeastOnce, v1::Guarantee::ExactlyOnce];

/// A source that was filled, and a target whose copy has these configs.
struct Case {
    source: FakeKafka,
    target: FakeKafka,
    partitions: i32,
}

impl Case {
    async fn new(partitions: i32, configs: &[(&str, &str)], fill: impl FnOnce(&FakeKafka)) -> Result<Self> {
        let source = FakeKafka::start(Options::default()).await?;
        let target = FakeKafka::start(Options { seed: 7, ..Options::default() }).await?;
        source.create_topic("t", usize::try_from(partitions)?, 1, &[]);
        target.create_topic("a.t", usize::try_from(partitions)?, 1, configs);
        fill(&source);
        Ok(Self { source, target, partitions })
    }

    fn lane(&self, guarantee: v1::Guarantee, max_message_bytes: Option<i32>) -> Result<LaneHandle> {
        let spec = LaneSpec {
            task: TaskName::Replicate { mirror: "m".parse()?, target_topic: "a.t".to_owned(), block: 0 },
            epoch: Epoch(1),
            worker: WorkerId::new("w".to_owned())?,
            mirror: mirror(v1::Engine::Native, guarantee),
            range: Range { target_max_message_bytes: max_message_bytes, ..range(self.partitions) },
            source: handle("a", &self.source)?,
            target: handle("b", &self.target)?,
        };
        Ok(start(spec, &Budget::new(64 << 20)))
    }

    /// Everything is copied, and a reader of committed records sees the same.
    async fn copied(&self, guarantee: v1::Guarantee, max_message_bytes: Option<i32>) -> Result<()> {
        let mut lane = self.lane(guarantee, max_message_bytes)?;
        let mut status = lane.status();
        let ends: Vec<i64> = (0..self.partitions).map(|p| self.source.bounds("t", p).end).collect();
        let done = status.wait_for(|status| {
            status.partitions.iter().map(|p| p.position.map_or(-1, |at| at.0)).eq(ends.iter().copied())
        });
        let done = tokio::time::timeout(SOON, done).await.map(drop);
        done.with_context(|| format!("not copied in time: {:?}", lane.status().borrow().clone()))?;
        lane.drain();
        lane.stopped().await;
        for partition in 0..self.partitions {
            let start = self.source.bounds("t", partition).start;
            let mut from = reader::committed(&self.source.entries("t", partition)?);
            from.retain(|entry| entry.offset >= start);
            let from: Vec<Content> = from.iter().map(Entry::content).collect();
            let to = committed(&self.target, "a.t", partition)?;
            ensure!(from == to, "partition {partition}: {from:?} became {to:?}");
        }
        Ok(())
    }

    /// Why it doesn't go on.
    async fn named(&self, guarantee: v1::Guarantee, reason: Reason) -> Result<Arc<str>> {
        let mut lane = self.lane(guarantee, None)?;
        let mut status = lane.status();
        let said = |cause: &Option<Cause>| cause.as_ref().is_some_and(|cause| cause.reason == reason);
        let done = tokio::time::timeout(SOON, status.wait_for(|status| said(&status.cause))).await.map(drop);
        done.with_context(|| format!("{reason} isn't said: {:?}", lane.status().borrow().clone()))?;
        let message = lane.status().borrow().cause.as_ref().map(|cause| Arc::from(cause.message.as_str()));
        lane.drain();
        lane.stopped().await;
        message.context("a cause")
    }

    /// Batches of the copy that hold records.
    fn copies(&self, partition: i32) -> Vec<Header> {
        let batches = self.target.batches("a.t", partition).into_iter();
        batches.filter(|batch| !batch.is_control()).collect()
    }
}

/// The records of the first batch as they stand there.
fn payload(kafka: &FakeKafka, topic: &str, partition: i32) -> Bytes {
    let (bytes, first) = (kafka.bytes(topic, partition), kafka.batches(topic, partition)[0]);
    bytes.slice(HEADER_LEN..usize::try_from(first.batch_length).expect("a length") + 12)
}

/// Five codecs, three kinds of producers, both timestamp types, delete horizon or not: each alone in its partition.
#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_batch_goes_on_with_its_bytes() -> Result<()> {
    let all = golden::all(now());
    let partitions = i32::try_from(all.len())?;
    for guarantee in GUARANTEES {
        let case = Case::new(partitions, &[], |source| {
            for (spec, partition) in all.iter().zip(0..) {
                source.append("t", partition, &spec.batch());
                if let Writer::Transactional { id, epoch, .. } = spec.writer {
                    source.append_marker("t", partition, id, epoch, true);
                }
            }
        })
        .await?;
        case.copied(guarantee, None).await?;
        for (spec, partition) in all.iter().zip(0..) {
            let same = payload(&case.source, "t", partition) == payload(&case.target, "a.t", partition);
            // Readers see the broker's time: that is written into the records.
            ensure!(same != spec.log_append_time, "partition {partition}: {spec:?}");
            let [copy] = &case.copies(partition)[..] else { anyhow::bail!("one batch: {partition}") };
            ensure!(copy.codec() == spec.codec as i16 && !copy.is_log_append_time(), "{copy:?}");
            ensure!(copy.attributes & 1 << 6 == 0, "no delete horizon: {copy:?}");
        }
    }
    Ok(())
}

fn numbered(codec: Codec, count: i32) -> Bytes {
    Spec::numbered("n", count, now()).codec(codec).batch()
}

/// S1, S2: each codec in a partition, with holes, and with a log that begins in the middle of the batch.
#[tokio::test(flavor = "multi_thread")]
async fn holes_are_closed_and_what_was_deleted_is_cut_off() -> Result<()> {
    for guarantee in GUARANTEES {
        let case = Case::new(10, &[], |source| {
            for (codec, number) in CODECS.into_iter().zip(0..) {
                source.append("t", number, &numbered(codec, 20));
                source.compact("t", number, |offset, _| offset % 5 != 2, true);
                source.append("t", 5 + number, &numbered(codec, 20));
                source.delete_records("t", 5 + number, 7);
            }
        })
        .await?;
        case.copied(guarantee, None).await?;
        for partition in 0..10 {
            let expected = if partition < 5 { 16 } else { 13 };
            let [copy] = &case.copies(partition)[..] else { anyhow::bail!("one batch: {partition}") };
            ensure!((copy.count, copy.last_offset_delta) == (expected, expected - 1), "{copy:?}");
        }
    }
    Ok(())
}

/// S4: the target takes less than the source has. One record alone that is too large is named.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_split_or_named() -> Result<()> {
    let small = [("max.message.bytes", "1500")];
    for guarantee in GUARANTEES {
        let case = Case::new(2, &small, |source| {
            source.append("t", 0, &numbered(Codec::None, 100));
            source.append("t", 1, &numbered(Codec::Zstd, 2));
        })
        .await?;
        case.copied(guarantee, Some(1500)).await?;
        ensure!(case.copies(0).len() >= 3 && case.copies(1).len() == 1, "{:?}", case.copies(0));
    }
    let mut large = Spec::numbered("n", 1, now());
    large.records[0].value = Some(Bytes::from(vec![7; 3_000]));
    let case = Case::new(1, &small, |source| _ = source.append("t", 0, &large.batch())).await?;
    let message = case.named(v1::Guarantee::AtLeastOnce, Reason::RECORD_TOO_LARGE).await?;
    ensure!(message.contains("offset 0"), "{message}");
    Ok(())
}

/// S5: a backlog of small batches.
#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_small_batches_is_joined() -> Result<()> {
    for guarantee in GUARANTEES {
        let case = Case::new(1, &[], |source| {
            for (number, codec) in (0..100).zip(CODECS.into_iter().cycle()) {
                source.append("t", 0, &Spec::numbered(&format!("b{number}"), 3, now()).codec(codec).batch());
            }
        })
        .await?;
        case.copied(guarantee, None).await?;
        ensure!(case.copies(0).len() < 50, "{} batches", case.copies(0).len());
    }
    Ok(())
}

/// S8, S9: what the target's settings forbid is named with its place, and nothing behind it is copied.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_target_forbids_is_named() -> Result<()> {
    let old = Spec::numbered("old", 3, 1_000).batch();
    let configs = [("message.timestamp.before.max.ms", "3600000")];
    let case = Case::new(1, &configs, |source| _ = source.append("t", 0, &old)).await?;
    let message = case.named(v1::Guarantee::AtLeastOnce, Reason::RECORD_REFUSED).await?;
    ensure!(message.contains("offset 0"), "{message}");

    let mut keyless = Spec::numbered("n", 3, now()).codec(Codec::Lz4);
    keyless.records[1].key = None;
    let configs = [("cleanup.policy", "compact")];
    let case = Case::new(1, &configs, |source| _ = source.append("t", 0, &keyless.batch())).await?;
    let message = case.named(v1::Guarantee::AtLeastOnce, Reason::RECORD_REFUSED).await?;
    ensure!(message.contains("offset 1"), "{message}");
    Ok(())
}

/// S11 and what no producer may write: a codec that nobody knows, records that are not as many as they are said to be, a batch that claims
/// 2^31 records, a length that no answer can have.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_producer_writes_is_named() -> Result<()> {
    let spec = Spec::numbered("n", 3, now());
    let unknown = spec.batch_with(|header| header.attributes |= 6);
    let more = spec.batch_with(|header| (header.count, header.last_offset_delta) = (5, 4));
    let enormous =
        spec.batch_with(|header| (header.count, header.last_offset_delta) = (i32::MAX, i32::MAX - 1));
    let cases = [
        (unknown, 3, Reason::SOURCE_RECORD_UNREADABLE),
        (more, 5, Reason::SOURCE_RECORD_UNREADABLE),
        (enormous, i64::from(i32::MAX), Reason::SOURCE_RECORD_UNREADABLE),
    ];
    for (batch, offsets, reason) in cases {
        let case = Case::new(1, &[], |source| source.append_raw("t", 0, batch.clone(), offsets)).await?;
        let message = case.named(v1::Guarantee::AtLeastOnce, reason).await?;
        ensure!(message.contains("offset 0"), "{message}");
        ensure!(case.copies(0).is_empty(), "nothing is written of it");
    }
    Ok(())
}
