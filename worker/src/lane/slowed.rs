//! A cluster that holds a lane's requests back because of a quota: which one, by how much, and who can change it.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use twinlog_proto::reason::Reason;

use crate::cause::Cause;
use crate::cluster::ClusterHandle;
use crate::kafka::ClientProperties;

/// Less than this is not worth a word.
const NOTICEABLE: Duration = Duration::from_millis(100);
/// After this time without being held back it is over.
const OVER: Duration = Duration::from_secs(10);

/// Quotas that may be met when writing to a cluster, and when reading from it.
pub(super) const OF_WRITERS: [&str; 2] = ["producer_byte_rate", "request_percentage"];
pub(super) const OF_READERS: [&str; 2] = ["consumer_byte_rate", "request_percentage"];

/// Being held back, as long as it lasts.
pub(super) struct Slowed {
    pub(super) by: Duration,
    last: Instant,
    began: Cause,
    /// The quota and the remedy, once the cluster has told.
    quota: Arc<OnceLock<String>>,
}

impl Slowed {
    /// Takes in how long requests were held back lately. What to remember; `before`: what was remembered.
    pub(super) fn note(
        before: Option<Self>,
        by: Option<Duration>,
        names: [&'static str; 2],
        cluster: &Arc<ClusterHandle>,
        runtime: &Handle,
        now: Instant,
    ) -> Option<Self> {
        match (before, by.filter(|by| *by >= NOTICEABLE)) {
            (Some(before), Some(by)) => {
                cluster.note_throttled();
                Some(Self { by, last: now, ..before })
            }
            (None, Some(by)) => {
                cluster.note_throttled();
                let quota = look_up(cluster, names, runtime);
                let began = Cause::new(Reason::THROTTLED, "");
                tracing::info!(cluster = %cluster.id, ?by, "a quota of the cluster slows the range down");
                Some(Self { by, last: now, began, quota })
            }
            (Some(before), None) if now.duration_since(before.last) < before.by + OVER => Some(before),
            (Some(_), None) => {
                tracing::info!(cluster = %cluster.id, "the quota doesn't slow the range down any more");
                None
            }
            (None, None) => None,
        }
    }

    /// `name`: the cluster and its role.
    pub(super) fn cause(&self, name: &str, properties: &ClientProperties, names: [&str; 2]) -> Cause {
        let client = properties.client_id();
        let who = match properties.principal() {
            Some(principal) => format!("client id {client} of {principal}"),
            None => format!("client id {client}"),
        };
        let quota = self.quota.get().cloned().unwrap_or_else(|| {
            format!(
                "a quota of it ({} or {}; kafka-configs.sh --describe --entity-type clients, or users, shows which). Raise that quota",
                names[0], names[1]
            )
        });
        let by = self.by.as_millis();
        let message = format!(
            "{name} held requests back by {by} ms: copying goes on as fast as it lets {who}. That is {quota}"
        );
        Cause { message, ..self.began.clone() }
    }
}

/// Asks the cluster once which quotas there are.
fn look_up(
    cluster: &Arc<ClusterHandle>,
    names: [&'static str; 2],
    runtime: &Handle,
) -> Arc<OnceLock<String>> {
    let found = Arc::new(OnceLock::new());
    let (told, cluster) = (found.clone(), cluster.clone());
    runtime.spawn(async move {
        let quotas = match cluster.client.quotas(&names).await {
            Ok(quotas) => quotas,
            Err(error) => {
                tracing::debug!(cluster = %cluster.id, %error, "the quotas could not be read");
                return;
            }
        };
        let servers = cluster.properties.bootstrap_servers().join(",");
        let one = |quota: &crate::kafka::Quota| {
            let (name, value, whose, flags) = (&quota.name, quota.value, quota.whose(), quota.flags());
            format!(
                "the quota {name}={value} of {whose}. To raise it: kafka-configs.sh --bootstrap-server {servers} --alter \
                 --add-config {name}=NEW {flags}"
            )
        };
        let texts: Vec<String> = quotas.iter().map(one).collect();
        if !texts.is_empty() {
            let _ = told.set(texts.join("; or "));
        }
    });
    found
}
