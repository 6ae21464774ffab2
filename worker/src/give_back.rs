//! Giving a flow back to MirrorMaker 2: the mirror's positions are written where MM2 looks for its own, under the same key bytes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use twinlog_proto::id::SourceOffset;
use twinlog_proto::model::{Mirror, TakeOver};

use crate::cause::Cause;
use crate::cluster::ClusterHandle;
use crate::flow::Ends;
use crate::kafka::{KafkaError, NewTopic};
use crate::lane::Translator;
use crate::mm2_offsets::{self, DEFAULT_CONNECTOR, Key, Known, Offsets};
use crate::produce::{Producer, Record, millis};
use crate::take_over::{self, Shared};
use crate::topic::TopicPartition;

/// How a flow is given back; what isn't said is as the mirror took it over, or as MM2 has it by default.
#[derive(Debug)]
pub struct GiveBack {
    pub connector: Option<String>,
    pub offsets_topic: Option<String>,
    /// Only says what would be written.
    pub validate_only: bool,
}

/// What MM2 continues after.
#[derive(Debug)]
pub struct GivenBack {
    pub source: TopicPartition,
    /// `None`: MM2 begins at the start.
    pub last_copied: Option<SourceOffset>,
}

/// A reset position, in Connect's JSON.
const NOTHING: &[u8] = b"null";

/// The caller knows that the mirror is paused.
///
/// # Errors
/// MM2_RUNNING; the target can't be read or written.
pub(crate) async fn give_back(
    mirror: Arc<Mirror>,
    ends: Ends,
    how: GiveBack,
) -> Result<Vec<GivenBack>, Cause> {
    let validate_only = how.validate_only;
    let place = place(&mirror, how);
    let target = ends.target.clone();
    if !validate_only && let Some(running) = take_over::running(&target, &place).await? {
        return Err(running);
    }
    let translator = Translator::open(mirror.clone(), ends.source, ends.target).await?;
    let positions = translator.positions().await;
    if !validate_only {
        write(&mirror, &target, &place, &positions).await?;
    }
    let given = |(source, position): (TopicPartition, SourceOffset)| GivenBack {
        source,
        last_copied: Some(SourceOffset(position.0 - 1)).filter(|last| last.0 >= 0),
    };
    Ok(positions.into_iter().map(given).collect())
}

/// Where MM2 looks: as asked, or where the mirror took over from, or where MM2 does by itself.
fn place(mirror: &Mirror, how: GiveBack) -> TakeOver {
    let mut place = mirror.take_over.clone().unwrap_or_else(|| TakeOver::by_default(&mirror.source));
    place.connector = how.connector.or(place.connector);
    place.offsets_topic = how.offsets_topic.unwrap_or(place.offsets_topic);
    place
}

async fn write(
    mirror: &Mirror,
    target: &ClusterHandle,
    place: &TakeOver,
    positions: &[(TopicPartition, SourceOffset)],
) -> Result<(), KafkaError> {
    let topic = NewTopic {
        name: place.offsets_topic.clone(),
        partitions: mm2_offsets::TOPIC_PARTITIONS,
        replication_factor: mirror.internal_replication.offset_syncs,
        configs: BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]),
    };
    let partitions = target.client.ensure_topic(&topic).await?.partitions.len();
    let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
    let alias = mirror.policy.source_alias();
    let now = millis(SystemTime::now());
    let records = Shared::of(target)
        .offsets(target, &place.offsets_topic, alias, |offsets| {
            records(offsets, place.connector.as_deref(), alias, partitions, positions, now)
        })
        .await?;
    let mut producer = Producer::new(target);
    for (partition, records) in records {
        producer.send_all(&place.offsets_topic, partition, &records).await?;
    }
    Ok(())
}

/// What to write to which partition of the offsets topic. A key that is there stays where it is.
fn records(
    offsets: &Offsets,
    connector: Option<&str>,
    alias: &str,
    partitions: i32,
    positions: &[(TopicPartition, SourceOffset)],
    now: i64,
) -> BTreeMap<i32, Vec<Record>> {
    let mut records: BTreeMap<i32, Vec<Record>> = BTreeMap::new();
    for (TopicPartition { topic, partition }, position) in positions {
        let known = offsets.get(connector, topic, *partition);
        let value = match position.0 {
            0 if matches!(known, Some(Known::Copied(_))) => NOTHING.to_vec(),
            0 => continue,
            position if known == Some(Known::Copied(SourceOffset(position - 1))) => continue,
            position => mm2_offsets::encode_value(SourceOffset(position - 1)),
        };
        let (key, home) = match offsets.place(connector, topic, *partition) {
            Some((key, home)) => (key.clone(), home),
            None => {
                let connector = connector.unwrap_or(DEFAULT_CONNECTOR).to_owned();
                let key =
                    Key { connector, cluster: alias.to_owned(), topic: topic.clone(), partition: *partition };
                let home = key.partition_of(partitions);
                (key, home)
            }
        };
        records.entry(home).or_default().push(Record { key: key.encode(), value, timestamp_ms: now });
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(offsets: &Offsets, connector: Option<&str>, position: i64) -> Vec<(i32, String, String)> {
        let positions = [(TopicPartition::new("foo", 0), SourceOffset(position))];
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let records = records(offsets, connector, "S", 25, &positions, 1);
        let flat = records.into_iter().flat_map(|(p, list)| list.into_iter().map(move |r| (p, r)));
        flat.map(|(p, r)| (p, text(r.key), text(r.value))).collect()
    }

    const FOO: &str = r#"["MirrorSourceConnector",{"cluster":"S","partition":0,"topic":"foo"}]"#;

    #[test]
    fn a_position_is_written_as_mm2_would() {
        let written = written(&Offsets::new("S"), None, 124);
        let home = Key::decode(FOO.as_bytes()).unwrap().partition_of(25);
        assert_eq!(written, [(home, FOO.to_owned(), r#"{"offset":123}"#.to_owned())]);
    }

    #[test]
    fn a_key_that_is_there_stays_where_it_is() {
        let mut offsets = Offsets::new("S");
        let strimzi = FOO.replace("MirrorSource", "S->T.MirrorSource");
        offsets.apply(19, 1, Some(strimzi.as_bytes()), Some(br#"{"offset":5}"#));
        assert_eq!(written(&offsets, None, 8), [(19, strimzi, r#"{"offset":7}"#.to_owned())]);
        assert_eq!(written(&offsets, None, 6), [], "it is there already");
    }

    #[test]
    fn nothing_copied_is_no_position() {
        let mut offsets = Offsets::new("S");
        assert_eq!(written(&offsets, None, 0), []);
        offsets.apply(19, 1, Some(FOO.as_bytes()), Some(br#"{"offset":5}"#));
        assert_eq!(written(&offsets, None, 0), [(19, FOO.to_owned(), "null".to_owned())]);
    }
}
