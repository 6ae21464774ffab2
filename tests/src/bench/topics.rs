//! Topics of the benchmarks: made, filled, watched, compared and removed with librdkafka, outside every measured window.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use super::data;
use super::row::Row;
use crate::sandbox::wait_until;

const CALL: Duration = Duration::from_secs(10);
/// Topics that one request removes.
const AT_ONCE: usize = 100;
const CREATE: Duration = Duration::from_secs(30);
/// No record for this long means that there is none.
const READ_STALL: Duration = Duration::from_secs(20);

/// Makes a topic and waits until every partition has a leader.
pub(super) fn create(bootstrap: &str, topic: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<()> {
    let admin = admin(bootstrap)?;
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for (name, value) in configs {
        new = new.set(name, value);
    }
    let made = block_on(admin.create_topics([&new], &AdminOptions::new()))?;
    for result in made {
        result.map_err(|(topic, code)| anyhow::anyhow!("cannot create {topic}: {code}"))?;
    }
    wait_until(CREATE, &format!("leaders of {topic}"), || {
        let metadata = admin.inner().fetch_metadata(Some(topic), Duration::from_secs(1))?;
        let led = metadata.topics()[0].partitions().iter().filter(|p| p.leader() >= 0).count();
        Ok((led == partitions as usize).then_some(()))
    })
}

/// Gives a topic these settings instead of those that it has.
pub(super) fn configure(bootstrap: &str, topic: &str, configs: &[(&str, &str)]) -> Result<()> {
    let mut wanted = AlterConfig::new(ResourceSpecifier::Topic(topic));
    for (name, value) in configs {
        wanted = wanted.set(name, value);
    }
    for result in block_on(admin(bootstrap)?.alter_configs([&wanted], &AdminOptions::new()))? {
        result.map_err(|(_, code)| anyhow::anyhow!("cannot configure {topic}: {code}"))?;
    }
    Ok(())
}

/// Removes topics; their segments go a second later.
pub(super) fn delete(bootstrap: &str, topics: &[String]) -> Result<()> {
    let admin = admin(bootstrap)?;
    for some in topics.chunks(AT_ONCE) {
        let some: Vec<&str> = some.iter().map(String::as_str).collect();
        for result in block_on(admin.delete_topics(&some, &AdminOptions::new()))? {
            match result {
                // A request that is sent once more finds it gone.
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
                Err((topic, code)) => bail!("cannot delete {topic}: {code}"),
            }
        }
    }
    Ok(())
}

/// All topics of a cluster.
pub(super) fn names(bootstrap: &str) -> Result<Vec<String>> {
    let metadata = admin(bootstrap)?.inner().fetch_metadata(None, CALL)?;
    Ok(metadata.topics().iter().map(|t| t.name().to_owned()).collect())
}

fn admin(bootstrap: &str) -> Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", bootstrap).create()?)
}

/// Writes `records` values of the row's size, spread over the partitions in runs of as many as are in a batch.
pub(super) fn fill(bootstrap: &str, topic: &str, records: u64, row: &Row) -> Result<()> {
    let Row { partitions, size, codec, batch, .. } = *row;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("compression.codec", codec)
        .set("enable.idempotence", "true")
        .set("linger.ms", "50")
        .set("batch.size", "131072")
        .set("batch.num.messages", batch.to_string())
        .set("queue.buffering.max.kbytes", "262144")
        .set("queue.buffering.max.messages", "1000000")
        .create()?;
    let mut value = Vec::with_capacity(size);
    for id in 0..records {
        data::write_value(id, size, &mut value);
        let partition = (id / batch as u64) as i32 % partitions;
        let mut record: BaseRecord<'_, (), [u8]> =
            BaseRecord::to(topic).partition(partition).payload(value.as_slice());
        while let Err((error, again)) = producer.send(record) {
            if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                return Err(error).with_context(|| format!("cannot write to {topic}"));
            }
            producer.poll(Duration::from_millis(5));
            record = again;
        }
        if id % 1024 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(Duration::from_secs(120)).with_context(|| format!("cannot write to {topic}"))
}

/// Counts the records of a topic that nobody deletes from, by its end offsets.
pub(super) struct Ends {
    consumer: BaseConsumer,
    topic: String,
    partitions: i32,
    exists: bool,
}

impl Ends {
    pub(super) fn new(bootstrap: &str, topic: &str, partitions: i32) -> Result<Self> {
        let consumer = reader(bootstrap)?;
        Ok(Self { consumer, topic: topic.to_owned(), partitions, exists: false })
    }

    /// End offset of every partition; none while the topic isn't there. One request.
    pub(super) fn offsets(&mut self) -> Result<Option<Vec<i64>>> {
        if !self.exists {
            let metadata = self.consumer.fetch_metadata(Some(&self.topic), Duration::from_secs(1))?;
            let led = metadata.topics()[0].partitions().iter().filter(|p| p.leader() >= 0).count();
            if led < self.partitions as usize {
                return Ok(None);
            }
            self.exists = true;
        }
        let mut wanted = TopicPartitionList::new();
        for partition in 0..self.partitions {
            // "The timestamp of the end" is what a ListOffsets request for the end says.
            wanted.add_partition_offset(&self.topic, partition, Offset::End)?;
        }
        let found = self.consumer.offsets_for_times(wanted, CALL)?;
        let mut offsets = vec![0; self.partitions as usize];
        for element in found.elements_for_topic(&self.topic) {
            element.error()?;
            let Offset::Offset(end) = element.offset() else {
                bail!("{} partition {} has no end offset", self.topic, element.partition());
            };
            offsets[element.partition() as usize] = end;
        }
        Ok(Some(offsets))
    }

    pub(super) fn count(&mut self) -> Result<u64> {
        Ok(self.offsets()?.unwrap_or_default().iter().sum::<i64>().unsigned_abs())
    }

    /// Polls until at least `records` are there; the count then seen. `alive` ends the wait with an error.
    pub(super) fn wait_for(
        &mut self,
        records: u64,
        every: Duration,
        deadline: Duration,
        alive: &dyn Fn() -> Result<()>,
    ) -> Result<u64> {
        let end = Instant::now() + deadline;
        loop {
            let count = self.count().unwrap_or(0);
            if count >= records {
                return Ok(count);
            }
            alive()?;
            if Instant::now() >= end {
                bail!("{} has {count} of {records} records after {deadline:?}", self.topic);
            }
            std::thread::sleep(every);
        }
    }
}

fn reader(bootstrap: &str) -> Result<BaseConsumer> {
    Ok(ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "bench-reader")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_uncommitted")
        .set("enable.partition.eof", "false")
        .set("reconnect.backoff.max.ms", "200")
        .create()?)
}

/// Reads a topic from its first record on and hands every record to `each`, until `records` came.
pub(super) fn read(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    records: u64,
    mut each: impl FnMut(&rdkafka::message::BorrowedMessage<'_>),
) -> Result<()> {
    let consumer = reader(bootstrap)?;
    let mut all = TopicPartitionList::new();
    for partition in 0..partitions {
        all.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    let mut seen = 0;
    while seen < records {
        match consumer.poll(READ_STALL) {
            Some(Ok(message)) => each(&message),
            Some(Err(error)) => return Err(error).with_context(|| format!("cannot read {topic}")),
            None => bail!("{topic} gave {seen} of {records} records and then nothing for {READ_STALL:?}"),
        }
        seen += 1;
    }
    Ok(())
}

/// What a topic holds, per partition: number of records, and a hash over key, value and timestamp in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content(Vec<(u64, u64)>);

impl Content {
    pub(super) fn of(bootstrap: &str, topic: &str, partitions: i32, records: u64) -> Result<Self> {
        let mut sums: Vec<(u64, DefaultHasher)> = vec![(0, DefaultHasher::new()); partitions as usize];
        read(bootstrap, topic, partitions, records, |message| {
            let (count, hash) = &mut sums[message.partition() as usize];
            *count += 1;
            message.key().hash(hash);
            message.payload().hash(hash);
            message.timestamp().to_millis().hash(hash);
        })?;
        Ok(Self(sums.into_iter().map(|(count, hash)| (count, hash.finish())).collect()))
    }

    /// An error that names the partitions that differ.
    pub(super) fn ensure_equal(&self, copy: &Self) -> Result<()> {
        let differ: Vec<_> = (0..self.0.len()).filter(|i| self.0[*i] != copy.0[*i]).collect();
        ensure!(differ.is_empty(), "the copy differs from its source in partitions {differ:?}");
        Ok(())
    }
}
