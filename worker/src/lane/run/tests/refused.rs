//! Records that the target refuses or that can't be read: their partition stops there, the others go on, and it is tried again.

use super::*;
use crate::engine::{MIN_BATCH_BYTES, Refusal, Refused, batch_bytes};
use crate::kafka::{ConfigEntry, ConfigSource, Damaged};
use twinlog_proto::id::SourceOffset;

fn refused(refusal: Refusal, size: usize) -> Exit {
    let record = Refused { partition: 0, offset: SourceOffset(5), size, has_key: false, timestamp: -1 };
    Exit::Refused { record, refusal, error: Trouble::new("the broker's own words") }
}

/// Five records of partition 0 are copied, and the next one is refused.
fn setting(exit: Exit) -> Setting {
    let copies = Life::Runs(vec![Act::Copies(0, 5), Act::Ends(exit)]);
    Setting::new().source(0, (0, 9)).source(1, (0, 9)).life(copies)
}

fn stop_before(told: &Told, partition: i32) -> Option<i64> {
    told.assigned().iter().find(|a| a.partition == partition).and_then(|a| a.stop_before).map(|at| at.0)
}

#[tokio::test(start_paused = true)]
async fn a_partition_stops_before_a_record_that_is_refused_and_the_others_go_on() {
    let stage = setting(refused(Refusal::Other, 100)).start();
    let told = stage.ordered(2).await;
    assert_eq!((stop_before(&told, 0), stop_before(&told, 1)), (Some(5), None));
    assert!(pauses(&stage.engine.told())[0] < Duration::from_millis(5), "at once");
    stage.is_in(State::Degraded, Some(Reason::RECORD_REFUSED)).await;
    let cause = stage.partition(0).cause.expect("a cause").message;
    assert!(
        cause.starts_with("t partition 0 offset 5: a.t on cluster b refuses the record (100 bytes)"),
        "{cause}"
    );
    assert!(cause.contains("the broker's own words"), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_record_is_tried_again_and_its_partition_goes_on() {
    let stage = setting(refused(Refusal::Other, 100)).start();
    let second = stage.ordered(2).await;
    let third = stage.ordered(3).await;
    assert!(is_a_retry(third.at - second.at), "{:?}", third.at - second.at);
    assert_eq!(stop_before(&third, 0), None);
    stage.is_in(State::Active, None).await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_refused_again_is_refused_since_the_first_time() {
    let again = Life::Runs(vec![Act::Ends(refused(Refusal::Other, 100))]);
    let stage = setting(refused(Refusal::Other, 100)).life(Life::Runs(Vec::new())).life(again).start();
    stage.is_in(State::Degraded, Some(Reason::RECORD_REFUSED)).await;
    let since = stage.partition(0).cause.expect("a cause").since;
    let told = stage.ordered(4).await;
    assert_eq!(stop_before(&told, 0), Some(5));
    stage.is_in(State::Degraded, Some(Reason::RECORD_REFUSED)).await;
    assert_eq!(stage.partition(0).cause.expect("a cause").since, since);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_too_large_is_said_with_its_size() {
    let size = 2 << 20;
    let mut setting = setting(refused(Refusal::TooLarge, size));
    setting.range.target_max_message_bytes = Some(1 << 20);
    let stage = setting.start();
    stage.ordered(2).await;
    stage.is_in(State::Degraded, Some(Reason::RECORD_TOO_LARGE)).await;
    let cause = stage.partition(0).cause.expect("a cause").message;
    assert!(cause.contains("a record of 2097152 bytes, but a.t takes batches of 1048576 bytes"), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn where_the_batch_was_too_large_smaller_ones_are_made_until_settings_change() {
    let small = || refused(Refusal::TooLarge, 100);
    let stage = setting(small()).ends([small(), small(), small()]).start();
    let told = stage.ordered(5).await;
    let batches: Vec<_> = stage.engine.told().iter().map(|told| told.limits.batch).collect();
    let whole = batch_bytes(None);
    assert_eq!(batches, [whole, whole / 4, whole / 16, MIN_BATCH_BYTES, MIN_BATCH_BYTES]);
    assert_eq!(stop_before(&told, 0), Some(5), "the smallest batch was refused, so it is the record");
    stage.update(|mirror| mirror.target_latency = secs(3));
    let told = stage.ordered(6).await;
    assert_eq!((told.limits.batch, stop_before(&told, 0)), (whole, None), "everything is tried again");
}

#[tokio::test(start_paused = true)]
async fn a_record_without_a_key_is_named_where_the_topic_is_compacted() {
    let setting = setting(refused(Refusal::Invalid, 100));
    setting.clusters.state().configs = Some(vec![ConfigEntry {
        name: "cleanup.policy".to_owned(),
        value: Some("compact".to_owned()),
        source: ConfigSource::DynamicTopic,
        read_only: false,
        sensitive: false,
    }]);
    let stage = setting.start();
    stage.is_in(State::Degraded, Some(Reason::RECORD_REFUSED)).await;
    let cause = stage.partition(0).cause.expect("a cause").message;
    assert!(cause.contains("a record without a key") && cause.contains("cleanup.policy=compact"), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_read_stops_its_partition() {
    let damaged = Damaged { offset: 5, magic: 2, what: "can't be read".to_owned() };
    let stage = setting(Exit::Unreadable { partition: 0, damaged }).start();
    let told = stage.ordered(2).await;
    assert_eq!(stop_before(&told, 0), Some(5));
    stage.is_in(State::Degraded, Some(Reason::SOURCE_RECORD_UNREADABLE)).await;
}

#[tokio::test(start_paused = true)]
async fn at_least_once_what_was_acknowledged_before_a_refusal_is_not_copied_again() {
    let acts = vec![Act::Acknowledges(0, 5), Act::Ends(refused(Refusal::Other, 100))];
    let setting = Setting::new().mirror(|mirror| mirror.guarantee = Guarantee::AtLeastOnce);
    let stage = setting.source(0, (0, 9)).life(Life::Runs(acts)).start();
    let told = stage.ordered(2).await;
    assert_eq!(told.durability, Durability::Acknowledged);
    assert_eq!((told.position(0), stage.durable(0)), (Some(5), Some(5)));
}

#[tokio::test(start_paused = true)]
async fn where_that_can_not_be_written_it_is_copied_again() {
    let acts = vec![Act::Acknowledges(0, 5), Act::Ends(refused(Refusal::Other, 100))];
    let setting = Setting::new().mirror(|mirror| mirror.guarantee = Guarantee::AtLeastOnce);
    setting.clusters.state().unwritable = true;
    let stage = setting.source(0, (0, 9)).life(Life::Runs(acts)).start();
    assert_eq!(stage.ordered(2).await.position(0), Some(0));
}

#[tokio::test(start_paused = true)]
async fn exactly_once_what_was_not_committed_is_copied_again() {
    let acts = vec![Act::Acknowledges(0, 5), Act::Ends(refused(Refusal::Other, 100))];
    let stage = Setting::new().source(0, (0, 9)).life(Life::Runs(acts)).start();
    assert_eq!(stage.ordered(2).await.position(0), Some(0));
}
