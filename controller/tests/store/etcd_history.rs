//! etcd is wiped, restored from an older copy, or replaced under a process that goes on: nothing that it gives out goes back.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use twinlog_controller::keys;
use twinlog_controller::state::Cache;
use twinlog_controller::store::etcd::EtcdStore;
use twinlog_controller::store::{
    CommitOutcome, Guard, Leadership, Store, StoreError, Transaction, Watch, Write,
};

use crate::etcd_process::Etcd;
use crate::suite::{candidate, commit, put};

const PATIENCE: Duration = Duration::from_secs(30);

/// A store with a key of before, a watch, a cache and a leadership, and what it knew last.
struct Before {
    store: Arc<EtcdStore>,
    watch: Watch,
    cache: Arc<Cache>,
    leadership: Leadership,
    stop: CancellationToken,
    newest: i64,
}

fn drain(id: &str) -> String {
    format!("{}{id}", keys::DRAINS)
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Begins, lets something happen to etcd halfway, and changes more.
async fn before(etcd: &mut Etcd, halfway: impl FnOnce(&mut Etcd)) -> Before {
    let store = Arc::new(etcd.connect("/ns").await);
    put(store.as_ref(), &drain("kept"), "").await;
    halfway(etcd);
    let stop = CancellationToken::new();
    let store = Arc::new(etcd.connect("/ns").await);
    let cache = Cache::start(store.clone(), stop.clone()).await.unwrap();
    let leadership = within("a leader", store.campaign(&candidate("a"))).await.unwrap();
    let start = store.list("/").await.unwrap().revision;
    let watch = store.watch(keys::MIRRORS, start).await.unwrap();
    let mut newest = 0;
    for i in 0..40 {
        newest = put(store.as_ref(), &drain(&format!("lost{i}")), "").await;
    }
    within("the writes", cache.at_least(newest)).await.unwrap();
    Before { store, watch, cache, leadership, stop, newest }
}

/// What must hold whatever happened: all ended that was, all that comes is later.
async fn goes_on_above(before: Before, kept: &[&str]) {
    let Before { store, mut watch, cache, leadership, stop, newest } = before;
    let end = async {
        loop {
            match watch.next().await.expect("a watch ends with an error") {
                Ok(batch) => assert!(batch.events.is_empty()),
                Err(error) => return error,
            }
        }
    };
    within("the end of the watch", end).await;
    within("the end of the leadership", leadership.lost().cancelled_owned()).await;
    // Without a restart, and without anybody who writes.
    let loaded = async {
        let mut states = cache.subscribe();
        let loaded = |state: &Arc<twinlog_controller::state::State>| {
            let drains: Vec<&str> = state.drains.iter().map(|id| id.as_str()).collect();
            drains == kept && state.revision > newest
        };
        states.wait_for(loaded).await.unwrap();
    };
    within("the cache to be loaded again", loaded).await;
    assert_eq!(cache.away(), None);
    let resumed = store.watch(keys::MIRRORS, newest).await.err().expect("that history is gone");
    assert!(matches!(resumed, StoreError::Compacted { asked, .. } if asked == newest), "{resumed}");
    let listed = store.list("/").await.unwrap();
    assert!(listed.entries.iter().all(|entry| entry.create_revision > newest), "{listed:?}");
    let stale = vec![Guard::unchanged(drain("kept"), newest)];
    assert_eq!(commit(store.as_ref(), stale, vec![Write::put("/k", "x")]).await, CommitOutcome::Conflict);
    let again = within("a leader", async {
        loop {
            // A key that was restored stays for its lease.
            match store.campaign(&candidate("b")).await {
                Ok(leadership) => return leadership,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    })
    .await;
    assert!(again.term.0 > newest, "term {} after {newest}", again.term);
    let mut watch = store.watch("/", store.list("/").await.unwrap().revision).await.unwrap();
    let written = put(store.as_ref(), "/k", "new").await;
    assert!(written > again.term.0);
    let seen = within("the write", watch.next()).await.unwrap().unwrap();
    assert_eq!((seen.revision, seen.events.len()), (written, 1));
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_etcd_goes_on_above_what_was_seen() {
    let mut etcd = Etcd::start();
    let before = before(&mut etcd, |_| ()).await;
    etcd.wipe();
    goes_on_above(before, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_etcd_goes_on_above_what_was_seen() {
    let mut etcd = Etcd::start();
    let before = before(&mut etcd, Etcd::back_up).await;
    etcd.restore();
    goes_on_above(before, &["kept"]).await;
}

/// One that was away while others noticed and wrote more than was lost: etcd's own revision alone would not show it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_etcd_that_has_grown_past_what_was_seen_is_noticed() {
    let mut etcd = Etcd::start();
    let before = before(&mut etcd, Etcd::back_up).await;
    etcd.kill();
    let stopped = before.store.clone();
    // Nobody can notice while it is away: the copy grows on another port's sake, as a restore that others used first.
    etcd.restore();
    let other = etcd.connect("/ns").await;
    other.advance(before.newest).await.unwrap();
    for i in 0..100 {
        put(&other, "/elsewhere", &i.to_string()).await;
    }
    drop(stopped);
    goes_on_above(before, &["kept"]).await;
}

/// A process that starts after the restore has seen nothing: what workers say moves it on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_starts_on_a_restored_etcd_is_moved_on_by_what_others_saw() {
    let mut etcd = Etcd::start();
    let before = before(&mut etcd, Etcd::back_up).await;
    let newest = before.newest;
    before.stop.cancel();
    drop(before);
    etcd.restore();
    let store = etcd.connect("/ns").await;
    assert!(store.list("/").await.unwrap().revision < newest, "it can't know");
    store.advance(newest).await.unwrap();
    assert!(put(&store, "/k", "x").await > newest);
    let one_more = Transaction { guards: Vec::new(), writes: vec![Write::put("/k", "y")] };
    let CommitOutcome::Committed { revision } = store.commit(one_more).await.unwrap() else {
        panic!("no guard")
    };
    store.advance(newest).await.unwrap();
    assert!(put(&store, "/k", "z").await < revision + 10, "nothing is moved on twice for the same");
}
