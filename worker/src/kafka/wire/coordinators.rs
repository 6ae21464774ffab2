//! Which broker coordinates a group.

use std::collections::HashMap;

use kafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use tokio::time::Instant;

use super::client::KafkaClient;
use super::code::Ask;
use super::error::KafkaError;
use super::pool::Use;
use super::retry::Routes;
use super::route::To;
use super::types::AclOperation;
use super::types::text;

/// From this version on one request asks for many groups.
const FIND_COORDINATOR_MANY: i16 = 4;
const KEY_TYPE_GROUP: i8 = 0;
/// Groups whose coordinator is remembered; beyond it the memory starts anew.
const MAX_REMEMBERED: usize = 100_000;
/// Groups in one request.
const GROUPS_PER_REQUEST: usize = 1_000;

impl KafkaClient {
    /// The coordinator of each group, from memory where it is there and the last try there didn't fail (`again`).
    pub(in crate::kafka) async fn to_coordinators(
        &self,
        groups: Vec<String>,
        again: bool,
        deadline: Instant,
    ) -> Routes<String> {
        let mut found: HashMap<String, Result<i32, KafkaError>> = HashMap::new();
        let mut unknown = Vec::new();
        {
            let remembered = self.router.coordinators();
            for group in &groups {
                match remembered.get(group).filter(|_| !again) {
                    Some(id) => drop(found.insert(group.clone(), Ok(*id))),
                    None => unknown.push(group.clone()),
                }
            }
        }
        for some in unknown.chunks(GROUPS_PER_REQUEST) {
            found.extend(self.find_coordinators(some, deadline).await?);
        }
        self.remember(&found);
        let route = |group: String| {
            let to = found.remove(&group).unwrap_or_else(|| Err(self.no_coordinator(&group)));
            (group, to.map(To::Broker))
        };
        Ok(groups.into_iter().map(route).collect())
    }

    async fn find_coordinators(
        &self,
        groups: &[String],
        deadline: Instant,
    ) -> Result<Vec<(String, Result<i32, KafkaError>)>, KafkaError> {
        let mut found = Vec::with_capacity(groups.len());
        for first in groups {
            let build = |version| Ok(find(version, first, groups));
            let answer = self.router.send(To::Any, Use::Control, deadline, &build).await?;
            if answer.version >= FIND_COORDINATOR_MANY {
                return Ok(self.many(&answer.body));
            }
            let ask = Ask::group("find the coordinator of", AclOperation::Describe, first);
            let body = &answer.body;
            let result = ask.check(self.properties(), body.error_code, body.error_message.as_deref());
            found.push((first.clone(), result.map(|()| body.node_id.0)));
        }
        Ok(found)
    }

    fn many(&self, answer: &FindCoordinatorResponse) -> Vec<(String, Result<i32, KafkaError>)> {
        let result = |c: &kafka_protocol::messages::find_coordinator_response::Coordinator| {
            let group = c.key.to_string();
            let ask = Ask::group("find the coordinator of", AclOperation::Describe, &group);
            let result = ask.check(self.properties(), c.error_code, c.error_message.as_deref());
            (group, result.map(|()| c.node_id.0))
        };
        answer.coordinators.iter().map(result).collect()
    }

    fn remember(&self, found: &HashMap<String, Result<i32, KafkaError>>) {
        let mut remembered = self.router.coordinators();
        if remembered.len() + found.len() > MAX_REMEMBERED {
            remembered.clear();
        }
        for (group, result) in found {
            match result {
                Ok(id) => drop(remembered.insert(group.clone(), *id)),
                Err(_) => drop(remembered.remove(group)),
            }
        }
    }

    fn no_coordinator(&self, group: &str) -> KafkaError {
        let ask = Ask::group("find the coordinator of", AclOperation::Describe, group);
        ask.refused(self.properties(), super::code::COORDINATOR_NOT_AVAILABLE, None)
    }
}

pub(in crate::kafka) fn find(version: i16, one: &str, many: &[String]) -> FindCoordinatorRequest {
    let request = FindCoordinatorRequest::default().with_key_type(KEY_TYPE_GROUP);
    if version >= FIND_COORDINATOR_MANY {
        request.with_coordinator_keys(many.iter().map(|g| text(g)).collect())
    } else {
        request.with_key(text(one))
    }
}
