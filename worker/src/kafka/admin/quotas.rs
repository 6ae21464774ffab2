//! Client quotas: which one holds a client back.

use std::collections::BTreeMap;

use kafka_protocol::messages::DescribeClientQuotasRequest;
use kafka_protocol::messages::describe_client_quotas_response::EntryData;

use crate::kafka::wire::client::KafkaClient;
use crate::kafka::wire::code::Ask;
use crate::kafka::wire::error::KafkaError;
use crate::kafka::wire::pool::Use;
use crate::kafka::wire::route::To;
use crate::kafka::wire::types::AclOperation;

const USER: &str = "user";
const CLIENT: &str = "client-id";

/// A quota that applies to a client, and to whom it was given.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Quota {
    /// Such as `producer_byte_rate`.
    pub(crate) name: String,
    pub(crate) value: f64,
    /// By kind; `None` means everybody who has none of their own.
    entity: BTreeMap<String, Option<String>>,
}

impl Quota {
    /// For people: `client id twinlog`, `every user`.
    pub(crate) fn whose(&self) -> String {
        let one = |(kind, name): (&String, &Option<String>)| {
            let kind = if kind == CLIENT { "client id" } else { kind };
            match name {
                Some(name) => format!("{kind} {name}"),
                None => format!("every {kind}"),
            }
        };
        self.entity.iter().map(one).collect::<Vec<_>>().join(" with ")
    }

    /// The flags of kafka-configs.sh that name it.
    pub(crate) fn flags(&self) -> String {
        let one = |(kind, name): (&String, &Option<String>)| {
            let kind = if kind == CLIENT { "clients" } else { "users" };
            match name {
                Some(name) => format!("--entity-type {kind} --entity-name '{name}'"),
                None => format!("--entity-type {kind} --entity-default"),
            }
        };
        self.entity.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    /// The more precise one wins, in Kafka's order. `None`: it is somebody else's.
    fn rank(&self, user: Option<&str>, client: &str) -> Option<u8> {
        let part = |kind: &str, own: Option<&str>| match self.entity.get(kind) {
            None => Some(0),
            Some(None) => Some(1),
            Some(Some(name)) => (Some(name.as_str()) == own).then_some(2),
        };
        let known = self.entity.keys().all(|kind| kind == USER || kind == CLIENT);
        let (user, client) = (part(USER, user)?, part(CLIENT, Some(client))?);
        known.then_some(user * 3 + client)
    }
}

impl KafkaClient {
    /// The quotas of these names that apply to this client.
    ///
    /// # Errors
    /// The cluster doesn't tell; it needs DESCRIBE_CONFIGS on the cluster, and Kafka 2.6.
    pub(crate) async fn quotas(&self, names: &[&str]) -> Result<Vec<Quota>, KafkaError> {
        let deadline = self.until();
        let build = |_| Ok(DescribeClientQuotasRequest::default());
        let answer = self.router.send(To::Any, Use::Control, deadline, &build).await?.body;
        let ask = Ask::cluster("read client quotas", AclOperation::DescribeConfigs);
        ask.check(self.properties(), answer.error_code, answer.error_message.as_deref())?;
        let all: Vec<Quota> = answer.entries.unwrap_or_default().iter().flat_map(quotas).collect();
        let principal = self.properties().principal();
        let user = principal.as_deref().map(|name| name.trim_start_matches("User:"));
        Ok(names
            .iter()
            .filter_map(|name| effective(&all, name, user, self.properties().client_id()))
            .collect())
    }
}

fn quotas(entry: &EntryData) -> Vec<Quota> {
    let name = |name: &kafka_protocol::protocol::StrBytes| name.to_string();
    let entity: BTreeMap<_, _> =
        entry.entity.iter().map(|e| (name(&e.entity_type), e.entity_name.as_ref().map(name))).collect();
    let quota = |v: &kafka_protocol::messages::describe_client_quotas_response::ValueData| Quota {
        name: name(&v.key),
        value: v.value,
        entity: entity.clone(),
    };
    entry.values.iter().map(quota).collect()
}

fn effective(all: &[Quota], name: &str, user: Option<&str>, client: &str) -> Option<Quota> {
    let ranked = all.iter().filter(|quota| quota.name == name);
    let ranked = ranked.filter_map(|quota| Some((quota.rank(user, client)?, quota)));
    ranked.max_by_key(|(rank, _)| *rank).map(|(_, quota)| quota.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(value: f64, entity: &[(&str, Option<&str>)]) -> Quota {
        let entity = entity.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect();
        Quota { name: "producer_byte_rate".into(), value, entity }
    }

    #[test]
    fn the_more_precise_quota_wins_and_those_of_others_do_not_count() {
        let all = [
            quota(1.0, &[(CLIENT, None)]),
            quota(2.0, &[(CLIENT, Some("twinlog"))]),
            quota(3.0, &[(USER, None)]),
            quota(4.0, &[(USER, Some("me")), (CLIENT, Some("another"))]),
            quota(5.0, &[("ip", None)]),
            quota(6.0, &[(USER, Some("me"))]),
        ];
        let effective =
            |all: &[Quota], user| effective(all, "producer_byte_rate", user, "twinlog").map(|q| q.value);
        assert_eq!(effective(&all, Some("me")), Some(6.0));
        assert_eq!(effective(&all, Some("you")), Some(3.0));
        assert_eq!(effective(&all[..2], None), Some(2.0));
        assert_eq!(effective(&all[3..5], Some("me")), None);
    }

    #[test]
    fn it_is_named_for_people_and_for_the_tool_that_changes_it() {
        let default = quota(1.0, &[(CLIENT, None)]);
        assert_eq!(
            (default.whose().as_str(), default.flags().as_str()),
            ("every client id", "--entity-type clients --entity-default")
        );
    }
}
