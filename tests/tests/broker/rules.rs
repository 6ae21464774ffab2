//! Every rule by which a broker refuses a batch, and what it does with those that it takes: tables 2.1 and 2.3 of what passing batches on needs.

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::produce_response::ProduceResponse;
use twinlog_tests::broker::Release;
use twinlog_tests::broker::batch::{CONTROL, DELETE_HORIZON, with_header};
use twinlog_tests::broker::codec::{CODECS, Codec};
use twinlog_tests::broker::golden::{self, Spec, Writer};
use twinlog_tests::broker::raw::{RawClient, To};
use twinlog_tests::broker::record;

use crate::script::{Script, named, now};

fn good() -> Spec {
    Spec::numbered("good", 3, now())
}

/// A batch whose payload is what the spec says and whose header claims something else.
fn claims(codec: Codec, claimed: i32) -> Bytes {
    good().codec(codec).batch_with(|header| {
        header.count = claimed;
        header.last_offset_delta = claimed - 1;
    })
}

/// Records that stand at 0, 1, 3 in a header that claims three.
fn with_hole(codec: Codec) -> Spec {
    let mut spec = Spec::numbered("hole", 3, now()).codec(codec);
    spec.records[2].offset_delta = 3;
    spec
}

pub(crate) async fn framing(s: &mut Script) -> Result<()> {
    let to = s.fresh();
    let batch = good().batch();
    let mut two = BytesMut::from(&batch[..]);
    two.extend_from_slice(&batch);
    s.produce("two batches", to, two.freeze(), Err(E::InvalidRecord)).await?;
    s.produce("no batch", to, Bytes::new(), Err(E::InvalidRecord)).await?;
    s.produce("half a batch", to, batch.slice(..batch.len() - 1), Err(E::InvalidRecord)).await?;
    let mut tail = BytesMut::from(&batch[..]);
    tail.extend_from_slice(&batch[..40]);
    s.produce("a batch and a half", to, tail.freeze(), Ok(0)).await?;
    for magic in [0_i8, 1, 3, -1] {
        let batch = good().batch_with(|header| header.magic = magic);
        let due = if (0..=2).contains(&magic) { E::InvalidRecord } else { E::CorruptMessage };
        s.produce(&format!("magic {magic}"), to, batch, Err(due)).await?;
    }
    let batch = good().batch_with(|header| header.batch_length = 5);
    s.produce("a length that can't be", to, batch, Err(E::CorruptMessage)).await?;
    let unknown = To::new("nothing", 0);
    s.produce("an unknown topic", unknown, good().batch(), Err(E::UnknownTopicOrPartition)).await?;
    let unknown = To::new("plain", 100_000);
    s.produce("an unknown partition", unknown, good().batch(), Err(E::UnknownTopicOrPartition)).await?;
    s.produce("acks 2", to.acks(2), good().batch(), Err(E::InvalidRequiredAcks)).await?;
    s.produce("acks 1", to.acks(1), good().batch(), Ok(3)).await?;
    Ok(())
}

pub(crate) async fn versions(s: &mut Script) -> Result<()> {
    let to = s.fresh();
    let newest = if s.release == Release::V3_9 { 11 } else { 13 };
    let id = s.id("plain");
    for version in 3..=newest {
        let offset = i64::from(version - 3) * 3;
        let to = to.version(version).id(id);
        s.produce(&format!("version {version}"), to, good().batch(), Ok(offset)).await?;
    }
    let zstd = good().codec(Codec::Zstd).batch();
    let other = s.fresh();
    s.produce("zstd in version 6", other.version(6), zstd.clone(), Err(E::UnsupportedCompressionType))
        .await?;
    s.produce("zstd in version 7", other.version(7), zstd, Ok(0)).await?;
    if newest == 13 {
        let nobody = to.version(13).id(uuid::Uuid::from_u128(7));
        s.produce("an unknown id", nobody, good().batch(), Err(E::UnknownTopicId)).await?;
    }
    let mut client = RawClient::connect(&s.address).await?;
    let request = to.version(9).request(vec![(to.partition, good().batch())]);
    // What the broker doesn't have, it closes the connection at.
    client.send(ApiKey::Produce, 9, &request).await?;
    client.receive::<ProduceResponse>(9).await?;
    let mut client = RawClient::connect(&s.address).await?;
    let to = to.acks(0);
    client.send(ApiKey::Produce, 9, &to.request(vec![(to.partition, Bytes::new())])).await?;
    let closed = client.receive::<ProduceResponse>(9).await.is_err();
    s.note("acks 0 with an error", format!("closed: {closed}"), "closed: true");
    Ok(())
}

pub(crate) async fn headers(s: &mut Script) -> Result<()> {
    let to = s.fresh();
    let sent = [
        ("base offset 5", good().batch_with(|h| h.base_offset = 5)),
        ("count 0", good().batch_with(|h| h.count = 0)),
        ("count negative", good().batch_with(|h| h.count = -1)),
        ("count less than the offsets", good().batch_with(|h| h.last_offset_delta = 3)),
        ("count more than the offsets", good().batch_with(|h| h.last_offset_delta = 1)),
        ("a negative delta", good().batch_with(|h| h.last_offset_delta = -1)),
        ("a control batch", good().batch_with(|h| h.attributes |= CONTROL)),
        ("a producer without a sequence", good().batch_with(|h| (h.producer_id, h.producer_epoch) = (77, 0))),
    ];
    for (what, batch) in sent {
        s.produce(what, to, batch, Err(E::InvalidRecord)).await?;
    }
    let mut broken = BytesMut::from(&good().batch()[..]);
    let last = broken.len() - 1;
    broken[last] ^= 1;
    s.produce("a flipped bit", to, broken.freeze(), Err(E::CorruptMessage)).await?;
    let unknown = good().batch_with(|h| h.attributes |= 5);
    s.produce("codec 5", to, unknown, Err(E::UnknownServerError)).await?;
    let offset_and_crc = {
        let mut bytes = good().batch_with(|h| h.base_offset = 5).to_vec();
        bytes[20] ^= 1;
        Bytes::from(bytes)
    };
    s.produce("offset before checksum", to, offset_and_crc, Err(E::InvalidRecord)).await?;
    let small = To::new("small", 0);
    s.produce("2000 bytes are enough", small, sized(2000), Ok(0)).await?;
    s.produce("2001 bytes", small, sized(2001), Err(E::MessageTooLarge)).await?;
    s.produce("nothing was stored", to, good().batch(), Ok(0)).await?;
    Ok(())
}

/// A batch of exactly so many bytes.
fn sized(bytes: usize) -> Bytes {
    let mut spec = Spec::numbered("sized", 1, now());
    for length in (0..bytes).rev() {
        spec.records[0].value = Some(vec![b'x'; length].into());
        let batch = spec.batch();
        if batch.len() == bytes {
            return batch;
        }
    }
    panic!("no batch has {bytes} bytes")
}

pub(crate) async fn records(s: &mut Script) -> Result<()> {
    let compacted = To::new("compacted", 0);
    let mut keyless = Spec::numbered("keyless", 4, now());
    keyless.records[1].key = None;
    keyless.records[3].key = None;
    for codec in [Codec::None, Codec::Zstd] {
        let what = format!("without a key, {codec:?}");
        s.produce(&what, compacted, keyless.clone().codec(codec).batch(), Err(E::InvalidRecord)).await?;
    }
    s.produce("without a key, version 7", compacted.version(7), keyless.batch(), Err(E::InvalidRecord))
        .await?;
    s.produce("with keys", compacted, good().batch(), Ok(0)).await?;
    let to = s.fresh();
    for codec in [Codec::None, Codec::Lz4] {
        for claimed in [2, 4] {
            let what = format!("three records claimed to be {claimed}, {codec:?}");
            s.produce(&what, to, claims(codec, claimed), Err(E::InvalidRecord)).await?;
        }
    }
    let bounded = To::new("bounded", 0);
    for (what, shift, due) in [
        ("two minutes old", -120_000, Err(E::InvalidTimestamp)),
        ("two minutes ahead", 120_000, Err(E::InvalidTimestamp)),
        ("in time", 0, Ok(0)),
    ] {
        s.produce(what, bounded, Spec::numbered("t", 3, now() + shift).batch(), due).await?;
    }
    let mut none = Spec::numbered("t", 1, -1);
    none.records[0].timestamp_delta = 0;
    s.produce("no timestamp", bounded, none.batch(), Ok(3)).await?;
    let ahead = if s.release == Release::V3_9 { Ok(0) } else { Err(E::InvalidTimestamp) };
    s.produce("two hours ahead by default", to, Spec::numbered("t", 2, now() + 7_200_000).batch(), ahead)
        .await?;
    let from = if s.release == Release::V3_9 { 2 } else { 0 };
    s.produce("from 1970", to, Spec::numbered("t", 2, 1).batch(), Ok(from)).await?;
    let mut stamped = good();
    stamped.log_append_time = true;
    for codec in CODECS {
        let batch = stamped.clone().codec(codec).batch();
        let what = format!("stamped by the producer, {codec:?}");
        s.produce(&what, To::new("stamped", 0), batch, Err(E::InvalidTimestamp)).await?;
    }
    let late = stamped.batch_with(|header| header.max_timestamp = now() - 120_000);
    s.produce("stamped long ago", bounded, late, Err(E::InvalidTimestamp)).await?;
    Ok(())
}

pub(crate) async fn holes(s: &mut Script) -> Result<()> {
    for (number, codec) in CODECS.into_iter().enumerate() {
        let to = s.fresh();
        let honest = with_hole(codec).batch();
        s.produce(&format!("a hole, {codec:?}"), to, honest, Err(E::InvalidRecord)).await?;
        let forced = with_hole(codec).batch_with(|header| header.last_offset_delta = 2);
        if codec == Codec::None {
            // Stored as it is, with an offset beyond the batch.
            s.kept("a hole with a forced header, None", to, forced.clone()).await?;
        } else {
            let what = format!("a hole with a forced header, {codec:?}");
            s.produce(&what, to, forced.clone(), Err(E::UnknownServerError)).await?;
        }
        let number = i32::try_from(number)?;
        if codec != Codec::Gzip {
            let what = format!("a hole with a forced header, {codec:?}, written anew in gzip");
            s.kept(&what, To::new("gzip", number), forced).await?;
        }
        let to = s.fresh();
        let empty = Spec { records: Vec::new(), ..good() }.batch_with(|header| header.last_offset_delta = 2);
        s.produce(&format!("empty, {codec:?}"), to, empty, Err(E::InvalidRecord)).await?;
    }
    let to = s.fresh();
    let spec = good().codec(Codec::Gzip);
    let payload = Bytes::from_static(b"\x1f\x8bthat is no gzip at all, and long enough");
    let mut batch = BytesMut::from(&spec.batch()[..61]);
    batch.extend_from_slice(&payload);
    let batch = with_header(&batch, |header| header.batch_length = 49 + 41).into();
    s.produce("a payload that can't be unpacked", to, batch, Err(E::UnknownServerError)).await?;
    Ok(())
}

/// What is taken, and how it lies there: every golden batch, cleared as forwarding clears it, and as it is.
pub(crate) async fn kept(s: &mut Script) -> Result<()> {
    for (number, spec) in golden::all(now()).into_iter().enumerate() {
        if spec.log_append_time || matches!(spec.writer, Writer::Transactional { .. }) {
            continue;
        }
        let to = s.fresh();
        s.kept(&format!("golden {number} {:?} {:?}", spec.codec, spec.writer), to, spec.batch()).await?;
    }
    for (number, codec) in CODECS.into_iter().enumerate() {
        let number = i32::try_from(number)?;
        let mut spec = Spec::numbered("kept", 4, now() - 1000).codec(codec);
        for topic in ["gzip", "bare", "stamped"] {
            let to = To::new(topic, 5 + number);
            s.kept(&format!("{codec:?} into {topic}"), to, spec.batch()).await?;
        }
        let to = s.fresh();
        let wrong = spec.batch_with(|header| header.max_timestamp += 77);
        s.kept(&format!("a wrong maximum, {codec:?}"), to, wrong).await?;
        let to = s.fresh();
        let odd = spec.batch_with(|header| header.attributes |= DELETE_HORIZON | 1 << 7);
        s.kept(&format!("odd bits, {codec:?}"), to, odd.clone()).await?;
        let to = s.fresh();
        let odd = with_header(&odd, |header| header.max_timestamp += 77).into();
        s.kept(&format!("odd bits and a wrong maximum, {codec:?}"), to, odd).await?;
        spec.log_append_time = true;
        let to = s.fresh();
        s.kept(&format!("stamped by the producer, {codec:?}"), to, spec.batch()).await?;
    }
    Ok(())
}

/// The same partition twice: one answer, and one batch is stored.
pub(crate) async fn twice(s: &mut Script) -> Result<()> {
    let to = s.fresh();
    let (first, second) = (Spec::numbered("first", 1, now()), Spec::numbered("second", 2, now()));
    let parts = vec![(to.partition, first.batch()), (to.partition, second.batch())];
    let response = s.client.produce_all(&to, parts).await?;
    let answers: Vec<String> = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses)
        .map(|p| format!("{} {}", named(p.error_code), p.base_offset))
        .collect();
    s.note("twice in a request", answers.join(", "), "None 0");
    let kept = s.entries(to).await?.len();
    s.note("of twice in a request is kept", kept.to_string(), "2");
    // Headers that repeat a key survive.
    let golden = golden::all(now()).remove(0);
    let to = s.fresh();
    s.produce("every kind of record", to, golden.batch(), Ok(0)).await?;
    let seen = s.entries(to).await?;
    let right = seen.iter().zip(&golden.records).all(|(e, r)| {
        (&e.key, &e.value, &e.headers) == (&r.key, &r.value, &r.headers)
            && e.timestamp == golden.base_timestamp + r.timestamp_delta
    });
    s.note("records survive", format!("{right} {}", seen.len()), "true 5");
    let read = record::read(&Bytes::from(record::write(&golden.records)), 5).is_ok();
    assert!(read);
    Ok(())
}

/// The window of five, sequences, epochs.
pub(crate) async fn sequences(s: &mut Script) -> Result<()> {
    let to = s.fresh();
    let id = 9_000_000 + i64::from(to.partition);
    let batch = |epoch: i16, sequence: i32, count: i32| {
        Spec::numbered("s", count, now()).writer(Writer::Idempotent { id, epoch, sequence }).batch()
    };
    s.produce("any first sequence", to, batch(0, 40, 10), Ok(0)).await?;
    for i in 1..=5 {
        s.produce(&format!("batch {i}"), to, batch(0, 40 + 10 * i, 10), Ok(i64::from(10 * i))).await?;
    }
    // 50, 60, 70, 80, 90 are remembered.
    for i in (1..=5).rev() {
        s.produce(&format!("repeat of {i}"), to, batch(0, 40 + 10 * i, 10), Ok(i64::from(10 * i))).await?;
    }
    for (what, sequence, count) in [
        ("the sixth last", 40, 10),
        ("a part of a known one", 60, 5),
        ("across two known ones", 60, 20),
        ("a gap", 101, 1),
        ("from the start", 0, 10),
    ] {
        s.produce(what, to, batch(0, sequence, count), Err(E::OutOfOrderSequenceNumber)).await?;
    }
    s.produce("the next", to, batch(0, 100, 1), Ok(60)).await?;
    s.produce("a raised epoch, not from 0", to, batch(1, 101, 1), Err(E::OutOfOrderSequenceNumber)).await?;
    s.produce("a raised epoch", to, batch(1, 0, 2), Ok(61)).await?;
    s.produce("the old epoch", to, batch(0, 101, 1), Err(E::InvalidProducerEpoch)).await?;
    s.produce("a repeat in the old epoch", to, batch(0, 100, 1), Err(E::InvalidProducerEpoch)).await?;
    s.produce("a repeat of the raised epoch", to, batch(1, 0, 2), Ok(61)).await?;
    let to = s.fresh();
    s.produce("before the wrap", to, batch(0, i32::MAX - 1, 2), Ok(0)).await?;
    s.produce("after the wrap", to, batch(0, 0, 2), Ok(2)).await?;
    let to = s.fresh();
    s.produce("up to the wrap", to, batch(0, i32::MAX, 3), Ok(0)).await?;
    s.produce("across the wrap, repeated", to, batch(0, i32::MAX, 3), Ok(0)).await?;
    s.produce("across the wrap, the next", to, batch(0, 2, 1), Ok(3)).await?;
    Ok(())
}
