//! ACLs of copies follow their topics, on clusters with Kafka's own authorizer.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use prost_types::{Duration as Wire, FieldMask};
use twinlog_proto::v1;
use twinlog_tests::api::told;
use twinlog_tests::sandbox::{KafkaOptions, wait_until};
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::beside;

const SYNCED: Duration = Duration::from_secs(30);

fn guarded() -> KafkaOptions {
    let authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
    KafkaOptions::default().prop("authorizer.class.name", authorizer)
}

fn wait_acls(world: &World, wanted: &[&str]) -> Result<()> {
    let wanted: BTreeSet<String> = wanted.iter().map(|acl| (*acl).to_owned()).collect();
    let mut last = BTreeSet::new();
    let waited = wait_until(SYNCED, "the target's ACLs", || {
        last = world.tools.acls(&world.target)?;
        Ok((last == wanted).then_some(()))
    });
    waited.with_context(|| format!("wanted {wanted:#?}, found {last:#?}"))
}

/// S4, I27, W13 on real clusters.
#[test]
fn acls_follow_the_source_and_never_grant_writing() -> Result<()> {
    let _beside = beside();
    let world = World::start(
        "acls",
        WorldOptions {
            source: guarded(),
            target: guarded(),
            workers: 1,
            etcd_members: 0,
            ..WorldOptions::default()
        },
    )?;
    for topic in ["t.one", "t.two", "local"] {
        world.tools.create_topic(&world.source, topic, 1, &[])?;
    }
    for acl in [
        "TOPIC LITERAL t.one User:dummy DESCRIBE ALLOW",
        "TOPIC LITERAL t.one User:app WRITE ALLOW",
        "TOPIC LITERAL t.two User:all ALL ALLOW",
        "TOPIC LITERAL t.two User:bad ALL DENY",
        "TOPIC PREFIXED t. User:team READ ALLOW",
        "TOPIC LITERAL * User:audit READ ALLOW",
        "TOPIC LITERAL local User:other READ ALLOW",
        "GROUP LITERAL g User:dummy READ ALLOW",
    ] {
        world.tools.acl(&world.source, acl, false)?;
    }
    let (stale, foreign) =
        ("TOPIC LITERAL a.t.one User:stale READ ALLOW", "TOPIC LITERAL mine User:stale READ ALLOW");
    world.tools.acl(&world.target, stale, false)?;
    world.tools.acl(&world.target, foreign, false)?;

    let interval = Some(Wire { seconds: 1, nanos: 0 });
    let acl_sync = v1::AclSync { enabled: Some(true), interval, remove: false };
    let wire = v1::Mirror { acl_sync: Some(acl_sync), ..mirror(&[r"t\..*"]) };
    let mut created = world.api.add_mirror("m", wire)?;
    let described = "TOPIC LITERAL a.t.one User:dummy DESCRIBE ALLOW";
    let copied = [
        "TOPIC LITERAL a.t.two User:all READ ALLOW",
        "TOPIC LITERAL a.t.two User:bad ALL DENY",
        "TOPIC PREFIXED a.t. User:team READ ALLOW",
        foreign,
    ];
    wait_acls(&world, &[&copied[..], &[described, stale]].concat())?;
    let message = world.api.wait_cause("m", "ACL_SYNC_FAILED", SYNCED)?;
    assert!(
        message.contains("User:audit READ ALLOW * on LITERAL *"),
        "what has no equal is named: {message}"
    );
    let mended = |world: &World| -> Result<i64> {
        Ok(world.api.status("m")?.topics.iter().map(|topic| topic.drift_mended).sum())
    };
    wait_until(SYNCED, "the status to say what was mended", || Ok((mended(&world)? == 4).then_some(())))?;

    // Removal is asked for; a permission that the source takes back goes, too.
    created.acl_sync = Some(v1::AclSync { remove: true, ..acl_sync });
    let mask = FieldMask { paths: vec!["acl_sync".into()] };
    let request =
        v1::UpdateMirrorRequest { mirror: Some(created), update_mask: Some(mask), ..Default::default() };
    world.api.update_mirror(request).map_err(told)?;
    wait_acls(&world, &[&copied[..], &[described]].concat())?;
    world.tools.acl(&world.source, "TOPIC LITERAL t.one User:dummy DESCRIBE ALLOW", true)?;
    wait_acls(&world, &copied)
}
