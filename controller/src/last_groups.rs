//! What was last said of a mirror's consumer groups, and how it is stored: what a status shows while nobody looks at them, also after a
//! change of leader.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use prost_types::Timestamp;
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::v1;

use crate::packed;

/// By shard of the mirror's checkpoint tasks.
pub type LastGroups = BTreeMap<u32, LastSaid>;

/// What one checkpoint task said last.
#[derive(Clone, PartialEq, Message)]
pub struct LastSaid {
    #[prost(uint32, tag = "1")]
    pub shard: u32,
    #[prost(message, repeated, tag = "2")]
    pub groups: Vec<v1::GroupStatus>,
    /// `groups_sync_time` of the report.
    #[prost(message, optional, tag = "3")]
    pub sync_time: Option<Timestamp>,
    /// When it was said. No two times of one task say different things.
    #[prost(message, optional, tag = "4")]
    pub time: Option<Timestamp>,
    /// Groups that the store had no room for.
    #[prost(int32, tag = "5")]
    pub left_out: i32,
}

impl LastSaid {
    pub(crate) fn new(shard: u32, report: internal::TaskReport, time: Timestamp) -> Self {
        let internal::TaskReport { groups, groups_sync_time: sync_time, .. } = report;
        Self { shard, groups, sync_time, time: Some(time), left_out: 0 }
    }

    /// Orders by time.
    pub(crate) fn at(&self) -> Option<(i64, i32)> {
        self.time.map(|time| (time.seconds, time.nanos))
    }
}

/// Whether a report says how the groups are: a task that has just started has not looked yet.
pub(crate) fn tells(report: &internal::TaskReport) -> bool {
    report.state() == v1::State::Active || !report.groups.is_empty() || report.groups_sync_time.is_some()
}

/// The stored form.
#[derive(Clone, PartialEq, Message)]
pub struct Record {
    #[prost(message, repeated, tag = "1")]
    pub tasks: Vec<LastSaid>,
}

/// The value to store, at most so long: of what is too much, every task keeps the same share of its groups and says how many are left
/// out.
pub(crate) fn encode<'a>(said: impl Iterator<Item = &'a LastSaid>, limit: usize) -> Bytes {
    let mut record = Record { tasks: said.cloned().collect() };
    loop {
        let value = packed::encode(&record);
        if value.len() <= limit || record.tasks.iter().all(|said| said.groups.is_empty()) {
            return value;
        }
        // A little less than would fit, as parts pack worse than the whole.
        let share = 0.95 * limit as f64 / value.len() as f64;
        for said in &mut record.tasks {
            let before = said.groups.len();
            said.groups.truncate((before as f64 * share) as usize);
            let left_out = i32::try_from(before - said.groups.len()).unwrap_or(i32::MAX);
            said.left_out = said.left_out.saturating_add(left_out);
        }
    }
}

/// Parses a stored value.
pub(crate) fn decode(value: &[u8]) -> Result<LastGroups, String> {
    let record: Record = packed::decode(value)?;
    Ok(record.tasks.into_iter().map(|said| (said.shard, said)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(shard: u32, groups: u32) -> LastSaid {
        // Names that don't pack.
        let group = |_| v1::GroupStatus {
            group: uuid::Uuid::new_v4().to_string(),
            partitions: 12,
            state: v1::group_status::State::Synced.into(),
            ..Default::default()
        };
        let groups = (0..groups).map(group).collect();
        let time = Some(Timestamp { seconds: 1_800_000_000, nanos: 7 });
        LastSaid { shard, groups, sync_time: time, time, left_out: 0 }
    }

    #[test]
    fn what_is_stored_comes_back_as_it_was() {
        for groups in [0, 1, 2_000] {
            let all = LastGroups::from([(0, said(0, groups)), (3, said(3, groups))]);
            assert_eq!(decode(&encode(all.values(), 1_000_000)).unwrap(), all);
        }
        assert!(decode(&[0x1f, 0x8b, 0]).is_err());
    }

    #[test]
    fn what_is_too_much_is_left_out_and_counted() {
        let limit = 200_000;
        let (many, few) = (said(0, 20_000), said(1, 600));
        let value = encode([&many, &few].into_iter(), limit);
        assert!(value.len() <= limit && value.len() > limit / 2, "{} bytes", value.len());
        let stored = decode(&value).unwrap();
        for (all, kept) in [(&many, &stored[&0]), (&few, &stored[&1])] {
            assert!(
                kept.left_out > 0 && !kept.groups.is_empty(),
                "{} of {}",
                kept.left_out,
                all.groups.len()
            );
            assert_eq!(kept.groups, all.groups[..kept.groups.len()]);
            assert_eq!(kept.groups.len() + usize::try_from(kept.left_out).unwrap(), all.groups.len());
            assert_eq!((kept.time, kept.sync_time), (all.time, all.sync_time));
        }
    }
}
