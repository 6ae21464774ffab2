//! Finding and ending what earlier owners of transactional ids left behind.

use std::time::Duration;

use futures::future::try_join_all;
use kafka_protocol::messages::{InitProducerIdRequest, ListTransactionsRequest, TransactionalId};
use tokio::time::Instant;

use crate::kafka::wire::client::KafkaClient;
use crate::kafka::wire::code::{
    Ask, CONCURRENT_TRANSACTIONS, COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR,
};
use crate::kafka::wire::coordinators::find;
use crate::kafka::wire::error::KafkaError;
use crate::kafka::wire::pool::Use;
use crate::kafka::wire::route::To;
use crate::kafka::wire::types::text;
use crate::kafka::wire::types::{AclOperation, AclResource};

const KEY_TYPE_TRANSACTION: i8 = 1;
/// A coordinator ends a transaction within milliseconds once it was asked to.
const BACKOFF: Duration = Duration::from_millis(5);

/// A transaction that nobody has begun to end.
const ONGOING: &str = "Ongoing";

impl KafkaClient {
    /// Transactional ids that have an open transaction now, as far as this client may DESCRIBE them. It asks every broker.
    ///
    /// # Errors
    /// UNSUPPORTED_VERSION: a broker before 3.0 can't tell.
    pub async fn open_transactions(&self) -> Result<Vec<String>, KafkaError> {
        let deadline = self.until();
        self.router
            .retry(deadline, || async {
                self.router.refresh(&[], deadline).await?;
                let brokers: Vec<i32> = self.router.known().brokers().map(|b| b.id).collect();
                let lists = brokers.into_iter().map(|id| self.open_transactions_of(id, deadline));
                Ok(try_join_all(lists).await?.into_iter().flatten().collect())
            })
            .await
    }

    async fn open_transactions_of(&self, broker: i32, deadline: Instant) -> Result<Vec<String>, KafkaError> {
        let build = |_| Ok(ListTransactionsRequest::default().with_state_filters(vec![text(ONGOING)]));
        let answer = self.router.send(To::Broker(broker), Use::Control, deadline, &build).await?.body;
        let ask = Ask::cluster("list transactions", AclOperation::Describe);
        ask.check(self.properties(), answer.error_code, None)?;
        Ok(answer.transaction_states.iter().map(|state| state.transactional_id.to_string()).collect())
    }

    /// Fences every earlier owner of a transactional id and waits until its open transaction has been aborted. Returns the
    /// new epoch's producer id and epoch; nobody has to use them: the next caller fences this one.
    ///
    /// # Errors
    /// What the coordinator refuses, or what was wrong last when `patience` ran out.
    pub async fn end_open_transaction(
        &self,
        id: &str,
        transaction_timeout: Duration,
        patience: Duration,
    ) -> Result<(i64, i16), KafkaError> {
        let deadline = Instant::now() + patience;
        loop {
            let error = match self.init_producer_id(id, transaction_timeout, deadline).await {
                Ok(identity) => return Ok(identity),
                Err(error) => error,
            };
            let heals = matches!(
                error.code,
                CONCURRENT_TRANSACTIONS
                    | NOT_COORDINATOR
                    | COORDINATOR_NOT_AVAILABLE
                    | COORDINATOR_LOAD_IN_PROGRESS
            );
            if !heals || Instant::now() + BACKOFF >= deadline {
                return Err(error);
            }
            tokio::time::sleep(BACKOFF).await;
        }
    }

    async fn init_producer_id(
        &self,
        id: &str,
        transaction_timeout: Duration,
        deadline: Instant,
    ) -> Result<(i64, i16), KafkaError> {
        let ask = Ask {
            doing: "use",
            operation: AclOperation::Write,
            resource: AclResource::TransactionalId,
            name: id,
        };
        let coordinator = self.transaction_coordinator(&ask, deadline).await?;
        let timeout_ms = i32::try_from(transaction_timeout.as_millis()).unwrap_or(i32::MAX);
        let build = |_| {
            Ok(InitProducerIdRequest::default()
                .with_transactional_id(Some(TransactionalId(text(id))))
                .with_transaction_timeout_ms(timeout_ms))
        };
        let answer = self.router.send(To::Broker(coordinator), Use::Control, deadline, &build).await?.body;
        ask.check(self.properties(), answer.error_code, None)?;
        Ok((answer.producer_id.0, answer.producer_epoch))
    }

    /// A producer id of nobody's transactions, new for each call, and its epoch.
    ///
    /// # Errors
    /// The cluster can't be asked, or gives none: it needs IDEMPOTENT_WRITE on the cluster, or WRITE on some topic.
    pub(crate) async fn new_producer_id(&self) -> Result<(i64, i16), KafkaError> {
        let deadline = self.until();
        let ask = Ask::cluster("get a producer id", AclOperation::IdempotentWrite);
        let build = |_| Ok(InitProducerIdRequest::default().with_transactional_id(None));
        self.router
            .retry(deadline, || async {
                let answer = self.router.send(To::Any, Use::Control, deadline, &build).await?.body;
                ask.check(self.properties(), answer.error_code, None)?;
                Ok((answer.producer_id.0, answer.producer_epoch))
            })
            .await
    }

    pub(super) async fn transaction_coordinator(
        &self,
        ask: &Ask<'_>,
        deadline: Instant,
    ) -> Result<i32, KafkaError> {
        let names = [ask.name.to_owned()];
        let build = |version| Ok(find(version, ask.name, &names).with_key_type(KEY_TYPE_TRANSACTION));
        let answer = self.router.send(To::Any, Use::Control, deadline, &build).await?.body;
        let (code, detail, node) = match answer.coordinators.first() {
            Some(found) => (found.error_code, found.error_message.as_deref(), found.node_id),
            None => (answer.error_code, answer.error_message.as_deref(), answer.node_id),
        };
        ask.check(self.properties(), code, detail)?;
        Ok(node.0)
    }
}
