//! What became of a message: delivery reports, which carry target offsets, joined to runs.
//!
//! What a broker said about a message that it refused needs a trick. Of the two calls for it, `rd_kafka_message_errstr` gives the
//! record's own value in a delivery report, which doesn't end with 0 and must be in no text; and what
//! `rd_kafka_message_produce_errstr` gives there points to memory that librdkafka (2.12) has freed since. So the second is called
//! where the text still lives, in an interceptor, and the text is kept for the delivery report.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::PoisonError;

use rdkafka_sys as sys;
use sys::types::RDKafkaRespErr;

use super::error::{Error, copied};
use super::{Shared, timestamp};

/// Words of brokers that are kept at the same time: the first message that is refused is the one that is shown.
const MAX_WORDS: usize = 64;
/// What librdkafka says of the messages that were refused because of others in their batch.
const FELL_WITH_OTHERS: &str = "Failed to append record because it was part of a batch";
/// Bits of a ticket's number; the slot has the rest.
const NUMBER_BITS: u32 = 48;

/// Which message a delivery report is about: the slot (a partition of the range) and a number that grows by one per message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) slot: u16,
    pub(crate) number: u64,
}

impl Ticket {
    /// An address that is never followed.
    pub(super) fn to_opaque(self) -> *mut c_void {
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

/// Called by the thread that polls: a message was stored, or wasn't.
pub(super) unsafe extern "C" fn on_delivery(
    _: *mut sys::rd_kafka_t,
    message: *const sys::rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: the message is librdkafka's own (`dr_msg_cb`), valid during the call.
    let timestamp = unsafe { timestamp::of(message) };
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
pub(super) unsafe extern "C" fn on_acknowledgement(
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
}
