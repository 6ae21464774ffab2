//! Groups and their offsets.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use twinlog_proto::reason::Reason;
use twinlog_tests::sandbox::{Kafka, KafkaOptions, Sandbox, wait_until_async};
use twinlog_worker::kafka::{
    CommittedOffset, GroupDescription, GroupState, GroupType, KafkaClient, PerName, Role, code,
};

use super::{TRY, client, commit, names, topic};

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_every_kind_are_seen_and_idle_ones_written() -> Result<()> {
    let sandbox = Sandbox::new("client-groups")?;
    let kafka = sandbox.kafka("a", KafkaOptions::default())?;
    let client = client(&kafka.bootstrap())?;
    assert!(client.list_groups().await?.is_empty());
    client.ensure_topic(&topic("t", 3)).await?;

    // More groups than one request asks for, one with a comma, and one commit to a partition that doesn't exist.
    let mut ids: Vec<String> = (0..150).map(|i| format!("group,{i}")).collect();
    for (i, id) in (0..).zip(&ids) {
        let results = client.commit_offsets(id, &[commit("t", 0, i), commit("t", 2, i + 1000)]).await?;
        assert!(results.iter().all(|(_, r)| r.is_ok()), "{results:?}");
    }
    let mixed = client.commit_offsets(&ids[0], &[commit("t", 1, 7), commit("missing", 0, 1)]).await?;
    let result = |topic: &str| &mixed.iter().find(|((t, _), _)| t == topic).expect("an answer").1;
    assert_eq!(*result("t"), Ok(()));
    assert!(result("missing").as_ref().is_err_and(|e| e.message.contains("missing-0")), "{mixed:?}");

    ids.push("nobody".to_owned());
    let offsets = client.fetch_offsets(&ids).await?;
    assert_eq!(sorted(&offsets, "group,0")?, [commit("t", 0, 0), commit("t", 1, 7), commit("t", 2, 1000)]);
    assert_eq!(sorted(&offsets, "group,149")?, [commit("t", 0, 149), commit("t", 2, 1149)]);
    assert_eq!(sorted(&offsets, "nobody")?, []);
    assert_eq!(offsets.len(), 151);

    let listed = client.list_groups().await?;
    assert_eq!(listed.len(), 150);
    assert!(listed.iter().all(|g| g.group_type == GroupType::Classic && g.state == Some(GroupState::Empty)));

    with_members(&client, "classic", GroupType::Classic).await?;
    if kafka.version().starts_with('4') {
        with_members(&client, "consumer", GroupType::Consumer).await?;
    }
    let described = client.describe_groups(&names(&["nobody", "group,3"])).await?;
    assert_eq!(described["nobody"].clone()?.state, GroupState::Dead);
    assert_eq!(described["group,3"].clone()?.state, GroupState::Empty);
    let gone = client.delete_groups(&names(&["group,3", "nobody"])).await?;
    assert!(gone.iter().all(|(g, r)| r.is_ok() == (g == "group,3")), "{gone:?}");
    no_list_is_short(&client, &kafka).await
}

fn sorted(offsets: &PerName<Vec<CommittedOffset>>, group: &str) -> Result<Vec<CommittedOffset>> {
    let mut offsets = offsets.get(group).context("an entry for every group")?.clone()?;
    offsets.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    Ok(offsets)
}

/// A group with a member is seen as such, and its offsets can't be set from outside.
async fn with_members(client: &KafkaClient, protocol: &str, group_type: GroupType) -> Result<()> {
    let mut config = client.properties().rdkafka(Role::Consumer);
    let consumer: BaseConsumer = config.set("group.id", protocol).set("group.protocol", protocol).create()?;
    consumer.subscribe(&["t"])?;
    let id = names(&[protocol]);
    let description: GroupDescription = wait_until_async(TRY, "a stable group", || async {
        let _ = consumer.poll(Duration::ZERO);
        let found = client.describe_groups(&id).await?.remove(protocol).context("an entry")??;
        Ok((found.state == GroupState::Stable).then_some(found))
    })
    .await?;
    assert_eq!((description.group_type, description.members.len()), (group_type, 1));
    let refused = client
        .commit_offsets(protocol, &[commit("t", 0, 0)])
        .await?
        .remove(0)
        .1
        .expect_err("the group has a member");
    assert_eq!((refused.code, refused.retriable), (code::UNKNOWN_MEMBER_ID, false), "{refused}");
    assert!(refused.message.contains("running members"), "{refused}");
    let refused = client.delete_groups(&id).await?.remove(0).1.expect_err("the group has a member");
    assert_eq!(refused.code, code::NON_EMPTY_GROUP);
    Ok(())
}

/// While a broker restarts, a list of groups is either whole or an error: a mirror would take a short one for deleted groups.
async fn no_list_is_short(client: &KafkaClient, kafka: &Kafka) -> Result<()> {
    let whole = client.list_groups().await?;
    kafka.broker(1).kill9()?;
    // New clients each time: they know nothing of the broker, not even that it was gone.
    let list = || super::client(&kafka.bootstrap()).map(|c| c.with_deadline(Duration::from_millis(300)));
    let error = list()?.list_groups().await.expect_err("there is no broker");
    assert_eq!(error.reason, Reason::CLUSTER_UNREACHABLE);
    assert!(error.message.contains(&kafka.bootstrap()) && error.message.contains("os error"), "{error}");
    kafka.broker(1).start_again()?;
    let (begin, mut lists) = (Instant::now(), 0);
    while lists < 40 {
        assert!(begin.elapsed() < Duration::from_secs(90), "only {lists} lists came");
        let Ok(groups) = list()?.list_groups().await else { continue };
        let ids = |groups: &[twinlog_worker::kafka::GroupListing]| -> Vec<String> {
            groups.iter().map(|g| g.group.clone()).collect()
        };
        assert_eq!(ids(&groups), ids(&whole), "list {lists}");
        lists += 1;
    }
    Ok(())
}
