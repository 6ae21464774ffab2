//! Consumer groups: finding, describing and deleting them. Their offsets are in `group_offsets`.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt;
use futures::future::try_join_all;
use kafka_protocol::messages::{
    ApiKey, ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest, GroupId,
    ListGroupsRequest, consumer_group_describe_response, describe_groups_response, list_groups_response,
};
use tokio::time::Instant;

use super::offsets_topic::Holders;
use super::types::{GroupDescription, GroupListing, GroupMember, GroupState, GroupType};
use crate::kafka::wire::client::KafkaClient;
use crate::kafka::wire::client::PerName;
use crate::kafka::wire::code::{
    Ask, COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, GROUP_ID_NOT_FOUND, UNSUPPORTED_VERSION,
};
use crate::kafka::wire::error::KafkaError;
use crate::kafka::wire::pool::Use;
use crate::kafka::wire::retry::Answers;
use crate::kafka::wire::route::To;
use crate::kafka::wire::types::AclOperation;
use crate::kafka::wire::types::text;

/// A broker that has just started names no groups for about 0.2 s. Where it can't be asked whether it has settled, such an answer
/// counts only when the broker is known to have been up for this long.
const EMPTY_LIST_MIN_BROKER_AGE: Duration = Duration::from_millis(1500);
/// From this version on a broker can say what the client is allowed to do with a group.
const DESCRIBE_GROUPS_WITH_OPERATIONS: i16 = 3;

impl KafkaClient {
    /// All groups of the cluster that this client may see, in the order of their ids. It asks every broker.
    ///
    /// # Errors
    /// Never a short list: an error of one broker is an error, and so is a broker that hasn't settled.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, KafkaError> {
        let deadline = self.until();
        self.router.retry(deadline, || self.list_groups_once(deadline)).await
    }

    async fn list_groups_once(&self, deadline: Instant) -> Result<Vec<GroupListing>, KafkaError> {
        let holders = self.holders(deadline).await?;
        if holders.leaderless() > 0 {
            let detail = format!("{} partitions of __consumer_offsets have no leader", holders.leaderless());
            return Err(self.listing().refused(self.properties(), COORDINATOR_NOT_AVAILABLE, Some(&detail)));
        }
        let brokers: Vec<i32> = self.router.known().brokers().map(|b| b.id).collect();
        let lists = brokers.into_iter().map(|id| self.groups_of_broker(id, &holders, deadline));
        let groups = try_join_all(lists).await?.into_iter().flatten();
        Ok(groups.map(|g| (g.group.clone(), g)).collect::<BTreeMap<_, _>>().into_values().collect())
    }

    fn listing(&self) -> Ask<'static> {
        Ask::cluster("list groups", AclOperation::Describe)
    }

    async fn groups_of_broker(
        &self,
        id: i32,
        holders: &Holders,
        deadline: Instant,
    ) -> Result<Vec<GroupListing>, KafkaError> {
        let (broker, partitions) = (To::Broker(id), holders.of(id));
        let before = self.settled(broker, holders, &partitions, deadline).await?;
        let build = |_| Ok(ListGroupsRequest::default());
        let answer = self.router.send(broker, Use::Control, deadline, &build).await?;
        self.listing().check(self.properties(), answer.body.error_code, None)?;
        let unseen = matches!(holders, Holders::Unseen) && answer.body.groups.is_empty();
        if unseen && answer.broker_age < EMPTY_LIST_MIN_BROKER_AGE
            || self.settled(broker, holders, &partitions, deadline).await? != before
        {
            let detail = format!("broker {id} has only just started, or become a coordinator");
            let ask = self.listing();
            return Err(ask.refused(self.properties(), COORDINATOR_LOAD_IN_PROGRESS, Some(&detail)));
        }
        Ok(answer.body.groups.iter().map(listed).collect())
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
            // A broker that has the request but not the feature answers UNSUPPORTED_VERSION.
            let unknown = |e: &KafkaError| [GROUP_ID_NOT_FOUND, UNSUPPORTED_VERSION].contains(&e.code);
            all.extend(found.into_iter().filter(|(_, result)| !result.as_ref().is_err_and(unknown)));
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
