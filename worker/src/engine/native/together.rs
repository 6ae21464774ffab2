//! Questions of many ranges that are asked as one.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

/// Who waits for an answer about what.
type Waiting<K, V> = HashMap<K, Vec<oneshot::Sender<V>>>;

/// Questions that wait to be asked.
pub(super) struct Together<K, V>(Mutex<Waiting<K, V>>);

impl<K, V> Default for Together<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Together<K, V> {
    /// Where the answer will come, and whether this is the first question: then somebody has to ask, soon.
    pub(super) fn join(&self, about: K) -> (oneshot::Receiver<V>, bool) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = waiting.is_empty();
        let (tell, answer) = oneshot::channel();
        waiting.entry(about).or_default().push(tell);
        (answer, first)
    }

    /// All that wait now.
    pub(super) fn take(&self) -> Asked<K, V> {
        Asked(std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// What is being asked. Who isn't told hears that the question was given up.
pub(super) struct Asked<K, V>(Waiting<K, V>);

impl<K: Eq + Hash + Clone, V: Clone> Asked<K, V> {
    pub(super) fn about(&self) -> Vec<K> {
        self.0.keys().cloned().collect()
    }

    pub(super) fn tell(&mut self, about: &K, answer: &V) {
        for tell in self.0.remove(about).unwrap_or_default() {
            // Whoever has ended needs no answer.
            let _ = tell.send(answer.clone());
        }
    }
}
