//! How the clients of a lane are set: what the guarantees need is fixed, what tunes speed and memory gives way to the
//! cluster's own `consumer.*` and `producer.*` properties.

use std::time::Duration;

use rdkafka::ClientConfig;
use twinlog_proto::model::Compression;

use crate::engine::TRANSACTION_TIMEOUT;

/// What librdkafka and the allocator need per queued record besides its bytes, about.
pub(crate) const RECORD_OVERHEAD: usize = 400;
/// A fetch answer may carry one batch of any size that brokers allow; bytes.
const MAX_ANSWER: u32 = 1 << 30;
/// librdkafka's upper limit: the target broker decides what is too large.
const MAX_MESSAGE: u32 = 1_000_000_000;
const MIN_FETCH: usize = 64 << 10;
const MAX_FETCH: usize = 1 << 20;

/// Each record waits this long for company. Where there is a backlog batches fill while others are in flight; where there is
/// none, this is most of what copying adds to a record's age.
const MAX_LINGER: Duration = Duration::from_millis(1);

/// How a lane's share of memory is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Bytes of records, overhead counted, that may wait for acknowledgements.
    pub(crate) in_flight: usize,
    /// Bytes fetched and not yet produced, in all and per partition.
    pub(crate) fetched: usize,
    fetched_per_partition: usize,
    /// Bytes one fetch asks for, per partition and in all.
    pub(crate) fetch_per_partition: usize,
    fetch: usize,
}

impl Memory {
    /// Half for what is in flight, an eighth for what waits to be produced, the rest for the answer that is being received and
    /// for what it becomes when unpacked.
    pub(crate) fn divide(share_bytes: u64, partitions: usize) -> Self {
        let share = usize::try_from(share_bytes).unwrap_or(usize::MAX);
        let partitions = partitions.max(1);
        Self {
            in_flight: share / 2,
            fetched: share / 8,
            fetched_per_partition: share / 8 / partitions,
            fetch_per_partition: (share / 8 / partitions).clamp(MIN_FETCH, MAX_FETCH),
            fetch: (share / 8).clamp(MIN_FETCH, 8 * MAX_FETCH),
        }
    }
}

/// File descriptors that the clients of a lane open, by addresses of source and target that they know: for each a connection
/// and a pair of pipe ends to wake its thread by. The reader of progress is closed early.
pub(crate) fn descriptors(source: usize, target: usize) -> u64 {
    const PER_ADDRESS: usize = 3;
    /// A client's pipe of its own.
    const PER_CLIENT: usize = 2;
    /// The transaction coordinator is an address of its own.
    const COORDINATOR: usize = 1;
    let client = |addresses: usize| PER_CLIENT + PER_ADDRESS * addresses.max(1);
    let all = client(source) + client(target + COORDINATOR) + client(target);
    u64::try_from(all).unwrap_or(u64::MAX)
}

/// Fixed keys win over the user's, tuned ones give way.
struct Settings(ClientConfig);

impl Settings {
    /// `base`: where and as whom to connect, and what the cluster's properties set.
    fn new(base: ClientConfig) -> Self {
        let mut settings = Self(base);
        settings
            .tune("log.connection.close", "false")
            .tune("reconnect.backoff.ms", "50")
            .tune("reconnect.backoff.max.ms", "1000")
            .tune("socket.connection.setup.timeout.ms", "5000")
            .tune("socket.timeout.ms", "30000")
            .tune("retry.backoff.ms", "50")
            .tune("topic.metadata.refresh.fast.interval.ms", "50")
            .fix("allow.auto.create.topics", "false");
        settings
    }

    fn fix(&mut self, key: &str, value: impl ToString) -> &mut Self {
        self.0.set(key, value.to_string());
        self
    }

    fn tune(&mut self, key: &str, value: impl ToString) -> &mut Self {
        if self.0.get(key).is_none() {
            self.0.set(key, value.to_string());
        }
        self
    }
}

/// A reader that sees committed records only, starts where it is told and never jumps.
pub(crate) fn source(base: ClientConfig, memory: &Memory) -> ClientConfig {
    let queued = memory.fetched_per_partition;
    let mut settings = Settings::new(base);
    settings
        .fix("isolation.level", "read_committed")
        .fix("auto.offset.reset", "error")
        .fix("enable.partition.eof", "true")
        .fix("enable.auto.commit", "false")
        .fix("enable.auto.offset.store", "false")
        .tune("check.crcs", "true")
        .tune("fetch.wait.max.ms", "250")
        .tune("fetch.error.backoff.ms", "50")
        .tune("fetch.queue.backoff.ms", "2")
        .tune("queued.max.messages.kbytes", (queued >> 10).max(1))
        .tune("queued.min.messages", (queued / RECORD_OVERHEAD).max(100))
        .tune("fetch.message.max.bytes", memory.fetch_per_partition)
        .tune("message.max.bytes", memory.fetch)
        .tune("fetch.max.bytes", memory.fetch)
        .tune("receive.message.max.bytes", MAX_ANSWER);
    settings.0
}

/// What the producer of a lane depends on.
pub(crate) struct TargetSettings<'a> {
    pub(crate) transactional_id: Option<&'a str>,
    pub(crate) compression: Compression,
    pub(crate) target_latency: Duration,
    /// Batches hold at most so many bytes.
    pub(crate) batch_size: usize,
    /// What a transaction, or a request, may take.
    pub(crate) patience: Duration,
}

/// A writer that keeps order, acknowledges only what is replicated, and never gives up by itself.
pub(crate) fn target(base: ClientConfig, memory: &Memory, settings: &TargetSettings<'_>) -> ClientConfig {
    let linger = (settings.target_latency / 4).min(MAX_LINGER);
    let mut config = Settings::new(base);
    config
        .fix("acks", "all")
        .fix("enable.idempotence", "true")
        .fix("delivery.report.only.error", "false")
        .tune("max.in.flight.requests.per.connection", "5")
        .tune("linger.ms", linger.as_secs_f64() * 1000.0)
        .tune("compression.codec", settings.compression.as_str())
        .tune("batch.num.messages", "100000")
        .fix("batch.size", settings.batch_size)
        .fix("message.max.bytes", MAX_MESSAGE)
        // The lane holds the bound; these only must never be reached before it.
        .fix("queue.buffering.max.kbytes", (memory.in_flight >> 10) * 2 + (MAX_MESSAGE as usize >> 10))
        .fix("queue.buffering.max.messages", "0");
    if settings.patience > TRANSACTION_TIMEOUT {
        // Brokers hold requests back; a request that is given up and made again takes twice of the quota.
        let patience = settings.patience.as_millis();
        config.fix("socket.timeout.ms", patience).fix("transaction.timeout.ms", patience);
    }
    match settings.transactional_id {
        Some(id) => {
            config.fix("transactional.id", id).tune("transaction.timeout.ms", TRANSACTION_TIMEOUT.as_millis())
        }
        None => config.fix("message.timeout.ms", "0").fix("enable.gapless.guarantee", "true"),
    };
    config.0
}
