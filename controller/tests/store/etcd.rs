//! What only etcd can get wrong: it goes away, comes back, and is shared.

use std::time::{Duration, Instant};

use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use twinlog_controller::keys;
use twinlog_controller::state::Cache;
use twinlog_controller::store::etcd::{EtcdConfig, EtcdStore};
use twinlog_controller::store::{Store, StoreError, Transaction, Write};

use crate::etcd_process::Etcd;
use crate::suite::{candidate, put};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_do_not_see_each_other() {
    let etcd = Etcd::start();
    let (one, two) = (etcd.connect("/one/").await, etcd.connect("/two").await);
    let start = two.list("/").await.unwrap().revision;
    let mut watch = two.watch("/", start).await.unwrap();
    put(&one, "/k", "1").await;
    put(&two, "/k", "2").await;
    assert_eq!(one.list("/").await.unwrap().entries.len(), 1);
    assert_eq!(two.list("/").await.unwrap().entries[0].value, "2");
    assert_eq!(watch.next().await.unwrap().unwrap().events.len(), 1);
    let (a, b) = (one.campaign(&candidate("a")).await.unwrap(), two.campaign(&candidate("b")).await.unwrap());
    assert!(a.is_valid() && b.is_valid());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_etcd_a_leadership_ends_by_the_clock_and_everything_goes_on_afterwards() {
    let mut etcd = Etcd::start();
    let store = std::sync::Arc::new(etcd.connect("").await);
    let stop = CancellationToken::new();
    let cache = Cache::start(store.clone(), stop.clone()).await.unwrap();
    let leadership = store.campaign(&candidate("a")).await.unwrap();
    let term = leadership.term;
    etcd.kill();
    let killed = Instant::now();
    let write = Transaction { guards: Vec::new(), writes: vec![Write::put("/k", "x")] };
    let failed = store.commit(write).await.unwrap_err();
    assert!(failed.is_retriable(), "{failed}");
    tokio::time::timeout(Duration::from_secs(4), leadership.lost().cancelled_owned()).await.unwrap();
    assert!(
        killed.elapsed() < Duration::from_millis(3500),
        "with a TTL of 2 s it took {:?}",
        killed.elapsed()
    );
    etcd.run();
    let again = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            match store.campaign(&candidate("a")).await {
                Ok(leadership) => return leadership,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    });
    let again = again.await.unwrap();
    assert!(again.term > term);
    let revision = put(store.as_ref(), &format!("{}w", keys::DRAINS), "").await;
    let state =
        tokio::time::timeout(Duration::from_secs(10), cache.at_least(revision)).await.unwrap().unwrap();
    assert_eq!(state.drains.len(), 1);
    assert_eq!(state.leader.as_ref().map(|leader| leader.term), Some(again.term));
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_are_checked_and_refused_clearly() {
    let etcd = Etcd::start();
    drop(etcd.connect("").await);
    let mut admin = etcd_client::Client::connect([etcd.url.as_str()], None).await.unwrap();
    admin.user_add("root", "secret", None).await.unwrap();
    admin.user_grant_role("root", "root").await.unwrap();
    admin.auth_enable().await.unwrap();
    let with = |password: &str| EtcdConfig {
        user: Some(("root".to_owned(), password.to_owned())),
        ..EtcdConfig::new(vec![etcd.url.clone()])
    };
    let store = EtcdStore::connect(with("secret")).await.unwrap();
    put(&store, "/k", "v").await;
    let wrong = EtcdStore::connect(with("wrong")).await.err().unwrap();
    assert!(matches!(&wrong, StoreError::Denied(text) if !text.contains("wrong")), "{wrong}");
    let nobody = EtcdStore::connect(EtcdConfig::new(vec![etcd.url.clone()])).await.unwrap();
    let refused = nobody.list("/").await.unwrap_err();
    assert!(matches!(refused, StoreError::Denied(_)), "{refused}");
}
