//! Whether a cluster of a new mirror is another registered one under a second name: a worker is asked, as nobody has surveyed it yet.

use std::collections::BTreeSet;
use std::time::Duration;

use tonic::Extensions;
use twinlog_proto::id::ClusterId;
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::internal::v1::answer::Answer;
use twinlog_proto::internal::v1::query::Question as Ask;
use twinlog_proto::v1;

use super::Api;
use crate::catalog::places::{self, Aliases};
use crate::fleet::Question;

/// For one cluster. Where no answer comes, surveys find it out later.
const DEADLINE: Duration = Duration::from_secs(3);
/// Registered clusters of the same Kafka id that are asked at most.
const MAX_ASKED: usize = 8;

/// Who a cluster is to those who connect to it.
struct Seen {
    kafka_id: String,
    addresses: BTreeSet<String>,
}

impl Api {
    /// Second names among the clusters of a mirror, as far as workers can tell now.
    pub(super) async fn aliases(&self, mirror: &v1::Mirror) -> Aliases {
        let sides = [&mirror.source, &mirror.target].map(|name| ClusterId::from_name(name).ok());
        let [source, target] = sides.each_ref().map(|side| async {
            match side {
                Some(side) => self.alias(side).await,
                None => None,
            }
        });
        let (source, target) = tokio::join!(source, target);
        source.into_iter().chain(target).collect()
    }

    /// The cluster and the name that it was known by before.
    async fn alias(&self, cluster: &ClusterId) -> Option<(ClusterId, ClusterId)> {
        let state = self.state();
        let mut surveyed = places::by_kafka_id(&places::stored(&state));
        if surveyed.is_empty() || surveyed.values().any(|names| names.contains(cluster)) {
            return None;
        }
        let seen = self.look_at(cluster).await?;
        let known = surveyed.remove(seen.kafka_id.as_str())?;
        for name in known.into_iter().filter(|name| *name != cluster).take(MAX_ASKED) {
            // One that doesn't answer says nothing of the others.
            let Some(other) = self.look_at(name).await else { continue };
            if !other.addresses.is_disjoint(&seen.addresses) {
                return Some((cluster.clone(), name.clone()));
            }
        }
        None
    }

    async fn look_at(&self, cluster: &ClusterId) -> Option<Seen> {
        let v1::TestClusterResponse { reachable, kafka_cluster_id, broker_addresses, .. } =
            match self.controller.elsewhere(&Extensions::new()) {
                Some(leader) => leader.test_cluster(cluster, DEADLINE).await.ok()?,
                None => self.test(cluster).await?,
            };
        let addresses = broker_addresses.into_iter().collect();
        reachable.then_some(Seen { kafka_id: kafka_cluster_id, addresses })
    }

    async fn test(&self, cluster: &ClusterId) -> Option<v1::TestClusterResponse> {
        let question = Question {
            question: Ask::TestCluster(internal::TestClusterQuestion {}),
            clusters: self.clusters(&[cluster]).ok()?,
            mirror: None,
            deadline: DEADLINE,
        };
        match self.ask(question).await.ok()?.answer {
            Answer::TestCluster(response) => Some(response),
            _ => None,
        }
    }
}
