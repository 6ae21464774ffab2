//! Batches that are small where they lie and enormous when they are unpacked, and logs whose ends nobody may read: copied as they are, or
//! named; memory is bounded and other partitions flow meanwhile.
//!
//! 200 MB in a batch here; `TWINLOG_TEST_BOMB=2147483000` makes it the most that a record may have.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use kafka_protocol::messages::fetch_response::FetchResponse;
use kafka_protocol::messages::{ApiKey, BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use twinlog_proto::v1;
use twinlog_tests::broker::batch::{HEADER_LEN, Header, LENGTH_END, checksum};
use twinlog_tests::broker::raw::{RawClient, To};
use twinlog_tests::sandbox::{Kafka, wait_until};
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::alone;

/// Unpacked, bytes; more than the native engine unpacks.
const BOMB: usize = 200_000_000;
const BOMB_SET: &str = "TWINLOG_TEST_BOMB";
const COPIED: Duration = Duration::from_secs(60);
const KAFKA: Duration = Duration::from_secs(60);
const MIB: u64 = 1024 * 1024;
/// A worker that has unpacked as much of a batch as it ever does, and what it is itself, unoptimised.
const MEMORY: u64 = (128 + 64 + 160) * MIB;
/// Records of a transaction that is aborted.
const ABORTED: u32 = 100_000;
const ZSTD: i16 = 4;
/// Unpacked, of one of several records that pack to 8 kB each.
const PACKED: usize = 8 << 20;

fn bomb() -> usize {
    std::env::var(BOMB_SET).ok().and_then(|bytes| bytes.parse().ok()).unwrap_or(BOMB)
}

fn varint(to: &mut Vec<u8>, value: usize) {
    let mut raw = (value as u64) << 1;
    while raw >= 0x80 {
        to.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    to.push(raw as u8);
}

/// A batch of so many records, each with a value of so many zeros, which are never all in memory.
fn zeros(records: usize, size: usize) -> Result<Bytes> {
    let mut packed = zstd::stream::Encoder::new(Vec::new(), 3)?;
    let piece = vec![0; 1 << 20];
    for number in 0..records {
        let mut rest = vec![0, 0];
        varint(&mut rest, number);
        // No key.
        rest.push(1);
        varint(&mut rest, size);
        let mut head = Vec::new();
        varint(&mut head, rest.len() + size + 1);
        packed.write_all(&head)?;
        packed.write_all(&rest)?;
        // One more: no headers.
        let mut left = size + 1;
        while left > 0 {
            let part = left.min(piece.len());
            packed.write_all(&piece[..part])?;
            left -= part;
        }
    }
    let payload = packed.finish()?;
    let count = i32::try_from(records)?;
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_millis())?;
    let mut header = Header {
        base_offset: 0,
        batch_length: i32::try_from(HEADER_LEN - LENGTH_END + payload.len())?,
        leader_epoch: -1,
        magic: 2,
        crc: 0,
        attributes: ZSTD,
        last_offset_delta: count - 1,
        base_timestamp: now,
        max_timestamp: now,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        count,
    };
    let mut batch = vec![0; HEADER_LEN];
    batch.extend(payload);
    header.write(&mut batch);
    header.crc = checksum(&batch);
    header.write(&mut batch);
    Ok(batch.into())
}

/// Produced raw: no client packs such a thing.
fn drop_bomb(kafka: &Kafka, topic: &str, batch: Bytes) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let answer = runtime.block_on(async {
        let mut client = RawClient::connect(&kafka.bootstrap()).await?;
        client.produce(&To::new(topic, 0), batch).await
    })?;
    ensure!(answer.error_code == 0, "{topic}: code {}: {:?}", answer.error_code, answer.error_message);
    Ok(())
}

/// The first batch of a log, without its header.
fn payload(kafka: &Kafka, topic: &str) -> Result<Bytes> {
    let runtime = tokio::runtime::Runtime::new()?;
    let response: FetchResponse = runtime.block_on(async {
        let partition = FetchPartition::default()
            .with_partition(0)
            .with_fetch_offset(0)
            .with_partition_max_bytes(1 << 20);
        let name = TopicName(StrBytes::from_string(topic.to_owned()));
        let topic = FetchTopic::default().with_topic(name).with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_min_bytes(1)
            .with_max_wait_ms(1_000)
            .with_max_bytes(8 << 20)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        RawClient::connect(&kafka.bootstrap()).await?.call(ApiKey::Fetch, 12, &request).await
    })?;
    let data = response.responses.into_iter().flat_map(|topic| topic.partitions).next();
    let records = data.and_then(|data| data.records).context("no answer about the partition")?;
    let length = Header::read(&records).context("an empty log")?.batch_length;
    Ok(records.slice(HEADER_LEN..LENGTH_END + usize::try_from(length)?))
}

fn producer(kafka: &Kafka, transactional_id: Option<&str>) -> Result<BaseProducer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap()).set("queue.buffering.max.messages", "200000");
    if let Some(id) = transactional_id {
        config.set("transactional.id", id);
    }
    Ok(config.create()?)
}

fn send(producer: &BaseProducer, topic: &str, partition: i32, records: u32) -> Result<()> {
    for number in 0..records {
        let value = format!("record {number} of {topic}");
        let record = BaseRecord::<(), str>::to(topic).partition(partition).payload(&value);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    Ok(producer.flush(KAFKA)?)
}

fn native(topics: &[&str]) -> v1::Mirror {
    // A heartbeats topic would never stand still.
    let heartbeats = v1::Heartbeats {
        enabled: Some(false),
        replicate: Some(false),
        on_source: Some(false),
        ..Default::default()
    };
    v1::Mirror { heartbeats: Some(heartbeats), engine: v1::Engine::Native.into(), ..mirror(topics) }
}

fn peak(world: &World) -> Result<u64> {
    world.workers[0].process.peak_resident_bytes()
}

/// Nothing is left to copy, and that is known.
fn wait_end(world: &World, name: &str, topics: usize) -> Result<()> {
    let mut last = String::new();
    let waited = wait_until(COPIED, &format!("{name} to be at its end"), || {
        let status = world.api.status(name)?;
        let lag = status.totals.as_ref().and_then(|totals| totals.lag_records);
        last = format!("{status:#?}");
        Ok((lag == Some(0) && status.topics.len() == topics).then_some(()))
    });
    waited.with_context(|| last)
}

/// Values of 8 MB that pack to kilobytes, and one of 200 MB, are copied without being unpacked; where they must be unpacked, as a part of
/// a batch is gone, what is not too large is written anew, and what is too large is named.
#[test]
fn batches_that_unpack_to_gigabytes_are_copied_or_named() -> Result<()> {
    let _alone = alone();
    let options = WorldOptions { workers: 1, etcd_members: 0, ..WorldOptions::default() };
    let world = World::start("bombs", options)?;
    let (zeros_of, each) = (zeros(1, bomb())?, bomb() / 3);
    println!("{} bytes unpacked are {} packed", bomb(), zeros_of.len());
    for topic in ["whole", "packed", "cut", "cut-packed"] {
        world.tools.create_topic(&world.source, topic, 2, &[])?;
    }
    drop_bomb(&world.source, "whole", zeros_of)?;
    drop_bomb(&world.source, "packed", zeros(4, PACKED)?)?;
    drop_bomb(&world.source, "cut", zeros(3, each)?)?;
    drop_bomb(&world.source, "cut-packed", zeros(4, PACKED)?)?;
    let plain = producer(&world.source, None)?;
    for topic in ["whole", "packed", "cut", "cut-packed"] {
        send(&plain, topic, 0, 5)?;
        send(&plain, topic, 1, 500)?;
    }
    // The first record of each is gone: the rest must be written anew.
    world.tools.delete_records(&world.source, "cut", &[(0, 1)])?;
    world.tools.delete_records(&world.source, "cut-packed", &[(0, 1)])?;

    world.api.add_mirror("bombs", native(&["whole", "packed", "cut-packed"]))?;
    world.api.add_mirror("cut", native(&["cut"]))?;
    let message = world.api.wait_cause("cut", "SOURCE_RECORD_UNREADABLE", COPIED)?;
    assert!(message.contains("cut") && message.contains("bytes when unpacked (zstd)"), "{message}");
    wait_end(&world, "bombs", 3)?;
    for topic in ["whole", "packed"] {
        let copy = payload(&world.target, &format!("a.{topic}"))?;
        assert!(copy == payload(&world.source, topic)?, "{topic}: the same bytes");
    }
    world.wait_exact("packed", "a.packed", COPIED)?;
    world.wait_exact("cut-packed", "a.cut-packed", COPIED)?;
    // What stands beside a batch that can't be copied is.
    wait_until(COPIED, "the other partition of the topic", || {
        let offsets = world.tools.offsets(&world.target, "a.cut")?;
        Ok((offsets.get(&1).is_some_and(|(start, end)| end - start >= 500)).then_some(()))
    })?;
    println!("peak memory of the worker: {} MiB", peak(&world)? / MIB);
    assert!(peak(&world)? < MEMORY, "{} MiB", peak(&world)? / MIB);
    Ok(())
}

/// 100,000 records that nobody may see, with markers behind them: the position reaches the end, and nothing is said to be missing.
#[test]
fn aborted_records_and_markers_are_passed_to_the_very_end() -> Result<()> {
    let _alone = alone();
    let options = WorldOptions { workers: 1, etcd_members: 0, ..WorldOptions::default() };
    let world = World::start("markers", options)?;
    for topic in ["aborted", "markers"] {
        world.tools.create_topic(&world.source, topic, 1, &[])?;
    }
    let transactional = producer(&world.source, Some("aborting"))?;
    transactional.init_transactions(KAFKA)?;
    transactional.begin_transaction()?;
    send(&transactional, "aborted", 0, ABORTED)?;
    transactional.abort_transaction(KAFKA)?;
    send(&producer(&world.source, None)?, "aborted", 0, 10)?;
    for _ in 0..20 {
        transactional.begin_transaction()?;
        send(&transactional, "markers", 0, 1)?;
        transactional.commit_transaction(KAFKA)?;
    }
    for _ in 0..20 {
        transactional.begin_transaction()?;
        send(&transactional, "markers", 0, 1)?;
        transactional.abort_transaction(KAFKA)?;
    }
    world.api.add_mirror("m", native(&["aborted", "markers"]))?;
    wait_end(&world, "m", 2)?;
    for (topic, records) in [("aborted", 10), ("markers", 20)] {
        let verdict = world.wait_exact(topic, &format!("a.{topic}"), COPIED)?;
        assert_eq!(verdict.source_records, records, "{topic}");
    }
    let ends = |topic: &str| -> Result<i64> { Ok(world.tools.offsets(&world.source, topic)?[&0].1) };
    let expected = [ends("aborted")?, ends("markers")?];
    assert!(expected[0] > i64::from(ABORTED) && expected[1] >= 80, "{expected:?}");
    wait_until(COPIED, "positions to be at the very end", || {
        let ranges = world.api.ranges("m")?;
        let mut positions: Vec<i64> =
            ranges.iter().flat_map(|range| &range.partitions).filter_map(|p| p.position).collect();
        positions.sort_unstable();
        Ok((positions == [expected[1], expected[0]]).then_some(()))
    })?;
    println!("peak memory of the worker: {} MiB", peak(&world)? / MIB);
    assert!(peak(&world)? < MEMORY, "{} MiB", peak(&world)? / MIB);
    Ok(())
}
