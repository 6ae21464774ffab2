use twinlog_proto::v1;
use twinlog_proto::v1::naming::Kind;

use super::*;
use crate::survey::tests::{naming, wire};

fn mirror(change: impl FnOnce(&mut v1::Mirror)) -> Mirror {
    let mut wire = wire("a", "b");
    change(&mut wire);
    Mirror::parse(&wire).unwrap()
}

fn topics(names: &[&str]) -> Vec<SourceTopic> {
    names.iter().map(|name| SourceTopic { name: (*name).to_owned(), id: None, partitions: 1 }).collect()
}

fn beating(names: &[&str]) -> HashSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn one(mirror: &Mirror, topic: &str) -> Selection {
    select(mirror, &topics(&[topic]), &beating(&[topic])).remove(0)
}

fn copy(target: &str) -> Selection {
    Selection::Copy(target.to_owned())
}

#[test]
fn selection_agrees_with_the_mirror_and_says_which_rule_skips() {
    let mirror = mirror(|m| {
        m.topics = vec!["orders.*".into(), "b.*".into()];
        m.topics_exclude = vec!["orders-tmp".into()];
    });
    assert_eq!(one(&mirror, "orders"), copy("a.orders"));
    assert_eq!(one(&mirror, "heartbeats"), copy("a.heartbeats"), "always, though no pattern names it");
    let rules = [
        ("other", "not matched"),
        ("orders-tmp", "topics_exclude"),
        ("__consumer_offsets", "internal"),
        ("__twinlog.m.progress", "internal"),
        ("__twinlog.m.offsets", "internal"),
        ("twinlog.m.progress", "internal"),
        ("twinlog.m.offsets", "internal"),
        ("b.orders", "circle"),
    ];
    for (topic, rule) in rules {
        let Selection::Skip(why) = one(&mirror, topic) else { panic!("{topic} is selected") };
        assert!(why.contains(rule), "{topic}: {why}");
    }
    for topic in
        ["orders", "heartbeats", "other", "orders-tmp", "__consumer_offsets", "b.orders", "c.heartbeats"]
    {
        let copied = matches!(one(&mirror, topic), Selection::Copy(_));
        assert_eq!(copied, mirror.selects(topic), "{topic}");
    }
}

/// S1: heartbeats are copied whatever the filter says, unless they are switched off; then the filter decides.
#[test]
fn s1_heartbeats_are_copied_by_default() {
    let with = |topics: &[&str], separator: &str, replicate: bool| {
        mirror(|m| {
            m.topics = topics.iter().map(|t| (*t).to_owned()).collect();
            m.naming = Some(v1::Naming { separator: separator.into(), ..Default::default() });
            m.heartbeats = Some(v1::Heartbeats { replicate: Some(replicate), ..Default::default() });
        })
    };
    let copies = |mirror: &Mirror, topic: &str| {
        let copied = matches!(one(mirror, topic), Selection::Copy(_));
        assert_eq!(copied, mirror.selects(topic), "{topic}");
        copied
    };
    for topic in ["heartbeats", "us-west.heartbeats"] {
        assert!(copies(&with(&[], ".", true), topic), "{topic}: a filter that matches nothing");
        assert!(!copies(&with(&[], ".", false), topic), "{topic}");
        assert!(copies(&with(&[".*"], ".", false), topic), "{topic}: the filter accepts it");
    }
    assert!(!copies(&with(&[], "_", true), "us-west.heartbeats"), "an ordinary topic with this separator");
}

/// S2: what would go round is not selected, and the plan says why.
#[test]
fn s2_copies_of_the_targets_topics_are_skipped() {
    let mirror = mirror(|_| {});
    for topic in ["b.topic1", "b.a.topic1", "a.b.topic1"] {
        assert!(matches!(one(&mirror, topic), Selection::Skip(rule) if rule.contains("circle")), "{topic}");
    }
    for topic in ["topic1", "a.topic1", ".b"] {
        let internal = topic.starts_with('.');
        assert_eq!(matches!(one(&mirror, topic), Selection::Copy(_)), !internal, "{topic}");
    }
}

#[test]
fn two_topics_under_one_name_are_both_blocked() {
    let mirror = mirror(|m| m.naming = naming(Kind::Map, &[("x", "a.heartbeats"), ("z", "u")]));
    let all = select(&mirror, &topics(&["x", "heartbeats", "z", "w"]), &HashSet::new());
    for blocked in &all[..2] {
        let Selection::Blocked { reason, message, .. } = blocked else { panic!("{blocked:?}") };
        assert_eq!(*reason, Reason::NAME_COLLISION);
        assert!(message.contains("x, heartbeats") && message.contains(" a.heartbeats:"), "{message}");
    }
    assert_eq!(all[2], copy("u"));
    assert!(matches!(&all[3], Selection::Skip(rule) if rule.contains("naming.map")));
}

#[test]
fn nothing_is_copied_over_an_internal_topic() {
    let mirror = mirror(|m| m.naming = naming(Kind::Map, &[("x", "__consumer_offsets")]));
    assert!(matches!(one(&mirror, "x"), Selection::Blocked { reason: Reason::NAME_COLLISION, .. }));
}

#[test]
fn a_name_that_grows_too_long_is_named() {
    let all = mirror(|_| {});
    assert!(matches!(one(&all, &"x".repeat(247)), Selection::Copy(_)));
    assert!(matches!(
        one(&all, &"x".repeat(248)),
        Selection::Blocked { reason: Reason::TOPIC_CREATION_FAILED, message, .. } if message.contains("249")
    ));
}

#[test]
fn a_reverse_flow_is_seen_where_names_are_kept() {
    let warning = |mirror: &Mirror, names: &[&str]| {
        let (topics, beats) = (topics(names), beating(&names[1..]));
        loop_warning(mirror, &topics, &select(mirror, &topics, &beats), &beats)
    };
    let identity = mirror(|m| m.naming = naming(Kind::Identity, &[]));
    assert!(warning(&identity, &["orders", "b.heartbeats"]).is_some());
    assert!(warning(&identity, &["orders"]).is_none());
    assert!(warning(&identity, &["b.heartbeats", "orders"]).is_none(), "the flow back has ended");
    assert!(warning(&mirror(|_| {}), &["orders", "b.heartbeats"]).is_none());
}

/// Two stores whose mirrors keep names in both directions, and whoever did as each was advised.
#[test]
fn a_flow_back_stops_topics_whose_copies_others_may_write() {
    let names = ["orders", "b.heartbeats"];
    let first = |loops: bool, foreign: bool| {
        let mirror = mirror(|m| {
            m.naming = naming(Kind::Identity, &[]);
            (m.allow_loops, m.allow_foreign_writes) = (loops, foreign);
        });
        select(&mirror, &topics(&names), &beating(&names[1..])).remove(0)
    };
    let blocked = first(false, true);
    let Selection::Blocked { reason, message, .. } = &blocked else { panic!("{blocked:?}") };
    assert!(*reason == Reason::LOOP && message.contains("--allow-loops"), "{message}");
    assert_eq!(first(false, false), copy("orders"));
    assert_eq!(first(true, true), copy("orders"));
}

/// A name alone copies nothing: an upstream cluster must beat, or the topic be named in `topics`.
#[test]
fn heartbeats_topics_that_do_not_beat_are_not_copied_unless_they_are_named() {
    let names = ["heartbeats", "x.heartbeats", "iot.heartbeats"];
    let selected = |mirror: &Mirror| select(mirror, &topics(&names), &beating(&["x.heartbeats"]));
    let by_name = mirror(|m| m.topics = vec!["orders".into()]);
    let all = selected(&by_name);
    assert_eq!(all[..2], [copy("a.heartbeats"), copy("a.x.heartbeats")]);
    assert!(matches!(&all[2], Selection::Skip(why) if why.contains("name it in topics")), "{all:?}");
    assert!(note(&by_name, "x.heartbeats").contains("x, upstream of a"));
    let named = mirror(|m| m.topics = vec!["iot.*".into()]);
    assert_eq!(selected(&named)[2], copy("a.iot.heartbeats"));
    assert_eq!(note(&named, "iot.heartbeats"), "");

    // Of several mirrors between the same clusters one copies them.
    let other = mirror(|m| m.heartbeats_carried_by = "mirrors/first".into());
    let all = selected(&other);
    for selection in &all[..2] {
        assert!(matches!(selection, Selection::Skip(why) if why.contains("mirrors/first")), "{selection:?}");
    }
    assert_eq!(all[2], copy("a.iot.heartbeats"), "an ordinary topic");
}

#[test]
fn a_pattern_that_matches_no_topic_is_named() {
    let warning = |patterns: &[&str], names: &[&str]| {
        let mirror = mirror(|m| m.topics = patterns.iter().map(|pattern| (*pattern).to_owned()).collect());
        unmatched_warning(&mirror, &topics(names))
    };
    let said = warning(&["orders.*", "orders.*  # mine"], &["orders-1", "__consumer_offsets"]).unwrap();
    assert!(said.contains("\"orders.*  # mine\"") && !said.contains("\"orders.*\""), "{said}");
    assert_eq!(warning(&["orders.*", ".*"], &["orders-1"]), None);
    assert_eq!(warning(&["orders.*"], &[]), None, "nothing is known of an empty cluster");
}
