mod asked;
mod every_field;
mod masks;
mod retries;

use tonic::{Code, Status};
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::reason;
use twinlog_proto::v1;
use uuid::Uuid;

use super::places::Aliases;
use super::*;
use crate::state::State;
use crate::store::embedded::EmbeddedStore;

fn catalog_with(secrets: LiteralSecrets) -> (Catalog, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&folder.path().join("store")).unwrap();
    (Catalog::new(Arc::new(store), secrets), folder)
}

fn catalog() -> (Catalog, tempfile::TempDir) {
    catalog_with(LiteralSecrets::Refused)
}

fn create_cluster(id: &str) -> v1::CreateClusterRequest {
    let cluster = v1::Cluster { bootstrap_servers: vec!["host:9092".to_owned()], ..v1::Cluster::default() };
    v1::CreateClusterRequest { cluster_id: id.to_owned(), cluster: Some(cluster), ..Default::default() }
}

fn create_mirror(id: &str) -> v1::CreateMirrorRequest {
    let mirror = v1::Mirror {
        source: "clusters/a".to_owned(),
        target: "clusters/b".to_owned(),
        topics: vec!["orders.*".to_owned()],
        ..v1::Mirror::default()
    };
    v1::CreateMirrorRequest { mirror_id: id.to_owned(), mirror: Some(mirror), ..Default::default() }
}

async fn with_clusters() -> (Catalog, tempfile::TempDir) {
    let (catalog, folder) = catalog();
    for id in ["a", "b"] {
        catalog.ask_create_cluster(create_cluster(id)).await.unwrap();
    }
    (catalog, folder)
}

async fn with_mirror() -> (Catalog, tempfile::TempDir, v1::Mirror) {
    let (catalog, folder) = with_clusters().await;
    let mirror = catalog
        .ask_create_mirror(create_mirror("m"), &State::default(), &Aliases::new())
        .await
        .unwrap()
        .resource;
    (catalog, folder, mirror)
}

fn update(mirror: v1::Mirror, paths: &[&str]) -> v1::UpdateMirrorRequest {
    let update_mask = Some(prost_types::FieldMask { paths: paths.iter().map(|p| (*p).to_owned()).collect() });
    v1::UpdateMirrorRequest { mirror: Some(mirror), update_mask, ..Default::default() }
}

#[track_caller]
fn expect(refusal: &Refusal, reason: Reason, says: &str) {
    let status = &Status::from(refusal.clone());
    assert_eq!(reason::reason_of(status).as_deref(), Some(reason.as_str()), "{status:?}");
    assert_eq!(status.code(), reason.code());
    assert!(status.message().contains(says), "{}", status.message());
}

#[tokio::test]
async fn a_retry_with_the_same_request_id_answers_with_what_the_first_call_made() {
    let (catalog, _folder) = catalog();
    let mut request = create_cluster("a");
    request.cluster.as_mut().unwrap().labels =
        (0..20).map(|i| (format!("key{i}"), "value".to_owned())).collect();
    request.request_id = Uuid::new_v4().to_string();
    let first = catalog.ask_create_cluster(request.clone()).await.unwrap();
    let again = catalog.ask_create_cluster(request.clone()).await.unwrap();
    assert_eq!((first.resource, first.revision), (again.resource, again.revision));

    request.cluster.as_mut().unwrap().display_name = "other".to_owned();
    expect(
        &catalog.ask_create_cluster(request.clone()).await.unwrap_err(),
        Reason::REQUEST_ID_REUSED,
        "request_id",
    );
    request.request_id = Uuid::new_v4().to_string();
    expect(
        &catalog.ask_create_cluster(request.clone()).await.unwrap_err(),
        Reason::ALREADY_EXISTS,
        "clusters/a",
    );
    request.request_id = "seven".to_owned();
    expect(&catalog.ask_create_cluster(request).await.unwrap_err(), Reason::INVALID_FIELD, "UUID");
}

#[tokio::test]
async fn a_retried_update_is_done_once() {
    let (catalog, _folder, mirror) = with_mirror().await;
    let mut request =
        update(v1::Mirror { display_name: "one".to_owned(), ..mirror.clone() }, &["display_name"]);
    request.request_id = Uuid::new_v4().to_string();
    let first = catalog.ask_update_mirror(request.clone(), &State::default()).await.unwrap();
    // Its etag is stale by now, but the change is known.
    let again = catalog.ask_update_mirror(request, &State::default()).await.unwrap();
    assert_eq!(first.revision, again.revision);
}

#[tokio::test]
async fn a_stale_etag_is_refused_and_nothing_changes() {
    let (catalog, _folder, mirror) = with_mirror().await;
    let changed = v1::Mirror { display_name: "one".to_owned(), ..mirror.clone() };
    let fresh = catalog
        .ask_update_mirror(update(changed, &["display_name"]), &State::default())
        .await
        .unwrap()
        .resource;
    assert_ne!(fresh.etag, mirror.etag);
    let stale = v1::Mirror { display_name: "two".to_owned(), ..mirror.clone() };
    expect(
        &catalog.ask_update_mirror(update(stale, &["display_name"]), &State::default()).await.unwrap_err(),
        Reason::ETAG_MISMATCH,
        "etag",
    );
    let delete =
        v1::DeleteMirrorRequest { name: mirror.name.clone(), etag: mirror.etag, ..Default::default() };
    expect(&catalog.ask_delete_mirror(delete).await.unwrap_err(), Reason::ETAG_MISMATCH, "etag");
    let delete = v1::DeleteMirrorRequest { name: mirror.name, etag: fresh.etag, ..Default::default() };
    catalog.ask_delete_mirror(delete).await.unwrap();
}

#[tokio::test]
async fn what_identifies_ranges_can_not_change() {
    let (catalog, _folder, mirror) = with_mirror().await;
    assert_eq!((mirror.block_size, mirror.guarantee()), (8, v1::Guarantee::ExactlyOnce));
    let mut given = mirror.clone();
    given.source = "clusters/c".to_owned();
    given.block_size = 16;
    given.set_guarantee(v1::Guarantee::AtLeastOnce);
    given.set_partitioning(v1::Partitioning::ByKey);
    given.naming = Some(v1::Naming {
        kind: v1::naming::Kind::Identity.into(),
        separator_in_internal_topics: Some(false),
        ..Default::default()
    });
    let request = v1::UpdateMirrorRequest { mirror: Some(given.clone()), ..Default::default() };
    let status = catalog.ask_update_mirror(request, &State::default()).await.unwrap_err();
    for field in [
        "mirror.source",
        "mirror.block_size",
        "mirror.guarantee",
        "mirror.partitioning",
        "mirror.naming.kind",
        "mirror.naming.separator_in_internal_topics",
    ] {
        expect(&status, Reason::IMMUTABLE_FIELD, field);
    }
    // A mask that doesn't name them leaves them alone; naming them unchanged is fine.
    catalog.ask_update_mirror(update(given, &["topics"]), &State::default()).await.unwrap();
    catalog
        .ask_update_mirror(
            update(v1::Mirror { etag: String::new(), ..mirror }, &["source", "naming"]),
            &State::default(),
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn bad_mirrors_are_refused_with_every_field_that_is_wrong() {
    let (catalog, _folder) = with_clusters().await;
    let refused = async |change: fn(&mut v1::Mirror)| {
        let mut request = create_mirror("m");
        change(request.mirror.as_mut().unwrap());
        catalog.ask_create_mirror(request, &State::default(), &Aliases::new()).await.unwrap_err()
    };
    expect(
        &refused(|m| m.topics = vec!["a".into(), "b[".into()]).await,
        Reason::INVALID_PATTERN,
        "mirror.topics[1]",
    );
    expect(&refused(|m| m.target = m.source.clone()).await, Reason::SOURCE_IS_TARGET, "mirror.target");
    expect(&refused(|m| m.target = "clusters/zzz".into()).await, Reason::CLUSTER_NOT_FOUND, "zzz");
    expect(&refused(|m| m.guarantee = 99).await, Reason::INVALID_FIELD, "mirror.guarantee");
    expect(&refused(|m| m.block_size = 1000).await, Reason::INVALID_FIELD, "1000");
    expect(&refused(|m| m.topics = vec!["a".into(); 2000]).await, Reason::INVALID_FIELD, "2000 patterns");
    expect(&refused(|m| m.display_name = "x".repeat(2_000_000)).await, Reason::INVALID_FIELD, "bytes");
    expect(&refused(|m| m.engine = 9).await, Reason::INVALID_FIELD, "mirror.engine");
    let both = refused(|m| (m.compression, m.block_size) = (77, -1)).await;
    expect(&both, Reason::INVALID_FIELD, "mirror.compression");
    expect(&both, Reason::INVALID_FIELD, "mirror.block_size");

    let mut named = create_mirror("m");
    named.mirror.as_mut().unwrap().name = "mirrors/other".to_owned();
    expect(
        &catalog.ask_create_mirror(named, &State::default(), &Aliases::new()).await.unwrap_err(),
        Reason::INVALID_FIELD,
        "mirror_id",
    );
    let bad_id = catalog
        .ask_create_mirror(create_mirror("Not An Id"), &State::default(), &Aliases::new())
        .await
        .unwrap_err();
    expect(&bad_id, Reason::INVALID_FIELD, "Not An Id");
}

#[tokio::test]
async fn a_cluster_in_use_stays_and_an_unused_one_goes() {
    let (catalog, _folder, mirror) = with_mirror().await;
    let delete = v1::DeleteClusterRequest { name: "clusters/a".to_owned(), ..Default::default() };
    let refusal = catalog.ask_delete_cluster(delete.clone()).await.unwrap_err();
    expect(&refusal, Reason::CLUSTER_IN_USE, "mirrors/m");
    assert_eq!(Status::from(refusal).code(), Code::FailedPrecondition);
    catalog
        .ask_delete_mirror(v1::DeleteMirrorRequest { name: mirror.name, ..Default::default() })
        .await
        .unwrap();
    catalog.ask_delete_cluster(delete.clone()).await.unwrap();
    expect(&catalog.ask_delete_cluster(delete).await.unwrap_err(), Reason::CLUSTER_NOT_FOUND, "a");
}

#[tokio::test]
async fn secrets_in_clear_are_refused_unless_the_store_encrypts_and_never_shown() {
    let mut request = create_cluster("a");
    let properties =
        [("sasl.password", "hush"), ("sasl.username", "ann"), ("ssl.key.password", "${env:KEY}")];
    request.cluster.as_mut().unwrap().properties =
        properties.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let (strict, _folder) = catalog();
    let status = strict.ask_create_cluster(request.clone()).await.unwrap_err();
    expect(&status, Reason::LITERAL_SECRET, "cluster.properties.sasl.password");
    assert!(!format!("{status:?}").contains("hush"));

    let (catalog, _folder) = catalog_with(LiteralSecrets::Accepted);
    let made = catalog.ask_create_cluster(request).await.unwrap().resource;
    let mut shown = hide_secrets(made.clone());
    assert!(!format!("{shown:?}").contains("hush"));
    assert_eq!(
        (&*shown.properties["sasl.username"], &*shown.properties["ssl.key.password"]),
        ("ann", "${env:KEY}")
    );

    // What was shown can be sent back: the secret stays.
    shown.display_name = "renamed".to_owned();
    let request = v1::UpdateClusterRequest { cluster: Some(shown), ..Default::default() };
    let updated = catalog.ask_update_cluster(request).await.unwrap().resource;
    assert_eq!((&*updated.properties["sasl.password"], &*updated.display_name), ("hush", "renamed"));
}

#[tokio::test]
async fn validation_alone_writes_nothing() {
    let (catalog, _folder) = with_clusters().await;
    let request = v1::CreateMirrorRequest { validate_only: true, ..create_mirror("m") };
    let validated = catalog.ask_create_mirror(request, &State::default(), &Aliases::new()).await.unwrap();
    assert_eq!((validated.revision, validated.resource.uid.as_str()), (None, ""));
    let get = catalog.ask_pause_mirror("mirrors/m", "", "").await.unwrap_err();
    expect(&get, Reason::MIRROR_NOT_FOUND, "m");
}

/// A store once held what no replica could read: the mirror was created, and was nowhere.
#[tokio::test]
async fn what_is_stored_of_a_mirror_without_a_separator_can_be_read() {
    let (catalog, _folder) = with_clusters().await;
    let mut request = create_mirror("m");
    request.mirror.as_mut().unwrap().naming = Some(v1::Naming { no_separator: true, ..Default::default() });
    let stored =
        catalog.ask_create_mirror(request, &State::default(), &Aliases::new()).await.unwrap().resource;
    let read = twinlog_proto::model::Mirror::parse(&stored).unwrap();
    assert_eq!(read.policy.remote_topic("orders").as_deref(), Some("aorders"));
}

#[tokio::test]
async fn a_second_mirror_must_not_write_the_same_topics_from_the_same_source() {
    let (catalog, _folder, mirror) = with_mirror().await;
    let store = catalog.store.clone();
    let stop = tokio_util::sync::CancellationToken::new();
    let cache = crate::state::Cache::start(store.clone(), stop.clone()).await.unwrap();
    let mut early = create_mirror("early").mirror.unwrap();
    early.name = "mirrors/early".to_owned();
    let early = twinlog_proto::model::Mirror::parse(&early).unwrap();
    let warning = overlap::find(&early, &cache.snapshot(), &places::Places::default()).remove(0).message();
    assert!(warning.contains("m would also write topics such as a.orders"), "{warning}");

    let found = |topic: &str, target: &str| internal::InventoryTopic {
        source_topic: topic.to_owned(),
        target_topic: target.to_owned(),
        ..Default::default()
    };
    let inventory = internal::Inventory {
        topics: vec![found("heartbeats", "a.heartbeats"), found("orders", "a.orders")],
        ..Default::default()
    };
    let id = twinlog_proto::id::MirrorId::from_name(&mirror.name).unwrap();
    let write = crate::store::Write::put(crate::keys::inventory(&id), crate::inventory::encode(&inventory));
    store.commit(Transaction { guards: vec![], writes: vec![write] }).await.unwrap();
    let cache = crate::state::Cache::start(store, stop.clone()).await.unwrap();
    let status = catalog
        .ask_create_mirror(create_mirror("again"), &cache.snapshot(), &Aliases::new())
        .await
        .unwrap_err();
    expect(&status, Reason::TARGET_OVERLAP, "a.orders");
    let mut other = create_mirror("payments");
    other.mirror.as_mut().unwrap().topics = vec!["payments.*".to_owned()];
    catalog.ask_create_mirror(other, &cache.snapshot(), &Aliases::new()).await.unwrap();
    stop.cancel();
}

#[tokio::test]
async fn concurrent_writers_never_lose_a_change() {
    let (catalog, _folder, mirror) = with_mirror().await;
    let rename = |field: &'static str| {
        let (catalog, name) = (catalog.clone(), mirror.name.clone());
        async move {
            let mut given = v1::Mirror { name, ..Default::default() };
            match field {
                "labels" => given.labels = [("k".to_owned(), "v".to_owned())].into(),
                _ => given.display_name = "shown".to_owned(),
            }
            catalog.ask_update_mirror(update(given, &[field]), &State::default()).await.unwrap();
        }
    };
    tokio::join!(rename("labels"), rename("display_name"));
    let now = catalog.ask_pause_mirror(&mirror.name, "", "").await.unwrap().resource;
    assert_eq!((now.display_name.as_str(), now.labels.len()), ("shown", 1));
}

#[tokio::test]
async fn a_mirror_that_closes_a_circle_is_refused_unless_it_says_so() {
    let (catalog, _folder) = with_clusters().await;
    let identity = |id: &str, source: &str, target: &str, topics: &str| {
        let mut request = create_mirror(id);
        let mirror = request.mirror.as_mut().unwrap();
        mirror.source = format!("clusters/{source}");
        mirror.target = format!("clusters/{target}");
        mirror.topics = vec![topics.to_owned()];
        mirror.naming = Some(v1::Naming { kind: v1::naming::Kind::Identity.into(), ..Default::default() });
        request
    };
    let nothing = State::default();
    catalog
        .ask_create_mirror(identity("there", "a", "b", "orders.*"), &nothing, &Aliases::new())
        .await
        .unwrap();
    let back = identity("back", "b", "a", "orders.*");
    let refused = catalog.ask_create_mirror(back.clone(), &nothing, &Aliases::new()).await.unwrap_err();
    expect(&refused, Reason::LOOP, "orders on a -> (there) -> orders on b -> (back) -> orders on a");

    // It is found on update too.
    let other = catalog
        .ask_create_mirror(identity("back", "b", "a", "eu-.*"), &nothing, &Aliases::new())
        .await
        .unwrap()
        .resource;
    let wider = v1::Mirror { topics: vec![".*".to_owned()], ..other.clone() };
    let refused = catalog.ask_update_mirror(update(wider.clone(), &["topics"]), &nothing).await.unwrap_err();
    expect(&refused, Reason::LOOP, "--allow-loops");
    let allowed = v1::Mirror { allow_loops: true, ..wider };
    catalog.ask_update_mirror(update(allowed, &["topics", "allow_loops"]), &nothing).await.unwrap();
}

#[tokio::test]
async fn what_is_too_much_is_refused_before_it_is_compiled() {
    let (catalog, _folder) = with_clusters().await;
    let create = |topics: Vec<String>| {
        let mut request = create_mirror("m");
        request.mirror.as_mut().unwrap().topics = topics;
        let catalog = catalog.clone();
        async move { catalog.ask_create_mirror(request, &State::default(), &Aliases::new()).await.map(|_| ()) }
    };
    let begin = std::time::Instant::now();
    let many = (0..100_000).map(|n| format!("topic-{n}")).collect();
    expect(&create(many).await.unwrap_err(), Reason::INVALID_FIELD, "at most 1000");
    let wide = vec![r"\p{L}{200}".to_owned(); 40];
    expect(&create(wide).await.unwrap_err(), Reason::INVALID_PATTERN, "fewer repetitions");
    let nested = vec!["((((a{50}){50}){50}){50})".to_owned()];
    expect(&create(nested).await.unwrap_err(), Reason::INVALID_PATTERN, "fewer repetitions");
    assert!(begin.elapsed() < std::time::Duration::from_secs(20), "{:?}", begin.elapsed());
    create((0..1_000).map(|n| format!("team-{n}[.](orders|payments)[.].*")).collect()).await.unwrap();
}

/// The median time of a creation, among so many mirrors.
async fn creation_among(
    catalog: &Catalog,
    state: &mut State,
    numbers: std::ops::Range<usize>,
) -> std::time::Duration {
    let mut times = Vec::new();
    for number in numbers {
        let mut request = create_mirror(&format!("m-{number}"));
        request.mirror.as_mut().unwrap().topics = vec![format!("team-{number}[.].*")];
        let begin = std::time::Instant::now();
        let written = catalog.ask_create_mirror(request, state, &Aliases::new()).await.unwrap();
        times.push(begin.elapsed());
        let (id, revision) = (format!("m-{number}"), written.revision.unwrap());
        let model = Arc::new(twinlog_proto::model::Mirror::parse(&written.resource).unwrap());
        let mirror = crate::state::MirrorState {
            wire: written.resource,
            model,
            create_revision: revision,
            mod_revision: revision,
        };
        let id = twinlog_proto::id::MirrorId::new(id).unwrap();
        Arc::make_mut(&mut state.mirrors).insert(id, Arc::new(mirror));
        state.revision = revision;
    }
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::test]
async fn the_two_hundredth_mirror_takes_as_long_as_the_first() {
    let (catalog, _folder) = with_clusters().await;
    let mut state = State::default();
    let first = creation_among(&catalog, &mut state, 0..20).await;
    creation_among(&catalog, &mut state, 20..180).await;
    let last = creation_among(&catalog, &mut state, 180..200).await;
    // Each mirror that was there took 2.3 ms more in a release build.
    assert!(last < first * 5 + std::time::Duration::from_millis(20), "first {first:?}, last {last:?}");
}
