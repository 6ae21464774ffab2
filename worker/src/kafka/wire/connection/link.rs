//! A connection with several requests in flight: answers come in the order of the requests. It has one owner, who sends and reads.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::buffers::Buffers;
use super::{Connection, INITIAL_READ_BYTES, MAX_FRAME_BYTES};
use crate::kafka::wire::api::Versions;
use crate::kafka::wire::away::{timed_out, unreachable};
use crate::kafka::wire::error::KafkaError;
use crate::kafka::wire::properties::ClientProperties;

/// An answer begins with its length.
const LENGTH_BYTES: usize = 4;
/// Space of a request's header.
const HEADER_BYTES: usize = 128;

/// What a request says, in pieces that are written one after the other without being copied together.
#[derive(Debug, Default)]
pub(in crate::kafka) struct Pieces {
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

impl Pieces {
    pub(in crate::kafka) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push_back(piece);
        }
    }

    fn push_front(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        self.pieces.push_front(piece);
    }

    pub(in crate::kafka) fn len(&self) -> usize {
        self.bytes
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let filled = into.iter_mut().zip(&self.pieces);
        filled.map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, mut by: usize) {
        self.bytes -= by;
        while by > 0 {
            let front = self.pieces.front_mut().expect("nothing is written that isn't there");
            if front.len() > by {
                front.advance(by);
                return;
            }
            by -= front.len();
            self.pieces.pop_front();
        }
    }
}

/// A request whose answer hasn't come yet.
struct Asked {
    correlation: i32,
    header_version: i16,
    since: Instant,
}

pub(in crate::kafka) struct Link {
    connection: Connection,
    asked: VecDeque<Asked>,
    /// What has come of the next answer: its length first.
    length: Option<usize>,
    /// When the last answer began to come.
    began: Instant,
    buffer: Vec<u8>,
    buffers: Buffers,
    /// An answer may be so large, as was asked for: space for that is taken at once.
    expected: usize,
    /// An answer that takes longer means that the broker is away.
    patience: Duration,
}

impl Link {
    /// Connects and authenticates within `patience`, which is also how long an answer may take.
    pub(in crate::kafka) async fn open(
        peer: &str,
        properties: &ClientProperties,
        patience: Duration,
    ) -> Result<Self, KafkaError> {
        let opened = timeout(patience, Connection::open(peer, properties)).await;
        let connection =
            opened.unwrap_or_else(|_| Err(timed_out(properties, &format!("broker {peer}"), patience)))?;
        Ok(Self {
            connection,
            asked: VecDeque::new(),
            length: None,
            began: Instant::now(),
            buffer: Vec::new(),
            buffers: Buffers::default(),
            expected: INITIAL_READ_BYTES,
            patience,
        })
    }

    pub(in crate::kafka) fn peer(&self) -> &str {
        self.connection.peer()
    }

    /// The highest version that both sides have.
    pub(in crate::kafka) fn version(&self, key: ApiKey, ours: Versions) -> Result<i16, KafkaError> {
        self.connection.apis.pick(key, ours, &self.connection.peer)
    }

    /// Whether the broker will go on without a new authentication.
    pub(in crate::kafka) fn is_authenticated(&self) -> bool {
        self.connection.expires.is_none_or(|at| Instant::now() < at)
    }

    /// The next answers were asked to have no more than so many bytes: memory for them is set aside.
    pub(in crate::kafka) fn expect(&mut self, bytes: usize) {
        self.expected = bytes.max(INITIAL_READ_BYTES);
    }

    /// Writes one request. To be awaited to its end.
    pub(in crate::kafka) async fn send(
        &mut self,
        key: ApiKey,
        version: i16,
        body: Pieces,
    ) -> Result<(), KafkaError> {
        let mut frame = body;
        let header = self.header(key, version, frame.len())?;
        frame.push_front(header);
        let asked = Asked {
            correlation: self.connection.correlation,
            header_version: key.response_header_version(version),
            since: Instant::now(),
        };
        self.asked.push_back(asked);
        let stream = &mut self.connection.stream;
        let written = timeout(self.patience, async {
            stream.write_all_buf(&mut frame).await?;
            stream.flush().await
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.connection.broken(&error)),
            Err(_) => Err(self.silent()),
        }
    }

    fn header(&mut self, key: ApiKey, version: i16, body: usize) -> Result<Bytes, KafkaError> {
        let connection = &mut self.connection;
        connection.correlation = connection.correlation.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_correlation_id(connection.correlation)
            .with_client_id(Some(StrBytes::from_string(connection.properties.client_id().to_owned())));
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&[0; 4]);
        let encoded = header.encode(&mut bytes, key.request_header_version(version));
        encoded.map_err(|error| connection.unusable(key, &error.to_string()))?;
        let length = u32::try_from(bytes.len() - 4 + body);
        let length = length.map_err(|_| connection.unusable(key, "the request is too long"))?;
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        Ok(bytes.freeze())
    }

    /// When the answer that came last began to come.
    pub(in crate::kafka) fn began(&self) -> Instant {
        self.began
    }

    /// The body of the next answer. Where this is dropped before it is ready, nothing is lost. An answer that is late is an error, and
    /// without a request in flight this waits until the connection breaks.
    pub(in crate::kafka) async fn next(&mut self) -> Result<Bytes, KafkaError> {
        // A broker takes up one request when it has answered the one before.
        let since = self.asked.front().map(|asked| asked.since.max(self.connection.used));
        let late = since.map(|since| since + self.patience);
        let frame = match late {
            Some(late) => {
                tokio::time::timeout_at(late, self.frame()).await.unwrap_or_else(|_| Err(self.silent()))
            }
            None => self.frame().await,
        };
        let mut frame = frame?;
        let Some(asked) = self.asked.pop_front() else {
            return Err(self
                .connection
                .unusable(ApiKey::ApiVersions, "an answer came that nobody asked for"));
        };
        let header = ResponseHeader::decode(&mut frame, asked.header_version);
        let header =
            header.map_err(|error| self.connection.unusable(ApiKey::ApiVersions, &error.to_string()))?;
        if header.correlation_id != asked.correlation {
            let what = "the answer belongs to another request";
            return Err(self.connection.unusable(ApiKey::ApiVersions, what));
        }
        self.connection.used = Instant::now();
        Ok(frame)
    }

    async fn frame(&mut self) -> Result<Bytes, KafkaError> {
        loop {
            let wanted = self.length.unwrap_or(LENGTH_BYTES);
            if self.buffer.len() < wanted {
                self.read(wanted).await?;
                continue;
            }
            if self.length.take().is_some() {
                return Ok(self.buffers.answer(std::mem::take(&mut self.buffer)));
            }
            let length: [u8; LENGTH_BYTES] = self.buffer[..].try_into().expect("it has come");
            let size = u32::from_be_bytes(length) as usize;
            if size > MAX_FRAME_BYTES {
                return Err(self.connection.not_kafka(length));
            }
            (self.length, self.began) = (Some(size), Instant::now());
            // Beyond what was asked for, space grows with what has come, not with what a broker claims is to come.
            self.buffer = self.buffers.space(size.min(self.expected));
        }
    }

    /// Reads a part, never more than what belongs to the answer: its bytes stay where they are read to.
    async fn read(&mut self, wanted: usize) -> Result<(), KafkaError> {
        let missing = wanted - self.buffer.len();
        if self.buffer.capacity() == self.buffer.len() {
            self.buffer.reserve(missing.min(self.buffer.len().max(LENGTH_BYTES)));
        }
        let mut rest = (&mut self.connection.stream).take(missing as u64);
        match rest.read_buf(&mut self.buffer).await {
            Ok(0) => Err(self.connection.broken(&std::io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(()),
            Err(error) => Err(self.connection.broken(&error)),
        }
    }

    fn silent(&self) -> KafkaError {
        let Connection { properties, peer, .. } = &self.connection;
        timed_out(properties, &format!("broker {peer}"), self.patience)
    }
}

impl Connection {
    fn unusable(&self, key: ApiKey, what: &str) -> KafkaError {
        unreachable(&self.properties, &self.peer, &std::io::Error::other(format!("{key:?}: {what}")))
    }
}
