//! Consumer groups: finding, describing and deleting them. Their offsets are in `group_offsets`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::FutureExt;
use kafka_protocol::messages::{
    ApiKey, ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest, GroupId,
    ListGroupsRequest, consumer_group_describe_response, describe_groups_response, list_groups_response,
};
use tokio::time::Instant;
use twinlog_proto::reason::Reason;

use super::client::PerName;
use super::code::{Ask, COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, GROUP_ID_NOT_FOUND};
use super::pool::Use;
use super::route::{Answers, To};
use super::topics::text;
use super::types::{
    AclOperation, GroupDescription, GroupListing, GroupMember, GroupState, GroupType, TopicMetadata,
};
use super::{KafkaClient, KafkaError};

/// Where brokers keep groups and their offsets.
const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// A broker that has just started answers "no groups" before it begins to load them (for about 0.2 s): its empty answer counts
/// only when it is known to have been up for this long.
const EMPTY_LIST_MIN_BROKER_AGE: Duration = Duration::from_millis(1500);
/// From this version on a broker can say what the client is allowed to do with a group.
const DESCRIBE_GROUPS_WITH_OPERATIONS: i16 = 3;

/// Brokers that may hold groups.
enum Holders {
    These(BTreeSet<i32>),
    Any,
}

impl Holders {
    fn include(&self, broker: i32) -> bool {
        match self {
            Self::These(brokers) => brokers.contains(&broker),
            Self::Any => true,
        }
    }
}

impl KafkaClient {
    /// All groups of the cluster that this client may see, in the order of their ids. It asks every broker.
    ///
    /// # Errors
    /// An error of one broker is an error: never a short list. So is an offsets partition without a leader, whose groups
    /// nobody could name.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, KafkaError> {
        let deadline = self.until();
        let holders = self.router.retry(deadline, || self.group_holders(deadline)).await?;
        let brokers: Vec<i32> = {
            let metadata = self.router.metadata.lock().expect("no panic under this lock");
            metadata.brokers().map(|b| b.id).collect()
        };
        let route = |ids: Vec<i32>, _| {
            async move { Ok(ids.into_iter().map(|id| (id, Ok(To::Broker(id)))).collect()) }.boxed()
        };
        let ask = |to, ids| self.list_of_broker(to, ids, &holders, deadline).boxed();
        let lists = self.router.scatter(brokers, deadline, route, ask).await?;
        let mut groups = BTreeMap::new();
        for (_, list) in lists {
            groups.extend(list?.into_iter().map(|g| (g.group.clone(), g)));
        }
        Ok(groups.into_values().collect())
    }

    /// Which brokers hold groups: those that lead partitions of the offsets topic. None where that topic doesn't exist;
    /// any where this client may not see it.
    async fn group_holders(&self, deadline: Instant) -> Result<Holders, KafkaError> {
        let names = [OFFSETS_TOPIC.to_owned()];
        let response = self.metadata(Some(&names), deadline).await?;
        let topics = response.topics.iter().filter_map(|t| self.topic(t));
        let partitions = match topics.into_iter().next() {
            Some(TopicMetadata { partitions, error: None, .. }) => partitions,
            Some(TopicMetadata {
                error: Some(KafkaError { reason: Reason::TOPIC_NOT_FOUND, .. }), ..
            }) => {
                return Ok(Holders::These(BTreeSet::new()));
            }
            _ => return Ok(Holders::Any),
        };
        let leaderless = partitions.iter().filter(|p| p.leader.is_none()).count();
        if leaderless > 0 {
            let detail =
                format!("{leaderless} of {} partitions of {OFFSETS_TOPIC} have no leader", partitions.len());
            return Err(self.listing().refused(self.properties(), COORDINATOR_NOT_AVAILABLE, Some(&detail)));
        }
        Ok(Holders::These(partitions.iter().filter_map(|p| p.leader).collect()))
    }

    fn listing(&self) -> Ask<'static> {
        Ask::cluster("list groups", AclOperation::Describe)
    }

    async fn list_of_broker(
        &self,
        to: To,
        ids: Vec<i32>,
        holders: &Holders,
        deadline: Instant,
    ) -> Answers<i32, Vec<GroupListing>> {
        let build = |_| Ok(ListGroupsRequest::default());
        let answer = self.router.send(to, Use::Control, deadline, &build).await?;
        let Some(id) = ids.first() else { return Ok(Vec::new()) };
        let result = self.listing().check(self.properties(), answer.body.error_code, None).and_then(|()| {
            let unsure = answer.body.groups.is_empty() && holders.include(*id);
            if unsure && answer.broker_age < EMPTY_LIST_MIN_BROKER_AGE {
                let detail = format!("broker {id} names no groups, but may have just started");
                return Err(self.listing().refused(
                    self.properties(),
                    COORDINATOR_LOAD_IN_PROGRESS,
                    Some(&detail),
                ));
            }
            Ok(answer.body.groups.iter().map(listed).collect())
        });
        Ok(vec![(*id, result)])
    }

    /// State and members of each group, classic and KIP-848 ones. A group that doesn't exist is `Dead`.
    pub async fn describe_groups(&self, groups: &[String]) -> Result<PerName<GroupDescription>, KafkaError> {
        let deadline = self.until();
        let route = |groups, again| self.to_coordinators(groups, again, deadline).boxed();
        let ask = |to, groups| self.describe_classic(to, groups, deadline).boxed();
        let found = self.router.scatter(groups.to_vec(), deadline, route, ask).await?;
        let mut all: PerName<GroupDescription> = found.into_iter().collect();
        let dead = |(name, result): (&String, &Result<GroupDescription, KafkaError>)| {
            result.as_ref().is_ok_and(|d| d.state == GroupState::Dead).then(|| name.clone())
        };
        let others: Vec<String> = all.iter().filter_map(dead).collect();
        if !others.is_empty() && self.knows(ApiKey::ConsumerGroupDescribe, deadline).await? {
            let ask = |to, groups| self.describe_consumer(to, groups, deadline).boxed();
            let found = self.router.scatter(others, deadline, route, ask).await?;
            all.extend(
                found
                    .into_iter()
                    .filter(|(_, r)| r.as_ref().map_or_else(|e| e.code != GROUP_ID_NOT_FOUND, |_| true)),
            );
        }
        Ok(all)
    }

    /// Deletes groups with their offsets; one result per group. Only groups without members can be deleted.
    pub async fn delete_groups(
        &self,
        groups: &[String],
    ) -> Result<Vec<(String, Result<(), KafkaError>)>, KafkaError> {
        let deadline = self.until();
        let route = |groups, again| self.to_coordinators(groups, again, deadline).boxed();
        let ask = |to, groups| self.delete_some_groups(to, groups, deadline).boxed();
        self.router.scatter(groups.to_vec(), deadline, route, ask).await
    }

    async fn knows(&self, key: ApiKey, deadline: Instant) -> Result<bool, KafkaError> {
        self.router.retry(deadline, || self.router.probe(deadline, |c| c.apis().range(key).is_some())).await
    }

    async fn describe_classic(
        &self,
        to: To,
        groups: Vec<String>,
        deadline: Instant,
    ) -> Answers<String, GroupDescription> {
        let build = |version| {
            Ok(DescribeGroupsRequest::default()
                .with_groups(ids(&groups))
                .with_include_authorized_operations(version >= DESCRIBE_GROUPS_WITH_OPERATIONS))
        };
        let answer = self.router.send(to, Use::Control, deadline, &build).await?.body;
        let result = |g: &describe_groups_response::DescribedGroup| {
            let name = g.group_id.to_string();
            let mut description = classic(g);
            if g.error_code == GROUP_ID_NOT_FOUND {
                description.state = GroupState::Dead;
                return (name, Ok(description));
            }
            let ask = Ask::group("describe", AclOperation::Describe, &name);
            let result = ask.check(self.properties(), g.error_code, g.error_message.as_deref());
            (name, result.map(|()| description))
        };
        Ok(answer.groups.iter().map(result).collect())
    }

    async fn describe_consumer(
        &self,
        to: To,
        groups: Vec<String>,
        deadline: Instant,
    ) -> Answers<String, GroupDescription> {
        let build = |_| {
            Ok(ConsumerGroupDescribeRequest::default()
                .with_group_ids(ids(&groups))
                .with_include_authorized_operations(true))
        };
        let answer = self.router.send(to, Use::Control, deadline, &build).await?.body;
        let result = |g: &consumer_group_describe_response::DescribedGroup| {
            let name = g.group_id.to_string();
            let ask = Ask::group("describe", AclOperation::Describe, &name);
            let result = ask.check(self.properties(), g.error_code, g.error_message.as_deref());
            (name, result.map(|()| consumer(g)))
        };
        Ok(answer.groups.iter().map(result).collect())
    }

    async fn delete_some_groups(
        &self,
        to: To,
        groups: Vec<String>,
        deadline: Instant,
    ) -> Answers<String, ()> {
        let build = |_| Ok(DeleteGroupsRequest::default().with_groups_names(ids(&groups)));
        let answer = self.router.send(to, Use::Control, deadline, &build).await?.body;
        let result = |g: &kafka_protocol::messages::delete_groups_response::DeletableGroupResult| {
            let name = g.group_id.to_string();
            let ask = Ask::group("delete", AclOperation::Delete, &name);
            let result = ask.check(self.properties(), g.error_code, None);
            (name, result)
        };
        Ok(answer.results.iter().map(result).collect())
    }
}

pub(super) fn ids(groups: &[String]) -> Vec<GroupId> {
    groups.iter().map(|g| GroupId(text(g))).collect()
}

fn listed(g: &list_groups_response::ListedGroup) -> GroupListing {
    GroupListing {
        group: g.group_id.to_string(),
        state: Some(&*g.group_state).filter(|s| !s.is_empty()).map(state),
        protocol_type: g.protocol_type.to_string(),
        group_type: match &*g.group_type {
            "" | "classic" | "Classic" => GroupType::Classic,
            "consumer" | "Consumer" => GroupType::Consumer,
            "share" | "Share" => GroupType::Share,
            "streams" | "Streams" => GroupType::Streams,
            _ => GroupType::Unknown,
        },
    }
}

fn state(text: &str) -> GroupState {
    match text {
        "PreparingRebalance" => GroupState::PreparingRebalance,
        "CompletingRebalance" => GroupState::CompletingRebalance,
        "Stable" => GroupState::Stable,
        "Empty" => GroupState::Empty,
        "Dead" => GroupState::Dead,
        "Assigning" => GroupState::Assigning,
        "Reconciling" => GroupState::Reconciling,
        "NotReady" => GroupState::NotReady,
        _ => GroupState::Unknown,
    }
}

fn classic(g: &describe_groups_response::DescribedGroup) -> GroupDescription {
    let member = |m: &describe_groups_response::DescribedGroupMember| GroupMember {
        member_id: m.member_id.to_string(),
        client_id: m.client_id.to_string(),
        client_host: m.client_host.to_string(),
    };
    GroupDescription {
        group: g.group_id.to_string(),
        group_type: GroupType::Classic,
        state: state(&g.group_state),
        protocol_type: g.protocol_type.to_string(),
        members: g.members.iter().map(member).collect(),
        authorized_operations: AclOperation::from_bits(g.authorized_operations),
    }
}

fn consumer(g: &consumer_group_describe_response::DescribedGroup) -> GroupDescription {
    let member = |m: &consumer_group_describe_response::Member| GroupMember {
        member_id: m.member_id.to_string(),
        client_id: m.client_id.to_string(),
        client_host: m.client_host.to_string(),
    };
    GroupDescription {
        group: g.group_id.to_string(),
        group_type: GroupType::Consumer,
        state: state(&g.group_state),
        protocol_type: "consumer".to_owned(),
        members: g.members.iter().map(member).collect(),
        authorized_operations: AclOperation::from_bits(g.authorized_operations),
    }
}
