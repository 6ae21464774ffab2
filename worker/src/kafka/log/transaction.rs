//! One producer's transactions: adding partitions, and ending them. The records go their own way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, EndTxnRequest, EndTxnResponse, ProducerId,
    TopicName, TransactionalId,
};
use tokio::time::{Instant, sleep};
use twinlog_proto::reason::Reason;

use super::fetch_session::Spot;
use crate::kafka::wire::api::Api;
use crate::kafka::wire::client::KafkaClient;
use crate::kafka::wire::code::{self, Ask};
use crate::kafka::wire::error::KafkaError;
use crate::kafka::wire::pool::Use;
use crate::kafka::wire::route::To;
use crate::kafka::wire::types::{AclOperation, AclResource, text};

/// The markers of the transaction before are written within milliseconds.
const FIRST_BACKOFF: Duration = Duration::from_millis(2);
const MAX_BACKOFF: Duration = Duration::from_millis(200);

/// A producer that owns a transactional id, as long as nobody else takes it.
#[derive(Debug, Clone)]
pub(crate) struct Transactions {
    client: KafkaClient,
    id: Arc<str>,
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
    /// As it was found last.
    coordinator: Arc<Mutex<Option<i32>>>,
}

impl Transactions {
    /// `identity`: what the coordinator gave for this id.
    pub(crate) fn new(client: KafkaClient, id: Arc<str>, identity: (i64, i16)) -> Self {
        let (producer_id, epoch) = identity;
        Self { client, id, producer_id, epoch, coordinator: Arc::default() }
    }

    pub(crate) fn id(&self) -> Arc<str> {
        self.id.clone()
    }

    /// These partitions belong to the transaction that is open now, or that begins with them.
    ///
    /// # Errors
    /// The coordinator refuses it, or did not answer within `patience`.
    pub(crate) async fn add(&self, spots: &[Spot], patience: Duration) -> Result<(), KafkaError> {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for spot in spots {
            topics.entry(&spot.topic).or_default().push(spot.partition);
        }
        let topics: Vec<AddPartitionsToTxnTopic> = topics
            .into_iter()
            .map(|(topic, partitions)| {
                let name = TopicName(text(topic));
                AddPartitionsToTxnTopic::default().with_name(name).with_partitions(partitions)
            })
            .collect();
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(TransactionalId(text(&self.id)))
            .with_v3_and_below_producer_id(ProducerId(self.producer_id))
            .with_v3_and_below_producer_epoch(self.epoch)
            .with_v3_and_below_topics(topics);
        let code_of = |answer: &AddPartitionsToTxnResponse| {
            let results = answer.results_by_topic_v3_and_below.iter();
            let codes = results.flat_map(|topic| &topic.results_by_partition);
            // Of several partitions those beside the one that was refused were only not tried.
            let codes = codes.map(|result| result.partition_error_code).filter(|code| *code != code::NONE);
            codes.min_by_key(|code| *code == code::OPERATION_NOT_ATTEMPTED).unwrap_or(code::NONE)
        };
        self.until_done("add partitions to a transaction of", request, patience, code_of).await
    }

    /// Commits or aborts; returns when the end is noted. The markers in the partitions follow.
    ///
    /// # Errors
    /// The coordinator refuses it, or did not answer within `patience`: then it may have ended either way.
    pub(crate) async fn end(&self, commit: bool, patience: Duration) -> Result<(), KafkaError> {
        let request = EndTxnRequest::default()
            .with_transactional_id(TransactionalId(text(&self.id)))
            .with_producer_id(ProducerId(self.producer_id))
            .with_producer_epoch(self.epoch)
            .with_committed(commit);
        // Where it says that another one is at it, that was the try before, which may still fail: it is asked until it has ended.
        let code_of = |answer: &EndTxnResponse| answer.error_code;
        self.until_done("end a transaction of", request, patience, code_of).await
    }

    /// A transaction with nothing in it, over these partitions: when it returns, its markers are written wherever there is a leader. They
    /// raise the producer's epoch in the partitions' logs, and end what earlier markers that were left out should have ended.
    ///
    /// # Errors
    /// The coordinator refuses it, or did not answer within `patience`.
    pub(crate) async fn mark(
        &self,
        spots: &[Spot],
        commit: bool,
        patience: Duration,
    ) -> Result<(), KafkaError> {
        self.add(spots, patience).await?;
        self.end(commit, patience).await?;
        // Asked again, the coordinator says that it is at it until all markers are written.
        self.end(commit, patience).await
    }

    /// Has the coordinator do it, until it is done, or can't be.
    async fn until_done<R: Api + Clone>(
        &self,
        doing: &'static str,
        request: R,
        patience: Duration,
        code_of: impl Fn(&R::Response) -> i16,
    ) -> Result<(), KafkaError> {
        let (deadline, mut backoff) = (Instant::now() + patience, FIRST_BACKOFF);
        let build = |_| Ok(request.clone());
        loop {
            let done = async {
                let to = To::Broker(self.coordinator(deadline).await?);
                let answer = self.client.router.send(to, Use::Control, deadline, &build).await?.body;
                self.check(doing, code_of(&answer))
            };
            let done = done.await;
            let Err(error) = done else { return Ok(()) };
            if !error.retriable || Instant::now() + backoff >= deadline {
                return Err(error);
            }
            if error.code != code::CONCURRENT_TRANSACTIONS {
                *self.known() = None;
            }
            sleep(backoff).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<i32>> {
        self.coordinator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn coordinator(&self, deadline: Instant) -> Result<i32, KafkaError> {
        if let Some(known) = *self.known() {
            return Ok(known);
        }
        let found =
            self.client.transaction_coordinator(&self.ask("find the coordinator of"), deadline).await?;
        *self.known() = Some(found);
        Ok(found)
    }

    fn ask(&self, doing: &'static str) -> Ask<'_> {
        let (operation, resource) = (AclOperation::Write, AclResource::TransactionalId);
        Ask { doing, operation, resource, name: &self.id }
    }

    fn check(&self, doing: &'static str, error: i16) -> Result<(), KafkaError> {
        let checked = self.ask(doing).check(self.client.properties(), error, None);
        checked.map_err(|refused| match error {
            // What brokers before 2.8 say of an owner that was replaced.
            code::INVALID_PRODUCER_EPOCH => KafkaError { reason: Reason::FENCED, ..refused },
            _ => refused,
        })
    }
}
