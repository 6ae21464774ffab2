//! Timestamps where librdkafka's own calls fall short: its produce calls take timestamp 0 for "now", but records from 1970 exist. For
//! those an interceptor, which librdkafka calls inside the produce call, writes the 0 into the message. Where in the message the
//! timestamp lies is not assumed but found out once, by letting librdkafka read timestamps from a prepared buffer.

use std::ffi::c_void;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use rdkafka_sys as sys;
use sys::types::{RDKafkaErrorCode, RDKafkaRespErr};

use super::Shared;
use super::error::Error;

/// Called inside the produce call, by the thread that makes it.
pub(super) unsafe extern "C" fn on_send(
    _: *mut sys::rd_kafka_t,
    message: *mut sys::rd_kafka_message_t,
    opaque: *mut c_void,
) -> sys::rd_kafka_resp_err_t {
    // SAFETY: the opaque is the handle's `Shared`, which outlives the client that calls.
    let shared = unsafe { &*opaque.cast::<Shared>() };
    if shared.zero_timestamp.load(Ordering::Relaxed) {
        shared.zero_timestamp.store(false, Ordering::Relaxed);
        if let Ok(place) = place() {
            // SAFETY: the message is the head of librdkafka's own structure, made inside the produce call, and this place in it is
            // where librdkafka itself reads the timestamp (see `place`); nobody else knows the message yet. The header asks
            // interceptors to change nothing: this is the one exception, and a test on a broker sees that it holds.
            unsafe { message.cast::<i64>().add(place).write(0) };
        }
    }
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
}

/// A message's timestamp, also of one that was not stored: librdkafka's own call says -1 for these.
///
/// # Safety
/// `message` is one of librdkafka's own, not a copy of its public part.
pub(super) unsafe fn of(message: *const sys::rd_kafka_message_t) -> i64 {
    // SAFETY: it lies in librdkafka's own message, which has its timestamp in this place.
    place().map_or(-1, |place| unsafe { message.cast::<i64>().add(place).read() })
}

/// Where librdkafka keeps a message's timestamp: index of the 8-byte word from the start of the message.
pub(super) fn place() -> Result<usize, Error> {
    const WORDS: usize = 64;
    const MARK: i64 = 0x0123_4567_89ab_cdef;
    static PLACE: OnceLock<Option<usize>> = OnceLock::new();
    let find = || {
        let public = std::mem::size_of::<sys::rd_kafka_message_t>().div_ceil(8);
        (public..WORDS).find(|place| {
            let mut words = [0_i64; WORDS];
            words[*place] = MARK;
            // SAFETY: the call reads the error code (0: none) and the timestamp, both inside the buffer: 512 bytes, aligned as the
            // structure, which has about 200.
            unsafe { sys::rd_kafka_message_timestamp(words.as_ptr().cast(), std::ptr::null_mut()) == MARK }
        })
    };
    (*PLACE.get_or_init(find)).ok_or_else(|| {
        Error::plain(RDKafkaErrorCode::NotImplemented, "timestamp 0 can't be produced with this librdkafka")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_the_timestamp_is_found() {
        assert!(place().is_ok());
    }
}
