//! Fetch in raw requests: bounds, sizes, epochs, sessions, ids.

use anyhow::Result;
use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::fetch_response::{FetchResponse, PartitionData};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::OffsetForLeaderEpochResponse;
use kafka_protocol::messages::{ApiKey, BrokerId};
use twinlog_tests::broker::golden::Spec;

use crate::script::{Script, at, named, now, topic_name};

fn shown(data: &PartitionData) -> String {
    let records = data.records.as_ref().map_or(0, Bytes::len);
    let diverging = if data.diverging_epoch.epoch >= 0 {
        format!(" diverging {}@{}", data.diverging_epoch.epoch, data.diverging_epoch.end_offset)
    } else {
        String::new()
    };
    format!(
        "{} {}:{}:{} {records} bytes{diverging}",
        named(data.error_code),
        data.high_watermark,
        data.last_stable_offset,
        data.log_start_offset
    )
}

pub(crate) async fn bounds(s: &mut Script) -> Result<()> {
    let to = s.fresh();
    let time = now() - 10_000;
    for i in 0..4 {
        let spec = Spec::numbered(&format!("b{i}"), 3, time + i64::from(i) * 1000);
        s.produce("to be read", to, spec.batch(), Ok(i64::from(3 * i))).await?;
    }
    let one = Spec::numbered("b0", 3, time).batch().len();
    s.note("one batch", one.to_string(), "");
    for offset in [0, 1, 3, 11, 12, 13, -1] {
        let data = s.fetch("plain", at(to.partition, offset), 0).await?;
        s.note(&format!("from {offset}"), shown(&data), "");
    }
    for (what, most, whole) in [
        ("less than a batch", 10, 10_000),
        ("a batch and a part", i32::try_from(one)? + 30, 10_000),
        ("less than a batch in all", 10_000, 10),
        ("two batches in all", 10_000, 2 * i32::try_from(one)?),
    ] {
        let asked = at(to.partition, 0).with_partition_max_bytes(most);
        let request = request(vec![asked], whole, (0, -1));
        let response: FetchResponse = s.client.call(ApiKey::Fetch, 12, &request).await?;
        s.note(what, all(&response), "");
    }
    for (what, epoch, last) in [
        ("the right epoch", 0, -1),
        ("an unknown epoch", 5, -1),
        ("read in the right epoch", -1, 0),
        ("read in an epoch to come", -1, 5),
    ] {
        let asked = at(to.partition, 3).with_current_leader_epoch(epoch).with_last_fetched_epoch(last);
        let data = s.fetch("plain", asked, 0).await?;
        s.note(what, shown(&data), "");
    }
    let beyond = at(to.partition, 20).with_last_fetched_epoch(0);
    let data = s.fetch("plain", beyond, 0).await?;
    s.note("beyond the end of its epoch", shown(&data), "");
    for timestamp in [-1, -2, time, time + 1, time + 2500, time + 100_000] {
        let said = s.offsets("plain", &[to.partition], timestamp, 0).await?;
        let what = if timestamp < 0 { timestamp } else { timestamp - time };
        s.note(&format!("offset at {what}"), format!("{said:?}"), "");
    }
    epoch_ends(s, to.partition).await
}

async fn epoch_ends(s: &mut Script, partition: i32) -> Result<()> {
    for (current, epoch) in [(-1, 0), (0, 0), (-1, 3), (3, 0)] {
        let asked = OffsetForLeaderPartition::default()
            .with_partition(partition)
            .with_current_leader_epoch(current)
            .with_leader_epoch(epoch);
        let topic =
            OffsetForLeaderTopic::default().with_topic(topic_name("plain")).with_partitions(vec![asked]);
        let request =
            OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-2)).with_topics(vec![topic]);
        let said: OffsetForLeaderEpochResponse =
            s.client.call(ApiKey::OffsetForLeaderEpoch, 4, &request).await?;
        let p = &said.topics[0].partitions[0];
        let line = format!("{} {}@{}", named(p.error_code), p.leader_epoch, p.end_offset);
        s.note(&format!("end of epoch {epoch}, asked in {current}"), line, "");
    }
    Ok(())
}

fn request(partitions: Vec<FetchPartition>, max_bytes: i32, (session, epoch): (i32, i32)) -> FetchRequest {
    let topics = if partitions.is_empty() {
        Vec::new()
    } else {
        vec![FetchTopic::default().with_topic(topic_name("plain")).with_partitions(partitions)]
    };
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(max_bytes)
        .with_session_id(session)
        .with_session_epoch(epoch)
        .with_topics(topics)
}

fn all(response: &FetchResponse) -> String {
    if response.error_code != 0 {
        return named(response.error_code);
    }
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    format!("[{}]", partitions.map(shown).collect::<Vec<_>>().join(", "))
}

pub(crate) async fn sessions(s: &mut Script) -> Result<()> {
    const ALL: i32 = 1 << 20;
    let (a, b) = (s.fresh(), s.fresh());
    s.produce("session, first", a, Spec::numbered("s", 3, now()).batch(), Ok(0)).await?;
    let want = |partition: i32, offset: i64| at(partition, offset).with_partition_max_bytes(ALL);
    let full = request(vec![want(a.partition, 0), want(b.partition, 0)], ALL, (0, 0));
    let opened: FetchResponse = s.client.call(ApiKey::Fetch, 12, &full).await?;
    s.note("session opened", format!("{} {}", opened.session_id > 0, all(&opened)), "");
    let id = opened.session_id;
    let round = async |what: &str, s: &mut Script, request: FetchRequest| -> Result<()> {
        let said: FetchResponse = s.client.call(ApiKey::Fetch, 12, &request).await?;
        s.note(what, format!("{} {}", said.session_id == id, all(&said)), "");
        Ok(())
    };
    let next = request(vec![want(a.partition, 3)], ALL, (id, 1));
    round("nothing new", s, next).await?;
    s.produce("session, second", b, Spec::numbered("s", 2, now()).batch(), Ok(0)).await?;
    let next = request(vec![], ALL, (id, 2));
    round("one has something", s, next).await?;
    let next = request(vec![], ALL, (id, 3));
    round("not taken note of: again", s, next).await?;
    let next = request(vec![], ALL, (id, 3));
    round("the same round twice", s, next).await?;
    let next = request(vec![want(100_000, 0)], ALL, (id, 4));
    round("an unknown partition", s, next).await?;
    let mut next = request(vec![want(b.partition, 2)], ALL, (id, 5));
    next.forgotten_topics_data =
        vec![ForgottenTopic::default().with_topic(topic_name("plain")).with_partitions(vec![a.partition])];
    round("one forgotten", s, next).await?;
    s.produce("session, third", a, Spec::numbered("s", 1, now()).batch(), Ok(3)).await?;
    let next = request(vec![], ALL, (id, 6));
    round("nothing of the forgotten", s, next).await?;
    let next = request(vec![], ALL, (id + 1_000_000, 1));
    let said: FetchResponse = s.client.call(ApiKey::Fetch, 12, &next).await?;
    s.note("nobody's session", all(&said), "FetchSessionIdNotFound");
    let close = request(vec![], ALL, (id, -1));
    let said: FetchResponse = s.client.call(ApiKey::Fetch, 12, &close).await?;
    s.note("session closed", format!("{} {}", said.session_id, all(&said)), "0 []");
    let next = request(vec![], ALL, (id, 7));
    let said: FetchResponse = s.client.call(ApiKey::Fetch, 12, &next).await?;
    s.note("after it was closed", all(&said), "FetchSessionIdNotFound");
    Ok(())
}
