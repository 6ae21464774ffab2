//! ClusterService.

use twinlog_proto::reason::Reason;
use twinlog_proto::v1;

use crate::service::{Service, create_cluster, create_mirror, expect};
use crate::worker::Worker;

#[tokio::test]
async fn a_cluster_lives_from_create_to_delete_and_every_read_sees_the_write_before() {
    let service = Service::start().await;
    let mut client = service.clusters();
    let made = client.create_cluster(create_cluster("a")).await.unwrap().into_inner();
    assert_eq!(made.name, "clusters/a");
    let get = v1::GetClusterRequest { name: made.name.clone() };
    assert_eq!(client.get_cluster(get.clone()).await.unwrap().into_inner(), made);

    let renamed = v1::Cluster { display_name: "A".to_owned(), ..made.clone() };
    let update = v1::UpdateClusterRequest { cluster: Some(renamed), ..Default::default() };
    let updated = client.update_cluster(update.clone()).await.unwrap().into_inner();
    assert_eq!(client.get_cluster(get.clone()).await.unwrap().into_inner(), updated);
    expect(client.update_cluster(update).await, Reason::ETAG_MISMATCH, "clusters/a");

    let delete = v1::DeleteClusterRequest { name: made.name, etag: updated.etag, ..Default::default() };
    client.delete_cluster(delete).await.unwrap();
    expect(client.get_cluster(get).await, Reason::CLUSTER_NOT_FOUND, "a");
    service.stop().await;
}

#[tokio::test]
async fn bad_clusters_are_refused_with_the_fields_that_are_wrong() {
    let service = Service::start().await;
    let mut request = create_cluster("a");
    let cluster = request.cluster.as_mut().unwrap();
    cluster.bootstrap_servers = vec!["nowhere".to_owned(), "host:9092".to_owned(), "host:0".to_owned()];
    cluster.properties.insert("sasl.password".to_owned(), "${vault:x}".to_owned());
    let fields =
        expect(service.clusters().create_cluster(request).await, Reason::INVALID_FIELD, "\"nowhere\"");
    let expected =
        ["cluster.properties.sasl.password", "cluster.bootstrap_servers[0]", "cluster.bootstrap_servers[2]"];
    assert_eq!(fields, expected);
    for id in ["", "no spaces", "a/b"] {
        let fields =
            expect(service.clusters().create_cluster(create_cluster(id)).await, Reason::INVALID_FIELD, id);
        assert_eq!(fields, ["cluster_id"]);
    }
}

#[tokio::test]
async fn lists_come_in_pages_that_join() {
    let service = Service::start().await;
    for i in 0..7 {
        service.clusters().create_cluster(create_cluster(&format!("c{i}"))).await.unwrap();
    }
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListClustersRequest { page_size: 3, page_token };
        let page = service.clusters().list_clusters(request).await.unwrap().into_inner();
        assert!(page.clusters.len() <= 3);
        names.extend(page.clusters.into_iter().map(|cluster| cluster.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, (0..7).map(|i| format!("clusters/c{i}")).collect::<Vec<_>>());
    let bad = v1::ListClustersRequest { page_size: 0, page_token: "nonsense".to_owned() };
    expect(service.clusters().list_clusters(bad).await, Reason::INVALID_PAGE_TOKEN, "nonsense");
}

#[tokio::test]
async fn questions_about_a_cluster_go_to_a_worker() {
    let service = Service::with_clusters().await;
    let list = |page_size, page_token: String, pattern: &str| v1::ListTopicsRequest {
        parent: "clusters/a".to_owned(),
        page_size,
        page_token,
        patterns: vec![pattern.to_owned()],
    };
    expect(service.clusters().list_topics(list(0, String::new(), ".*")).await, Reason::NO_WORKER, "worker");

    let _worker = Worker::start(&service).await;
    let test = v1::TestClusterRequest { name: "clusters/a".to_owned(), cluster: None };
    let tested = service.clusters().test_cluster(test).await.unwrap().into_inner();
    assert_eq!((tested.kafka_cluster_id.as_str(), tested.worker.as_str()), ("clusters/a", "workers/w1"));
    let new = v1::TestClusterRequest { name: String::new(), cluster: create_cluster("x").cluster };
    assert!(service.clusters().test_cluster(new).await.unwrap().into_inner().reachable);

    let first = service.clusters().list_topics(list(100, String::new(), ".*")).await.unwrap().into_inner();
    assert_eq!((first.topics.len(), first.topics[99].topic.as_str()), (100, "topic-099"));
    let next = list(200, first.next_page_token.clone(), ".*");
    let rest = service.clusters().list_topics(next).await.unwrap().into_inner();
    assert_eq!((rest.topics.len(), rest.next_page_token.as_str()), (150, ""));
    // A token of one list is no token of another.
    let other = list(100, first.next_page_token, "topic.*");
    expect(service.clusters().list_topics(other).await, Reason::INVALID_PAGE_TOKEN, "token");
    let fields = expect(
        service.clusters().list_topics(list(0, String::new(), "a**")).await,
        Reason::INVALID_PATTERN,
        "position 2",
    );
    assert_eq!(fields, ["patterns[0]"]);
}

#[tokio::test]
async fn a_cluster_that_a_mirror_names_stays() {
    let service = Service::with_clusters().await;
    service.mirrors().create_mirror(create_mirror("m")).await.unwrap();
    let delete = v1::DeleteClusterRequest { name: "clusters/b".to_owned(), ..Default::default() };
    expect(service.clusters().delete_cluster(delete).await, Reason::CLUSTER_IN_USE, "mirrors/m");
}
