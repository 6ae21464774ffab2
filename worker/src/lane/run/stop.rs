//! What the end of an engine means for its lane.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use twinlog_proto::id::SourceOffset;
use twinlog_proto::reason::Reason;

use super::attempt::principal;
use super::{End, RETRY_STOPPED, Runner};
use crate::cause::Cause;
use crate::engine::{Exit, Fetching, MIN_BATCH_BYTES, Refusal, Refused, Trouble, batch_bytes};
use crate::kafka::Damaged;
use crate::progress::millis;

/// Brokers allow transactions to last so long, unless told otherwise.
const MAX_PATIENCE: Duration = Duration::from_secs(900);

/// From its fence to its claim an owner needs less, mostly.
const CLAIM: Duration = Duration::from_millis(250);

/// A record's timestamp for people, as far as it is one of this calendar.
fn shown(timestamp: i64) -> String {
    const YEAR_10000: i64 = 253_402_300_800_000;
    match u64::try_from(timestamp) {
        Ok(ms) if timestamp < YEAR_10000 => {
            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
            format!("{} ({ms} ms)", humantime::format_rfc3339_millis(at))
        }
        _ => format!("{timestamp} ms"),
    }
}

impl Runner {
    /// What the lane does after the engine has ended.
    pub(super) async fn stopped(&mut self, exit: Exit) -> End {
        let slowed = self.board().slowed_by_target();
        if matches!(exit, Exit::Fenced(_) | Exit::Failed { .. })
            && let Some((cause, by)) = slowed
        {
            // The coordinator ends what takes longer than was said. Another owner would be found when progress is read.
            self.patience = (self.patience * 2).max(by * 3).min(MAX_PATIENCE);
            tracing::info!(task = %self.spec.task, patience = ?self.patience, "held back for too long: the lane gives it more time");
            return cause.into();
        }
        match exit {
            Exit::Drained => End::Again,
            Exit::TurnOver => End::TurnOver,
            Exit::Changed => {
                // Settings of the target topic may have changed, too.
                self.forget_refused();
                self.batch = usize::MAX;
                End::Again
            }
            Exit::Until => {
                self.forget_refused();
                End::Again
            }
            Exit::Recent => self.recent(),
            Exit::Aged { partition } => self.aged(partition).await,
            Exit::Moved { partition, expected, end } => self.moved(partition, (expected, end)).await,
            Exit::Reconsider { partition, fetching, error } => {
                tracing::debug!(task = %self.spec.task, partition, %error, "fetching can't go on: asking the source again");
                self.fetch_failure(partition, fetching, &error)
            }
            Exit::Another { partition, offset } => {
                tracing::warn!(task = %self.spec.task, partition, %offset, "the source has another record there than was copied");
                self.others.insert(partition, None);
                End::Again
            }
            Exit::OldFormat { partition, offset } => {
                tracing::info!(task = %self.spec.task, partition, %offset, "the log goes on in an old message format");
                self.old_format = true;
                End::Again
            }
            Exit::Unreadable { partition, damaged } => self.unreadable(partition, &damaged),
            Exit::Refused { record, refusal, error } => self.refuse(&record, refusal, &error).await,
            Exit::Fenced(error) => {
                self.fenced = Some(Instant::now());
                let message = format!(
                    "another owner of {}: {error}. One process may run a mirror: is the same one running elsewhere?",
                    self.spec.task
                );
                Cause::new(Reason::FENCED, message).into()
            }
            Exit::Gone { topic } => {
                self.topics = None;
                tracing::error!(task = %self.spec.task, "topic {topic} on the target is gone, it held this mirror's progress");
                End::Again
            }
            Exit::Failed { what, error } => {
                let reason = error.away.unwrap_or(Reason::WAITING_FOR_CLUSTER);
                Cause::new(reason, format!("{what}: {error}")).into()
            }
            Exit::Misaligned { partition, lost_from, error } => {
                self.kept.extend(lost_from.map(|from| (partition, from)));
                let topic = &self.spec.range.target_topic;
                let message = format!("{topic} partition {partition}: {error}; positions are checked again");
                Cause::new(Reason::KAFKA_ERROR, message).into()
            }
        }
    }

    async fn moved(&self, partition: i32, (expected, end): (i64, i64)) -> End {
        tracing::warn!(task = %self.spec.task, partition, expected, end, "the copy is not as it was left: looking at it again");
        // It may be the fence of another owner, who says in a moment that it is one: then this one is not to fence it.
        self.control.pause(CLAIM).await;
        End::Again
    }

    /// Everything is tried again.
    pub(super) fn forget_refused(&mut self) {
        self.refused_before = std::mem::take(&mut self.refused);
    }

    fn fetch_failure(&self, partition: i32, fetching: Fetching, error: &Trouble) -> End {
        let topic = &self.spec.range.source_topic;
        let source = &self.spec.source;
        match fetching {
            Fetching::Lost => End::Again,
            Fetching::Forbidden => {
                let principal = principal(source);
                let message = format!("{principal} needs READ on topic {topic} of cluster {}", source.id);
                Cause::new(Reason::MISSING_PERMISSION, message).into()
            }
            Fetching::Failed => {
                let message =
                    format!("fetching {topic} partition {partition} of cluster {}: {error}", source.id);
                Cause::new(Reason::KAFKA_ERROR, message).into()
            }
        }
    }

    fn unreadable(&mut self, partition: i32, damaged: &Damaged) -> End {
        let (topic, cluster) = (&self.spec.range.source_topic, &self.spec.source.id);
        let message = format!(
            "{topic} partition {partition} of cluster {cluster}: {damaged}. Delete the records up to there at the source (kafka-delete-records.sh) and set the mirror's gap_policy to RESUME, or exclude the topic"
        );
        let cause = Cause::new(Reason::SOURCE_RECORD_UNREADABLE, message);
        self.stop_before(partition, SourceOffset(damaged.offset), cause)
    }

    fn stop_before(&mut self, partition: i32, offset: SourceOffset, cause: Cause) -> End {
        let before = self.refused_before.get(&partition).filter(|(at, _)| *at == offset);
        let cause = cause.continuing(before.map(|(_, cause)| cause));
        if before.is_none() {
            tracing::error!(task = %self.spec.task, partition, reason = %cause.reason, "{}", cause.message);
        }
        self.refused.insert(partition, (offset, cause));
        End::Again
    }

    async fn refuse(&mut self, record: &Refused, refusal: Refusal, error: &Trouble) -> End {
        let used = batch_bytes(self.spec.range.target_max_message_bytes).min(self.batch);
        if refusal == Refusal::TooLarge && record.size < used / 2 && used > MIN_BATCH_BYTES {
            // The record is small: it was the batch that is larger than the target takes.
            self.batch = (used / 4).max(MIN_BATCH_BYTES);
            return End::Again;
        }
        let cause = match refusal {
            Refusal::TooLarge => self.too_large(record),
            // A batch with several such records is invalid, whatever is wrong with them.
            Refusal::Invalid => match self.out_of_time(record).await {
                Some(cause) => cause,
                None => self.without_key(record, error).await.unwrap_or_else(|| self.refused(record, error)),
            },
            Refusal::Other => self.refused(record, error),
        };
        self.stop_before(record.partition, record.offset, cause)
    }

    fn place(&self, record: &Refused) -> String {
        format!("{} partition {} offset {}", self.spec.range.source_topic, record.partition, record.offset)
    }

    /// The words for a record that the target takes with no settings that we know of.
    fn refused(&self, record: &Refused, error: &Trouble) -> Cause {
        let (topic, cluster) = (&self.spec.range.target_topic, &self.spec.target.id);
        let message = format!(
            "{}: {topic} on cluster {cluster} refuses the record ({} bytes): {}. Let the topic take it (the partition goes on within {} s), \
             or leave it behind: delete the source's records up to it (kafka-delete-records.sh) and set the mirror's gap_policy to RESUME",
            self.place(record),
            record.size,
            error.text,
            RETRY_STOPPED.as_secs(),
        );
        Cause::new(Reason::RECORD_REFUSED, message)
    }

    /// The words for a record without a key that a compacted topic doesn't take; `None` where it isn't that.
    async fn without_key(&self, record: &Refused, error: &Trouble) -> Option<Cause> {
        if record.has_key {
            return None;
        }
        let (config, policy) = self.config_of_target(&["cleanup.policy"]).await?;
        if !policy.contains("compact") {
            return None;
        }
        let (topic, cluster) = (&self.spec.range.target_topic, &self.spec.target.id);
        let message = format!(
            "{}: a record without a key, and {topic} on cluster {cluster} has {config}={policy}, which takes none ({}): set {config}=delete \
             there, for example with topic_creation.config_overrides of the mirror (the partition goes on within {} s), or leave the record \
             behind: delete the source's records up to it (kafka-delete-records.sh) and set the mirror's gap_policy to RESUME",
            self.place(record),
            error.text,
            RETRY_STOPPED.as_secs(),
        );
        Some(Cause::new(Reason::RECORD_REFUSED, message))
    }

    fn too_large(&self, record: &Refused) -> Cause {
        let limit = match self.spec.range.target_max_message_bytes {
            Some(limit) => format!("{limit} bytes"),
            None => "fewer".to_owned(),
        };
        let (place, topic, size) = (self.place(record), &self.spec.range.target_topic, record.size);
        let message = format!(
            "{place}: a record of {size} bytes, but {topic} takes batches of {limit}: raise max.message.bytes there"
        );
        Cause::new(Reason::RECORD_TOO_LARGE, message)
    }

    /// The words for a record that is older or younger than the target takes; `None` where it isn't.
    async fn out_of_time(&self, record: &Refused) -> Option<Cause> {
        if record.timestamp < 0 {
            return None;
        }
        let age = millis(SystemTime::now()).saturating_sub(record.timestamp);
        let (side, config) = match age > 0 {
            true => ("past", "message.timestamp.before.max.ms"),
            false => ("future", "message.timestamp.after.max.ms"),
        };
        // Brokers before 3.6 have one limit for both sides.
        let (config, limit) = self.config_of_target(&[config, "message.timestamp.difference.max.ms"]).await?;
        if age.unsigned_abs() <= limit.parse().ok()? {
            return None;
        }
        let topic = &self.spec.range.target_topic;
        let message = format!(
            "{}: its timestamp, {}, lies further in the {side} than {topic} on cluster {} takes ({config}={limit}): raise {config} \
             there, for example with topic_creation.config_overrides of the mirror; the partition goes on within {} s",
            self.place(record),
            shown(record.timestamp),
            self.spec.target.id,
            RETRY_STOPPED.as_secs(),
        );
        Some(Cause::new(Reason::RECORD_REFUSED, message))
    }

    /// The first of these configs that the target topic has, and its value now; `None` where it can't be read.
    pub(super) async fn config_of_target(&self, names: &[&str]) -> Option<(String, String)> {
        let entries = self.ask(self.clusters.target_configs(&self.spec)).await.ok()??;
        let found = names.iter().find_map(|name| entries.iter().find(|entry| entry.name == *name))?;
        Some((found.name.clone(), found.value.clone()?))
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn any_timestamp_can_be_shown() {
        assert_eq!(shown(0), "1970-01-01T00:00:00.000Z (0 ms)");
        assert_eq!(shown(253_402_300_799_999), "9999-12-31T23:59:59.999Z (253402300799999 ms)");
        for odd in [-1, i64::MIN, i64::MAX, 253_402_300_800_000] {
            assert_eq!(shown(odd), format!("{odd} ms"));
        }
    }
}
