//! TLS to a broker, and what its failures mean.

use std::io;
use std::sync::Arc;

use rustls::{AlertDescription, CertificateError, ClientConfig, Error};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use twinlog_proto::reason::Reason;

use super::away::unreachable;
use super::error::KafkaError;
use super::properties::ClientProperties;

pub(in crate::kafka) type Stream = tokio_rustls::client::TlsStream<TcpStream>;

/// Shakes hands with `peer` (host:port).
pub(in crate::kafka) async fn connect(
    tcp: TcpStream,
    peer: &str,
    config: &Arc<ClientConfig>,
    properties: &ClientProperties,
) -> Result<Stream, KafkaError> {
    let host = peer.rsplit_once(':').map_or(peer, |(host, _)| host).trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned()).map_err(|_| {
        let cluster = properties.cluster_id();
        KafkaError::new(
            Reason::TLS_FAILED,
            format!("cluster {cluster}: {host:?} is not a name that TLS can check"),
        )
    })?;
    TlsConnector::from(config.clone()).connect(name, tcp).await.map_err(|error| match cause(&error) {
        Some(tls) => failed(properties, peer, tls),
        None if error.kind() == io::ErrorKind::UnexpectedEof => hung_up(properties, peer),
        None => unreachable(properties, peer, &error),
    })
}

/// The TLS error inside an I/O error, if that is what it is.
pub(in crate::kafka) fn cause(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// The error of a failed handshake, with what to do about it.
pub(in crate::kafka) fn failed(properties: &ClientProperties, peer: &str, error: &Error) -> KafkaError {
    let cluster = properties.cluster_id();
    let protocol = properties.security_protocol();
    let what = match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is signed by an authority that is not trusted here: name that authority with ssl.ca.location".to_owned()
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "its certificate is for another host name: connect by a name that it holds, or set ssl.endpoint.identification.algorithm to an empty value".to_owned(),
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "its certificate has expired".to_owned(),
        Error::InvalidMessage(_) => {
            format!("it doesn't answer in TLS: it may be a plaintext listener, and security.protocol is {protocol}")
        }
        Error::AlertReceived(alert) if wants_certificate(*alert) => format!(
            "it refused this client's certificate, or wants one where none is set (ssl.certificate.location, ssl.key.location): {error}"
        ),
        other => other.to_string(),
    };
    KafkaError::new(Reason::TLS_FAILED, format!("cluster {cluster}: TLS with {peer} failed: {what}"))
}

fn wants_certificate(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::CertificateRequired
            | A::BadCertificate
            | A::CertificateUnknown
            | A::CertificateExpired
            | A::CertificateRevoked
            | A::UnsupportedCertificate
            | A::UnknownCA
            | A::HandshakeFailure
            | A::AccessDenied
    )
}

/// The broker ended the handshake without a word: what a plaintext listener does.
fn hung_up(properties: &ClientProperties, peer: &str) -> KafkaError {
    let cluster = properties.cluster_id();
    let protocol = properties.security_protocol();
    KafkaError::retriable(
        Reason::TLS_FAILED,
        format!(
            "cluster {cluster}: TLS with {peer} failed: it closed the connection during the handshake; \
             it may be a plaintext listener, and security.protocol is {protocol}"
        ),
    )
}
