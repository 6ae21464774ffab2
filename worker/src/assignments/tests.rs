use super::*;
use twinlog_proto::internal::v1 as internal;

/// A mirror as the controller sends it.
pub(crate) fn mirror(id: &str) -> v1::Mirror {
    v1::Mirror {
        name: format!("mirrors/{id}"),
        source: "clusters/a".into(),
        target: "clusters/b".into(),
        topics: vec![".*".into()],
        ..Default::default()
    }
}

pub(crate) fn cluster(id: &str, server: &str) -> v1::Cluster {
    v1::Cluster {
        name: format!("clusters/{id}"),
        bootstrap_servers: vec![server.into()],
        ..Default::default()
    }
}

pub(crate) fn replicate(topic: &str, block: i32, partitions: i32) -> internal::task::Kind {
    internal::task::Kind::Replicate(internal::ReplicateTask {
        range: Some(internal::PartitionRange {
            source_topic: topic.into(),
            target_topic: format!("a.{topic}"),
            block,
            first_partition: block * 8,
            partition_count: partitions,
            ..Default::default()
        }),
    })
}

pub(crate) fn task(name: &str, epoch: i64, kind: internal::task::Kind) -> internal::Task {
    let mirror = name.split('/').nth(1).expect("task names hold a mirror");
    internal::Task { name: name.into(), epoch, mirror: format!("mirrors/{mirror}"), kind: Some(kind) }
}

/// A set with mirror `m` from `a` to `b`.
pub(crate) fn set(term: i64, generation: i64, tasks: Vec<internal::Task>) -> internal::AssignmentSet {
    internal::AssignmentSet {
        term,
        generation,
        tasks,
        mirrors: vec![mirror("m")],
        clusters: vec![cluster("a", "127.0.0.1:1"), cluster("b", "127.0.0.1:2")],
        heard_report: None,
    }
}

pub(crate) fn heartbeat(epoch: i64) -> internal::Task {
    task("heartbeat/m", epoch, internal::task::Kind::Heartbeat(internal::HeartbeatTask {}))
}

pub(crate) fn survey(epoch: i64) -> internal::Task {
    task("survey/m", epoch, internal::task::Kind::Survey(internal::SurveyTask {}))
}

fn parsed(set: &internal::AssignmentSet) -> Assignments {
    Assignments::parse(set, &mut Mirrors::default())
}

#[test]
fn every_kind_of_task_is_parsed() {
    let shard = internal::task::Kind::Checkpoint(internal::CheckpointTask { shard: 1, shard_count: 2 });
    let all = parsed(&set(
        1,
        2,
        vec![
            survey(3),
            heartbeat(4),
            task("checkpoint/m/1", 5, shard),
            task("replicate/m/a.t/1", 6, replicate("t", 1, 3)),
        ],
    ));
    assert_eq!(all.version, Version { term: Term(1), generation: Generation(2) });
    let kinds: Vec<_> = all.tasks.values().map(|t| t.work.as_ref().unwrap().kind.clone()).collect();
    assert!(matches!(kinds[0], Kind::Survey));
    assert!(matches!(&kinds[1], Kind::Replicate(range) if range.first_partition == 8));
    assert_eq!(kinds[2], Kind::Checkpoint(Shard { index: 1, count: 2 }));
    assert_eq!(kinds[3], Kind::Heartbeat);
}

#[test]
fn a_task_that_cannot_be_run_says_why_and_the_others_run() {
    let mut wire = set(
        1,
        1,
        vec![
            heartbeat(1),
            task("survey/m", 1, internal::task::Kind::Heartbeat(internal::HeartbeatTask {})),
            task("survey/other", 1, internal::task::Kind::Survey(internal::SurveyTask {})),
            task("survey/broken", 1, internal::task::Kind::Survey(internal::SurveyTask {})),
            task(
                "checkpoint/m/2",
                1,
                internal::task::Kind::Checkpoint(internal::CheckpointTask { shard: 2, shard_count: 2 }),
            ),
            task("nonsense/m", 1, internal::task::Kind::Survey(internal::SurveyTask {})),
        ],
    );
    wire.mirrors.push(v1::Mirror { topics: vec!["(".into()], ..mirror("broken") });
    let all = parsed(&wire);
    let cause = |name: &str| all.tasks[&name.parse().unwrap()].work.as_ref().unwrap_err().message.clone();
    assert!(all.tasks[&"heartbeat/m".parse().unwrap()].work.is_ok());
    assert!(cause("survey/m").contains("does not fit its name"));
    assert!(cause("survey/other").contains("mirrors/other"));
    assert!(cause("survey/broken").contains("topics"));
    assert!(cause("checkpoint/m/2").contains("shard 2 of 2"));
    assert_eq!(all.tasks.len(), 5, "a name that says nothing is left out");
}

#[test]
fn what_the_store_adds_to_a_mirror_changes_no_task() {
    let work = |change: &dyn Fn(&mut v1::Mirror)| {
        let mut wire = set(1, 1, vec![heartbeat(1)]);
        change(&mut wire.mirrors[0]);
        parsed(&wire).tasks.into_values().next().unwrap().work.unwrap()
    };
    let before = work(&|_| {});
    assert!(before.same_settings(&work(&|m| {
        m.etag = "7".into();
        m.display_name = "x".into();
        m.labels.insert("k".into(), "v".into());
    })));
    assert!(!before.same_settings(&work(&|m| m.topics_exclude = vec!["x".into()])));
    assert!(before.same_clusters(&work(&|m| m.topics_exclude = vec!["x".into()])));
}

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
fn a_mirror_is_parsed_again_only_when_it_has_changed() {
    let mut known = Mirrors::default();
    let mut parse = |set: &internal::AssignmentSet| {
        let work = Assignments::parse(set, &mut known).tasks.pop_first().unwrap().1.work.unwrap();
        work.mirror
    };
    let mut set = set(1, 1, vec![heartbeat(1)]);
    let first = parse(&set);
    assert!(Arc::ptr_eq(&first, &parse(&set)));
    set.mirrors[0].topics = vec!["other".into()];
    let changed = parse(&set);
    assert!(!changed.topics.matches("any") && first.topics.matches("any"));
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
