//! What was read of MM2's topics, shared by all tasks that work with a cluster: each reads on where the last one stopped.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::syncs::Syncs;
use crate::cluster::ClusterHandle;
use crate::kafka::KafkaError;
use crate::mm2_offsets::Offsets;

/// Kept beside the cluster that the topics are on.
#[derive(Default)]
pub(crate) struct Shared {
    /// By topic and alias of the source.
    offsets: Table<(String, String), Offsets>,
    /// By topic.
    syncs: Table<String, Syncs>,
}

type Table<K, T> = Mutex<HashMap<K, Arc<tokio::sync::Mutex<Followed<T>>>>>;

/// A topic as far as it was read.
struct Followed<T> {
    /// It was read to its end at this time or later.
    at: Option<Instant>,
    what: Option<T>,
}

impl Shared {
    pub(crate) fn of(cluster: &ClusterHandle) -> Arc<Self> {
        cluster.beside(Self::default)
    }

    /// Looks at the positions of the source `alias` as they are now.
    pub(crate) async fn offsets<R>(
        &self,
        cluster: &ClusterHandle,
        topic: &str,
        alias: &str,
        look: impl FnOnce(&Offsets) -> R,
    ) -> Result<R, KafkaError> {
        let followed = entry(&self.offsets, (topic.to_owned(), alias.to_owned()));
        let read = |known: Option<Offsets>| known.unwrap_or_else(|| Offsets::new(alias)).read(cluster, topic);
        current(&followed, read, look).await
    }

    /// Looks at the offset syncs as they are now.
    pub(crate) async fn syncs<R>(
        &self,
        cluster: &ClusterHandle,
        topic: &str,
        look: impl FnOnce(&Syncs) -> R,
    ) -> Result<R, KafkaError> {
        let followed = entry(&self.syncs, topic.to_owned());
        current(&followed, |known: Option<Syncs>| known.unwrap_or_default().read(cluster, topic), look).await
    }
}

fn entry<K: Eq + Hash, T>(table: &Table<K, T>, key: K) -> Arc<tokio::sync::Mutex<Followed<T>>> {
    let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
    let new = || Arc::new(tokio::sync::Mutex::new(Followed { at: None, what: None }));
    table.entry(key).or_insert_with(new).clone()
}

/// Reads on, unless somebody else has done so since this was called.
async fn current<T, R, F: Future<Output = Result<T, KafkaError>>>(
    followed: &tokio::sync::Mutex<Followed<T>>,
    read: impl FnOnce(Option<T>) -> F,
    look: impl FnOnce(&T) -> R,
) -> Result<R, KafkaError> {
    let asked = Instant::now();
    let mut followed = followed.lock().await;
    let what = match followed.what.take() {
        Some(what) if followed.at.is_some_and(|at| at >= asked) => what,
        known => {
            let began = Instant::now();
            let what = read(known).await?;
            followed.at = Some(began);
            what
        }
    };
    Ok(look(followed.what.insert(what)))
}
