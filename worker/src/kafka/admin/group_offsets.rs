//! Committed offsets of groups: reading all of many groups, setting those of idle ones.

use std::collections::BTreeMap;

use futures::FutureExt;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::offset_fetch_response::OffsetFetchResponseGroup;
use kafka_protocol::messages::{
    GroupId, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use tokio::time::Instant;

use super::offsets_topic::partition_of;
use super::types::CommittedOffset;
use crate::kafka::wire::client::KafkaClient;
use crate::kafka::wire::client::PerName;
use crate::kafka::wire::code::Ask;
use crate::kafka::wire::error::KafkaError;
use crate::kafka::wire::pool::Use;
use crate::kafka::wire::retry::Answers;
use crate::kafka::wire::route::To;
use crate::kafka::wire::types::AclOperation;
use crate::kafka::wire::types::text;

/// From this version on one request asks for many groups.
const OFFSET_FETCH_MANY: i16 = 8;
/// Groups in one request: an answer holds every partition of each.
const GROUPS_PER_REQUEST: usize = 100;
/// The commit of somebody who is not a member.
const NO_GENERATION: i32 = -1;
/// First version that carries leader epochs.
const OFFSET_COMMIT_WITH_EPOCH: i16 = 6;
/// Versions up to this one carry a retention time.
const OFFSET_COMMIT_WITH_RETENTION: i16 = 4;

type CommitResults = Vec<((String, i32), Result<(), KafkaError>)>;

impl KafkaClient {
    /// All committed offsets of each group. A group that doesn't exist has none.
    pub async fn fetch_offsets(
        &self,
        groups: &[String],
    ) -> Result<PerName<Vec<CommittedOffset>>, KafkaError> {
        let deadline = self.until();
        let count = self.router.retry(deadline, || self.holders(deadline)).await?.count();
        let mut all = PerName::new();
        for chunk in groups.chunks(GROUPS_PER_REQUEST) {
            let route = |groups, again| self.to_coordinators(groups, again, deadline).boxed();
            let ask = |to, groups| self.offsets_of_some(to, groups, count, deadline).boxed();
            all.extend(self.router.scatter(chunk.to_vec(), deadline, route, ask).await?);
        }
        Ok(all)
    }

    /// Sets offsets of a group from outside: possible only while the group has no members. One result per partition.
    pub async fn commit_offsets(
        &self,
        group: &str,
        offsets: &[CommittedOffset],
    ) -> Result<CommitResults, KafkaError> {
        let deadline = self.until();
        let group = group.to_owned();
        let items: Vec<(String, i32)> = offsets.iter().map(|o| (o.topic.clone(), o.partition)).collect();
        let route = |items, again| self.all_to_coordinator(&group, items, again, deadline).boxed();
        let ask = |to, items| self.commit_some(to, &group, items, offsets, deadline).boxed();
        self.router.scatter(items, deadline, route, ask).await
    }

    async fn all_to_coordinator(
        &self,
        group: &str,
        items: Vec<(String, i32)>,
        again: bool,
        deadline: Instant,
    ) -> Result<Vec<((String, i32), Result<To, KafkaError>)>, KafkaError> {
        let routes = self.to_coordinators(vec![group.to_owned()], again, deadline).await?;
        let to = routes.into_iter().next().expect("one group, one route").1;
        Ok(items.into_iter().map(|item| (item, to.clone())).collect())
    }

    /// Offsets of groups whose coordinator has caught up; `count` is the number of partitions that groups live in.
    async fn offsets_of_some(
        &self,
        to: To,
        groups: Vec<String>,
        count: Option<i32>,
        deadline: Instant,
    ) -> Answers<String, Vec<CommittedOffset>> {
        let Some(count) = count else { return self.ask_for_offsets(to, groups, deadline).await };
        let partitions = groups.iter().map(|g| partition_of(g, count)).collect();
        let epochs = self.caught_up(to, &partitions, deadline).await?;
        let behind = |group: &String| epochs.get(&partition_of(group, count))?.as_ref().err().cloned();
        let (late, ready): (Vec<_>, Vec<_>) = groups.into_iter().partition(|g| behind(g).is_some());
        let mut answers = self.ask_for_offsets(to, ready, deadline).await?;
        answers.extend(late.into_iter().filter_map(|g| behind(&g).map(|error| (g, Err(error)))));
        Ok(answers)
    }

    /// Offsets of groups as the broker tells them.
    pub(super) async fn ask_for_offsets(
        &self,
        to: To,
        groups: Vec<String>,
        deadline: Instant,
    ) -> Answers<String, Vec<CommittedOffset>> {
        let mut answers = Vec::with_capacity(groups.len());
        for one in &groups {
            let build = |version| Ok(fetch_request(version, one, &groups));
            let answer = self.router.send(to, Use::Control, deadline, &build).await?;
            if answer.version >= OFFSET_FETCH_MANY {
                let result = |g: &OffsetFetchResponseGroup| (g.group_id.to_string(), self.offsets_in(g));
                return Ok(answer.body.groups.iter().map(result).collect());
            }
            answers.push((one.clone(), self.offsets_in(&as_group(one, &answer.body))));
        }
        Ok(answers)
    }

    fn offsets_in(&self, g: &OffsetFetchResponseGroup) -> Result<Vec<CommittedOffset>, KafkaError> {
        let ask = Ask::group("read the offsets of", AclOperation::Describe, &g.group_id);
        ask.check(self.properties(), g.error_code, None)?;
        let mut offsets = Vec::new();
        for topic in &g.topics {
            for p in &topic.partitions {
                ask.check(self.properties(), p.error_code, None)?;
                if p.committed_offset >= 0 {
                    offsets.push(CommittedOffset {
                        topic: topic.name.to_string(),
                        partition: p.partition_index,
                        offset: p.committed_offset,
                        leader_epoch: p.committed_leader_epoch,
                        metadata: p.metadata.as_ref().map(ToString::to_string).unwrap_or_default(),
                    });
                }
            }
        }
        Ok(offsets)
    }

    async fn commit_some(
        &self,
        to: To,
        group: &str,
        items: Vec<(String, i32)>,
        offsets: &[CommittedOffset],
        deadline: Instant,
    ) -> Answers<(String, i32), ()> {
        let chosen: Vec<&CommittedOffset> = offsets
            .iter()
            .filter(|o| items.iter().any(|(t, p)| *t == o.topic && *p == o.partition))
            .collect();
        let build = |version| Ok(commit_request(version, group, &chosen));
        let answer = self.router.send(to, Use::Control, deadline, &build).await?.body;
        Ok(self.committed(group, &answer))
    }

    fn committed(&self, group: &str, answer: &OffsetCommitResponse) -> CommitResults {
        let mut results = Vec::new();
        for topic in &answer.topics {
            for p in &topic.partitions {
                let subject = format!("{group} for {}-{}", &*topic.name, p.partition_index);
                let ask = if p.error_code == crate::kafka::wire::code::TOPIC_AUTHORIZATION_FAILED {
                    Ask::topic("commit offsets of", AclOperation::Read, &topic.name)
                } else if p.error_code == crate::kafka::wire::code::GROUP_AUTHORIZATION_FAILED {
                    Ask::group("commit offsets of", AclOperation::Read, group)
                } else {
                    Ask::group("commit offsets of", AclOperation::Read, &subject)
                };
                let result = ask.check(self.properties(), p.error_code, None);
                results.push(((topic.name.to_string(), p.partition_index), result));
            }
        }
        results
    }
}

pub(in crate::kafka) fn fetch_request(version: i16, one: &str, many: &[String]) -> OffsetFetchRequest {
    if version < OFFSET_FETCH_MANY {
        return OffsetFetchRequest::default().with_group_id(GroupId(text(one))).with_topics(None);
    }
    let group =
        |g: &String| OffsetFetchRequestGroup::default().with_group_id(GroupId(text(g))).with_topics(None);
    OffsetFetchRequest::default().with_topics(Some(Vec::new())).with_groups(many.iter().map(group).collect())
}

/// An answer of the older form, in the shape of the newer.
fn as_group(group: &str, answer: &OffsetFetchResponse) -> OffsetFetchResponseGroup {
    use kafka_protocol::messages::offset_fetch_response::{
        OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
    };
    let topics = answer.topics.iter().map(|t| {
        let partitions = t.partitions.iter().map(|p| {
            OffsetFetchResponsePartitions::default()
                .with_partition_index(p.partition_index)
                .with_committed_offset(p.committed_offset)
                .with_committed_leader_epoch(p.committed_leader_epoch)
                .with_metadata(p.metadata.clone())
                .with_error_code(p.error_code)
        });
        OffsetFetchResponseTopics::default().with_name(t.name.clone()).with_partitions(partitions.collect())
    });
    OffsetFetchResponseGroup::default()
        .with_group_id(GroupId(text(group)))
        .with_error_code(answer.error_code)
        .with_topics(topics.collect())
}

pub(in crate::kafka) fn commit_request(
    version: i16,
    group: &str,
    offsets: &[&CommittedOffset],
) -> OffsetCommitRequest {
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for offset in offsets {
        let epoch = if version >= OFFSET_COMMIT_WITH_EPOCH { offset.leader_epoch } else { -1 };
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(offset.partition)
            .with_committed_offset(offset.offset)
            .with_committed_leader_epoch(epoch)
            .with_committed_metadata(Some(text(&offset.metadata)));
        topics.entry(&offset.topic).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        OffsetCommitRequestTopic::default().with_name(TopicName(text(name))).with_partitions(partitions)
    });
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(NO_GENERATION)
        .with_topics(topics.collect());
    if version <= OFFSET_COMMIT_WITH_RETENTION { request.with_retention_time_ms(-1) } else { request }
}
