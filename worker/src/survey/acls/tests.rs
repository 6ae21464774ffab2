use twinlog_proto::v1;
use twinlog_proto::v1::naming::Kind as NamingKind;

use super::*;
use crate::survey::tests::{naming, wire};
use AclOperation::{All, Alter, Delete, Describe, Read, Write};
use AclPattern::{Literal, Prefixed};

const OURS: &str = "User:twinlog";

fn mirror(remove: bool, kind: NamingKind) -> Mirror {
    let acl_sync = Some(v1::AclSync { enabled: Some(true), remove, ..Default::default() });
    let map = [("orders", "o"), ("ordered", "p"), ("test_topic", "t")];
    let map = if kind == NamingKind::Map { &map[..] } else { &[] };
    Mirror::parse(&v1::Mirror { acl_sync, naming: naming(kind, map), ..wire("source", "b") }).unwrap()
}

fn prefix(remove: bool) -> Mirror {
    mirror(remove, NamingKind::Prefix)
}

fn pairs(mirror: &Mirror) -> Vec<Pair> {
    let pair =
        |source: &str| Pair { source: source.into(), target: mirror.policy.remote_topic(source).unwrap() };
    ["orders", "ordered", "test_topic"].map(pair).into()
}

fn acl(principal: &str, operation: AclOperation, pattern: AclPattern, name: &str, allow: bool) -> Acl {
    Acl {
        resource_type: AclResource::Topic,
        resource_name: name.into(),
        pattern,
        principal: principal.into(),
        host: "*".into(),
        operation,
        allow,
    }
}

fn allow(operation: AclOperation, pattern: AclPattern, name: &str) -> Acl {
    acl("User:x", operation, pattern, name, true)
}

/// (kind, the ACL on the target) of every difference.
fn differences(mirror: &Mirror, source: &[Acl], target: &[Acl]) -> Vec<(Kind, Acl)> {
    let comparison = compare(mirror, &pairs(mirror), source, target, OURS);
    comparison.differences.into_iter().map(|d| (d.kind, d.acl)).collect()
}

/// S4: ALLOW WRITE is not copied, ALLOW ALL becomes ALLOW READ, everything else stays what it is.
#[test]
fn s4_the_documented_transformation() {
    let copied = |operation, allow| {
        let source = [acl("User:x", operation, Literal, "test_topic", allow)];
        let mut found = differences(&prefix(false), &source, &[]);
        assert!(found.len() <= 1);
        found.pop().map(|(_, acl)| (acl.resource_name, acl.operation, acl.allow))
    };
    let target = |operation, allow| Some(("source.test_topic".to_owned(), operation, allow));
    assert_eq!(copied(Write, true), None);
    assert_eq!(copied(All, true), target(Read, true));
    assert_eq!(copied(All, false), target(All, false));
    assert_eq!(copied(Write, false), target(Write, false));
    for operation in [Read, Describe, Delete, Alter] {
        assert_eq!(copied(operation, true), target(operation, true));
    }
}

/// I27: a DESCRIBE that the source grants appears under the remote name, and then nothing differs any more.
#[test]
fn i27_what_is_there_is_not_written_again() {
    let source = [allow(Describe, Literal, "orders")];
    let wanted = allow(Describe, Literal, "source.orders");
    assert_eq!(differences(&prefix(true), &source, &[]), [(Kind::Missing, wanted.clone())]);
    assert_eq!(differences(&prefix(true), &source, &[wanted]), []);
    let not_copied = [allow(Read, Literal, "other")];
    assert_eq!(differences(&prefix(true), &not_copied, &[]), []);
}

/// W13: a prefix is mirrored as a prefix where the naming keeps its meaning; what can't be mapped is named.
#[test]
fn w13_prefixes_and_wildcards() {
    let source =
        [allow(Read, Prefixed, "order"), allow(Write, Prefixed, "order"), allow(Read, Prefixed, "x")];
    let found = compare(&prefix(false), &pairs(&prefix(false)), &source, &[], OURS);
    assert_eq!(found.unmapped, []);
    assert_eq!(found.differences.len(), 1, "not WRITE, and not what covers no topic that is copied");
    assert_eq!(found.differences[0].acl, allow(Read, Prefixed, "source.order"));
    assert_eq!(found.differences[0].topic, "source.ordered", "shown once, with the first topic under it");

    let wildcard = [acl("User:x", Read, Literal, "*", false)];
    for kind in [NamingKind::Prefix, NamingKind::Identity, NamingKind::Map] {
        let mirror = mirror(false, kind);
        let found = compare(&mirror, &pairs(&mirror), &wildcard, &[], OURS);
        assert_eq!((found.differences.len(), found.unmapped.as_slice()), (0, &wildcard[..]), "{kind:?}");
    }
    for kind in [NamingKind::Identity, NamingKind::Map] {
        let mirror = mirror(false, kind);
        let found = compare(&mirror, &pairs(&mirror), &source, &[], OURS);
        assert_eq!(
            (found.differences.len(), found.unmapped.len()),
            (0, 1),
            "{kind:?}: it would reach further"
        );
    }
}

/// W13: removal is of what the source doesn't have, on topics of this mirror, and never of the mirror's own rights.
#[test]
fn w13_what_the_source_does_not_have_is_removed_only_when_asked_and_only_where_it_is_ours() {
    let source =
        [allow(Read, Literal, "orders"), allow(Write, Literal, "orders"), allow(All, Literal, "ordered")];
    let stale = acl("User:gone", Read, Literal, "source.orders", true);
    let target = [
        allow(Read, Literal, "source.orders"),
        // Granted on both sides by hand: the source has them.
        allow(Write, Literal, "source.orders"),
        allow(All, Literal, "source.ordered"),
        allow(Read, Literal, "source.ordered"),
        stale.clone(),
        acl(OURS, Write, Literal, "source.orders", true),
        acl("User:gone", Read, Literal, "local", true),
        acl("User:gone", Read, Literal, "*", true),
        acl("User:gone", Read, Prefixed, "local", true),
    ];
    assert_eq!(differences(&prefix(false), &source, &target), []);
    assert_eq!(differences(&prefix(true), &source, &target), [(Kind::Surplus, stale)]);
    let over_all = acl("User:gone", Read, Prefixed, "source.", true);
    let found =
        differences(&prefix(true), &source, &[&target[..4], std::slice::from_ref(&over_all)].concat());
    assert_eq!(found, [(Kind::SurplusPrefix, over_all)], "shown, not removed");
}

#[test]
fn an_acl_is_written_as_people_read_it() {
    assert_eq!(text(&acl("User:a b", Describe, Literal, "t", false)), "User:a b DESCRIBE DENY *");
}
