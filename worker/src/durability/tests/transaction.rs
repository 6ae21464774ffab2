//! In transactions.

use super::super::transaction::FIRST_COMMIT;
use super::*;

fn running() -> Running {
    Running::claimed(Mode::Transactions)
}

/// After the first commit, which is an early one, with so many records acknowledged in a transaction that has just begun.
fn open(records: i64) -> Running {
    let mut running = running();
    running.record().unwrap();
    running.after(FIRST_COMMIT);
    running.all();
    running.record().unwrap();
    running.acknowledged(records);
    running
}

#[test]
fn the_claim_comes_before_the_first_record() {
    let mut running = Running::new(Mode::Transactions, None);
    assert!(running.committer.holds_records());
    assert_eq!(running.committer.before_record(), None, "not even a transaction is begun for one");
    assert_eq!(running.all(), ["begin", "flush", "progress 0", "commit"]);
    assert!(!running.committer.holds_records());
    assert_eq!(running.record().as_deref(), Some("begin"));
    assert_eq!(running.record(), None, "it is open");
}

#[test]
fn what_an_older_version_left_is_carried_over_with_the_claim() {
    let mut running = Running::new(Mode::Transactions, Some(carried(3, true)));
    let steps = ["begin", "3 of the map", "flush", "mark in old/3", "flush", "progress 0", "commit"]
        .map(str::to_owned);
    assert_eq!(running.all(), steps, "all of it in one transaction");
}

#[test]
fn of_a_long_history_some_is_on_its_way_at_a_time() {
    let entry = Entry { key: Vec::new(), value: Vec::new() };
    let history = Carried { pieces: vec![entry; 1_001], mark: None };
    let mut running = Running::new(Mode::Transactions, Some(history));
    let steps = running.all();
    assert_eq!(steps[1..7], ["500 of the map", "flush", "500 of the map", "flush", "1 of the map", "flush"]);
}

#[test]
fn progress_waits_for_the_acknowledgement_of_every_record() {
    let mut running = open(3);
    running.after(INTERVAL);
    assert_eq!(running.says().unwrap(), "flush");
    running.after(Duration::from_secs(60));
    assert_eq!(running.says(), None, "however long that takes");
    assert!(running.committer.holds_records(), "no record joins the transaction meanwhile");
    running.acknowledged(4);
    running.done();
    assert_eq!(running.says().unwrap(), "progress 7");
    running.done();
    assert_eq!(running.durable(), 0, "it may still be aborted");
    assert_eq!(running.says().unwrap(), "commit");
    running.done();
    assert_eq!((running.durable(), running.committer.is_open()), (7, false));
}

#[test]
fn closed_pieces_are_in_the_transaction_of_the_progress_that_no_longer_holds_them() {
    let mut running = open(0);
    running.acknowledged_apart(MANY);
    running.after(INTERVAL);
    assert_eq!(running.says().unwrap(), "flush");
    running.done();
    let Some(Next::Write(writes)) = running.next() else { panic!("it writes") };
    let places: Vec<_> = writes.iter().map(|write| &write.place).collect();
    assert_eq!(places, [&Place::Offsets, &Place::Progress]);
    let (closed, open) =
        (Chunk::decode(&writes[0].entry.value).unwrap(), progress_in(&writes[1].entry).chunk);
    assert_eq!(closed.segments().len() + open.segments().len(), usize::try_from(MANY).unwrap() + 1);
    running.done();
    assert_eq!(running.all(), ["commit"]);
    running.passed(1);
    running.after(INTERVAL);
    assert_eq!(running.all()[2], format!("progress {}", MANY * 2 + 1), "they are written once");
}

#[test]
fn a_transaction_is_committed_at_its_age() {
    let mut running = open(3);
    assert_eq!(running.committer.due(&running.ledger), Some(running.now.instant + INTERVAL));
    running.after(INTERVAL - MILLISECOND);
    assert_eq!(running.says(), None);
    running.after(MILLISECOND);
    assert_eq!(running.all(), ["flush", "progress 3", "commit"]);
    running.after(INTERVAL * 10);
    assert_eq!(running.all(), [] as [&str; 0], "none is open, and there is nothing new");
}

#[test]
fn the_first_transaction_after_the_claim_is_committed_early() {
    let mut running = running();
    running.record().unwrap();
    running.after(FIRST_COMMIT - MILLISECOND);
    assert_eq!(running.says(), None);
    running.after(MILLISECOND);
    assert_eq!(running.all(), ["flush", "progress 0", "commit"]);
    running.record().unwrap();
    running.after(FIRST_COMMIT);
    assert_eq!(running.says(), None, "the second is not");
}

#[test]
fn progress_over_nothing_but_markers_is_committed_too() {
    let mut running = running();
    running.passed(2);
    assert_eq!(running.committer.due(&running.ledger), Some(running.now.instant + INTERVAL));
    running.after(INTERVAL - MILLISECOND);
    assert_eq!(running.says(), None);
    running.after(MILLISECOND);
    assert_eq!(running.all(), ["begin", "flush", "progress 2", "commit"]);
    assert_eq!(running.durable(), 2);
}

#[test]
fn a_record_does_not_wait_for_the_commit_of_markers() {
    let mut running = running();
    running.passed(2);
    running.after(INTERVAL - MILLISECOND);
    assert_eq!(running.record().as_deref(), Some("begin"));
    running.after(MILLISECOND);
    assert_eq!(running.says(), None, "they are committed with the record");
}

#[test]
fn a_drain_commits_what_is_open() {
    let mut running = open(3);
    running.committer.end(running.now.instant);
    assert!(running.committer.holds_records());
    assert_eq!(running.all(), ["flush", "progress 3", "commit"]);
    assert_eq!((running.says(), running.committer.before_record()), (None, None));
}

#[test]
fn a_drain_commits_markers_and_where_there_is_nothing_new_it_does_nothing() {
    let mut running = running();
    running.committer.end(running.now.instant);
    assert_eq!(running.says(), None);
    let mut running = self::running();
    running.passed(2);
    running.committer.end(running.now.instant);
    assert_eq!(running.all(), ["begin", "flush", "progress 2", "commit"]);
}

#[test]
fn a_drain_in_the_middle_of_a_commit_ends_with_that_one() {
    let mut running = open(3);
    running.after(INTERVAL);
    assert_eq!(running.says().unwrap(), "flush");
    running.committer.end(running.now.instant);
    running.done();
    assert_eq!(running.all(), ["progress 3", "commit"]);
    assert_eq!(running.says(), None);
}

#[test]
fn markers_that_came_during_the_last_commit_get_one_of_their_own() {
    let mut running = open(3);
    running.after(INTERVAL);
    running.says().unwrap();
    running.done();
    running.says().unwrap();
    running.committer.end(running.now.instant);
    running.passed(2);
    running.done();
    assert_eq!(running.all(), ["commit", "begin", "flush", "progress 5", "commit"]);
}

#[test]
fn an_error_before_progress_leaves_the_ledger_unsealed() {
    let mut running = open(3);
    running.after(INTERVAL);
    assert_eq!(running.says().unwrap(), "flush");
    // The acknowledgements didn't come: that is not done.
    assert!(running.ledger.is_dirty());
    assert_eq!((running.durable(), running.committer.is_open()), (0, true), "it is to be aborted");
    assert_eq!(running.says(), None);
}

#[test]
fn a_commit_that_fails_makes_nothing_durable_and_its_pieces_are_written_again() {
    let mut running = open(0);
    running.acknowledged_apart(MANY);
    running.after(INTERVAL);
    running.says().unwrap();
    running.done();
    assert!(running.says().unwrap().starts_with("1 of the map"));
    running.done();
    assert_eq!(running.says().unwrap(), "commit");
    assert_eq!((running.durable(), running.committer.is_open()), (0, true));
    assert_eq!(running.ledger.closing().len(), 1);
}
