//! At least once: progress after a record was refused.

use std::time::SystemTime;

use super::Runner;
use crate::engine::librdkafka::mover::Job;
use crate::kafka::KafkaError;
use crate::ledger::{Entry, Ledger};
use crate::produce::{Producer, Record, millis};

impl Runner {
    /// A producer whose record was refused can write nothing more, so another one writes what the first had got acknowledged.
    /// Otherwise that would be copied again each time the refused record is tried.
    pub(super) fn keep(&self, ledger: &mut Ledger, job: &Job<'_>) {
        let now = SystemTime::now();
        let record = |entry: Entry| Record { key: entry.key, value: entry.value, timestamp_ms: millis(now) };
        let chunks: Vec<Record> = ledger.closing().into_iter().map(record).collect();
        let progress = record(Entry { key: job.progress_key.clone(), value: ledger.seal(now) });
        let written = async {
            let mut producer = Producer::new(&self.spec.target);
            producer.send_all(job.offsets_topic, job.offsets_partition, &chunks).await?;
            producer.send_all(job.progress_topic, job.progress_partition, &[progress]).await?;
            Ok::<(), KafkaError>(())
        };
        if self.ask(written).is_err() {
            tracing::warn!(task = %self.spec.task, "the last progress was not written: its records will be copied again");
        }
    }
}
