//! Writes checkpoint records to partition 0 of the checkpoints topic.

use std::time::SystemTime;

use crate::cluster::ClusterHandle;
use crate::kafka::KafkaError;
use crate::mm2::Checkpoint;
use crate::produce::{Producer, Record, millis};

pub(super) struct Writer {
    producer: Producer,
    topic: String,
}

impl Writer {
    pub(super) fn new(target: &ClusterHandle, topic: String) -> Self {
        Self { producer: Producer::new(target), topic }
    }

    /// Returns once all are acknowledged. After an error some may have been written: writing them again does no harm.
    pub(super) async fn write(
        &mut self,
        checkpoints: &[Checkpoint],
        at: SystemTime,
    ) -> Result<(), KafkaError> {
        let mut records = Vec::with_capacity(checkpoints.len());
        for checkpoint in checkpoints {
            match (checkpoint.key.encode(), checkpoint.encode_value()) {
                (Ok(key), Ok(value)) => records.push(Record { key, value, timestamp_ms: millis(at) }),
                (Err(error), _) | (_, Err(error)) => {
                    tracing::warn!(group = checkpoint.key.group, %error, "this checkpoint can't be written");
                }
            }
        }
        self.producer.send_all(&self.topic, 0, &records).await
    }
}
