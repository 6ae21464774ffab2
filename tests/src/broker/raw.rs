//! A client without opinions: sends one request in one version as it is told, to the fake or to a real broker.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, ProduceResponse};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader, TopicName, TransactionalId};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

/// An answer that takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a request gives the broker to replicate.
const TIMEOUT_MS: i32 = 10_000;

pub struct RawClient {
    stream: TcpStream,
    correlation: i32,
}

impl RawClient {
    /// # Errors
    /// Nobody listens there.
    pub async fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot reach {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, correlation: 0 })
    }

    /// Sends a request without reading its answer.
    ///
    /// # Errors
    /// The connection is closed, or the request can't be written in that version.
    pub async fn send<R: Encodable + HeaderVersion>(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &R,
    ) -> Result<()> {
        self.correlation += 1;
        let header = RequestHeader::default()
            .with_request_api_key(api as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_static_str("raw")));
        let mut frame = BytesMut::new();
        frame.put_u32(0);
        header.encode(&mut frame, R::header_version(version))?;
        request.encode(&mut frame, version)?;
        let length = u32::try_from(frame.len() - 4)?;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&frame).await?;
        Ok(())
    }

    /// The next answer.
    ///
    /// # Errors
    /// The connection is closed, or the answer is of another kind.
    pub async fn receive<R: Decodable + HeaderVersion>(&mut self, version: i16) -> Result<R> {
        let mut frame = tokio::time::timeout(PATIENCE, self.frame()).await.context("no answer came")??;
        ResponseHeader::decode(&mut frame, R::header_version(version))?;
        let response = R::decode(&mut frame, version)?;
        ensure!(frame.is_empty(), "{} bytes are left of an answer", frame.len());
        Ok(response)
    }

    async fn frame(&mut self) -> Result<Bytes> {
        let length = self.stream.read_u32().await.context("the connection is closed")?;
        let mut frame = BytesMut::zeroed(length as usize);
        self.stream.read_exact(&mut frame).await?;
        Ok(frame.freeze())
    }

    /// # Errors
    /// As `send` and `receive`.
    pub async fn call<Q: Encodable + HeaderVersion, R: Decodable + HeaderVersion>(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &Q,
    ) -> Result<R> {
        self.send(api, version, request).await?;
        self.receive(version).await
    }

    /// Produces these bytes as the records of one partition.
    ///
    /// # Errors
    /// As `call`.
    pub async fn produce(&mut self, to: &To<'_>, records: Bytes) -> Result<PartitionProduceResponse> {
        let response = self.produce_all(to, vec![(to.partition, records)]).await?;
        let answer = response.responses.into_iter().flat_map(|topic| topic.partition_responses).next();
        answer.context("an answer without a partition")
    }

    /// Produces to several partitions of one topic.
    ///
    /// # Errors
    /// As `call`.
    pub async fn produce_all(&mut self, to: &To<'_>, parts: Vec<(i32, Bytes)>) -> Result<ProduceResponse> {
        self.call(ApiKey::Produce, to.version, &to.request(parts)).await
    }
}

/// Where to produce, and how.
#[derive(Debug, Clone, Copy)]
pub struct To<'a> {
    pub topic: &'a str,
    /// For version 13.
    pub id: Uuid,
    pub partition: i32,
    pub version: i16,
    pub acks: i16,
    pub transactional_id: Option<&'a str>,
}

impl<'a> To<'a> {
    /// Version 9, acks=-1, no transaction.
    pub fn new(topic: &'a str, partition: i32) -> Self {
        Self { topic, id: Uuid::nil(), partition, version: 9, acks: -1, transactional_id: None }
    }

    #[must_use]
    pub fn version(self, version: i16) -> Self {
        Self { version, ..self }
    }

    #[must_use]
    pub fn id(self, id: Uuid) -> Self {
        Self { id, ..self }
    }

    #[must_use]
    pub fn acks(self, acks: i16) -> Self {
        Self { acks, ..self }
    }

    #[must_use]
    pub fn transactional(self, id: &'a str) -> Self {
        Self { transactional_id: Some(id), ..self }
    }

    pub fn request(&self, parts: Vec<(i32, Bytes)>) -> ProduceRequest {
        let data =
            |(index, records)| PartitionProduceData::default().with_index(index).with_records(Some(records));
        let mut topic =
            TopicProduceData::default().with_partition_data(parts.into_iter().map(data).collect());
        if self.version >= 13 {
            topic.topic_id = self.id;
        } else {
            topic.name = TopicName(StrBytes::from_string(self.topic.to_owned()));
        }
        let id = self.transactional_id.map(|id| TransactionalId(StrBytes::from_string(id.to_owned())));
        ProduceRequest::default()
            .with_transactional_id(id)
            .with_acks(self.acks)
            .with_timeout_ms(TIMEOUT_MS)
            .with_topic_data(vec![topic])
    }
}
