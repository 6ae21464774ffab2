//! Engines that don't open: what each reason means for the lane.

use super::*;
use crate::engine::TRANSACTION_TIMEOUT;

#[tokio::test(start_paused = true)]
async fn what_it_waits_for_while_it_opens_is_said() {
    let waits =
        Cause::new(Reason::TRANSACTIONS_UNAVAILABLE, "cluster b has too few brokers for transactions");
    let stage = Setting::new().life(Life::Waits(secs(40), waits)).start();
    let status = stage.is_in(State::Waiting, Some(Reason::TRANSACTIONS_UNAVAILABLE)).await;
    assert!(status.cause.expect("a cause").message.contains("too few brokers"));
    let told = stage.ordered(1).await;
    assert!(told.at.elapsed() >= secs(40));
    stage.is_in(State::Active, None).await;
    assert_eq!(stage.engine.told().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_opens_for_long_is_drained_at_once() {
    let waits = Cause::new(Reason::WAITING_FOR_CLUSTER, "no coordinator yet");
    let stage = Setting::new().life(Life::Waits(secs(3600), waits)).start();
    stage.is_in(State::Waiting, Some(Reason::WAITING_FOR_CLUSTER)).await;
    assert!(stage.drain().await < Duration::from_millis(100));
}

/// The first engine doesn't open for this reason, and the second one does.
async fn not_opened(why: NotOpened) -> (LaneStatus, Stage) {
    let stage = Setting::new().life(Life::NotOpened(why)).start();
    let status = stage.status(|status| matches!(status.state, State::Waiting | State::Stopped)).await;
    assert_eq!(stage.budget.reserved(), 0, "who doesn't run holds nothing");
    stage.ordered(2).await;
    stage.is_in(State::Active, None).await;
    (status, stage)
}

#[tokio::test(start_paused = true)]
async fn a_transactional_id_that_is_not_granted_is_named() {
    let (status, _) = not_opened(NotOpened::Forbidden).await;
    assert_eq!((status.state, reason_of(&status)), (State::Stopped, Some(Reason::MISSING_PERMISSION)));
    let message = status.cause.expect("a cause").message;
    assert!(message.contains("needs WRITE and DESCRIBE on transactional id"), "{message}");
    assert!(message.contains("a.t") && message.contains("of cluster b"), "{message}");
    assert!(message.contains("--guarantee at-least-once"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_system_without_threads_is_named_and_tried_again() {
    let error = "Resource temporarily unavailable (os error 11)".to_owned();
    let (status, _) = not_opened(NotOpened::NoThread(error)).await;
    assert_eq!((status.state, reason_of(&status)), (State::Waiting, Some(Reason::THREADS_LIMIT)));
    assert!(status.cause.expect("a cause").message.contains("os error 11"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_can_not_be_made_says_whose_and_why() {
    let mut trouble = Trouble::new("certificate verify failed");
    trouble.away = Some(Reason::TLS_FAILED);
    let (status, _) = not_opened(NotOpened::Source(trouble)).await;
    assert_eq!((status.state, reason_of(&status)), (State::Stopped, Some(Reason::TLS_FAILED)));
    assert_eq!(status.cause.expect("a cause").message, "source cluster a: certificate verify failed");
    let (status, _) = not_opened(NotOpened::Target(Trouble::new("no"))).await;
    assert_eq!((status.state, reason_of(&status)), (State::Waiting, Some(Reason::KAFKA_ERROR)));
    assert_eq!(status.cause.expect("a cause").message, "target cluster b: no");
}

#[tokio::test(start_paused = true)]
async fn more_time_than_the_target_gives_is_not_asked_for_again() {
    let held = Health { throttle: Some(secs(300)), ..Health::default() };
    let slow = Life::Runs(vec![Act::Sees(Health::default(), held), Act::Ends(failed())]);
    let refused = Life::NotOpened(NotOpened::PatienceRefused(Trouble::new("invalid transaction timeout")));
    let stage = Setting::new().life(slow).life(refused).start();
    stage.ordered(3).await;
    let patience: Vec<_> = stage.engine.told().iter().map(|told| told.limits.patience).collect();
    assert_eq!(patience, [TRANSACTION_TIMEOUT, secs(900), TRANSACTION_TIMEOUT]);
    assert!(pauses(&stage.engine.told())[1] < Duration::from_millis(5), "at once");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_gives_no_time_at_all_is_named() {
    let (status, _) =
        not_opened(NotOpened::PatienceRefused(Trouble::new("invalid transaction timeout"))).await;
    assert_eq!((status.state, reason_of(&status)), (State::Waiting, Some(Reason::KAFKA_ERROR)));
}

#[tokio::test(start_paused = true)]
async fn one_that_has_waited_for_long_begins_anew_with_what_it_knows() {
    let stage = Setting::new().ends([failed()]).life(Life::NotOpened(NotOpened::Waited)).start();
    stage.ordered(3).await;
    assert!(pauses(&stage.engine.told())[1] >= Duration::from_millis(75), "after a pause: it is in trouble");
}
