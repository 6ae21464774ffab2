//! What a replica that doesn't lead does with leader's business: passes sessions on, asks the leader through `PeerService`.
//!
//! A relayed call is never relayed again. Without a leader the answer is UNAVAILABLE (NO_LEADER) with a retry hint.

pub(crate) mod credential;

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use futures::{Stream, StreamExt};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::ErrorDetails;
use tracing::warn;
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::internal::v1::peer_service_client::PeerServiceClient;
use twinlog_proto::internal::v1::worker_service_client::WorkerServiceClient;
use twinlog_proto::reason::{self, Reason};
use twinlog_proto::tls::ClientTls;

use crate::state::Cache;
use crate::store::LeaderInfo;

/// Marks a call that came from another replica.
const RELAYED: &str = "twinlog-relayed";
/// When to try again while nobody leads.
const RETRY_AFTER: Duration = Duration::from_millis(200);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Calls to the leader other than sessions and queries, at most.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// A leader that doesn't answer pings for this long is gone: its sessions are closed, so that workers look for the next one.
const PING: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// Statuses and sets of thousands of ranges are large.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// What a worker hears in its session.
pub(crate) type ControllerStream =
    Pin<Box<dyn Stream<Item = Result<internal::ControllerMessage, Status>> + Send>>;
/// What it says.
pub(crate) type WorkerStream = Pin<Box<dyn Stream<Item = Result<internal::WorkerMessage, Status>> + Send>>;

type Key = (LeaderInfo, Vec<Option<SystemTime>>);

pub(crate) struct Relay {
    /// This replica's id.
    own: String,
    tls: Option<ClientTls>,
    cache: Arc<Cache>,
    /// The connection to the leader that was used last, and of when its TLS files were.
    channel: Mutex<Option<(Key, Channel)>>,
}

impl Relay {
    pub(crate) fn new(own: String, tls: Option<ClientTls>, cache: Arc<Cache>) -> Self {
        Self { own, tls, cache, channel: Mutex::new(None) }
    }

    /// Connects lazily: an address where nobody listens shows with the first call.
    pub(crate) fn channel(&self) -> Result<Channel, Status> {
        let Some(leader) = self.cache.snapshot().leader.clone() else {
            return Err(no_leader("no controller leads at the moment"));
        };
        if leader.id == self.own {
            return Err(no_leader("this replica is about to lead"));
        }
        let key = (leader, self.tls.as_ref().map(ClientTls::changed).unwrap_or_default());
        let leader = &key.0;
        let mut known = self.channel.lock().expect("no code panics while it holds the channel");
        if let Some((of, channel)) = known.as_ref()
            && *of == key
        {
            return Ok(channel.clone());
        }
        let channel = self.endpoint(&leader.address).map_err(|error| {
            warn!(leader = leader.id, address = leader.address, %error, "the leader's address can't be used");
            no_leader("the leader advertises an address that can't be used")
        })?;
        *known = Some((key, channel.clone()));
        Ok(channel)
    }

    fn endpoint(&self, address: &str) -> Result<Channel, Box<dyn std::error::Error>> {
        let mut endpoint = Endpoint::from_shared(address.to_owned())?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(PING_TIMEOUT)
            .tcp_nodelay(true);
        if let Some(tls) = self.tls.as_ref().filter(|_| address.starts_with("https")) {
            endpoint = endpoint.tls_config(tls.load()?)?;
        }
        Ok(endpoint.connect_lazy())
    }

    /// A request to the leader's `PeerService`, with what shows that a replica makes it.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = relayed(message);
        credential::show(&mut request, &self.cache.snapshot());
        request
    }

    pub(crate) fn peer(&self) -> Result<PeerServiceClient<Channel>, Status> {
        let client = PeerServiceClient::new(self.channel()?);
        Ok(client.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES))
    }
}

/// Passes a worker's session on to the leader. When either side ends, so does the other.
pub(crate) async fn pass_on(leader: Channel, inbound: WorkerStream) -> Result<ControllerStream, Status> {
    let client = WorkerServiceClient::new(leader);
    let mut client =
        client.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES);
    let answer = client.session(relayed(UntilBroken(inbound))).await.map_err(unreachable)?;
    Ok(Box::pin(answer.into_inner().map(|message| message.map_err(unreachable))))
}

/// A worker's messages; its stream's error is its end.
struct UntilBroken(WorkerStream);

impl Stream for UntilBroken {
    type Item = internal::WorkerMessage;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context).map(|message| message.and_then(Result::ok))
    }
}

/// A request that tells the leader not to pass it on.
fn relayed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(RELAYED, MetadataValue::from_static("1"));
    request
}

pub(crate) fn is_relayed(metadata: &MetadataMap) -> bool {
    metadata.contains_key(RELAYED)
}

/// A broken connection to the leader is NO_LEADER to the caller; what the leader itself says passes through.
pub(crate) fn unreachable(status: Status) -> Status {
    match reason::reason_of(&status).as_deref() {
        // A new leader's secret is on its way through the store.
        Some(text) if text == Reason::NOT_A_REPLICA.as_str() => {
            return no_leader("the leader doesn't know this replica yet");
        }
        Some(_) => return status,
        None => {}
    }
    match status.code() {
        tonic::Code::Unavailable | tonic::Code::Unknown | tonic::Code::Cancelled | tonic::Code::Internal => {
            no_leader(&format!("the leader can't be reached: {}", status.message()))
        }
        _ => status,
    }
}

/// UNAVAILABLE, with the reason and when to try again.
pub(crate) fn no_leader(message: &str) -> Status {
    let mut details = ErrorDetails::with_error_info(
        Reason::NO_LEADER.as_str(),
        reason::DOMAIN,
        std::collections::HashMap::new(),
    );
    details.set_retry_info(Some(RETRY_AFTER));
    reason::with_details(Reason::NO_LEADER.code(), message, details)
}
