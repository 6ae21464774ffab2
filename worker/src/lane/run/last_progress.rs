//! At least once: progress after a record was refused.

use super::Runner;
use crate::engine::Storage;
use crate::lane::place::Place;
use crate::ledger::{Entry, Ledger, Now};

impl Runner {
    /// A producer whose record was refused can write nothing more, so another one writes what the first had got acknowledged.
    /// Otherwise that would be copied again each time the refused record is tried.
    pub(super) async fn write_last_progress(&self, ledger: &mut Ledger, storage: &Storage) {
        let chunks = ledger.closing();
        let progress = Entry { key: storage.progress_key.clone(), value: ledger.seal(Now::read()) };
        let offsets = Place { topic: &storage.offsets_topic, partition: storage.offsets_partition };
        let place = Place { topic: &storage.progress_topic, partition: storage.progress_partition };
        let written = self.clusters.write(&self.spec, vec![(offsets, chunks), (place, vec![progress])]);
        if self.ask(written).await.is_err() {
            tracing::warn!(task = %self.spec.task, "the last progress was not written: its records will be copied again");
        }
    }
}
