//! The engine contract: what a lane orders, and what it is told. An engine moves the records of one range until it is told to
//! stop. Records never leave it, and neither does a word of the library that it is made with.
//!
//! A lane opens an engine, which fences every earlier owner of the range; decides, from what it reads after that, where each
//! partition begins; and gives the order. From then on the engine enters what was acknowledged into the ledger, makes it durable,
//! shows what it sees, and obeys `Control`: it ends when the lane is drained, when the range or its settings change, and when
//! others wait for what it holds. However it ends, it has closed its clients by then.

pub(crate) mod librdkafka;
pub(crate) mod native;
#[cfg(test)]
pub(crate) mod scripted;
mod select;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use twinlog_proto::id::SourceOffset;
use twinlog_proto::model::Compression;
use twinlog_proto::reason::Reason;

pub(crate) use self::select::{Engine, Opened};
use crate::cause::Cause;
use crate::cluster::ClusterHandle;
use crate::control::Control;
pub(crate) use crate::durability::{Carried, Durability};
use crate::kafka::Damaged;
use crate::ledger::Ledger;
use crate::progress::Engine as Kind;
use crate::progress::{LastCopied, Mode};
use crate::range::Range;

/// The coordinator ends a transaction that its owner left open after this time. It holds back readers of the partitions
/// concerned until then, so it is short; a broker's restart fits in.
pub(crate) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);
/// `max.message.bytes` of a topic that doesn't set it.
const DEFAULT_MAX_MESSAGE_BYTES: i32 = 1_048_588;
/// Space of a batch's header and of the first record's, bytes.
const BATCH_OVERHEAD: usize = 512;
/// Batches larger than this gain nothing.
const MAX_BATCH_BYTES: usize = 1_000_000;
/// Smaller ones are not tried.
pub(crate) const MIN_BATCH_BYTES: usize = 16 << 10;

/// The largest batch that a topic with this `max.message.bytes` takes.
fn largest_batch(max_message_bytes: Option<i32>) -> usize {
    usize::try_from(max_message_bytes.unwrap_or(DEFAULT_MAX_MESSAGE_BYTES)).unwrap_or(0)
}

/// Batches that a topic with this `max.message.bytes` takes.
pub(crate) fn batch_bytes(max_message_bytes: Option<i32>) -> usize {
    largest_batch(max_message_bytes).saturating_sub(BATCH_OVERHEAD).clamp(1024, MAX_BATCH_BYTES)
}

/// Bounds of one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Memory for everything that it holds, bytes.
    pub(crate) memory: u64,
    /// A batch on its way to the target, bytes.
    pub(crate) batch: usize,
    /// What a transaction, or a request, may take.
    pub(crate) patience: Duration,
}

/// What an engine must know before progress is read: everything that its clients depend on.
#[derive(Clone)]
pub(crate) struct Opening {
    /// What is to move the range.
    pub(crate) engine: Kind,
    pub(crate) source: Arc<ClusterHandle>,
    pub(crate) target: Arc<ClusterHandle>,
    pub(crate) range: Range,
    pub(crate) storage: Storage,
    pub(crate) durability: Durability,
    /// An earlier owner may still write without transactions, which only the fence ends.
    pub(crate) guard: bool,
    pub(crate) compression: Compression,
    /// A record may become so old before it is on the target. Transactions are committed at this age.
    pub(crate) target_latency: Duration,
    pub(crate) limits: Limits,
    /// What may change while it runs, and whether it is to end.
    pub(crate) control: Arc<Control>,
    /// What it waits for while it opens, where that takes long.
    pub(crate) waits: watch::Sender<Option<Cause>>,
}

/// What to move, and until when.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// In the order of the ledger's accounts.
    pub(crate) assigned: Vec<Assigned>,
    /// By key, into so many partitions of the target; otherwise partition N goes to partition N.
    pub(crate) by_key: Option<i32>,
    /// Nobody else may write to the copies.
    pub(crate) alone: bool,
    /// The target is known to hold requests back because of a quota.
    pub(crate) carefully: bool,
    pub(crate) storage: Storage,
    /// Written with the first commit, before any record.
    pub(crate) carried: Option<Carried>,
    pub(crate) mode: Mode,
    /// In transactions: from then on it ends where every record is so young that it is better written without.
    pub(crate) plain_from: Option<tokio::time::Instant>,
    /// The copy has its broker's time: what is written there is always young.
    pub(crate) ageless: bool,
    /// Of what the lane wants, as `Control` counts it: any other one ends the engine.
    pub(crate) version: u64,
    /// It ends by itself then: something is to be tried again.
    pub(crate) until: Option<tokio::time::Instant>,
}

/// One partition to move.
#[derive(Debug, Clone)]
pub(crate) struct Assigned {
    pub(crate) partition: i32,
    pub(crate) position: SourceOffset,
    /// The last record, to be recognised before anything is copied; it lies below the position.
    pub(crate) last: Option<LastCopied>,
    /// Copy only what lies below: the target refuses the record there, or it can't be read.
    pub(crate) stop_before: Option<SourceOffset>,
    /// It goes on with a message in a format of before Kafka 0.11.
    pub(crate) old: bool,
}

/// Where the range's own records go: progress, and closed pieces of the offset map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Storage {
    pub(crate) progress_topic: String,
    pub(crate) progress_partition: i32,
    pub(crate) offsets_topic: String,
    pub(crate) offsets_partition: i32,
    pub(crate) progress_key: Vec<u8>,
}

/// What an engine sees besides what it enters into the ledger; of both clusters: since it showed it last.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// In the order of the ledger's accounts.
    pub(crate) partitions: Vec<Seen>,
    /// Memory held by records that wait for acknowledgement, bytes.
    pub(crate) in_flight: u64,
    /// Since when the oldest of what waits for the target does.
    pub(crate) oldest: Option<Instant>,
    pub(crate) source: Health,
    pub(crate) target: Health,
}

/// How one of the two clusters was lately.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Health {
    /// It heals by itself, sooner or later.
    pub(crate) trouble: Option<Trouble>,
    /// The longest that a quota has held a request back.
    pub(crate) throttle: Option<Duration>,
}

/// How a partition of the source ends, as far as the engine has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) partition: i32,
    /// It has come to where it was to stop.
    pub(crate) stopped: bool,
    /// The last stable offset where the reader met it, and the high watermark then.
    pub(crate) end: Option<(i64, i64)>,
    /// High watermark of the last answer.
    pub(crate) high_watermark: Option<i64>,
}

/// Called a few times per second with what there is to show, also while the engine waits for the target. It says whether all that
/// stays as it is for as long as nothing happens: then it need not be called meanwhile, but for a look now and then.
pub(crate) type Observer = Box<dyn FnMut(&mut Ledger, Sight) -> bool + Send>;

/// What went wrong, in the words of a broker or a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) text: String,
    /// What they call it.
    pub(crate) name: Option<String>,
    /// Where it means that the cluster as a whole can't be used now: why. `WAITING_FOR_CLUSTER` is in doubt: the only
    /// connection may have been closed because it was idle.
    pub(crate) away: Option<Reason>,
}

impl Trouble {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), name: None, away: None }
    }

    /// What they call it is `name`.
    pub(crate) fn named(text: &str, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..Self::new(text) }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{} ({name})", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Who writes to the target once an engine is open, where that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
    /// The log of every partition refuses earlier owners.
    pub(crate) fenced: bool,
}

/// Why an engine was not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotOpened {
    Drained,
    /// Others wait for what the lane holds.
    TurnOver,
    /// What it was waiting for, as it said, hasn't come for so long that it is to begin anew.
    Waited,
    Source(Trouble),
    Target(Trouble),
    /// The target takes no transactions that last as long as was asked for.
    PatienceRefused(Trouble),
    /// Nobody has given the principal the transactional id.
    Forbidden,
    /// The system gives this process no more threads.
    NoThread(String),
}

/// Why an engine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exit {
    Drained,
    /// The lane's range or settings changed.
    Changed,
    /// Others wait for what the lane holds.
    TurnOver,
    /// It was to run until now.
    Until,
    /// Every record has become so young that the target's brokers remember who wrote it: it can go on without transactions.
    Recent,
    /// A record is so old that they don't: it can go on in transactions.
    Aged {
        partition: i32,
    },
    /// A partition can't go on from where it is: look at the clusters again.
    Reconsider {
        partition: i32,
        fetching: Fetching,
        error: Trouble,
    },
    /// Where the last record was, another one is: the source is not the log that was copied.
    Another {
        partition: i32,
        offset: SourceOffset,
    },
    /// What stands there in the log has a format of before Kafka 0.11, and was not known to.
    OldFormat {
        partition: i32,
        offset: SourceOffset,
    },
    /// The log holds something that can't be right.
    Unreadable {
        partition: i32,
        damaged: Damaged,
    },
    /// The target refused a record.
    Refused {
        record: Refused,
        refusal: Refusal,
        error: Trouble,
    },
    /// The copy doesn't end where it was left, and nothing was written since: look at the clusters again.
    Moved {
        partition: i32,
        expected: i64,
        end: i64,
    },
    /// A topic of the target doesn't exist any more.
    Gone {
        topic: String,
    },
    /// Another owner of the range's transactional id has come.
    Fenced(Trouble),
    /// The clients must be made anew.
    Failed {
        what: &'static str,
        error: Trouble,
    },
    /// An acknowledgement that can't be right: nothing is written any more before positions are checked again.
    Misaligned {
        partition: i32,
        /// The copy has lost what it had from this offset on.
        lost_from: Option<i64>,
        error: String,
    },
}

impl Exit {
    /// Whether all that was acknowledged by then is made durable before the engine ends.
    pub(crate) fn is_orderly(&self) -> bool {
        match self {
            Self::Drained | Self::Changed | Self::Until | Self::TurnOver => true,
            Self::Reconsider { .. } | Self::OldFormat { .. } | Self::Unreadable { .. } => true,
            Self::Moved { .. } | Self::Another { .. } | Self::Recent | Self::Aged { .. } => true,
            Self::Refused { .. } | Self::Fenced(_) | Self::Failed { .. } => false,
            Self::Misaligned { .. } | Self::Gone { .. } => false,
        }
    }
}

/// Why a partition can't be fetched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fetching {
    /// The position is not in the log, or in another one.
    Lost,
    /// Nobody has allowed the principal to read the topic.
    Forbidden,
    Failed,
}

/// A record that the target refused: where it is, and what may be said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) partition: i32,
    pub(crate) offset: SourceOffset,
    /// Key and value, bytes.
    pub(crate) size: usize,
    pub(crate) has_key: bool,
    /// Milliseconds since 1970.
    pub(crate) timestamp: i64,
}

/// What the target has against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It, or the batch that it was in.
    TooLarge,
    /// It, or a record in the same batch, breaks a rule of the topic: of timestamps, or of keys.
    Invalid,
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_fit_what_the_topic_takes() {
        assert_eq!(batch_bytes(None), MAX_BATCH_BYTES);
        assert_eq!(batch_bytes(Some(100_000)), 100_000 - BATCH_OVERHEAD);
        assert_eq!(batch_bytes(Some(-1)), 1024);
    }

    #[test]
    fn trouble_is_said_in_its_own_words() {
        let mut trouble = Trouble::new("no such thing");
        assert_eq!(trouble.to_string(), "no such thing");
        trouble.name = Some("Resolve".to_owned());
        assert_eq!(trouble.to_string(), "no such thing (Resolve)");
    }
}
