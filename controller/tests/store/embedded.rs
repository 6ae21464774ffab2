//! What only the embedded store promises.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use twinlog_controller::store::embedded::EmbeddedStore;
use twinlog_controller::store::{Store, StoreError};

use crate::suite::{candidate, put};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_everything_but_the_leader_over_a_restart() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("twinlog.redb");
    let store = EmbeddedStore::open(&path).unwrap();
    put(&store, "/k", "v").await;
    let leadership = store.campaign(&candidate("a")).await.unwrap();
    let revision = store.list("/").await.unwrap().revision;
    let refused = EmbeddedStore::open(&path).err().unwrap();
    assert!(matches!(&refused, StoreError::Unusable(text) if text.contains("in use")), "{refused}");
    #[expect(clippy::mem_forget, reason = "as if the process died: nothing is given back")]
    std::mem::forget(leadership);
    drop(store);
    let path_copy = dir.path().join("copy.redb");
    std::fs::copy(&path, &path_copy).unwrap();
    let store = EmbeddedStore::open(&path_copy).unwrap();
    assert_eq!(store.list("/k").await.unwrap().entries[0].value, "v");
    assert_eq!(store.leader().await.unwrap(), None);
    assert!(put(&store, "/k", "w").await > revision);
    let old = store.watch("/", 1).await.err().unwrap();
    assert!(matches!(old, StoreError::Compacted { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_assignments_are_written_and_listed_in_reasonable_time() {
    let dir = TempDir::new().unwrap();
    let store = EmbeddedStore::open(&dir.path().join("twinlog.redb")).unwrap();
    let started = Instant::now();
    for batch in 0..100 {
        let writes = (0..100).map(|i| {
            let key = format!("/twinlog/v1/assignments/replicate/m/t/{}", batch * 100 + i);
            twinlog_controller::store::Write::put(key, vec![0; 40])
        });
        crate::suite::commit(&store, Vec::new(), writes.collect()).await;
    }
    let written = started.elapsed();
    assert_eq!(store.list("/twinlog/").await.unwrap().entries.len(), 10_000);
    println!("written in {written:?}, listed in {:?}", started.elapsed() - written);
    assert!(started.elapsed() < Duration::from_secs(20));
}

/// Epochs of assignments are revisions, and target clusters remember them: a lost file must not make them begin anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_file_goes_on_after_a_lost_one() {
    let dir = TempDir::new().unwrap();
    let lost = EmbeddedStore::open(&dir.path().join("lost.redb")).unwrap();
    let mut last = 0;
    for value in ["a", "b", "c"] {
        last = put(&lost, "/k", value).await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    let new = EmbeddedStore::open(&dir.path().join("new.redb")).unwrap();
    assert!(put(&new, "/k", "d").await > last);
}

/// A file that nothing can be read from is no new store, and none that can't be read is without a remedy.
#[test]
fn a_file_that_is_no_store_is_refused_with_the_remedy() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("twinlog.redb");
    drop(EmbeddedStore::open(&path).unwrap());
    let sound = std::fs::read(&path).unwrap();
    let zeros = vec![0; sound.len()];
    for (what, bytes, says) in [
        ("empty", &[][..], "holds nothing (0 bytes)"),
        ("cut off", &sound[..sound.len() / 2], "damaged"),
        ("zeros", &zeros, "no store, or a damaged one"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let refused =
            EmbeddedStore::open(&path).err().unwrap_or_else(|| panic!("{what} is taken for a store"));
        let text = refused.to_string();
        for part in [says, "twinlog.redb", "copy", "in its place", "apply the files"] {
            assert!(text.contains(part), "{what}: {part:?} is not in {text:?}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{what}: the file stays as it is");
    }
}
