//! librdkafka as it is: what its threads and ours share, and what it calls back for. Everything `unsafe` of the data path is in this
//! file and in its children.
//!
//! What makes it sound:
//! - a handle is destroyed once, by `Drop`, after every topic, queue and message made from it (fields are dropped in order of
//!   declaration, children hold an `Arc<Handle>`);
//! - `Shared`, the callbacks' opaque, is held by the handle and outlives the client: `rd_kafka_destroy` returns when no thread of
//!   librdkafka can call back any more. Behind an `Arc`, it may be pointed to from elsewhere while the handle moves;
//! - what callbacks share with the owner is behind a lock or atomic;
//! - a text of librdkafka's is copied where it is met, in the call that gives it. No text is taken from a message that was
//!   produced: see `delivery`.

#![allow(unsafe_code)]

mod connections;
pub(crate) mod delivery;
mod error;
mod fetch_version;
mod handle;
pub(crate) mod source;
pub(crate) mod target;
mod timestamp;
mod token;

use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use rdkafka_sys as sys;
use sys::types::RDKafkaErrorCode;
use twinlog_proto::reason::Reason;

use self::error::{ERROR_TEXT, copied};
pub(crate) use self::error::{Error, reason_when_away};
use crate::kafka::{ClientProperties, librdkafka_log};

/// What librdkafka's threads may touch.
struct Shared {
    /// The thread to wake when a queue gets something.
    owner: Mutex<Thread>,
    /// The last error about the client as a whole (brokers down, authentication), until it is taken.
    trouble: Mutex<Option<Error>>,
    /// The longest that a broker has held requests back because of a quota, until it is taken.
    throttle: Mutex<Option<Duration>>,
    /// Delivery reports that wait (producers only). Filled on the thread that polls, so the lock is never contended.
    acks: Mutex<Vec<delivery::Ack>>,
    /// What brokers said about messages that they refused (producers only), until the delivery reports take it.
    words: Mutex<delivery::Words>,
    /// The message being produced has timestamp 0 (see `timestamp`).
    zero_timestamp: AtomicBool,
    connections: connections::Connections,
    /// Where tokens come from.
    properties: ClientProperties,
    /// Why there is no token, until there is one.
    no_token: Mutex<Option<String>>,
}

impl Shared {
    fn new(properties: &ClientProperties) -> Self {
        Self {
            properties: properties.clone(),
            no_token: Mutex::default(),
            owner: Mutex::new(std::thread::current()),
            trouble: Mutex::default(),
            throttle: Mutex::default(),
            acks: Mutex::default(),
            words: Mutex::default(),
            zero_timestamp: AtomicBool::new(false),
            connections: connections::Connections::default(),
        }
    }

    /// Without a token librdkafka goes on with the one that has expired, and tells of what brokers make of that: not the cause.
    fn report(&self, mut error: Error) {
        if reason_when_away(&error) == Some(Reason::AUTHENTICATION_FAILED)
            && let Some(why) = self.no_token.lock().unwrap_or_else(PoisonError::into_inner).clone()
        {
            error.text = why;
        }
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// What callbacks get. It is only read through: everything inside is behind a lock or atomic.
    fn as_opaque(self: &Arc<Self>) -> *mut c_void {
        Arc::as_ptr(self).cast_mut().cast()
    }
}

/// Called by any thread of librdkafka: a queue has got something.
unsafe extern "C" fn on_event(_: *mut sys::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: set by `wake_on` to the handle's `Shared`, which outlives the client that calls.
    let shared = unsafe { &*opaque.cast::<Shared>() };
    shared.owner.lock().unwrap_or_else(PoisonError::into_inner).unpark();
}

/// Called by the thread that polls the client: something about the client as a whole.
unsafe extern "C" fn on_error(
    raw: *mut sys::rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    opaque: *mut c_void,
) {
    let code = sys::types::RDKafkaRespErr::try_from(code).map_or(RDKafkaErrorCode::Fail, Into::into);
    // SAFETY: the reason is valid during the call, and ends with 0.
    let mut error = Error::plain(code, unsafe { copied(reason) });
    if error.code == RDKafkaErrorCode::Fatal {
        let mut text = [0 as c_char; ERROR_TEXT];
        // SAFETY: the client that calls lives; the buffer is as long as is said.
        let code = unsafe { sys::rd_kafka_fatal_error(raw, text.as_mut_ptr(), text.len()) };
        // SAFETY: the buffer was zero, and the call ends what it writes with 0.
        error = Error { fatal: true, ..Error::plain(code.into(), unsafe { copied(text.as_ptr()) }) };
    }
    // SAFETY: the opaque is the handle's `Shared`, which outlives the client that calls.
    unsafe { &*opaque.cast::<Shared>() }.report(error);
}

/// Called where an answer says that its broker holds requests back.
unsafe extern "C" fn on_throttle(
    _: *mut sys::rd_kafka_t,
    _: *const c_char,
    _: i32,
    millis: c_int,
    opaque: *mut c_void,
) {
    // SAFETY: the opaque is the handle's `Shared`, which outlives the client that calls.
    let shared = unsafe { &*opaque.cast::<Shared>() };
    let by = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    if !by.is_zero() {
        let mut throttle = shared.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        *throttle = (*throttle).max(Some(by));
    }
}

/// Called by any thread of librdkafka, also while a client is being made.
unsafe extern "C" fn on_log(
    _: *const sys::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    // SAFETY: both texts are valid during the call, and end with 0.
    let (facility, line) = unsafe { (copied(facility), copied(line)) };
    librdkafka_log::line(level, &facility, &line);
}

#[cfg(test)]
mod tests;
