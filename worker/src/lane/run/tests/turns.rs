//! Ranges that share too little memory take turns; who has nothing to copy rests without any.

use super::*;

/// Another range of the same worker, with clusters of its own.
fn beside(stage: &Stage) -> Setting {
    Setting { budget: stage.budget.clone(), ..Setting::new() }
}

/// A worker with room for one range.
fn alone() -> Setting {
    Setting { budget: Budget::new(MIB), ..Setting::new() }
}

#[tokio::test(start_paused = true)]
async fn two_that_copy_take_turns() {
    let first = alone().source(0, (0, 9)).start();
    first.ordered(1).await;
    let second = beside(&first).source(0, (0, 9)).start();
    second.is_in(State::Waiting, Some(Reason::MEMORY_LIMIT)).await;
    assert!(second.engine.told().is_empty(), "it has no clients");
    second.ordered(1).await;
    assert_eq!((first.engine.open_now(), second.engine.open_now()), (0, 1));
    assert_eq!(first.engine.told()[0].exit, Some(Exit::TurnOver));
    // And back, for ever.
    first.ordered(3).await;
    second.ordered(3).await;
    assert_eq!(first.engine.open_now() + second.engine.open_now(), 1);
    let turns = pauses(&first.engine.told());
    assert!(turns.iter().all(|turn| *turn >= secs(10) && *turn < secs(20)), "5 s each: {turns:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_has_nothing_to_copy_gives_way_first_and_rests() {
    let idle = Life::Runs(vec![Act::Copies(0, 9), Act::HasNothing]);
    let first = alone().source(0, (0, 9)).life(idle).start();
    first.until(|stage| stage.durable(0) == Some(9)).await;
    let came = Instant::now();
    let second = beside(&first).start();
    second.ordered(1).await;
    assert!(came.elapsed() < secs(2), "it doesn't wait for a whole turn: {:?}", came.elapsed());
    sleep(secs(60)).await;
    assert_eq!((first.engine.told().len(), second.engine.open_now()), (1, 1), "there is nothing for it");
    assert_eq!(first.now().state, State::Active, "that is no trouble");
}

/// A range that rests, and one that has its place.
async fn resting() -> (Stage, Stage) {
    let idle = Life::Runs(vec![Act::Copies(0, 9), Act::HasNothing]);
    let first = alone().source(0, (0, 9)).life(idle).start();
    first.until(|stage| stage.durable(0) == Some(9)).await;
    let second = beside(&first).start();
    second.ordered(1).await;
    sleep(secs(20)).await;
    (first, second)
}

#[tokio::test(start_paused = true)]
async fn one_that_rests_comes_back_when_the_source_has_something() {
    let (first, _second) = resting().await;
    first.clusters.state().source.insert(0, (0, 10));
    let came = Instant::now();
    let told = first.ordered(2).await;
    assert!(told.at - came <= secs(1), "it looks twice a second, and the other one has had its turn");
    assert_eq!(told.position(0), Some(9));
}

#[tokio::test(start_paused = true)]
async fn one_that_rests_comes_back_when_there_is_room() {
    let (first, second) = resting().await;
    second.drain().await;
    let told = first.ordered(2).await;
    assert!(told.at.elapsed() < secs(2));
}

#[tokio::test(start_paused = true)]
async fn one_that_rests_looks_at_everything_after_a_while() {
    let (first, _second) = resting().await;
    let told = first.ordered(2).await;
    let rested = told.at - first.engine.told()[0].at;
    assert!(rested > secs(290) && rested < secs(320), "{rested:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_rests_or_waits_is_drained_at_once() {
    let (first, _second) = resting().await;
    assert!(first.drain().await < Duration::from_millis(100));
    let first = alone().start();
    first.ordered(1).await;
    let second = beside(&first).start();
    second.is_in(State::Waiting, Some(Reason::MEMORY_LIMIT)).await;
    assert!(second.drain().await < Duration::from_millis(100));
    assert_eq!(first.engine.open_now(), 1, "and who has its turn doesn't notice");
}

#[tokio::test(start_paused = true)]
async fn what_kept_it_from_running_says_more_than_that_it_waits() {
    let first = alone().ends([failed()]).start();
    first.opened(1).await;
    first.is_in(State::Waiting, Some(Reason::WAITING_FOR_CLUSTER)).await;
    let second = beside(&first).start();
    second.ordered(1).await;
    sleep(secs(3)).await;
    assert_eq!(reason_of(&first.now()), Some(Reason::WAITING_FOR_CLUSTER));
    first.ordered(2).await;
}
