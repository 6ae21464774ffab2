//! Clusters for tests: they answer what they are told to, at once, and remember what a lane writes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cause::Cause;
use crate::engine::scripted::Log;
use crate::kafka::{ConfigEntry, KafkaError};
use crate::lane::Range;
use crate::lane::gather::Gathered;
use crate::lane::place::Place;
use crate::lane::start::Facts;
use crate::ledger::Entry;
use crate::progress::{RangeProgress, StorageTopics, progress_key};

pub(crate) const PROGRESS: &str = "progress";
pub(crate) const OFFSETS: &str = "offsets";

#[derive(Default)]
pub(crate) struct State {
    pub(crate) log: Log,
    /// First offset that exists and the end, by partition of the source.
    pub(crate) source: BTreeMap<i32, (i64, i64)>,
    /// What copies hold that nobody has a position in, records.
    pub(crate) holds: i64,
    /// What keeps a range from running, for whoever asks.
    pub(crate) trouble: Option<Cause>,
    /// Questions that fail, one after the other.
    pub(crate) gather_fails: VecDeque<Cause>,
    pub(crate) configs: Option<Vec<ConfigEntry>>,
    /// The target can't be written to.
    pub(crate) unwritable: bool,
    /// How often it was made sure that the internal topics are there, and that partitions were asked for.
    pub(crate) ensured: usize,
    pub(crate) gathered: usize,
}

#[derive(Clone, Default)]
pub(crate) struct Clusters(Arc<Mutex<State>>);

impl Clusters {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::lane) fn storage_topics(&self) -> Result<StorageTopics, KafkaError> {
        self.state().ensured += 1;
        let (progress, offsets) = (PROGRESS.to_owned(), OFFSETS.to_owned());
        let former = crate::progress::Former::Absent;
        Ok(StorageTopics { progress, progress_partitions: 1, offsets, offsets_partitions: 1, former })
    }

    pub(in crate::lane) fn look(&self) -> Result<(), Cause> {
        self.state().trouble.clone().map_or(Ok(()), Err)
    }

    /// The target's partitions end where progress says that they are known to.
    pub(in crate::lane) fn gather(&self, range: &Range) -> Result<Gathered, Cause> {
        let progress = self.progress(range);
        let mut state = self.state();
        state.gathered += 1;
        let failure = state.gather_fails.pop_front().or_else(|| state.trouble.clone());
        if let Some(cause) = failure {
            return Err(cause);
        }
        let facts = range.partitions().map(|partition| {
            let (earliest, latest) = state.source.get(&partition).copied().unwrap_or((0, 0));
            let own = progress.as_ref().and_then(|progress| progress.partitions.get(&partition));
            Facts {
                earliest,
                latest,
                topic_id: "source".to_owned(),
                epoch_end: None,
                others_from: None,
                start: earliest,
                target_start: 0,
                target_end: own.and_then(|own| own.target_known).map_or(0, |end| end.0),
                target_kept: None,
                target_topic_id: "target".to_owned(),
                holds: state.holds,
                foreign: None,
            }
        });
        let facts = facts.collect();
        Ok(Gathered { facts, target_partitions: range.partition_count, source_cluster_id: String::new() })
    }

    pub(in crate::lane) fn newest(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Cause> {
        Ok(self.state().log.newest(key))
    }

    pub(in crate::lane) fn source_ends(&self, partitions: &[i32]) -> Result<BTreeMap<i32, i64>, KafkaError> {
        let state = self.state();
        let end = |p: &i32| (*p, state.source.get(p).map_or(0, |(_, end)| *end));
        Ok(partitions.iter().map(end).collect())
    }

    pub(in crate::lane) fn target_configs(&self) -> Option<Vec<ConfigEntry>> {
        self.state().configs.clone()
    }

    pub(in crate::lane) fn write(&self, places: Vec<(Place<'_>, Vec<Entry>)>) -> Result<(), KafkaError> {
        let state = self.state();
        if state.unwritable {
            let reason = twinlog_proto::reason::Reason::CLUSTER_UNREACHABLE;
            return Err(KafkaError::retriable(reason, "the target is away"));
        }
        for (place, entries) in places {
            entries.into_iter().for_each(|entry| state.log.write(place.topic, entry));
        }
        Ok(())
    }

    /// What the range's owners have written last.
    pub(crate) fn progress(&self, range: &Range) -> Option<RangeProgress> {
        let bytes = self.state().log.newest(&progress_key(&range.target_topic, range.block))?;
        Some(RangeProgress::decode(&bytes).expect("it was written whole"))
    }
}
