//! The clients against librdkafka's own mock cluster: every call of ours, quick enough for a run under valgrind.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::bindings::rd_kafka_resp_err_t as Resp;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::RDKafkaApiKey;
use twinlog_proto::id::ClusterId;
use twinlog_proto::model;

use super::delivery::{Ack, Refused, Ticket};
use super::source::{Fetched, Source};
use super::target::Target;
use super::*;
use crate::engine::librdkafka::config;
use crate::kafka::{ClientProperties, Role};

const TOPIC: &str = "orders";
/// On a busy machine, under valgrind.
const DEADLINE: Duration = Duration::from_secs(60);
const SECRET: &[u8] = b"what the record holds";

struct Mock {
    cluster: MockCluster<'static, DefaultProducerContext>,
    properties: ClientProperties,
}

impl Mock {
    fn start() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, 2, 1).unwrap();
        let properties = ClientProperties::resolve(&model::Cluster {
            id: ClusterId::new("mock").unwrap(),
            bootstrap_servers: vec![cluster.bootstrap_servers()],
            properties: Default::default(),
        });
        Self { cluster, properties: properties.unwrap() }
    }

    fn target(&self, more: &[(&str, &str)]) -> (Target, usize) {
        let mut config = self.properties.rdkafka(Role::Producer);
        config.set("enable.idempotence", "true").set("linger.ms", "5");
        for (key, value) in more {
            config.set(*key, *value);
        }
        let mut target = Target::open(&config, &self.properties).unwrap();
        let topic = target.topic(TOPIC).unwrap();
        (target, topic)
    }

    fn source(&self) -> Source {
        let memory = config::Memory::divide(16 << 20, 1);
        let mut config = config::source(self.properties.rdkafka(Role::Consumer), &memory);
        config.set("fetch.wait.max.ms", "10");
        Source::open(&config, &self.properties, TOPIC).unwrap()
    }
}

fn ticket(number: u64) -> Ticket {
    Ticket { slot: 3, number }
}

fn acks(target: &mut Target, count: u64) -> Vec<Ack> {
    let (mut all, mut seen) = (Vec::new(), 0);
    let deadline = Instant::now() + DEADLINE;
    while seen < count {
        assert!(Instant::now() < deadline, "{all:?}");
        target.poll(|ack| {
            seen += if let Ack::Stored { count, .. } = &ack { *count } else { 1 };
            all.push(ack);
        });
        std::thread::park_timeout(Duration::from_millis(20));
    }
    all
}

/// Whatever of a partition has come when its end is reached: offset, key, value, timestamp, headers.
type Read = Vec<(i64, Option<Vec<u8>>, Option<Vec<u8>>, i64, Vec<(Vec<u8>, Option<Vec<u8>>)>)>;

fn read(source: &mut Source, partition: i32, end: i64) -> Read {
    source.start(partition, 0).unwrap();
    let (mut read, mut next) = (Read::new(), 0);
    let deadline = Instant::now() + DEADLINE;
    while next < end {
        assert!(Instant::now() < deadline, "{read:?}");
        let mut batch = source.batch(100);
        while let Some(fetched) = batch.pop() {
            let Fetched::Record(record) = fetched else { continue };
            let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
            let mut headers = Vec::new();
            record.each_header(|name, value| headers.push((name.to_vec(), owned(value))));
            next = record.offset() + 1;
            read.push((
                record.offset(),
                owned(record.key()),
                owned(record.value()),
                record.timestamp(),
                headers,
            ));
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    source.stop(partition);
    read
}

fn refusals(acks: Vec<Ack>) -> Vec<Refused> {
    acks.into_iter()
        .map(|ack| match ack {
            Ack::Refused(refused) => refused,
            stored @ Ack::Stored { .. } => panic!("{stored:?}"),
        })
        .collect()
}

/// Its text is the library's, and nothing of the record.
fn assert_plain(refused: &Refused, code: RDKafkaErrorCode) {
    assert_eq!(refused.error.code, code);
    assert_eq!(refused.error.text, Error::from_code(code_of(code)).text);
    let shown = format!("{refused:?}");
    assert!(!shown.contains("record holds") && !shown.contains(&format!("{SECRET:?}")), "{shown}");
}

fn code_of(code: RDKafkaErrorCode) -> Resp {
    match code {
        RDKafkaErrorCode::InvalidRecord => Resp::RD_KAFKA_RESP_ERR_INVALID_RECORD,
        RDKafkaErrorCode::PurgeQueue => Resp::RD_KAFKA_RESP_ERR__PURGE_QUEUE,
        other => panic!("{other:?}"),
    }
}

#[test]
fn records_are_written_and_read_byte_for_byte() {
    let mock = Mock::start();
    let (mut target, topic) = mock.target(&[]);
    target.produce_bytes(topic, 0, Some(b"k"), Some(SECRET), 1_700_000_000_000, ticket(0)).unwrap();
    target.produce_bytes(topic, 0, None, Some(b""), 0, ticket(1)).unwrap();
    target.produce_bytes(topic, 0, Some(b"gone"), None, 5, ticket(2)).unwrap();
    let stored: HashMap<u64, i64> = acks(&mut target, 3)
        .into_iter()
        .flat_map(|ack| match ack {
            Ack::Stored { first, count, offset } => {
                (0..count).map(move |i| (first.number + i, offset + i as i64))
            }
            Ack::Refused(refused) => panic!("{refused:?}"),
        })
        .collect();
    assert_eq!(stored, HashMap::from([(0, 0), (1, 1), (2, 2)]));
    let found = read(&mut mock.source(), 0, 3);
    let expected: Read = vec![
        (0, Some(b"k".to_vec()), Some(SECRET.to_vec()), 1_700_000_000_000, vec![]),
        (1, None, Some(vec![]), 0, vec![]),
        (2, Some(b"gone".to_vec()), None, 5, vec![]),
    ];
    assert_eq!(found, expected);
}

#[test]
fn fetched_records_are_copied_with_their_headers_and_outlive_their_source() {
    let mock = Mock::start();
    let (mut target, topic) = mock.target(&[]);
    let producer: rdkafka::producer::BaseProducer = mock.properties.rdkafka(Role::Producer).create().unwrap();
    let headers = rdkafka::message::OwnedHeaders::new()
        .insert(rdkafka::message::Header { key: "h", value: Some("1") })
        .insert(rdkafka::message::Header { key: "none", value: None::<&str> });
    let record =
        rdkafka::producer::BaseRecord::to(TOPIC).partition(0).key("k").payload(SECRET).headers(headers);
    producer.send(record).unwrap();
    rdkafka::producer::Producer::flush(&producer, DEADLINE).unwrap();

    let mut source = mock.source();
    source.start(0, 0).unwrap();
    let deadline = Instant::now() + DEADLINE;
    let mut batch = loop {
        let batch = source.batch(10);
        if batch.len() > 0 {
            break batch;
        }
        assert!(Instant::now() < deadline);
        std::thread::park_timeout(Duration::from_millis(20));
    };
    // The batch keeps what its records need.
    drop(source);
    let Some(Fetched::Record(record)) = batch.pop() else { panic!("a record comes first") };
    target.produce_record(topic, 1, &record, ticket(0)).unwrap();
    drop(record);
    drop(batch);
    assert_eq!(acks(&mut target, 1), [Ack::Stored { first: ticket(0), count: 1, offset: 0 }]);
    let found = read(&mut mock.source(), 1, 1);
    assert_eq!(found[0].4, [(b"h".to_vec(), Some(b"1".to_vec())), (b"none".to_vec(), None)]);
    assert_eq!(found[0].2.as_deref(), Some(SECRET));
}

#[test]
fn a_refused_record_is_reported_without_what_it_holds() {
    let mock = Mock::start();
    let (mut target, topic) = mock.target(&[]);
    mock.cluster.request_errors(RDKafkaApiKey::Produce, &[Resp::RD_KAFKA_RESP_ERR_INVALID_RECORD]);
    let value = SECRET.repeat(40_000);
    target.produce_bytes(topic, 0, None, Some(&value), 5, ticket(0)).unwrap();
    let refused = refusals(acks(&mut target, 1));
    assert_plain(&refused[0], RDKafkaErrorCode::InvalidRecord);
    assert_eq!((refused[0].ticket, refused[0].size, refused[0].timestamp), (ticket(0), value.len(), 5));
    assert!(!refused[0].has_key && !refused[0].named, "the broker said nothing");
}

#[test]
fn purged_records_are_reported_without_what_they_hold() {
    let mock = Mock::start();
    let (mut target, topic) = mock.target(&[("linger.ms", "60000")]);
    for number in 0..100 {
        target.produce_bytes(topic, 0, Some(SECRET), Some(SECRET), 5, ticket(number)).unwrap();
    }
    target.purge_queues();
    for refused in refusals(acks(&mut target, 100)) {
        assert_plain(&refused, RDKafkaErrorCode::PurgeQueue);
    }
}

#[test]
fn a_timestamp_of_zero_is_not_left_for_the_next_record() {
    let mock = Mock::start();
    let (mut target, topic) = mock.target(&[("message.max.bytes", "1000")]);
    let large = SECRET.repeat(100);
    let error = target.produce_bytes(topic, 0, None, Some(&large), 0, ticket(0)).unwrap_err();
    assert_eq!(error.code, RDKafkaErrorCode::MessageSizeTooLarge);
    target.produce_bytes(topic, 0, None, Some(b"small"), 7, ticket(0)).unwrap();
    acks(&mut target, 1);
    assert_eq!(read(&mut mock.source(), 0, 1)[0].3, 7);
}

#[test]
fn what_a_client_cannot_be_made_with_is_said() {
    let mock = Mock::start();
    let mut config = mock.properties.rdkafka(Role::Producer);
    config.set("enable.idempotence", "true").set("acks", "1");
    let Err(error) = Target::open(&config, &mock.properties) else {
        panic!("these settings contradict each other")
    };
    assert!(error.text.contains("acks"), "{error}");
    let (mut target, _) = mock.target(&[]);
    assert!(target.topic("zero\0byte").is_err());
    let error = mock.source().start(-7, 0).unwrap_err();
    assert!(!error.text.is_empty(), "{error:?}");
}

#[test]
fn without_a_token_it_is_the_token_that_is_named() {
    let mock = Mock::start();
    let shared = Shared::new(&mock.properties);
    let broker_says = || Error::plain(RDKafkaErrorCode::Authentication, "handshake failed");
    let said = |error| {
        shared.report(error);
        shared.trouble.lock().unwrap().take().unwrap().text
    };
    assert_eq!(said(broker_says()), "handshake failed");
    *shared.no_token.lock().unwrap() = Some("no token from https://login.example".to_owned());
    assert_eq!(said(broker_says()), "no token from https://login.example");
    let down = Error::plain(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
    assert_eq!(said(down), "1/1 brokers are down");
}
