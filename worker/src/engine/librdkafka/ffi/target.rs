//! Writing: an idempotent or transactional producer with explicit partitions and delivery reports that carry target offsets.
//!
//! One thing needs a trick: librdkafka's produce calls take timestamp 0 for "now", but records from 1970 exist. For those an
//! interceptor, which librdkafka calls inside the produce call, writes the 0 into the message. Where in the message the
//! timestamp lies is not assumed but found out once, by letting librdkafka read timestamps from a prepared buffer.
//!
//! The other: what a broker said about a message that it refused. Of the two calls for it, `rd_kafka_message_errstr` gives the
//! record's own value in a delivery report, which doesn't end with 0 and must be in no text; and what
//! `rd_kafka_message_produce_errstr` gives there points to memory that librdkafka (2.12) has freed since. So the second is called
//! where the text still lives, in an interceptor, and the text is kept for the delivery report.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka_sys as sys;
use sys::types::{RDKafkaErrorCode, RDKafkaRespErr};

use super::source::Record;
use super::{Error, Handle, Shared, Topic, copied};
use crate::kafka::ClientProperties;

/// librdkafka's RD_KAFKA_MSG_F_COPY.
const COPY: c_int = 0x2;
/// librdkafka's RD_KAFKA_PURGE_F_QUEUE and RD_KAFKA_PURGE_F_INFLIGHT.
const PURGE_ALL: c_int = 0x1 | 0x2;
/// Words of brokers that are kept at the same time: the first message that is refused is the one that is shown.
const MAX_WORDS: usize = 64;
/// What librdkafka says of the messages that were refused because of others in their batch.
const FELL_WITH_OTHERS: &str = "Failed to append record because it was part of a batch";
/// Bits of a ticket's number; the slot has the rest.
const NUMBER_BITS: u32 = 48;
const INTERCEPTOR: *const c_char = c"twinlog".as_ptr();

/// Which message a delivery report is about: the slot (a partition of the range) and a number that grows by one per message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) slot: u16,
    pub(crate) number: u64,
}

impl Ticket {
    /// An address that is never followed.
    fn to_opaque(self) -> *mut c_void {
        let bits = (u64::from(self.slot) << NUMBER_BITS) | (self.number & ((1 << NUMBER_BITS) - 1));
        std::ptr::without_provenance_mut(usize::try_from(bits).expect("64-bit targets only"))
    }

    fn from_opaque(opaque: *mut c_void) -> Self {
        let bits = opaque.addr() as u64;
        Self { slot: (bits >> NUMBER_BITS) as u16, number: bits & ((1 << NUMBER_BITS) - 1) }
    }
}

/// Delivery reports in the order they came, runs joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ack {
    /// `count` messages from `first` on got the target offsets from `offset` on.
    Stored { first: Ticket, count: u64, offset: i64 },
    /// A message was not stored, as far as is known.
    Refused(Refused),
}

/// What brokers said of messages that they refused, by the tickets' bits. Bounded by `MAX_WORDS`.
pub(super) type Words = BTreeMap<usize, String>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) ticket: Ticket,
    /// The broker spoke of this very message; its words are the error's text.
    pub(crate) named: bool,
    /// Key and value, bytes.
    pub(crate) size: usize,
    pub(crate) has_key: bool,
    /// Milliseconds since 1970; -1: none, or not known.
    pub(crate) timestamp: i64,
    pub(crate) error: Error,
}

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
            timestamp_place()?;
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

/// Called by the thread that polls: a message was stored, or wasn't.
unsafe extern "C" fn on_delivery(
    _: *mut sys::rd_kafka_t,
    message: *const sys::rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: the message is librdkafka's own (`dr_msg_cb`), valid during the call.
    let timestamp = unsafe { timestamp_of(message) };
    // SAFETY: as above; the opaque is the handle's `Shared`, which outlives the client that calls.
    let (message, shared) = unsafe { (&*message, &*opaque.cast::<Shared>()) };
    let ticket = Ticket::from_opaque(message._private);
    let mut acks = shared.acks.lock().unwrap_or_else(PoisonError::into_inner);
    if message.err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        join(&mut acks, ticket, message.offset);
        return;
    }
    let mut error = Error::from_code(message.err);
    let words = shared.words.lock().unwrap_or_else(PoisonError::into_inner).remove(&message._private.addr());
    let named = words.is_some();
    if let Some(words) = words {
        error.text = words;
    }
    // Of the record only sizes and times: its key and value are in no text.
    let (size, has_key) = (message.len + message.key_len, !message.key.is_null());
    acks.push(Ack::Refused(Refused { ticket, named, size, has_key, timestamp, error }));
}

/// Called by the thread of a broker connection, or inside a produce call that fails: the fate of a message is known.
unsafe extern "C" fn on_acknowledgement(
    _: *mut sys::rd_kafka_t,
    message: *mut sys::rd_kafka_message_t,
    opaque: *mut c_void,
) -> sys::rd_kafka_resp_err_t {
    // SAFETY: librdkafka's own message, valid during the call. It is not changed: only the thread that calls has it.
    let (err, key) = unsafe { ((*message).err, (*message)._private.addr()) };
    if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    // SAFETY: reads a place in the message (it is a producer's) that is null or the broker's answer, which is freed only after the
    // interceptors have been called; ends with 0.
    let words = unsafe { copied(sys::rd_kafka_message_produce_errstr(message)) };
    if !words.is_empty() && !words.starts_with(FELL_WITH_OTHERS) {
        // SAFETY: the opaque is the handle's `Shared`, which outlives the client that calls.
        let shared = unsafe { &*opaque.cast::<Shared>() };
        let mut kept = shared.words.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MAX_WORDS {
            kept.insert(key, words);
        }
    }
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
}

fn join(acks: &mut Vec<Ack>, ticket: Ticket, stored: i64) {
    if let Some(Ack::Stored { first, count, offset }) = acks.last_mut() {
        let follows = ticket.slot == first.slot && ticket.number == first.number + *count;
        if follows && stored == *offset + (*count as i64) {
            *count += 1;
            return;
        }
    }
    acks.push(Ack::Stored { first: ticket, count: 1, offset: stored });
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
                sys::rd_kafka_interceptor_add_on_send(raw, INTERCEPTOR, Some(on_send), opaque)
            }
            failed => failed,
        }
    }
}

/// Called inside the produce call, by the thread that makes it.
unsafe extern "C" fn on_send(
    _: *mut sys::rd_kafka_t,
    message: *mut sys::rd_kafka_message_t,
    opaque: *mut c_void,
) -> sys::rd_kafka_resp_err_t {
    // SAFETY: the opaque is the handle's `Shared`, which outlives the client that calls.
    let shared = unsafe { &*opaque.cast::<Shared>() };
    if shared.zero_timestamp.load(Ordering::Relaxed) {
        shared.zero_timestamp.store(false, Ordering::Relaxed);
        if let Ok(place) = timestamp_place() {
            // SAFETY: the message is the head of librdkafka's own structure, made inside the produce call, and this place in it is
            // where librdkafka itself reads the timestamp (see `timestamp_place`); nobody else knows the message yet. The header asks
            // interceptors to change nothing: this is the one exception, and a test on a broker sees that it holds.
            unsafe { message.cast::<i64>().add(place).write(0) };
        }
    }
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
}

/// Also of a message that was not stored: librdkafka's own call says -1 for these.
///
/// # Safety
/// `message` is one of librdkafka's own, not a copy of its public part.
unsafe fn timestamp_of(message: *const sys::rd_kafka_message_t) -> i64 {
    // SAFETY: it lies in librdkafka's own message, which has its timestamp in this place.
    timestamp_place().map_or(-1, |place| unsafe { message.cast::<i64>().add(place).read() })
}

/// Where librdkafka keeps a message's timestamp: index of the 8-byte word from the start of the message.
fn timestamp_place() -> Result<usize, Error> {
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
    fn tickets_survive_the_trip_through_a_pointer() {
        for ticket in [
            Ticket { slot: 0, number: 0 },
            Ticket { slot: u16::MAX, number: (1 << NUMBER_BITS) - 1 },
            Ticket { slot: 7, number: 123_456_789_012 },
        ] {
            assert_eq!(Ticket::from_opaque(ticket.to_opaque()), ticket);
        }
    }

    #[test]
    fn reports_are_joined_only_where_both_sides_go_on() {
        let mut acks = Vec::new();
        for (number, offset) in [(0, 10), (1, 11), (2, 13), (3, 14), (5, 15)] {
            join(&mut acks, Ticket { slot: 1, number }, offset);
        }
        join(&mut acks, Ticket { slot: 2, number: 6 }, 16);
        let counts: Vec<u64> = acks
            .iter()
            .map(|ack| match ack {
                Ack::Stored { count, .. } => *count,
                Ack::Refused(_) => 0,
            })
            .collect();
        assert_eq!(counts, [2, 2, 1, 1]);
    }

    #[test]
    fn the_place_of_the_timestamp_is_found() {
        assert!(timestamp_place().is_ok());
    }
}
