use super::*;

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

pub(crate) fn parsed(set: &internal::AssignmentSet) -> Assignments {
    parse(set, &mut Mirrors::default())
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

#[test]
fn a_mirror_is_parsed_again_only_when_it_has_changed() {
    let mut known = Mirrors::default();
    let mut parse = |set: &internal::AssignmentSet| {
        let work = super::parse(set, &mut known).tasks.pop_first().unwrap().1.work.unwrap();
        work.mirror
    };
    let mut set = set(1, 1, vec![heartbeat(1)]);
    let first = parse(&set);
    assert!(Arc::ptr_eq(&first, &parse(&set)));
    set.mirrors[0].topics = vec!["other".into()];
    let changed = parse(&set);
    assert!(!changed.topics.matches("any") && first.topics.matches("any"));
}
