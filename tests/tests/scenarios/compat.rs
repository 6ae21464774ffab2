//! What people have keeps working: MirrorMaker 2's own client library, pointed at a target of ours.

use std::time::Duration;

use anyhow::Result;
use twinlog_proto::v1::Mirror;
use twinlog_tests::sandbox::wait_until;
use twinlog_tests::tools::{Committed, Isolation, LoadOptions};
use twinlog_tests::verify::expected_offset;
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::beside;

const SEEN: Duration = Duration::from_secs(60);
const RECORDS: u64 = 4_000;

#[test]
fn mirror_maker_clients_understand_our_target() -> Result<()> {
    let _beside = beside();
    let world = World::start("compat", WorldOptions::default())?;
    world.tools.create_topic(&world.source, "orders", 4, &[])?;
    let load = LoadOptions { rate: 20_000.0, records: Some(RECORDS), ..LoadOptions::new(4) };
    world.tools.load(&world.source, "orders", &load)?;
    let groups = vec!["billing".into()];
    world.api.add_mirror("m", Mirror { groups, sync_group_offsets: true, ..mirror(&["orders"]) })?;
    wait_until(SEEN, "all records on the source", || {
        Ok((world.tools.load_stats("orders")?.values().sum::<u64>() == RECORDS).then_some(()))
    })?;
    world.tools.stop_load("orders")?;
    world.wait_exact("orders", "a.orders", SEEN)?;
    let source = world.tools.dump(&world.source, "orders", Isolation::Committed)?;
    let target = world.tools.dump(&world.target, "a.orders", Isolation::Committed)?;
    let offsets: Vec<_> = [0, 1, 517, 1_000]
        .into_iter()
        .zip(0..)
        .map(|(offset, partition)| Committed {
            topic: "orders".into(),
            partition,
            offset,
            metadata: "by hand".into(),
        })
        .collect();
    world.tools.commit(&world.source, "billing", &offsets)?;

    let view = wait_until(SEEN, "checkpoints and heartbeats that MirrorClient reads", || {
        let view = world.tools.mirror_client(&world.target, "a", "billing")?;
        let complete = view.offsets.len() == offsets.len() && !view.upstream_clusters.is_empty();
        Ok(complete.then_some(view))
    })?;
    assert!(view.checkpoint_topics.contains("a.checkpoints.internal"), "{view:?}");
    assert!(view.heartbeat_topics.iter().any(|t| t.ends_with("heartbeats")), "{view:?}");
    assert!(view.upstream_clusters.contains("a"), "{view:?}");
    assert!(view.remote_topics.contains("a.orders"), "{view:?}");
    assert_eq!(view.hops, 1);
    for committed in &offsets {
        let expected = expected_offset(&source, &target, committed.partition, committed.offset);
        let found = view.offsets.iter().find(|o| o.partition == committed.partition);
        assert_eq!(
            found.map(|o| (o.topic.as_str(), o.offset)),
            expected.map(|e| ("a.orders", e)),
            "{view:?}"
        );
    }
    Ok(())
}
