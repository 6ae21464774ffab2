//! The fence in the partitions of a range: a transaction with nothing in it, whose markers raise the epoch in each partition's log. From
//! there on the log takes nothing more from an earlier owner, and what lies below the marker is all that there will be of theirs.
//!
//! An answer of the coordinator proves nothing: brokers of 4.3 leave out the markers of partitions without a leader, and say that all is
//! done. So each leader is asked what it has, and partitions without the marker get another one. The same way a marker of an earlier
//! transaction may be missing, which then is open for ever: it is ended here, as it was decided.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use twinlog_proto::reason::Reason;

use super::coordinator::{AGAIN, PATIENCE, STEP, away, persist, wanted};
use crate::cause::Cause;
use crate::engine::{NotOpened, Opening, Trouble};
use crate::kafka::{
    ActiveProducer, KafkaError, LastTransaction, PerPartition, Spot, Stage, Transactions, code,
};

/// Between two looks for a marker that was left out.
const PAUSE: Duration = Duration::from_millis(50);

/// What is known of the fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fence {
    /// Its marker is in every partition's log.
    Seen,
    /// The partitions' leaders don't say: transactions of an earlier owner are refused all the same, but not what it writes without.
    Hidden,
}

/// A partition's state, as its leader has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct State {
    has_epoch: bool,
    is_open: bool,
}

/// Raises the fence. `last` is what the coordinator said before it gave the epoch.
pub(super) async fn raise(
    opening: &Opening,
    transactions: &Transactions,
    last: Option<&LastTransaction>,
) -> Result<Fence, NotOpened> {
    let (began, mut rounds, mut left) = (Instant::now(), 0, spots(opening));
    let copies = usize::try_from(opening.range.partition_count).unwrap_or(0);
    let own: Vec<Spot> = left.iter().skip(copies).cloned().collect();
    loop {
        let Some(states) = look(opening, transactions, &left).await? else { return Ok(Fence::Hidden) };
        if transactions.epoch == 0 {
            // Nobody has had this producer id before.
            return Ok(Fence::Seen);
        }
        let is_left = |state: &Option<State>| state.is_none_or(|state| !state.has_epoch || state.is_open);
        let states: Vec<_> = left.into_iter().zip(states).filter(|(_, state)| is_left(state)).collect();
        if states.is_empty() {
            return Ok(Fence::Seen);
        }
        if began.elapsed() >= AGAIN {
            return Err(NotOpened::Waited);
        }
        // Where it isn't known whether something is open, nothing is decided.
        let known = states.iter().filter_map(|(spot, state)| Some((spot, (*state)?)));
        let (commit, abort): (Vec<_>, Vec<_>) =
            known.partition(|(spot, state)| state.is_open && was_committed(last, spot, own.contains(spot)));
        for (some, commit) in [(commit, true), (abort, false)] {
            mark(opening, transactions, some.into_iter().map(|(spot, _)| spot.clone()).collect(), commit)
                .await?;
        }
        left = states.into_iter().map(|(spot, _)| spot).collect();
        if rounds > 0 {
            tracing::debug!(?left, "the fence is not there yet");
            if began.elapsed() >= PATIENCE {
                opening.waits.send_replace(Some(waits_for(opening, &left)));
            }
            sleep(PAUSE).await;
        }
        rounds += 1;
    }
}

async fn mark(
    opening: &Opening,
    transactions: &Transactions,
    some: Vec<Spot>,
    commit: bool,
) -> Result<(), NotOpened> {
    if some.is_empty() {
        return Ok(());
    }
    if commit {
        tracing::info!(?some, "transactions that were committed have no marker there: they get one");
    }
    persist(opening, || transactions.mark(&some, commit, STEP)).await
}

/// The words for partitions that the fence doesn't reach.
fn waits_for(opening: &Opening, left: &[Spot]) -> Cause {
    let (target, count) = (&opening.target.id, left.len());
    let first = left.first().map(|spot| format!("{} partition {}", spot.topic, spot.partition));
    let text = format!(
        "cluster {target}: {count} partitions have no leader that takes the fence against earlier owners, the first is {}",
        first.unwrap_or_default()
    );
    Cause::new(Reason::WAITING_FOR_CLUSTER, text)
}

/// Where an earlier owner may write: the copies, and behind them what the range has of its own.
fn spots(opening: &Opening) -> Vec<Spot> {
    let (range, storage) = (&opening.range, &opening.storage);
    let topic: std::sync::Arc<str> = range.target_topic.as_str().into();
    let copies = range.partitions().map(|partition| Spot { topic: topic.clone(), partition });
    let own = [
        (&storage.progress_topic, storage.progress_partition),
        (&storage.offsets_topic, storage.offsets_partition),
    ];
    let own = own.map(|(topic, partition)| Spot { topic: topic.as_str().into(), partition });
    copies.chain(own).collect()
}

/// What the leaders say of this producer, in the order of the partitions; `None` for one that doesn't answer now, and of all where they
/// never will.
async fn look(
    opening: &Opening,
    transactions: &Transactions,
    spots: &[Spot],
) -> Result<Option<Vec<Option<State>>>, NotOpened> {
    let client = opening.target.client.as_producer();
    let mut found = match wanted(opening, client.producers(spots)).await? {
        Ok(found) => found,
        Err(error) if never(&error) => return Ok(hidden(&error)),
        Err(error) => return Err(NotOpened::Target(away(&error))),
    };
    let errors = found.values().filter_map(|found| found.as_ref().err());
    if let Some(error) = errors.clone().find(|error| error.code == code::UNKNOWN_TOPIC_OR_PARTITION) {
        let reason = Some(Reason::TARGET_TOPIC_MISSING);
        return Err(NotOpened::Target(Trouble { away: reason, ..away(error) }));
    }
    if let Some(error) = errors.clone().find(|error| never(error)) {
        return Ok(hidden(error));
    }
    Ok(Some(spots.iter().map(|spot| state(&mut found, spot, transactions)).collect()))
}

fn state(
    found: &mut PerPartition<Vec<ActiveProducer>>,
    spot: &Spot,
    transactions: &Transactions,
) -> Option<State> {
    let producers = found.remove(&(spot.topic.to_string(), spot.partition))?.ok()?;
    let own = producers.iter().find(|producer| producer.id == transactions.producer_id);
    Some(own.map_or_else(State::default, |own| State {
        has_epoch: own.epoch == i32::from(transactions.epoch),
        is_open: own.open_from.is_some(),
    }))
}

/// Whether it is of no use to ask again.
fn never(error: &KafkaError) -> bool {
    matches!(error.reason, Reason::MISSING_PERMISSION | Reason::UNSUPPORTED_VERSION)
}

fn hidden(error: &KafkaError) -> Option<Vec<Option<State>>> {
    tracing::debug!("whether earlier owners are fenced in each partition can't be seen: {}", error.message);
    None
}

/// How a transaction was decided that is open in a partition though its coordinator has ended it. Where that isn't known any more, what
/// does less harm: a copy twice rather than never, and progress that is too old rather than too new.
fn was_committed(last: Option<&LastTransaction>, spot: &Spot, is_own: bool) -> bool {
    let Some(last) = last else { return !is_own };
    match last.stage {
        Stage::Committed => true,
        Stage::Aborting => false,
        // This one is aborted now; where it has no part, one before it was committed.
        Stage::Ongoing => !last.partitions.contains(&(spot.topic.to_string(), spot.partition)),
        Stage::Ended => !is_own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_decided_is_carried_out() {
        let spot = Spot { topic: "t".into(), partition: 3 };
        let last = |stage, has: bool| LastTransaction {
            stage,
            partitions: has.then(|| ("t".to_owned(), 3)).into_iter().collect(),
        };
        for is_own in [false, true] {
            assert!(was_committed(Some(&last(Stage::Committed, false)), &spot, is_own));
            assert!(!was_committed(Some(&last(Stage::Aborting, false)), &spot, is_own));
            assert!(!was_committed(Some(&last(Stage::Ongoing, true)), &spot, is_own), "it is being aborted");
            assert!(was_committed(Some(&last(Stage::Ongoing, false)), &spot, is_own), "an earlier one");
            assert_eq!(was_committed(Some(&last(Stage::Ended, false)), &spot, is_own), !is_own);
            assert_eq!(was_committed(None, &spot, is_own), !is_own);
        }
    }
}
