//! The reference: the plainest copy loop one can write with librdkafka, as a process of its own.
//!
//! One consumer, one idempotent producer, record by record; no progress, no offset map, nothing else. What Twinlog's
//! librdkafka engine uses above this is Twinlog's own cost.

use std::time::Duration;

use anyhow::{Context, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

/// Delivery reports are taken every so many records.
const POLL_EVERY: u64 = 1024;
/// How long a full producer is left alone.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// Copies one topic, partition by partition, until killed.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[arg(long)]
    pub source: String,
    #[arg(long)]
    pub target: String,
    #[arg(long)]
    pub topic: String,
    #[arg(long)]
    pub target_topic: String,
    #[arg(long)]
    pub partitions: i32,
    #[arg(long)]
    pub codec: String,
    /// Over the consumer's settings, name=value.
    #[arg(long)]
    pub consumer: Vec<String>,
    /// Over the producer's settings, name=value.
    #[arg(long)]
    pub producer: Vec<String>,
}

pub fn run(args: &Args) -> Result<()> {
    let consumer = consumer(args)?;
    let producer = producer(args)?;
    let mut records: u64 = 0;
    loop {
        let message = match consumer.poll(Duration::from_millis(100)) {
            Some(message) => message.context("cannot read")?,
            None => {
                producer.poll(Duration::ZERO);
                continue;
            }
        };
        let mut record: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(&args.target_topic).partition(message.partition());
        record.key = message.key();
        record.payload = message.payload();
        record.timestamp = message.timestamp().to_millis();
        while let Err((error, again)) = producer.send(record) {
            if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                return Err(error).context("cannot write");
            }
            // Polling with a timeout would spin: the crate cuts what is left of it to whole milliseconds.
            std::thread::sleep(FULL_PAUSE);
            producer.poll(Duration::ZERO);
            record = again;
        }
        records += 1;
        if records.is_multiple_of(POLL_EVERY) {
            producer.poll(Duration::ZERO);
        }
    }
}

fn consumer(args: &Args) -> Result<BaseConsumer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &args.source)
        .set("group.id", "bench-plain")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_uncommitted")
        .set("fetch.wait.max.ms", "100")
        // By default a partition whose queue is full isn't fetched for a second.
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.message.max.bytes", "262144")
        .set("queued.max.messages.kbytes", "16384");
    over(&mut config, &args.consumer)?;
    let consumer: BaseConsumer = config.create()?;
    let mut all = TopicPartitionList::new();
    for partition in 0..args.partitions {
        all.add_partition_offset(&args.topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    Ok(consumer)
}

fn producer(args: &Args) -> Result<BaseProducer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &args.target)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.codec", &args.codec)
        .set("linger.ms", "5")
        .set("batch.size", "1000000")
        .set("queue.buffering.max.kbytes", "32768");
    over(&mut config, &args.producer)?;
    let producer: BaseProducer = config.create()?;
    // So that an unreachable target is an error at once.
    producer.client().fetch_metadata(Some(&args.target_topic), Duration::from_secs(10))?;
    Ok(producer)
}

fn over(config: &mut ClientConfig, settings: &[String]) -> Result<()> {
    for setting in settings {
        let (name, value) =
            setting.split_once('=').with_context(|| format!("{setting:?} is not name=value"))?;
        config.set(name, value);
    }
    Ok(())
}
