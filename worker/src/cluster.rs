//! One Kafka cluster as the tasks of a worker share it: resolved properties and one admin client.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use twinlog_proto::id::ClusterId;
use twinlog_proto::model;
use twinlog_proto::secret::Access;

use crate::kafka::{ClientProperties, KafkaClient, KafkaError};
use crate::said::Said;
use crate::source_ends::EndsWatch;

/// A quota that was met so lately is probably still there.
const THROTTLED_LATELY: Duration = Duration::from_secs(60);

/// Held behind an `Arc` by every task that works with the cluster.
pub struct ClusterHandle {
    pub id: ClusterId,
    pub properties: ClientProperties,
    pub client: KafkaClient,
    /// When it was seen last that quotas hold requests back.
    throttled: Mutex<Option<Instant>>,
    /// What was said of its being away.
    away: Mutex<Said>,
    /// How partitions end here, where somebody wants to know.
    pub(crate) ends: EndsWatch,
    /// What those who work with the cluster share, see `beside`.
    beside: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl ClusterHandle {
    /// `open_for` with the secrets that a worker may resolve without settings of its own.
    ///
    /// # Errors
    /// SECRET_UNRESOLVED or INVALID_PROPERTY.
    pub fn open(cluster: &model::Cluster) -> Result<Self, KafkaError> {
        Self::open_for(cluster, &Arc::default())
    }

    /// Resolves the properties (`${env:..}`, `${file:..}`) as far as `access` lets it; connects lazily.
    ///
    /// # Errors
    /// SECRET_UNRESOLVED or INVALID_PROPERTY.
    pub fn open_for(cluster: &model::Cluster, access: &Arc<Access>) -> Result<Self, KafkaError> {
        let properties = ClientProperties::resolve_for(cluster, access)?;
        let client = KafkaClient::new(properties.clone());
        Ok(Self {
            id: cluster.id.clone(),
            properties,
            client,
            throttled: Mutex::default(),
            away: Mutex::default(),
            ends: EndsWatch::default(),
            beside: Mutex::default(),
        })
    }

    /// What was said in the log of its being away: once for all ranges.
    pub(crate) fn said_away(&self) -> MutexGuard<'_, Said> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its brokers hold requests of ours back because of a quota.
    pub(crate) fn note_throttled(&self) {
        *self.throttled.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether they did lately: then who begins should begin with little.
    pub(crate) fn was_throttled(&self) -> bool {
        let last = *self.throttled.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|at| at.elapsed() < THROTTLED_LATELY)
    }

    /// What is shared by those who work with the cluster, one thing of each type: the first who asks makes it.
    pub(crate) fn beside<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = beside.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(make())).clone();
        kept.downcast().expect("it is kept by its type")
    }

    /// The same cluster with nothing beside it: what is kept there must not keep itself alive.
    pub(crate) fn alone(&self) -> Self {
        let (id, properties, client) = (self.id.clone(), self.properties.clone(), self.client.clone());
        Self {
            id,
            properties,
            client,
            throttled: Mutex::default(),
            away: Mutex::default(),
            ends: self.ends.clone(),
            beside: Mutex::default(),
        }
    }

    /// The same cluster and connections, whose calls end within `deadline`.
    #[must_use]
    pub fn with_deadline(&self, deadline: std::time::Duration) -> Self {
        Self { client: self.client.with_deadline(deadline), ..self.alone() }
    }
}
