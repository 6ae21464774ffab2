//! Questions of many ranges that are asked as one.

use std::collections::HashMap;
use std::hash::Hash;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// A question that takes longer holds up none that comes after it.
const TURN: Duration = Duration::from_millis(250);

/// Who waits for an answer about what.
type Waiting<K, V> = HashMap<K, Vec<oneshot::Sender<V>>>;

/// Questions that wait to be asked.
pub(crate) struct Together<K, V> {
    waiting: Mutex<Waiting<K, V>>,
    turn: Turn,
}

/// One question is on its way at a time: what comes meanwhile is asked with the next.
#[derive(Clone, Default)]
struct Turn(Arc<tokio::sync::Mutex<()>>);

impl Turn {
    async fn take(self, ask: impl Future<Output = ()>) {
        let turn = self.0.lock().await;
        let mut ask = pin!(ask);
        if timeout(TURN, &mut ask).await.is_err() {
            drop(turn);
            ask.await;
        }
    }
}

impl<K, V> Default for Together<K, V> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), turn: Turn::default() }
    }
}

impl<K: Eq + Hash, V: Clone> Together<K, V> {
    /// Where the answer will come. Whoever is first has `asker` ask after the pause, for all that wait by then.
    pub(crate) fn ask<T, F>(
        &self,
        about: K,
        pause: Duration,
        asker: &Weak<T>,
        ask: impl FnOnce(Arc<T>) -> F + Send + 'static,
    ) -> oneshot::Receiver<V>
    where
        T: Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (answer, first) = self.join(about);
        if let Some(asker) = asker.upgrade().filter(|_| first) {
            let turn = self.turn.clone();
            tokio::spawn(async move {
                sleep(pause).await;
                turn.take(ask(asker)).await;
            });
        }
        answer
    }

    /// Where the answer will come, and whether this is the first question.
    fn join(&self, about: K) -> (oneshot::Receiver<V>, bool) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let first = waiting.is_empty();
        let (tell, answer) = oneshot::channel();
        waiting.entry(about).or_default().push(tell);
        (answer, first)
    }

    /// All that wait now.
    pub(crate) fn take(&self) -> Asked<K, V> {
        Asked(std::mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// What is being asked. Who isn't told hears that the question was given up.
pub(crate) struct Asked<K, V>(Waiting<K, V>);

impl<K: Eq + Hash + Clone, V: Clone> Asked<K, V> {
    pub(crate) fn about(&self) -> Vec<K> {
        self.0.keys().cloned().collect()
    }

    pub(crate) fn tell(&mut self, about: &K, answer: &V) {
        for tell in self.0.remove(about).unwrap_or_default() {
            // Whoever has ended needs no answer.
            let _ = tell.send(answer.clone());
        }
    }
}
