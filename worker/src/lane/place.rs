//! A place in a log: a topic and its partition, and where that begins and ends.

use twinlog_proto::reason::Reason;

use crate::kafka::{Isolation, KafkaClient, KafkaError, OffsetSpec};

#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
}

/// First offset and high watermark of a partition.
pub(super) async fn ends(
    client: &KafkaClient,
    Place { topic, partition }: Place<'_>,
) -> Result<(i64, i64), KafkaError> {
    let one = |spec| {
        let wanted = [(topic.to_owned(), partition, spec)];
        async move {
            let mut found = client.list_offsets(&wanted, Isolation::Uncommitted).await?;
            let key = (wanted[0].0.clone(), partition);
            let missing = || {
                KafkaError::retriable(
                    Reason::KAFKA_ERROR,
                    format!("{topic} partition {partition} was not listed"),
                )
            };
            found.remove(&key).unwrap_or_else(|| Err(missing())).map(|o| o.offset)
        }
    };
    tokio::try_join!(one(OffsetSpec::Earliest), one(OffsetSpec::Latest))
}
