//! Every fault that a test can order does what it says.

use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use kafka_protocol::messages::fetch_response::FetchResponse;
use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use kafka_protocol::messages::metadata_response::MetadataResponse;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, ProduceResponse};
use kafka_protocol::messages::{ApiKey, BrokerId};
use twinlog_tests::broker::golden::{Spec, Writer};
use twinlog_tests::broker::raw::{RawClient, To};
use twinlog_tests::broker::{FakeKafka, Fault, Options, Release, Rule, Stage, reader};

use crate::script::{Script, at, named, now, topic_name};
use crate::txn;

async fn kafka(brokers: usize) -> Result<FakeKafka> {
    let kafka = FakeKafka::start(Options { brokers, ..Options::default() }).await?;
    kafka.create_topic("t", 2, brokers, &[]);
    Ok(kafka)
}

fn batch(sequence: i32) -> Bytes {
    Spec::numbered("f", 2, now()).writer(Writer::Idempotent { id: 5, epoch: 0, sequence }).batch()
}

fn said(answer: &PartitionProduceResponse) -> (String, i64) {
    (named(answer.error_code), answer.base_offset)
}

fn fetch(partitions: Vec<FetchPartition>, max_wait_ms: i32) -> FetchRequest {
    let topic = FetchTopic::default()
        .with_topic(topic_name("t"))
        .with_partitions(partitions.into_iter().map(|p| p.with_partition_max_bytes(1 << 20)).collect());
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

async fn fetched(client: &mut RawClient, partition: FetchPartition) -> Result<FetchResponse> {
    client.call(ApiKey::Fetch, 12, &fetch(vec![partition], 0)).await
}

#[tokio::test]
async fn a_lost_answer_was_appended_and_its_repeat_is_known() -> Result<()> {
    let kafka = kafka(1).await?;
    let to = To::new("t", 0);
    kafka.fault(Rule::next(ApiKey::Produce, Fault::LoseAnswer).on_partition("t", 0).after(1));
    let mut client = RawClient::connect(&kafka.address(1)).await?;
    assert_eq!(said(&client.produce(&to, batch(0)).await?), ("None".into(), 0));
    assert!(client.produce(&to, batch(2)).await.is_err(), "the connection is closed");
    assert_eq!(kafka.bounds("t", 0).end, 4);
    let mut client = RawClient::connect(&kafka.address(1)).await?;
    assert_eq!(said(&client.produce(&to, batch(2)).await?), ("None".into(), 2));
    assert_eq!(kafka.bounds("t", 0).end, 4);
    assert_eq!((kafka.faults_struck(), kafka.requests(ApiKey::Produce)), (1, 3));
    kafka.fault(Rule::next(ApiKey::Produce, Fault::Close));
    assert!(client.produce(&to, batch(4)).await.is_err());
    assert_eq!(kafka.bounds("t", 0).end, 4, "nothing was done");
    Ok(())
}

#[tokio::test]
async fn errors_come_with_and_without_an_append() -> Result<()> {
    let kafka = kafka(1).await?;
    let (one, two) = (To::new("t", 0), To::new("t", 1));
    let mut client = RawClient::connect(&kafka.address(1)).await?;
    let rule = Rule::next(ApiKey::Produce, Fault::Refuse(E::KafkaStorageError)).on_partition("t", 1).times(2);
    kafka.fault(rule);
    let both = client.produce_all(&one, vec![(0, batch(0)), (1, batch(0))]).await?;
    let both: Vec<_> = both.responses.iter().flat_map(|t| &t.partition_responses).map(said).collect();
    assert_eq!(both, [("None".into(), 0), ("KafkaStorageError".into(), -1)]);
    assert_eq!(said(&client.produce(&two, batch(0)).await?).0, "KafkaStorageError");
    assert_eq!(said(&client.produce(&two, batch(0)).await?), ("None".into(), 0));
    kafka.fault(Rule::next(ApiKey::Produce, Fault::RefuseAfter(E::NotEnoughReplicasAfterAppend)));
    assert_eq!(said(&client.produce(&one, batch(2)).await?).0, "NotEnoughReplicasAfterAppend");
    assert_eq!(said(&client.produce(&one, batch(2)).await?), ("None".into(), 2));
    Ok(())
}

#[tokio::test]
async fn short_replicas_refuse_and_a_held_mark_times_out() -> Result<()> {
    let kafka = kafka(3).await?;
    kafka.set_config("t", "min.insync.replicas", "2");
    kafka.set_in_sync("t", 0, &[1]);
    let to = To::new("t", 0);
    let mut client = RawClient::connect(&kafka.address(1)).await?;
    assert_eq!(said(&client.produce(&to, batch(0)).await?).0, "NotEnoughReplicas");
    assert_eq!(said(&client.produce(&to.acks(1), batch(0)).await?), ("None".into(), 0));
    kafka.set_in_sync("t", 0, &[1, 2]);
    kafka.hold_high_watermark("t", 0, true);
    let mut request = to.request(vec![(0, batch(2))]);
    request.timeout_ms = 30;
    let answer: ProduceResponse = client.call(ApiKey::Produce, 9, &request).await?;
    assert_eq!(named(answer.responses[0].partition_responses[0].error_code), "RequestTimedOut");
    let bounds = kafka.bounds("t", 0);
    assert_eq!((bounds.high_watermark, bounds.end), (2, 4), "appended, and not to be read");
    let seen = fetched(&mut client, at(0, 2)).await?;
    assert_eq!(seen.responses[0].partitions[0].records.as_ref().map_or(0, Bytes::len), 0);
    kafka.hold_high_watermark("t", 0, false);
    assert_eq!(said(&client.produce(&to, batch(2)).await?), ("None".into(), 2));
    Ok(())
}

#[tokio::test]
async fn leaders_move_with_epochs_and_say_where_to() -> Result<()> {
    let kafka = kafka(3).await?;
    let to = To::new("t", 0).version(11);
    let mut first = RawClient::connect(&kafka.address(1)).await?;
    first.produce(&to, batch(0)).await?;
    kafka.freeze_metadata(true);
    kafka.fault(Rule::next(ApiKey::Produce, Fault::MoveLeader).on_partition("t", 0));
    let answer: ProduceResponse = first.call(ApiKey::Produce, 11, &to.request(vec![(0, batch(2))])).await?;
    let refused = &answer.responses[0].partition_responses[0];
    assert_eq!(named(refused.error_code), "NotLeaderOrFollower");
    assert_eq!((refused.current_leader.leader_id.0, refused.current_leader.leader_epoch), (2, 1));
    assert_eq!(format!("127.0.0.1:{}", answer.node_endpoints[0].port), kafka.address(2));
    let topic = MetadataRequestTopic::default().with_name(Some(topic_name("t")));
    let request = MetadataRequest::default().with_topics(Some(vec![topic]));
    let stale: MetadataResponse = first.call(ApiKey::Metadata, 12, &request).await?;
    assert_eq!(stale.topics[0].partitions[0].leader_id.0, 1, "Metadata knows nothing of it");
    kafka.freeze_metadata(false);
    let mut second = RawClient::connect(&kafka.address(2)).await?;
    assert_eq!(said(&second.produce(&to, batch(2)).await?), ("None".into(), 2));
    let old = fetched(&mut second, at(0, 0).with_current_leader_epoch(0)).await?;
    assert_eq!(named(old.responses[0].partitions[0].error_code), "FencedLeaderEpoch");
    kafka.set_leader("t", 0, None);
    assert_eq!(said(&second.produce(&to, batch(4)).await?).0, "NotLeaderOrFollower");
    let none: MetadataResponse = first.call(ApiKey::Metadata, 12, &request).await?;
    assert_eq!(named(none.topics[0].partitions[0].error_code), "LeaderNotAvailable");
    Ok(())
}

#[tokio::test]
async fn a_killed_broker_is_gone_and_comes_back_at_its_address() -> Result<()> {
    let kafka = kafka(2).await?;
    let to = To::new("t", 0);
    let mut client = RawClient::connect(&kafka.address(1)).await?;
    client.produce(&to, batch(0)).await?;
    kafka.kill_broker(1);
    assert!(client.produce(&to, batch(2)).await.is_err());
    assert!(RawClient::connect(&kafka.address(1)).await.is_err());
    assert_eq!(kafka.leader("t", 0), (Some(2), 1));
    let mut other = RawClient::connect(&kafka.address(2)).await?;
    assert_eq!(said(&other.produce(&to, batch(0)).await?), ("None".into(), 0), "known to the new leader");
    kafka.start_broker(1).await?;
    kafka.set_leader("t", 0, Some(1));
    let mut client = RawClient::connect(&kafka.address(1)).await?;
    assert_eq!(said(&client.produce(&to, batch(2)).await?), ("None".into(), 2));
    kafka.cut_connections(1);
    assert!(client.produce(&to, batch(4)).await.is_err());
    RawClient::connect(&kafka.address(1)).await?.produce(&to, batch(4)).await?;
    Ok(())
}

#[tokio::test]
async fn answers_are_late_throttled_in_pieces_cut_or_lies() -> Result<()> {
    let kafka = kafka(1).await?;
    let to = To::new("t", 0);
    let mut client = RawClient::connect(&kafka.address(1)).await?;
    let begin = Instant::now();
    for fault in [
        Fault::Delay(Duration::from_millis(30)),
        Fault::DelayAnswer(Duration::from_millis(30)),
        Fault::Pieces(20, Duration::from_millis(10)),
    ] {
        kafka.fault(Rule::next(ApiKey::Fetch, fault));
        assert_eq!(fetched(&mut client, at(0, 0)).await?.responses.len(), 1);
    }
    assert!(begin.elapsed() >= Duration::from_millis(90), "{:?}", begin.elapsed());
    client.produce(&to, batch(0)).await?;
    kafka.fault(Rule::next(ApiKey::Fetch, Fault::Throttle(Duration::from_millis(80))));
    let begin = Instant::now();
    let empty = fetched(&mut client, at(0, 0)).await?;
    assert_eq!((empty.throttle_time_ms, empty.responses.len()), (80, 0));
    assert!(begin.elapsed() < Duration::from_millis(80));
    assert_eq!(fetched(&mut client, at(0, 0)).await?.responses.len(), 1);
    assert!(begin.elapsed() >= Duration::from_millis(80), "the connection was not read");
    for fault in [Fault::Cut(30), Fault::Answer(Bytes::from_static(b"no")), Fault::Claim(2_000_000_000)] {
        let mut client = RawClient::connect(&kafka.address(1)).await?;
        kafka.fault(Rule::next(ApiKey::Fetch, fault.clone()));
        let patience = Duration::from_millis(200);
        let answer = tokio::time::timeout(patience, fetched(&mut client, at(0, 0))).await;
        assert!(!matches!(answer, Ok(Ok(_))), "{fault:?}");
    }
    Ok(())
}

#[tokio::test]
async fn logs_are_truncated_shortened_and_compacted() -> Result<()> {
    let kafka = kafka(1).await?;
    let to = To::new("t", 0);
    let mut client = RawClient::connect(&kafka.address(1)).await?;
    for i in 0..4 {
        client.produce(&to, batch(2 * i)).await?;
    }
    kafka.compact("t", 0, |offset, _| ![0, 2, 3].contains(&offset), true);
    let batches = kafka.batches("t", 0);
    let kept: Vec<_> = batches.iter().map(|b| (b.base_offset, b.count, b.last_offset_delta)).collect();
    assert_eq!(kept, [(0, 1, 1), (2, 0, 1), (4, 2, 1), (6, 2, 1)]);
    let offsets: Vec<i64> = kafka.entries("t", 0)?.iter().map(|entry| entry.offset).collect();
    assert_eq!(offsets, [1, 4, 5, 6, 7]);
    kafka.compact("t", 0, |offset, _| offset != 1, false);
    assert_eq!(kafka.batches("t", 0)[0].base_offset, 2, "without its last record a batch is gone");
    kafka.truncate("t", 0, 5);
    assert_eq!((kafka.bounds("t", 0).end, kafka.leader("t", 0).1), (4, 1));
    let seen = fetched(&mut client, at(0, 6).with_last_fetched_epoch(0)).await?;
    let diverging = &seen.responses[0].partitions[0].diverging_epoch;
    assert_eq!((diverging.epoch, diverging.end_offset), (0, 4));
    assert_eq!(
        said(&client.produce(&to, batch(4)).await?),
        ("None".into(), 4),
        "its producer is known as far"
    );
    kafka.delete_records("t", 0, 3);
    let seen = fetched(&mut client, at(0, 2)).await?;
    assert_eq!(named(seen.responses[0].partitions[0].error_code), "OffsetOutOfRange");
    kafka.forget_producers("t", 0);
    assert_eq!(said(&client.produce(&to, batch(777)).await?), ("None".into(), 6));
    Ok(())
}

#[tokio::test]
async fn producers_are_forgotten_by_the_age_of_their_last_batch() -> Result<()> {
    const DAY: i64 = 86_400_000;
    let kafka = kafka(1).await?;
    let to = To::new("t", 0);
    let mut client = RawClient::connect(&kafka.address(1)).await?;
    let old = Spec::numbered("old", 1, now() - 2 * DAY)
        .writer(Writer::Idempotent { id: 6, epoch: 0, sequence: 0 })
        .batch();
    client.produce(&to, old).await?;
    client.produce(&to, batch(0)).await?;
    kafka.expire_producers();
    assert_eq!(kafka.producers("t", 0).iter().map(|p| p.id).collect::<Vec<_>>(), [5]);
    kafka.advance_clock(2 * DAY);
    kafka.expire_producers();
    assert_eq!(kafka.producers("t", 0), []);
    Ok(())
}

#[tokio::test]
async fn a_topic_made_anew_has_another_id() -> Result<()> {
    let kafka = kafka(1).await?;
    let id = kafka.topic_id("t");
    let mut client = RawClient::connect(&kafka.address(1)).await?;
    client.produce(&To::new("t", 0).version(13).id(id), batch(0)).await?;
    kafka.recreate_topic("t");
    assert_ne!(kafka.topic_id("t"), id);
    assert_eq!(kafka.bounds("t", 0).end, 0);
    let answer = client.produce(&To::new("t", 0).version(13).id(id), batch(0)).await?;
    assert_eq!(named(answer.error_code), "UnknownTopicId");
    kafka.delete_topic("t");
    assert_eq!(said(&client.produce(&To::new("t", 0), batch(0)).await?).0, "UnknownTopicOrPartition");
    Ok(())
}

#[tokio::test]
async fn a_waiting_fetch_is_answered_when_something_comes() -> Result<()> {
    let kafka = kafka(1).await?;
    let mut reader = RawClient::connect(&kafka.address(1)).await?;
    let mut writer = RawClient::connect(&kafka.address(1)).await?;
    reader.send(ApiKey::Fetch, 12, &fetch(vec![at(0, 0), at(1, 0)], 20_000)).await?;
    tokio::time::sleep(Duration::from_millis(20)).await;
    writer.produce(&To::new("t", 1), batch(0)).await?;
    let seen: FetchResponse = reader.receive(12).await?;
    let bytes = seen.responses[0].partitions[1].records.clone().unwrap_or_default();
    assert_eq!(reader::entries(bytes)?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn chance_is_drawn_from_the_seed() -> Result<()> {
    let mut patterns = Vec::new();
    for seed in [1, 1, 2] {
        let kafka = FakeKafka::start(Options { seed, ..Options::default() }).await?;
        kafka.create_topic("t", 1, 1, &[]);
        kafka.fault(Rule::every(ApiKey::Produce, Fault::Refuse(E::RequestTimedOut)).by_chance(300));
        let mut client = RawClient::connect(&kafka.address(1)).await?;
        let mut pattern = String::new();
        for _ in 0..60 {
            let answer = client.produce(&To::new("t", 0), Spec::numbered("c", 1, now()).batch()).await?;
            pattern.push(if answer.error_code == 0 { '.' } else { 'x' });
        }
        patterns.push(pattern);
    }
    assert_eq!(patterns[0], patterns[1]);
    assert_ne!(patterns[0], patterns[2]);
    let struck = patterns[0].matches('x').count();
    assert!((5..35).contains(&struck), "{}", patterns[0]);
    Ok(())
}

#[tokio::test]
async fn a_commit_marker_for_a_dead_partition_waits_or_is_forgotten() -> Result<()> {
    for (release, stage) in [(Release::V3_9, Stage::PrepareCommit), (Release::V4_3, Stage::CompleteCommit)] {
        let kafka = FakeKafka::start(Options { release, ..Options::default() }).await?;
        let mut script = Script::start(&kafka.address(1), release).await?;
        let to = txn::decided(&mut script, &kafka).await?;
        assert_eq!(kafka.transaction("decided").map(|t| t.stage), Some(stage), "{release:?}");
        kafka.set_leader(to.topic, to.partition, Some(1));
        let stable = kafka.bounds(to.topic, to.partition).last_stable;
        // 4.3.0 leaves the transaction open in that partition for good.
        assert_eq!(stable, if release == Release::V3_9 { 3 } else { 0 });
    }
    Ok(())
}
