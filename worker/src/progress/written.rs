//! By what and how the records of a range were written: what whoever takes over, perhaps with another engine, must know of it.

use twinlog_proto::storage;

/// `None` where the writer was an older version, or doesn't know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    pub engine: Option<Engine>,
    pub mode: Option<Mode>,
    pub producer_id: Option<i64>,
    pub producer_epoch: Option<i16>,
}

/// What moved the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Librdkafka,
    Native,
}

/// How records and progress become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Together, in one transaction.
    Transactions,
    /// Progress after the records' acknowledgement.
    Acknowledged,
    /// The same, by a producer whose epoch fences earlier owners.
    Fenced,
}

impl Written {
    /// By an engine of which neither the id nor the epoch of its producer is known here.
    pub fn by(engine: Engine, exactly_once: bool) -> Self {
        let mode = if exactly_once { Mode::Transactions } else { Mode::Acknowledged };
        Self { engine: Some(engine), mode: Some(mode), producer_id: None, producer_epoch: None }
    }

    pub(super) fn store(self, stored: &mut storage::Progress) {
        use storage::{Engine as E, Mode as M};
        let engine = self.engine.map_or(E::Unspecified, |engine| match engine {
            Engine::Librdkafka => E::Librdkafka,
            Engine::Native => E::Native,
        });
        let mode = self.mode.map_or(M::Unspecified, |mode| match mode {
            Mode::Transactions => M::Transactions,
            Mode::Acknowledged => M::Acknowledged,
            Mode::Fenced => M::Fenced,
        });
        stored.set_engine(engine);
        stored.set_mode(mode);
        stored.producer_id = self.producer_id;
        stored.producer_epoch = self.producer_epoch.map(i32::from);
    }

    pub(super) fn from_stored(stored: &storage::Progress) -> Self {
        use storage::{Engine as E, Mode as M};
        Self {
            engine: match stored.engine() {
                E::Unspecified => None,
                E::Librdkafka => Some(Engine::Librdkafka),
                E::Native => Some(Engine::Native),
            },
            mode: match stored.mode() {
                M::Unspecified => None,
                M::Transactions => Some(Mode::Transactions),
                M::Acknowledged => Some(Mode::Acknowledged),
                M::Fenced => Some(Mode::Fenced),
            },
            producer_id: stored.producer_id,
            producer_epoch: stored.producer_epoch.and_then(|epoch| i16::try_from(epoch).ok()),
        }
    }
}
