//! A controller of straw: it takes sessions of real workers and says and hears exactly what a test wants.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::stream::BoxStream;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::internal::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use twinlog_proto::internal::v1::{controller_message, worker_message};

/// Messages to one worker that wait at most, and sessions that wait to be taken.
const QUEUE: usize = 64;
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Serves until it is dropped; its sessions end with it.
pub struct FakeController {
    address: SocketAddr,
    sessions: mpsc::Receiver<FakeSession>,
    server: JoinHandle<()>,
}

impl Drop for FakeController {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeController {
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (taken, sessions) = mpsc::channel(QUEUE);
        let service = WorkerServiceServer::new(Service { taken })
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let server = tokio::spawn(async move {
            let serving = tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener));
            serving.await.expect("a server on loopback runs until it is aborted");
        });
        Ok(Self { address, sessions, server })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next session that a worker opens, with its hello read.
    pub async fn session(&mut self, deadline: Duration) -> Result<FakeSession> {
        let session = tokio::time::timeout(deadline, self.sessions.recv()).await;
        session.context("no worker came")?.context("the server is gone")
    }

    /// The next session, welcomed.
    pub async fn welcomed(&mut self, term: i64, deadline: Duration) -> Result<FakeSession> {
        let session = self.session(deadline).await?;
        session.welcome(term).await?;
        Ok(session)
    }
}

/// One worker's session, seen from the controller.
pub struct FakeSession {
    pub hello: internal::Hello,
    inbound: Streaming<internal::WorkerMessage>,
    out: mpsc::Sender<Result<internal::ControllerMessage, Status>>,
}

impl FakeSession {
    pub async fn welcome(&self, term: i64) -> Result<()> {
        let welcome = internal::Welcome {
            controller: "straw".into(),
            term,
            report_interval_ms: 200,
            lease_ms: 2000,
            takes_news: false,
        };
        self.send(controller_message::Message::Welcome(welcome)).await
    }

    pub async fn assign(&self, set: internal::AssignmentSet) -> Result<()> {
        self.send(controller_message::Message::Assignments(set)).await
    }

    pub async fn send(&self, message: controller_message::Message) -> Result<()> {
        let message = internal::ControllerMessage { message: Some(message) };
        self.out.send(Ok(message)).await.context("the worker is gone")
    }

    /// The next message; `None` when the worker closed the stream.
    pub async fn next(&mut self, deadline: Duration) -> Result<Option<worker_message::Message>> {
        let received = tokio::time::timeout(deadline, self.inbound.next()).await;
        match received.context("the worker said nothing")? {
            Some(message) => Ok(Some(message?.message.context("an empty message")?)),
            None => Ok(None),
        }
    }

    /// The first thing that `wanted` takes from what the worker says.
    pub async fn wait<T>(
        &mut self,
        deadline: Duration,
        what: &str,
        mut wanted: impl FnMut(worker_message::Message) -> Option<T>,
    ) -> Result<T> {
        let waiting = async {
            loop {
                match self.next(deadline).await? {
                    Some(message) => {
                        if let Some(found) = wanted(message) {
                            return Ok(found);
                        }
                    }
                    None => bail!("the worker closed the stream"),
                }
            }
        };
        match tokio::time::timeout(deadline, waiting).await {
            Ok(result) => result.with_context(|| format!("while waiting for {what}")),
            Err(_) => bail!("{what}: not within {deadline:?}"),
        }
    }

    /// The first report that satisfies `wanted`.
    pub async fn report(
        &mut self,
        deadline: Duration,
        what: &str,
        wanted: impl Fn(&internal::Report) -> bool,
    ) -> Result<internal::Report> {
        self.wait(deadline, what, |message| match message {
            worker_message::Message::Report(report) if wanted(&report) => Some(report),
            _ => None,
        })
        .await
    }

    /// The first inventory that satisfies `wanted`.
    pub async fn inventory(
        &mut self,
        deadline: Duration,
        what: &str,
        wanted: impl Fn(&internal::Inventory) -> bool,
    ) -> Result<internal::Inventory> {
        self.wait(deadline, what, |message| match message {
            worker_message::Message::Inventory(report) => report.inventory.filter(&wanted),
            _ => None,
        })
        .await
    }

    /// Asks and waits for the answer.
    pub async fn ask(
        &mut self,
        query: internal::Query,
        deadline: Duration,
    ) -> Result<internal::answer::Answer> {
        let id = query.id.clone();
        self.send(controller_message::Message::Query(query)).await?;
        self.wait(deadline, "an answer", |message| match message {
            worker_message::Message::Answer(answer) if answer.id == id => answer.answer,
            _ => None,
        })
        .await
    }
}

struct Service {
    taken: mpsc::Sender<FakeSession>,
}

#[tonic::async_trait]
impl WorkerService for Service {
    type SessionStream = BoxStream<'static, Result<internal::ControllerMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<internal::WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut inbound = request.into_inner();
        let first = inbound.message().await?.and_then(|m| m.message);
        let Some(worker_message::Message::Hello(hello)) = first else {
            return Err(Status::invalid_argument("the first message must be the hello"));
        };
        let (out, queue) = mpsc::channel(QUEUE);
        let session = FakeSession { hello, inbound, out };
        self.taken.send(session).await.map_err(|_| Status::unavailable("the test has ended"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }
}
