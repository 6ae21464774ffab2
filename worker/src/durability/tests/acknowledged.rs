//! After acknowledgement.

use super::super::acknowledged::{FIRST_PROGRESS, PROGRESS_INTERVAL};
use super::*;

fn running() -> Running {
    Running::claimed(Mode::Acknowledged)
}

#[test]
fn the_claim_comes_before_the_first_record() {
    let mut running = Running::new(Mode::Acknowledged, None);
    assert!(running.committer.holds_records());
    assert_eq!(running.says().unwrap(), "flush");
    running.done();
    assert_eq!(running.says().unwrap(), "progress 0");
    running.done();
    assert!(running.committer.holds_records(), "not before it is acknowledged");
    assert_eq!(running.says().unwrap(), "flush");
    running.done();
    assert_eq!(running.says(), None);
    assert!(!running.committer.holds_records());
    assert_eq!(running.record(), None, "nothing is to be begun");
}

#[test]
fn what_an_older_version_left_is_carried_over_with_the_claim() {
    let mut running = Running::new(Mode::Acknowledged, Some(carried(3, true)));
    let steps = ["3 of the map", "flush", "flush", "progress 0", "flush", "mark in old/3", "flush"];
    assert_eq!(running.all(), steps, "each when what it rests on is acknowledged; the mark last");
    let mut running = Running::new(Mode::Acknowledged, Some(carried(1, false)));
    assert_eq!(running.all(), ["1 of the map", "flush", "flush", "progress 0", "flush"]);
}

#[test]
fn progress_says_what_is_acknowledged_and_records_go_on_meanwhile() {
    let mut running = running();
    running.acknowledged(3);
    assert_eq!(running.durable(), 3, "acknowledged is durable: nothing can take it back");
    assert_eq!(running.committer.due(&running.ledger), Some(running.now.instant + FIRST_PROGRESS));
    running.after(FIRST_PROGRESS - MILLISECOND);
    assert_eq!(running.says(), None);
    running.after(MILLISECOND);
    assert_eq!(running.says().unwrap(), "progress 3");
    assert!(!running.committer.holds_records());
    running.done();
    running.acknowledged(4);
    running.after(PROGRESS_INTERVAL * 5);
    assert_eq!(running.says(), None, "one at a time");
    assert_eq!(running.committer.due(&running.ledger), None);
    running.stored(1);
    assert_eq!(running.all(), ["progress 7"]);
    running.stored(1);
    running.after(PROGRESS_INTERVAL * 5);
    assert_eq!(running.says(), None, "nothing new");
}

#[test]
fn progress_over_nothing_but_markers_is_written_too() {
    let mut running = running();
    running.passed(2);
    running.after(PROGRESS_INTERVAL);
    assert_eq!(running.all(), ["progress 2"]);
}

#[test]
fn closed_pieces_are_acknowledged_before_the_progress_that_no_longer_holds_them() {
    let mut running = running();
    // More than one piece holds.
    running.acknowledged_apart(MANY * 5);
    running.after(PROGRESS_INTERVAL);
    assert_eq!(running.all(), ["2 of the map"]);
    running.after(PROGRESS_INTERVAL * 5);
    running.stored(1);
    assert_eq!(running.says(), None, "one of them is on its way");
    running.stored(1);
    assert_eq!(running.all(), [format!("progress {}", MANY * 10)], "at once");
    assert!(running.ledger.closing().is_empty());
}

#[test]
fn pieces_that_are_not_acknowledged_are_written_again() {
    let mut running = running();
    running.acknowledged_apart(MANY);
    running.after(PROGRESS_INTERVAL);
    assert_eq!(running.says().unwrap(), "1 of the map");
    // The producer took nothing.
    assert_eq!(running.says(), None);
    assert!(running.ledger.is_dirty(), "unsealed");
    assert_eq!(running.ledger.closing().len(), 1);
}

#[test]
fn a_drain_writes_all_that_is_acknowledged() {
    let mut running = running();
    running.acknowledged_apart(MANY);
    running.committer.end(running.now.instant);
    assert!(running.committer.holds_records());
    assert_eq!(running.says().unwrap(), "flush");
    running.acknowledged(3);
    running.done();
    let progress = format!("progress {}", MANY * 2 + 3);
    assert_eq!(running.all(), ["1 of the map", "flush", &progress, "flush"]);
    assert_eq!(running.says(), None);
}

#[test]
fn a_drain_waits_for_what_is_on_its_way() {
    let mut running = running();
    running.acknowledged(3);
    running.after(PROGRESS_INTERVAL);
    assert_eq!(running.all(), ["progress 3"]);
    running.committer.end(running.now.instant);
    assert_eq!(running.all(), ["flush"], "it says all that there is");
}

#[test]
fn the_first_records_are_noted_soon() {
    for mode in [Mode::Acknowledged, Mode::Fenced] {
        let mut running = Running::claimed(mode);
        running.acknowledged(3);
        running.after(FIRST_PROGRESS);
        assert_eq!(running.says().unwrap(), "progress 3");
        running.done();
        running.stored(1);
        running.acknowledged(4);
        running.after(PROGRESS_INTERVAL - MILLISECOND);
        assert_eq!(running.says(), None, "the next ones once a second");
        running.after(MILLISECOND);
        assert_eq!(running.all(), ["progress 7"]);
    }
}
