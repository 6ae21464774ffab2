//! What target topics do to records: how large a batch they take, and whether they write their own time into records.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use twinlog_proto::model::Mirror;
use twinlog_proto::reason::Reason;

use super::configs;
use super::decide::Decision;
use super::look::some_of;
use crate::inventory::Warning;
use crate::kafka::{KafkaClient, KafkaError};

/// A topic's configs are looked at again after this.
const REFRESH: Duration = Duration::from_secs(15);
/// Topics described in one call.
const BATCH: usize = 200;

/// By target topic; only what could be read.
#[derive(Default)]
pub struct Limits(HashMap<String, Limit>);

struct Limit {
    max_message_bytes: i32,
    replaces_timestamps: bool,
    read: Instant,
}

impl Limits {
    /// Reads the configs of target topics that are new or were not read for a while. Who may not read them does without.
    pub async fn refresh(&mut self, target: &KafkaClient, decisions: &[Decision]) -> Result<(), KafkaError> {
        let due: Vec<String> = copied(decisions)
            .filter(|d| self.0.get(&d.target).is_none_or(|limit| limit.read.elapsed() >= REFRESH))
            .map(|d| d.target.clone())
            .collect();
        for batch in due.chunks(BATCH) {
            for (name, described) in target.describe_configs(batch).await? {
                let configs = described.unwrap_or_default();
                let limit = Limit {
                    max_message_bytes: configs::number(&configs, "max.message.bytes").unwrap_or(0),
                    replaces_timestamps: configs.iter().any(|config| {
                        config.name == "message.timestamp.type"
                            && config.value.as_deref() == Some("LogAppendTime")
                    }),
                    read: Instant::now(),
                };
                self.0.insert(name, limit);
            }
        }
        Ok(())
    }

    /// `None` where it could not be read.
    pub fn max_message_bytes(&self, target: &str) -> Option<i32> {
        self.0.get(target).map(|limit| limit.max_message_bytes)
    }

    /// Copies whose records don't keep their timestamps.
    pub fn warning(&self, mirror: &Mirror, decisions: &[Decision]) -> Option<Warning> {
        let replaces = |d: &&Decision| self.0.get(&d.target).is_some_and(|limit| limit.replaces_timestamps);
        let topics: Vec<String> = copied(decisions).filter(replaces).map(|d| d.target.clone()).collect();
        let names = some_of(&topics)?;
        let message = format!(
            "topics on {} write the time of copying into every record, its own timestamp is lost \
             (message.timestamp.type=LogAppendTime): {names}. Set message.timestamp.type=CreateTime there, or with \
             topic_creation.config_overrides; what was copied before stays as it is",
            mirror.target
        );
        Some(Warning::new(Reason::TIMESTAMPS_REPLACED, message))
    }
}

/// Those that exist on the target.
fn copied(decisions: &[Decision]) -> impl Iterator<Item = &Decision> {
    decisions.iter().filter(|d| d.partitions() > 0 && d.target_partitions > 0)
}
