//! Files, and the clusters and mirrors they make.

mod secrets;

use twinlog_proto::model;
use twinlog_proto::properties::Line;
use twinlog_proto::v1::{config_sync, naming, offset_syncs, start_position};

use super::*;

fn plan_with(text: &str, options: &Options) -> Plan {
    of_dedicated(
        &Dedicated::new(
            twinlog_proto::properties::lines(text).unwrap(),
            std::path::Path::new("/etc/twinlog/secrets"),
        ),
        options,
    )
}

fn plan(text: &str) -> Plan {
    plan_with(text, &Options { secrets_files: vec!["/etc/mm2.properties".into()], ..Options::default() })
}

fn of(raw: &Props) -> Dedicated {
    let lines = raw.iter().map(|(key, value)| Line { number: 1, key: key.clone(), value: value.clone() });
    Dedicated::new(lines.collect(), std::path::Path::new("/s"))
}

fn invalid(plan: &Plan) -> Vec<String> {
    plan.entries(Effect::Invalid).map(ToString::to_string).collect()
}

fn named<'a>(plan: &'a Plan, id: &str) -> &'a v1::Mirror {
    let name = format!("mirrors/{id}");
    plan.mirrors
        .iter()
        .find(|mirror| mirror.name == name)
        .unwrap_or_else(|| panic!("{name} is not in {:?}", plan.mirrors))
}

const TWO_FLOWS: &str = "clusters = A, B\nA.bootstrap.servers = a1:9092, a2:9092\nB.bootstrap.servers = b:9092\nA->B.enabled = true\nB->A.enabled = true\n\
    A->B.topics = orders\\\\..*, payments\nB->A.sync.group.offsets.enabled = true\nB->A.groups = app-.*\nreplication.factor = 3\nA->B.replication.factor = 1\n\
    A->B.tasks.max = 8\n";

#[test]
fn two_flows_are_two_mirrors_with_mm2s_defaults() {
    let plan = plan(TWO_FLOWS);
    assert_eq!(invalid(&plan), Vec::<String>::new());
    assert_eq!(
        plan.clusters.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
        ["clusters/A", "clusters/B"]
    );
    assert_eq!(plan.clusters[0].bootstrap_servers, ["a1:9092", "a2:9092"]);
    assert!(plan.clusters[0].properties.is_empty(), "{:?}", plan.clusters[0].properties);
    let (there, back) = (named(&plan, "a-b"), named(&plan, "b-a"));
    assert_eq!((there.source.as_str(), there.target.as_str()), ("clusters/A", "clusters/B"));
    assert_eq!(there.topics, [r"orders\..*", "payments"]);
    assert_eq!(back.topics, [".*"]);
    assert!(there.topics_exclude.is_empty(), "the defaults");
    assert_eq!(
        (there.groups.as_slice(), back.groups.as_slice()),
        (&[".*".to_owned()][..], &["app-.*".to_owned()][..])
    );
    assert_eq!((there.sync_group_offsets, back.sync_group_offsets), (false, true));
    let factor = |mirror: &v1::Mirror| mirror.topic_creation.as_ref().unwrap().replication_factor;
    assert_eq!((factor(there), factor(back)), (1, 3));
    for mirror in [there, back] {
        assert_eq!(mirror.guarantee(), v1::Guarantee::ExactlyOnce);
        assert_eq!(mirror.naming.as_ref().unwrap().kind(), naming::Kind::Prefix);
        assert_eq!(mirror.acl_sync.unwrap().enabled, Some(true));
        assert_eq!(mirror.config_sync.unwrap().enabled, Some(true));
        let syncs = mirror.offset_syncs.unwrap();
        assert_eq!(
            (syncs.location(), syncs.replication_factor, syncs.lag_max),
            (offset_syncs::Location::Source, 3, None)
        );
        let heartbeats = mirror.heartbeats.unwrap();
        assert_eq!(
            (heartbeats.enabled, heartbeats.on_source, heartbeats.replicate),
            (Some(true), Some(false), Some(true))
        );
        assert_eq!(heartbeats.replication_factor, 3);
        assert_eq!(mirror.checkpoints.unwrap().replication_factor, 3);
        assert_eq!(mirror.refresh, None, "our own intervals");
        assert!(mirror.source_properties.is_empty() && mirror.target_properties.is_empty());
        model::Mirror::parse(mirror).unwrap();
    }
    assert_eq!(plan.entries(Effect::Ignored).map(|e| e.key.as_str()).collect::<Vec<_>>(), ["A->B.tasks.max"]);
}

#[test]
fn a_flow_that_is_off_only_beats() {
    let text = "clusters=A,B\nA.bootstrap.servers=a:1\nB.bootstrap.servers=b:1\nA->B.enabled=true\nemit.heartbeats.interval.seconds=5\n";
    let both = plan(text);
    assert_eq!(both.mirrors.len(), 2);
    let back = named(&both, "b-a");
    assert!(back.topics.is_empty() && back.groups.is_empty());
    let heartbeats = back.heartbeats.unwrap();
    assert_eq!(
        (heartbeats.enabled, heartbeats.replicate, heartbeats.interval.unwrap().seconds),
        (Some(true), Some(false), 5)
    );
    assert_eq!(back.checkpoints.unwrap().enabled, Some(false));
    assert_eq!(
        (back.config_sync.unwrap().enabled, back.acl_sync.unwrap().enabled),
        (Some(false), Some(false))
    );
    assert_eq!(back.offset_syncs.unwrap().location(), offset_syncs::Location::Disabled);
    model::Mirror::parse(back).unwrap();

    let one = plan(&format!("{text}B->A.emit.heartbeats.enabled=false\n"));
    assert_eq!(one.mirrors.len(), 1);
    let targets = Options { targets: vec!["A".into()], ..Options::default() };
    assert_eq!(
        plan_with(text, &targets).mirrors.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(),
        ["mirrors/b-a"]
    );
    let wrong = plan_with(text, &Options { targets: vec!["C".into()], ..Options::default() });
    assert!(invalid(&wrong).iter().any(|what| what.contains("C is none of")), "{:?}", invalid(&wrong));
    assert!(invalid(&wrong).iter().any(|what| what.contains("no flow is left")), "{:?}", invalid(&wrong));
}

#[test]
fn what_the_file_says_is_what_the_mirror_does() {
    let plan = plan(
        "clusters=A,B\nA.bootstrap.servers=a:1\nB.bootstrap.servers=b:1\nA->B.enabled=true\nB->A.emit.heartbeats.enabled=false\n\
         topics.exclude=\nA->B.groups.exclude=x,y\nconfig.properties.exclude=retention\\\\..*\nreplication.policy.class=org.apache.kafka.connect.mirror.IdentityReplicationPolicy\n\
         A->B.use.defaults.from=source\nsync.topic.acls.enabled=false\nsync.topic.configs.interval.seconds=1\noffset.lag.max=0\noffset-syncs.topic.location=target\n\
         offset-syncs.topic.replication.factor=1\ncheckpoints.topic.replication.factor=1\nheartbeats.topic.replication.factor=-1\nheartbeats.replication.enabled=false\n\
         refresh.topics.interval.seconds=7\nrefresh.groups.interval.seconds=600\nemit.checkpoints.interval.seconds=60\nB.exactly.once.source.support=disabled\n\
         A.consumer.auto.offset.reset=latest\nB.producer.compression.type=zstd\nA->B.emit.heartbeats.enabled=false\n",
    );
    assert_eq!(invalid(&plan), Vec::<String>::new());
    let mirror = named(&plan, "a-b");
    let parsed = model::Mirror::parse(mirror).unwrap();
    assert_eq!(mirror.naming.as_ref().unwrap().kind(), naming::Kind::Identity);
    assert!(parsed.topics.matches("topic.replica") && parsed.topics.matches("__x"), "nothing is excluded");
    assert!(parsed.groups.matches("console-consumer-1") && !parsed.groups.matches("y"));
    assert_eq!(mirror.topic_creation.as_ref().unwrap().config_exclude, [r"retention\..*"]);
    assert_eq!(mirror.topic_creation.as_ref().unwrap().replication_factor, 2);
    let configs = mirror.config_sync.unwrap();
    assert_eq!(
        (configs.interval.unwrap().seconds, configs.defaults_from()),
        (1, config_sync::Defaults::Source)
    );
    assert_eq!(mirror.acl_sync.unwrap().enabled, Some(false));
    let syncs = mirror.offset_syncs.unwrap();
    assert_eq!(
        (syncs.location(), syncs.replication_factor, syncs.lag_max),
        (offset_syncs::Location::Target, 1, Some(0))
    );
    let refresh = mirror.refresh.unwrap();
    assert_eq!((refresh.topics.unwrap().seconds, refresh.groups.unwrap().seconds), (7, 60));
    assert_eq!(mirror.guarantee(), v1::Guarantee::AtLeastOnce);
    assert_eq!(mirror.start.as_ref().unwrap().position, Some(start_position::Position::Latest(true)));
    assert_eq!(mirror.compression(), v1::Compression::Zstd);
    let heartbeats = mirror.heartbeats.unwrap();
    assert_eq!((heartbeats.enabled, heartbeats.replicate), (Some(false), Some(false)));
    assert!(
        plan.clusters.iter().all(|cluster| cluster.properties.is_empty()),
        "all of it is the mirror's: {:?}",
        plan.clusters
    );
}

#[test]
fn client_settings_belong_to_clusters_and_what_is_the_flows_to_the_mirror() {
    let plan = plan(
        "clusters=A,B\nA.bootstrap.servers=a:1\nB.bootstrap.servers=b:1\nA->B.enabled=true\nA.consumer.fetch.min.bytes=1\nA.consumer.max.poll.records=5\n\
         A->B.consumer.fetch.min.bytes=2\nA->B.consumer.client.rack=r\nA->B.source.consumer.fetch.max.bytes=3\nB.producer.linger.ms=1\nB.producer.acks=1\n\
         A->B.producer.override.linger.ms=2\nA->B.producer.send.buffer.bytes=9\nB.consumer.receive.buffer.bytes=-1\nB.admin.request.timeout.ms=4000\n\
         security.protocol=SSL\nssl.truststore.location=/ca.pem\nB.security.protocol=PLAINTEXT\n",
    );
    assert_eq!(invalid(&plan), Vec::<String>::new());
    let (a, b) = (&plan.clusters[0].properties, &plan.clusters[1].properties);
    let expect =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    assert_eq!(
        *a,
        expect(&[
            ("security.protocol", "SSL"),
            ("ssl.truststore.location", "/ca.pem"),
            ("consumer.fetch.min.bytes", "1")
        ])
    );
    assert_eq!(
        *b,
        expect(&[
            ("security.protocol", "PLAINTEXT"),
            ("ssl.truststore.location", "/ca.pem"),
            ("producer.linger.ms", "1"),
            ("request.timeout.ms", "4000")
        ])
    );
    let mirror = named(&plan, "a-b");
    assert_eq!(
        mirror.source_properties,
        expect(&[("consumer.client.rack", "r"), ("consumer.fetch.max.bytes", "3")])
    );
    assert_eq!(mirror.target_properties, expect(&[("producer.linger.ms", "2")]));
    let back = named(&plan, "b-a");
    assert!(back.source_properties.is_empty() && back.target_properties.is_empty());
}

/// D2: without offset syncs there are no checkpoints either, as MM2 refuses to create their connector.
#[test]
fn d2_without_offset_syncs_there_are_no_checkpoints() {
    let plan = plan(
        "clusters=A,B\nA.bootstrap.servers= a:1 \nB.bootstrap.servers=b:1\nA->B.enabled=true\nB->A.emit.heartbeats.enabled=false\n\
         emit.offset-syncs.enabled=false\nA.consumer.client.rack=r \n",
    );
    assert_eq!(invalid(&plan), Vec::<String>::new());
    let mirror = named(&plan, "a-b");
    assert_eq!(mirror.offset_syncs.unwrap().location(), offset_syncs::Location::Disabled);
    assert_eq!((mirror.checkpoints.unwrap().enabled, mirror.groups.len()), (Some(false), 0));
    assert_eq!(mirror.topics, [".*"]);
    assert!(plan.notes.join("").contains("emit.offset-syncs.enabled is false"), "{:?}", plan.notes);
    assert_eq!(plan.clusters[0].properties["consumer.client.rack"], "r", "blanks around a value don't count");
}

#[test]
fn a_role_that_connects_otherwise_stays_apart() {
    let plan = plan(
        "clusters=A,B\nA.bootstrap.servers=a:1\nB.bootstrap.servers=b:1\nA->B.enabled=true\nB->A.enabled=true\nsecurity.protocol=SSL\n\
         A.security.protocol=PLAINTEXT\nA.producer.security.protocol=SSL\nA.producer.bootstrap.servers=a:2\n",
    );
    assert_eq!(invalid(&plan), Vec::<String>::new());
    let expect =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let of_a = expect(&[
        ("security.protocol", "PLAINTEXT"),
        ("producer.security.protocol", "SSL"),
        ("producer.bootstrap.servers", "a:2"),
    ]);
    assert_eq!(
        (plan.clusters[0].bootstrap_servers.as_slice(), &plan.clusters[0].properties),
        (&["a:1".to_owned()][..], &of_a)
    );
    assert_eq!(plan.clusters[1].properties, expect(&[("security.protocol", "SSL")]));
    for mirror in &plan.mirrors {
        assert!(mirror.source_properties.is_empty() && mirror.target_properties.is_empty(), "{mirror:?}");
    }
}

#[test]
fn values_that_cant_be_used_are_all_named() {
    let plan = plan(
        "clusters=A,B\nA.bootstrap.servers=a:1\nA->B.enabled=true\nB->A.emit.heartbeats.enabled=false\nreplication.factor=two\noffset.lag.max=-\n\
         sync.topic.acls.enabled=maybe\nA->B.security.protocol=abc\noffset-syncs.topic.location=moon\nA.sasl.login.class=x\nA.ssl.key.password=${vault:x:y}\n",
    );
    let what = invalid(&plan).join("\n");
    for named in [
        "B.bootstrap.servers",
        "replication.factor",
        "offset.lag.max",
        "sync.topic.acls.enabled",
        "\"maybe\"",
        "security.protocol",
        "\"moon\"",
        "${vault:x:y}",
    ] {
        assert!(what.contains(named), "{named} is not in\n{what}");
    }
}

#[test]
fn out_of_range_intervals_become_what_is_possible_and_that_is_said() {
    let plan = plan(
        "clusters=A,B\nA.bootstrap.servers=a:1\nB.bootstrap.servers=b:1\nA->B.enabled=true\nB->A.emit.heartbeats.enabled=false\n\
         refresh.topics.interval.seconds=86400\nrefresh.groups.enabled=false\nemit.checkpoints.interval.seconds=5\n",
    );
    let mirror = named(&plan, "a-b");
    assert_eq!(mirror.refresh.unwrap().topics.unwrap().seconds, 3600);
    let notes = plan.notes.join("\n");
    assert!(notes.contains("A->B: refresh.topics.interval.seconds=86400 becomes 3600 s"), "{notes}");
    assert!(notes.contains("refresh.groups.enabled=false"), "{notes}");
    model::Mirror::parse(mirror).unwrap();
}

/// D3: a target alias that no topic can be named after works as long as none is.
#[test]
fn d3_an_alias_of_any_characters_can_be_a_target() {
    let alias = r#"B- ._~:/?#[]@!$&'()*+;="<>%{}|\^`618"#;
    let mut raw: Props = [
        ("clusters", format!("A,{alias}")),
        ("A.bootstrap.servers", "a:1".into()),
        ("emit.heartbeats.enabled", "false".into()),
    ]
    .map(|(k, v)| (k.to_owned(), v))
    .into();
    raw.insert(format!("{alias}.bootstrap.servers"), "b:1".into());
    raw.insert(format!("A->{alias}.enabled"), "true".into());
    let on_source = of_dedicated(&of(&raw), &Options::default());
    assert!(invalid(&on_source).join("").contains("can't stand in topic names"), "{:?}", on_source.report);
    raw.insert(format!("A->{alias}.offset-syncs.topic.location"), "target".into());
    let on_target = of_dedicated(&of(&raw), &Options::default());
    assert_eq!(invalid(&on_target), Vec::<String>::new());
    assert_eq!(on_target.mirrors.len(), 1);
    let mirror = &on_target.mirrors[0];
    assert_eq!(mirror.source, "clusters/A");
    assert!(mirror.target.starts_with("clusters/B-_"), "{}", mirror.target);
    assert_eq!(on_target.clusters[1].bootstrap_servers, ["b:1"]);
    model::Mirror::parse(mirror).unwrap();
    assert!(on_target.notes.join("").contains("no topic is named after it"));
}

#[test]
fn aliases_that_give_the_same_mirror_are_refused() {
    let plan =
        plan("clusters=a,A,b\na.bootstrap.servers=a:1\nA.bootstrap.servers=A:1\nb.bootstrap.servers=b:1\n");
    assert!(invalid(&plan).join("").contains("a->b"), "{:?}", invalid(&plan));
    let dots = self::plan(
        "clusters=us.east,b\nus.east.bootstrap.servers=a:1\nb.bootstrap.servers=b:1\nus.east->b.enabled=true\n",
    );
    assert_eq!(invalid(&dots), Vec::<String>::new());
    assert_eq!(named(&dots, "us_east-b").source, "clusters/us.east");
}

#[test]
fn a_take_over_looks_where_the_worker_kept_its_offsets() {
    let options = Options { take_over: true, ..Options::default() };
    let text = format!("{TWO_FLOWS}B.group.id=mine\n");
    let plan = plan_with(&text, &options);
    let take_over = named(&plan, "a-b").take_over.clone().unwrap();
    assert_eq!(take_over.connector, "MirrorSourceConnector");
    assert_eq!(
        (take_over.offsets_topic.as_str(), take_over.group.as_str()),
        ("mm2-offsets.A.internal", "mine")
    );
    assert_eq!(named(&plan, "b-a").take_over.clone().unwrap().group, "B-mm2");
}

/// What a job with a negative interval does in MM2: nothing.
#[test]
fn an_interval_below_zero_switches_its_job_off() {
    let text = "clusters=A,B\nA.bootstrap.servers=a:1\nB.bootstrap.servers=b:1\nA->B.enabled=true\nB->A.emit.heartbeats.enabled=false\n\
        sync.topic.configs.interval.seconds=-1\nsync.topic.acls.interval.seconds=-1\nsync.group.offsets.enabled=true\n\
        sync.group.offsets.interval.seconds=-1\nemit.heartbeats.interval.seconds=-1\nrefresh.topics.interval.seconds=-1\noffset.lag.max=-1\n";
    let off = plan(text);
    assert_eq!(invalid(&off), Vec::<String>::new());
    let mirror = named(&off, "a-b");
    assert_eq!(mirror.config_sync.unwrap().enabled, Some(false));
    assert_eq!(mirror.acl_sync.unwrap().enabled, Some(false));
    assert_eq!(mirror.heartbeats.unwrap().enabled, Some(false));
    assert!(!mirror.sync_group_offsets);
    assert_eq!(mirror.checkpoints.unwrap().enabled, Some(true));
    assert_eq!(mirror.refresh.unwrap().topics.unwrap().seconds, 3600);
    assert_eq!(mirror.offset_syncs.unwrap().lag_max, Some(0));

    let without = plan(&format!("{text}emit.checkpoints.interval.seconds=-1\n"));
    let mirror = named(&without, "a-b");
    assert_eq!((mirror.checkpoints.unwrap().enabled, mirror.groups.len()), (Some(false), 0));
    let notes = without.notes.join("\n");
    assert!(notes.contains("emit.checkpoints.interval.seconds is below 0"), "{notes}");
}

/// Groups that are rarely looked for are no reason for old checkpoints: MM2 emits them each minute.
#[test]
fn checkpoints_are_as_frequent_as_mm2s() {
    let seconds = |more: &str| {
        let text = format!(
            "clusters=A,B\nA.bootstrap.servers=a:1\nB.bootstrap.servers=b:1\nA->B.enabled=true\n{more}"
        );
        named(&plan(&text), "a-b").refresh.and_then(|refresh| refresh.groups).map(|every| every.seconds)
    };
    for (more, expected) in [
        ("", None),
        ("refresh.groups.enabled=false\n", None),
        ("refresh.groups.interval.seconds=600\n", Some(60)),
        ("refresh.groups.interval.seconds=7\n", Some(7)),
        ("emit.checkpoints.interval.seconds=300\n", Some(300)),
        ("emit.checkpoints.interval.seconds=300\nsync.group.offsets.enabled=true\n", Some(60)),
        ("sync.group.offsets.interval.seconds=5\n", None),
        ("sync.group.offsets.interval.seconds=5\nsync.group.offsets.enabled=true\n", Some(5)),
    ] {
        assert_eq!(seconds(more), expected, "{more}");
    }
}

#[test]
fn enabled_at_the_top_level_is_every_flows() {
    let text =
        "clusters=A,B\nA.bootstrap.servers=a:1\nB.bootstrap.servers=b:1\nenabled=true\nB->A.enabled=false\n";
    let plan = plan(text);
    assert_eq!(named(&plan, "a-b").topics, [".*"]);
    assert!(named(&plan, "b-a").topics.is_empty());
}

/// What the API would refuse is refused before anything is made, by the file's keys.
#[test]
fn values_that_no_mirror_takes_are_named_by_their_keys() {
    let text = "clusters=A,B\nA.bootstrap.servers=a\nB.bootstrap.servers=b:1\nA->B.enabled=true\nB->A.emit.heartbeats.enabled=false\n\
        topics=orders[\ngroups.exclude=a**\nreplication.policy.separator=#\nB.producer.compression.type=brotli\n";
    let found = invalid(&plan(text)).join("\n");
    for says in [
        "line 2: A.bootstrap.servers (invalid): \"a\" is not host:port",
        "line 6: topics (invalid): pattern \"orders[\"",
        "line 7: groups.exclude (invalid): ",
        "line 8: replication.policy.separator (invalid): \"#\"",
        "line 9: B.producer.compression.type (invalid): \"brotli\"",
    ] {
        assert!(found.contains(says), "{says} is not in {found}");
    }
}

/// The usual trick for names without a prefix: both aliases and the separator empty. MM2 keeps names, and its own topics have neither.
#[test]
fn empty_aliases_and_separator_are_as_in_mm2() {
    let base = "clusters=A,B\nA.bootstrap.servers=a:1\nB.bootstrap.servers=b:1\nA->B.enabled=true\nB->A.emit.heartbeats.enabled=false\n";
    let trick =
        format!("{base}source.cluster.alias=\ntarget.cluster.alias=\nreplication.policy.separator=\n");
    let made = plan(&trick);
    assert_eq!(invalid(&made), Vec::<String>::new());
    assert!(made.report.iter().all(|entry| entry.effect == Effect::Honoured), "{:?}", made.report);
    let policy = model::Mirror::parse(named(&made, "a-b")).unwrap().policy;
    assert_eq!(policy.remote_topic("orders").unwrap(), "orders");
    assert_eq!(policy.checkpoints_topic(), "checkpointsinternal");
    assert_eq!(policy.offset_syncs_topic(policy.target_alias()), "mm2-offset-syncsinternal");
    assert_eq!((policy.source_alias(), policy.target_alias()), ("", ""));

    let one = plan(&format!("{base}A->B.source.cluster.alias=eu\n"));
    let policy = model::Mirror::parse(named(&one, "a-b")).unwrap().policy;
    assert_eq!(policy.remote_topic("x").unwrap(), "eu.x");
    assert_eq!(policy.checkpoints_topic(), "eu.checkpoints.internal");
    assert_eq!(named(&one, "a-b").take_over, None);
    let by_accident = plan(&format!("{base}A.alias=eu\n"));
    assert_eq!(named(&by_accident, "a-b").naming.as_ref().unwrap().source_alias(), "eu");

    let identity = "replication.policy.class=org.apache.kafka.connect.mirror.IdentityReplicationPolicy\n";
    let names = plan(&format!("{base}{identity}replication.policy.separator=\n"));
    let policy = model::Mirror::parse(named(&names, "a-b")).unwrap().policy;
    assert_eq!(policy.offset_syncs_topic(policy.target_alias()), "mm2-offset-syncsBinternal");
    assert_eq!(policy.checkpoints_topic(), "Acheckpointsinternal");
    assert_eq!(policy.remote_topic("heartbeats").unwrap(), "Aheartbeats");

    // MM2 takes every topic for one that comes back then.
    let both = invalid(&plan(&format!("{trick}{identity}"))).join("\n");
    assert!(both.contains("line 7: target.cluster.alias") && both.contains("copies nothing"), "{both}");
    let letter = plan(&format!("{trick}A->B.target.cluster.alias=o\n"));
    assert!(
        letter.notes.iter().any(|note| note.contains("\"o\" before their last character")),
        "{:?}",
        letter.notes
    );
}

/// Equal passwords are not one password: each cluster refers to the key that it has its own from.
/// A wider copy than before is never silent.
#[test]
fn exclusions_that_kafka_4_removed_are_refused_until_the_file_says_which() {
    let base = "clusters=A,B\nA.bootstrap.servers=a:1\nB.bootstrap.servers=b:1\nA->B.enabled=true\nB->A.emit.heartbeats.enabled=false\n";
    for line in [
        "topics.blacklist=secret.*",
        "A->B.groups.blacklist=g",
        "config.properties.blacklist=x",
        "topics.whitelist=orders",
        "groups.whitelist=g",
    ] {
        let found = invalid(&plan(&format!("{base}{line}\n"))).join("\n");
        let key = line.split('=').next().unwrap();
        assert!(
            found.contains(&format!("line 6: {key} (invalid)")) && found.contains("or remove it"),
            "{line}: {found}"
        );
    }
    for line in [
        "topics.blacklist=x\ntopics.exclude=y",
        "topics.blacklist=x\nA->B.topics.exclude=y",
        "topics.whitelist=x\ntopics=y",
    ] {
        assert_eq!(invalid(&plan(&format!("{base}{line}\n"))), Vec::<String>::new(), "{line}");
    }
    let one_flow = format!("{base}B->A.enabled=true\nB->A.topics.exclude=y\ntopics.blacklist=x\n");
    assert_eq!(invalid(&plan(&one_flow)).len(), 1, "the other flow would copy more");
}
