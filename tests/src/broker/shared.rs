//! The state that all brokers of a cluster share, and word of its changes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kafka_protocol::messages::ApiKey;
use tokio::sync::watch;

use super::state::State;

pub(super) struct Shared {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
    /// How many requests of each kind came.
    requests: Mutex<BTreeMap<i16, usize>>,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self { state: Mutex::new(state), changes: watch::Sender::new(0), requests: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panics while it looks leaves a state that is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something that nobody waits for.
    pub(super) fn look<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.lock())
    }

    /// Does something that a waiting fetch or produce may want to see.
    pub(super) fn change<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let done = act(&mut self.lock());
        self.changes.send_modify(|count| *count += 1);
        done
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn count(&self, api: ApiKey) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry(api as i16).or_default() += 1;
    }

    pub(super) fn requests(&self, api: ApiKey) -> usize {
        let counts = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(&(api as i16)).copied().unwrap_or_default()
    }
}
