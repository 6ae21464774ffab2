//! What every store must do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use twinlog_controller::keys;
use twinlog_controller::state::Cache;
use twinlog_controller::store::{
    Candidate, CommitOutcome, Event, Guard, Leadership, MAX_TXN_BYTES, MAX_TXN_OPS, Store, StoreError,
    Transaction, Watch, Write,
};

use crate::backend::Backend;

const PATIENCE: Duration = Duration::from_secs(15);
/// As short as etcd allows.
const TTL: Duration = Duration::from_secs(2);

pub(crate) async fn commit(store: &dyn Store, guards: Vec<Guard>, writes: Vec<Write>) -> CommitOutcome {
    store.commit(Transaction { guards, writes }).await.unwrap()
}

pub(crate) async fn put(store: &dyn Store, key: &str, value: &str) -> i64 {
    match commit(store, Vec::new(), vec![Write::put(key, value.as_bytes().to_vec())]).await {
        CommitOutcome::Committed { revision } => revision,
        CommitOutcome::Conflict => panic!("there was no guard"),
    }
}

pub(crate) fn candidate(id: &str) -> Candidate {
    Candidate { id: id.to_owned(), address: format!("http://{id}"), ttl: TTL }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Reads events until there are as many as wanted. Fails if revisions don't grow.
async fn events(watch: &mut Watch, wanted: usize) -> Vec<Event> {
    let mut events = Vec::new();
    let mut revision = 0;
    while events.len() < wanted {
        let batch = within("events", watch.next()).await.expect("a watch doesn't end silently").unwrap();
        assert!(batch.revision > revision);
        revision = batch.revision;
        events.extend(batch.events);
    }
    assert_eq!(events.len(), wanted);
    events
}

fn key_of(event: &Event) -> &str {
    match event {
        Event::Put(entry) => &entry.key,
        Event::Deleted { key, .. } => key,
    }
}

pub(crate) async fn a_list_is_sorted_complete_and_limited_to_its_prefix(backend: Backend) {
    let store = backend.store.as_ref();
    assert!(store.list("/a/").await.unwrap().entries.is_empty());
    for batch in 0..13 {
        let writes = (0..100).map(|i| Write::put(format!("/a/{:04}", (batch * 100 + i) * 7 % 1300), "x"));
        commit(store, Vec::new(), writes.collect()).await;
    }
    put(store, "/a", "before").await;
    let last = put(store, "/b/1", "after").await;
    let listed = store.list("/a/").await.unwrap();
    assert!(listed.revision >= last);
    let keys: Vec<_> = listed.entries.iter().map(|entry| entry.key.clone()).collect();
    assert_eq!(keys, (0..1300).map(|i| format!("/a/{i:04}")).collect::<Vec<_>>());
}

pub(crate) async fn one_key_is_read_as_it_is_now(backend: Backend) {
    let store = backend.store.as_ref();
    assert_eq!(store.get("/k").await.unwrap(), None);
    let created = put(store, "/k", "1").await;
    // Neighbours: one that begins with it, and one that it begins with.
    put(store, "/k/2", "longer").await;
    put(store, "/", "shorter").await;
    let changed = put(store, "/k", "2").await;
    let entry = store.get("/k").await.unwrap().unwrap();
    assert_eq!((entry.key.as_str(), entry.value.as_ref()), ("/k", b"2".as_slice()));
    assert_eq!((entry.create_revision, entry.mod_revision), (created, changed));
    assert_eq!(store.list("/k").await.unwrap().entries[0], entry, "as a list shows it");
    assert_eq!(store.get("/k/").await.unwrap(), None, "a prefix is no key");
    commit(store, Vec::new(), vec![Write::delete("/k")]).await;
    assert_eq!(store.get("/k").await.unwrap(), None);
    assert!(store.get("/k/2").await.unwrap().is_some());
    store.advance(changed + 1_000_000_000).await.unwrap();
    let moved = store.get("/k/2").await.unwrap().unwrap();
    assert!(moved.mod_revision > changed + 1_000_000_000, "{moved:?}");
}

pub(crate) async fn guards_decide_whether_anything_is_written(backend: Backend) {
    let store = backend.store.as_ref();
    let write = |value: &str| vec![Write::put("/k", value.as_bytes().to_vec()), Write::put("/other", "x")];
    let CommitOutcome::Committed { revision } = commit(store, vec![Guard::absent("/k")], write("1")).await
    else {
        panic!("nothing was there")
    };
    assert_eq!(commit(store, vec![Guard::absent("/k")], write("2")).await, CommitOutcome::Conflict);
    let changed = commit(store, vec![Guard::unchanged("/k", revision)], write("3")).await;
    let CommitOutcome::Committed { revision: second } = changed else { panic!("nobody else wrote") };
    let mixed = vec![Guard::unchanged("/k", second), Guard::unchanged("/other", revision)];
    assert_eq!(commit(store, mixed, write("4")).await, CommitOutcome::Conflict);
    let entries = store.list("/").await.unwrap().entries;
    assert_eq!(
        entries.iter().map(|e| (e.key.as_str(), e.value.as_ref())).collect::<Vec<_>>(),
        [("/k", b"3".as_slice()), ("/other", b"x".as_slice()),]
    );
    let only_looks = commit(store, vec![Guard::unchanged("/k", second)], Vec::new()).await;
    assert!(matches!(only_looks, CommitOutcome::Committed { .. }));
    // Of many at the same time with the same guard, one wins.
    let guard = Guard::unchanged("/k", second);
    let racers = (0..8).map(|i| commit(store, vec![guard.clone()], vec![Write::put("/k", vec![i])]));
    let won = futures::future::join_all(racers).await;
    assert_eq!(won.iter().filter(|outcome| **outcome != CommitOutcome::Conflict).count(), 1);
}

pub(crate) async fn revisions_grow_and_tell_creation_from_change(backend: Backend) {
    let store = backend.store.as_ref();
    let first = put(store, "/k", "1").await;
    let second = put(store, "/k", "2").await;
    assert!(second > first);
    let entry = store.list("/k").await.unwrap().entries.remove(0);
    assert_eq!((entry.create_revision, entry.mod_revision), (first, second));
    commit(store, Vec::new(), vec![Write::delete("/k"), Write::delete("/never")]).await;
    assert!(store.list("/k").await.unwrap().entries.is_empty());
    let third = put(store, "/k", "3").await;
    let entry = store.list("/k").await.unwrap().entries.remove(0);
    assert_eq!((entry.create_revision, entry.mod_revision), (third, third));
    assert!(third > second + 1);
}

pub(crate) async fn a_watch_delivers_past_and_future_in_order(backend: Backend) {
    let store = backend.store.as_ref();
    let before = put(store, "/w/0", "not seen").await;
    put(store, "/w/1", "past").await;
    put(store, "/elsewhere", "x").await;
    let mut watch = store.watch("/w/", before).await.unwrap();
    let past = events(&mut watch, 1).await;
    assert_eq!(key_of(&past[0]), "/w/1");
    commit(store, Vec::new(), vec![Write::put("/w/2", "a"), Write::delete("/w/1"), Write::put("/x", "b")])
        .await;
    let mut both: Vec<_> = events(&mut watch, 2).await;
    both.sort_by(|a, b| key_of(a).cmp(key_of(b)));
    assert!(matches!(&both[0], Event::Deleted { key, .. } if key == "/w/1"));
    assert!(matches!(&both[1], Event::Put(entry) if entry.key == "/w/2" && entry.value == "a"));
    for i in 0..200 {
        put(store, "/w/many", &i.to_string()).await;
    }
    let many = events(&mut watch, 200).await;
    for (i, event) in many.iter().enumerate() {
        assert!(matches!(event, Event::Put(entry) if entry.value == i.to_string()));
    }
}

pub(crate) async fn a_watch_resumes_where_it_ended(backend: Backend) {
    let store = backend.store.as_ref();
    let start = put(store, "/w", "0").await;
    let mut revisions = Vec::new();
    for i in 1..=50 {
        revisions.push(put(store, "/w", &i.to_string()).await);
    }
    let mut watch = store.watch("/w", revisions[19]).await.unwrap();
    let rest = events(&mut watch, 30).await;
    assert!(
        matches!(&rest[0], Event::Put(entry) if entry.value == "20" || entry.mod_revision == revisions[20])
    );
    drop(watch);
    let mut all = store.watch("/w", start).await.unwrap();
    assert_eq!(events(&mut all, 50).await.len(), 50);
}

pub(crate) async fn a_compacted_past_is_an_error(backend: Backend) {
    let store = backend.store.as_ref();
    let first = put(store, "/w", "0").await;
    for i in 1..=10 {
        put(store, "/w", &i.to_string()).await;
    }
    let last = put(store, "/w", "last").await;
    backend.compact(last).await;
    let error = match store.watch("/w", first).await {
        Err(error) => error,
        Ok(mut watch) => within("an error", watch.next()).await.unwrap().unwrap_err(),
    };
    assert!(
        matches!(error, StoreError::Compacted { asked, oldest } if asked == first && oldest > first),
        "{error}"
    );
    let revision = store.list("/w").await.unwrap().revision;
    let mut watch = store.watch("/w", revision).await.unwrap();
    put(store, "/w", "new").await;
    assert_eq!(events(&mut watch, 1).await.len(), 1);
}

pub(crate) async fn a_future_that_has_not_happened_is_an_error(backend: Backend) {
    let store = backend.store.as_ref();
    let last = put(store, "/w", "0").await;
    for future in [last + 1, last + 1_000_000, i64::MAX] {
        let error = store.watch("/w", future).await.err().expect("it has not happened");
        assert!(
            matches!(error, StoreError::Future { asked, newest } if asked == future && newest >= last),
            "{error}"
        );
    }
    let mut watch = store.watch("/w", last).await.unwrap();
    put(store, "/w", "1").await;
    assert_eq!(events(&mut watch, 1).await.len(), 1, "the newest is no future");
}

pub(crate) async fn what_was_seen_elsewhere_moves_everything_on(backend: Backend) {
    let store = backend.store.as_ref();
    let last = put(store, "/k", "v").await;
    store.advance(last - 1).await.unwrap();
    assert_eq!(store.list("/k").await.unwrap().entries[0].mod_revision, last, "it is behind nothing");
    let leadership = within("a leader", store.campaign(&candidate("a"))).await.unwrap();
    let mut watch = store.watch("/", last).await.unwrap();
    let seen = last + 1_000_000_000;
    store.advance(seen).await.unwrap();
    let ended = async {
        loop {
            match watch.next().await.expect("it ends with an error") {
                Ok(batch) => assert!(batch.events.iter().all(|event| key_of(event) == keys::LEADER)),
                Err(error) => return error,
            }
        }
    };
    let ended = within("the end of the watch", ended).await;
    assert!(matches!(ended, StoreError::Compacted { .. }), "{ended}");
    within("the end of the leadership", leadership.lost().cancelled_owned()).await;
    leadership.resign().await;
    let listed = store.list("/k").await.unwrap();
    assert_eq!(listed.entries[0].value, "v");
    assert!(listed.entries[0].mod_revision > seen && listed.revision > seen, "{listed:?}");
    let stale = vec![Guard::unchanged("/k", last)];
    assert_eq!(commit(store, stale, vec![Write::put("/k", "x")]).await, CommitOutcome::Conflict);
    let fresh = vec![Guard::unchanged("/k", listed.entries[0].mod_revision)];
    let written = commit(store, fresh, vec![Write::put("/k", "w")]).await;
    assert!(matches!(written, CommitOutcome::Committed { revision } if revision > listed.revision));
    let next = within("the next leader", store.campaign(&candidate("b"))).await.unwrap();
    assert!(next.term.0 > seen);
    let old = store.watch("/", last).await.err().unwrap();
    assert!(matches!(old, StoreError::Compacted { .. }), "{old}");
}

pub(crate) async fn transactions_have_limits(backend: Backend) {
    let store = backend.store.as_ref();
    let writes = |n: usize| (0..n).map(|i| Write::put(format!("/k{i}"), "x")).collect::<Vec<_>>();
    assert!(matches!(commit(store, Vec::new(), writes(MAX_TXN_OPS)).await, CommitOutcome::Committed { .. }));
    let refused =
        |writes| async { store.commit(Transaction { guards: Vec::new(), writes }).await.unwrap_err() };
    assert!(matches!(refused(writes(MAX_TXN_OPS + 1)).await, StoreError::TooLarge { .. }));
    let large = |bytes: usize| vec![Write::put("/large", vec![7; bytes])];
    assert!(matches!(refused(large(MAX_TXN_BYTES)).await, StoreError::TooLarge { .. }));
    let fits = commit(store, Vec::new(), large(MAX_TXN_BYTES - 100)).await;
    assert!(matches!(fits, CommitOutcome::Committed { .. }));
    assert_eq!(store.list("/large").await.unwrap().entries[0].value.len(), MAX_TXN_BYTES - 100);
    let twice = vec![Write::put("/k", "1"), Write::delete("/k")];
    assert!(matches!(refused(twice).await, StoreError::Invalid(_)));
}

pub(crate) async fn one_leads_and_the_next_takes_over_at_once_after_a_resignation(backend: Backend) {
    let store = backend.store.clone();
    let first = within("a leader", store.campaign(&candidate("a"))).await.unwrap();
    assert!(first.is_valid());
    let next = campaign_in_background(&store, "b");
    // Longer than a TTL: it renews itself, nobody else gets in.
    tokio::time::sleep(TTL + TTL / 2).await;
    assert!(first.is_valid() && !next.is_finished());
    let (term, lost) = (first.term, first.lost());
    first.resign().await;
    assert!(lost.is_cancelled());
    let started = Instant::now();
    let second = within("the next leader", next).await.unwrap();
    assert!(started.elapsed() < TTL / 2, "at once, not after {:?}", started.elapsed());
    assert!(second.term > term && second.is_valid());
}

fn campaign_in_background(store: &Arc<dyn Store>, id: &'static str) -> tokio::task::JoinHandle<Leadership> {
    let store = store.clone();
    tokio::spawn(async move { store.campaign(&candidate(id)).await.unwrap() })
}

pub(crate) async fn a_leadership_whose_key_is_gone_is_lost(backend: Backend) {
    let store = backend.store.as_ref();
    let leadership = within("a leader", store.campaign(&candidate("a"))).await.unwrap();
    commit(store, Vec::new(), vec![Write::delete(keys::LEADER)]).await;
    within("the loss", leadership.lost().cancelled_owned()).await;
    assert!(!leadership.is_valid());
}

pub(crate) async fn a_leadership_that_nobody_renews_runs_out(backend: Backend) {
    let store = backend.store.clone();
    let first = within("a leader", store.campaign(&candidate("a"))).await.unwrap();
    let term = first.term;
    let next = campaign_in_background(&store, "b");
    let dropped = Instant::now();
    // As when its process dies: nothing is given back.
    drop(first);
    let second = within("the next leader", next).await.unwrap();
    assert!(second.term > term);
    let took = dropped.elapsed();
    assert!(took > TTL / 3 && took < TTL * 3, "took {took:?} with a TTL of {TTL:?}");
}

pub(crate) async fn a_deposed_leader_writes_nothing(backend: Backend) {
    let store = backend.store.as_ref();
    let leadership = within("a leader", store.campaign(&candidate("a"))).await.unwrap();
    let guard = leadership.guard.clone();
    let write = || vec![Write::put("/k", "x")];
    assert!(matches!(commit(store, vec![guard.clone()], write()).await, CommitOutcome::Committed { .. }));
    leadership.resign().await;
    assert_eq!(commit(store, vec![guard.clone()], write()).await, CommitOutcome::Conflict);
    let _second = within("a leader", store.campaign(&candidate("b"))).await.unwrap();
    assert_eq!(commit(store, vec![guard], write()).await, CommitOutcome::Conflict);
}

pub(crate) async fn the_leader_can_be_observed(backend: Backend) {
    let store = backend.store.as_ref();
    assert_eq!(store.leader().await.unwrap(), None);
    let start = store.list(keys::ROOT).await.unwrap().revision;
    let leadership = within("a leader", store.campaign(&candidate("a"))).await.unwrap();
    let info = store.leader().await.unwrap().unwrap();
    assert_eq!((info.term, info.id.as_str(), info.address.as_str()), (leadership.term, "a", "http://a"));
    leadership.resign().await;
    let mut watch = store.watch(keys::LEADER, start).await.unwrap();
    let seen = events(&mut watch, 2).await;
    assert!(matches!(&seen[0], Event::Put(entry) if entry.create_revision == info.term.0));
    assert!(matches!(&seen[1], Event::Deleted { .. }));
    assert_eq!(store.leader().await.unwrap(), None);
}

pub(crate) async fn a_withdrawn_candidate_leaves_nothing_behind(backend: Backend) {
    let store = backend.store.clone();
    let first = within("a leader", store.campaign(&candidate("a"))).await.unwrap();
    let withdrawn = campaign_in_background(&store, "b");
    tokio::time::sleep(Duration::from_millis(100)).await;
    withdrawn.abort();
    first.resign().await;
    let third = within("a leader", store.campaign(&candidate("c"))).await.unwrap();
    assert_eq!(store.leader().await.unwrap().unwrap().id, "c");
    drop(third);
}

pub(crate) async fn the_cache_follows_and_lists_again_after_compaction(backend: Backend) {
    let stop = CancellationToken::new();
    let store = backend.store.clone();
    let drain = |i: usize| format!("{}w{i}", keys::DRAINS);
    put(store.as_ref(), &drain(0), "").await;
    let cache = Cache::start(store.clone(), stop.clone()).await.unwrap();
    assert_eq!(cache.snapshot().drains.len(), 1);
    let old = cache.snapshot();
    let revision = put(store.as_ref(), &drain(1), "").await;
    let state = within("the write", cache.at_least(revision)).await.unwrap();
    assert_eq!((state.drains.len(), old.drains.len()), (2, 1), "a snapshot doesn't change");
    backend.compact(revision).await;
    commit(store.as_ref(), Vec::new(), vec![Write::delete(drain(0))]).await;
    let revision = put(store.as_ref(), &drain(2), "").await;
    let state = within("the write", cache.at_least(revision)).await.unwrap();
    assert_eq!(state.drains.iter().map(|w| w.as_str()).collect::<Vec<_>>(), ["w1", "w2"]);
    stop.cancel();
}
