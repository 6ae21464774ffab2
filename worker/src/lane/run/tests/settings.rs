//! What may change while a lane runs: it commits what is in flight and goes on with the new settings, at once.

use super::*;
use twinlog_proto::model::Compression;
use uuid::Uuid;

use crate::topic::TopicId;

#[tokio::test(start_paused = true)]
async fn other_settings_are_taken_over_at_once() {
    let stage = Setting::new().source(0, (0, 9)).life(Life::Runs(vec![Act::Acknowledges(0, 4)])).start();
    stage.ordered(1).await;
    let asked = Instant::now();
    stage.update(|mirror| mirror.compression = Compression::Zstd);
    let told = stage.ordered(2).await;
    assert!(told.at - asked < Duration::from_millis(5));
    assert_eq!(stage.engine.told()[0].exit, Some(Exit::Changed));
    assert_eq!(told.position(0), Some(4), "what was in flight is committed first");
    stage.is_in(State::Active, None).await;
}

#[tokio::test(start_paused = true)]
async fn settings_that_do_not_shape_it_do_not_touch_it() {
    let stage = Setting::new().start();
    stage.ordered(1).await;
    stage.update(|mirror| mirror.sync_group_offsets = !mirror.sync_group_offsets);
    stage.update(|_| {});
    sleep(secs(60)).await;
    assert_eq!(stage.engine.told().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_range_that_grows_copies_its_new_partition_from_the_start() {
    let stage = Setting::new().source(0, (0, 9)).life(Life::Runs(vec![Act::Copies(0, 4)])).start();
    stage.until(|stage| stage.durable(0) == Some(4)).await;
    stage.clusters.state().source.insert(2, (0, 3));
    stage.lane.update(stage.mirror.clone(), range(3));
    let told = stage.ordered(2).await;
    let positions: Vec<_> = (0..3).map(|partition| told.position(partition)).collect();
    assert_eq!(positions, [Some(4), Some(0), Some(0)]);
}

#[tokio::test(start_paused = true)]
async fn that_a_survey_has_seen_the_target_is_nothing_new_and_another_topic_is() {
    let stage = Setting::new().start();
    stage.ordered(1).await;
    let with = |id| Range { target_topic_id: Some(TopicId(Uuid::from_u128(id))), ..range(2) };
    stage.lane.update(stage.mirror.clone(), with(1));
    stage.lane.update(stage.mirror.clone(), range(2));
    sleep(secs(60)).await;
    assert_eq!(stage.engine.told().len(), 1);
    stage.lane.update(stage.mirror.clone(), with(2));
    stage.ordered(2).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_while_it_opens_is_in_the_next_order() {
    let waits = Cause::new(Reason::WAITING_FOR_CLUSTER, "no coordinator yet");
    let stage = Setting::new().life(Life::Waits(secs(20), waits)).start();
    stage.is_in(State::Waiting, Some(Reason::WAITING_FOR_CLUSTER)).await;
    stage.update(|mirror| mirror.guarantee = Guarantee::AtLeastOnce);
    let told = stage.ordered(2).await;
    assert_eq!(told.durability, Durability::Acknowledged);
    assert_eq!(
        stage.engine.told()[0].exit,
        Some(Exit::Changed),
        "it was ordered with what is not wanted any more"
    );
}
