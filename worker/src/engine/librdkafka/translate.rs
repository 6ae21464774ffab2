//! From librdkafka's words to the contract's: nothing else of it is seen outside.

use rdkafka_sys::types::RDKafkaErrorCode as Code;
use twinlog_proto::reason::Reason;

use super::ffi;
use super::flight::BadAck;
use crate::engine::{Exit, Fetching, Refusal, Trouble};
use crate::kafka::{KafkaError, code};
use crate::ledger::Misplaced;

impl From<ffi::Error> for Trouble {
    fn from(error: ffi::Error) -> Self {
        let away = ffi::reason_when_away(&error);
        Self { name: Some(format!("{:?}", error.code)), text: error.text, away }
    }
}

/// An error of our own client, from a look at the log.
impl From<&KafkaError> for Trouble {
    fn from(error: &KafkaError) -> Self {
        Self::new(error.message.clone())
    }
}

/// What it means for a partition that librdkafka can't fetch it.
pub(super) fn fetching(error: &ffi::Error) -> Fetching {
    match error.code {
        Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation => Fetching::Lost,
        Code::TopicAuthorizationFailed => Fetching::Forbidden,
        _ => Fetching::Failed,
    }
}

/// That a look at the log, with our own client, failed.
pub(super) fn look_failed(partition: i32, error: &KafkaError) -> Exit {
    let fetching = match (error.code, error.reason) {
        (code::OFFSET_OUT_OF_RANGE, _) => Fetching::Lost,
        (_, Reason::MISSING_PERMISSION) => Fetching::Forbidden,
        _ => Fetching::Failed,
    };
    Exit::Reconsider { partition, fetching, error: error.into() }
}

/// That a record at `offset` is not there any more, which was a moment ago.
pub(super) fn gone(partition: i32, offset: i64) -> Exit {
    let text = format!("the record at offset {offset} is not there any more");
    Exit::Reconsider { partition, fetching: Fetching::Lost, error: Trouble::new(text) }
}

/// What the target has against a record; `None` where the error is not about one.
pub(super) fn refusal(error: &ffi::Error) -> Option<Refusal> {
    match error.code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => Some(Refusal::TooLarge),
        Code::InvalidTimestamp | Code::InvalidRecord => Some(Refusal::Invalid),
        Code::InvalidMessage | Code::UnsupportedCompressionType => Some(Refusal::Other),
        _ => None,
    }
}

/// What the producer itself has against a record.
pub(super) fn refusal_unsent(error: &ffi::Error) -> Option<Refusal> {
    match error.code {
        Code::MessageSizeTooLarge => Some(Refusal::TooLarge),
        Code::BadMessage | Code::NotImplemented => Some(Refusal::Other),
        _ => None,
    }
}

pub(super) fn misaligned(partition: i32, error: &BadAck) -> Exit {
    let lost_from = match *error {
        BadAck::Misplaced(Misplaced::Elsewhere { expected, got }) if got < expected => Some(got),
        _ => None,
    };
    Exit::Misaligned { partition, lost_from, error: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: Code) -> ffi::Error {
        ffi::Error { code, text: "words".to_owned(), fatal: false, retriable: false, abort: false }
    }

    #[test]
    fn the_brokers_own_words_are_kept() {
        let trouble = Trouble::from(error(Code::SSL));
        assert_eq!((trouble.to_string().as_str(), trouble.away), ("words (SSL)", Some(Reason::TLS_FAILED)));
        let down = Trouble::from(error(Code::AllBrokersDown));
        assert_eq!(down.away, Some(Reason::WAITING_FOR_CLUSTER));
        assert_eq!(Trouble::from(error(Code::BrokerTransportFailure)).away, None, "one broker of several");
    }

    #[test]
    fn what_can_not_be_fetched_is_lost_or_forbidden_or_just_fails() {
        for (code, meaning) in [
            (Code::OffsetOutOfRange, Fetching::Lost),
            (Code::AutoOffsetReset, Fetching::Lost),
            (Code::LogTruncation, Fetching::Lost),
            (Code::TopicAuthorizationFailed, Fetching::Forbidden),
            (Code::UnknownTopicOrPartition, Fetching::Failed),
        ] {
            assert_eq!(fetching(&error(code)), meaning, "{code:?}");
        }
    }

    #[test]
    fn an_acknowledgement_below_where_it_should_be_says_what_is_lost() {
        let misplaced =
            |expected, got| misaligned(3, &BadAck::Misplaced(Misplaced::Elsewhere { expected, got }));
        let lost = |exit| match exit {
            Exit::Misaligned { partition: 3, lost_from, .. } => lost_from,
            other => panic!("{other:?}"),
        };
        assert_eq!(lost(misplaced(10, 7)), Some(7));
        assert_eq!(lost(misplaced(10, 12)), None, "somebody else wrote there");
        assert_eq!(lost(misaligned(3, &BadAck::NoOffset)), None);
    }
}
