//! One open stream: reports out, work and questions in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::Channel;
use twinlog_proto::id::MirrorId;
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::internal::v1::worker_service_client::WorkerServiceClient;
use twinlog_proto::internal::v1::{controller_message, worker_message};

use super::freshness::Freshness;
use super::{Session, SessionError, answer, inventory, question, report};
use crate::board::{Report, Told};
use crate::metrics;
use crate::query::Answer;

/// Messages that wait for the network at most. A report that finds no room is left out: the next one says it.
const OUT_QUEUE: usize = 64;
/// Answers to questions that wait to be sent at most.
const ANSWER_QUEUE: usize = 32;
/// Largest message either way. An assignment of 10,000 ranges has about 2 MiB.
const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// For the stream to open and for the welcome.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// For the controller to take the last report and close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
const DEFAULT_REPORT_INTERVAL: Duration = Duration::from_millis(500);
const MIN_REPORT_INTERVAL: Duration = Duration::from_millis(50);
const MAX_REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// A report has all tasks this often, also those without news: when their source was seen last is told by that.
const WHOLE_EVERY: Duration = Duration::from_secs(10);
/// Changes are reported at once, but not more often than this.
const MIN_REPORT_GAP: Duration = Duration::from_millis(50);

pub(super) struct Stream {
    out: mpsc::Sender<internal::WorkerMessage>,
    inbound: Streaming<internal::ControllerMessage>,
    report_interval: Duration,
    freshness: Freshness,
    /// Of the leader that welcomed us.
    term: i64,
    /// It needn't be told again what it has been told.
    takes_news: bool,
}

impl Stream {
    pub(super) async fn open(channel: Channel, hello: internal::Hello) -> Result<Self, SessionError> {
        let mut client = WorkerServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (out, queue) = mpsc::channel(OUT_QUEUE);
        out.try_send(message(worker_message::Message::Hello(hello))).expect("the queue is new and empty");
        let hello_sent = Instant::now();
        let opening = async {
            let mut inbound =
                client.session(ReceiverStream::new(queue)).await.map_err(SessionError::Refused)?.into_inner();
            let welcome = welcome(&mut inbound).await?;
            Ok::<_, SessionError>((inbound, welcome))
        };
        let (inbound, welcome) = tokio::time::timeout(OPEN_TIMEOUT, opening)
            .await
            .map_err(|_| SessionError::Silent(OPEN_TIMEOUT))??;
        tracing::info!(controller = welcome.controller, term = welcome.term, "session open");
        let report_interval = match u64::try_from(welcome.report_interval_ms) {
            Ok(0) | Err(_) => DEFAULT_REPORT_INTERVAL,
            Ok(ms) => Duration::from_millis(ms).clamp(MIN_REPORT_INTERVAL, MAX_REPORT_INTERVAL),
        };
        let freshness = Freshness::new(&welcome, hello_sent);
        let (term, takes_news) = (welcome.term, welcome.takes_news);
        Ok(Self { out, inbound, report_interval, freshness, term, takes_news })
    }

    /// Until the stream breaks (an error) or `stop` (fine).
    pub(super) async fn run(
        mut self,
        session: &mut Session,
        stop: &CancellationToken,
    ) -> Result<(), SessionError> {
        session.connected.send_replace(true);
        metrics::session_connected(true);
        let mut urgent = session.board.urgent();
        let (answers_in, mut answers) = mpsc::channel::<Answer>(ANSWER_QUEUE);
        let (mut sent, mut sent_ends) = (BTreeMap::new(), BTreeMap::new());
        let mut told = Told::default();
        let mut last_report = Instant::now();
        // A controller that has just begun may not know yet what it is told of.
        let (settled, mut whole_due) = (last_report + WHOLE_EVERY, last_report);
        // At once: a new controller shall not wait for the interval.
        let mut next_report = last_report;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.close(session).await;
                    return Ok(());
                }
                received = self.inbound.message() => match received.map_err(SessionError::Lost)? {
                    Some(received) => self.handle(session, received, &answers_in)?,
                    None => return Err(SessionError::Closed),
                },
                Some(said) = answers.recv() => {
                    self.send(worker_message::Message::Answer(answer::message(said)));
                }
                () = tokio::time::sleep_until(next_report) => {
                    self.send_new(session.board.inventories(), &mut sent, |mirror, found| {
                        worker_message::Message::Inventory(inventory::report(mirror, found))
                    });
                    self.send_new(session.board.source_ends(), &mut sent_ends, |mirror, ends| {
                        worker_message::Message::SourceEnds(inventory::source_ends(mirror, ends))
                    });
                    last_report = Instant::now();
                    let sequence = self.freshness.report(last_report);
                    let news_only = self.takes_news && (settled..whole_due).contains(&last_report);
                    if let Ok(room) = self.out.try_reserve() {
                        let report = session.board.report(metrics::resident_bytes(), &told, news_only);
                        told.enter(&report);
                        room.send(message(said(report, sequence)));
                        whole_due = if news_only { whole_due } else { last_report + WHOLE_EVERY };
                    }
                    next_report = last_report + self.report_interval;
                }
                () = changed(&mut urgent) => next_report = next_report.min(last_report + MIN_REPORT_GAP),
            }
        }
    }

    fn handle(
        &self,
        session: &mut Session,
        received: internal::ControllerMessage,
        answers: &mpsc::Sender<Answer>,
    ) -> Result<(), SessionError> {
        match received.message {
            Some(controller_message::Message::Assignments(set)) => {
                self.freshness.check(set.heard_report, Instant::now()).map_err(SessionError::Stale)?;
                session.admit(&set, self.term);
            }
            Some(controller_message::Message::Query(query)) => {
                session.queries.ask(question::parse(query), answers.clone());
            }
            Some(controller_message::Message::Welcome(welcome)) => {
                tracing::info!(controller = welcome.controller, term = welcome.term, "welcomed again");
            }
            None => tracing::warn!("a message of a kind this worker doesn't know: the controller is newer"),
        }
        Ok(())
    }

    /// False where the queue is full.
    fn send(&self, message: worker_message::Message) -> bool {
        self.out.try_send(self::message(message)).is_ok()
    }

    /// What this controller doesn't have yet.
    fn send_new<T>(
        &self,
        known: BTreeMap<MirrorId, Arc<T>>,
        sent: &mut BTreeMap<MirrorId, Arc<T>>,
        message: impl Fn(&MirrorId, &T) -> worker_message::Message,
    ) {
        sent.retain(|mirror, _| known.contains_key(mirror));
        for (mirror, report) in known {
            let is_new = sent.get(&mirror).is_none_or(|before| !Arc::ptr_eq(before, &report));
            if is_new && self.send(message(&mirror, &report)) {
                sent.insert(mirror, report);
            }
        }
    }

    /// Says a last time what runs (nothing, if all went well), so that the ranges needn't wait for the lease.
    async fn close(mut self, session: &Session) {
        let report = session.board.report(metrics::resident_bytes(), &Told::default(), false);
        let last = message(said(report, 0));
        let closing = async {
            if self.out.send(last).await.is_ok() {
                drop(self.out);
                while let Ok(Some(_)) = self.inbound.message().await {}
            }
        };
        // A controller that doesn't close in time learns it from the lease.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
    }
}

/// Skips nothing: the first message is the welcome, or the controller is not one of ours.
async fn welcome(
    inbound: &mut Streaming<internal::ControllerMessage>,
) -> Result<internal::Welcome, SessionError> {
    match inbound.message().await.map_err(SessionError::Refused)?.and_then(|m| m.message) {
        Some(controller_message::Message::Welcome(welcome)) => Ok(welcome),
        Some(_) => Err(SessionError::Connect("the controller's first message was not its welcome".into())),
        None => Err(SessionError::Closed),
    }
}

fn said(report: Report, sequence: i64) -> worker_message::Message {
    worker_message::Message::Report(report::message(report, sequence))
}

fn message(message: worker_message::Message) -> internal::WorkerMessage {
    internal::WorkerMessage { message: Some(message) }
}

async fn changed(urgent: &mut watch::Receiver<()>) {
    if urgent.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
