//! Errors of librdkafka's: taken over, with their texts, where they are met.

use std::ffi::{CStr, c_char};

use rdkafka_sys as sys;
use sys::types::RDKafkaErrorCode;
use twinlog_proto::reason::Reason;
use twinlog_proto::text;

/// Room for librdkafka's error texts, bytes.
pub(super) const ERROR_TEXT: usize = 512;

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
    pub(super) fn plain(code: RDKafkaErrorCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), fatal: false, retriable: false, abort: false }
    }

    pub(super) fn from_code(code: sys::rd_kafka_resp_err_t) -> Self {
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
    pub(super) unsafe fn check(error: *mut sys::rd_kafka_error_t) -> Result<(), Self> {
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
pub(super) unsafe fn copied(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as the caller says.
    bounded(&unsafe { CStr::from_ptr(text) }.to_string_lossy())
}

/// A text from librdkafka or from a broker, fit for a status or a log.
pub(super) fn bounded(text: &str) -> String {
    text::sentence(text)
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
