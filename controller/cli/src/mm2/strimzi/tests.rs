//! Resources of both versions, as Strimzi's examples write them.

use twinlog_proto::v1;

use super::*;
use crate::mm2::{Options, Plan, kubernetes, plan};

const V1BETA2: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: something}
---
apiVersion: kafka.strimzi.io/v1beta2
kind: KafkaMirrorMaker2
metadata:
  name: my-mirror-maker-2
spec:
  version: 4.0.0
  replicas: 3
  connectCluster: "cluster-b"
  clusters:
  - alias: "cluster-a"
    bootstrapServers: cluster-a-kafka-bootstrap:9093
    tls:
      trustedCertificates:
        - secretName: cluster-a-cluster-ca-cert
          pattern: "*.crt"
        - secretName: extra
          certificate: root.pem
    authentication:
      type: tls
      certificateAndKey: {secretName: user-a, certificate: user.crt, key: user.key}
  - alias: "cluster-b"
    bootstrapServers: cluster-b-kafka-bootstrap:9094
    authentication:
      type: scram-sha-512
      username: mirror
      passwordSecret: {secretName: user-b, password: pw}
    config:
      config.storage.replication.factor: -1
      producer.linger.ms: 7
      exactly.once.source.support: disabled
  mirrors:
  - sourceCluster: "cluster-a"
    targetCluster: "cluster-b"
    sourceConnector:
      tasksMax: 10
      autoRestart: {enabled: true}
      config:
        replication.factor: -1
        offset-syncs.topic.replication.factor: -1
        sync.topic.acls.enabled: "false"
        refresh.topics.interval.seconds: 60
        consumer.fetch.min.bytes: 100
        producer.override.linger.ms: 9
    checkpointConnector:
      config:
        checkpoints.topic.replication.factor: -1
        sync.group.offsets.enabled: true
    topicsPattern: "orders|payments"
    topicsExcludePattern: ".*-tmp"
    groupsPattern: ".*"
"#;

fn made(yaml: &str) -> Plan {
    plan::of_views(
        &kubernetes::parse(yaml, Path::new("/etc/twinlog/secrets")).unwrap(),
        &Options { take_over: true, ..Options::default() },
    )
}

#[test]
fn a_v1beta2_resource_is_clusters_and_a_mirror() {
    let plan = made(V1BETA2);
    assert_eq!(plan.entries(Effect::Invalid).count(), 0, "{:?}", plan.report);
    let property = |i: usize, key: &str| plan.clusters[i].properties.get(key).cloned().unwrap_or_default();
    assert_eq!(plan.clusters[0].bootstrap_servers, ["cluster-a-kafka-bootstrap:9093"]);
    assert_eq!(property(0, "security.protocol"), "SSL");
    assert_eq!(
        property(0, "ssl.truststore.certificates"),
        "${file:/etc/twinlog/secrets/cluster-a-cluster-ca-cert/ca.crt}\n${file:/etc/twinlog/secrets/extra/root.pem}"
    );
    assert_eq!(property(0, "ssl.keystore.key"), "${file:/etc/twinlog/secrets/user-a/user.key}");
    assert_eq!(property(1, "security.protocol"), "SASL_PLAINTEXT");
    assert_eq!(property(1, "sasl.mechanism"), "SCRAM-SHA-512");
    assert_eq!(property(1, "sasl.password"), "${file:/etc/twinlog/secrets/user-b/pw}");
    assert_eq!(property(1, "producer.linger.ms"), "7");
    let [mirror] = &plan.mirrors[..] else { panic!("{:?}", plan.mirrors) };
    assert_eq!(mirror.name, "mirrors/cluster-a-cluster-b");
    assert_eq!(
        (mirror.topics.as_slice(), mirror.topics_exclude.as_slice()),
        (&["orders|payments".to_owned()][..], &[".*-tmp".to_owned()][..])
    );
    assert_eq!(mirror.guarantee(), v1::Guarantee::AtLeastOnce);
    assert_eq!(mirror.heartbeats.unwrap().enabled, Some(false), "no heartbeat connector, no heartbeats");
    assert!(mirror.sync_group_offsets);
    assert_eq!(mirror.acl_sync.unwrap().enabled, Some(false));
    assert_eq!(mirror.refresh.unwrap().topics.unwrap().seconds, 60);
    assert_eq!(mirror.source_properties["consumer.fetch.min.bytes"], "100");
    assert_eq!(mirror.target_properties["producer.linger.ms"], "9");
    assert_eq!(mirror.desired_state(), v1::DesiredState::Running);
    let take_over = mirror.take_over.clone().unwrap();
    assert_eq!(take_over.connector, "cluster-a->cluster-b.MirrorSourceConnector");
    assert_eq!((take_over.group.as_str(), take_over.offsets_topic.as_str()), (GROUP, OFFSETS_TOPIC));
    twinlog_proto::model::Mirror::parse(mirror).unwrap();

    let effect = |key: &str| {
        plan.report.iter().find(|e| e.key == key).unwrap_or_else(|| panic!("{key}: {:?}", plan.report)).effect
    };
    assert_eq!(effect("spec.replicas"), Effect::Ignored);
    assert_eq!(effect("spec.mirrors[0].sourceConnector.tasksMax"), Effect::Ignored);
    assert_eq!(effect("spec.mirrors[0].sourceConnector.config.replication.factor"), Effect::Honoured);
    assert_eq!(effect("spec.clusters[0].tls.trustedCertificates"), Effect::Different);
    assert!(plan.notes.join("").contains("/etc/twinlog/secrets/<secret>/<key>"));
}

#[test]
fn a_v1_resource_has_its_clusters_where_they_are_used() {
    let plan = made(
        r#"
apiVersion: kafka.strimzi.io/v1
kind: KafkaMirrorMaker2
metadata: {name: mm}
spec:
  replicas: 1
  target:
    alias: target
    bootstrapServers: t:9092
    groupId: my-group
    configStorageTopic: my-configs
    offsetStorageTopic: my-offsets
    statusStorageTopic: my-status
  mirrors:
  - source: {alias: one.two, bootstrapServers: "o:9092"}
    sourceConnector: {state: paused, config: {replication.policy.class: org.apache.kafka.connect.mirror.IdentityReplicationPolicy}}
  - source: {alias: other, bootstrapServers: "p:9092", authentication: {type: kerberos}}
    sourceConnector: {config: {offset.lag.mx: 1}}
    checkpointConnector: {}
"#,
    );
    assert_eq!(
        plan.clusters.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
        ["clusters/one.two", "clusters/other", "clusters/target"]
    );
    assert_eq!(
        plan.mirrors.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(),
        ["mirrors/one_two-target", "mirrors/other-target"]
    );
    let first = &plan.mirrors[0];
    assert_eq!(first.desired_state(), v1::DesiredState::Paused);
    assert_eq!(first.naming.as_ref().unwrap().kind(), v1::naming::Kind::Identity);
    assert_eq!((first.topics.as_slice(), first.groups.len()), (&[".*".to_owned()][..], 0));
    assert_eq!(first.checkpoints.unwrap().enabled, Some(false), "no checkpoint connector");
    let take_over = first.take_over.clone().unwrap();
    assert_eq!((take_over.group.as_str(), take_over.offsets_topic.as_str()), ("my-group", "my-offsets"));
    assert_eq!(plan.mirrors[1].groups, [".*"]);
    assert!(
        plan.entries(Effect::Invalid)
            .any(|e| e.key == "spec.mirrors[1].source.authentication.type" && e.why.contains("kerberos"))
    );
    assert!(
        plan.entries(Effect::Unknown)
            .any(|e| e.says().contains("sourceConnector.config.offset.lag.max instead")),
        "{:?}",
        plan.report
    );
}

#[test]
fn what_is_no_such_resource_is_said() {
    let error = |yaml: &str| kubernetes::parse(yaml, Path::new("/s")).unwrap_err();
    assert!(error("kind: Kafka\n").contains("no resource of kind KafkaMirrorMaker2"));
    assert!(error("a: [").contains("not YAML"));
    assert!(
        error("apiVersion: kafka.strimzi.io/v2\nkind: KafkaMirrorMaker2\nspec: {}\n")
            .contains("kafka.strimzi.io/v2")
    );
    let no_target = "apiVersion: kafka.strimzi.io/v1\nkind: KafkaMirrorMaker2\nspec: {mirrors: [{source: {alias: a, bootstrapServers: 'a:1'}}]}\n";
    assert!(error(no_target).contains("spec.target"));
    let no_alias = no_target.replace("alias: a, ", "");
    assert!(error(&no_alias).contains("alias"), "{}", error(&no_alias));
    let no_user = no_target.replace("'a:1'", "'a:1', authentication: {type: plain}");
    assert!(error(&no_user).contains("authentication of type plain needs"), "{}", error(&no_user));
}

#[test]
fn a_misspelt_field_of_a_cluster_is_no_secret() {
    let resource =
        kubernetes::parse(&V1BETA2.replacen("    tls:\n", "    tsl:\n", 1), Path::new("/secrets")).unwrap();
    let found = resource.report.iter().find(|entry| entry.key == "spec.clusters[0].tsl");
    assert_eq!(found.map(|entry| entry.effect), Some(Effect::Unknown));
}
