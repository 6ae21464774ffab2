//! Leaders and coordinators that move.

use std::time::{Duration, Instant};

use anyhow::Result;
use twinlog_tests::sandbox::{KafkaOptions, Sandbox, wait_until_async};
use twinlog_worker::kafka::{Isolation, KafkaClient, OffsetSpec};

use super::{client, commit, produce, topic};

const PARTITIONS: i32 = 6;
const GROUPS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn calls_follow_leaders_and_coordinators_to_other_brokers() -> Result<()> {
    let sandbox = Sandbox::new("client-failover")?;
    let kafka = sandbox.kafka("a", KafkaOptions::default().brokers(3))?;
    let client = client(&kafka.bootstrap())?;
    let made = client.ensure_topic(&topic("t", PARTITIONS)).await?;
    assert_eq!(made.replication_factor(), 3);
    for p in 0..PARTITIONS {
        produce(&client, "t", p, i64::from(p) + 1)?;
    }
    commit_all(&client, 1).await?;
    everything_answers(&client, 1).await?;

    for (offset, broker) in [(2, 1), (3, 2), (4, 3)] {
        // Acknowledged, and then never seen older or not at all, however fresh its coordinator is.
        commit_all(&client, offset).await?;
        kafka.broker(broker).kill9()?;
        let begin = Instant::now();
        everything_answers(&client, offset).await?;
        println!("broker {broker} killed: all answered after {:?}", begin.elapsed());
        kafka.broker(broker).start_again()?;
        while begin.elapsed() < Duration::from_secs(15) {
            everything_answers(&client, offset).await?;
        }
        kafka.wait_ready()?;
    }
    Ok(())
}

async fn commit_all(client: &KafkaClient, offset: i64) -> Result<()> {
    for group in groups() {
        let results = client.commit_offsets(&group, &[commit("t", 0, offset)]).await?;
        assert!(results[0].1.is_ok(), "{results:?}");
    }
    Ok(())
}

fn groups() -> Vec<String> {
    (0..GROUPS).map(|g| format!("g{g}")).collect()
}

/// Every partition's offsets and records, every group's offsets, and the list of groups. An error is no answer; a wrong answer
/// fails the test at once.
async fn everything_answers(client: &KafkaClient, committed: i64) -> Result<()> {
    wait_until_async(Duration::from_secs(45), "all answers", || async {
        Ok(Some(answers(client, committed).await?))
    })
    .await
}

async fn answers(client: &KafkaClient, committed: i64) -> Result<()> {
    let wanted: Vec<_> = (0..PARTITIONS).map(|p| ("t".to_owned(), p, OffsetSpec::Latest)).collect();
    let found = client.list_offsets(&wanted, Isolation::Committed).await?;
    for ((_, p), result) in found {
        assert_eq!(result?.offset, i64::from(p) + 1);
        let fetched = client.fetch_batches("t", p, 0, 1 << 20, Isolation::Committed).await?;
        assert_eq!(fetched.next_offset(), Some(i64::from(p) + 1));
    }
    let ids = groups();
    for (_, offsets) in client.fetch_offsets(&ids).await? {
        assert_eq!(offsets?, [commit("t", 0, committed)]);
    }
    let listed: Vec<String> = client.list_groups().await?.into_iter().map(|g| g.group).collect();
    assert_eq!(listed, ids);
    Ok(())
}
