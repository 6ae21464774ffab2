//! Other owners: who is superseded moves nothing, says so, and disturbs nobody.

use super::*;
use crate::ledger::Entry;
use crate::progress::{RangeProgress, progress_key};
use std::time::SystemTime;

impl Stage {
    fn claims(&self, epoch: i64) {
        claim(&self.clusters, &self.range, epoch);
    }
}

/// Another worker has the range by now and has written so.
fn claim(clusters: &Clusters, range: &Range, epoch: i64) {
    let mut progress = clusters.progress(range).unwrap_or_else(|| RangeProgress {
        source_topic: range.source_topic.clone(),
        epoch: 0,
        worker: String::new(),
        partitions: BTreeMap::new(),
        began: true,
        source_cluster_id: String::new(),
        written: crate::progress::Written::default(),
        ends: BTreeMap::new(),
    });
    (progress.epoch, progress.worker) = (epoch, "other".to_owned());
    let key = progress_key(&range.target_topic, range.block);
    clusters.state().log.write(PROGRESS, Entry { key, value: progress.encode(SystemTime::UNIX_EPOCH) });
}

fn fenced() -> Exit {
    Exit::Fenced(Trouble::new("Producer fenced by newer instance"))
}

#[tokio::test(start_paused = true)]
async fn one_that_was_fenced_waits_for_who_did_it_to_say_so() {
    let stage = Setting::new().life(Life::Runs(vec![Act::Takes(secs(1)), Act::Ends(fenced())])).start();
    stage.ordered(1).await;
    stage.is_in(State::Waiting, Some(Reason::FENCED)).await;
    let fenced_at = Instant::now();
    sleep(Duration::from_millis(500)).await;
    stage.claims(9);
    let status = stage.is_in(State::Stopped, Some(Reason::FENCED)).await;
    let message = status.cause.expect("a cause").message;
    assert!(message.contains("worker other has taken this range over with epoch 9"), "{message}");
    assert!(fenced_at.elapsed() < secs(3));
    assert_eq!(stage.lane.later_epoch(), Some(Epoch(9)));
    sleep(secs(3600)).await;
    assert_eq!(stage.engine.told().len(), 1, "it fences nobody");
    assert_eq!(stage.budget.reserved(), 0, "and holds nothing");
}

#[tokio::test(start_paused = true)]
async fn one_that_was_fenced_by_nobody_who_says_so_goes_on() {
    let stage = Setting::new().ends([fenced()]).start();
    let first = stage.ordered(1).await;
    let second = stage.ordered(2).await;
    let waited = second.at - first.at;
    assert!(waited >= secs(3) && waited < secs(10), "{waited:?}");
    assert_eq!(stage.lane.later_epoch(), None);
    stage.is_in(State::Active, None).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_late_moves_nothing() {
    let setting = Setting::new();
    claim(&setting.clusters, &setting.range, 8);
    let stage = setting.start();
    stage.is_in(State::Stopped, Some(Reason::FENCED)).await;
    assert_eq!((stage.lane.later_epoch(), stage.engine.open_now()), (Some(Epoch(8)), 0));
    sleep(secs(600)).await;
    let told = stage.engine.told();
    assert_eq!((told.len(), told[0].assigned().len()), (1, 0), "it gave no order, and fenced once");
    assert!(stage.drain().await < secs(1));
}

#[tokio::test(start_paused = true)]
async fn before_it_fences_again_it_looks_whether_it_was_replaced() {
    let stage = Setting::new().ends([failed(), failed(), failed()]).start();
    stage.opened(3).await;
    stage.claims(9);
    stage.is_in(State::Stopped, Some(Reason::FENCED)).await;
    let opened = stage.engine.told().len();
    sleep(secs(300)).await;
    assert_eq!(stage.engine.told().len(), opened);
}

#[tokio::test(start_paused = true)]
async fn an_earlier_owner_is_gone_on_from() {
    let setting = Setting::new().source(0, (0, 9)).life(Life::Runs(vec![Act::Copies(0, 4)]));
    let (clusters, engine) = (setting.clusters.clone(), setting.engine.clone());
    let first = setting.start();
    first.until(|stage| stage.durable(0) == Some(4)).await;
    first.drain().await;
    let later = Setting { epoch: 8, clusters, engine, ..Setting::new() }.start();
    let told = later.ordered(2).await;
    assert_eq!(told.position(0), Some(4));
    let (range, clusters) = (later.range.clone(), later.clusters.clone());
    assert_eq!(clusters.progress(&range).map(|progress| progress.epoch), Some(7));
    later.drain().await;
    assert_eq!(
        clusters.progress(&range).map(|progress| progress.epoch),
        Some(8),
        "its own from its first commit on"
    );
}
