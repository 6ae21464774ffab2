//! One librdkafka handle, owned: creation, callbacks, errors, wake-ups. Everything `unsafe` of the data path is in this file
//! and in its children.
//!
//! What makes it sound:
//! - a handle is destroyed once, by `Drop`, after every topic, queue and message made from it (fields are dropped in order of
//!   declaration, children hold an `Arc<Handle>`);
//! - `Shared`, the callbacks' opaque, is held by the handle and outlives the client: `rd_kafka_destroy` returns when no thread of
//!   librdkafka can call back any more. Behind an `Arc`, it may be pointed to from elsewhere while the handle moves;
//! - what callbacks share with the owner is behind a lock or atomic;
//! - a text of librdkafka's is copied where it is met, in the call that gives it. No text is taken from a message that was
//!   produced: see `target`.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka_sys as sys;
use sys::types::RDKafkaErrorCode;
use twinlog_proto::reason::Reason;
use twinlog_proto::text;

use crate::kafka::{ClientProperties, librdkafka_log};

mod connections;
mod fetch_version;
pub(crate) mod source;
pub(crate) mod target;

/// Room for librdkafka's error texts, bytes.
const ERROR_TEXT: usize = 512;

/// An error as librdkafka gives it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text} ({code:?})")]
pub(crate) struct Error {
    pub(crate) code: RDKafkaErrorCode,
    pub(crate) text: String,
    /// The client can't go on.
    pub(crate) fatal: bool,
    /// The same call may be made again.
    pub(crate) retriable: bool,
    /// The transaction must be aborted.
    pub(crate) abort: bool,
}

impl Error {
    fn plain(code: RDKafkaErrorCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), fatal: false, retriable: false, abort: false }
    }

    fn from_code(code: sys::rd_kafka_resp_err_t) -> Self {
        // SAFETY: never null: a constant of the library, or a buffer of this thread's own, which keeps until the next such call.
        Self::plain(code.into(), unsafe { copied(sys::rd_kafka_err2str(code)) })
    }

    /// The client reconnects and goes on by itself.
    pub(crate) fn is_about_connections(&self) -> bool {
        matches!(
            self.code,
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve
        )
    }

    /// Takes over an error object; null means success.
    ///
    /// # Safety
    /// `error` must come from a librdkafka call that hands over its ownership.
    unsafe fn check(error: *mut sys::rd_kafka_error_t) -> Result<(), Self> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: ours, and valid until destroyed, which happens here, once, after its text was copied.
        unsafe {
            let taken = Self {
                code: sys::rd_kafka_error_code(error).into(),
                text: copied(sys::rd_kafka_error_string(error)),
                fatal: sys::rd_kafka_error_is_fatal(error) != 0,
                retriable: sys::rd_kafka_error_is_retriable(error) != 0,
                abort: sys::rd_kafka_error_txn_requires_abort(error) != 0,
            };
            sys::rd_kafka_error_destroy(error);
            Err(taken)
        }
    }
}

/// A text of librdkafka's, bounded; nothing where there is none.
///
/// # Safety
/// `text` is null or ends with a zero byte, and stays as it is during the call.
unsafe fn copied(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as the caller says.
    bounded(&unsafe { CStr::from_ptr(text) }.to_string_lossy())
}

/// A text from librdkafka or from a broker, fit for a status or a log.
fn bounded(text: &str) -> String {
    text::sentence(text)
}

/// What librdkafka's threads may touch.
struct Shared {
    /// The thread to wake when a queue gets something.
    owner: Mutex<Thread>,
    /// The last error about the client as a whole (brokers down, authentication), until it is taken.
    trouble: Mutex<Option<Error>>,
    /// The longest that a broker has held requests back because of a quota, until it is taken.
    throttle: Mutex<Option<Duration>>,
    /// Delivery reports that wait (producers only). Filled on the thread that polls, so the lock is never contended.
    acks: Mutex<Vec<target::Ack>>,
    /// What brokers said about messages that they refused (producers only), until the delivery reports take it.
    words: Mutex<target::Words>,
    /// The message being produced has timestamp 0 (see `target`).
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

/// An owned `rd_kafka_t`.
struct Handle {
    raw: *mut sys::rd_kafka_t,
    shared: Arc<Shared>,
}

// SAFETY: librdkafka's clients are thread-safe ("completely thread-safe", rdkafka.h) and belong to no thread; `Shared` is Send.
unsafe impl Send for Handle {}
// SAFETY: as above; `Shared` is Sync by its parts.
unsafe impl Sync for Handle {}

impl Handle {
    /// Creates a client; connecting happens in the background. The calling thread is the one that will be woken.
    /// `prepare` sees the configuration before it is handed over.
    fn new(
        config: &ClientConfig,
        properties: &ClientProperties,
        kind: sys::rd_kafka_type_t,
        prepare: impl FnOnce(*mut sys::rd_kafka_conf_t, *mut c_void),
    ) -> Result<Self, Error> {
        let invalid = |text: String| Error::plain(RDKafkaErrorCode::InvalidArgument, text);
        let native = config.create_native_config().map_err(|e| invalid(e.to_string()))?;
        let shared = Arc::new(Shared::new(properties));
        let opaque = shared.as_opaque();
        let mut text = [0 as c_char; ERROR_TEXT];
        let with_tokens = properties.sasl_mechanism() == Some("OAUTHBEARER");
        // SAFETY: `native` is a valid configuration, and the copy made of it is ours. Its opaque is held by the handle, which is
        // made below before anything can fail, and by this function until then; no client, no callback.
        let conf = unsafe {
            let conf = sys::rd_kafka_conf_dup(native.ptr());
            sys::rd_kafka_conf_set_opaque(conf, opaque);
            sys::rd_kafka_conf_set_error_cb(conf, Some(on_error));
            sys::rd_kafka_conf_set_log_cb(conf, Some(on_log));
            sys::rd_kafka_conf_set_throttle_cb(conf, Some(on_throttle));
            if with_tokens {
                sys::rd_kafka_conf_set_oauthbearer_token_refresh_cb(conf, Some(on_token));
                sys::rd_kafka_conf_enable_sasl_queue(conf, 1);
            }
            conf
        };
        prepare(conf, opaque);
        // SAFETY: a valid configuration, which the client takes over, and a buffer as long as is said.
        let raw = unsafe { sys::rd_kafka_new(kind, conf, text.as_mut_ptr(), text.len()) };
        if raw.is_null() {
            // SAFETY: a call that failed leaves the configuration with the caller, and has written a text that ends with 0.
            return Err(invalid(unsafe {
                sys::rd_kafka_conf_destroy(conf);
                copied(text.as_ptr())
            }));
        }
        let handle = Self { raw, shared };
        if with_tokens {
            // Tokens are fetched on librdkafka's own thread: the lane's may be waiting for what needs one.
            // SAFETY: a live client; the call hands over its error.
            unsafe { Error::check(sys::rd_kafka_sasl_background_callbacks_enable(raw))? };
        }
        Ok(handle)
    }

    /// From now on the calling thread is the one to wake.
    fn adopt(&self) {
        *self.shared.owner.lock().unwrap_or_else(PoisonError::into_inner) = std::thread::current();
    }

    /// The last error about the client as a whole since the previous call.
    fn take_trouble(&self) -> Option<Error> {
        self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The longest that a broker has held requests back because of a quota since the previous call.
    fn take_throttle(&self) -> Option<Duration> {
        self.shared.throttle.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The error after which this client can do nothing more.
    fn fatal(&self) -> Option<Error> {
        let mut text = [0 as c_char; ERROR_TEXT];
        // SAFETY: a live client, and a buffer as long as is said.
        let code = unsafe { sys::rd_kafka_fatal_error(self.raw, text.as_mut_ptr(), text.len()) };
        (code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| {
            // SAFETY: the buffer was zero, and the call ends what it writes with 0.
            let text = unsafe { copied(text.as_ptr()) };
            Error { fatal: true, ..Error::plain(code.into(), text) }
        })
    }

    /// Wakes the owner's `std::thread::park` when `queue` goes from empty to not empty.
    ///
    /// # Safety
    /// `queue` is a valid queue of this handle.
    unsafe fn wake_on(&self, queue: *mut sys::rd_kafka_queue_t) {
        // SAFETY: as the caller says; `shared` outlives the client, and no queue calls back without its client.
        unsafe { sys::rd_kafka_queue_cb_event_enable(queue, Some(on_event), self.shared.as_opaque()) };
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_new`, destroyed once. Children hold the handle, so they are gone. `shared` is dropped after
        // this, when no thread of the client is left. No callback drops a handle (a client can't wait for its own threads).
        unsafe { sys::rd_kafka_destroy(self.raw) }
    }
}

/// An owned topic object of a handle.
struct Topic {
    raw: *mut sys::rd_kafka_topic_t,
    _handle: Arc<Handle>,
}

// SAFETY: topic objects are thread-safe as their clients, and counted.
unsafe impl Send for Topic {}
// SAFETY: as above.
unsafe impl Sync for Topic {}

impl Topic {
    fn new(handle: &Arc<Handle>, name: &str) -> Result<Self, Error> {
        let name =
            CString::new(name).map_err(|e| Error::plain(RDKafkaErrorCode::InvalidTopic, e.to_string()))?;
        // SAFETY: a live client; the name ends with 0 and is copied; null takes the client's own topic configuration.
        let raw = unsafe { sys::rd_kafka_topic_new(handle.raw, name.as_ptr(), std::ptr::null_mut()) };
        if raw.is_null() {
            // SAFETY: reads a number that librdkafka keeps for the calling thread, which made the call above.
            return Err(Error::from_code(unsafe { sys::rd_kafka_last_error() }));
        }
        Ok(Self { raw, _handle: handle.clone() })
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_topic_new`, whose reference this is; given back once, while the client lives.
        unsafe { sys::rd_kafka_topic_destroy(self.raw) }
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

/// A token, or why there is none. A panic must not reach C: it would end the process.
fn token_of(properties: &ClientProperties) -> Result<(CString, CString, i64), String> {
    let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| properties.oauth_token()));
    let token = asked.map_err(|_| "the source of tokens failed".to_owned())?.map_err(|e| e.to_string())?;
    let text = |text: &str| CString::new(text).map_err(|_| "the token holds a zero byte".to_owned());
    Ok((text(&token.token)?, text(&token.principal_name)?, token.lifetime_ms))
}

/// Called by librdkafka's background thread: a token is wanted.
unsafe extern "C" fn on_token(raw: *mut sys::rd_kafka_t, _: *const c_char, opaque: *mut c_void) {
    // SAFETY: the opaque is the handle's `Shared`, which outlives the client that calls.
    let shared = unsafe { &*opaque.cast::<Shared>() };
    let token = token_of(&shared.properties);
    let mut failure = [0 as c_char; ERROR_TEXT];
    let refused = match token {
        Ok((token, principal, lifetime)) => {
            // SAFETY: the client that calls lives. Both texts end with 0 and live during the call, which copies them; null with
            // 0 is no extensions; the buffer is as long as is said.
            let code = unsafe {
                sys::rd_kafka_oauthbearer_set_token(
                    raw,
                    token.as_ptr(),
                    lifetime,
                    principal.as_ptr(),
                    std::ptr::null_mut(),
                    0,
                    failure.as_mut_ptr(),
                    failure.len(),
                )
            };
            // SAFETY: the buffer was zero, and the call ends its text with 0.
            (code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR)
                .then(|| unsafe { copied(failure.as_ptr()) })
        }
        Err(text) => Some(text),
    };
    *shared.no_token.lock().unwrap_or_else(PoisonError::into_inner) = refused.as_deref().map(bounded);
    if let Some(text) = refused {
        let text = CString::new(bounded(&text)).unwrap_or_default();
        // SAFETY: the client that calls lives; the text ends with 0 and is copied.
        unsafe { sys::rd_kafka_oauthbearer_set_token_failure(raw, text.as_ptr()) };
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

/// The reason of an error about a client as a whole that means its cluster can't be used now; `None` where single brokers
/// come and go.
pub(crate) fn reason_when_away(error: &Error) -> Option<Reason> {
    match error.code {
        RDKafkaErrorCode::AllBrokersDown => Some(Reason::WAITING_FOR_CLUSTER),
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
            Some(Reason::AUTHENTICATION_FAILED)
        }
        RDKafkaErrorCode::SSL => Some(Reason::TLS_FAILED),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
