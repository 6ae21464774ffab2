//! Shapes are compared with the message types, and every answer is attacked.

use bytes::Bytes;
use kafka_protocol::messages as m;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::Decodable;

use super::super::api::{Api, EachApi, every_api};
use super::super::shapes;
use super::*;
use crate::fuzz::{Random, Target, attack, dream};

/// Room that an answer takes beside what it is itself.
const BESIDES: usize = 64 << 10;
/// The fewest bytes of an entry become so many times as many: a name of no letters, or a tag of no bytes.
const GROWTH: usize = 64;
/// Made-up messages of each version.
const EACH: usize = 40;

/// One kind of answer in one version.
struct Answer {
    key: ApiKey,
    version: i16,
    shape: fn() -> Shape,
    dream: fn(i16, &mut Random) -> Vec<u8>,
    /// How many bytes it takes when it is decoded without a look at its shape before.
    decode: fn(Bytes, i16) -> Option<usize>,
    read: fn(Bytes, i16) -> Result<(), String>,
}

#[derive(Default)]
struct Answers(Vec<Answer>);

impl EachApi for Answers {
    fn visit<R: Api>(&mut self) {
        // Over connections of their own, these go on with later versions.
        let max = match R::KEY {
            ApiKey::Fetch => 16,
            ApiKey::Produce => 13,
            _ => R::VERSIONS.max,
        };
        self.0.extend((R::VERSIONS.min..=max).map(|version| Answer {
            key: R::KEY,
            version,
            shape: || R::SHAPE,
            dream: dream::<R::Response>,
            decode: |mut body, version| {
                let whole = body.len();
                R::Response::decode(&mut body, version).ok().map(|_| whole - body.len())
            },
            read: |body, version| R::SHAPE.read::<R::Response>(body, version).map(drop),
        }));
    }
}

fn answers() -> Vec<Answer> {
    let mut answers = Answers::default();
    every_api(&mut answers);
    answers.0
}

#[test]
fn every_version_has_the_shape_of_its_message() {
    let mut random = Random::new(7);
    for Answer { key, version, shape, dream, decode, .. } in answers() {
        for _ in 0..EACH {
            let mut bytes = dream(version, &mut random);
            let whole = bytes.len();
            // Another answer follows, as far as a decoder is concerned.
            bytes.extend_from_slice(b"more");
            assert_eq!(decode(Bytes::from(bytes.clone()), version), Some(whole), "{key:?} {version}");
            assert_eq!(shape().length(&bytes, version), Ok(whole), "{key:?} {version}: {bytes:02x?}");
            for cut in 0..whole.min(40) {
                assert!(
                    shape().length(&bytes[..cut], version).is_err(),
                    "{key:?} {version}: {cut} of {whole}"
                );
            }
        }
    }
}

#[test]
fn entries_that_are_not_there_take_no_memory() {
    // 2^31 - 1 brokers, and as many partitions of a fetched topic, in a few bytes.
    let metadata = Bytes::from_static(&[0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1]);
    let error = shapes::METADATA.read::<m::MetadataResponse>(metadata, 4).unwrap_err();
    assert_eq!(error, "it claims 2147483647 entries in 4 bytes");
    let fetch = [
        &[0; 10][..],
        &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0; 30],
    ];
    let error = shapes::FETCH.read::<m::FetchResponse>(Bytes::from(fetch.concat()), 16).unwrap_err();
    assert_eq!(error, "it claims 4294967294 entries in 30 bytes");
}

/// The first two bytes of an input say which answer it is.
#[test]
fn fuzz_answers() {
    let (all, mut random) = (answers(), Random::new(1));
    let seeds = all.iter().enumerate().flat_map(|(number, answer)| {
        let of = u16::try_from(number).expect("some hundred").to_be_bytes();
        let bytes = (answer.dream)(answer.version, &mut random);
        [[&of[..], &bytes].concat()]
    });
    let memory = |bytes: usize| BESIDES + bytes * GROWTH;
    let target = Target { name: "answers", seeds: seeds.collect(), memory, repair: None };
    attack(target, |input| {
        let Some((number, body)) = input.split_first_chunk() else { return String::new() };
        let answer = &all[usize::from(u16::from_be_bytes(*number)) % all.len()];
        let read = (answer.read)(Bytes::copy_from_slice(body), answer.version);
        format!("{:?} {read:?}", answer.key)
    });
}
