//! Continuing where a MirrorMaker 2 stopped.
//!
//! For every partition that a mirror has no progress of its own for, or less than MM2: the position that MM2 committed in Connect's
//! offsets topic, and beyond it whatever MM2 had copied when it ended. Nothing is decided while MM2's group has members.

mod align;
mod older;
mod open;
mod shared;
mod syncs;

use std::collections::{BTreeMap, VecDeque};

use twinlog_proto::id::SourceOffset;
use twinlog_proto::model::{Mirror, Partitioning, TakeOver};
use twinlog_proto::reason::Reason;

use self::align::{Alignment, Anchor, CONTEXT};
use crate::cause::Cause;
use crate::cluster::ClusterHandle;
use crate::kafka::{GroupDescription, Isolation, KafkaError, OffsetSpec};
use crate::mm2_offsets::Known;
use crate::scan::{self, Span};

pub(crate) use self::align::Print;
pub(crate) use self::older::Older;
pub(crate) use self::open::end_open_transactions;
pub(crate) use self::shared::Shared;
pub(crate) use self::syncs::Sync;

/// Records of the target that are laid beside the source, all partitions of a range; 32 bytes each.
const MAX_COPIES: i64 = 400_000;
/// At least so many per partition.
const MIN_COPIES: i64 = 2_000;

/// One range of a mirror that takes over.
pub(crate) struct Question<'a> {
    pub(crate) mirror: &'a Mirror,
    pub(crate) copied_by: CopiedBy<'a>,
    pub(crate) source: &'a ClusterHandle,
    pub(crate) target: &'a ClusterHandle,
    pub(crate) source_topic: &'a str,
    pub(crate) target_topic: &'a str,
    /// With the mirror's own positions.
    pub(crate) partitions: &'a BTreeMap<i32, Option<i64>>,
}

/// Who has made the copy.
#[derive(Clone, Copy)]
pub(crate) enum CopiedBy<'a> {
    MirrorMaker2(&'a TakeOver),
    /// A consumer group of the source, which has committed these offsets of the topic.
    Group(&'a BTreeMap<i32, i64>),
    /// Whoever: only the records themselves say where the copy ends.
    Anyone,
}

/// Whether MM2 still runs: the words for the mirror's status.
///
/// # Errors
/// It can't be told, for example without DESCRIBE on the group.
pub(crate) async fn running(target: &ClusterHandle, take_over: &TakeOver) -> Result<Option<Cause>, Cause> {
    let described = describe(target, &take_over.group).await?;
    Ok((!described.members.is_empty()).then(|| {
        let message = format!(
            "MirrorMaker 2 still runs: group {} on cluster {} has {}. Stop it (SIGTERM lets it commit its position); copying begins within a second of its end, and up to its session timeout later where it was killed",
            take_over.group,
            target.id,
            members(&described),
        );
        Cause::new(Reason::MM2_RUNNING, message)
    }))
}

/// One group. It needs DESCRIBE on it.
pub(crate) async fn describe(cluster: &ClusterHandle, group: &str) -> Result<GroupDescription, Cause> {
    let mut described = cluster.client.describe_groups(&[group.to_owned()]).await?;
    let Some(described) = described.remove(group) else {
        let message = format!("the broker did not describe group {group} of cluster {}", cluster.id);
        return Err(Cause::new(Reason::KAFKA_ERROR, message));
    };
    Ok(described?)
}

/// How many there are, and where the first ones run.
pub(crate) fn members(group: &GroupDescription) -> String {
    let mut where_from: Vec<String> =
        group.members.iter().map(|m| format!("{} at {}", m.client_id, m.client_host)).take(3).collect();
    if group.members.len() > where_from.len() {
        where_from.push("...".to_owned());
    }
    format!("{} members ({})", group.members.len(), where_from.join(", "))
}

/// What is known before the logs are laid side by side.
struct Partition {
    known: Option<Known>,
    sync: Option<Sync>,
    source: (i64, i64),
    target: (i64, i64),
}

impl Partition {
    fn committed(&self) -> Option<i64> {
        match self.known {
            Some(Known::Copied(offset)) => Some(offset.0),
            _ => None,
        }
    }

    /// Where to begin on both sides, with at most `most` records of the target.
    fn plan(&self, most: i64, use_sync: bool) -> Option<(Anchor, i64, i64)> {
        let ((source_start, source_end), (target_start, target_end)) = (self.source, self.target);
        if target_start >= target_end || self.known == Some(Known::Reset) {
            return None;
        }
        let fits = |sync: &Sync| {
            (source_start..source_end).contains(&sync.source)
                && (target_start..target_end).contains(&sync.target)
                && target_end - sync.target <= most
        };
        if let Some(Sync { source, target }) = self.sync.filter(fits).filter(|_| use_sync) {
            return Some((Anchor::Sync { source, target }, source, target));
        }
        let Some(committed) = self.committed() else {
            let all = target_end - target_start <= most;
            return all.then_some((Anchor::Start, source_start, target_start));
        };
        let from = (committed + 1 - CONTEXT as i64).max(source_start);
        Some((Anchor::Search(VecDeque::new()), from, target_start.max(target_end - most)))
    }
}

impl Question<'_> {
    /// Source offsets at which to go on. Partitions that MM2 has nothing of, or less than the mirror, are left out.
    pub(crate) async fn positions(&self) -> Result<BTreeMap<i32, i64>, KafkaError> {
        let partitions = self.look().await?;
        let count = i64::try_from(partitions.len()).unwrap_or(1).max(1);
        let most = (MAX_COPIES / count).max(MIN_COPIES);
        let mut positions = BTreeMap::new();
        let mut left: Vec<i32> = partitions.keys().copied().collect();
        // A sync that doesn't fit the logs (a topic was made anew, records are transformed) is left aside in a second try.
        for use_sync in [true, false] {
            // Spread by key, a partition's records are in no one place of the target.
            if self.mirror.partitioning == Partitioning::ByKey {
                break;
            }
            let plans = left.iter().filter_map(|p| Some((*p, partitions[p].plan(most, use_sync)?)));
            let aligned = self.align(&partitions, plans.collect()).await?;
            // Where nobody said what was copied, all of the copy must be found in the source.
            let anyone = matches!(self.copied_by, CopiedBy::Anyone);
            let aligned = aligned.iter().filter(|(_, a)| !anyone || a.is_complete());
            let aligned: BTreeMap<_, _> = aligned.collect();
            left.retain(|partition| match aligned.get(partition).map(|a| a.position()) {
                Some(Ok(Some(position))) => {
                    positions.insert(*partition, position);
                    false
                }
                _ => true,
            });
        }
        // (By whomever, nothing was committed.)
        for partition in left {
            let Some(committed) = partitions[&partition].committed() else { continue };
            if partitions[&partition].target.0 < partitions[&partition].target.1 {
                tracing::warn!(
                    topic = self.source_topic,
                    partition,
                    committed,
                    "what MirrorMaker copied after the position it committed was not found on the target: it may be copied again"
                );
            }
            positions.insert(partition, committed + 1);
        }
        Ok(positions)
    }

    async fn look(&self) -> Result<BTreeMap<i32, Partition>, KafkaError> {
        let Self { source, target, source_topic, target_topic, .. } = *self;
        let known = self.known().await?;
        let partitions: &[i32] = &known.keys().copied().collect::<Vec<_>>();
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let syncs = self.newest_syncs(partitions).await;
        let (starts, ends, targets) = tokio::try_join!(
            scan::offsets(source, source_topic, partitions, OffsetSpec::Earliest, Isolation::Uncommitted),
            scan::offsets(source, source_topic, partitions, OffsetSpec::Latest, Isolation::Committed),
            scan::bounds(target, target_topic),
        )?;
        let one = |((partition, known), sync): ((i32, Option<Known>), Option<Sync>)| {
            let target = targets.get(&partition).copied().unwrap_or((0, 0));
            (partition, Partition { known, sync, source: (starts[&partition], ends[&partition]), target })
        };
        Ok(known.into_iter().zip(syncs).map(one).collect())
    }

    /// What was committed as copied, of partitions in which that may be more than the mirror's.
    async fn known(&self) -> Result<BTreeMap<i32, Option<Known>>, KafkaError> {
        let take_over = match self.copied_by {
            CopiedBy::MirrorMaker2(take_over) => take_over,
            CopiedBy::Group(committed) => {
                // Of nothing there is no last record.
                let last = |p: &i32| committed.get(p).filter(|next| **next > 0).map(|next| next - 1);
                return Ok(self
                    .partitions
                    .keys()
                    .map(|p| (*p, last(p).map(|at| Known::Copied(SourceOffset(at)))))
                    .collect());
            }
            CopiedBy::Anyone => return Ok(self.partitions.keys().map(|p| (*p, None)).collect()),
        };
        let connector = take_over.connector.as_deref();
        let (topic, alias) = (&take_over.offsets_topic, self.mirror.policy.source_alias());
        let ahead = |(partition, known): (i32, Option<Known>)| {
            may_be_further(self.partitions[&partition], known).then_some((partition, known))
        };
        Shared::of(self.target)
            .offsets(self.target, topic, alias, |offsets| {
                let known = |p: &i32| (*p, offsets.get(connector, self.source_topic, *p));
                self.partitions.keys().map(known).filter_map(ahead).collect()
            })
            .await
    }

    /// MM2 keeps its syncs on either side. They only help: without them the logs are searched.
    async fn newest_syncs(&self, partitions: &[i32]) -> Vec<Option<Sync>> {
        let policy = &self.mirror.policy;
        let sides = [
            (self.source, policy.offset_syncs_topic(policy.target_alias())),
            (self.target, policy.offset_syncs_topic(policy.source_alias())),
        ];
        let mut newest = vec![None; partitions.len()];
        if matches!(self.copied_by, CopiedBy::Group(_)) {
            return newest;
        }
        for (cluster, topic) in sides {
            let found: Result<Vec<Option<Sync>>, KafkaError> = Shared::of(cluster)
                .syncs(cluster, &topic, |syncs| {
                    partitions.iter().map(|p| syncs.newest(self.source_topic, *p)).collect()
                })
                .await;
            match found {
                Ok(found) => {
                    for (newest, found) in newest.iter_mut().zip(found) {
                        let is_newer = |found: &Sync| newest.is_none_or(|n: Sync| n.target < found.target);
                        *newest = found.filter(is_newer).or(*newest);
                    }
                }
                Err(error) => {
                    tracing::info!(cluster = %cluster.id, reason = %error.reason, "offset syncs are not used: {}", error.message);
                }
            }
        }
        newest
    }

    /// Lays the end of the target's log beside the source, for each partition of `plans`.
    async fn align(
        &self,
        partitions: &BTreeMap<i32, Partition>,
        plans: Vec<(i32, (Anchor, i64, i64))>,
    ) -> Result<BTreeMap<i32, Alignment>, KafkaError> {
        let span = |partition: i32, from, to| Span { partition, from, to };
        let source_spans: Vec<Span> =
            plans.iter().map(|(p, (_, from, _))| span(*p, *from, partitions[p].source.1)).collect();
        let target_spans: Vec<Span> =
            plans.iter().map(|(p, (.., from))| span(*p, *from, partitions[p].target.1)).collect();
        let mut alignments = BTreeMap::new();
        for (partition, (anchor, ..)) in plans {
            alignments.insert(partition, Alignment::new(partitions[&partition].committed(), anchor));
        }
        let alignments =
            scan::scan(self.target, self.target_topic, target_spans, alignments, |alignments, record| {
                if let Some(alignment) = alignments.get_mut(&record.partition) {
                    alignment.copy(record.offset, Print::of(record));
                }
                scan::Wanted::More
            })
            .await?;
        scan::scan(self.source, self.source_topic, source_spans, alignments, |alignments, record| {
            match alignments.get_mut(&record.partition) {
                Some(alignment) => alignment.offer(record.offset, Print::of(record)),
                None => scan::Wanted::Enough,
            }
        })
        .await
    }
}

/// Whether MM2 may have copied more of a partition than the mirror, whose own position this is. Where it hasn't, nothing of MM2's counts
/// any more: going back to it would copy records again.
fn may_be_further(own: Option<i64>, known: Option<Known>) -> bool {
    match (own, known) {
        (None, _) => true,
        (Some(own), Some(Known::Copied(last))) => last.0 >= own,
        (Some(_), Some(Known::Reset) | None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_that_has_copied_on_does_not_go_back_to_where_mm2_stopped() {
        for (own, known, expected) in [
            (None, None, true),
            (None, Some(Known::Reset), true),
            (None, Some(Known::Copied(SourceOffset(5))), true),
            (Some(5), Some(Known::Copied(SourceOffset(5))), true),
            (Some(6), Some(Known::Copied(SourceOffset(5))), false),
            (Some(0), None, false),
            (Some(0), Some(Known::Reset), false),
        ] {
            assert_eq!(may_be_further(own, known), expected, "{own:?} {known:?}");
        }
    }
}
