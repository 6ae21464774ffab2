//! librdkafka works with the fake as with a real cluster: idempotent and transactional producers, readers of committed records.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use twinlog_tests::broker::{FakeKafka, Options, reader};

/// For what must come, on a machine that may be busy with other things.
const SOON: Duration = Duration::from_secs(30);

fn config(kafka: &FakeKafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap()).set("log_level", "3");
    config
}

fn send(producer: &BaseProducer, mark: &str, count: i32) -> Result<()> {
    for i in 0..count {
        let key = format!("{mark}-{i}");
        let record = BaseRecord::to("t").partition(i % 2).key(&key).payload(mark);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(SOON)?;
    Ok(())
}

/// Keys of a partition that a reader of committed records sees.
fn read(kafka: &FakeKafka, partition: i32, count: usize) -> Result<Vec<String>> {
    let mut config = config(kafka);
    config.set("group.id", "g").set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    let consumer: BaseConsumer = config.create()?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("t", partition, Offset::Beginning)?;
    consumer.assign(&list)?;
    let end = Instant::now() + SOON;
    let mut keys = Vec::new();
    while keys.len() < count && Instant::now() < end {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let message = message?;
            keys.push(String::from_utf8(message.key().context("every record has a key")?.to_vec())?);
        }
    }
    // And no more than that.
    if let Some(more) = consumer.poll(Duration::from_millis(300)) {
        keys.push(format!("too much: {:?}", more?.key()));
    }
    Ok(keys)
}

#[tokio::test(flavor = "multi_thread")]
async fn librdkafka_writes_and_reads() -> Result<()> {
    let kafka = FakeKafka::start(Options { brokers: 3, ..Options::default() }).await?;
    kafka.create_topic("t", 2, 3, &[]);
    tokio::task::spawn_blocking(move || {
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let mut config = config(&kafka);
            config.set("enable.idempotence", "true").set("compression.type", codec);
            send(&config.create()?, codec, 20)?;
        }
        let mut config = config(&kafka);
        config.set("transactional.id", "smoke").set("compression.type", "lz4");
        let producer: BaseProducer = config.create()?;
        producer.init_transactions(SOON)?;
        for (mark, commit) in [("kept", true), ("dropped", false), ("kept too", true)] {
            producer.begin_transaction()?;
            send(&producer, mark, 10)?;
            if commit {
                producer.commit_transaction(SOON)?;
            } else {
                producer.abort_transaction(SOON)?;
            }
        }
        for partition in 0..2 {
            let seen = read(&kafka, partition, 60)?;
            let entries = reader::committed(&kafka.entries("t", partition)?);
            let keys: Vec<String> = entries
                .iter()
                .map(|e| String::from_utf8_lossy(e.key.as_deref().unwrap_or_default()).into_owned())
                .collect();
            ensure!(seen == keys && keys.len() == 60, "{seen:?}\n{keys:?}");
        }
        Ok(())
    })
    .await?
}
