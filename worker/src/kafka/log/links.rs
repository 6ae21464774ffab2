//! Connections that do one thing only: one fetches, one produces. Long polls and acknowledgements hold nothing else up.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, FetchRequest, FetchResponse, ProduceResponse};
use kafka_protocol::protocol::Encodable;
use tokio::time::Instant;
use twinlog_proto::reason::Reason;

use super::fetch_session::{self, Changes, FetchSession, Lost, Part, Terms};
use super::produce::{self, Parcel, Receipt};
use crate::kafka::wire::client::KafkaClient;
use crate::kafka::wire::connection::link::{Link, Pieces};
use crate::kafka::wire::error::KafkaError;
use crate::kafka::wire::properties::ClientProperties;
use crate::kafka::wire::route::To;
use crate::kafka::wire::shapes;

/// Space for what an answer has besides records.
const AROUND_BYTES: usize = 64 << 10;
/// An answer that takes longer, from the one before on, means that the broker is away.
const PATIENCE: Duration = Duration::from_secs(30);
/// A quota's window is shorter unless somebody made it longer; the broker itself holds back what comes too early.
const MAX_THROTTLE: Duration = Duration::from_secs(30);

impl KafkaClient {
    async fn link(&self, broker: i32) -> Result<Link, KafkaError> {
        let deadline = self.until();
        let peers = self.router.peers(To::Broker(broker), deadline).await?;
        let peer = peers.first().expect("a broker has an address");
        Link::open(peer, self.properties(), PATIENCE).await
    }

    /// A connection to fetch over.
    ///
    /// # Errors
    /// The broker is away, or refuses the connection.
    pub(crate) async fn fetch_link(&self, broker: i32) -> Result<FetchLink, KafkaError> {
        let properties = self.properties().clone();
        Ok(FetchLink {
            link: self.as_consumer().link(broker).await?,
            session: FetchSession::default(),
            properties,
        })
    }

    /// A connection to produce over.
    ///
    /// # Errors
    /// The broker is away, or refuses the connection.
    pub(crate) async fn produce_link(&self, broker: i32) -> Result<ProduceLink, KafkaError> {
        let properties = self.properties().clone();
        Ok(ProduceLink { link: self.as_producer().link(broker).await?, sent: VecDeque::new(), properties })
    }
}

pub(crate) struct FetchLink {
    link: Link,
    session: FetchSession,
    properties: ClientProperties,
}

/// What one fetch brought.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) parts: Vec<Part>,
    /// The broker wants no request for so long.
    pub(crate) throttle: Duration,
    /// Of the whole answer: all pieces are parts of one buffer.
    pub(crate) bytes: usize,
    /// Until the answer began, and from then on.
    pub(crate) waited: Duration,
    pub(crate) took: Duration,
}

impl FetchLink {
    /// One request for all that is wanted after these changes, and its answer. A session that the broker has forgotten brings nothing, and begins anew with the next request.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub(crate) async fn fetch(&mut self, changes: Changes, terms: &Terms) -> Result<Fetched, KafkaError> {
        let by_name = self.session.needs_names(&changes);
        let ours = if by_name { fetch_session::BY_NAME } else { fetch_session::VERSIONS };
        let version = self.link.version(ApiKey::Fetch, ours)?;
        let request = self.session.request(version, changes, terms);
        let body = self.encoded(&request, version)?;
        // What stands around the records is little.
        self.link.expect(usize::try_from(terms.max_bytes).unwrap_or(0) + AROUND_BYTES);
        let asked = Instant::now();
        self.link.send(ApiKey::Fetch, version, body).await?;
        let answer = self.link.next().await?;
        let (began, came) = (self.link.began(), Instant::now());
        let bytes = answer.len();
        let answer: Result<FetchResponse, String> = shapes::FETCH.read(answer, version);
        let answer = answer.map_err(|what| garbled(&self.properties, &self.link, &what))?;
        let throttle = throttle(answer.throttle_time_ms);
        let parts = match self.session.answer(version, answer) {
            Ok(parts) => parts,
            Err(Lost(code)) => {
                tracing::debug!(broker = self.link.peer(), code, "the broker has no such fetch session");
                Vec::new()
            }
        };
        let (waited, took) = (began.saturating_duration_since(asked), came.saturating_duration_since(began));
        Ok(Fetched { parts, throttle, bytes, waited, took })
    }

    fn encoded(&self, request: &FetchRequest, version: i16) -> Result<Pieces, KafkaError> {
        let mut bytes = BytesMut::new();
        let encoded = request.encode(&mut bytes, version);
        encoded.map_err(|error| garbled(&self.properties, &self.link, &error.to_string()))?;
        let mut pieces = Pieces::default();
        pieces.push(bytes.freeze());
        Ok(pieces)
    }

    /// Whether the broker will go on without a new authentication.
    pub(crate) fn is_authenticated(&self) -> bool {
        self.link.is_authenticated()
    }
}

/// A request in flight.
struct Sent {
    version: i16,
    parcels: Vec<Parcel>,
}

pub(crate) struct ProduceLink {
    link: Link,
    sent: VecDeque<Sent>,
    properties: ClientProperties,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) receipts: Vec<Receipt>,
    pub(crate) throttle: Duration,
}

impl ProduceLink {
    /// Whether the broker will go on without a new authentication.
    pub(crate) fn is_authenticated(&self) -> bool {
        self.link.is_authenticated()
    }

    /// Writes one request: at most one parcel for each partition. All replicas in sync have them `within` this time, or the broker says of
    /// which they haven't. To be awaited to its end.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub(crate) async fn send(
        &mut self,
        transactional_id: Option<&str>,
        within: Duration,
        parcels: Vec<Parcel>,
    ) -> Result<(), KafkaError> {
        let ours = match transactional_id {
            Some(_) => produce::IN_TRANSACTION,
            None if parcels.iter().any(|parcel| parcel.topic_id.is_nil()) => produce::BY_NAME,
            None => produce::VERSIONS,
        };
        let version = self.link.version(ApiKey::Produce, ours)?;
        let timeout = i32::try_from(within.as_millis()).unwrap_or(i32::MAX);
        let body = produce::body(version, transactional_id, timeout, &parcels);
        self.sent.push_back(Sent { version, parcels });
        self.link.send(ApiKey::Produce, version, body).await
    }

    /// The answer to the oldest request. Where this is dropped before it is ready, nothing is lost.
    ///
    /// # Errors
    /// The connection is of no use any more: what became of the requests in flight is not known.
    pub(crate) async fn next(&mut self) -> Result<Answered, KafkaError> {
        let answer: Bytes = self.link.next().await?;
        let Some(Sent { version, parcels }) = self.sent.pop_front() else {
            return Err(garbled(&self.properties, &self.link, "an answer that nobody waits for"));
        };
        let answer: Result<ProduceResponse, String> = shapes::PRODUCE.read(answer, version);
        let answer = answer.map_err(|what| garbled(&self.properties, &self.link, &what))?;
        let throttle = throttle(answer.throttle_time_ms);
        Ok(Answered { receipts: produce::receipts(version, answer, &parcels), throttle })
    }
}

/// How long a broker wants no request, as far as it may say that.
fn throttle(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(MAX_THROTTLE)
}

fn garbled(properties: &ClientProperties, link: &Link, what: &str) -> KafkaError {
    let (cluster, peer) = (properties.cluster_id(), link.peer());
    let message = format!("cluster {cluster}: broker {peer} can't be understood: {what}");
    KafkaError::retriable(Reason::KAFKA_ERROR, message)
}
