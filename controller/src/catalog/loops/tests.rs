use twinlog_proto::policy::{Naming, Policy};
use twinlog_proto::v1;

use super::*;

const PREFIX: v1::naming::Kind = v1::naming::Kind::Prefix;
const IDENTITY: v1::naming::Kind = v1::naming::Kind::Identity;

/// `a>b`: a mirror from a to b of these topics.
fn mirror(flow: &str, kind: v1::naming::Kind, topics: &[&str]) -> Mirror {
    let (source, target) = flow.split_once('>').unwrap();
    let wire = v1::Mirror {
        name: format!("mirrors/{source}-{target}"),
        source: format!("clusters/{source}"),
        target: format!("clusters/{target}"),
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        naming: Some(v1::Naming { kind: kind.into(), ..Default::default() }),
        ..Default::default()
    };
    Mirror::parse(&wire).unwrap()
}

/// The way of the circle that the last mirror closes.
fn circle(mirrors: &[Mirror]) -> Option<String> {
    let (candidate, others) = mirrors.split_last().unwrap();
    find(candidate, &others.iter().collect::<Vec<_>>(), &State::default(), &Places::default())
        .map(|found| found.to_string())
}

#[test]
fn identity_both_ways_goes_round_for_ever() {
    let both = [mirror("a>b", IDENTITY, &[".*"]), mirror("b>a", IDENTITY, &["orders"])];
    let found = circle(&both).unwrap();
    assert_eq!(found, "orders on a -> (a-b) -> orders on b -> (b-a) -> orders on a");
    let message = find(&both[1], &[&both[0]], &State::default(), &Places::default()).unwrap().message();
    assert!(message.contains("for ever") && message.contains("--allow-loops"), "{message}");

    let apart = [mirror("a>b", IDENTITY, &["eu-.*"]), mirror("b>a", IDENTITY, &["us-.*"])];
    assert_eq!(circle(&apart), None);
}

#[test]
fn prefix_naming_stops_every_ring_by_itself() {
    let ring = |last| [mirror("a>b", PREFIX, &[".*"]), mirror("b>c", PREFIX, &[".*"]), last];
    let [first, second, third] = ring(mirror("c>a", PREFIX, &[".*"]));
    let warning = ring_warning(&third, &[&first, &second], &Places::default()).unwrap();
    assert!(warning.message.contains("c -> a -> b -> c"), "{}", warning.message);
    assert_eq!(circle(&[first, second, third]), None);
    assert_eq!(circle(&[mirror("a>b", PREFIX, &[".*"]), mirror("b>a", PREFIX, &[".*"])]), None);
}

#[test]
fn a_chain_that_returns_under_another_name_is_found() {
    let ring =
        [mirror("a>b", PREFIX, &[".*"]), mirror("b>c", PREFIX, &[".*"]), mirror("c>a", IDENTITY, &[".*"])];
    let back =
        "orders on a -> (a-b) -> a.orders on b -> (b-c) -> b.a.orders on c -> (c-a) -> b.a.orders on a";
    assert_eq!(circle(&ring).unwrap(), back);
    let [first, second, third] = ring;
    assert!(circle(&[second, third, first]).is_some(), "whichever of them is made last");
}

#[test]
fn a_separator_that_the_next_hop_cannot_read_hides_where_records_come_from() {
    let wire = |flow: &str, separator: &str| {
        let mut found = mirror(flow, PREFIX, &[".*"]);
        let naming = Naming::Prefix { separator: separator.to_owned() };
        found.policy = Policy::new(naming, found.source.as_str(), found.target.as_str());
        found
    };
    assert!(circle(&[wire("a>b", "."), wire("b>a", "_")]).is_some());
    assert_eq!(circle(&[wire("a>b", "_"), wire("b>a", "_")]), None);
}

#[test]
fn a_circle_that_was_there_before_is_not_the_candidates_fault() {
    let both = [mirror("a>b", IDENTITY, &[".*"]), mirror("b>a", IDENTITY, &[".*"])];
    let other = mirror("b>c", IDENTITY, &[".*"]);
    assert_eq!(find(&other, &both.iter().collect::<Vec<_>>(), &State::default(), &Places::default()), None);
}

#[test]
fn a_full_mesh_of_prefix_mirrors_is_searched_in_no_time() {
    let clusters = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let pairs = clusters.iter().flat_map(|s| clusters.iter().filter(move |t| *t != s).map(move |t| (s, t)));
    let mesh: Vec<Mirror> = pairs.map(|(s, t)| mirror(&format!("{s}>{t}"), PREFIX, &[".*"])).collect();
    assert_eq!(circle(&mesh), None);
}
