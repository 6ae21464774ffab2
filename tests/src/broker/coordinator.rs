//! The transaction coordinator: which transactional ids there are, and how each goes from one transaction to the next.
//!
//! It decides and remembers; the markers that follow from it are written by `transactions`.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::ResponseError;

/// `transaction.max.timeout.ms` of a default broker.
const MAX_TIMEOUT_MS: i32 = 900_000;
/// The last epoch of a producer id: then there is a new one.
const LAST_EPOCH: i16 = i16::MAX - 1;

pub(super) type Place = (String, i32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
}

impl Stage {
    /// As a broker names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
        }
    }
}

/// One transactional id.
#[derive(Debug, Clone)]
pub struct Transaction {
    pub producer_id: i64,
    pub epoch: i16,
    pub stage: Stage,
    pub partitions: BTreeSet<(String, i32)>,
    pub timeout_ms: i32,
    last_epoch: i16,
}

impl Transaction {
    pub(super) fn is_preparing(&self) -> bool {
        matches!(self.stage, Stage::PrepareCommit | Stage::PrepareAbort)
    }

    fn check(&self, producer_id: i64, epoch: i16) -> Result<(), ResponseError> {
        if self.producer_id != producer_id {
            Err(ResponseError::InvalidProducerIdMapping)
        } else if self.epoch != epoch {
            Err(ResponseError::ProducerFenced)
        } else {
            Ok(())
        }
    }
}

/// What InitProducerId asks for.
pub(super) struct Init {
    pub(super) timeout_ms: i32,
    /// As the producer knows itself; -1 for a new one.
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
}

#[derive(Debug)]
pub(super) struct Coordinator {
    ids: BTreeMap<String, Transaction>,
    next_producer_id: i64,
}

impl Default for Coordinator {
    fn default() -> Self {
        Self { ids: BTreeMap::new(), next_producer_id: 1000 }
    }
}

impl Coordinator {
    pub(super) fn get(&self, id: &str) -> Option<&Transaction> {
        self.ids.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Transaction> {
        self.ids.get_mut(id)
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.ids.remove(id);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Transaction)> {
        self.ids.iter().map(|(id, transaction)| (id.as_str(), transaction))
    }

    /// Those whose markers are still to be written.
    pub(super) fn preparing(&self) -> Vec<String> {
        self.ids.iter().filter(|(_, t)| t.is_preparing()).map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn new_producer_id(&mut self) -> i64 {
        self.next_producer_id += 1;
        self.next_producer_id
    }

    /// # Errors
    /// The coordinator's refusal; CONCURRENT_TRANSACTIONS after having begun to abort what was open.
    pub(super) fn init(&mut self, id: &str, init: &Init) -> Result<(i64, i16), ResponseError> {
        if id.is_empty() {
            return Err(ResponseError::InvalidRequest);
        }
        if !(1..=MAX_TIMEOUT_MS).contains(&init.timeout_ms) {
            return Err(ResponseError::InvalidTransactionTimeout);
        }
        let fresh = self.next_producer_id + 1;
        let Some(known) = self.ids.get_mut(id) else {
            if init.producer_id >= 0 {
                return Err(ResponseError::InvalidProducerIdMapping);
            }
            let producer_id = self.new_producer_id();
            let transaction = Transaction {
                producer_id,
                epoch: 0,
                stage: Stage::Empty,
                partitions: BTreeSet::new(),
                timeout_ms: init.timeout_ms,
                last_epoch: -1,
            };
            self.ids.insert(id.to_owned(), transaction);
            return Ok((producer_id, 0));
        };
        let expected = init.producer_id >= 0;
        let mine = init.producer_id == known.producer_id
            && (init.epoch == known.epoch || init.epoch == known.last_epoch);
        if expected && !mine {
            return Err(ResponseError::ProducerFenced);
        }
        match known.stage {
            Stage::PrepareCommit | Stage::PrepareAbort => Err(ResponseError::ConcurrentTransactions),
            Stage::Ongoing => {
                known.epoch += 1;
                known.last_epoch = -1;
                known.stage = Stage::PrepareAbort;
                Err(ResponseError::ConcurrentTransactions)
            }
            Stage::Empty | Stage::CompleteCommit | Stage::CompleteAbort => {
                known.timeout_ms = init.timeout_ms;
                known.stage = Stage::Empty;
                known.partitions.clear();
                if expected && init.epoch == known.last_epoch && init.epoch != known.epoch {
                    // A repeat of a request whose answer was lost.
                    return Ok((known.producer_id, known.epoch));
                }
                known.last_epoch = known.epoch;
                known.epoch += 1;
                if known.epoch > LAST_EPOCH {
                    (known.producer_id, known.epoch, known.last_epoch) = (fresh, 0, -1);
                    self.next_producer_id = fresh;
                }
                Ok((known.producer_id, known.epoch))
            }
        }
    }

    /// # Errors
    /// The coordinator's refusal.
    pub(super) fn add(
        &mut self,
        id: &str,
        producer_id: i64,
        epoch: i16,
        places: impl IntoIterator<Item = Place>,
    ) -> Result<(), ResponseError> {
        if id.is_empty() {
            return Err(ResponseError::InvalidRequest);
        }
        let known = self.ids.get_mut(id).ok_or(ResponseError::InvalidProducerIdMapping)?;
        known.check(producer_id, epoch)?;
        if known.is_preparing() {
            return Err(ResponseError::ConcurrentTransactions);
        }
        if known.stage != Stage::Ongoing {
            known.partitions.clear();
        }
        known.stage = Stage::Ongoing;
        known.partitions.extend(places);
        Ok(())
    }

    /// Whether the partition belongs to the open transaction (KIP-890).
    ///
    /// # Errors
    /// TRANSACTION_ABORTABLE if not, or the coordinator's refusal.
    pub(super) fn verify(
        &self,
        id: &str,
        producer_id: i64,
        epoch: i16,
        place: &Place,
    ) -> Result<(), ResponseError> {
        let known = self.ids.get(id).ok_or(ResponseError::InvalidProducerIdMapping)?;
        known.check(producer_id, epoch)?;
        if known.is_preparing() {
            return Err(ResponseError::ConcurrentTransactions);
        }
        if known.stage == Stage::Ongoing && known.partitions.contains(place) {
            Ok(())
        } else {
            Err(ResponseError::TransactionAbortable)
        }
    }

    /// Ends a transaction; a repeat is told whether the markers are written.
    ///
    /// # Errors
    /// The coordinator's refusal.
    pub(super) fn end(
        &mut self,
        id: &str,
        producer_id: i64,
        epoch: i16,
        commit: bool,
    ) -> Result<(), ResponseError> {
        if id.is_empty() {
            return Err(ResponseError::InvalidRequest);
        }
        let known = self.ids.get_mut(id).ok_or(ResponseError::InvalidProducerIdMapping)?;
        known.check(producer_id, epoch)?;
        match (known.stage, commit) {
            (Stage::Ongoing, true) => known.stage = Stage::PrepareCommit,
            (Stage::Ongoing, false) => known.stage = Stage::PrepareAbort,
            (Stage::CompleteCommit, true) | (Stage::CompleteAbort, false) => {}
            (Stage::PrepareCommit, true) | (Stage::PrepareAbort, false) => {
                return Err(ResponseError::ConcurrentTransactions);
            }
            _ => return Err(ResponseError::InvalidTxnState),
        }
        Ok(())
    }

    /// The transaction was open for too long: it is aborted, and its producer fenced.
    pub(super) fn expire(&mut self, id: &str) {
        if let Some(known) = self.ids.get_mut(id).filter(|known| known.stage == Stage::Ongoing) {
            known.epoch += 1;
            known.last_epoch = -1;
            known.stage = Stage::PrepareAbort;
        }
    }
}
