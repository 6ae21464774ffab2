//! Connections to every broker, reused and bounded.
//!
//! A call takes a connection out and puts it back when the answer has been read; whatever goes wrong in between, the
//! connection is dropped. Long polls have connections of their own, so that they never hold up anything else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::connection::Connection;
use super::error::KafkaError;
use super::properties::ClientProperties;

/// Connections to one broker at a time, for each kind of use.
const MAX_CONNECTIONS: usize = 4;
/// An idle connection older than this is not used again: brokers and things in between drop idle ones silently.
const MAX_IDLE: Duration = Duration::from_secs(60);
/// Of several idle ones all but the last that was used are closed after this: what was needed at the start is mostly not needed later.
const MAX_SPARE: Duration = Duration::from_secs(5);
/// Idle ones are looked at this often, while there are any calls.
const SWEEP: Duration = Duration::from_secs(1);

/// What a connection is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::kafka) enum Use {
    Control,
    Fetch,
    /// An acknowledgement may take as long as replicas do.
    Produce,
}

pub(in crate::kafka) struct Pool {
    properties: ClientProperties,
    slots: Mutex<HashMap<(String, Use), Arc<Slot>>>,
    swept: Mutex<Instant>,
}

struct Slot {
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

/// A connection taken out of the pool.
pub(in crate::kafka) struct Lease {
    pub(in crate::kafka) connection: Connection,
    /// Whether it has served before: then a failure may mean just that the broker closed it meanwhile.
    pub(in crate::kafka) reused: bool,
    slot: Arc<Slot>,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// Puts the connection back.
    pub(in crate::kafka) fn release(self) {
        self.slot.idle().push(self.connection);
    }
}

impl Pool {
    pub(in crate::kafka) fn new(properties: ClientProperties) -> Self {
        Self { properties, slots: Mutex::default(), swept: Mutex::new(Instant::now()) }
    }

    /// A connection to `peer`, an idle one if there is one and `fresh` isn't asked for.
    pub(in crate::kafka) async fn lease(
        &self,
        peer: &str,
        purpose: Use,
        fresh: bool,
    ) -> Result<Lease, KafkaError> {
        self.sweep();
        let slot = self.slot(peer, purpose);
        let permit = slot.permits.clone().acquire_owned().await.expect("this semaphore is never closed");
        let idle = if fresh { None } else { slot.take() };
        let (connection, reused) = match idle {
            Some(connection) => (connection, true),
            // Rare, and deep: it takes no room in the frames of every call.
            None => (Box::pin(Connection::open(peer, &self.properties)).await?, false),
        };
        Ok(Lease { connection, reused, slot, _permit: permit })
    }

    /// Closes what has been idle for long, also to brokers that are gone.
    fn sweep(&self) {
        let mut swept = self.swept.lock().expect("no panic under this lock");
        if swept.elapsed() < SWEEP {
            return;
        }
        *swept = Instant::now();
        drop(swept);
        let slots = self.slots.lock().expect("no panic under this lock");
        slots.values().for_each(|slot| drop(slot.idle()));
    }

    fn slot(&self, peer: &str, purpose: Use) -> Arc<Slot> {
        let mut slots = self.slots.lock().expect("no panic under this lock");
        slots.entry((peer.to_owned(), purpose)).or_insert_with(Slot::new).clone()
    }
}

impl Slot {
    fn new() -> Arc<Self> {
        Arc::new(Self { permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)), idle: Mutex::default() })
    }

    fn take(&self) -> Option<Connection> {
        self.idle().pop()
    }

    /// The connections that may be used again; the others are closed.
    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        let mut idle = self.idle.lock().expect("no panic under this lock");
        let mut behind = idle.len();
        idle.retain(|connection| {
            behind -= 1;
            connection.is_reusable(if behind == 0 { MAX_IDLE } else { MAX_SPARE })
        });
        idle
    }
}
