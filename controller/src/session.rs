//! The leader's end of the stream to one worker: what comes in goes to the fleet, what the fleet has goes out.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, warn};
use twinlog_proto::id::WorkerId;
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::internal::v1::controller_message::Message as Out;
use twinlog_proto::internal::v1::worker_message::Message as In;
use twinlog_proto::internal::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use twinlog_proto::reason::{Reason, bad_request, status};

use crate::fleet::member::{Link, Profile, Running};
use crate::refusal::no_leader;
use crate::replica::forward::MAX_MESSAGE_BYTES;
use crate::replica::forward::session::{ControllerStream, WorkerStream, is_relayed};
use crate::replica::shared::Shared;

/// Messages towards a worker that wait for the network, at most.
const OUTBOX: usize = 8;
/// Questions that wait for one worker, at most.
const QUERY_QUEUE: usize = 32;
/// How long a worker waits until it is clear whether another process has its id; less than a worker waits for its welcome.
const ADMISSION: Duration = Duration::from_secs(4);
/// A report of a process that has ended may be taken in this late.
const LATE_REPORT: Duration = Duration::from_millis(250);
const ADMISSION_STEP: Duration = Duration::from_millis(50);
/// A new stream must say hello within this time.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// `internal.v1.WorkerService` on any replica: served here by the leader, passed on to it by the others.
#[derive(Clone)]
pub(crate) struct WorkerSessions {
    pub(crate) replica: Arc<Shared>,
}

#[tonic::async_trait]
impl WorkerService for WorkerSessions {
    type SessionStream = ControllerStream;

    async fn session(
        &self,
        request: Request<Streaming<internal::WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let relayed = is_relayed(request.metadata());
        let inbound: WorkerStream = Box::pin(request.into_inner());
        if self.replica.is_leader() {
            return Ok(Response::new(serve(self.replica.clone(), inbound)));
        }
        if relayed {
            return Err(no_leader("this replica does not lead any more").into());
        }
        Ok(Response::new(self.replica.forward.session(inbound).await?))
    }
}

/// `internal.v1.WorkerService`, to add to the server.
pub(crate) fn service(replica: Arc<Shared>) -> WorkerServiceServer<WorkerSessions> {
    WorkerServiceServer::new(WorkerSessions { replica })
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// Starts a session; it ends with its stream, with the worker's lease, or with the leadership going elsewhere.
fn serve(replica: Arc<Shared>, inbound: WorkerStream) -> ControllerStream {
    let (outbox, messages) = mpsc::channel(OUTBOX);
    let tasks = replica.tasks.clone();
    tasks.spawn(async move {
        if let Err(status) = run(&replica, inbound, &outbox).await {
            debug!(code = ?status.code(), message = status.message(), "session ended");
            // The worker may be gone already.
            let _ = tokio::time::timeout(Duration::from_secs(1), outbox.send(Err(status))).await;
        }
    });
    Box::pin(ReceiverStream::new(messages))
}

type Outbox = mpsc::Sender<Result<internal::ControllerMessage, Status>>;

async fn run(replica: &Shared, mut inbound: WorkerStream, outbox: &Outbox) -> Result<(), Status> {
    let hello = tokio::select! {
        biased;
        () = replica.stop.cancelled() => return Err(going_away()),
        hello = tokio::time::timeout(HELLO_TIMEOUT, inbound.next()) => {
            hello.map_err(|_| Status::deadline_exceeded("no hello came"))?
        }
    };
    let Some(In::Hello(hello)) = hello.transpose()?.and_then(|message| message.message) else {
        return Err(bad_request(
            Reason::INVALID_FIELD,
            &[("message".to_owned(), "the first message of a session must be hello".to_owned())],
        ));
    };
    let id = WorkerId::new(hello.worker_id.clone())
        .map_err(|e| bad_request(Reason::INVALID_FIELD, &[("hello.worker_id".to_owned(), e.to_string())]))?;
    admit(replica, &id, &hello.instance).await?;
    // Before the worker becomes a member: nothing else may come first.
    send(outbox, Out::Welcome(welcome(replica))).await?;
    let (sets, mut new_set) = watch::channel(None);
    let (queries, mut new_query) = mpsc::channel(QUERY_QUEUE);
    let close = CancellationToken::new();
    let closed = close.clone();
    let link = |session| Link { session, sets, queries, close };
    let running = Running::parse(hello.applied.as_ref());
    let session = replica.fleet.connected(&id, profile(hello), running, link, Instant::now());
    let relation = Relation { replica, id, session };
    loop {
        tokio::select! {
            biased;
            () = replica.stop.cancelled() => return Err(going_away()),
            () = closed.cancelled() => return Err(status(Reason::NO_LEADER, "this session is over: connect again", &[])),
            message = inbound.next() => match message.transpose()? {
                Some(message) => relation.hear(message),
                None => return Ok(()),
            },
            Ok(()) = new_set.changed() => {
                let set: Option<Arc<internal::AssignmentSet>> = new_set.borrow_and_update().clone();
                if let Some(set) = set {
                    relation.tell(outbox, &closed, Out::Assignments((*set).clone())).await?;
                }
            }
            Some(query) = new_query.recv() => relation.tell(outbox, &closed, Out::Query(query)).await?,
        }
    }
}

/// One process at a time has a worker's id. Another one that is heard while the newcomer waits keeps it; one that is not heard
/// any more (its machine is gone, and nobody closed its stream) loses it with its lease.
async fn admit(replica: &Shared, id: &WorkerId, instance: &str) -> Result<(), Status> {
    let arrived = Instant::now();
    while let Some((heard, said)) = replica.fleet.other_process(id, instance) {
        let about = [("worker", id.as_str())];
        if heard > arrived + LATE_REPORT {
            warn!(worker = %id, said, "a second process with the same worker id is refused");
            return Err(status(Reason::WORKER_ID_IN_USE, said, &about));
        }
        if arrived.elapsed() >= ADMISSION {
            let message = format!("{said}: try again when its lease is over");
            return Err(status(Reason::NO_LEADER, message, &about));
        }
        tokio::select! {
            biased;
            () = replica.stop.cancelled() => return Err(going_away()),
            () = tokio::time::sleep(ADMISSION_STEP) => {}
        }
    }
    Ok(())
}

/// A session that the fleet knows of; dropping it tells the fleet that it is over.
struct Relation<'a> {
    replica: &'a Shared,
    id: WorkerId,
    session: u64,
}

impl Relation<'_> {
    fn hear(&self, message: internal::WorkerMessage) {
        let fleet = &self.replica.fleet;
        match message.message {
            Some(In::Report(report)) => {
                let state = self.replica.cache.snapshot();
                fleet.report(&self.id, self.session, report, &state, Instant::now());
            }
            Some(In::Inventory(inventory)) => {
                fleet.inventory(&self.id, inventory, &self.replica.cache.snapshot());
            }
            Some(In::SourceEnds(ends)) => {
                fleet.source_ends(&self.id, ends, &self.replica.cache.snapshot(), Instant::now());
            }
            Some(In::Answer(answer)) => fleet.answer(self.session, answer),
            // A second hello, or something that a newer worker says: nothing to do.
            Some(In::Hello(_)) | None => {}
        }
    }

    /// A worker that doesn't read holds up its own session only, and not after that is closed.
    async fn tell(&self, outbox: &Outbox, closed: &CancellationToken, message: Out) -> Result<(), Status> {
        tokio::select! {
            biased;
            () = closed.cancelled() => Ok(()),
            sent = send(outbox, message) => sent,
        }
    }
}

impl Drop for Relation<'_> {
    fn drop(&mut self) {
        self.replica.fleet.disconnected(&self.id, self.session, Instant::now());
    }
}

async fn send(outbox: &Outbox, message: Out) -> Result<(), Status> {
    let message = internal::ControllerMessage { message: Some(message) };
    outbox.send(Ok(message)).await.map_err(|_| Status::cancelled("the worker closed its stream"))
}

fn welcome(replica: &Shared) -> internal::Welcome {
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    internal::Welcome {
        controller: replica.config.id.clone(),
        term: replica.term().unwrap_or_default().0,
        report_interval_ms: millis(replica.config.report_interval),
        lease_ms: millis(replica.config.worker_lease),
        takes_news: true,
    }
}

fn profile(hello: internal::Hello) -> Profile {
    Profile {
        version: hello.version,
        labels: hello.labels.into_iter().collect(),
        capacity: u32::try_from(hello.capacity).ok().filter(|capacity| *capacity > 0),
        memory_limit_bytes: hello.memory_limit_bytes.max(0),
        instance: hello.instance,
    }
}

fn going_away() -> Status {
    status(Reason::NO_LEADER, "this replica is stopping: connect again", &[])
}
