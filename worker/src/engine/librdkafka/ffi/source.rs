//! Reading: librdkafka's simple consumer, all partitions of one client on one queue. No consumer group, no offset commits,
//! every partition starts at an explicit offset.

use std::ffi::CString;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka_sys as sys;
use sys::types::{RDKafkaErrorCode, RDKafkaRespErr};

use super::connections;
use super::error::{Error, bounded};
use super::handle::{Handle, Topic};
use crate::kafka::ClientProperties;

/// Messages taken from the queue by one call at most.
pub(crate) const MAX_BATCH: usize = 1024;

/// A consumer of one topic with one queue. Fields are dropped in this order: topic and queue before the client.
pub(crate) struct Source {
    topic: Topic,
    name: CString,
    queue: Queue,
    handle: Arc<Handle>,
}

struct Queue(*mut sys::rd_kafka_queue_t);

// SAFETY: a queue has a lock of its own and belongs to no thread.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_queue_new`, whose reference this is; given back once. Its client still lives: in `Source` the
        // handle is dropped last.
        unsafe { sys::rd_kafka_queue_destroy(self.0) }
    }
}

/// What came out of the queue.
pub(crate) enum Fetched<'a> {
    Record(Record<'a>),
    /// Everything that a reader may see below `next` has been delivered: trailing control records are passed.
    End {
        partition: i32,
        next: i64,
    },
    /// Fetching a partition ran into something; `partition` is -1 where it is about the client as a whole.
    Failed {
        partition: i32,
        error: Error,
    },
}

impl Source {
    /// Creates the consumer. The calling thread is the one that is unparked when something was fetched.
    pub(crate) fn open(
        config: &ClientConfig,
        properties: &ClientProperties,
        topic: &str,
    ) -> Result<Self, Error> {
        let kind = sys::rd_kafka_type_t::RD_KAFKA_CONSUMER;
        // SAFETY: what `Handle::new` gives is the configuration that it makes the client of, and its own `Shared`.
        let prepare = |conf, opaque| unsafe { connections::watch(conf, opaque) };
        let handle = Arc::new(Handle::new(config, properties, kind, prepare)?);
        // SAFETY: the handle is a live client, and lives until after the queue (see `Source`). The call never gives null.
        let queue = unsafe { Queue(sys::rd_kafka_queue_new(handle.raw)) };
        // SAFETY: the queue was made from this handle, just now.
        unsafe { handle.wake_on(queue.0) };
        let name =
            CString::new(topic).map_err(|e| Error::plain(RDKafkaErrorCode::InvalidTopic, e.to_string()))?;
        Ok(Self { topic: Topic::new(&handle, topic)?, name, queue, handle })
    }

    /// Fetches a partition from `offset` on.
    pub(crate) fn start(&mut self, partition: i32, offset: i64) -> Result<(), Error> {
        // SAFETY: topic and queue are of the same live client.
        let failed =
            unsafe { sys::rd_kafka_consume_start_queue(self.topic.raw, partition, offset, self.queue.0) };
        if failed == 0 {
            return Ok(());
        }
        // SAFETY: reads a number that librdkafka keeps for the calling thread, which made the call above.
        Err(Error::from_code(unsafe { sys::rd_kafka_last_error() }))
    }

    /// Stops fetching a partition; blocks until it has stopped. What was fetched before may still come out of the queue.
    pub(crate) fn stop(&mut self, partition: i32) {
        // SAFETY: the topic is of a live client; a partition that isn't fetched is refused by the call.
        unsafe { sys::rd_kafka_consume_stop(self.topic.raw, partition) };
    }

    /// Up to `max` messages that are there now, without waiting.
    pub(crate) fn batch(&self, max: usize) -> Batch {
        let mut messages = vec![std::ptr::null_mut::<sys::rd_kafka_message_t>(); max.min(MAX_BATCH)];
        // SAFETY: the buffer has room for as many pointers as is said. The call says how many it wrote (-1: none, it failed), and
        // these messages are ours from then on.
        let taken = unsafe {
            sys::rd_kafka_consume_batch_queue(self.queue.0, 0, messages.as_mut_ptr(), messages.len())
        };
        messages.truncate(usize::try_from(taken).unwrap_or(0));
        Batch { messages: messages.into_iter(), _handle: self.handle.clone() }
    }

    /// High watermark of a partition as the last fetch answer said.
    pub(crate) fn high_watermark(&self, partition: i32) -> Option<i64> {
        let (mut low, mut high) = (-1, -1);
        let name = self.name.as_ptr();
        // SAFETY: the client lives, the name ends with 0, and both places are written during the call only.
        let err = unsafe {
            sys::rd_kafka_get_watermark_offsets(self.handle.raw, name, partition, &raw mut low, &raw mut high)
        };
        (err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
    }

    /// Serves the client's own callbacks. Call it regularly.
    pub(crate) fn poll(&self) {
        // SAFETY: the client lives; the callbacks that it makes here touch only what is shared.
        unsafe { sys::rd_kafka_poll(self.handle.raw, 0) };
    }

    /// How many connections to brokers have replaced an earlier one.
    pub(crate) fn reconnects(&self) -> u64 {
        self.handle.shared.connections.replaced()
    }

    /// Whether the broker was connected to anew after `reconnects` had this value.
    pub(crate) fn is_new_since(&self, broker: i32, reconnects: u64) -> bool {
        self.handle.shared.connections.is_new_since(broker, reconnects)
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

/// Messages that came out of the queue at once. Keeps their client alive: a message points into its topics.
pub(crate) struct Batch {
    messages: std::vec::IntoIter<*mut sys::rd_kafka_message_t>,
    _handle: Arc<Handle>,
}

impl Batch {
    /// How many are left.
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// The next one, in the order of the queue.
    pub(crate) fn pop(&mut self) -> Option<Fetched<'_>> {
        // SAFETY: what the queue gave is ours, and taken out of the batch here.
        let record = unsafe { Record::own(self.messages.next()?)? };
        Some(classify(record))
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        for message in self.messages.by_ref() {
            // SAFETY: as in `pop`.
            drop(unsafe { Record::own(message) });
        }
    }
}

fn classify(record: Record<'_>) -> Fetched<'_> {
    let message = record.message();
    if message.err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Fetched::Record(record);
    }
    let partition = if message.rkt.is_null() { -1 } else { message.partition };
    if message.err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF {
        return Fetched::End { partition, next: message.offset };
    }
    let mut error = Error::from_code(message.err);
    // A consumer's error has its text as payload (`rd_kafka_message_errstr` would give the same): librdkafka's own words of 2,047
    // bytes at most, with their length. A producer's has the record there: see `target`.
    if let Some(text) = record.value() {
        error.text = bounded(&String::from_utf8_lossy(text));
    }
    Fetched::Failed { partition, error }
}

/// A fetched record, owned until dropped, not longer than the batch it came in. Its memory may be a slice of a whole fetch answer.
pub(crate) struct Record<'a>(NonNull<sys::rd_kafka_message_t>, PhantomData<&'a Batch>);

impl Record<'_> {
    /// Takes over a message; nothing where there is none.
    ///
    /// # Safety
    /// `message` is null, or was given away by librdkafka and belongs to nobody else; its client lives as long as the record.
    unsafe fn own(message: *mut sys::rd_kafka_message_t) -> Option<Self> {
        NonNull::new(message).map(|message| Self(message, PhantomData))
    }

    pub(super) fn message(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: valid until `Drop`; only the calls below change it, in parts that this type doesn't show.
        unsafe { self.0.as_ref() }
    }

    pub(crate) fn partition(&self) -> i32 {
        self.message().partition
    }

    pub(crate) fn offset(&self) -> i64 {
        self.message().offset
    }

    /// Key and value, bytes.
    pub(crate) fn size(&self) -> usize {
        self.message().len + self.message().key_len
    }

    /// As the broker gives it: create or append time, milliseconds since 1970; -1 means none.
    pub(crate) fn timestamp(&self) -> i64 {
        // SAFETY: a valid message; null says that the type is not asked for.
        unsafe { sys::rd_kafka_message_timestamp(self.0.as_ptr(), std::ptr::null_mut()) }
    }

    /// The broker that it was fetched from; -1 unknown.
    pub(crate) fn broker(&self) -> i32 {
        // SAFETY: a valid message of a consumer.
        unsafe { sys::rd_kafka_message_broker_id(self.0.as_ptr()) }
    }

    /// -1 where the broker doesn't know.
    pub(crate) fn leader_epoch(&self) -> i32 {
        // SAFETY: a valid message of a consumer.
        unsafe { sys::rd_kafka_message_leader_epoch(self.0.as_ptr()) }
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        let message = self.message();
        // SAFETY: where it isn't null it points to as many bytes as the length says, which live and don't change as long as the
        // message, which is borrowed.
        (!message.key.is_null())
            .then(|| unsafe { std::slice::from_raw_parts(message.key.cast(), message.key_len) })
    }

    pub(crate) fn value(&self) -> Option<&[u8]> {
        let message = self.message();
        // SAFETY: as for the key.
        (!message.payload.is_null())
            .then(|| unsafe { std::slice::from_raw_parts(message.payload.cast(), message.len) })
    }

    /// Message format v0 has none, and where format v1 has 0 librdkafka says so, too.
    pub(crate) fn has_timestamp(&self) -> bool {
        self.timestamp_type() != sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE
    }

    fn timestamp_type(&self) -> sys::rd_kafka_timestamp_type_t {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: a valid message; the type is written during the call.
        unsafe { sys::rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind) };
        kind
    }

    /// Gives name and value of every header, in order.
    #[cfg(test)]
    pub(crate) fn each_header(&self, mut each: impl FnMut(&[u8], Option<&[u8]>)) {
        let mut headers = std::ptr::null_mut();
        // SAFETY: a valid message. It parses its headers with the first such call and keeps them; only this thread has it
        // (`Record` is not `Send`).
        let found = unsafe { sys::rd_kafka_message_headers(self.0.as_ptr(), &raw mut headers) };
        if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        for at in 0.. {
            let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
            // SAFETY: the headers live as long as the message; an index behind the last one is answered with an error. What is
            // written are pointers into the headers, and a size.
            let found = unsafe {
                sys::rd_kafka_header_get_all(headers, at, &raw mut name, &raw mut value, &raw mut size)
            };
            if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            // SAFETY: never null, and ended with 0 by librdkafka. (A name that holds a 0 itself is seen up to there; the copy has
            // all of it.)
            let name = unsafe { std::ffi::CStr::from_ptr(name) };
            // SAFETY: null is no value, anything else points to `size` bytes that live as long as the headers.
            let value = (!value.is_null()).then(|| unsafe { std::slice::from_raw_parts(value.cast(), size) });
            each(name.to_bytes(), value);
        }
    }

    /// Takes the headers out of the record; the caller owns them. Null where there are none.
    pub(super) fn detach_headers(&self) -> Result<*mut sys::rd_kafka_headers_t, Error> {
        let mut headers = std::ptr::null_mut();
        // SAFETY: a valid message, in the hands of this thread only; on success the headers are the caller's.
        match unsafe { sys::rd_kafka_message_detach_headers(self.0.as_ptr(), &raw mut headers) } {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(headers),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__NOENT => Ok(std::ptr::null_mut()),
            _ => Err(Error::plain(
                RDKafkaErrorCode::BadMessage,
                format!("the headers of the record at offset {} can't be parsed", self.offset()),
            )),
        }
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once, while its client lives (the batch holds it).
        unsafe { sys::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}
