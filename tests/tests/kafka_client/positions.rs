//! Offsets and raw batches.

use anyhow::Result;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use twinlog_proto::reason::Reason;
use twinlog_tests::sandbox::{KafkaOptions, Sandbox};
use twinlog_worker::kafka::{Isolation, KafkaClient, ListedOffset, OffsetSpec, Role, code};

use super::{TRY, client, produce, topic};

/// What fits any answer here.
const BYTES: i32 = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn positions_and_batches_are_the_logs_own() -> Result<()> {
    let sandbox = Sandbox::new("client-positions")?;
    let kafka = sandbox.kafka("a", KafkaOptions::default())?;
    let client = client(&kafka.bootstrap())?;
    client.ensure_topic(&topic("t", 3)).await?;
    produce(&client, "t", 0, 100)?;
    let open = transactions(&client)?;

    let at = |spec, isolation| one(&client, 0, spec, isolation);
    assert_eq!(at(OffsetSpec::Earliest, Isolation::Committed).await?.offset, 0);
    assert_eq!(at(OffsetSpec::Latest, Isolation::Committed).await?.offset, 100);
    let found = at(OffsetSpec::Timestamp(1042), Isolation::Committed).await?;
    assert_eq!((found.offset, found.timestamp), (42, 1042));
    assert_eq!(at(OffsetSpec::Timestamp(99_999), Isolation::Committed).await?.offset, -1);

    // Partition 1: 5 aborted records and their marker, 5 committed ones and theirs, and 5 of an open transaction.
    assert_eq!(one(&client, 1, OffsetSpec::Latest, Isolation::Uncommitted).await?.offset, 17);
    assert_eq!(one(&client, 1, OffsetSpec::Latest, Isolation::Committed).await?.offset, 12);
    let fetched = client.fetch_batches("t", 1, 0, BYTES, Isolation::Committed).await?;
    assert_eq!((fetched.log_start, fetched.high_watermark, fetched.last_stable_offset), (0, 17, 12));
    let seen: Vec<_> =
        fetched.batches.iter().map(|b| (b.header.base_offset, b.header.is_control())).collect();
    assert_eq!(seen, [(0, false), (5, true), (6, false), (11, true)]);
    assert_eq!(fetched.next_offset(), Some(12));
    let aborted: Vec<_> = fetched.aborted.iter().map(|a| (a.producer_id, a.first_offset)).collect();
    assert_eq!(aborted, [(fetched.batches[0].header.producer_id, 0)]);
    let all = client.fetch_batches("t", 1, 0, BYTES, Isolation::Uncommitted).await?;
    assert_eq!((all.next_offset(), all.aborted.len()), (Some(17), 0));
    open.abort_transaction(TRY)?;

    let end = client.fetch_batches("t", 0, 100, BYTES, Isolation::Committed).await?;
    assert!(end.batches.is_empty() && end.high_watermark == 100, "{end:?}");
    let beyond = client.fetch_batches("t", 0, 101, BYTES, Isolation::Committed).await.unwrap_err();
    assert_eq!(beyond.code, code::OFFSET_OUT_OF_RANGE);
    assert!(!beyond.retriable);

    // What is missing has its own error, and the rest its answer.
    let wanted = [("t", 0), ("t", 2), ("t", 9), ("missing", 0)];
    let wanted: Vec<_> = wanted.map(|(t, p)| (t.to_owned(), p, OffsetSpec::Latest)).to_vec();
    let found = client.list_offsets(&wanted, Isolation::Committed).await?;
    let answer = |topic: &str, partition| found[&(topic.to_owned(), partition)].clone();
    assert_eq!((answer("t", 0)?.offset, answer("t", 2)?.offset), (100, 0));
    for (topic, partition) in [("t", 9), ("missing", 0)] {
        let error = answer(topic, partition).unwrap_err();
        assert_eq!(error.reason, Reason::TOPIC_NOT_FOUND);
        assert!(error.message.contains(topic), "{error}");
    }
    let epochs = client.offset_for_leader_epoch(&[("t".to_owned(), 0, 0), ("t".to_owned(), 9, 0)]).await?;
    assert_eq!(epochs[&("t".to_owned(), 0)].clone()?.end_offset, 100);
    assert!(epochs[&("t".to_owned(), 9)].is_err());
    Ok(())
}

async fn one(
    client: &KafkaClient,
    partition: i32,
    spec: OffsetSpec,
    isolation: Isolation,
) -> Result<ListedOffset> {
    let mut found = client.list_offsets(&[("t".to_owned(), partition, spec)], isolation).await?;
    Ok(found.remove(&("t".to_owned(), partition)).expect("the partition was asked for")?)
}

/// An aborted, a committed and an open transaction of five records each in partition 1.
pub(super) fn transactions(client: &KafkaClient) -> Result<BaseProducer> {
    let mut config = client.properties().rdkafka(Role::Producer);
    let producer: BaseProducer = config.set("transactional.id", "t").set("linger.ms", "200").create()?;
    producer.init_transactions(TRY)?;
    for commit in [Some(false), Some(true), None] {
        producer.begin_transaction()?;
        for _ in 0..5 {
            producer.send(BaseRecord::to("t").partition(1).key("k").payload("v")).map_err(|(e, _)| e)?;
        }
        producer.flush(TRY)?;
        match commit {
            Some(true) => producer.commit_transaction(TRY)?,
            Some(false) => producer.abort_transaction(TRY)?,
            None => {}
        }
    }
    Ok(producer)
}
