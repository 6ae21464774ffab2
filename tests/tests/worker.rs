//! A real worker on real Kafka, told what to do by a controller of straw: what its surveys, heartbeats and answers are
//! worth.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio_util::sync::CancellationToken;
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::internal::v1::answer::Answer;
use twinlog_proto::internal::v1::query::Question;
use twinlog_proto::internal::v1::worker_message::Message as Out;
use twinlog_proto::v1;
use twinlog_proto::v1::planned_topic::Action;
use twinlog_tests::controller::{FakeController, FakeSession};
use twinlog_tests::sandbox::{Kafka, KafkaOptions, Sandbox, wait_until};
use twinlog_tests::tools::{Committed, Isolation, LoadOptions, Tools};
use twinlog_worker::WorkerConfig;

/// For what must come, on a machine that may be busy with other things.
const SOON: Duration = Duration::from_secs(60);
/// The promise for new topics and partitions, at the default interval.
const FLOWING: Duration = Duration::from_secs(5);

/// Two clusters, the tools, and a worker with an open session.
struct World {
    session: FakeSession,
    tools: Arc<Tools>,
    source: Arc<Kafka>,
    target: Arc<Kafka>,
}

/// Runs a story in a world of its own, and stops the worker at its end.
fn story<F: Future<Output = Result<()>>>(name: &str, tell: impl FnOnce(World) -> F) -> Result<()> {
    // One at a time: two clusters are enough for two cores.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let sandbox = Sandbox::new(name)?;
    let (source, target) =
        sandbox.kafka_pair(("a", KafkaOptions::default()), ("b", KafkaOptions::default()))?;
    let (source, target) = (Arc::new(source), Arc::new(target));
    let tools = Tools::start(&sandbox)?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let mut controller = FakeController::start().await?;
        let config = WorkerConfig {
            controllers: vec![controller.url()],
            leave_timeout: Duration::ZERO,
            ..WorkerConfig::default()
        };
        let stop = CancellationToken::new();
        let worker = tokio::spawn(twinlog_worker::run(config, stop.clone()));
        let session = controller.welcomed(1, SOON).await?;
        tell(World { session, tools, source, target }).await?;
        stop.cancel();
        tokio::time::timeout(SOON, worker).await???;
        Ok(())
    })
}

impl World {
    fn clusters(&self) -> Vec<v1::Cluster> {
        [("a", &self.source), ("b", &self.target)]
            .map(|(id, kafka)| v1::Cluster {
                name: format!("clusters/{id}"),
                bootstrap_servers: kafka.bootstrap().split(',').map(str::to_owned).collect(),
                ..Default::default()
            })
            .into()
    }

    fn set(&self, generation: i64, mirror: v1::Mirror, tasks: &[&str]) -> internal::AssignmentSet {
        let tasks = tasks.iter().map(|kind| task(kind)).collect();
        internal::AssignmentSet {
            term: 1,
            generation,
            tasks,
            mirrors: vec![mirror],
            clusters: self.clusters(),
            ..Default::default()
        }
    }

    async fn ask(
        &mut self,
        clusters: &[&str],
        mirror: Option<v1::Mirror>,
        question: Question,
    ) -> Result<Answer> {
        let all = self.clusters();
        let wanted = |c: &v1::Cluster| clusters.iter().any(|id| c.name == format!("clusters/{id}"));
        let query = internal::Query {
            id: format!("{question:?}"),
            deadline_ms: 10_000,
            clusters: all.into_iter().filter(wanted).collect(),
            mirror,
            question: Some(question),
            ..Default::default()
        };
        self.session.ask(query, SOON).await
    }
}

fn mirror() -> v1::Mirror {
    v1::Mirror {
        name: "mirrors/m".into(),
        source: "clusters/a".into(),
        target: "clusters/b".into(),
        topics: vec![".*".into()],
        groups: vec![".*".into()],
        sync_group_offsets: true,
        refresh: Some(v1::RefreshIntervals {
            topics: None,
            groups: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        }),
        ..Default::default()
    }
}

/// The only range of a topic with at most eight partitions.
fn replicate(topic: &str, partitions: i32) -> internal::Task {
    let range = internal::PartitionRange {
        source_topic: topic.into(),
        target_topic: format!("a.{topic}"),
        partition_count: partitions,
        ..Default::default()
    };
    internal::Task {
        name: format!("replicate/m/a.{topic}/0"),
        epoch: 1,
        mirror: "mirrors/m".into(),
        kind: Some(internal::task::Kind::Replicate(internal::ReplicateTask { range: Some(range) })),
    }
}

fn task(kind: &str) -> internal::Task {
    use internal::task::Kind;
    let (name, kind) = match kind {
        "survey" => ("survey/m", Kind::Survey(internal::SurveyTask {})),
        "heartbeat" => ("heartbeat/m", Kind::Heartbeat(internal::HeartbeatTask {})),
        "checkpoint" => {
            ("checkpoint/m/0", Kind::Checkpoint(internal::CheckpointTask { shard: 0, shard_count: 1 }))
        }
        other => panic!("no task of kind {other}"),
    };
    internal::Task { name: name.into(), epoch: 1, mirror: "mirrors/m".into(), kind: Some(kind) }
}

fn topic<'a>(inventory: &'a internal::Inventory, source: &str) -> Option<&'a internal::InventoryTopic> {
    inventory.topics.iter().find(|t| t.source_topic == source)
}

fn reason(topic: &internal::InventoryTopic) -> &str {
    topic.blocked.as_ref().map_or("", |cause| cause.reason.as_str())
}

#[test]
fn a_survey_makes_the_target_ready_and_follows_the_source() -> Result<()> {
    story("survey", |mut world| async move {
        let (tools, source, target) = (&world.tools.clone(), &*world.source.clone(), &*world.target.clone());
        let too_long = "l".repeat(248);
        tools.create_topic(
            source,
            "orders",
            12,
            &[("cleanup.policy", "compact"), ("min.insync.replicas", "1")],
        )?;
        tools.create_topic(
            source,
            "events",
            1,
            &[("retention.ms", "3600000"), ("max.message.bytes", "2000000")],
        )?;
        tools.create_topic(source, &too_long, 1, &[])?;

        world.session.assign(world.set(1, mirror(), &["survey", "heartbeat"])).await?;
        let all = |i: &internal::Inventory| {
            ["orders", "events", "heartbeats"].iter().all(|t| topic(i, t).is_some())
        };
        let inventory = world.session.inventory(SOON, "the topics", all).await?;
        let orders = topic(&inventory, "orders").expect("it was waited for");
        assert_eq!((orders.target_topic.as_str(), orders.partitions), ("a.orders", 12));
        assert_eq!((reason(orders), orders.source_topic_id.len()), ("", 36));
        assert_eq!(topic(&inventory, "events").unwrap().target_max_message_bytes, 2_000_000);
        assert!(!inventory.source_kafka_cluster_id.is_empty());
        assert_ne!(inventory.source_kafka_cluster_id, inventory.target_kafka_cluster_id);

        assert_eq!(tools.partitions(target, "a.orders")?, 12);
        let configs = |topic: &str| tools.topic_configs(target, topic);
        let set = |k: &str, v: &str| BTreeMap::from([(k.to_owned(), v.to_owned())]);
        assert_eq!(configs("a.orders")?, set("cleanup.policy", "compact"), "min.insync.replicas is excluded");
        assert_eq!(configs("a.events")?["retention.ms"], "3600000");
        for internal in [
            "__twinlog.m.progress",
            "__twinlog.m.offsets",
            "a.checkpoints.internal",
            "mm2-offset-syncs.a.internal",
            "heartbeats",
        ] {
            assert_eq!(configs(internal)?["cleanup.policy"], "compact", "{internal}");
        }

        // One topic that can't be created blocks only itself.
        let long = topic(&inventory, &too_long).expect("it is selected");
        assert_eq!((reason(long), long.partitions), ("TOPIC_CREATION_FAILED", 0));

        tools.create_topic(source, "late", 3, &[])?;
        let late = |i: &internal::Inventory| {
            topic(i, "late").is_some_and(|t| t.partitions == 3 && t.blocked.is_none())
        };
        world.session.inventory(FLOWING, "a new topic", late).await?;
        tools.add_partitions(source, "late", 5)?;
        let grown = |i: &internal::Inventory| topic(i, "late").is_some_and(|t| t.partitions == 5);
        world.session.inventory(FLOWING, "new partitions", grown).await?;
        assert_eq!(tools.partitions(target, "a.late")?, 5);

        tools.delete_topic(source, "late")?;
        let deleted =
            |i: &internal::Inventory| topic(i, "late").is_some_and(|t| reason(t) == "SOURCE_TOPIC_DELETED");
        let inventory = world.session.inventory(FLOWING, "a deleted topic", deleted).await?;
        assert_eq!(topic(&inventory, "late").unwrap().partitions, 0);
        assert_eq!(tools.partitions(target, "a.late")?, 5, "nothing is deleted on the target");
        Ok(())
    })
}

#[test]
fn a_target_that_does_not_fit_is_a_named_state_of_that_topic() -> Result<()> {
    story("misfit", |mut world| async move {
        let (tools, source, target) = (&world.tools.clone(), &*world.source.clone(), &*world.target.clone());
        tools.create_topic(source, "narrow", 4, &[])?;
        tools.create_topic(target, "a.narrow", 2, &[])?;
        tools.create_topic(source, "wide", 2, &[])?;
        tools.create_topic(target, "a.wide", 3, &[])?;
        tools.create_topic(source, "missing", 1, &[])?;
        let mut wanted = mirror();
        wanted.topic_creation = Some(v1::TopicCreation { enabled: Some(false), ..Default::default() });
        world.session.assign(world.set(1, wanted.clone(), &["survey"])).await?;
        let inventory =
            world.session.inventory(SOON, "the topics", |i| topic(i, "missing").is_some()).await?;
        let seen = |name: &str| {
            let topic = topic(&inventory, name).expect("it is selected");
            (reason(topic).to_owned(), topic.partitions)
        };
        assert_eq!(seen("narrow"), ("TARGET_HAS_FEWER_PARTITIONS".into(), 2));
        assert_eq!(seen("missing"), ("TARGET_TOPIC_MISSING".into(), 0));
        assert_eq!(seen("wide"), (String::new(), 2));
        assert!(
            inventory
                .warnings
                .iter()
                .any(|w| w.reason == "PARTITION_MISMATCH" && w.message.contains("a.wide"))
        );

        // Allowed to, it mends what it can, in the task that runs.
        wanted.topic_creation = None;
        world.session.assign(world.set(2, wanted, &["survey"])).await?;
        let mended = |i: &internal::Inventory| {
            ["narrow", "missing"].iter().all(|t| topic(i, t).is_some_and(|t| t.blocked.is_none()))
        };
        world.session.inventory(SOON, "both mended", mended).await?;
        assert_eq!(tools.partitions(target, "a.narrow")?, 4);
        Ok(())
    })
}

/// Control plane 13: what lanes claim is compared with it.
#[test]
fn a_survey_says_where_the_targets_logs_end() -> Result<()> {
    story("target-ends", |mut world| async move {
        let tools = world.tools.clone();
        tools.create_topic(&world.source, "orders", 1, &[])?;
        world.session.assign(world.set(1, mirror(), &["survey"])).await?;
        for (written, end) in [(0, 0), (7, 7), (12, 19)] {
            if written > 0 {
                let load = LoadOptions { records: Some(written), ..LoadOptions::new(1) };
                tools.load(&world.target, "a.orders", &load)?;
            }
            let found = |message: Out| match message {
                Out::SourceEnds(report) => {
                    let topic = report.topics.into_iter().find(|t| t.target_topic == "a.orders")?;
                    (topic.target_ends == [end]).then_some(report.target_looks)
                }
                _ => None,
            };
            let looks = world.session.wait(SOON, "the target's ends", found).await?;
            assert!(looks > 0);
            if written > 0 {
                tools.stop_load("a.orders")?;
            }
        }
        Ok(())
    })
}

#[test]
fn heartbeats_arrive_on_both_sides_as_mm2_writes_them() -> Result<()> {
    story("heartbeats", |world| async move {
        world.session.assign(world.set(1, mirror(), &["heartbeat"])).await?;
        for kafka in [&world.source, &world.target] {
            let records = wait_until(SOON, "three heartbeats", || {
                let dump = world.tools.dump(kafka, "heartbeats", Isolation::Committed)?;
                let records = dump.partitions.get(&0).map(|p| p.records.clone()).unwrap_or_default();
                Ok((records.len() >= 3).then_some(records))
            })?;
            for record in &records {
                assert_eq!(record.key, "000161000162", "(a, b)");
                assert_eq!(record.value, format!("0000{:016x}", record.timestamp), "version 0 and the time");
            }
            let gaps: Vec<_> = records.windows(2).map(|w| w[1].timestamp - w[0].timestamp).collect();
            assert!(
                gaps.iter().all(|ms| *ms >= 500) && gaps.iter().any(|ms| *ms <= 1500),
                "one a second: {gaps:?}"
            );
        }
        Ok(())
    })
}

#[test]
fn questions_get_true_answers() -> Result<()> {
    story("questions", |mut world| async move {
        let (tools, source, target) = (&world.tools.clone(), &*world.source.clone(), &*world.target.clone());
        tools.create_topic(source, "orders", 3, &[("cleanup.policy", "compact")])?;
        tools.create_topic(source, "b.copied", 1, &[])?;
        tools.create_topic(source, "narrow", 4, &[])?;
        tools.create_topic(target, "a.narrow", 2, &[])?;
        let offset = Committed { topic: "orders".into(), partition: 0, offset: 0, metadata: String::new() };
        tools.commit(source, "a, größe", &[offset])?;

        let Answer::TestCluster(test) =
            world.ask(&["a"], None, Question::TestCluster(internal::TestClusterQuestion {})).await?
        else {
            panic!("another answer")
        };
        assert!(test.reachable && test.cause.is_none(), "{test:?}");
        assert_eq!((test.brokers, test.security_protocol.as_str()), (1, "PLAINTEXT"));
        assert!(!test.kafka_cluster_id.is_empty() && !test.worker.is_empty());
        assert!(
            test.checks.iter().all(|check| check.allowed),
            "no authorizer, no refusal: {:?}",
            test.checks
        );

        let patterns = vec!["or.*".to_owned()];
        let question = Question::ListTopics(internal::ListTopicsQuestion { patterns });
        let Answer::ListTopics(topics) = world.ask(&["a"], None, question).await? else {
            panic!("another answer")
        };
        let [orders] = topics.topics.as_slice() else { panic!("{topics:?}") };
        assert_eq!((orders.topic.as_str(), orders.partitions, orders.replication_factor), ("orders", 3, 1));

        let question = Question::ListGroups(internal::ListGroupsQuestion { patterns: vec![] });
        let Answer::ListGroups(groups) = world.ask(&["a"], None, question).await? else {
            panic!("another answer")
        };
        let [group] = groups.groups.as_slice() else { panic!("{groups:?}") };
        assert_eq!((group.group.as_str(), group.state.as_str()), ("a, größe", "Empty"));

        let question = Question::Plan(internal::PlanQuestion::default());
        let Answer::Plan(plan) = world.ask(&["a", "b"], Some(mirror()), question).await? else {
            panic!("another answer")
        };
        let planned =
            |name: &str| plan.topics.iter().find(|t| t.source_topic == name).expect("every topic is planned");
        assert_eq!(planned("orders").action(), Action::Create);
        assert_eq!(planned("orders").configs["cleanup.policy"], "compact");
        assert_eq!(planned("narrow").action(), Action::AddPartitions);
        assert_eq!((planned("narrow").source_partitions, planned("narrow").target_partitions), (4, 2));
        assert_eq!(planned("b.copied").action(), Action::Skip);
        assert!(planned("b.copied").reason.contains("circle"), "{}", planned("b.copied").reason);
        assert_eq!((plan.matched_topics, plan.matched_partitions), (2, 7));
        assert_eq!(tools.topics(target)?, ["a.narrow"], "a plan changes nothing");
        assert_eq!(tools.partitions(target, "a.narrow")?, 2);

        let mut circle = mirror();
        circle.target = "clusters/c".into();
        let mut clusters = world.clusters();
        clusters[1] = v1::Cluster { name: "clusters/c".into(), ..clusters[0].clone() };
        let query = internal::Query {
            id: "same".into(),
            deadline_ms: 5000,
            clusters,
            mirror: Some(circle),
            question: Some(Question::Plan(internal::PlanQuestion::default())),
            ..Default::default()
        };
        let Answer::Plan(plan) = world.session.ask(query, SOON).await? else { panic!("another answer") };
        assert!(plan.warnings.iter().any(|w| w.reason == "SAME_CLUSTER"), "{:?}", plan.warnings);
        Ok(())
    })
}

/// What the worker says of a group.
async fn group_state(session: &mut FakeSession, group: &str, state: &str) -> Result<v1::GroupStatus> {
    let found = |report: &internal::Report| -> Option<v1::GroupStatus> {
        let mut groups = report.tasks.iter().flat_map(|task| &task.groups);
        groups.find(|g| g.group == group && g.state().short_name() == state).cloned()
    };
    let report = session.report(SOON, &format!("{group:?} to be {state}"), |r| found(r).is_some()).await?;
    Ok(found(&report).expect("it was waited for"))
}

#[test]
fn committed_offsets_are_translated_and_never_go_back_on_the_target() -> Result<()> {
    story("checkpoints", |mut world| async move {
        let (tools, source, target) = (&world.tools.clone(), &*world.source.clone(), &*world.target.clone());
        tools.create_topic(source, "orders", 2, &[])?;
        let load = LoadOptions { rate: 20_000.0, records: Some(2_000), ..LoadOptions::new(2) };
        tools.load(source, "orders", &load)?;
        let mut set = world.set(
            1,
            v1::Mirror { guarantee: v1::Guarantee::AtLeastOnce.into(), ..mirror() },
            &["survey", "checkpoint"],
        );
        world.session.assign(set.clone()).await?;
        world.session.inventory(SOON, "the topic", |i| topic(i, "orders").is_some()).await?;
        (set.generation, set.tasks) = (2, [set.tasks, vec![replicate("orders", 2)]].concat());
        world.session.assign(set.clone()).await?;
        let copied = |report: &internal::Report| {
            let all = || report.tasks.iter().flat_map(|task| &task.partitions);
            all().count() == 2 && all().map(|p| p.records).sum::<i64>() == 2_000
        };
        world.session.report(Duration::from_secs(60), "all records", copied).await?;

        // Any id goes through, and the metadata with it. Nothing else was written to the target, so offsets are equal there.
        let group = "a, größe";
        let at = |topic: &str, partition, offset| Committed {
            topic: topic.into(),
            partition,
            offset,
            metadata: format!("note {partition}"),
        };
        tools.commit(source, group, &[at("orders", 0, 123), at("orders", 1, 456)])?;
        let status = group_state(&mut world.session, group, "SYNCED").await?;
        assert_eq!((status.partitions, status.partitions_waiting), (2, 0));
        assert_eq!(
            sorted(tools.group_offsets(target, group)?),
            [at("a.orders", 0, 123), at("a.orders", 1, 456)]
        );
        let view = tools.mirror_client(target, "a", group)?;
        assert_eq!(
            sorted(view.offsets),
            [at("a.orders", 0, 123), at("a.orders", 1, 456)],
            "as MM2's own client sees them"
        );

        // Ahead on the target: left alone, in that partition only.
        tools.commit(target, group, &[at("a.orders", 0, 200)])?;
        tools.commit(source, group, &[at("orders", 0, 150), at("orders", 1, 500)])?;
        let there = || -> Result<Vec<Committed>> { Ok(sorted(tools.group_offsets(target, group)?)) };
        let expected = [at("a.orders", 0, 200), at("a.orders", 1, 500)];
        wait_until(SOON, "the other partition", || Ok((there()? == expected).then_some(())))?;
        group_state(&mut world.session, group, "AHEAD_ON_TARGET").await?;
        assert_eq!(there()?, expected);

        // Used on the target: nothing is committed over its head.
        let consumer = member(target, group)?;
        group_state(&mut world.session, group, "ACTIVE_ON_TARGET").await?;
        tools.commit(source, group, &[at("orders", 0, 300), at("orders", 1, 600)])?;
        let written = |offset: i64| view_has(tools, target, group, offset);
        wait_until(SOON, "the checkpoint", || written(300))?;
        assert_eq!(
            sorted(tools.group_offsets(target, group)?),
            [at("a.orders", 0, 200), at("a.orders", 1, 500)]
        );
        drop(consumer);
        group_state(&mut world.session, group, "SYNCED").await?;
        assert_eq!(
            sorted(tools.group_offsets(target, group)?),
            [at("a.orders", 0, 300), at("a.orders", 1, 600)]
        );

        // A task that starts again knows what it wrote.
        let written = || -> Result<usize> {
            Ok(tools.dump(target, "a.checkpoints.internal", Isolation::Committed)?.records())
        };
        let before = written()?;
        set.generation = 3;
        set.tasks.iter_mut().filter(|t| t.name.starts_with("checkpoint")).for_each(|t| t.epoch = 3);
        world.session.assign(set).await?;
        let again = |r: &internal::Report| r.tasks.iter().any(|t| t.epoch == 3 && t.groups.len() == 1);
        world.session.report(SOON, "the new task", again).await?;
        assert_eq!(written()?, before);
        Ok(())
    })
}

fn sorted(mut offsets: Vec<Committed>) -> Vec<Committed> {
    offsets.sort();
    offsets
}

fn view_has(tools: &Tools, kafka: &Kafka, group: &str, offset: i64) -> Result<Option<()>> {
    let view = tools.mirror_client(kafka, "a", group)?;
    Ok(view.offsets.iter().any(|o| o.offset == offset).then_some(()))
}

/// A consumer that is in the group until it is dropped.
fn member(kafka: &Kafka, group: &str) -> Result<BaseConsumer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka.bootstrap())
        .set("group.id", group)
        .set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create()?;
    consumer.subscribe(&["a.orders"])?;
    wait_until(SOON, "the consumer to have joined", || {
        let _ = consumer.poll(Duration::from_millis(100));
        Ok((consumer.assignment()?.count() > 0).then_some(()))
    })?;
    Ok(consumer)
}
