//! The stream to a controller.
//!
//! It carries facts, not commands: the controller sends the whole work, the worker says what runs. Losing the stream changes
//! nothing about what runs; another replica is tried, with a pause that grows from 100 ms to 2 s.
//!
//! Messages end here: what comes is parsed, what goes is made of the worker's own words.

mod answer;
pub(crate) mod assigned;
mod channel;
mod freshness;
mod inventory;
mod question;
mod report;
mod status;
mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use twinlog_proto::id::WorkerId;
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::reason::{self, Reason};
use twinlog_proto::tls::{ClientTls, explain};

use crate::assignments::{Admitted, Assignments, Refused, Seen};
use crate::backoff::Backoff;
use crate::board::Board;
use crate::metrics;
use crate::query::Queries;

pub(crate) use assigned::Mirrors;

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Who this worker is; the same for the life of the process.
#[derive(Debug, Clone)]
pub struct Identity {
    pub worker: WorkerId,
    /// Of this process, random.
    pub instance: String,
    pub labels: BTreeMap<String, String>,
    /// Ranges; 0: no limit.
    pub capacity: u32,
    pub memory_bytes: u64,
    pub started: SystemTime,
}

/// Where the controllers are and how to reach them.
pub struct Controllers {
    /// Tried in turn; at least one.
    pub addresses: Vec<String>,
    pub tls: ClientTls,
}

/// One worker's side of the session, over reconnects.
pub struct Session {
    pub identity: Identity,
    pub board: Arc<Board>,
    /// Where accepted work goes.
    pub assignments: watch::Sender<Arc<Assignments>>,
    pub queries: Queries,
    pub seen: Seen,
    pub(crate) mirrors: Mirrors,
    /// True while a controller has welcomed us.
    pub connected: watch::Sender<bool>,
}

impl Session {
    /// Keeps a stream to one of the controllers until `stop`; then sends a last report and closes it.
    ///
    /// # Errors
    /// Another process has this worker's id, says the controller: trying again would only throw that one out.
    pub async fn run(
        mut self,
        controllers: Controllers,
        stop: CancellationToken,
    ) -> Result<(), SessionError> {
        let (mut backoff, mut apart) = (Backoff::new(BACKOFF_MIN, BACKOFF_MAX), false);
        for address in controllers.addresses.iter().cycle() {
            if stop.is_cancelled() {
                return Ok(());
            }
            let end = self.hold(address, &controllers.tls, &stop).await;
            if self.connected.send_replace(false) {
                backoff.reset();
                apart = false;
            }
            metrics::session_connected(false);
            match end {
                Ok(()) => return Ok(()),
                Err(error) if error.is_final() => return Err(error),
                // Said once for each time that it is without one, not with every try.
                Err(error) if std::mem::replace(&mut apart, true) => {
                    tracing::debug!(controller = address, error = %error, "no session with this controller either");
                }
                Err(error) => {
                    tracing::warn!(controller = address, error = %error, "no session with this controller; tasks go on");
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(backoff.pause()) => {}
            }
        }
        Ok(())
    }

    /// One connection, to its end. `Ok` only when stopped.
    async fn hold(
        &mut self,
        address: &str,
        tls: &ClientTls,
        stop: &CancellationToken,
    ) -> Result<(), SessionError> {
        let connecting = async {
            let channel = channel::connect(address, tls).await?;
            stream::Stream::open(channel, self.hello()).await
        };
        let stream = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            stream = connecting => stream?,
        };
        metrics::session_opened();
        stream.run(self, stop).await
    }

    fn hello(&self) -> internal::Hello {
        internal::Hello {
            worker_id: self.identity.worker.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            labels: self.identity.labels.clone().into_iter().collect(),
            capacity: i32::try_from(self.identity.capacity).unwrap_or(i32::MAX),
            memory_limit_bytes: i64::try_from(self.identity.memory_bytes).unwrap_or(i64::MAX),
            applied: Some(report::applied(&self.board.applied())),
            start_time: Some(self.identity.started.into()),
            instance: self.identity.instance.clone(),
        }
    }

    /// Takes a set in, or refuses it and says so in the next report. `term` is that of the controller that welcomed us.
    fn admit(&mut self, set: &internal::AssignmentSet, term: i64) {
        let parsed = assigned::parse(set, &mut self.mirrors);
        let epochs = set.tasks.iter().map(|task| task.epoch);
        self.board.saw(epochs.chain([set.term]).max().unwrap_or(0));
        let nothing_to_lose = set.term == term && self.board.is_idle();
        let Admitted { accepted, refused, later } = self.seen.admit(parsed, nothing_to_lose);
        if let Some(Refused { cause, .. }) = &refused {
            tracing::warn!(reason = %cause.reason, message = cause.message, "refused assignments");
            metrics::assignments_refused(cause.reason);
        }
        metrics::assignments_seen(accepted.version);
        self.board.set_refused(refused, later);
        self.assignments.send_if_modified(|current| {
            let changed = !Arc::ptr_eq(current, &accepted);
            *current = accepted;
            changed
        });
    }
}

/// What the controller said, or what broke the connection to it.
fn told(status: &tonic::Status) -> String {
    explain(status, "").unwrap_or_else(|| format!("{} ({:?})", status.message(), status.code()))
}

/// Why a session ended or did not begin. All of it heals by trying again, but for a worker id that another process has.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("the TLS settings can't be used: {0}")]
    Tls(#[from] twinlog_proto::tls::TlsError),
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("refused: {}", told(.0))]
    Refused(tonic::Status),
    #[error("lost: {}", told(.0))]
    Lost(tonic::Status),
    #[error("closed by the controller")]
    Closed,
    #[error(
        "the assignments that came are {0:?} old: this worker was asleep or cut off for longer than its lease, and others may have its tasks"
    )]
    Stale(Duration),
    #[error("no answer within {0:?}")]
    Silent(Duration),
}

impl SessionError {
    fn is_final(&self) -> bool {
        let Self::Refused(status) = self else { return false };
        reason::reason_of(status).as_deref() == Some(Reason::WORKER_ID_IN_USE.as_str())
    }
}
