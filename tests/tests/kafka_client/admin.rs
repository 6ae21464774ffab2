//! Topics and configs.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use twinlog_proto::reason::Reason;
use twinlog_tests::sandbox::{KafkaOptions, Sandbox, wait_until_async};
use twinlog_worker::kafka::{ConfigEntry, ConfigSource, KafkaClient, code};

use super::{TRY, client, names, topic};

#[tokio::test(flavor = "multi_thread")]
async fn topics_and_configs_are_made_changed_and_deleted() -> Result<()> {
    let sandbox = Sandbox::new("client-admin")?;
    let kafka = sandbox.kafka("a", KafkaOptions::default())?;
    let client = client(&kafka.bootstrap())?;

    let cluster = client.describe_cluster().await?;
    assert_eq!(cluster.brokers.len(), 1);
    assert_eq!(format!("{}:{}", cluster.brokers[0].host, cluster.brokers[0].port), kafka.bootstrap());
    assert!(kafka.version().starts_with(cluster.broker_version.trim_end_matches('x')), "{cluster:?}");
    assert!(cluster.cluster_id.is_some() && cluster.authorized_operations.is_some());

    // A bad name in a batch fails alone; checking only changes nothing.
    for validate_only in [true, false] {
        let made = client.create_topics(&[topic("plain", 3), topic("no spaces", 1)], validate_only).await?;
        assert_eq!(made[0], ("plain".to_owned(), Ok(())));
        let error = made[1].1.as_ref().expect_err("the name is not allowed");
        assert!(error.message.contains("no spaces"), "{error}");
        if validate_only {
            assert!(!exists(&client, "plain").await?, "checking must not create a topic");
            continue;
        }
        // A broker learns of a new topic a moment later than the controller answers.
        wait_until_async(TRY, "the topic", || async { Ok(exists(&client, "plain").await?.then_some(())) })
            .await?;
    }
    let again = client.create_topics(&[topic("plain", 3)], false).await?;
    assert_eq!(again[0].1.as_ref().unwrap_err().reason, Reason::ALREADY_EXISTS);

    let mut compacted = topic("compacted", 2);
    compacted.configs = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
    let first = client.ensure_topic(&compacted).await?;
    assert!(first.partitions.len() == 2 && first.partitions.iter().all(|p| p.leader == Some(1)), "{first:?}");
    assert_eq!(client.ensure_topic(&compacted).await?.topic_id, first.topic_id);

    let wanted = [("plain".to_owned(), 5), ("compacted".to_owned(), 1), ("missing".to_owned(), 2)];
    let grown = client.create_partitions(&wanted).await?;
    assert_eq!(grown[0], ("plain".to_owned(), Ok(())));
    assert!(grown[1].1.as_ref().is_err_and(|e| e.message.contains("compacted")), "{grown:?}");
    assert!(grown[2].1.as_ref().is_err_and(|e| e.reason == Reason::TOPIC_NOT_FOUND), "{grown:?}");
    let found = client.topics(Some(&names(&["missing", "plain"]))).await?;
    assert_eq!(found[0].error.as_ref().map(|e| e.code), Some(code::UNKNOWN_TOPIC_OR_PARTITION));
    assert_eq!(found[1].partitions.len(), 5);

    let set = BTreeMap::from([("retention.ms".to_owned(), "12345".to_owned())]);
    client.incremental_alter_configs("compacted", &set, &names(&["cleanup.policy"])).await?;
    assert_eq!(config(&client, "retention.ms").await?.value.as_deref(), Some("12345"));
    assert_eq!(config(&client, "cleanup.policy").await?.source, ConfigSource::Default);
    let bad = BTreeMap::from([("retention.ms".to_owned(), "soon".to_owned())]);
    let error = client.incremental_alter_configs("compacted", &bad, &[]).await.unwrap_err();
    assert!(error.message.contains("soon") && error.message.contains("retention.ms"), "{error}");

    let gone = client.delete_topics(&names(&["plain", "missing"])).await?;
    assert_eq!(gone[0], ("plain".to_owned(), Ok(())));
    assert!(gone[1].1.is_err());
    let left: Vec<String> = client.topics(None).await?.into_iter().map(|t| t.name).collect();
    assert_eq!(left, ["compacted"]);
    Ok(())
}

async fn exists(client: &KafkaClient, topic: &str) -> Result<bool> {
    Ok(client.topics(Some(&names(&[topic]))).await?[0].error.is_none())
}

/// One config of the topic `compacted`, asked for together with a topic that doesn't exist.
async fn config(client: &KafkaClient, name: &str) -> Result<ConfigEntry> {
    let mut found = client.describe_configs(&names(&["compacted", "missing"])).await?;
    assert_eq!(
        found.remove("missing").context("an entry")?.expect_err("it is missing").reason,
        Reason::TOPIC_NOT_FOUND
    );
    let entries = found.remove("compacted").context("an entry")??;
    entries.into_iter().find(|e| e.name == name).context("every config is listed")
}
