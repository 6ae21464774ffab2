//! TLS to a broker.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use twinlog_proto::reason::Reason;

use super::{ClientProperties, KafkaError};

pub(super) type Stream = tokio_rustls::client::TlsStream<TcpStream>;

pub(super) async fn connect(
    _tcp: TcpStream,
    _peer: &str,
    _config: &Arc<rustls::ClientConfig>,
    _properties: &ClientProperties,
) -> Result<Stream, KafkaError> {
    todo!()
}

/// The TLS error inside an I/O error, if that is what it is.
pub(super) fn cause(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

pub(super) fn failed(properties: &ClientProperties, peer: &str, error: &rustls::Error) -> KafkaError {
    KafkaError::new(Reason::TLS_FAILED, format!("cluster {}: {peer}: {error}", properties.cluster_id()))
}
