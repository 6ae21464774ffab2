//! What only a fake can be asked for: topics that come and go under a session, replicas in racks, aborted transactions by the hundred.

use anyhow::Result;
use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchRequest, FetchTopic};
use kafka_protocol::messages::fetch_response::FetchResponse;
use kafka_protocol::messages::{ApiKey, BrokerId};
use kafka_protocol::protocol::StrBytes;
use twinlog_tests::broker::golden::{Spec, Writer};
use twinlog_tests::broker::raw::RawClient;
use twinlog_tests::broker::{FakeKafka, Options, reader};
use uuid::Uuid;

use crate::script::{at, named, now};

/// Bytes that are more than any of these logs has.
const ALL: i32 = 8 << 20;

fn by_id(id: Uuid, session: (i32, i32)) -> FetchRequest {
    let partition = at(0, 0).with_partition_max_bytes(ALL);
    let topic = FetchTopic::default().with_topic_id(id).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(ALL)
        .with_session_id(session.0)
        .with_session_epoch(session.1)
        .with_topics(vec![topic])
}

fn first_code(response: &FetchResponse) -> String {
    let code = response.responses.first().map_or(0, |topic| topic.partitions[0].error_code);
    named(code)
}

#[tokio::test]
async fn a_topic_that_is_made_anew_is_told_by_its_id() -> Result<()> {
    let kafka = FakeKafka::start(Options::default()).await?;
    kafka.create_topic("t", 1, 1, &[]);
    let id = kafka.topic_id("t");
    let mut client = RawClient::connect(&kafka.address(1)).await?;
    let opened: FetchResponse = client.call(ApiKey::Fetch, 13, &by_id(id, (0, 0))).await?;
    assert_eq!((first_code(&opened), kafka.sessions(1)), ("None".into(), 1));
    let session = opened.session_id;
    kafka.recreate_topic("t");
    let within: FetchResponse = client.call(ApiKey::Fetch, 13, &by_id(id, (session, 1))).await?;
    assert_eq!(first_code(&within), "InconsistentTopicId");
    kafka.delete_topic("t");
    let within: FetchResponse = client.call(ApiKey::Fetch, 13, &by_id(id, (session, 2))).await?;
    assert_eq!(first_code(&within), "UnknownTopicOrPartition");
    let without: FetchResponse = client.call(ApiKey::Fetch, 13, &by_id(id, (0, -1))).await?;
    assert_eq!(first_code(&without), "UnknownTopicId");
    kafka.forget_sessions(1);
    let gone: FetchResponse = client.call(ApiKey::Fetch, 13, &by_id(id, (session, 3))).await?;
    assert_eq!(named(gone.error_code), "FetchSessionIdNotFound");
    kafka.session_slots(1, 0);
    let refused: FetchResponse = client.call(ApiKey::Fetch, 13, &by_id(id, (0, 0))).await?;
    assert_eq!(refused.session_id, 0);
    Ok(())
}

#[tokio::test]
async fn a_reader_is_sent_to_the_replica_in_its_rack() -> Result<()> {
    let racks = vec!["x".to_owned(), "y".to_owned()];
    let kafka = FakeKafka::start(Options { brokers: 2, racks, ..Options::default() }).await?;
    kafka.create_topic("t", 1, 2, &[]);
    kafka.append("t", 0, &Spec::numbered("r", 3, now()).batch());
    let mut request = by_id(kafka.topic_id("t"), (0, -1));
    request.rack_id = StrBytes::from_static_str("y");
    let mut leader = RawClient::connect(&kafka.address(1)).await?;
    let sent: FetchResponse = leader.call(ApiKey::Fetch, 13, &request).await?;
    let partition = &sent.responses[0].partitions[0];
    assert_eq!(partition.preferred_read_replica.0, 2);
    assert_eq!(partition.records.as_ref().map_or(0, Bytes::len), 0);
    let mut replica = RawClient::connect(&kafka.address(2)).await?;
    let read: FetchResponse = replica.call(ApiKey::Fetch, 13, &request).await?;
    let records = read.responses[0].partitions[0].records.clone().unwrap_or_default();
    assert_eq!(reader::entries(records)?.len(), 3);
    // The leader says where it went.
    kafka.move_leader("t", 0);
    let mut old = by_id(kafka.topic_id("t"), (0, -1));
    old.topics[0].partitions[0].current_leader_epoch = 0;
    let fenced: FetchResponse = leader.call(ApiKey::Fetch, 16, &old).await?;
    let partition = &fenced.responses[0].partitions[0];
    assert_eq!(named(partition.error_code), "FencedLeaderEpoch");
    assert_eq!((partition.current_leader.leader_id.0, partition.current_leader.leader_epoch), (2, 1));
    assert_eq!(format!("127.0.0.1:{}", fenced.node_endpoints[0].port), kafka.address(2));
    Ok(())
}

#[tokio::test]
async fn aborted_transactions_come_in_the_order_of_their_ends() -> Result<()> {
    let kafka = FakeKafka::start(Options::default()).await?;
    kafka.create_topic("t", 1, 1, &[]);
    let write = |id: i64| {
        let writer = Writer::Transactional { id, epoch: 0, sequence: 0 };
        kafka.append("t", 0, &Spec::numbered("a", 2, now()).writer(writer).batch());
    };
    write(1);
    write(2);
    write(3);
    kafka.append_marker("t", 0, 2, 0, false);
    kafka.append_marker("t", 0, 1, 0, false);
    let mut request = by_id(kafka.topic_id("t"), (0, -1));
    request.isolation_level = 1;
    let mut client = RawClient::connect(&kafka.address(1)).await?;
    let read: FetchResponse = client.call(ApiKey::Fetch, 13, &request).await?;
    let partition = &read.responses[0].partitions[0];
    assert_eq!((partition.last_stable_offset, partition.high_watermark), (4, 8), "the third is open");
    let aborted: Vec<_> =
        partition.aborted_transactions.iter().flatten().map(|a| (a.producer_id.0, a.first_offset)).collect();
    assert_eq!(aborted, [(2, 2), (1, 0)]);
    Ok(())
}
