//! The connection to whoever leads, made anew when that is another one, or with other TLS files.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tonic::transport::{Channel, Endpoint};
use tracing::warn;
use twinlog_proto::tls::ClientTls;

use crate::refusal::{Refusal, no_leader};
use crate::state::Cache;
use crate::store::LeaderInfo;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A leader that doesn't answer pings for this long is gone: its sessions are closed, so that workers look for the next one.
const PING: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(2);

type Key = (LeaderInfo, Vec<Option<SystemTime>>);

pub(super) struct Line {
    /// This replica's id.
    own: String,
    tls: Option<ClientTls>,
    cache: Arc<Cache>,
    /// The connection that was used last, to whom, and of when its TLS files were.
    channel: Mutex<Option<(Key, Channel)>>,
}

impl Line {
    pub(super) fn new(own: String, tls: Option<ClientTls>, cache: Arc<Cache>) -> Self {
        Self { own, tls, cache, channel: Mutex::new(None) }
    }

    /// Connects lazily: an address where nobody listens shows with the first call.
    pub(super) fn to_leader(&self) -> Result<Channel, Refusal> {
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
}
