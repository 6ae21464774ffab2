//! Client properties and secrets at the controller's edge: what is refused by name, and that no secret follows a changed address.

use std::collections::HashMap;

use twinlog_proto::reason::Reason;
use twinlog_proto::v1;

use crate::service::{Service, create_cluster, create_mirror, expect};

const PASSWORD: &str = "${file:/etc/twinlog/secrets/a}";

fn properties(list: &[(&str, &str)]) -> HashMap<String, String> {
    list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn cluster(list: &[(&str, &str)]) -> v1::CreateClusterRequest {
    let mut request = create_cluster("guarded");
    request.cluster.as_mut().unwrap().properties = properties(list);
    request
}

const SASL: &[(&str, &str)] = &[
    ("security.protocol", "SASL_SSL"),
    ("sasl.mechanism", "PLAIN"),
    ("sasl.username", "ann"),
    ("sasl.password", PASSWORD),
];

#[tokio::test]
async fn what_is_not_taken_is_refused_by_name_wherever_properties_stand() {
    let service = Service::with_clusters().await;
    for key in [
        "plugin.library.paths",
        "consumer.plugin.library.paths",
        "ssl.engine.location",
        "ssl.providers",
        "sasl.login.callback.handler.class",
        "log_cb",
        "debug",
        "log_level",
        "acks",
        "isolation.level",
        "transactional.id",
        "enable.idempotence",
        "auto.offset.reset",
        "consumer.group.id",
        "no.such.key",
        " linger.ms",
    ] {
        let given = [(key, "/tmp/x.so")];
        let fields = expect(
            service.clusters().create_cluster(cluster(&given)).await,
            Reason::INVALID_PROPERTY,
            "not taken",
        );
        assert_eq!(fields, [format!("cluster.properties.{key}")]);
        let test = v1::TestClusterRequest { cluster: cluster(&given).cluster, ..Default::default() };
        expect(service.clusters().test_cluster(test).await, Reason::INVALID_PROPERTY, key);
        let update = v1::UpdateClusterRequest {
            cluster: Some(v1::Cluster { name: "clusters/a".to_owned(), ..cluster(&given).cluster.unwrap() }),
            ..Default::default()
        };
        expect(service.clusters().update_cluster(update).await, Reason::INVALID_PROPERTY, key);
        let mut mirror = create_mirror("m");
        mirror.mirror.as_mut().unwrap().source_properties = properties(&given);
        let fields =
            expect(service.mirrors().create_mirror(mirror.clone()).await, Reason::INVALID_PROPERTY, key);
        assert_eq!(fields, [format!("mirror.source_properties.{key}")]);
        let mut mirror = mirror.mirror.unwrap();
        mirror.target_properties = std::mem::take(&mut mirror.source_properties);
        let plan = v1::CreateMirrorRequest {
            mirror: Some(mirror),
            validate_only: true,
            mirror_id: "m".to_owned(),
            ..Default::default()
        };
        expect(service.mirrors().create_mirror(plan).await, Reason::INVALID_PROPERTY, key);
    }
}

#[tokio::test]
async fn references_stand_in_credentials_only() {
    let service = Service::start().await;
    for key in ["client.id", "security.protocol", "ssl.ca.location", "consumer.client.rack"] {
        let fields = expect(
            service.clusters().create_cluster(cluster(&[(key, "${env:SECRET}")])).await,
            Reason::INVALID_PROPERTY,
            "credentials only",
        );
        assert_eq!(fields, [format!("cluster.properties.{key}")]);
    }
    service.clusters().create_cluster(cluster(SASL)).await.unwrap();
}

#[tokio::test]
async fn no_credential_follows_a_changed_address() {
    let service = Service::start().await;
    let stored = service.clusters().create_cluster(cluster(SASL)).await.unwrap().into_inner();
    let update = |change: fn(&mut v1::Cluster), paths: &[&str]| {
        let mut cluster = stored.clone();
        cluster.etag.clear();
        change(&mut cluster);
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        v1::UpdateClusterRequest {
            cluster: Some(cluster),
            update_mask: Some(prost_types::FieldMask { paths }),
            ..Default::default()
        }
    };
    let evil: fn(&mut v1::Cluster) = |c| c.bootstrap_servers = vec!["evil:9092".to_owned()];
    let added: fn(&mut v1::Cluster) = |c| c.bootstrap_servers.push("evil:9092".to_owned());
    let plain: fn(&mut v1::Cluster) =
        |c| drop(c.properties.insert("security.protocol".into(), "SASL_PLAINTEXT".into()));
    let unchecked: fn(&mut v1::Cluster) =
        |c| drop(c.properties.insert("ssl.endpoint.identification.algorithm".into(), "none".into()));
    let role: fn(&mut v1::Cluster) =
        |c| drop(c.properties.insert("producer.bootstrap.servers".into(), "evil:1".into()));
    let trusts: fn(&mut v1::Cluster) =
        |c| drop(c.properties.insert("ssl.truststore.certificates".into(), "-----BEGIN".into()));
    let endpoint: fn(&mut v1::Cluster) = |c| {
        drop(
            c.properties.insert("sasl.oauthbearer.token.endpoint.url".into(), "https://evil.example".into()),
        );
    };
    let endpoints_trust: fn(&mut v1::Cluster) =
        |c| drop(c.properties.insert("https.ca.pem".into(), "-----BEGIN".into()));
    for (change, paths) in [
        (evil, &["bootstrap_servers"][..]),
        (endpoint, &["properties.`sasl.oauthbearer.token.endpoint.url`"]),
        (endpoints_trust, &["properties.`https.ca.pem`"]),
        (added, &["bootstrap_servers"]),
        (evil, &["bootstrap_servers", "properties.sasl.username"]),
        (plain, &["properties.`security.protocol`"]),
        (unchecked, &["properties.`ssl.endpoint.identification.algorithm`"]),
        (role, &["properties.`producer.bootstrap.servers`"]),
        (trusts, &["properties.`ssl.truststore.certificates`"]),
    ] {
        for validate_only in [true, false] {
            let request = v1::UpdateClusterRequest { validate_only, ..update(change, paths) };
            let fields = expect(
                service.clusters().update_cluster(request).await,
                Reason::CREDENTIALS_REQUIRED,
                "give it again",
            );
            assert_eq!(fields, ["cluster.properties.sasl.password"], "{paths:?}");
        }
    }
    // Given again, and what moves nothing.
    let fewer: fn(&mut v1::Cluster) = |c| c.display_name = "x".to_owned();
    for (change, paths) in [
        (evil, &["bootstrap_servers", "properties.`sasl.password`"][..]),
        (fewer, &["display_name"]),
        (fewer, &["properties.`client.id`"]),
    ] {
        service.clusters().update_cluster(update(change, paths)).await.unwrap();
    }
}

#[tokio::test]
async fn a_mirrors_own_properties_do_not_move_its_clusters_credentials() {
    let service = Service::with_clusters().await;
    service.clusters().create_cluster(cluster(SASL)).await.unwrap();
    let mirror = |list: &[(&str, &str)]| {
        let mut request = create_mirror("m");
        let mirror = request.mirror.as_mut().unwrap();
        mirror.source = "clusters/guarded".to_owned();
        mirror.source_properties = properties(list);
        request
    };
    for key in ["bootstrap.servers", "producer.bootstrap.servers"] {
        expect(
            service.mirrors().create_mirror(mirror(&[(key, "evil:9092")])).await,
            Reason::INVALID_FIELD,
            key,
        );
    }
    for moves in [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("consumer.ssl.ca.pem", "x"),
        ("sasl.oauthbearer.token.endpoint.url", "https://evil.example"),
    ] {
        let fields = expect(
            service.mirrors().create_mirror(mirror(&[moves])).await,
            Reason::CREDENTIALS_REQUIRED,
            "clusters/guarded",
        );
        assert_eq!(fields, [format!("mirror.source_properties.{}", moves.0)]);
    }
    service.mirrors().create_mirror(mirror(&[("consumer.fetch.min.bytes", "1")])).await.unwrap();
    let moved = mirror(&[("security.protocol", "SASL_PLAINTEXT")]).mirror.unwrap();
    let update = v1::UpdateMirrorRequest {
        mirror: Some(v1::Mirror { name: "mirrors/m".to_owned(), ..moved }),
        ..Default::default()
    };
    expect(service.mirrors().update_mirror(update).await, Reason::CREDENTIALS_REQUIRED, "security.protocol");
}
