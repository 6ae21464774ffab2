//! Looks at the target aside from the producer: where the copies end, and whether the topics of progress are there. The lane's thread
//! waits for the answers, so they are asked for only where nothing moves.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use twinlog_proto::reason::Reason;

use crate::kafka::{Isolation, KafkaClient, OffsetSpec};

/// A look ends after this time: what is away is waited for elsewhere.
const CALL: Duration = Duration::from_secs(2);

pub(super) struct CopyEnds {
    client: KafkaClient,
    topic: String,
    runtime: Handle,
    stop: CancellationToken,
}

impl CopyEnds {
    pub(super) fn new(client: &KafkaClient, topic: &str, runtime: &Handle, stop: &CancellationToken) -> Self {
        let client = client.with_deadline(CALL);
        Self { client, topic: topic.to_owned(), runtime: runtime.clone(), stop: stop.clone() }
    }

    /// High watermarks of partitions; those that can't be asked for now are left out.
    pub(super) fn of(&self, partitions: &[i32]) -> BTreeMap<i32, i64> {
        let wanted: Vec<_> =
            partitions.iter().map(|p| (self.topic.clone(), *p, OffsetSpec::Latest)).collect();
        let listed = self.wait(self.client.list_offsets(&wanted, Isolation::Uncommitted));
        let ends = listed.and_then(Result::ok).unwrap_or_default();
        ends.into_iter().filter_map(|((_, partition), end)| Some((partition, end.ok()?.offset))).collect()
    }

    /// The first of these topics of which the target says that it doesn't exist.
    pub(super) fn missing(&self, topics: &[&str]) -> Option<String> {
        let names: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let found = self.wait(self.client.topics(Some(&names)))?.ok()?;
        let gone = |error: &crate::kafka::KafkaError| error.reason == Reason::TOPIC_NOT_FOUND;
        found.into_iter().find(|topic| topic.error.as_ref().is_some_and(gone)).map(|topic| topic.name)
    }

    fn wait<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => None,
                answer = answer => Some(answer),
            }
        })
    }
}
