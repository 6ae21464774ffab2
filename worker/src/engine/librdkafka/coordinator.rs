//! Exactly once: getting a range's transactional id, which fences every earlier owner, and saying why it can't be had.

use std::time::{Duration, Instant};

use rdkafka_sys::types::RDKafkaErrorCode as Code;
use tokio::runtime::Handle;
use twinlog_proto::reason::Reason;

use super::ffi;
use super::ffi::target::Target;
use crate::cause::Cause;
use crate::engine::{NotOpened, Opening, TRANSACTION_TIMEOUT};

/// One wait for the transaction coordinator.
const INIT_STEP: Duration = Duration::from_millis(200);
/// After this time a coordinator that does not answer is worth a word in the status.
const INIT_PATIENCE: Duration = Duration::from_secs(3);
/// The cluster is asked why this often.
const INIT_LOOK: Duration = Duration::from_secs(10);
/// After this the lane makes its clients anew.
const INIT_AGAIN: Duration = Duration::from_secs(60);

pub(super) struct Coordinator<'a> {
    opening: &'a Opening,
    runtime: &'a Handle,
    target: &'a Target,
    id: &'a str,
}

impl<'a> Coordinator<'a> {
    pub(super) fn new(opening: &'a Opening, runtime: &'a Handle, target: &'a Target, id: &'a str) -> Self {
        Self { opening, runtime, target, id }
    }

    /// Makes the producer the owner of the transactional id.
    pub(super) fn own(&self) -> Result<(), NotOpened> {
        let patience = if self.end_open_transaction()? { INIT_PATIENCE } else { Duration::ZERO };
        self.init_transactions(patience)
    }

    /// Waits for an answer, not longer than the lane is wanted.
    fn ask<T>(&self, answer: impl Future<Output = T>) -> Result<T, NotOpened> {
        let stop = self.opening.control.stop();
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = stop.cancelled() => Err(NotOpened::Drained),
                answer = answer => Ok(answer),
            }
        })
    }

    /// The producer does this too, but asks again only after half a second where the coordinator needs some milliseconds. False
    /// where it didn't work.
    fn end_open_transaction(&self) -> Result<bool, NotOpened> {
        let (client, id, began) = (&self.opening.target.client, self.id, Instant::now());
        let ended = self.ask(client.end_open_transaction(id, TRANSACTION_TIMEOUT, INIT_PATIENCE))?;
        match &ended {
            Ok(_) => tracing::debug!(id, took = ?began.elapsed(), "earlier owners are fenced"),
            Err(error) => tracing::debug!(id, %error, "fencing is left to the producer"),
        }
        Ok(ended.is_ok())
    }

    fn init_transactions(&self, patience: Duration) -> Result<(), NotOpened> {
        let (began, mut said) = (Instant::now(), None::<Instant>);
        let control = &self.opening.control;
        loop {
            if control.is_draining() {
                return Err(NotOpened::Drained);
            }
            if control.turn().is_over() {
                return Err(NotOpened::TurnOver);
            }
            let error = match self.target.init_transactions(INIT_STEP) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if !error.retriable {
                return Err(failed(error));
            }
            if began.elapsed() >= INIT_AGAIN {
                // With what is known of the cluster by then.
                return Err(NotOpened::Waited);
            }
            if began.elapsed() >= patience && said.is_none_or(|at| at.elapsed() >= INIT_LOOK) {
                let cause = self.without_coordinator(self.target.take_trouble().unwrap_or(error))?;
                self.opening.waits.send_replace(Some(cause));
                said = Some(Instant::now());
            }
        }
    }

    /// Why the transactional id has no coordinator. Where the cluster can be asked, it says more than librdkafka.
    fn without_coordinator(&self, trouble: ffi::Error) -> Result<Cause, NotOpened> {
        let (target, id) = (&self.opening.target, self.id);
        let client = target.client.with_deadline(INIT_PATIENCE);
        if let Ok(Some(text)) = self.ask(client.transactions_trouble())? {
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
}

fn failed(error: ffi::Error) -> NotOpened {
    match error.code {
        Code::InvalidTransactionTimeout => NotOpened::PatienceRefused(error.into()),
        Code::TransactionalIdAuthorizationFailed => NotOpened::Forbidden,
        _ => NotOpened::Target(error.into()),
    }
}
