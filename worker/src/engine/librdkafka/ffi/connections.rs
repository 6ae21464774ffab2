//! Which brokers a client is connected to anew. What a broker says over a later connection may come from another log: it may have been
//! restored from a backup in between. librdkafka tells of such things only in part (errors are left out where one like it came
//! shortly before); the states of its brokers it tells all of.
//!
//! A broker's thread counts a connection before it fetches anything over it.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rdkafka_sys as sys;
use sys::types::RDKafkaRespErr;

use super::Shared;

const NAME: &CStr = c"twinlog";
/// As librdkafka calls the state of a broker that is being connected to.
const CONNECT: &CStr = c"CONNECT";

/// Of a configured server, until it has said its id.
const NO_ID: i32 = -1;

#[derive(Default)]
pub(super) struct Connections {
    /// How many have replaced an earlier one.
    replaced: AtomicU64,
    brokers: Mutex<Brokers>,
}

#[derive(Default)]
struct Brokers {
    /// Address and port of those that were connected to before: of a configured server the id comes later.
    met: HashSet<(Vec<u8>, c_int)>,
    /// `replaced` as it was with the newest connection, by broker id.
    newest: HashMap<i32, u64>,
}

impl Connections {
    pub(super) fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Acquire)
    }

    /// Whether the broker was connected to anew after `replaced` had this value.
    pub(super) fn is_new_since(&self, broker: i32, replaced: u64) -> bool {
        if self.replaced() == replaced {
            return false;
        }
        let brokers = self.brokers.lock().unwrap_or_else(PoisonError::into_inner);
        // One without an id may be any: where all are away, librdkafka begins again with the configured servers.
        [broker, NO_ID].iter().filter_map(|id| brokers.newest.get(id)).any(|newest| *newest > replaced)
    }

    fn connects(&self, broker: i32, address: &[u8], port: c_int) {
        let mut brokers = self.brokers.lock().unwrap_or_else(PoisonError::into_inner);
        if brokers.met.insert((address.to_vec(), port)) {
            return;
        }
        let number = self.replaced.fetch_add(1, Ordering::AcqRel) + 1;
        brokers.newest.insert(broker, number);
    }
}

/// Has the client that is made of `conf` tell of its brokers.
///
/// # Safety
/// `conf` is a valid configuration; `opaque` is the `Shared` of the handle that is made of it.
pub(super) unsafe fn watch(conf: *mut sys::rd_kafka_conf_t, opaque: *mut c_void) {
    // SAFETY: as the caller says; the name is a constant.
    let added =
        unsafe { sys::rd_kafka_conf_interceptor_add_on_new(conf, NAME.as_ptr(), Some(on_new), opaque) };
    debug_assert_eq!(added, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR, "the first of its name");
}

/// Called once by `rd_kafka_new`, before there are brokers.
unsafe extern "C" fn on_new(
    client: *mut sys::rd_kafka_t,
    _: *const sys::rd_kafka_conf_t,
    opaque: *mut c_void,
    _: *mut c_char,
    _: usize,
) -> RDKafkaRespErr {
    // SAFETY: the client that is being made; the name is a constant, and the opaque outlives the client.
    unsafe {
        sys::rd_kafka_interceptor_add_on_broker_state_change(client, NAME.as_ptr(), Some(on_state), opaque)
    }
}

/// Called by brokers' threads, which hold locks of librdkafka's: it calls nothing of it.
unsafe extern "C" fn on_state(
    _: *mut sys::rd_kafka_t,
    broker: i32,
    _: *const c_char,
    address: *const c_char,
    port: c_int,
    state: *const c_char,
    opaque: *mut c_void,
) -> RDKafkaRespErr {
    if !address.is_null() && !state.is_null() {
        // SAFETY: texts of librdkafka's that end with 0 and live as long as the call; the opaque is the handle's `Shared`, which
        // outlives the client that calls.
        let (state, address, shared) =
            unsafe { (CStr::from_ptr(state), CStr::from_ptr(address), &*opaque.cast::<Shared>()) };
        if state == CONNECT {
            shared.connections.connects(broker, address.to_bytes(), port);
        }
    }
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_later_connection_to_the_same_broker_counts() {
        let connections = Connections::default();
        // A configured server, whose id comes with its first answer.
        connections.connects(NO_ID, b"a", 9092);
        connections.connects(2, b"b", 9092);
        assert!(!connections.is_new_since(1, 0) && !connections.is_new_since(2, 0));
        connections.connects(1, b"a", 9092);
        assert!(connections.is_new_since(1, 0) && !connections.is_new_since(2, 0));
        let now = connections.replaced();
        assert!(!connections.is_new_since(1, now));
        connections.connects(2, b"b", 9092);
        assert!(!connections.is_new_since(1, now) && connections.is_new_since(2, now));
        let now = connections.replaced();
        connections.connects(NO_ID, b"a", 9092);
        assert!(connections.is_new_since(1, now) && connections.is_new_since(2, now), "it may be any");
    }
}
