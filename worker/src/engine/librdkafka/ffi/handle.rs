//! One librdkafka client and its topics, owned: made, woken by, destroyed once.

use std::ffi::{CString, c_char, c_void};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka_sys as sys;
use sys::types::RDKafkaErrorCode;

use super::error::{ERROR_TEXT, Error, copied};
use super::{Shared, on_error, on_event, on_log, on_throttle, token};
use crate::kafka::ClientProperties;

/// An owned `rd_kafka_t`.
pub(super) struct Handle {
    pub(super) raw: *mut sys::rd_kafka_t,
    pub(super) shared: Arc<Shared>,
}

// SAFETY: librdkafka's clients are thread-safe ("completely thread-safe", rdkafka.h) and belong to no thread; `Shared` is Send.
unsafe impl Send for Handle {}
// SAFETY: as above; `Shared` is Sync by its parts.
unsafe impl Sync for Handle {}

impl Handle {
    /// Creates a client; connecting happens in the background. The calling thread is the one that will be woken.
    /// `prepare` sees the configuration before it is handed over.
    pub(super) fn new(
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
                sys::rd_kafka_conf_set_oauthbearer_token_refresh_cb(conf, Some(token::on_token));
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

    /// The last error about the client as a whole since the previous call.
    pub(super) fn take_trouble(&self) -> Option<Error> {
        self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The longest that a broker has held requests back because of a quota since the previous call.
    pub(super) fn take_throttle(&self) -> Option<Duration> {
        self.shared.throttle.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The error after which this client can do nothing more.
    pub(super) fn fatal(&self) -> Option<Error> {
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
    pub(super) unsafe fn wake_on(&self, queue: *mut sys::rd_kafka_queue_t) {
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
pub(super) struct Topic {
    pub(super) raw: *mut sys::rd_kafka_topic_t,
    _handle: Arc<Handle>,
}

// SAFETY: topic objects are thread-safe as their clients, and counted.
unsafe impl Send for Topic {}
// SAFETY: as above.
unsafe impl Sync for Topic {}

impl Topic {
    pub(super) fn new(handle: &Arc<Handle>, name: &str) -> Result<Self, Error> {
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
