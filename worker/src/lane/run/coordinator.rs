//! Exactly once: getting a range's transactional id, which fences every earlier owner, and saying why it can't be had.

use std::time::{Duration, Instant};

use rdkafka_sys::types::RDKafkaErrorCode as Code;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1::State;

use super::{End, Runner, Step};
use crate::cause::Cause;
use crate::engine::librdkafka::config;
use crate::engine::librdkafka::ffi;
use crate::engine::librdkafka::ffi::target::Target;

/// One wait for the transaction coordinator.
const INIT_STEP: Duration = Duration::from_millis(200);
/// After this time a coordinator that does not answer is worth a word in the status.
const INIT_PATIENCE: Duration = Duration::from_secs(3);
/// The cluster is asked why this often.
const INIT_LOOK: Duration = Duration::from_secs(10);
/// After this the lane makes its clients anew.
const INIT_AGAIN: Duration = Duration::from_secs(60);

impl Runner {
    /// Makes the producer the owner of the transactional id.
    pub(super) fn own(&mut self, target: &Target, id: &str) -> Step<()> {
        let patience = if self.end_open_transaction(id)? { INIT_PATIENCE } else { Duration::ZERO };
        self.init_transactions(target, id, patience)
    }

    /// The producer does this too, but asks again only after half a second where the coordinator needs some milliseconds. False
    /// where it didn't work.
    fn end_open_transaction(&self, id: &str) -> Step<bool> {
        let client = self.spec.target.client.clone();
        let began = Instant::now();
        self.ask(async {
            let ended = client.end_open_transaction(id, config::TRANSACTION_TIMEOUT, INIT_PATIENCE).await;
            match &ended {
                Ok(_) => tracing::debug!(id, took = ?began.elapsed(), "earlier owners are fenced"),
                Err(error) => tracing::debug!(id, %error, "fencing is left to the producer"),
            }
            Ok::<bool, Cause>(ended.is_ok())
        })
    }

    fn init_transactions(&mut self, target: &Target, id: &str, patience: Duration) -> Step<()> {
        let (began, mut said) = (Instant::now(), None::<Instant>);
        loop {
            if self.control.is_draining() {
                return Err(End::Again);
            }
            if self.control.turn().is_over() {
                return Err(self.give_way());
            }
            let error = match target.init_transactions(INIT_STEP) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if !error.retriable {
                return Err(self.init_failed(id, &error));
            }
            if began.elapsed() >= INIT_AGAIN {
                // With what is known of the cluster by then.
                return Err(self.trouble.clone().map_or(End::Again, End::Later));
            }
            if began.elapsed() >= patience && said.is_none_or(|at| at.elapsed() >= INIT_LOOK) {
                let cause = self.without_coordinator(id, target.take_trouble().unwrap_or(error))?;
                self.say_trouble(&cause);
                self.board.not_running(State::Waiting, cause);
                said = Some(Instant::now());
            }
        }
    }

    /// Why the transactional id has no coordinator. Where the cluster can be asked, it says more than librdkafka.
    fn without_coordinator(&self, id: &str, trouble: ffi::Error) -> Step<Cause> {
        let target = &self.spec.target;
        let client = target.client.with_deadline(INIT_PATIENCE);
        let asked = self.ask(async { Ok::<_, Cause>(client.transactions_trouble().await) })?;
        if let Ok(Some(text)) = asked {
            return Ok(Cause::new(Reason::TRANSACTIONS_UNAVAILABLE, text));
        }
        let servers = target.properties.bootstrap_servers().join(",");
        let message = format!(
            "target cluster {} ({servers}): no transaction coordinator for {id} yet: {}",
            target.id, trouble.text
        );
        let reason = ffi::reason_when_away(&trouble).unwrap_or(Reason::WAITING_FOR_CLUSTER);
        Ok(Cause::new(reason, message))
    }

    fn init_failed(&mut self, id: &str, error: &ffi::Error) -> End {
        let principal = self.spec.target.properties.principal().unwrap_or_else(|| "the worker".to_owned());
        match error.code {
            Code::InvalidTransactionTimeout if self.patience > config::TRANSACTION_TIMEOUT => {
                self.patience = config::TRANSACTION_TIMEOUT;
                End::Again
            }
            Code::TransactionalIdAuthorizationFailed => Cause::new(
                Reason::MISSING_PERMISSION,
                format!(
                    "{principal} needs WRITE and DESCRIBE on transactional id {id} of cluster {}",
                    self.spec.target.id
                ),
            )
            .into(),
            _ => self.unusable("target", error),
        }
    }
}
