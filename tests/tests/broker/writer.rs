//! The writer of heartbeats, checkpoints and offset syncs against the strict broker: in order, each once, through what goes wrong on the way.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::ApiKey;
use twinlog_proto::reason::Reason;
use twinlog_tests::broker::{FakeKafka, Fault, Options, Rule};
use twinlog_worker::kafka::{NewRecord, RecordWriter, code};

use crate::lane::handle;
use crate::script::now;

/// Until a batch has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same where it has to.
const SHORT: Duration = Duration::from_millis(700);

async fn kafka() -> Result<FakeKafka> {
    let kafka = FakeKafka::start(Options { brokers: 3, ..Options::default() }).await?;
    kafka.create_topic("t", 3, 3, &[("max.message.bytes", "100000")]);
    Ok(kafka)
}

fn writer(kafka: &FakeKafka, patience: Duration) -> Result<RecordWriter> {
    Ok(RecordWriter::new(&handle("b", kafka)?.client, patience))
}

fn records(numbers: std::ops::Range<usize>, bytes: usize) -> Vec<NewRecord> {
    let record = |number: usize| NewRecord {
        key: number.to_string().into_bytes(),
        value: vec![b'v'; bytes],
        timestamp_ms: now(),
    };
    numbers.map(record).collect()
}

fn keys(kafka: &FakeKafka, partition: i32) -> Result<Vec<usize>> {
    let entries = kafka.entries("t", partition)?;
    entries
        .iter()
        .map(|entry| Ok(std::str::from_utf8(entry.key.as_ref().expect("a key"))?.parse()?))
        .collect()
}

fn rule(fault: Fault) -> Rule {
    Rule::next(ApiKey::Produce, fault).on_topic("t")
}

#[tokio::test]
async fn what_heals_is_written_once_and_in_order() -> Result<()> {
    let lost = [Fault::LoseAnswer, Fault::Close, Fault::Cut(7), Fault::Delay(Duration::from_millis(50))];
    let refused = [
        E::NotLeaderOrFollower,
        E::NotEnoughReplicas,
        E::RequestTimedOut,
        E::KafkaStorageError,
        E::UnknownTopicOrPartition,
    ];
    let after = [E::NotEnoughReplicasAfterAppend, E::RequestTimedOut];
    let moved = [Fault::MoveLeader, Fault::MoveLeaderAfter];
    let faults =
        lost.into_iter().chain(refused.map(Fault::Refuse)).chain(after.map(Fault::RefuseAfter)).chain(moved);
    for fault in faults {
        let kafka = kafka().await?;
        let mut writer = writer(&kafka, PATIENCE)?;
        for part in 0..3 {
            if part == 1 {
                kafka.fault(rule(fault.clone()));
            }
            writer.write("t", 0, &records(10 * part..10 * part + 10, 10)).await?;
        }
        ensure!(kafka.faults_struck() == 1, "{fault:?} struck {} times", kafka.faults_struck());
        ensure!(keys(&kafka, 0)? == (0..30).collect::<Vec<_>>(), "{fault:?}: {:?}", keys(&kafka, 0)?);
    }
    Ok(())
}

#[tokio::test]
async fn a_producer_that_the_broker_has_forgotten_is_another_one() -> Result<()> {
    let kafka = kafka().await?;
    let mut writer = writer(&kafka, PATIENCE)?;
    writer.write("t", 1, &records(0..5, 10)).await?;
    kafka.fault(rule(Fault::Refuse(E::OutOfOrderSequenceNumber)));
    writer.write("t", 1, &records(5..10, 10)).await?;
    writer.write("t", 1, &records(10..12, 10)).await?;
    assert_eq!(keys(&kafka, 1)?, (0..12).collect::<Vec<_>>());
    assert_eq!(kafka.requests(ApiKey::InitProducerId), 2);
    Ok(())
}

#[tokio::test]
async fn batches_are_as_large_as_the_topic_takes_them() -> Result<()> {
    let kafka = kafka().await?;
    let mut writer = writer(&kafka, PATIENCE)?;
    writer.write("t", 2, &records(0..60, 10_000)).await?;
    assert_eq!(keys(&kafka, 2)?, (0..60).collect::<Vec<_>>());
    assert!(kafka.batches("t", 2).len() <= 15, "{}", kafka.batches("t", 2).len());
    let error =
        writer.write("t", 2, &records(60..61, 200_000)).await.expect_err("a record that is too large");
    assert_eq!((error.reason, error.retriable), (Reason::RECORD_TOO_LARGE, false));
    // Nothing of it was stored: what comes next goes on.
    writer.write("t", 2, &records(60..62, 10)).await?;
    assert_eq!(keys(&kafka, 2)?, (0..62).collect::<Vec<_>>());
    assert_eq!(kafka.requests(ApiKey::InitProducerId), 1);
    Ok(())
}

#[tokio::test]
async fn whoever_gets_no_producer_id_writes_without() -> Result<()> {
    let kafka = kafka().await?;
    kafka.fault(Rule::every(ApiKey::InitProducerId, Fault::Refuse(E::ClusterAuthorizationFailed)));
    let mut writer = writer(&kafka, PATIENCE)?;
    writer.write("t", 0, &records(0..3, 10)).await?;
    assert_eq!(keys(&kafka, 0)?, [0, 1, 2]);
    assert!(kafka.entries("t", 0)?.iter().all(|entry| entry.producer_id == -1));
    Ok(())
}

#[tokio::test]
async fn what_doesnt_heal_ends_in_time_and_says_why() -> Result<()> {
    for (error, code, heals) in [
        (E::TopicAuthorizationFailed, code::TOPIC_AUTHORIZATION_FAILED, false),
        (E::NotEnoughReplicas, 19, true),
    ] {
        let kafka = kafka().await?;
        kafka.fault(Rule::every(ApiKey::Produce, Fault::Refuse(error)));
        let mut writer = writer(&kafka, SHORT)?;
        let began = Instant::now();
        let refused = writer.write("t", 0, &records(0..1, 10)).await.expect_err("it is refused");
        assert_eq!((refused.code, refused.retriable), (code, heals), "{refused}");
        assert!(refused.message.contains("topic t"), "{refused}");
        assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
        kafka.clear_faults();
        writer.write("t", 0, &records(0..1, 10)).await?;
        assert_eq!(keys(&kafka, 0)?, [0]);
    }
    let kafka = kafka().await?;
    let mut writer = writer(&kafka, SHORT)?;
    kafka.set_leader("t", 0, None);
    let error = writer.write("t", 0, &records(0..1, 10)).await.expect_err("nobody leads it");
    assert_eq!((error.code, error.retriable), (code::LEADER_NOT_AVAILABLE, true), "{error}");
    Ok(())
}
