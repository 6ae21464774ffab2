//! Whether a range of an exact mirror is written in transactions, or behind its fence without them.
//!
//! Without them nothing waits for a commit, and a reader who doesn't leave out what was aborted sees every record once, too. But brokers
//! forget a producer a day after its last record's time, and with it the fence: what is older than some hours goes in transactions.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use twinlog_proto::model::Guarantee;

use super::{End, Runner, Step};
use crate::engine::Owner;
use crate::lane::Range;
use crate::lane::start::Facts;
use crate::progress::{Engine as Kind, Mode, RangeProgress};

/// After an old record it goes in transactions for so long at least; twice as long each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const MAX_PAUSE: Duration = Duration::from_secs(3600);
/// The topic's broker stamps what it appends: no record is old there.
const STAMPED: (&str, &str) = ("message.timestamp.type", "LogAppendTime");

/// What was seen of the records' age.
#[derive(Debug, Default)]
pub(super) struct Plain {
    /// All were young, when last looked at.
    recent: bool,
    /// In transactions until then, and for how long that was.
    not_before: Option<Instant>,
    pause: Duration,
    /// The copy has its broker's time.
    ageless: bool,
}

impl Plain {
    fn aged(&mut self) {
        self.recent = false;
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, MAX_PAUSE);
        self.not_before = Some(Instant::now() + self.pause);
    }

    fn waits(&self) -> bool {
        self.not_before.is_some_and(|at| at > Instant::now())
    }

    pub(super) fn is_ageless(&self) -> bool {
        self.ageless
    }
}

impl Runner {
    /// How the next run writes.
    pub(super) fn mode(&self, before: Option<&RangeProgress>, owner: Option<Owner>) -> Mode {
        if self.spec.mirror.guarantee == Guarantee::AtLeastOnce {
            return Mode::Acknowledged;
        }
        // Whoever had it before may have been in the middle of old records.
        let history = before.is_some_and(|before| before.written.mode == Some(Mode::Transactions));
        let history = history && !self.plain.recent;
        let may = owner.is_some_and(|owner| owner.fenced) && !self.spec.mirror.always_transactions;
        match may && !history && !self.plain.waits() {
            true => Mode::Fenced,
            false => Mode::Transactions,
        }
    }

    /// From when on a run in transactions ends where all records are young; none where it goes on in transactions.
    pub(super) fn plain_from(&self, mode: Mode, owner: Option<Owner>) -> Option<Instant> {
        let may = mode == Mode::Transactions && owner.is_some_and(|owner| owner.fenced);
        let may = may && !self.spec.mirror.always_transactions;
        may.then(|| self.plain.not_before.unwrap_or_else(Instant::now))
    }

    /// The engine has met young records only.
    pub(super) fn recent(&mut self) -> End {
        self.plain.recent = true;
        End::Again
    }

    /// The engine has met an old record.
    pub(super) async fn aged(&mut self, partition: i32) -> End {
        let stamped = |(name, value): (String, String)| (name.as_str(), value.as_str()) == STAMPED;
        if self.config_of_target(&[STAMPED.0]).await.is_some_and(stamped) {
            self.plain.ageless = true;
            return End::Again;
        }
        self.plain.aged();
        let pause = self.plain.pause;
        tracing::debug!(task = %self.spec.task, partition, ?pause, "a record is too old to be written without a transaction");
        End::Again
    }

    /// Begins anew where an engine was opened that doesn't fence the owner before it in every partition.
    pub(super) fn is_guarded(&mut self, before: Option<&RangeProgress>) -> Step<()> {
        let plain = before.is_some_and(|before| before.written.mode == Some(Mode::Fenced));
        if plain && self.kind() == Kind::Librdkafka && !std::mem::replace(&mut self.guard, true) {
            return Err(End::Again);
        }
        Ok(())
    }

    /// Progress with what its last owner, where that wrote without transactions, had stored after it.
    pub(super) async fn recognised(
        &self,
        range: &Range,
        before: Option<RangeProgress>,
        facts: &mut [Facts],
        owner: Option<Owner>,
    ) -> Step<Option<RangeProgress>> {
        let Some(mut progress) = before else { return Ok(None) };
        let (Some(Mode::Fenced), Some(producer_id)) = (progress.written.mode, progress.written.producer_id)
        else {
            return Ok(Some(progress));
        };
        if owner.is_some_and(|owner| owner.producer_id != producer_id) {
            // It expired, or its epochs are used up: an owner that comes back is noticed only where it writes.
            tracing::warn!(task = %self.spec.task, producer_id, "the transactional id has another producer id than before: an earlier owner isn't fenced by it");
        }
        let mut found = BTreeMap::new();
        for (partition, facts) in range.partitions().zip(facts) {
            let Some(own) = progress.partitions.get(&partition) else { continue };
            let same = own.source_topic_id == facts.topic_id && own.target_topic_id == facts.target_topic_id;
            // What the source has lost of what was copied is for its own rule.
            let kept = facts.kept() >= own.chunk.source_end().0;
            if !same || !kept || own.target_known.is_none_or(|known| known.0 >= facts.target_end) {
                continue;
            }
            let copy = (facts.target_start, facts.target_end);
            let clusters = self.clusters.recognised(&self.spec, partition, (own, producer_id), copy);
            if let Some(recognised) = self.ask(clusters).await? {
                let (from, to) = (own.position, recognised.position);
                tracing::debug!(task = %self.spec.task, partition, %from, %to, "what the last owner stored is recognised");
                // It was of the leader epoch before.
                facts.epoch_end = None;
                found.insert(partition, recognised);
            }
        }
        progress.partitions.extend(found);
        Ok(Some(progress))
    }
}
