//! Chunks whose bytes were dropped from memory, read again from the offsets topic: some at a time, however many a question needs.

use std::collections::BTreeSet;

use super::{State, Translator};
use crate::kafka::KafkaError;
use crate::offset_map::history::StoredAt;
use crate::offset_map::reader::reread;
use crate::topic::TopicPartition;

/// Chunks read together: some megabytes.
const TOGETHER: usize = 1_000;

/// Where a chunk lies, and the source partition that it is about.
type Place = (StoredAt, TopicPartition);

impl Translator {
    /// Reads the first of the missing chunks that were not tried yet. `false`: there is none.
    pub(super) async fn read_back(
        &self,
        state: &mut State,
        missing: impl Iterator<Item = Place>,
        tried: &mut BTreeSet<Place>,
    ) -> Result<bool, KafkaError> {
        let mut places = BTreeSet::new();
        for place in missing.filter(|place| !tried.contains(place)) {
            places.insert(place);
            if places.len() == TOGETHER {
                break;
            }
        }
        let found = reread(&self.target, &self.mirror.id, places.iter().map(|(at, _)| *at).collect()).await?;
        for ((stored_at, partition), stored) in places.iter().zip(found) {
            if let (Some(tracked), Some(bytes)) = (state.partitions.get_mut(partition), stored.value) {
                tracked.history.restore(*stored_at, &bytes);
            }
        }
        let any = !places.is_empty();
        tried.append(&mut places);
        Ok(any)
    }
}
