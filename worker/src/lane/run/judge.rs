//! What the end of an engine means for its lane.

use rdkafka_sys::types::RDKafkaErrorCode as Code;
use twinlog_proto::id::SourceOffset;
use twinlog_proto::reason::Reason;

use super::{End, Runner};
use crate::cause::Cause;
use crate::engine::librdkafka::config;
use crate::engine::librdkafka::ffi;
use crate::engine::librdkafka::mover::Exit;

impl Runner {
    /// What the lane does after the engine has ended.
    pub(super) fn judge(&mut self, exit: Exit) -> End {
        match exit {
            Exit::Drained => End::Again,
            Exit::Changed => {
                // Settings of the target topic may have changed, too.
                self.refused.clear();
                self.batch_size = usize::MAX;
                End::Again
            }
            Exit::RetryStopped => {
                self.refused.clear();
                End::Again
            }
            Exit::Reconsider { partition, error } => {
                tracing::warn!(task = %self.spec.task, partition, %error, "fetching can't go on: asking the source again");
                self.fetch_failure(partition, &error)
            }
            Exit::Refused { partition, offset, size, error } => self.refuse(partition, offset, size, &error),
            Exit::Fenced(error) => {
                self.suspect = true;
                Cause::new(Reason::FENCED, format!("another owner of {}: {error}", self.spec.task)).into()
            }
            Exit::Failed { what, error } => {
                let reason = ffi::reason_when_away(&error).unwrap_or(Reason::WAITING_FOR_CLUSTER);
                Cause::new(reason, format!("{what}: {error}")).into()
            }
            Exit::Misaligned { partition, error } => Cause::new(
                Reason::KAFKA_ERROR,
                format!(
                    "{} partition {partition}: {error}; positions are checked again",
                    self.spec.range.target_topic
                ),
            )
            .into(),
        }
    }

    fn fetch_failure(&self, partition: i32, error: &ffi::Error) -> End {
        let topic = &self.spec.range.source_topic;
        let source = &self.spec.source;
        match error.code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation => End::Again,
            Code::TopicAuthorizationFailed => {
                let principal = source.properties.principal().unwrap_or_else(|| "the worker".to_owned());
                let message = format!("{principal} needs READ on topic {topic} of cluster {}", source.id);
                Cause::new(Reason::MISSING_PERMISSION, message).into()
            }
            _ => {
                let message =
                    format!("fetching {topic} partition {partition} of cluster {}: {error}", source.id);
                Cause::new(Reason::KAFKA_ERROR, message).into()
            }
        }
    }

    fn refuse(&mut self, partition: i32, offset: SourceOffset, size: usize, error: &ffi::Error) -> End {
        let too_large = matches!(error.code, Code::MessageSizeTooLarge | Code::MessageBatchTooLarge);
        let used = config::batch_size(self.spec.range.target_max_message_bytes).min(self.batch_size);
        if too_large && size < used / 2 && used > config::MIN_BATCH_SIZE {
            // The record is small: it was the batch that is larger than the target takes.
            self.batch_size = (used / 4).max(config::MIN_BATCH_SIZE);
            return End::Again;
        }
        let place = format!("{} partition {partition} offset {offset}", self.spec.range.source_topic);
        let topic = &self.spec.range.target_topic;
        let cause = if too_large {
            let limit = match self.spec.range.target_max_message_bytes {
                Some(limit) => format!("{limit} bytes"),
                None => "fewer".to_owned(),
            };
            Cause::new(
                Reason::RECORD_TOO_LARGE,
                format!(
                    "{place}: a record of {size} bytes, but {topic} takes batches of {limit}: raise max.message.bytes there"
                ),
            )
        } else {
            Cause::new(
                Reason::RECORD_REFUSED,
                format!("{place}: {topic} on the target refuses the record: {}", error.text),
            )
        };
        tracing::error!(task = %self.spec.task, partition, reason = %cause.reason, "{}", cause.message);
        self.refused.insert(partition, (offset, cause));
        End::Again
    }
}
