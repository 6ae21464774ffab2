//! What lanes say that they have copied, and what a survey finds on the target.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tempfile::TempDir;
use twinlog_controller::store::embedded::EmbeddedStore;
use twinlog_proto::id::MirrorId;
use twinlog_proto::v1;

use crate::ledger::Ledger;
use crate::replica::{Replica, eventually, mirror, put_clusters, put_mirror};
use crate::worker::{FakeWorker, Spec, Target};

/// Many looks.
const WHILE: Duration = Duration::from_secs(1);

async fn status(replica: &Replica) -> v1::MirrorStatus {
    replica.controller.informed().unwrap().mirror_status(&MirrorId::new("m").unwrap()).unwrap()
}

async fn eventually_is(replica: &Replica, state: v1::State) -> v1::MirrorStatus {
    for _ in 0..1_000 {
        let status = status(replica).await;
        if status.state() == state {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("is never {state:?}: {:?}", status(replica).await.causes);
}

async fn stays_active(replica: &Replica, what: &str) {
    let begin = tokio::time::Instant::now();
    while begin.elapsed() < WHILE {
        let status = status(replica).await;
        assert_eq!(status.state(), v1::State::Active, "{what}: {:?}", status.causes);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_the_targets_end_does_not_support_is_doubted_until_it_does() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(EmbeddedStore::open(&dir.path().join("twinlog.redb")).unwrap());
    put_clusters(store.as_ref()).await;
    put_mirror(store.as_ref(), &mirror("m")).await;
    let replica = Replica::start("replica-1", store).await;
    eventually("it leads", || replica.controller.is_leader()).await;
    let target = Arc::new(Target::default());
    target.claimed.store(500, Relaxed);
    target.found.store(500, Relaxed);
    let spec = Spec { target: Some(target.clone()), ..Spec::new("copies") };
    let _worker = FakeWorker::start(spec, vec![replica.address.clone()], &Ledger::default());

    eventually_is(&replica, v1::State::Active).await;
    stays_active(&replica, "what is claimed is there").await;
    target.found.store(510, Relaxed);
    stays_active(&replica, "more is there than was heard of").await;
    // While much is copied, a look is always behind what is heard later.
    target.step.store(10, Relaxed);
    tokio::time::sleep(WHILE).await;
    target.found.fetch_sub(15, Relaxed);
    stays_active(&replica, "a look began before the claim was heard").await;
    target.step.store(0, Relaxed);

    target.claimed.store(500, Relaxed);
    target.found.store(300, Relaxed);
    let doubted = eventually_is(&replica, v1::State::Degraded).await;
    let cause = &doubted.causes[0];
    assert_eq!(cause.reason, "REPORT_DOUBTED");
    for part in [
        "said to end at 500 by worker copies",
        "worker copies finds it to end at 300",
        "twinlog worker drain copies",
    ] {
        assert!(cause.message.contains(part), "{part}: {}", cause.message);
    }
    let totals = doubted.totals.unwrap();
    assert_eq!((totals.partitions_active, totals.lag_records), (0, None), "nothing of it counts");
    target.claimed.store(600, Relaxed);
    tokio::time::sleep(WHILE).await;
    assert_eq!(status(&replica).await.state(), v1::State::Degraded, "claiming more makes it no better");

    target.found.store(-1, Relaxed);
    eventually_is(&replica, v1::State::Active).await;
    target.found.store(0, Relaxed);
    eventually_is(&replica, v1::State::Degraded).await;
    target.found.store(600, Relaxed);
    eventually_is(&replica, v1::State::Active).await;
}
