//! Reading: librdkafka's simple consumer, all partitions of one client on one queue. No consumer group, no offset commits,
//! every partition starts at an explicit offset.

use std::ffi::CString;
use std::sync::Arc;

use rdkafka::ClientConfig;
use rdkafka_sys as sys;
use sys::types::{RDKafkaErrorCode, RDKafkaRespErr};

use super::{Error, Handle, Topic};
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

// SAFETY: queues may be used from any thread.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_queue_new`, destroyed once.
        unsafe { sys::rd_kafka_queue_destroy(self.0) }
    }
}

/// What came out of the queue.
pub(crate) enum Fetched {
    Record(Record),
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
        let handle =
            Arc::new(Handle::new(config, properties, sys::rd_kafka_type_t::RD_KAFKA_CONSUMER, |_, _| ())?);
        // SAFETY: the queue is made from the handle, which outlives it.
        let queue = unsafe {
            let queue = Queue(sys::rd_kafka_queue_new(handle.raw));
            handle.wake_on(queue.0);
            queue
        };
        let name =
            CString::new(topic).map_err(|e| Error::plain(RDKafkaErrorCode::InvalidTopic, e.to_string()))?;
        Ok(Self { topic: Topic::new(&handle, topic)?, name, queue, handle })
    }

    /// From now on the calling thread is the one that is unparked.
    pub(crate) fn adopt(&self) {
        self.handle.adopt();
    }

    /// Fetches a partition from `offset` on.
    pub(crate) fn start(&mut self, partition: i32, offset: i64) -> Result<(), Error> {
        // SAFETY: topic and queue belong to the same live handle.
        let failed =
            unsafe { sys::rd_kafka_consume_start_queue(self.topic.raw, partition, offset, self.queue.0) };
        if failed == 0 {
            return Ok(());
        }
        // SAFETY: reads the calling thread's last error.
        Err(Error::from_code(unsafe { sys::rd_kafka_last_error() }))
    }

    /// Stops fetching a partition; blocks until it has stopped. What was fetched before may still come out of the queue.
    pub(crate) fn stop(&mut self, partition: i32) {
        // SAFETY: the topic belongs to a live handle.
        unsafe { sys::rd_kafka_consume_stop(self.topic.raw, partition) };
    }

    /// Gives up to `max` messages that are there now to `each`, without waiting; returns how many.
    pub(crate) fn take(&self, max: usize, mut each: impl FnMut(Fetched)) -> usize {
        let mut batch = [std::ptr::null_mut::<sys::rd_kafka_message_t>(); MAX_BATCH];
        // SAFETY: the buffer has room for MAX_BATCH pointers; the call says how many it wrote and hands their ownership over.
        let taken = unsafe {
            sys::rd_kafka_consume_batch_queue(self.queue.0, 0, batch.as_mut_ptr(), max.min(MAX_BATCH))
        };
        let taken = usize::try_from(taken).unwrap_or(0);
        for raw in &batch[..taken] {
            each(self.classify(Record(*raw)));
        }
        taken
    }

    fn classify(&self, record: Record) -> Fetched {
        let message = record.message();
        if message.err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Fetched::Record(record);
        }
        let partition = if message.rkt.is_null() { -1 } else { message.partition };
        if message.err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF {
            return Fetched::End { partition, next: message.offset };
        }
        let mut error = Error::from_code(message.err);
        // For errors the payload is the text.
        if let Some(text) = record.value() {
            error.text = String::from_utf8_lossy(text).trim_end_matches('\0').to_owned();
        }
        Fetched::Failed { partition, error }
    }

    /// High watermark of a partition as the last fetch answer said.
    pub(crate) fn high_watermark(&self, partition: i32) -> Option<i64> {
        let (mut low, mut high) = (-1, -1);
        let name = self.name.as_ptr();
        // SAFETY: copies two cached numbers out.
        let err = unsafe {
            sys::rd_kafka_get_watermark_offsets(self.handle.raw, name, partition, &raw mut low, &raw mut high)
        };
        (err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
    }

    /// Serves the client's own callbacks. Call it regularly.
    pub(crate) fn poll(&self) {
        // SAFETY: callbacks touch only what is shared.
        unsafe { sys::rd_kafka_poll(self.handle.raw, 0) };
    }

    /// The last error about the client as a whole since the previous call.
    pub(crate) fn take_trouble(&self) -> Option<Error> {
        self.handle.take_trouble()
    }
}

/// A fetched record, owned until dropped. Its memory may be a slice of a whole fetch answer.
pub(crate) struct Record(*mut sys::rd_kafka_message_t);

impl Record {
    pub(super) fn message(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: valid until dropped.
        unsafe { &*self.0 }
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
        // SAFETY: a valid message; the type is not asked for.
        unsafe { sys::rd_kafka_message_timestamp(self.0, std::ptr::null_mut()) }
    }

    /// -1 where the broker doesn't know.
    pub(crate) fn leader_epoch(&self) -> i32 {
        // SAFETY: a valid message.
        unsafe { sys::rd_kafka_message_leader_epoch(self.0) }
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        let message = self.message();
        // SAFETY: key and length belong together.
        (!message.key.is_null())
            .then(|| unsafe { std::slice::from_raw_parts(message.key.cast(), message.key_len) })
    }

    pub(crate) fn value(&self) -> Option<&[u8]> {
        let message = self.message();
        // SAFETY: payload and length belong together.
        (!message.payload.is_null())
            .then(|| unsafe { std::slice::from_raw_parts(message.payload.cast(), message.len) })
    }

    /// Whether the broker stamped it when it was appended.
    pub(crate) fn is_log_append_time(&self) -> bool {
        self.timestamp_type() == sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME
    }

    /// Message format v0 has none, and where format v1 has 0 librdkafka says so, too.
    pub(crate) fn has_timestamp(&self) -> bool {
        self.timestamp_type() != sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE
    }

    fn timestamp_type(&self) -> sys::rd_kafka_timestamp_type_t {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: a valid message; the type is written out.
        unsafe { sys::rd_kafka_message_timestamp(self.0, &raw mut kind) };
        kind
    }

    /// Gives name and value of every header, in order.
    pub(crate) fn each_header(&self, mut each: impl FnMut(&[u8], Option<&[u8]>)) {
        let mut headers = std::ptr::null_mut();
        // SAFETY: a valid message, which keeps the headers.
        let found = unsafe { sys::rd_kafka_message_headers(self.0, &raw mut headers) };
        if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        for at in 0.. {
            let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
            // SAFETY: the headers are valid as long as the message; what is found is copied out as pointers into them.
            let found = unsafe {
                sys::rd_kafka_header_get_all(headers, at, &raw mut name, &raw mut value, &raw mut size)
            };
            if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            // SAFETY: a name ends with 0; value and size belong together, null is no value.
            unsafe {
                let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast(), size));
                each(std::ffi::CStr::from_ptr(name).to_bytes(), value);
            }
        }
    }

    /// Takes the headers out of the record; the caller owns them. Null where there are none.
    pub(super) fn detach_headers(&self) -> Result<*mut sys::rd_kafka_headers_t, Error> {
        let mut headers = std::ptr::null_mut();
        // SAFETY: a valid message; on success the headers are ours.
        match unsafe { sys::rd_kafka_message_detach_headers(self.0, &raw mut headers) } {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(headers),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__NOENT => Ok(std::ptr::null_mut()),
            _ => Err(Error::plain(
                RDKafkaErrorCode::BadMessage,
                format!("the headers of the record at offset {} can't be parsed", self.offset()),
            )),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once.
        unsafe { sys::rd_kafka_message_destroy(self.0) }
    }
}
