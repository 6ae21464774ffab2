//! Writing: an idempotent or transactional producer with explicit partitions.

use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka_sys as sys;
use sys::types::RDKafkaRespErr;

use super::delivery::{Ack, Ticket, on_acknowledgement, on_delivery};
use super::error::Error;
use super::handle::{Handle, Topic};
use super::source::Record;
use super::timestamp;
use crate::kafka::ClientProperties;

/// librdkafka's RD_KAFKA_MSG_F_COPY.
const COPY: c_int = 0x2;
/// librdkafka's RD_KAFKA_PURGE_F_QUEUE and RD_KAFKA_PURGE_F_INFLIGHT.
const PURGE_ALL: c_int = 0x1 | 0x2;
const INTERCEPTOR: *const c_char = c"twinlog".as_ptr();

/// A producer to one cluster. Fields are dropped in this order: topics before the client.
pub(crate) struct Target {
    topics: Vec<Topic>,
    handle: Arc<Handle>,
}

impl Target {
    /// Creates the producer. The calling thread is the one that is unparked when a delivery report waits.
    pub(crate) fn open(config: &ClientConfig, properties: &ClientProperties) -> Result<Self, Error> {
        let handle =
            Handle::new(config, properties, sys::rd_kafka_type_t::RD_KAFKA_PRODUCER, |conf, opaque| {
                // SAFETY: a valid configuration; the opaque is the handle's `Shared`; the name is a constant that ends with 0.
                unsafe {
                    sys::rd_kafka_conf_set_dr_msg_cb(conf, Some(on_delivery));
                    sys::rd_kafka_conf_interceptor_add_on_new(conf, INTERCEPTOR, Some(on_new), opaque);
                }
            })?;
        let handle = Arc::new(handle);
        // SAFETY: the handle is a live client; its main queue is never null, and the reference taken here is given back once.
        unsafe {
            let queue = sys::rd_kafka_queue_get_main(handle.raw);
            handle.wake_on(queue);
            sys::rd_kafka_queue_destroy(queue);
        }
        Ok(Self { topics: Vec::new(), handle })
    }

    /// Makes a topic known; its index stands for it from then on.
    pub(crate) fn topic(&mut self, name: &str) -> Result<usize, Error> {
        self.topics.push(Topic::new(&self.handle, name)?);
        Ok(self.topics.len() - 1)
    }

    /// Copies a fetched record into the producer, byte for byte: key, value, headers, timestamp. The record gives its headers
    /// away with the first try.
    pub(crate) fn produce_record(
        &self,
        topic: usize,
        partition: i32,
        record: &Record<'_>,
        ticket: Ticket,
    ) -> Result<(), Error> {
        let headers = record.detach_headers()?;
        let message = record.message();
        let (key, value) = ((message.key, message.key_len), (message.payload, message.len));
        // SAFETY: pointers and lengths of a record that lives during the call; the headers are owned, and given away here.
        unsafe { self.produce(topic, partition, key, value, record.timestamp(), headers, ticket) }
    }

    /// Produces a record without headers; timestamp -1 means that it has none.
    pub(crate) fn produce_bytes(
        &self,
        topic: usize,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp: i64,
        ticket: Ticket,
    ) -> Result<(), Error> {
        let field = |bytes: Option<&[u8]>| match bytes {
            Some(bytes) => (bytes.as_ptr().cast_mut().cast::<c_void>(), bytes.len()),
            None => (std::ptr::null_mut(), 0),
        };
        let headers = std::ptr::null_mut();
        // SAFETY: both slices live during the call, which copies them (`COPY` for the value, keys always); no headers.
        unsafe { self.produce(topic, partition, field(key), field(value), timestamp, headers, ticket) }
    }

    /// # Safety
    /// Key and value pointers are valid for their lengths or null; `headers` is owned and given away, or null.
    #[allow(clippy::too_many_arguments)]
    unsafe fn produce(
        &self,
        topic: usize,
        partition: i32,
        (key, key_len): (*mut c_void, usize),
        (value, value_len): (*mut c_void, usize),
        timestamp: i64,
        headers: *mut sys::rd_kafka_headers_t,
        ticket: Ticket,
    ) -> Result<(), Error> {
        use sys::rd_kafka_vtype_t as kind;
        use sys::rd_kafka_vu_s__bindgen_ty_1 as Union;
        use sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 as Memory;
        let field = |vtype, u| sys::rd_kafka_vu_t { vtype, u };
        let fields = [
            field(kind::RD_KAFKA_VTYPE_RKT, Union { rkt: self.topics[topic].raw }),
            field(kind::RD_KAFKA_VTYPE_PARTITION, Union { i32_: partition }),
            field(kind::RD_KAFKA_VTYPE_MSGFLAGS, Union { i: COPY }),
            field(kind::RD_KAFKA_VTYPE_KEY, Union { mem: Memory { ptr: key, size: key_len } }),
            field(kind::RD_KAFKA_VTYPE_VALUE, Union { mem: Memory { ptr: value, size: value_len } }),
            field(kind::RD_KAFKA_VTYPE_TIMESTAMP, Union { i64_: timestamp }),
            field(kind::RD_KAFKA_VTYPE_OPAQUE, Union { ptr: ticket.to_opaque() }),
            field(kind::RD_KAFKA_VTYPE_HEADERS, Union { headers }),
        ];
        let count = if headers.is_null() { fields.len() - 1 } else { fields.len() };
        if timestamp == 0 {
            timestamp::place()?;
            self.handle.shared.zero_timestamp.store(true, Ordering::Relaxed);
        }
        // SAFETY: a live client and a topic of it; the fields are tagged as they are filled, and as many as is said; what they point
        // to is valid during the call, which copies it; the call hands over its error.
        let made = unsafe { Error::check(sys::rd_kafka_produceva(self.handle.raw, fields.as_ptr(), count)) };
        if timestamp == 0 {
            // A call that failed early has asked no interceptor: the next message is another one.
            self.handle.shared.zero_timestamp.store(false, Ordering::Relaxed);
        }
        if made.is_err() && !headers.is_null() {
            // SAFETY: a failed call leaves the headers with the caller; nobody else has them.
            unsafe { sys::rd_kafka_headers_destroy(headers) };
        }
        made
    }

    /// Serves delivery reports that wait, and gives them to `each`.
    pub(crate) fn poll(&mut self, each: impl FnMut(Ack)) {
        // SAFETY: a live client; the callbacks that it makes here touch only what is shared.
        unsafe { sys::rd_kafka_poll(self.handle.raw, 0) };
        self.reports().into_iter().for_each(each);
    }

    fn reports(&self) -> Vec<Ack> {
        std::mem::take(&mut *self.handle.shared.acks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends what is queued without lingering and waits for its acknowledgements; true when nothing is outstanding.
    pub(crate) fn flush(&mut self, timeout: Duration, each: impl FnMut(Ack)) -> bool {
        // SAFETY: as in `poll`: reports are served on this thread.
        let err = unsafe { sys::rd_kafka_flush(self.handle.raw, millis(timeout)) };
        self.reports().into_iter().for_each(each);
        err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
    }

    /// Forgets everything that is queued or in flight. Only before closing: what was in flight may be stored or not.
    pub(crate) fn purge(&mut self) {
        self.purge_queues();
        self.poll(drop);
    }

    /// `purge` whose delivery reports are still to be polled for.
    pub(super) fn purge_queues(&self) {
        // SAFETY: a live client; reports of what is dropped wait to be served.
        unsafe { sys::rd_kafka_purge(self.handle.raw, PURGE_ALL) };
    }

    /// Gets the transactional id's identity: fences every earlier owner and ends its transaction. Call again after an error
    /// that is retriable; it goes on where it was.
    pub(crate) fn init_transactions(&self, timeout: Duration) -> Result<(), Error> {
        // SAFETY: a live client; the call hands over its error.
        unsafe { Error::check(sys::rd_kafka_init_transactions(self.handle.raw, millis(timeout))) }
    }

    pub(crate) fn begin(&self) -> Result<(), Error> {
        // SAFETY: a live client; the call hands over its error.
        unsafe { Error::check(sys::rd_kafka_begin_transaction(self.handle.raw)) }
    }

    /// Commits; serves delivery reports meanwhile (collect them with `poll`). Call again after a retriable error.
    pub(crate) fn commit(&self, timeout: Duration) -> Result<(), Error> {
        // SAFETY: a live client; the call hands over its error; reports are served on this thread.
        unsafe { Error::check(sys::rd_kafka_commit_transaction(self.handle.raw, millis(timeout))) }
    }

    /// Aborts; what was queued is dropped.
    pub(crate) fn abort(&self, timeout: Duration) -> Result<(), Error> {
        // SAFETY: as in `commit`.
        unsafe { Error::check(sys::rd_kafka_abort_transaction(self.handle.raw, millis(timeout))) }
    }

    /// The error after which this client can do nothing more.
    pub(crate) fn fatal(&self) -> Option<Error> {
        self.handle.fatal()
    }

    /// The last error about the client as a whole since the previous call.
    pub(crate) fn take_trouble(&self) -> Option<Error> {
        self.handle.take_trouble()
    }

    /// The longest that a broker has held requests back because of a quota since the previous call.
    pub(crate) fn take_throttle(&self) -> Option<Duration> {
        self.handle.take_throttle()
    }
}

fn millis(duration: Duration) -> c_int {
    c_int::try_from(duration.as_millis()).unwrap_or(c_int::MAX)
}

/// Called inside `rd_kafka_new`.
unsafe extern "C" fn on_new(
    raw: *mut sys::rd_kafka_t,
    _: *const sys::rd_kafka_conf_t,
    opaque: *mut c_void,
    _: *mut c_char,
    _: usize,
) -> sys::rd_kafka_resp_err_t {
    // SAFETY: the client that is being made, and what `Target::open` said: the handle's `Shared`; the name ends with 0.
    unsafe {
        match sys::rd_kafka_interceptor_add_on_acknowledgement(
            raw,
            INTERCEPTOR,
            Some(on_acknowledgement),
            opaque,
        ) {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {
                sys::rd_kafka_interceptor_add_on_send(raw, INTERCEPTOR, Some(timestamp::on_send), opaque)
            }
            failed => failed,
        }
    }
}
