//! What is known of partitions, from whoever knows it: the lane that runs them, the survey that looks at all topics, and what was
//! reported before by workers that are gone.

use std::cell::OnceCell;
use std::time::Duration;

use prost_types::Timestamp;
use tokio::time::Instant;
use twinlog_proto::id::TaskName;
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::lag;
use twinlog_proto::model::Start;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1::{self, State as Is};

use super::aggregate::add_partition;
use super::{Known, View, cause};
use crate::fleet::Members;
use crate::state::{MirrorState, State};

/// A survey that has not been heard of for longer says how the source ended, not how it ends.
const SURVEY_FRESH: Duration = Duration::from_secs(90);

impl<'a> View<'a> {
    pub(super) fn new(mirror: &'a MirrorState, state: &'a State, members: &'a Members) -> Self {
        let reported = members.source_ends.get(&mirror.model.id);
        let topics = reported.iter().flat_map(|reported| &reported.report.topics);
        Self {
            mirror,
            state,
            members,
            source: topics.map(|topic| (topic.source_topic.as_str(), topic)).collect(),
            refusing: OnceCell::new(),
            working: None,
            source_fresh: reported.is_some_and(|r| Instant::now().duration_since(r.heard) < SURVEY_FRESH),
        }
    }

    /// The mirror's filters and the source were looked at completely once.
    pub(super) fn is_surveyed(&self) -> bool {
        let stored = self.state.inventories.get(&self.mirror.model.id);
        stored.is_some_and(|stored| !stored.inventory.selected_by.is_empty())
    }

    /// Every partition of a range of which anything is known.
    pub(super) fn partitions(
        &self,
        task: &TaskName,
        range: &internal::PartitionRange,
        known: &Known<'_>,
    ) -> Vec<v1::PartitionStatus> {
        let reported = known.report.map_or(&[][..], |report| &report.partitions);
        let last = self.members.last.get(task).map_or(&[][..], |report| &report.partitions);
        let numbers = range.first_partition..range.first_partition + range.partition_count;
        numbers
            .filter_map(|number| {
                let own = find(reported, number).cloned();
                if own.as_ref().is_some_and(|own| own.lag_records.is_some() && !own.lag_at_least) {
                    return own;
                }
                let last = find(last, number).map(|last| without_rates(last, known.state));
                let survey = self.survey(&range.source_topic, number);
                let mut status = match (own, &last, &survey) {
                    (Some(own), ..) => own,
                    (None, Some(last), _) => last.clone(),
                    (None, None, Some(_)) => lag::blank(number, known.state),
                    (None, None, None) => return None,
                };
                last.iter().chain(&survey).for_each(|known| lag::complete(&mut status, known));
                Some(status)
            })
            .collect()
    }

    /// What the survey says of a partition.
    fn survey(&self, topic: &str, number: i32) -> Option<v1::PartitionStatus> {
        let mut status = find(&self.source.get(topic)?.partitions, number)?.clone();
        let begun = self.is_surveyed();
        if !begun && status.position.is_none() && self.mirror.model.start == Start::Earliest {
            // As far as is known it has never copied anything.
            status.missing_from = status.missing_from.or(status.source_log_start);
        }
        let answers = self.source_fresh && !status.lag_at_least;
        let ends = lag::ends_of(&status);
        lag::enter(&mut status, ends, answers);
        Some(status)
    }

    /// Sums up a topic: its ranges, and partitions that nothing copies.
    pub(super) fn count(
        &self,
        topic: &internal::InventoryTopic,
        ranges: &[v1::RangeStatus],
        totals: &mut v1::Totals,
    ) {
        for range in ranges {
            range.partitions.iter().for_each(|partition| add_partition(totals, partition));
            let said = i32::try_from(range.partitions.len()).unwrap_or(i32::MAX);
            (said..range.partition_count).for_each(|_| lag::add(totals, None));
        }
        let all = match self.source.get(topic.source_topic.as_str()) {
            Some(seen) => i32::try_from(seen.partitions.len()).unwrap_or(i32::MAX),
            None => topic.source_partitions,
        };
        for number in topic.partitions..all {
            lag::add(totals, self.survey(&topic.source_topic, number).as_ref());
        }
        totals.partitions = topic.partitions;
        lag::settle(totals, true);
    }

    /// Topics that the survey sees at the source and that are in no inventory yet, as when the target has never been reached.
    pub(super) fn not_surveyed(&self, whole: Is) -> Vec<v1::TopicStatus> {
        let listed: std::collections::HashSet<&str> =
            self.topics().iter().map(|topic| topic.source_topic.as_str()).collect();
        let state = if whole == Is::Active { Is::Pending } else { whole };
        let mut topics: Vec<_> =
            self.source.values().filter(|t| !listed.contains(t.source_topic.as_str())).collect();
        topics.sort_by_key(|topic| &topic.target_topic);
        let status = |topic: &&&internal::TopicEnds| {
            let mut totals = v1::Totals::default();
            for partition in &topic.partitions {
                lag::add(&mut totals, self.survey(&topic.source_topic, partition.partition).as_ref());
            }
            lag::settle(&mut totals, true);
            v1::TopicStatus {
                source_topic: topic.source_topic.clone(),
                target_topic: topic.target_topic.clone(),
                state: state.into(),
                totals: Some(totals),
                ..Default::default()
            }
        };
        topics.iter().map(status).collect()
    }

    /// When the source last answered anybody who works for this mirror.
    pub(super) fn source_contact_time(&self, topics: &[v1::TopicStatus]) -> Option<Timestamp> {
        let ranges = topics.iter().flat_map(|topic| &topic.ranges);
        let seen = ranges.flat_map(|range| &range.partitions).filter_map(|p| p.source_seen_time);
        let survey = self.members.source_ends.get(&self.mirror.model.id);
        let survey = survey.and_then(|reported| reported.report.contact_time);
        seen.chain(survey).max_by_key(|time| (time.seconds, time.nanos))
    }

    pub(super) fn paused_since(&self) -> v1::Cause {
        let id = &self.mirror.model.id;
        v1::Cause {
            since: self.mirror.wire.desired_state_time,
            ..cause(
                Reason::PAUSED,
                format!("somebody has paused it; twinlog mirror resume {id} goes on where it stopped"),
            )
        }
    }
}

fn find(partitions: &[v1::PartitionStatus], number: i32) -> Option<&v1::PartitionStatus> {
    // The survey names all, in order: of a topic with thousands each is found at once.
    let there =
        usize::try_from(number).ok().and_then(|at| partitions.get(at)).filter(|p| p.partition == number);
    there.or_else(|| partitions.iter().find(|partition| partition.partition == number))
}

/// What nobody reports any more: where it stood, with the source's ends of then.
fn without_rates(last: &v1::PartitionStatus, state: Is) -> v1::PartitionStatus {
    let mut status = v1::PartitionStatus {
        records_per_second: 0.0,
        bytes_per_second: 0.0,
        state: state.into(),
        cause: None,
        ..last.clone()
    };
    let ends = lag::ends_of(&status);
    lag::enter(&mut status, ends, false);
    status
}
