//! When readers have each record of a steady stream: one reads the target, one the source.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use super::subject::Job;
use super::{Place, data};

/// Readers are at the end of the topic before the window opens.
const SETTLE: Duration = Duration::from_secs(3);
/// What was written last in the window is there by then.
const REST: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);

/// Milliseconds since 1970 by record number; 0 where a record wasn't seen.
pub(super) struct Arrivals {
    pub(super) target: Vec<i64>,
    pub(super) source: Vec<i64>,
}

/// Reads from the topics' ends on for as long as `window` takes, and a little before and after.
pub(super) fn while_reading<T>(
    place: &Place,
    job: &Job,
    window: impl FnOnce() -> T,
) -> Result<(T, Arrivals)> {
    let stop = AtomicBool::new(false);
    let (source, target) = (place.source.bootstrap(), place.target.bootstrap());
    let copy = job.target_topic();
    std::thread::scope(|scope| {
        let source = scope.spawn(|| read(&source, &job.topic, job.partitions, &stop));
        let target = scope.spawn(|| read(&target, &copy, job.partitions, &stop));
        std::thread::sleep(SETTLE);
        let result = window();
        std::thread::sleep(REST);
        stop.store(true, Ordering::Relaxed);
        let source = source.join().expect("the reader doesn't panic")?;
        let target = target.join().expect("the reader doesn't panic")?;
        Ok((result, Arrivals { target, source }))
    })
}

fn read(bootstrap: &str, topic: &str, partitions: i32, stop: &AtomicBool) -> Result<Vec<i64>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "bench-arrivals")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .create()?;
    let mut all = TopicPartitionList::new();
    for partition in 0..partitions {
        all.add_partition_offset(topic, partition, Offset::End)?;
    }
    consumer.assign(&all)?;
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let Some(message) = consumer.poll(POLL) else { continue };
        let message = message.with_context(|| format!("cannot read {topic}"))?;
        let Some(id) = message.payload().and_then(data::id_of) else { continue };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        let id = usize::try_from(id)?;
        if times.len() <= id {
            times.resize(id + 1, 0);
        }
        times[id] = i64::try_from(now.as_millis())?;
    }
    Ok(times)
}
