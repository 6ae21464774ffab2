//! Names and texts: what Kafka or a terminal would stumble over is refused by name, through the API and the command line.

use std::collections::HashMap;

use twinlog_proto::reason::Reason;
use twinlog_proto::v1;

use crate::service::{Service, create_cluster, create_mirror, expect};

#[tokio::test]
async fn servers_and_ids_that_can_not_be_are_refused_by_name() {
    let service = Service::start().await;
    for (server, says) in [
        ("http://a:9092", "leave out http://"),
        ("a:9092,b:9092", "one by one"),
        ("a", "port is missing"),
        ("a b:9092", "a host is"),
        ("a\u{1b}[2J:9092", "a host is"),
    ] {
        let mut request = create_cluster("c");
        request.cluster.as_mut().unwrap().bootstrap_servers = vec!["ok:1".to_owned(), server.to_owned()];
        let fields =
            expect(service.clusters().create_cluster(request.clone()).await, Reason::INVALID_FIELD, says);
        assert_eq!(fields, ["cluster.bootstrap_servers[1]"], "{server}");
        let test = v1::TestClusterRequest { cluster: request.cluster, ..Default::default() };
        expect(service.clusters().test_cluster(test).await, Reason::INVALID_FIELD, says);
    }
    for id in [".", "..", "a/b", "ä", ""] {
        let fields = expect(
            service.clusters().create_cluster(create_cluster(id)).await,
            Reason::INVALID_FIELD,
            "cluster id",
        );
        assert_eq!(fields, ["cluster_id"], "{id}");
    }
    // What Java takes is taken.
    let mut request = create_cluster("c");
    request.cluster.as_mut().unwrap().bootstrap_servers =
        vec!["SASL_SSL://a:9092".into(), "[::1]:9092".into()];
    service.clusters().create_cluster(request).await.unwrap();
}

type Spoil = fn(&mut v1::Mirror);

#[tokio::test]
async fn texts_of_a_mirror_that_can_not_be_are_refused_by_name() {
    let service = Service::with_clusters().await;
    let cases: [(Spoil, &str); 14] = [
        (
            |m| {
                m.naming = Some(v1::Naming {
                    kind: v1::naming::Kind::Map.into(),
                    map: HashMap::from([("a".to_owned(), "b/ö".to_owned())]),
                    ..Default::default()
                });
            },
            "naming.map",
        ),
        (
            |m| m.naming = Some(v1::Naming { separator: ".".repeat(300), ..Default::default() }),
            "naming.separator",
        ),
        (
            |m| m.naming = Some(v1::Naming { separator: "/".to_owned(), ..Default::default() }),
            "naming.separator",
        ),
        (|m| m.display_name = "\u{1b}[31mred".to_owned(), "display_name"),
        (|m| drop(m.labels.insert("a".to_owned(), "x\u{202e}y".to_owned())), "labels.a"),
        (|m| drop(m.placement.insert("zone".to_owned(), "\n".to_owned())), "placement.zone"),
        (|m| m.topics = vec!["a\u{1b}".to_owned()], "topics[0]"),
        (
            |m| {
                let config_overrides = HashMap::from([("a=b".to_owned(), "1".to_owned())]);
                m.topic_creation = Some(v1::TopicCreation { config_overrides, ..Default::default() });
            },
            "topic_creation.config_overrides",
        ),
        (
            |m| {
                let config_overrides = HashMap::from([("retention.ms".to_owned(), "\0".to_owned())]);
                m.topic_creation = Some(v1::TopicCreation { config_overrides, ..Default::default() });
            },
            "topic_creation.config_overrides.retention.ms",
        ),
        (
            |m| m.take_over = Some(v1::TakeOver { offsets_topic: "a/b".to_owned(), ..Default::default() }),
            "take_over.offsets_topic",
        ),
        (
            |m| m.take_over = Some(v1::TakeOver { group: "x".repeat(300), ..Default::default() }),
            "take_over.group",
        ),
        (
            |m| {
                m.start = Some(v1::StartPosition { group: "x\n".to_owned(), ..Default::default() });
            },
            "start.group",
        ),
        (
            |m| {
                m.start = Some(v1::StartPosition { group: "mirror".to_owned(), ..Default::default() });
                m.take_over = Some(v1::TakeOver::default());
            },
            "start.group",
        ),
        (
            |m| drop(m.source_properties.insert("client.id".to_owned(), "a\0b".to_owned())),
            "source_properties.client.id",
        ),
    ];
    for (spoil, field) in cases {
        let mut request = create_mirror("m");
        spoil(request.mirror.as_mut().unwrap());
        let fields = expect(service.mirrors().create_mirror(request).await, Reason::INVALID_FIELD, field);
        assert_eq!(fields, [format!("mirror.{field}")]);
    }
}
