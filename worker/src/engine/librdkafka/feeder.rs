//! Messages in the formats of before Kafka 0.11 on their way into a lane: a partition that goes on with one is read by our own
//! client, exactly, until a batch of the present format comes. What librdkafka would make of them: `mover/old.rs`.
//!
//! One task per such partition fetches and unpacks, the lane's thread takes what is ready. Memory: one fetch answer per
//! partition, and for all of them together one wrapper that is being unpacked and `room` bytes of messages that wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::Thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use twinlog_proto::reason::Reason;

use super::config::{Memory, RECORD_OVERHEAD};
use crate::kafka::{
    Damaged, Entry, FetchHow, FetchedLog, Isolation, KafkaClient, KafkaError, LogFormat, MessageSet,
    OldMessage,
};

/// A wrapper may become so large, bytes. Its messages were in one request of a producer: 1 MiB, unless someone raised that.
const MAX_UNPACKED: usize = 64 << 20;
/// Messages handed over together, bytes.
const CHUNK: usize = 64 << 10;
/// Chunks that wait, whatever their size.
const MAX_CHUNKS: usize = 64;
/// Pauses at the end of a log: the first one, doubling up to the longest.
const FIRST_IDLE: Duration = Duration::from_millis(10);
const MAX_IDLE: Duration = Duration::from_millis(250);
/// Between tries to reach a cluster that is away.
const AWAY: Duration = Duration::from_millis(500);
/// A call ends after this time.
const CALL: Duration = Duration::from_secs(5);

/// What the lane's thread gets.
#[derive(Debug)]
pub(super) enum Fed {
    Message {
        partition: i32,
        message: OldMessage,
        high_watermark: i64,
    },
    /// Everything that a reader may see below `next` has been given.
    End {
        partition: i32,
        next: i64,
        high_watermark: i64,
    },
    /// From here on the log has the present format; the feeder has ended for this partition.
    Turned {
        partition: i32,
        at: i64,
    },
    /// The feeder has ended for this partition.
    Failed {
        partition: i32,
        error: KafkaError,
    },
    Damaged {
        partition: i32,
        damaged: Damaged,
    },
}

pub(super) struct Feeder {
    shared: Arc<Shared>,
    runtime: Handle,
    stop: CancellationToken,
    receiver: mpsc::Receiver<Parcel>,
    tasks: BTreeMap<i32, AbortHandle>,
    /// What is being taken; its room is given back at its end.
    open: Option<Chunk>,
}

struct Shared {
    client: KafkaClient,
    topic: String,
    fetch_bytes: i32,
    /// For messages that wait, bytes.
    room: Arc<Semaphore>,
    room_bytes: usize,
    /// Held by who unpacks.
    turn: Mutex<()>,
    sender: mpsc::Sender<Parcel>,
    owner: Thread,
}

enum Parcel {
    Chunk(Chunk),
    Note(Fed),
}

struct Chunk {
    partition: i32,
    messages: std::vec::IntoIter<OldMessage>,
    high_watermark: i64,
    _room: OwnedSemaphorePermit,
}

impl Feeder {
    /// The calling thread is the one that is unparked when something waits.
    pub(super) fn new(
        client: &KafkaClient,
        topic: &str,
        memory: &Memory,
        runtime: &Handle,
        stop: &CancellationToken,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(MAX_CHUNKS);
        let room_bytes = memory.fetched.min(u32::MAX as usize);
        let shared = Shared {
            client: client.with_deadline(CALL),
            topic: topic.to_owned(),
            fetch_bytes: i32::try_from(memory.fetch_per_partition).unwrap_or(i32::MAX),
            room: Arc::new(Semaphore::new(room_bytes)),
            room_bytes,
            turn: Mutex::new(()),
            sender,
            owner: std::thread::current(),
        };
        Self {
            shared: Arc::new(shared),
            runtime: runtime.clone(),
            stop: stop.clone(),
            receiver,
            tasks: BTreeMap::new(),
            open: None,
        }
    }

    /// Reads a partition from `offset` on.
    pub(super) fn start(&mut self, partition: i32, offset: i64) {
        let shared = self.shared.clone();
        let task = self.runtime.spawn(async move {
            if let Some(last) = shared.feed(partition, offset).await {
                shared.send(Parcel::Note(last)).await;
            }
        });
        self.tasks.insert(partition, task.abort_handle());
    }

    /// Stops reading a partition. What was read before may still come.
    pub(super) fn stop(&mut self, partition: i32) {
        if let Some(task) = self.tasks.remove(&partition) {
            task.abort();
        }
    }

    /// What waits, oldest first.
    pub(super) fn take(&mut self) -> Option<Fed> {
        loop {
            if let Some(open) = &mut self.open
                && let Some(message) = open.messages.next()
            {
                let (partition, high_watermark) = (open.partition, open.high_watermark);
                return Some(Fed::Message { partition, message, high_watermark });
            }
            self.open = None;
            match self.receiver.try_recv().ok()? {
                Parcel::Chunk(chunk) => self.open = Some(chunk),
                Parcel::Note(fed) => return Some(fed),
            }
        }
    }

    /// In which format the log goes on at `offset`; waits for the answer, at most 5 s.
    pub(super) fn look(&self, partition: i32, offset: i64) -> Result<LogFormat, KafkaError> {
        let shared = &self.shared;
        self.wait(shared.client.format_at(&shared.topic, partition, offset))
    }

    /// Whether the log holds something at `offset`, and compaction has removed nothing there; waits as `look`. Of messages in an old
    /// format that isn't known.
    pub(super) fn is_whole_at(&self, partition: i32, offset: i64) -> Result<bool, KafkaError> {
        let shared = &self.shared;
        self.wait(shared.client.is_whole_at(&shared.topic, partition, offset))
    }

    /// The topic's id now; empty where brokers have no ids. Waits as `look`.
    pub(super) fn topic_id(&self) -> Result<String, KafkaError> {
        let Shared { client, topic, .. } = &*self.shared;
        let found = self.wait(client.places(std::slice::from_ref(topic)))?.remove(topic);
        let id = found.transpose()?.map(|place| place.id).filter(|id| !id.is_nil());
        Ok(id.map(|id| id.to_string()).unwrap_or_default())
    }

    fn wait<T>(&self, answer: impl Future<Output = Result<T, KafkaError>>) -> Result<T, KafkaError> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    Err(KafkaError::retriable(Reason::STARTING, "the range is drained from this worker"))
                }
                found = answer => found,
            }
        })
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.tasks.values().for_each(AbortHandle::abort);
    }
}

impl Shared {
    async fn send(&self, parcel: Parcel) {
        // Nobody takes any more where the lane has ended.
        let _ = self.sender.send(parcel).await;
        self.owner.unpark();
    }

    /// Reads until there is a reason to end.
    async fn feed(&self, partition: i32, from: i64) -> Option<Fed> {
        let (mut next, mut idle, mut end) = (from, FIRST_IDLE, None);
        while !self.sender.is_closed() {
            let log = match self.fetch(partition, next).await {
                Ok(log) => log,
                Err(error) if error.reason == Reason::CLUSTER_UNREACHABLE => {
                    tracing::debug!(partition, %error, "fetching is interrupted");
                    tokio::time::sleep(AWAY).await;
                    continue;
                }
                Err(error) => return Some(Fed::Failed { partition, error }),
            };
            let high_watermark = log.high_watermark;
            let stable = if log.last_stable_offset >= 0 { log.last_stable_offset } else { high_watermark };
            let mut set = MessageSet::new(log.records, next);
            if let Some(last) = self.hand_over(partition, &mut set, high_watermark).await {
                return Some(last);
            }
            if set.next_offset() > next {
                (next, idle) = (set.next_offset(), FIRST_IDLE);
                continue;
            }
            if next >= stable && end.replace((next, high_watermark)) != Some((next, high_watermark)) {
                self.send(Parcel::Note(Fed::End { partition, next, high_watermark })).await;
            }
            tokio::time::sleep(idle).await;
            idle = (idle * 2).min(MAX_IDLE);
        }
        None
    }

    /// As librdkafka reads: nothing of open transactions, which batches of the present format earlier in the log may belong to.
    async fn fetch(&self, partition: i32, offset: i64) -> Result<FetchedLog, KafkaError> {
        let how = FetchHow { max_bytes: self.fetch_bytes, isolation: Isolation::Committed, max_wait_ms: 0 };
        self.client.fetch_log(&self.topic, partition, offset, how).await
    }

    /// Gives everything of a fetch answer to the lane; returns what ends the reading.
    async fn hand_over(&self, partition: i32, set: &mut MessageSet, high_watermark: i64) -> Option<Fed> {
        let _turn = self.turn.lock().await;
        let (mut messages, mut cost) = (Vec::new(), 0);
        loop {
            let last = match set.next(MAX_UNPACKED) {
                Ok(Some(Entry::Messages(found))) => {
                    cost += found.iter().map(|m| m.size() + RECORD_OVERHEAD).sum::<usize>();
                    messages.extend(found);
                    if cost < CHUNK {
                        continue;
                    }
                    None
                }
                Ok(Some(Entry::Batch { base_offset: at })) => Some(Some(Fed::Turned { partition, at })),
                Err(damaged) => Some(Some(Fed::Damaged { partition, damaged })),
                Ok(None) => Some(None),
            };
            if !messages.is_empty() {
                let _room = self.room(std::mem::take(&mut cost)).await;
                let messages = std::mem::take(&mut messages).into_iter();
                self.send(Parcel::Chunk(Chunk { partition, messages, high_watermark, _room })).await;
            }
            if let Some(last) = last {
                return last;
            }
        }
    }

    /// Waits for room; what is larger than all of it waits until there is nothing else.
    async fn room(&self, bytes: usize) -> OwnedSemaphorePermit {
        let permits = u32::try_from(bytes.min(self.room_bytes)).unwrap_or(u32::MAX);
        self.room.clone().acquire_many_owned(permits).await.expect("this semaphore is never closed")
    }
}
