//! One authenticated connection to one broker, with one request at a time.
//!
//! A broker serves a connection's requests one by one anyway. A connection that failed in any way, or whose request was
//! abandoned half-way, is dropped, never reused.

mod authenticate;
mod buffers;
pub(in crate::kafka) mod link;

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::either::Either;
use twinlog_proto::reason::Reason;

use super::api::{Api, Versions};
use super::away::unreachable;
use super::dial::dial;
use super::error::KafkaError;
use super::properties::ClientProperties;
use super::tls;

/// Largest answer that is accepted, bytes: a broker's own default bound on requests, and far above what we ask for.
const MAX_FRAME_BYTES: usize = 100 << 20;
/// Reading space that is reserved before any byte of an answer has come.
const INITIAL_READ_BYTES: usize = 1 << 20;

/// Name of our software, which brokers show in their metrics.
const SOFTWARE: &str = "twinlog";

/// What a broker says that it can do.
#[derive(Debug, Clone, Default)]
pub(in crate::kafka) struct BrokerApis {
    versions: HashMap<i16, (i16, i16)>,
    /// Highest level of `metadata.version` that its software knows; 0 before 3.3.
    pub(in crate::kafka) metadata_level: i16,
}

impl BrokerApis {
    fn new(response: &ApiVersionsResponse) -> Self {
        let level = response.supported_features.iter().find(|f| &*f.name == "metadata.version");
        Self {
            versions: response.api_keys.iter().map(|k| (k.api_key, (k.min_version, k.max_version))).collect(),
            metadata_level: level.map_or(0, |f| f.max_version),
        }
    }

    pub(in crate::kafka) fn range(&self, key: ApiKey) -> Option<(i16, i16)> {
        self.versions.get(&(key as i16)).copied()
    }

    /// The highest version that both sides have.
    fn pick(&self, key: ApiKey, ours: Versions, peer: &str) -> Result<i16, KafkaError> {
        let unsupported = |theirs: String| {
            KafkaError::new(
                Reason::UNSUPPORTED_VERSION,
                format!(
                    "broker {peer} {theirs} of {key:?}, and Twinlog needs one of {}-{}: the broker is too old or too new",
                    ours.min, ours.max
                ),
            )
        };
        let Some((min, max)) = self.range(key) else { return Err(unsupported("has no version".into())) };
        let version = max.min(ours.max);
        if version < min.max(ours.min) {
            return Err(unsupported(format!("has versions {min}-{max}")));
        }
        Ok(version)
    }
}

pub(in crate::kafka) struct Connection {
    stream: Either<TcpStream, tls::Stream>,
    /// host:port, for messages.
    peer: String,
    apis: BrokerApis,
    correlation: i32,
    opened: Instant,
    used: Instant,
    /// When the broker will ask for a new authentication.
    expires: Option<Instant>,
    properties: ClientProperties,
}

impl Connection {
    /// Connects, agrees on versions and authenticates. The caller bounds the time.
    pub(in crate::kafka) async fn open(
        peer: &str,
        properties: &ClientProperties,
    ) -> Result<Self, KafkaError> {
        let tcp = dial(peer).await.map_err(|e| unreachable(properties, peer, &e))?;
        tcp.set_nodelay(true).map_err(|e| unreachable(properties, peer, &e))?;
        let stream = match properties.tls() {
            Some(config) => Either::Right(tls::connect(tcp, peer, config, properties).await?),
            None => Either::Left(tcp),
        };
        let now = Instant::now();
        let mut connection = Self {
            stream,
            peer: peer.to_owned(),
            apis: BrokerApis::default(),
            correlation: 0,
            opened: now,
            used: now,
            expires: None,
            properties: properties.clone(),
        };
        connection.apis = connection.api_versions().await?;
        if let Some(lifetime) = authenticate::authenticate(&mut connection).await? {
            connection.expires = Some(Instant::now() + lifetime);
        }
        Ok(connection)
    }

    pub(in crate::kafka) fn peer(&self) -> &str {
        &self.peer
    }

    pub(in crate::kafka) fn properties(&self) -> &ClientProperties {
        &self.properties
    }

    pub(in crate::kafka) fn apis(&self) -> &BrokerApis {
        &self.apis
    }

    /// How long the broker is known to have been up.
    pub(in crate::kafka) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Whether it may serve another request: not idle for too long, and authenticated for a while yet.
    pub(in crate::kafka) fn is_reusable(&self, max_idle: Duration) -> bool {
        self.used.elapsed() < max_idle && self.expires.is_none_or(|at| Instant::now() < at)
    }

    /// Sends one request and reads its answer; `build` makes the request for the agreed version.
    pub(in crate::kafka) async fn call<R: Api>(
        &mut self,
        build: &(dyn Fn(i16) -> Result<R, KafkaError> + Send + Sync),
    ) -> Result<(i16, R::Response), KafkaError> {
        let version = self.apis.pick(R::KEY, R::VERSIONS, &self.peer)?;
        let request = build(version)?;
        let body = self.exchange(&request, version).await?;
        let response = R::SHAPE.read(body, version).map_err(|what| self.garbled::<R>(&what))?;
        Ok((version, response))
    }

    async fn api_versions(&mut self) -> Result<BrokerApis, KafkaError> {
        let mut version = ApiVersionsRequest::VERSIONS.max;
        loop {
            let mut request = ApiVersionsRequest::default();
            if version >= 3 {
                request.client_software_name = StrBytes::from_static_str(SOFTWARE);
                request.client_software_version = StrBytes::from_static_str(env!("CARGO_PKG_VERSION"));
            }
            let body = self.exchange(&request, version).await?;
            // A broker that doesn't know the version answers with error 35 in version 0.
            let code = body.get(..2).map_or(0, |b| i16::from_be_bytes([b[0], b[1]]));
            if code == super::code::UNSUPPORTED_VERSION && version > 0 {
                version = 0;
                continue;
            }
            let response = ApiVersionsRequest::SHAPE.read(body, version);
            let response = response.map_err(|what| self.garbled::<ApiVersionsRequest>(&what))?;
            return Ok(BrokerApis::new(&response));
        }
    }

    async fn exchange<R: Api>(&mut self, request: &R, version: i16) -> Result<Bytes, KafkaError> {
        self.correlation = self.correlation.wrapping_add(1);
        let frame = self.frame(request, version)?;
        self.stream.write_all(&frame).await.map_err(|e| self.broken(&e))?;
        self.stream.flush().await.map_err(|e| self.broken(&e))?;
        let mut answer = self.read_frame().await?;
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version))
            .map_err(|e| self.garbled::<R>(&e.to_string()))?;
        if header.correlation_id != self.correlation {
            return Err(self.garbled::<R>("the answer belongs to another request"));
        }
        self.used = Instant::now();
        Ok(answer)
    }

    fn frame<R: Api>(&self, request: &R, version: i16) -> Result<BytesMut, KafkaError> {
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_string(self.properties.client_id().to_owned())));
        let mut frame = BytesMut::with_capacity(256);
        frame.put_u32(0);
        header
            .encode(&mut frame, R::header_version(version))
            .and_then(|()| request.encode(&mut frame, version))
            .map_err(|e| {
                let api = R::KEY;
                KafkaError::new(Reason::INTERNAL, format!("{api:?} version {version} can't be written: {e}"))
            })?;
        let length =
            u32::try_from(frame.len() - 4).map_err(|_| self.garbled::<R>("the request is too long"))?;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        Ok(frame)
    }

    async fn read_frame(&mut self) -> Result<Bytes, KafkaError> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).await.map_err(|e| self.broken(&e))?;
        let size = u32::from_be_bytes(length) as usize;
        if size > MAX_FRAME_BYTES {
            return Err(self.not_kafka(length));
        }
        let mut frame = BytesMut::with_capacity(size.min(INITIAL_READ_BYTES));
        while frame.len() < size {
            let mut rest = (&mut self.stream).take((size - frame.len()) as u64);
            let read = rest.read_buf(&mut frame).await.map_err(|e| self.broken(&e))?;
            if read == 0 {
                return Err(self.broken(&io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok(frame.freeze())
    }

    /// The connection failed under a request.
    fn broken(&self, error: &io::Error) -> KafkaError {
        if let Some(tls) = tls::cause(error) {
            return tls::failed(&self.properties, &self.peer, tls);
        }
        let cluster = self.properties.cluster_id();
        let what = if error.kind() == io::ErrorKind::UnexpectedEof {
            "closed the connection".to_owned()
        } else {
            format!("lost the connection: {error}")
        };
        let hint = if self.correlation > 2 {
            String::new()
        } else {
            format!(
                " during the first requests; a listener that expects another security.protocol than {} does that",
                self.properties.security_protocol()
            )
        };
        KafkaError::retriable(
            Reason::CLUSTER_UNREACHABLE,
            format!("cluster {cluster}: broker {} {what}{hint}", self.peer),
        )
    }

    fn not_kafka(&self, start: [u8; 4]) -> KafkaError {
        let cluster = self.properties.cluster_id();
        // A TLS alert record.
        if start[0] == 0x15 && start[1] == 0x03 {
            return KafkaError::new(
                Reason::TLS_FAILED,
                format!(
                    "cluster {cluster}: {} speaks TLS, but security.protocol is {}: use SSL or SASL_SSL",
                    self.peer,
                    self.properties.security_protocol()
                ),
            );
        }
        KafkaError::new(
            Reason::CLUSTER_UNREACHABLE,
            format!("cluster {cluster}: {} doesn't answer like a Kafka broker", self.peer),
        )
    }

    fn garbled<R: Api>(&self, what: &str) -> KafkaError {
        let api = R::KEY;
        KafkaError::retriable(
            Reason::KAFKA_ERROR,
            format!(
                "cluster {}: broker {}: {api:?} could not be exchanged: {what}",
                self.properties.cluster_id(),
                self.peer
            ),
        )
    }
}

#[cfg(test)]
mod tests;
