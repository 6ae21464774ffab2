use twinlog_proto::internal::v1 as internal;

use super::*;
use crate::session::assigned::tests::{heartbeat, parsed, replicate, set, survey, task};

/// What is to run now, and why something of the set is refused; the worker has something to lose.
fn admit(seen: &mut Seen, set: &internal::AssignmentSet) -> (Arc<Assignments>, Option<Cause>) {
    let Admitted { accepted, refused, .. } = seen.admit(parsed(set), false);
    (accepted, refused.map(|refused| refused.cause))
}

#[test]
fn older_sets_are_refused_and_change_nothing() {
    let mut seen = Seen::default();
    let (first, refused) = admit(&mut seen, &set(5, 50, vec![heartbeat(9)]));
    assert!(refused.is_none());
    for (term, generation, reason) in [(4, 60, Reason::STALE_TERM), (5, 49, Reason::STALE_GENERATION)] {
        let (kept, refused) = admit(&mut seen, &set(term, generation, vec![]));
        assert_eq!(refused.unwrap().reason, reason);
        assert!(Arc::ptr_eq(&kept, &first));
    }
    for (term, generation) in [(5, 50), (5, 51), (6, 1)] {
        let (_, refused) = admit(&mut seen, &set(term, generation, vec![heartbeat(9)]));
        assert!(refused.is_none(), "({term}, {generation}) is not older");
    }
}

#[test]
fn even_a_worker_that_saw_an_empty_set_refuses_an_older_one() {
    let mut seen = Seen::default();
    admit(&mut seen, &set(5, 50, vec![]));
    assert_eq!(admit(&mut seen, &set(5, 49, vec![])).1.unwrap().reason, Reason::STALE_GENERATION);
}

#[test]
fn a_worker_with_nothing_to_lose_takes_another_stores_older_terms() {
    let mut seen = Seen::default();
    admit(&mut seen, &set(50, 1, vec![heartbeat(9)]));
    let older = |tasks| parsed(&set(5, 60, tasks));
    let busy = seen.admit(older(vec![heartbeat(3)]), true);
    assert_eq!(
        busy.refused.unwrap().cause.reason,
        Reason::STALE_TERM,
        "a task is assigned and may be about to start"
    );
    admit(&mut seen, &set(50, 2, vec![]));
    let unsure = seen.admit(older(vec![heartbeat(3)]), false);
    let refused = unsure.refused.unwrap();
    assert_eq!((refused.cause.reason, refused.version.term.0), (Reason::STALE_TERM, 5));
    assert!(refused.cause.message.contains("restart the worker"), "{}", refused.cause.message);
    let taken = seen.admit(older(vec![heartbeat(3)]), true);
    assert!(taken.refused.is_none() && taken.later.is_empty());
    assert_eq!(taken.accepted.tasks[&"heartbeat/m".parse().unwrap()].epoch, Epoch(3));
    let same_term = seen.admit(parsed(&set(5, 59, vec![])), true);
    assert!(same_term.refused.is_some(), "an older generation is an old message, whoever it comes from");
}

#[test]
fn a_task_with_an_older_epoch_is_named_with_the_later_one() {
    let mut seen = Seen::default();
    admit(&mut seen, &set(1, 1, vec![heartbeat(9), survey(9)]));
    let Admitted { refused, later, .. } =
        seen.admit(parsed(&set(2, 2, vec![heartbeat(8), survey(10)])), false);
    assert_eq!(refused.unwrap().version.term.0, 2);
    assert_eq!(
        later.into_iter().map(|(n, e)| (n.to_string(), e)).collect::<Vec<_>>(),
        [("heartbeat/m".to_owned(), Epoch(9))]
    );
}

#[test]
fn a_task_with_an_older_epoch_stays_as_it_was() {
    let mut seen = Seen::default();
    admit(&mut seen, &set(1, 1, vec![heartbeat(9), survey(9)]));
    // It moved away at some time ...
    admit(&mut seen, &set(1, 2, vec![heartbeat(9)]));
    // ... and a store that was set back hands out old epochs under a newer term.
    let (accepted, refused) = admit(&mut seen, &set(2, 3, vec![heartbeat(8), survey(8)]));
    assert_eq!(refused.unwrap().reason, Reason::STALE_EPOCH);
    let epochs: Vec<_> = accepted.tasks.iter().map(|(n, t)| (n.to_string(), t.epoch)).collect();
    assert_eq!(epochs, [("heartbeat/m".to_owned(), Epoch(9))], "what ran goes on, what didn't isn't started");
    let (accepted, refused) = admit(&mut seen, &set(2, 4, vec![heartbeat(10), survey(10)]));
    assert!(refused.is_none());
    assert_eq!(accepted.tasks.len(), 2);
}

#[test]
fn epochs_of_former_tasks_are_remembered_within_bounds() {
    let mut seen = Seen::default();
    let former = |i: i64| format!("replicate/m/a.t{i}/0");
    for i in 1..=10 {
        let tasks = vec![task(&former(i), 100 + i, replicate("t", 0, 1)), survey(7)];
        admit(&mut seen, &set(1, i, tasks));
        seen.forget_oldest(4);
        assert!(seen.epochs.len() <= 2 + 4, "{i}: {}", seen.epochs.len());
    }
    let refused = |seen: &mut Seen, name: &str, epoch| {
        admit(seen, &set(1, 99, vec![task(name, epoch, replicate("t", 0, 1)), survey(7)])).1
    };
    assert!(refused(&mut seen, &former(9), 1).is_some(), "the newest are remembered");
    assert!(refused(&mut seen, &former(1), 1).is_none(), "the oldest are not");
    let (accepted, refused) = admit(&mut seen, &set(1, 99, vec![survey(6)]));
    assert_eq!(refused.unwrap().reason, Reason::STALE_EPOCH, "what is assigned is never forgotten");
    assert_eq!(accepted.tasks[&"survey/m".parse().unwrap()].epoch, Epoch(7));
}
