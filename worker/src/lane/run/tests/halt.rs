//! What was lost halts a partition, or is recorded, as the mirror says; nothing is lost silently.

use super::*;
use crate::progress::GapKind;
use twinlog_proto::model::{GapPolicy, OntoExisting};

/// Ten records of partition 0 were copied; then the source has deleted all up to 20.
async fn outrun(policy: GapPolicy) -> Stage {
    let copies =
        Life::Runs(vec![Act::Copies(0, 10), Act::Copies(1, 1), Act::Takes(secs(1)), Act::Ends(failed())]);
    let setting = Setting::new().mirror(|mirror| mirror.gap_policy = policy);
    let stage = setting.source(0, (0, 10)).source(1, (0, 1)).life(copies).start();
    stage.until(|stage| stage.durable(1) == Some(1)).await;
    stage.clusters.state().source.insert(0, (20, 30));
    stage
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_lost_records_halts_and_the_others_go_on() {
    let stage = outrun(GapPolicy::Halt).await;
    let told = stage.ordered(2).await;
    assert_eq!((told.position(0), told.position(1)), (None, Some(1)));
    stage.is_in(State::Degraded, Some(Reason::SOURCE_OFFSETS_LOST)).await;
    let halted = stage.partition(0);
    assert_eq!((halted.state, halted.position), (State::Stopped, Some(SourceOffset(10))));
    assert_eq!(halted.cause.expect("a cause").reason, Reason::SOURCE_OFFSETS_LOST);
    assert_eq!(stage.partition(1).state, State::Active);
}

#[tokio::test(start_paused = true)]
async fn halted_partitions_are_looked_at_again() {
    let stage = outrun(GapPolicy::Halt).await;
    let second = stage.ordered(2).await;
    let third = stage.ordered(3).await;
    assert!(is_a_retry(third.at - second.at), "{:?}", third.at - second.at);
    assert_eq!(stage.engine.told()[1].exit, Some(Exit::Until));
    // Somebody puts the records back.
    stage.clusters.state().source.insert(0, (0, 30));
    assert_eq!(stage.ordered(4).await.position(0), Some(10));
    stage.is_in(State::Active, None).await;
}

#[tokio::test(start_paused = true)]
async fn with_resume_the_gap_is_recorded_and_the_partition_goes_on() {
    let stage = outrun(GapPolicy::Resume).await;
    let told = stage.ordered(2).await;
    assert_eq!(told.position(0), Some(20));
    stage.is_in(State::Active, None).await;
    let gaps = stage.partition(0).gaps;
    let gaps: Vec<_> = gaps.iter().map(|gap| (gap.first.0, gap.end.0, gap.kind)).collect();
    assert_eq!(gaps, [(10, 20, GapKind::Retention)]);
}

#[tokio::test(start_paused = true)]
async fn resume_is_heard_at_once() {
    let stage = outrun(GapPolicy::Halt).await;
    stage.ordered(2).await;
    let asked = Instant::now();
    stage.update(|mirror| mirror.gap_policy = GapPolicy::Resume);
    let told = stage.ordered(3).await;
    assert_eq!(told.position(0), Some(20));
    assert!(told.at - asked < Duration::from_millis(100));
    stage.is_in(State::Active, None).await;
}

/// Nothing of the range may run.
async fn halted() -> Stage {
    let setting = Setting::new().source(0, (0, 5)).source(1, (0, 5));
    setting.clusters.state().holds = 100;
    let stage = setting.start();
    stage.is_in(State::Stopped, Some(Reason::TARGET_NOT_EMPTY)).await;
    stage
}

#[tokio::test(start_paused = true)]
async fn a_range_that_halts_as_a_whole_holds_nothing_and_is_looked_at_now_and_then() {
    let stage = halted().await;
    assert_eq!((stage.engine.open_now(), stage.budget.reserved()), (0, 0));
    sleep(secs(301)).await;
    assert_eq!(stage.engine.told().len(), 1, "that it still does is found out without clients");
    assert_eq!(stage.clusters.state().gathered, 11, "every 30 s");
    stage.clusters.state().holds = 0;
    let told = stage.ordered(2).await;
    assert_eq!(told.position(0), Some(0));
    stage.is_in(State::Active, None).await;
}

#[tokio::test(start_paused = true)]
async fn a_range_that_halts_as_a_whole_hears_a_decision_at_once() {
    let stage = halted().await;
    let asked = Instant::now();
    stage.update(|mirror| mirror.onto_existing = OntoExisting::Append);
    stage.ordered(2).await;
    assert!(asked.elapsed() < Duration::from_millis(100), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_range_that_halts_as_a_whole_is_drained_at_once() {
    assert!(halted().await.drain().await < Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn progress_that_is_gone_is_missed() {
    let copies = Life::Runs(vec![Act::Copies(0, 10), Act::Takes(secs(1)), Act::Ends(failed())]);
    let stage = Setting::new().source(0, (0, 20)).life(copies).start();
    stage.until(|stage| stage.durable(0) == Some(10)).await;
    {
        let mut state = stage.clusters.state();
        state.log.empty(PROGRESS);
        state.holds = 10;
    }
    stage.is_in(State::Degraded, Some(Reason::PROGRESS_LOST)).await;
    assert_eq!(stage.partition(0).state, State::Stopped);
    // Partition 1 has no record that could be copied twice.
    assert_eq!(stage.ordered(2).await.position(0), None);
}

#[tokio::test(start_paused = true)]
async fn without_the_note_of_its_beginning_a_mirror_is_new() {
    let copies = Life::Runs(vec![Act::Copies(0, 10), Act::Takes(secs(1)), Act::Ends(failed())]);
    let stage = Setting::new().source(0, (0, 20)).life(copies).start();
    stage.until(|stage| stage.durable(0) == Some(10)).await;
    {
        let mut state = stage.clusters.state();
        state.log.empty(PROGRESS);
        state.log.empty(OFFSETS);
        state.holds = 10;
    }
    stage.is_in(State::Degraded, Some(Reason::TARGET_NOT_EMPTY)).await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_lost_what_was_acknowledged_halts() {
    let misaligned = Exit::Misaligned {
        partition: 0,
        lost_from: Some(4),
        error: "a record was stored at target offset 4, 10 was next".to_owned(),
    };
    let copies = Life::Runs(vec![Act::Copies(0, 10), Act::Ends(misaligned)]);
    let stage = Setting::new().source(0, (0, 20)).life(copies).start();
    let told = stage.ordered(2).await;
    assert_eq!(told.position(0), None, "nothing is written behind it");
    stage.is_in(State::Degraded, Some(Reason::TARGET_TRUNCATED)).await;
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_that_is_only_odd_is_checked_and_gone_on_from() {
    let odd = Exit::Misaligned { partition: 0, lost_from: None, error: "without an offset".to_owned() };
    let stage =
        Setting::new().source(0, (0, 20)).life(Life::Runs(vec![Act::Copies(0, 10), Act::Ends(odd)])).start();
    stage.is_in(State::Waiting, Some(Reason::KAFKA_ERROR)).await;
    assert_eq!(stage.ordered(2).await.position(0), Some(10));
}
