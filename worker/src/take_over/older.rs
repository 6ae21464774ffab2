//! Offsets below the place where a mirror took over from MirrorMaker 2: the mirror has no map there, but both logs still hold the
//! records. From the nearest place that is known on both sides (an offset sync of MM2's, or the take-over itself) records are laid
//! side by side up to the one that is asked for. Never a guess: what isn't found has no translation.

use twinlog_proto::model::Mirror;

use super::align::Print;
use super::syncs::Sync;
use crate::cluster::ClusterHandle;
use crate::kafka::KafkaError;
use crate::scan::{self, Span, Wanted};

/// Offsets between the place that is known and the one that is asked for, at most.
const MAX_DISTANCE: i64 = 20_000;
/// The target may hold more than the source shows: markers, aborted records that MM2 copied. Offsets.
const SLACK: i64 = 2_000;

type Prints = Vec<(i64, Print)>;

/// One partition of a mirror that took over.
pub(crate) struct Older<'a> {
    pub(crate) mirror: &'a Mirror,
    pub(crate) source: &'a ClusterHandle,
    pub(crate) target: &'a ClusterHandle,
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    /// Where the mirror took over, on both sides.
    pub(crate) origin: Sync,
}

impl Older<'_> {
    /// The target offset of the first record at or after `position`, which lies below the origin.
    pub(crate) async fn translate(&self, position: i64) -> Result<Option<i64>, KafkaError> {
        let Some(copy) = self.mirror.policy.remote_topic(self.topic) else { return Ok(None) };
        let (Some((source_start, _)), Some((target_start, _))) = (
            scan::bounds(self.source, self.topic).await?.remove(&self.partition),
            scan::bounds(self.target, &copy).await?.remove(&self.partition),
        ) else {
            return Ok(None);
        };
        let Some(from) = self.anchor(position, (source_start, target_start)).await? else { return Ok(None) };
        let first = position.max(source_start);
        let (source, target) = if from.source <= first {
            let end = from.target + (first - from.source) + SLACK;
            ((from.source, self.origin.source), (from.target, end.min(self.origin.target)))
        } else {
            let begin = from.target - (from.source - first) - SLACK;
            ((first, from.source), (begin.max(target_start), from.target))
        };
        // Forwards, the record that is asked for is the last that is needed.
        let source = prints(self.source, self.topic, self.partition, source, first.max(from.source)).await?;
        let target = prints(self.target, &copy, self.partition, target, i64::MAX).await?;
        let above = if from.source > position { from } else { self.origin };
        Ok(find(source, target, first, above.target, from.source > position))
    }

    /// The nearest place known on both sides, below the position if there is one.
    async fn anchor(&self, position: i64, start: (i64, i64)) -> Result<Option<Sync>, KafkaError> {
        let policy = &self.mirror.policy;
        let mut known = vec![self.origin];
        for (cluster, topic) in [
            (self.source, policy.offset_syncs_topic(policy.target_alias())),
            (self.target, policy.offset_syncs_topic(policy.source_alias())),
        ] {
            let all = |syncs: &super::syncs::Syncs| syncs.all(self.topic, self.partition).to_vec();
            known.extend(super::Shared::of(cluster).syncs(cluster, &topic, all).await.unwrap_or_default());
        }
        known.retain(|sync| {
            sync.source >= start.0
                && sync.target >= start.1
                && sync.source <= self.origin.source
                && sync.target <= self.origin.target
                && (sync.source - position).abs() <= MAX_DISTANCE
        });
        Ok(known.into_iter().min_by_key(|sync| (sync.source > position, (sync.source - position).abs())))
    }
}

/// Prints of the committed records of a span, up to the first at or after `enough`.
async fn prints(
    cluster: &ClusterHandle,
    topic: &str,
    partition: i32,
    (from, to): (i64, i64),
    enough: i64,
) -> Result<Prints, KafkaError> {
    let span = Span { partition, from, to };
    scan::scan(cluster, topic, vec![span], Prints::new(), move |prints, record| {
        prints.push((record.offset, Print::of(record)));
        if record.offset >= enough { Wanted::Enough } else { Wanted::More }
    })
    .await
}

/// Lays the records side by side, from their begin or their end, and finds the copy of the first source record at or after
/// `position`; `above` where there is none.
fn find(mut source: Prints, mut target: Prints, position: i64, above: i64, backwards: bool) -> Option<i64> {
    let wanted = source.iter().map(|(offset, _)| *offset).find(|offset| *offset >= position);
    let Some(wanted) = wanted else { return Some(above) };
    if backwards {
        source.reverse();
        target.reverse();
    }
    let mut left = target.as_slice();
    for (offset, print) in source {
        let found = left.iter().position(|(_, copy)| copy.same(print));
        if offset == wanted {
            return found.map(|at| left[at].0);
        }
        if let Some(at) = found {
            left = &left[at + 1..];
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::align::tests::print;
    use super::*;

    fn prints(records: &[(i64, u64)]) -> Prints {
        records.iter().map(|(offset, number)| (*offset, print(*number))).collect()
    }

    #[test]
    fn the_record_that_follows_is_found_from_below_and_from_above() {
        // 12 is a marker; 900 on the target an aborted record that MM2 copied.
        let source = prints(&[(10, 10), (11, 11), (13, 13), (14, 14)]);
        let target = prints(&[(5, 10), (6, 11), (7, 900), (8, 13), (9, 14)]);
        for (position, expected) in [(10, 5), (11, 6), (12, 8), (13, 8), (14, 9)] {
            let up_to =
                |list: &Prints| list.iter().copied().filter(|(o, _)| *o >= position).collect::<Prints>();
            assert_eq!(
                find(source.clone(), target.clone(), position, 10, false),
                Some(expected),
                "{position}"
            );
            assert_eq!(
                find(up_to(&source), target.clone(), position, 10, true),
                Some(expected),
                "{position}"
            );
        }
        assert_eq!(find(Prints::new(), target, 15, 10, true), Some(10), "nothing lies between");
    }

    #[test]
    fn equal_records_are_counted() {
        let source = prints(&[(0, 7), (1, 7), (2, 7), (3, 7)]);
        let target = prints(&[(100, 7), (101, 7), (102, 7), (103, 7)]);
        assert_eq!(find(source, target, 2, 104, false), Some(102));
    }

    #[test]
    fn what_is_not_on_the_target_has_no_translation() {
        let (source, target) = (prints(&[(0, 1), (1, 2)]), prints(&[(100, 1)]));
        assert_eq!(find(source, target, 1, 101, false), None);
    }
}
