//! One librdkafka handle, owned: creation, callbacks, errors, wake-ups. Everything `unsafe` of the data path is in this file
//! and in its two children, `source` and `target`.
//!
//! What makes it sound:
//! - a handle is destroyed once, by `Drop`, after every topic and queue made from it (fields are dropped in order of
//!   declaration, children hold an `Arc<Handle>`);
//! - `Shared`, the callbacks' opaque, lives in the handle and outlives it: `rd_kafka_destroy` returns when no thread of
//!   librdkafka can call back any more;
//! - what callbacks share with the owner is behind a lock or atomic.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;

use rdkafka::ClientConfig;
use rdkafka_sys as sys;
use sys::types::RDKafkaErrorCode;
use twinlog_proto::reason::Reason;

use crate::kafka::ClientProperties;

mod fetch_version;
pub(crate) mod source;
pub(crate) mod target;

/// Room for librdkafka's error texts, bytes.
const ERROR_TEXT: usize = 512;
/// syslog level up to which librdkafka's lines are a warning here.
const LOG_ERR: c_int = 3;

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
    /// An error of our own reader, in librdkafka's words.
    pub(crate) fn local(code: RDKafkaErrorCode, text: String) -> Self {
        Self::plain(code, text)
    }

    fn plain(code: RDKafkaErrorCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), fatal: false, retriable: false, abort: false }
    }

    fn from_code(code: sys::rd_kafka_resp_err_t) -> Self {
        // SAFETY: the text is a constant of the library.
        let text = unsafe { CStr::from_ptr(sys::rd_kafka_err2str(code)) };
        Self::plain(code.into(), text.to_string_lossy())
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
        // SAFETY: valid until destroyed, which happens here, once, after the text was copied.
        unsafe {
            let taken = Self {
                code: sys::rd_kafka_error_code(error).into(),
                text: CStr::from_ptr(sys::rd_kafka_error_string(error)).to_string_lossy().into_owned(),
                fatal: sys::rd_kafka_error_is_fatal(error) != 0,
                retriable: sys::rd_kafka_error_is_retriable(error) != 0,
                abort: sys::rd_kafka_error_txn_requires_abort(error) != 0,
            };
            sys::rd_kafka_error_destroy(error);
            Err(taken)
        }
    }
}

/// What librdkafka's threads may touch.
struct Shared {
    /// The thread to wake when a queue gets something.
    owner: Mutex<Thread>,
    /// The last error about the client as a whole (brokers down, authentication), until it is taken.
    trouble: Mutex<Option<Error>>,
    /// Delivery reports that wait (producers only). Filled on the thread that polls, so the lock is never contended.
    acks: Mutex<Vec<target::Ack>>,
    /// The message being produced has timestamp 0 (see `target`).
    zero_timestamp: AtomicBool,
    /// Where tokens come from.
    properties: ClientProperties,
}

impl Shared {
    fn new(properties: &ClientProperties) -> Self {
        Self {
            properties: properties.clone(),
            owner: Mutex::new(std::thread::current()),
            trouble: Mutex::default(),
            acks: Mutex::default(),
            zero_timestamp: AtomicBool::new(false),
        }
    }

    fn report(&self, error: Error) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// An owned `rd_kafka_t`.
struct Handle {
    raw: *mut sys::rd_kafka_t,
    shared: Box<Shared>,
}

// SAFETY: librdkafka handles may be used from any thread.
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
        let shared = Box::new(Shared::new(properties));
        let opaque: *mut c_void = (&raw const *shared).cast_mut().cast();
        let mut text = [0 as c_char; ERROR_TEXT];
        // SAFETY: the configuration is valid; its opaque is boxed and moves into the handle, whose `Drop` destroys the
        // client first. A copy of the configuration is handed over, and freed here when it was not taken.
        unsafe {
            let conf = sys::rd_kafka_conf_dup(native.ptr());
            sys::rd_kafka_conf_set_opaque(conf, opaque);
            sys::rd_kafka_conf_set_error_cb(conf, Some(on_error));
            sys::rd_kafka_conf_set_log_cb(conf, Some(on_log));
            let with_tokens = properties.sasl_mechanism() == Some("OAUTHBEARER");
            if with_tokens {
                sys::rd_kafka_conf_set_oauthbearer_token_refresh_cb(conf, Some(on_token));
                sys::rd_kafka_conf_enable_sasl_queue(conf, 1);
            }
            prepare(conf, opaque);
            let raw = sys::rd_kafka_new(kind, conf, text.as_mut_ptr(), text.len());
            if raw.is_null() {
                sys::rd_kafka_conf_destroy(conf);
                return Err(invalid(CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned()));
            }
            let handle = Self { raw, shared };
            if with_tokens {
                // Tokens are fetched on librdkafka's own thread: the lane's may be waiting for what needs one.
                Error::check(sys::rd_kafka_sasl_background_callbacks_enable(raw))?;
            }
            Ok(handle)
        }
    }

    /// From now on the calling thread is the one to wake.
    fn adopt(&self) {
        *self.shared.owner.lock().unwrap_or_else(PoisonError::into_inner) = std::thread::current();
    }

    /// The last error about the client as a whole since the previous call.
    fn take_trouble(&self) -> Option<Error> {
        self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The error after which this client can do nothing more.
    fn fatal(&self) -> Option<Error> {
        let mut text = [0 as c_char; ERROR_TEXT];
        // SAFETY: the buffer is as long as is said.
        unsafe {
            let code = sys::rd_kafka_fatal_error(self.raw, text.as_mut_ptr(), text.len());
            (code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| Error {
                fatal: true,
                ..Error::plain(code.into(), CStr::from_ptr(text.as_ptr()).to_string_lossy())
            })
        }
    }

    /// Wakes the owner's `std::thread::park` when `queue` goes from empty to not empty.
    ///
    /// # Safety
    /// `queue` belongs to this handle.
    unsafe fn wake_on(&self, queue: *mut sys::rd_kafka_queue_t) {
        // SAFETY: `shared` outlives the client and so the queue.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(
                queue,
                Some(on_event),
                (&raw const *self.shared).cast_mut().cast(),
            );
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: children hold the handle alive, so they are gone.
        unsafe { sys::rd_kafka_destroy(self.raw) }
    }
}

/// An owned topic object of a handle.
struct Topic {
    raw: *mut sys::rd_kafka_topic_t,
    _handle: Arc<Handle>,
}

// SAFETY: topic objects may be used from any thread.
unsafe impl Send for Topic {}
// SAFETY: as above.
unsafe impl Sync for Topic {}

impl Topic {
    fn new(handle: &Arc<Handle>, name: &str) -> Result<Self, Error> {
        let name =
            CString::new(name).map_err(|e| Error::plain(RDKafkaErrorCode::InvalidTopic, e.to_string()))?;
        // SAFETY: the name is copied; null takes the client's own topic configuration.
        let raw = unsafe { sys::rd_kafka_topic_new(handle.raw, name.as_ptr(), std::ptr::null_mut()) };
        if raw.is_null() {
            // SAFETY: reads the calling thread's last error.
            return Err(Error::from_code(unsafe { sys::rd_kafka_last_error() }));
        }
        Ok(Self { raw, _handle: handle.clone() })
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_topic_new`; the handle still lives.
        unsafe { sys::rd_kafka_topic_destroy(self.raw) }
    }
}

unsafe extern "C" fn on_event(_: *mut sys::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: set by `wake_on` to the handle's `Shared`.
    let shared = unsafe { &*opaque.cast::<Shared>() };
    shared.owner.lock().unwrap_or_else(PoisonError::into_inner).unpark();
}

unsafe extern "C" fn on_error(
    raw: *mut sys::rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: the opaque is the handle's `Shared`; `reason` is valid during the call; codes come from the library.
    unsafe {
        let mut error = Error::plain(
            sys::types::RDKafkaRespErr::try_from(code).map_or(RDKafkaErrorCode::Fail, Into::into),
            CStr::from_ptr(reason).to_string_lossy(),
        );
        if error.code == RDKafkaErrorCode::Fatal {
            let mut text = [0 as c_char; ERROR_TEXT];
            let code = sys::rd_kafka_fatal_error(raw, text.as_mut_ptr(), text.len());
            error = Error::plain(code.into(), CStr::from_ptr(text.as_ptr()).to_string_lossy());
            error.fatal = true;
        }
        (*opaque.cast::<Shared>()).report(error);
    }
}

unsafe extern "C" fn on_token(raw: *mut sys::rd_kafka_t, _: *const c_char, opaque: *mut c_void) {
    // SAFETY: the opaque is the handle's `Shared`.
    let shared = unsafe { &*opaque.cast::<Shared>() };
    let token = shared.properties.oauth_token().map_err(|error| error.to_string()).and_then(|token| {
        let text = |text: &str| CString::new(text).map_err(|_| "the token holds a zero byte".to_owned());
        Ok((text(&token.token)?, text(&token.principal_name)?, token.lifetime_ms))
    });
    let mut failure = [0 as c_char; ERROR_TEXT];
    let refused = match token {
        Ok((token, principal, lifetime)) => {
            // SAFETY: both texts live during the call, which copies them; the buffer is as long as is said.
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
            // SAFETY: the call ends its text with a zero byte.
            (code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR)
                .then(|| unsafe { CStr::from_ptr(failure.as_ptr()) }.to_string_lossy().into_owned())
        }
        Err(text) => Some(text),
    };
    if let Some(text) = refused {
        let text = CString::new(text).unwrap_or_default();
        // SAFETY: the text is copied.
        unsafe { sys::rd_kafka_oauthbearer_set_token_failure(raw, text.as_ptr()) };
    }
}

unsafe extern "C" fn on_log(
    _: *const sys::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    // SAFETY: both texts are valid during the call.
    let (facility, line) = unsafe { (CStr::from_ptr(facility), CStr::from_ptr(line)) };
    let (facility, line) = (facility.to_string_lossy(), line.to_string_lossy());
    // A broker that is away gives such a line with every try to connect: the lane's status says it once.
    let about_connections = matches!(&*facility, "FAIL" | "ERROR" | "REQTMOUT");
    if level <= LOG_ERR && !about_connections {
        tracing::warn!(target: "librdkafka", facility = %facility, "{line}");
    } else {
        tracing::debug!(target: "librdkafka", facility = %facility, "{line}");
    }
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
