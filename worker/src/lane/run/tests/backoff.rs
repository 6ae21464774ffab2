//! What heals is tried again, after a growing while; what doesn't is tried, too, and said otherwise.

use super::*;
use crate::engine::Fetching;

/// Whether a pause is the one of this length, give or take its jitter.
fn is_about(pause: Duration, length: Duration) -> bool {
    let extra = Duration::from_millis(5);
    (length.mul_f64(0.75)..=length.mul_f64(1.25) + extra).contains(&pause)
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_after_a_growing_while() {
    let stage = Setting::new().ends((0..10).map(|_| failed())).start();
    stage.ordered(11).await;
    let pauses = pauses(&stage.engine.told());
    let lengths = [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000];
    for (pause, length) in pauses.iter().zip(lengths) {
        assert!(is_about(*pause, Duration::from_millis(length)), "{pause:?} for {length} ms: {pauses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_healthy_run_the_pause_is_short_again() {
    let healthy = Life::Runs(vec![Act::Takes(secs(11)), Act::Ends(failed())]);
    let stage = Setting::new().ends((0..6).map(|_| failed())).life(healthy).ends([failed()]).start();
    let ran = stage.ordered(7).await;
    let next = stage.ordered(8).await;
    let last = stage.ordered(9).await;
    assert!(is_about(next.at - ran.at - secs(11), Duration::from_millis(50)), "{:?}", next.at - ran.at);
    assert!(is_about(last.at - next.at, Duration::from_millis(100)), "and grows again");
}

#[tokio::test(start_paused = true)]
async fn what_keeps_it_from_running_is_said_until_it_runs() {
    let stage = Setting::new().ends([failed(), failed()]).start();
    let waits = stage.is_in(State::Waiting, Some(Reason::WAITING_FOR_CLUSTER)).await;
    assert!(waits.cause.expect("a cause").message.contains("the target went away"));
    stage.ordered(3).await;
    stage.is_in(State::Active, None).await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_a_pause_at_once() {
    let stage = Setting::new().ends((0..9).map(|_| failed())).start();
    stage.opened(9).await;
    stage.is_in(State::Waiting, Some(Reason::WAITING_FOR_CLUSTER)).await;
    assert!(stage.drain().await < Duration::from_millis(100), "though the pause takes seconds");
}

#[tokio::test(start_paused = true)]
async fn other_settings_end_a_pause_at_once() {
    let stage = Setting::new().ends((0..9).map(|_| failed())).start();
    let ninth = stage.opened(9).await;
    stage.is_in(State::Waiting, Some(Reason::WAITING_FOR_CLUSTER)).await;
    stage.update(|mirror| mirror.target_latency = secs(3));
    let tenth = stage.opened(10).await;
    assert!(tenth.at - ninth.at < Duration::from_millis(100), "{:?}", tenth.at - ninth.at);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_must_grant_stops_it_and_is_tried_all_the_same() {
    let forbidden = |_| Exit::Reconsider {
        partition: 0,
        fetching: Fetching::Forbidden,
        error: Trouble::new("Topic authorization failed"),
    };
    let stage = Setting::new().ends((0..3).map(forbidden)).start();
    let stopped = stage.is_in(State::Stopped, Some(Reason::MISSING_PERMISSION)).await;
    let message = stopped.cause.expect("a cause").message;
    assert!(message.contains("needs READ on topic t of cluster a"), "{message}");
    stage.ordered(4).await;
    stage.is_in(State::Active, None).await;
}

#[tokio::test(start_paused = true)]
async fn a_position_that_is_lost_is_decided_about_at_once() {
    let lost =
        Exit::Reconsider { partition: 0, fetching: Fetching::Lost, error: Trouble::new("out of range") };
    let stage = Setting::new().ends([lost]).start();
    stage.ordered(2).await;
    assert!(pauses(&stage.engine.told())[0] < Duration::from_millis(5));
}

#[tokio::test(start_paused = true)]
async fn who_is_in_trouble_takes_no_share_before_the_clusters_say_that_it_can_run() {
    let setting = Setting::new().ends([failed()]);
    let gone = Cause::new(Reason::SOURCE_TOPIC_DELETED, "t does not exist on the source cluster");
    let stage = setting.start();
    stage.opened(1).await;
    stage.clusters.state().trouble = Some(gone);
    stage.is_in(State::Stopped, Some(Reason::SOURCE_TOPIC_DELETED)).await;
    sleep(secs(300)).await;
    assert_eq!((stage.engine.told().len(), stage.budget.reserved()), (1, 0));
    stage.clusters.state().trouble = None;
    stage.ordered(2).await;
    stage.is_in(State::Active, None).await;
}

#[tokio::test(start_paused = true)]
async fn clients_are_closed_where_the_clusters_can_not_be_asked() {
    let setting = Setting::new();
    let away = Cause::new(Reason::CLUSTER_UNREACHABLE, "none of its servers answers");
    setting.clusters.state().gather_fails.extend([away.clone(), away]);
    let stage = setting.start();
    stage.is_in(State::Waiting, Some(Reason::CLUSTER_UNREACHABLE)).await;
    assert_eq!((stage.engine.open_now(), stage.budget.reserved()), (0, 0));
    stage.ordered(3).await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_holds_requests_back_gets_more_time() {
    let held = Health { throttle: Some(secs(40)), ..Health::default() };
    let slow = |exit| Life::Runs(vec![Act::Sees(Health::default(), held.clone()), Act::Ends(exit)]);
    let fenced = Exit::Fenced(Trouble::new("the transaction took too long"));
    let stage = Setting::new().life(slow(fenced)).life(slow(failed())).start();
    stage.ordered(3).await;
    let patience: Vec<_> = stage.engine.told().iter().map(|told| told.limits.patience).collect();
    assert_eq!(patience, [secs(30), secs(120), secs(240)], "it fenced itself: nobody else has the range");
}

#[tokio::test(start_paused = true)]
async fn topics_that_are_gone_are_made_sure_of_again() {
    let gone = Exit::Gone { topic: PROGRESS.to_owned() };
    let later = Life::Runs(vec![Act::Takes(secs(1)), Act::Ends(gone)]);
    let stage = Setting::new().ends([Exit::Moved { partition: 0, expected: 5, end: 4 }]).life(later).start();
    stage.ordered(2).await;
    assert_eq!(stage.clusters.state().ensured, 1, "once is enough");
    stage.ordered(3).await;
    assert_eq!(stage.clusters.state().ensured, 2);
}
