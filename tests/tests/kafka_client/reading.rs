//! Reading records: what librdkafka packs is read as it was sent, and what isn't committed isn't read.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use twinlog_tests::sandbox::{KafkaOptions, Sandbox};
use twinlog_worker::kafka::{Isolation, KafkaClient, LogReader, LogRecord, NotRead, Role, Span, Wanted};

use super::positions::transactions;
use super::{TRY, client, topic};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const COUNT: i64 = 500;
const PATIENCE: Duration = Duration::from_secs(2);

type Field = Option<Vec<u8>>;

#[tokio::test(flavor = "multi_thread")]
async fn records_are_read_as_they_were_sent() -> Result<()> {
    let sandbox = Sandbox::new("client-reading")?;
    let kafka = sandbox.kafka("a", KafkaOptions::default())?;
    let client = client(&kafka.bootstrap())?;
    client.ensure_topic(&topic("packed", 5)).await?;
    client.ensure_topic(&topic("t", 3)).await?;
    for (partition, codec) in (0..).zip(CODECS) {
        packed(&client, partition, codec)?;
        // Two batches, of which this partition's codec was really used.
        let fetched = client.fetch_batches("packed", partition, 0, 1 << 20, Isolation::Committed).await?;
        assert!(fetched.batches.iter().all(|batch| i32::from(batch.header.codec()) == partition));
    }
    let reader = || LogReader::new(&client, "packed", Isolation::Committed, PATIENCE);
    let spans = |from, to| (0..5).map(|partition| Span { partition, from, to }).collect::<Vec<_>>();
    let mut next = BTreeMap::new();
    let mut all = reader();
    let read = all.read(spans(0, COUNT), |record| {
        let next = next.entry(record.partition).or_insert(0);
        assert_eq!(record.offset, *next);
        *next += 1;
        is_as_sent(record);
        Wanted::More
    });
    assert_eq!(read.await, Ok(()));
    assert_eq!(next, (0..5).map(|partition| (partition, COUNT)).collect());
    assert_eq!(all.next(4), Some(COUNT));
    let mut offsets = Vec::new();
    let mut some = reader();
    let read = some.read(spans(33, 36), |record| {
        offsets.push(record.offset);
        if record.offset == 34 && record.partition == 2 { Wanted::Enough } else { Wanted::More }
    });
    assert_eq!(read.await, Ok(()));
    offsets.sort_unstable();
    assert_eq!(offsets, [33, 33, 33, 33, 33, 34, 34, 34, 34, 34, 35, 35, 35, 35]);
    assert_eq!((some.next(2), some.next(3)), (Some(35), Some(36)));

    // Partition 1: 5 aborted records and their marker, 5 committed ones and theirs, and 5 of an open transaction.
    let open = transactions(&client)?;
    let read = async |isolation, to| {
        let (mut offsets, began) = (Vec::new(), Instant::now());
        let mut reader = LogReader::new(&client, "t", isolation, PATIENCE);
        let read = reader.read(vec![Span { partition: 1, from: 0, to }], |record| {
            offsets.push(record.offset);
            Wanted::More
        });
        let result = read.await;
        (result, offsets, began.elapsed())
    };
    let (result, offsets, took) = read(Isolation::Committed, 12).await;
    assert_eq!((result, offsets), (Ok(()), (6..11).collect::<Vec<_>>()));
    assert!(took < PATIENCE, "{took:?}");
    let (result, offsets, took) = read(Isolation::Committed, 17).await;
    assert_eq!(result, Err(NotRead::Stalled { partition: 1, next: 12, end: 17 }));
    assert_eq!(offsets, (6..11).collect::<Vec<_>>());
    assert!(took >= PATIENCE, "{took:?}");
    let (result, offsets, _) = read(Isolation::Uncommitted, 17).await;
    assert_eq!((result, offsets), (Ok(()), (0..5).chain(6..11).chain(12..17).collect()));
    open.abort_transaction(TRY)?;
    // Nothing but what is hidden follows.
    let (result, offsets, took) = read(Isolation::Committed, 18).await;
    assert_eq!((result, offsets), (Ok(()), (6..11).collect()));
    assert!(took < PATIENCE, "{took:?}");
    let (result, ..) = read(Isolation::Committed, 99).await;
    assert!(matches!(result, Err(NotRead::Stalled { next: 18, end: 99, .. })), "{result:?}");
    Ok(())
}

/// Key, value and headers of the record with this number.
fn sent(number: i64) -> (Field, Field, Vec<(String, Field)>) {
    let key = (number % 3 != 0).then(|| vec![0xff, number as u8]);
    let value = (number % 5 != 0).then(|| format!("value {number} ").repeat(20).into_bytes());
    let headers = (0..number % 4).map(|n| ("same".to_owned(), (n != 1).then(|| vec![0xfe, n as u8])));
    (key, value, headers.collect())
}

fn packed(client: &KafkaClient, partition: i32, codec: &str) -> Result<()> {
    let mut config = client.properties().rdkafka(Role::Producer);
    config.set("linger.ms", "100").set("compression.type", codec).set("batch.num.messages", "300");
    let producer: BaseProducer = config.create()?;
    for number in 0..COUNT {
        let (key, value, headers) = sent(number);
        let mut owned = OwnedHeaders::new();
        for (key, value) in &headers {
            owned = owned.insert(Header { key, value: value.as_deref() });
        }
        let mut record = BaseRecord::<[u8], [u8]>::to("packed").partition(partition).timestamp(1000 + number);
        record.key = key.as_deref();
        record.payload = value.as_deref();
        if !headers.is_empty() {
            record = record.headers(owned);
        }
        producer.send(record).map_err(|(error, _)| error)?;
    }
    Ok(producer.flush(TRY)?)
}

fn is_as_sent(record: &LogRecord<'_>) {
    let (key, value, headers) = sent(record.offset);
    assert_eq!((record.key, record.value), (key.as_deref(), value.as_deref()));
    let names = record
        .headers
        .iter()
        .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.map(<[u8]>::to_vec)));
    assert_eq!(names.collect::<Vec<_>>(), headers);
    assert_eq!((record.timestamp, record.is_log_append_time), (1000 + record.offset, false));
}
