//! The handle: one per cluster, cheap to clone. The calls themselves are in the sibling modules, one per subject.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use tokio::time::Instant;

use super::error::KafkaError;
use super::properties::ClientProperties;
use super::properties::Role;
use super::route::Router;

/// One answer per topic and partition.
pub type PerPartition<T> = HashMap<(String, i32), Result<T, KafkaError>>;
/// One answer per topic or group.
pub type PerName<T> = HashMap<String, Result<T, KafkaError>>;

/// Admin, group, offset and raw fetch calls to one cluster. Clones share connections and what is known of the cluster.
///
/// It connects when first used. Every call retries what may heal by itself, until its deadline.
#[derive(Clone)]
pub struct KafkaClient {
    pub(in crate::kafka) router: Arc<Router>,
    /// What records are read with, where that is not the same.
    consumer: Option<Arc<Router>>,
    /// And what they are written with.
    producer: Option<Arc<Router>>,
    deadline: Duration,
}

impl KafkaClient {
    pub fn new(properties: ClientProperties) -> Self {
        let deadline = properties.call_deadline();
        let own = |role| properties.of_role(role).map(|own| Arc::new(Router::new(own)));
        let (consumer, producer) = (own(Role::Consumer), own(Role::Producer));
        Self { router: Arc::new(Router::new(properties)), consumer, producer, deadline }
    }

    /// The client that reads records: as whom the cluster's `consumer.*` properties say, where they say so.
    pub(in crate::kafka) fn as_consumer(&self) -> Self {
        let router = self.consumer.as_ref().unwrap_or(&self.router).clone();
        Self { router, consumer: None, producer: None, deadline: self.deadline }
    }

    /// The client that writes records: as whom the cluster's `producer.*` properties say, where they say so.
    pub(crate) fn as_producer(&self) -> Self {
        let router = self.producer.as_ref().unwrap_or(&self.router).clone();
        Self { router, consumer: None, producer: None, deadline: self.deadline }
    }

    /// The same client, whose calls end within `deadline`.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        let (consumer, producer) = (self.consumer.clone(), self.producer.clone());
        Self { router: self.router.clone(), consumer, producer, deadline }
    }

    /// The same client, whose calls end within `deadline`, or sooner where they did already.
    #[must_use]
    pub fn within(&self, deadline: Duration) -> Self {
        self.with_deadline(self.deadline.min(deadline))
    }

    pub fn properties(&self) -> &ClientProperties {
        &self.router.properties
    }

    /// The rack that records are read in; empty where none is given.
    pub(crate) fn rack(&self) -> &str {
        self.consumer.as_ref().unwrap_or(&self.router).properties.rack()
    }

    /// Addresses of the cluster, as far as they are known: bootstrap servers and brokers.
    pub(crate) fn addresses(&self) -> usize {
        self.router.addresses()
    }

    /// The configuration of an rdkafka client that begins with brokers which this client knows to be there: of configured servers
    /// some may be silent, and rdkafka's clients try one at a time.
    pub(crate) fn rdkafka(&self, role: Role) -> ClientConfig {
        let mut config = self.properties().rdkafka(role);
        if !self.properties().connects_elsewhere(role) {
            config.set("bootstrap.servers", self.router.brokers().join(","));
        }
        config
    }

    /// When a call that starts now has to end.
    pub(in crate::kafka) fn until(&self) -> Instant {
        Instant::now() + self.deadline
    }
}

impl fmt::Debug for KafkaClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaClient").field("properties", self.properties()).finish_non_exhaustive()
    }
}
