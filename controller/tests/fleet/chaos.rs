//! Everything at once, in an order that a seed decides: workers come, vanish, freeze and lose connections, mirrors pause,
//! leaders are deposed. No task may ever have two owners, and in the end everything runs once.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;
use twinlog_controller::controller::ControllerConfig;
use twinlog_controller::keys;
use twinlog_controller::store::embedded::EmbeddedStore;
use twinlog_controller::store::{Store, Transaction, Write};
use twinlog_proto::id::WorkerId;
use twinlog_proto::v1;

use crate::ledger::Ledger;
use crate::replica::{Replica, eventually, mirror, put_clusters, put_mirror};
use crate::worker::{FakeWorker, Spec};

/// Seeds of a run that names none with `SEED=`: those that once found something. Each is a fleet of its own; they run side by side.
const SEEDS: [u64; 4] = [1, 2, 119, 14412876164978697991];
const STEPS: usize = 60;
const TASKS: usize = 15;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_task_has_two_owners_whatever_happens() {
    let asked = std::env::var("SEED").ok().map(|seed| seed.parse().expect("SEED is a number"));
    let seeds = asked.map_or(SEEDS.to_vec(), |seed| vec![seed]);
    let mut runs: tokio::task::JoinSet<()> = seeds.into_iter().map(chaos).collect();
    while let Some(ended) = runs.join_next().await {
        ended.unwrap();
    }
}

async fn chaos(seed: u64) {
    println!("SEED={seed} begins");
    let mut random = StdRng::seed_from_u64(seed);
    let dir = TempDir::new().unwrap();
    let store = Arc::new(EmbeddedStore::open(&dir.path().join("twinlog.redb")).unwrap());
    put_clusters(store.as_ref()).await;
    put_mirror(store.as_ref(), &mirror("m")).await;
    // A worker that only waits for a busy core must not look lost: the ledger can't tell that from two owners.
    let patient = |config| ControllerConfig {
        worker_lease: Duration::from_secs(3),
        reconnect_grace: Duration::from_secs(2),
        ..config
    };
    let replica = Replica::start_with("one", store.clone(), patient).await;
    let ledger = Ledger::default();
    let mut workers: Vec<FakeWorker> = Vec::new();
    for step in 0..STEPS {
        let pick = if workers.is_empty() { 0 } else { random.random_range(0..workers.len()) };
        match random.random_range(0..9) {
            0..=2 if workers.len() < 4 => {
                let drain = Duration::from_millis(random.random_range(0..600));
                let spec = Spec { drain, ..Spec::new(&format!("w{step}")) };
                workers.push(FakeWorker::start(spec, vec![replica.address.clone()], &ledger));
            }
            3 if workers.len() > 1 => workers.remove(pick).kill().await,
            4 if !workers.is_empty() => {
                workers[pick].freeze();
                tokio::time::sleep(Duration::from_millis(random.random_range(0..4500))).await;
                workers[pick].thaw();
            }
            5 if !workers.is_empty() => workers[pick].disconnect(),
            6 if !workers.is_empty() => {
                let id = WorkerId::new(workers[pick].spec.id.clone()).unwrap();
                // It may not be connected, or nobody leads just now.
                let cancel = random.random();
                if let Ok(informed) = replica.controller.informed() {
                    let _ = informed.drain(&id, cancel).await;
                }
            }
            7 => {
                let desired =
                    if random.random() { v1::DesiredState::Paused } else { v1::DesiredState::Running };
                put_mirror(store.as_ref(), &v1::Mirror { desired_state: desired.into(), ..mirror("m") })
                    .await;
            }
            8 => {
                let writes = vec![Write::delete(keys::LEADER)];
                store.commit(Transaction { guards: Vec::new(), writes }).await.unwrap();
            }
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..150))).await;
    }
    // Peace: nothing drains, the mirror runs, somebody is there.
    let drains: Vec<_> = replica.controller.cache().snapshot().drains.iter().map(keys::drain).collect();
    let writes = drains.into_iter().map(Write::delete).collect();
    store.commit(Transaction { guards: Vec::new(), writes }).await.unwrap();
    put_mirror(store.as_ref(), &mirror("m")).await;
    workers.push(FakeWorker::start(Spec::new("last"), vec![replica.address.clone()], &ledger));
    eventually("everything runs once, evenly", || {
        let ranges: Vec<usize> = workers.iter().map(FakeWorker::ranges).collect();
        let tasks: usize = workers.iter().map(|worker| worker.running().len()).sum();
        tasks == TASKS && ranges.iter().max().unwrap() - ranges.iter().min().unwrap() <= 1
    })
    .await;
    println!("SEED={seed} ends");
    ledger.assert_one_owner_each();
}
