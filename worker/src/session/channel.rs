//! A channel to one controller that notices a cut network within about three seconds.

use std::error::Error as _;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use twinlog_proto::tls::{ClientTls, explain};

use super::SessionError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A ping is sent after this much silence ...
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// ... and the connection is given up when it isn't answered within this.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_millis(1500);

pub(super) async fn connect(address: &str, tls: &ClientTls) -> Result<Channel, SessionError> {
    let failed = |error: tonic::transport::Error| {
        SessionError::Connect(explain(&error, address).unwrap_or_else(|| root_cause(&error)))
    };
    let mut endpoint = Endpoint::from_shared(address.to_owned())
        .map_err(failed)?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    if address.starts_with("https://") {
        // Read each time: certificates are renewed in place.
        endpoint = endpoint.tls_config(tls.load()?).map_err(failed)?;
    }
    endpoint.connect().await.map_err(failed)
}

/// "transport error" says nothing; what lies under it does.
fn root_cause(error: &tonic::transport::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}
