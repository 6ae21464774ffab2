//! What the client remembers of the cluster: brokers, controller, leaders. A hint only: every answer of a broker overrules it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::types::Broker;

/// Leaders older than this are asked for again.
const MAX_AGE: Duration = Duration::from_secs(300);
/// Topics whose leaders are remembered; beyond it the memory starts anew.
const MAX_TOPICS: usize = 50_000;

#[derive(Default)]
pub(in crate::kafka) struct Metadata {
    brokers: BTreeMap<i32, Broker>,
    controller: Option<i32>,
    leaders: HashMap<String, Leaders>,
}

struct Leaders {
    /// By partition; `None` while it has none.
    of: HashMap<i32, Option<i32>>,
    at: Instant,
}

/// Who leads a partition, as far as known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kafka) enum Leader {
    Broker(i32),
    /// The topic is known, the partition has no leader now.
    None,
    /// The topic is known and has no such partition, or the cluster has no such topic.
    Missing,
}

impl Metadata {
    /// Takes in an answer. Topics with an error are forgotten.
    pub(in crate::kafka) fn learn(&mut self, response: &MetadataResponse, now: Instant) {
        if !response.brokers.is_empty() {
            self.brokers = response.brokers.iter().map(|b| (b.node_id.0, broker(b))).collect();
        }
        self.controller = Some(response.controller_id.0).filter(|id| *id >= 0);
        if self.leaders.len() + response.topics.len() > MAX_TOPICS {
            self.leaders.clear();
        }
        for topic in &response.topics {
            let Some(name) = &topic.name else { continue };
            if topic.error_code != 0 {
                self.leaders.remove(name.as_str());
                continue;
            }
            let of = topic
                .partitions
                .iter()
                .map(|p| (p.partition_index, Some(p.leader_id.0).filter(|id| *id >= 0)))
                .collect();
            self.leaders.insert(name.to_string(), Leaders { of, at: now });
        }
    }

    pub(in crate::kafka) fn broker(&self, id: i32) -> Option<&Broker> {
        self.brokers.get(&id)
    }

    pub(in crate::kafka) fn brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.values()
    }

    pub(in crate::kafka) fn controller(&self) -> Option<i32> {
        self.controller
    }

    pub(in crate::kafka) fn leader(&self, topic: &str, partition: i32) -> Leader {
        match self.leaders.get(topic).map(|l| l.of.get(&partition)) {
            None | Some(None) => Leader::Missing,
            Some(Some(None)) => Leader::None,
            Some(Some(Some(id))) => Leader::Broker(*id),
        }
    }

    /// Which of these partitions' topics have no, or only old, leaders here.
    pub(in crate::kafka) fn unknown<'a>(
        &self,
        partitions: impl Iterator<Item = (&'a str, i32)>,
        now: Instant,
    ) -> HashSet<String> {
        let known = |topic: &str, partition: i32| {
            self.leaders.get(topic).is_some_and(|l| now.duration_since(l.at) < MAX_AGE)
                && matches!(self.leader(topic, partition), Leader::Broker(id) if self.brokers.contains_key(&id))
        };
        partitions.filter(|(t, p)| !known(t, *p)).map(|(t, _)| t.to_owned()).collect()
    }
}

pub(in crate::kafka) fn broker(
    b: &kafka_protocol::messages::metadata_response::MetadataResponseBroker,
) -> Broker {
    Broker {
        id: b.node_id.0,
        host: b.host.to_string(),
        port: u16::try_from(b.port).unwrap_or(0),
        rack: b.rack.as_ref().map(ToString::to_string),
    }
}

/// The request for these topics, or for all; it never creates a topic.
pub(in crate::kafka) fn request(version: i16, names: Option<&[String]>, authorized: bool) -> MetadataRequest {
    let topics = names.map(|names| {
        let topic = |name: &String| {
            let name = TopicName(StrBytes::from_string(name.clone()));
            MetadataRequestTopic::default().with_name(Some(name))
        };
        names.iter().map(topic).collect()
    });
    MetadataRequest::default()
        .with_topics(topics)
        .with_allow_auto_topic_creation(false)
        .with_include_topic_authorized_operations(authorized && version >= 8)
        .with_include_cluster_authorized_operations(authorized && (8..=10).contains(&version))
}
