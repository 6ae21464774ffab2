//! ListMirrorStatuses and the topics of one status: pages, filters, orders, and what is refused.

use std::fmt::Write as _;

use metrics_exporter_prometheus::PrometheusBuilder;
use prost::Message;
use twinlog_controller::last_groups::{LastSaid, Record};
use twinlog_controller::store::{Store, Transaction, Write};
use twinlog_controller::{inventory, keys};
use twinlog_proto::id::MirrorId;
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;

use crate::cli::{fails, out};
use crate::service::{Service, create_cluster, create_mirror, expect};

fn all() -> v1::ListMirrorStatusesRequest {
    v1::ListMirrorStatusesRequest { parent: "mirrors/-".to_owned(), ..Default::default() }
}

async fn list(service: &Service, request: v1::ListMirrorStatusesRequest) -> v1::ListMirrorStatusesResponse {
    service.mirrors().list_mirror_statuses(request).await.unwrap().into_inner()
}

fn names(page: &v1::ListMirrorStatusesResponse) -> Vec<&str> {
    page.mirror_statuses.iter().map(|status| status.name.as_str()).collect()
}

/// Mirrors m0 to m4 from a to b, and n from c to b.
async fn six_mirrors() -> Service {
    let service = Service::with_clusters().await;
    service.clusters().create_cluster(create_cluster("c")).await.unwrap();
    for id in ["m0", "m1", "m2", "m3", "m4"] {
        service.mirrors().create_mirror(create_mirror(id)).await.unwrap();
    }
    let mut other = create_mirror("n");
    other.mirror.as_mut().unwrap().source = "clusters/c".to_owned();
    service.mirrors().create_mirror(other).await.unwrap();
    service
}

async fn delete(service: &Service, name: &str) {
    let request = v1::DeleteMirrorRequest { name: name.to_owned(), ..Default::default() };
    service.mirrors().delete_mirror(request).await.unwrap();
}

#[tokio::test]
async fn pages_go_on_where_they_ended_although_mirrors_are_deleted_in_between() {
    let service = six_mirrors().await;
    let first = list(&service, v1::ListMirrorStatusesRequest { page_size: 2, ..all() }).await;
    assert_eq!(names(&first), ["mirrors/m0/status", "mirrors/m1/status"]);
    let status = &first.mirror_statuses[1];
    assert_eq!(
        (status.mirror.as_str(), status.source.as_str(), status.target.as_str(), status.state()),
        ("mirrors/m1", "clusters/a", "clusters/b", v1::State::Pending)
    );
    assert!(status.topics.is_empty() && status.tasks.is_empty() && status.groups.is_empty());

    // The last one of this page, and the first one of the next.
    delete(&service, "mirrors/m1").await;
    delete(&service, "mirrors/m2").await;
    let next = v1::ListMirrorStatusesRequest { page_size: 3, page_token: first.next_page_token, ..all() };
    let next = list(&service, next).await;
    assert_eq!(names(&next), ["mirrors/m3/status", "mirrors/m4/status", "mirrors/n/status"]);
    assert_eq!(next.next_page_token, "");
}

#[tokio::test]
async fn the_same_states_as_one_by_one_filtered_and_in_order() {
    let service = six_mirrors().await;
    let pause = v1::PauseMirrorRequest { name: "mirrors/m2".to_owned(), ..Default::default() };
    service.mirrors().pause_mirror(pause).await.unwrap();
    let listed = list(&service, all()).await;
    assert_eq!(listed.mirror_statuses.len(), 6);
    for status in &listed.mirror_statuses {
        let name = status.name.clone();
        let one = v1::GetMirrorStatusRequest { name: name.clone(), ..Default::default() };
        let one = service.mirrors().get_mirror_status(one).await.unwrap().into_inner();
        assert_eq!((&one.name, one.state(), one.totals), (&name, status.state(), status.totals));
    }
    let asked = async |filter: &str, order_by: &str| {
        let (filter, order_by) = (filter.to_owned(), order_by.to_owned());
        let page = list(&service, v1::ListMirrorStatusesRequest { filter, order_by, ..all() }).await;
        let ids = page.mirror_statuses.iter().map(|status| status.mirror.replace("mirrors/", ""));
        ids.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(asked("state = PAUSED", "").await, "m2");
    assert_eq!(asked("source = c OR causes.reason:PAUSED", "").await, "m2 n");
    assert_eq!(asked("source != c", "state desc, mirror desc").await, "m2 m4 m3 m1 m0");
    assert_eq!(asked("totals.lag_records >= 0", "").await, "", "nothing is known yet, and that is not 0");

    let table =
        out(&service, &["mirror", "list", "--filter", "mirror = m*", "--order-by", "mirror desc"]).await;
    let ids: Vec<&str> = table.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(ids, ["m4", "m3", "m2", "m1", "m0"]);
    let json = out(&service, &["mirror", "list", "-o", "json", "--filter", "source = c"]).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json[0]["name"], json.as_array().unwrap().len()), (&"mirrors/n".into(), 1));
    assert_eq!(
        out(&service, &["mirror", "list", "--filter", "mirror = x"]).await,
        "no mirror fits the filter\n"
    );
    let (code, said) = fails(&service, &["mirror", "list", "--filter", "lag > 1"]).await;
    assert!(code == 2 && said.contains("there is no field \"lag\""), "{code}: {said}");
}

#[tokio::test]
async fn what_can_not_be_listed_is_refused() {
    let service = six_mirrors().await;
    let mut client = service.mirrors();
    let mut refused =
        async |request, reason, says: &str| expect(client.list_mirror_statuses(request).await, reason, says);
    for parent in ["", "mirrors/m1", "mirrors", "clusters/-"] {
        let request = v1::ListMirrorStatusesRequest { parent: parent.to_owned(), ..all() };
        assert_eq!(refused(request, Reason::INVALID_FIELD, "mirrors/-").await, ["parent"]);
    }
    let negative = v1::ListMirrorStatusesRequest { page_size: -1, ..all() };
    assert_eq!(refused(negative, Reason::INVALID_FIELD, "negative").await, ["page_size"]);
    let filter = v1::ListMirrorStatusesRequest { filter: "state = RED".to_owned(), ..all() };
    assert_eq!(refused(filter, Reason::INVALID_FIELD, "DEGRADED").await, ["filter"]);
    let long = v1::ListMirrorStatusesRequest { filter: "x".repeat(1_001), ..all() };
    assert_eq!(refused(long, Reason::INVALID_FIELD, "1000").await, ["filter"]);
    let order = v1::ListMirrorStatusesRequest { order_by: "lag".to_owned(), ..all() };
    assert_eq!(refused(order, Reason::INVALID_FIELD, "totals.lag_records").await, ["order_by"]);

    let page_token =
        list(&service, v1::ListMirrorStatusesRequest { page_size: 1, ..all() }).await.next_page_token;
    let other = v1::ListMirrorStatusesRequest {
        page_token: page_token.clone(),
        filter: "source = a".to_owned(),
        ..all()
    };
    assert_eq!(refused(other, Reason::INVALID_PAGE_TOKEN, "same request").await, ["page_token"]);
    let foreign = v1::ListMirrorsRequest { page_token, ..Default::default() };
    expect(service.mirrors().list_mirrors(foreign).await, Reason::INVALID_PAGE_TOKEN, "this list");
    let topics = |size, token: &str| v1::GetMirrorStatusRequest {
        name: "mirrors/m1/status".to_owned(),
        topic_page_size: size,
        topic_page_token: token.to_owned(),
    };
    let negative = service.mirrors().get_mirror_status(topics(-1, "")).await;
    assert_eq!(expect(negative, Reason::INVALID_FIELD, "negative"), ["topic_page_size"]);
    let rubbish = service.mirrors().get_mirror_status(topics(0, "x")).await;
    assert_eq!(expect(rubbish, Reason::INVALID_PAGE_TOKEN, "next_topic_page_token"), ["topic_page_token"]);
}

/// As a survey has found it.
async fn put_topics(service: &Service, id: &str, topics: Vec<internal::InventoryTopic>) {
    let found = internal::Inventory { topics, selected_by: "x".to_owned(), ..Default::default() };
    let key = keys::inventory(&MirrorId::new(id).unwrap());
    let writes = vec![Write::put(key, inventory::encode(&found))];
    service.store.commit(Transaction { guards: Vec::new(), writes }).await.unwrap();
}

fn topic(n: usize, note: &str) -> internal::InventoryTopic {
    internal::InventoryTopic {
        source_topic: format!("t{n:03}"),
        target_topic: format!("a.t{n:03}"),
        source_partitions: 1,
        partitions: 1,
        note: note.to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn topics_of_a_status_come_page_by_page_or_as_many_as_fit() {
    let service = Service::with_clusters().await;
    service.mirrors().create_mirror(create_mirror("m")).await.unwrap();
    put_topics(&service, "m", (0..25).map(|n| topic(n, "")).collect()).await;
    let get = async |name: &str, topic_page_size, topic_page_token| {
        let request = v1::GetMirrorStatusRequest { name: name.to_owned(), topic_page_size, topic_page_token };
        service.mirrors().get_mirror_status(request).await.unwrap().into_inner()
    };
    service
        .until("the topics are seen", async || get("mirrors/m", 0, String::new()).await.topic_count == 25)
        .await;
    let all = get("mirrors/m", 0, String::new()).await;
    assert_eq!(
        (all.name.as_str(), all.mirror.as_str(), all.topics.len()),
        ("mirrors/m/status", "mirrors/m", 25)
    );
    let (mut topics, mut token) = (Vec::new(), String::new());
    for page in [10, 10, 5] {
        let status = get("mirrors/m/status", 10, token).await;
        assert_eq!((status.name.as_str(), status.topics.len()), ("mirrors/m/status", page));
        assert_eq!((status.topic_count, status.totals.unwrap().partitions), (25, 25), "of all topics");
        topics.extend(status.topics.into_iter().map(|topic| topic.target_topic));
        token = status.next_topic_page_token;
    }
    let expected: Vec<String> = all.topics.into_iter().map(|topic| topic.target_topic).collect();
    assert_eq!((topics, token), (expected, String::new()));

    // Too much for one message: the command line asks for all pages.
    put_topics(&service, "m", (0..12).map(|n| topic(n, &"x".repeat(300_000))).collect()).await;
    service.until("they are seen", async || get("mirrors/m", 1, String::new()).await.topic_count == 12).await;
    let first = get("mirrors/m", 0, String::new()).await;
    assert!(first.topics.len() < 12 && first.encoded_len() < 3 << 20, "{} bytes", first.encoded_len());
    let json = out(&service, &["mirror", "status", "m", "-o", "json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let names: Vec<&str> = json["topics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|topic| topic["source_topic"].as_str().unwrap())
        .collect();
    assert_eq!(names, (0..12).map(|n| format!("t{n:03}")).collect::<Vec<_>>());
}

/// Control plane 9: it was one call for every mirror.
#[tokio::test]
async fn mirror_list_makes_one_call_for_a_page() {
    // Calls are counted where they are answered, in this thread.
    let recorder = PrometheusBuilder::new().build_recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let service = Service::with_clusters().await;
    let mirror = create_mirror("m").mirror.unwrap();
    let put = |n: usize| {
        let name = format!("mirrors/m{n:03}");
        let key = keys::mirror(&MirrorId::from_name(&name).unwrap());
        Write::put(key, v1::Mirror { name, ..mirror.clone() }.encode_to_vec())
    };
    for from in [0, 100, 200] {
        let writes = (from..from + 100).map(put).collect();
        service.store.commit(Transaction { guards: Vec::new(), writes }).await.unwrap();
    }
    service
        .until("all are there", async || {
            let page = v1::ListMirrorStatusesRequest { page_size: 300, ..all() };
            list(&service, page).await.mirror_statuses.len() == 300
        })
        .await;
    let calls = || {
        let text = recorder.handle().render();
        let of_mirrors = |line: &&str| {
            line.starts_with("twinlog_api_requests_total") && line.contains("twinlog.v1.MirrorService")
        };
        text.lines().filter(of_mirrors).fold(String::new(), |mut all, line| {
            writeln!(all, "{line}").unwrap();
            all
        })
    };
    let count = |text: &str| -> u64 {
        text.lines().filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    };
    let before = calls();
    let table = out(&service, &["mirror", "list"]).await;
    let after = calls();
    assert_eq!(table.lines().count(), 301);
    assert_eq!(count(&after) - count(&before), 1, "{before}\n{after}");
}

#[tokio::test]
async fn groups_that_nobody_looks_at_are_shown_with_their_time_and_what_is_left_out() {
    let service = Service::with_clusters().await;
    let mut request = create_mirror("m");
    request.mirror.as_mut().unwrap().set_desired_state(v1::DesiredState::Paused);
    service.mirrors().create_mirror(request).await.unwrap();
    let group = |name: &str| v1::GroupStatus {
        group: name.to_owned(),
        state: v1::group_status::State::NotSynced.into(),
        ..Default::default()
    };
    let said = |shard, name, seconds, left_out| LastSaid {
        shard,
        groups: vec![group(name)],
        sync_time: None,
        time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        left_out,
    };
    let record =
        Record { tasks: vec![said(0, "billing", 1_700_000_500, 7), said(1, "audit", 1_700_000_000, 5)] };
    let key = keys::groups(&MirrorId::new("m").unwrap());
    let writes = vec![Write::put(key, record.encode_to_vec())];
    service.store.commit(Transaction { guards: Vec::new(), writes }).await.unwrap();
    let get = async || {
        let request = v1::GetMirrorStatusRequest { name: "mirrors/m".to_owned(), ..Default::default() };
        service.mirrors().get_mirror_status(request).await.unwrap().into_inner()
    };
    service.until("they are seen", async || !get().await.groups.is_empty()).await;
    let status = get().await;
    assert_eq!(status.groups, [group("audit"), group("billing")]);
    assert_eq!((status.groups_time.unwrap().seconds, status.groups_left_out), (1_700_000_000, 12));
    let table = out(&service, &["mirror", "status", "m"]).await;
    assert!(
        table.contains("groups as they were ") && table.contains(" ago: nobody looks at them now"),
        "{table}"
    );
    assert!(table.contains("12 more groups were too many to keep"), "{table}");
}
