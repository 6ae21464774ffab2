//! The connections to etcd, made anew when the files that they were made with have changed: certificates are renewed while we run.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use etcd_client::{Client, ConnectOptions, TlsOptions};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use twinlog_proto::tls::ClientTls;

use super::{CONNECT_TIMEOUT, EtcdConfig, Kind, PING, PING_TIMEOUT, limited};
use crate::store::StoreError;

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(5);

pub(super) struct Clients {
    current: RwLock<Client>,
}

impl Clients {
    /// With a user it signs in, so that wrong credentials show here; else nothing is sent yet.
    pub(super) async fn open(config: EtcdConfig, stop: CancellationToken) -> Result<Arc<Self>, StoreError> {
        let seen = config.tls.as_ref().map(ClientTls::changed);
        let clients = Arc::new(Self { current: RwLock::new(connect(&config).await?) });
        if let Some(seen) = seen {
            tokio::spawn(stop.run_until_cancelled_owned(clients.clone().keep_fresh(config, seen)));
        }
        Ok(clients)
    }

    /// For the next call. What runs already keeps its connection.
    pub(super) fn get(&self) -> Client {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn keep_fresh(self: Arc<Self>, config: EtcdConfig, mut seen: Vec<Option<SystemTime>>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let now = config.tls.as_ref().map(ClientTls::changed).unwrap_or_default();
            if now == seen {
                continue;
            }
            // Files that don't go together yet are looked at again.
            match connect(&config).await {
                Ok(client) => {
                    info!("the TLS files for etcd have changed: new connections use them");
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = client;
                    seen = now;
                }
                Err(error) => warn!(%error, "the TLS files for etcd have changed, but can't be used"),
            }
        }
    }
}

async fn connect(config: &EtcdConfig) -> Result<Client, StoreError> {
    let mut options = ConnectOptions::new()
        .with_require_leader(true)
        .with_auto_token_refresh(true)
        .with_keep_alive(PING, PING_TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT);
    if let Some((user, password)) = config.user.clone() {
        options = options.with_user(user, password);
    }
    if let Some(tls) = config.tls.clone() {
        options = options.with_tls(load(tls).await?);
    }
    limited(Kind::Read, config.request_timeout, Client::connect(&config.endpoints, Some(options))).await
}

async fn load(tls: ClientTls) -> Result<TlsOptions, StoreError> {
    let loaded = tokio::task::spawn_blocking(move || tls.load()).await;
    let loaded = loaded.map_err(|error| StoreError::Invalid(error.to_string()))?;
    loaded.map_err(|error| StoreError::Invalid(format!("TLS for etcd: {error}")))
}
