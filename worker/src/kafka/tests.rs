//! Requests whose fields differ by version.

use bytes::BytesMut;

use super::admin::group_offsets;
use super::admin::types::CommittedOffset;
use super::wire::api::Api;
use super::wire::{coordinators, metadata};

/// A field that a version doesn't have fails only when it is written: on an old broker.
fn every_version_can_be_written<R: Api>(build: impl Fn(i16) -> R) {
    for version in R::VERSIONS.min..=R::VERSIONS.max {
        let written = build(version).encode(&mut BytesMut::new(), version);
        assert!(written.is_ok(), "{:?} version {version}: {written:?}", R::KEY);
    }
}

#[test]
fn requests_that_differ_by_version_can_be_written_in_all() {
    let names = ["a".to_owned(), "b".to_owned()];
    for authorized in [false, true] {
        every_version_can_be_written(|v| metadata::request(v, Some(&names), authorized));
        every_version_can_be_written(|v| metadata::request(v, None, authorized));
    }
    every_version_can_be_written(|v| coordinators::find(v, "a", &names));
    every_version_can_be_written(|v| group_offsets::fetch_request(v, "a", &names));
    let offset = CommittedOffset {
        topic: "t".to_owned(),
        partition: 1,
        offset: 2,
        leader_epoch: 3,
        metadata: "m".to_owned(),
    };
    every_version_can_be_written(|v| group_offsets::commit_request(v, "a", &[&offset]));
}
