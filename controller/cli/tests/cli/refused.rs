//! What the controller refuses, as the command line says it.

use crate::cli::{fails, out};
use crate::service::{Service, create_cluster};

const PASSWORD: &str = "${file:/etc/twinlog/secrets/a}";

#[tokio::test]
async fn names_that_can_not_be_are_said() {
    let service = Service::with_clusters().await;
    let (code, said) =
        fails(&service, &["cluster", "add", "c", "--bootstrap-servers", "http://a:9092"]).await;
    assert!(code == 2 && said.contains("leave out http://"), "{code} {said}");
    let (code, said) = fails(&service, &["cluster", "add", "..", "--bootstrap-servers", "a:9092"]).await;
    assert!(code == 2 && said.contains("\"..\""), "{code} {said}");
    let create = ["mirror", "create", "m", "--source", "a", "--target", "b", "--rename", "x=b/ö"];
    let (code, said) = fails(&service, &create).await;
    assert!(code == 2 && said.contains("naming.map") && said.contains("b/ö"), "{code} {said}");
}

/// People type flags, not fields.
#[tokio::test]
async fn refusals_name_the_flag_and_what_to_do() {
    let service = Service::with_clusters().await;
    let create = ["mirror", "create", "m", "--source", "a", "--target", "b", "--topics"];
    for (args, says) in [
        (&[&create[..], &["a["]].concat()[..], "error: --topics (mirror.topics[0]): pattern \"a[\""),
        (
            &[&create[..], &["a", "--target-latency", "1ms"]].concat(),
            "error: --target-latency (mirror.target_latency)",
        ),
        (
            &["mirror", "create", "M!", "--source", "a", "--target", "b", "--topics", "a"],
            "error: ID (mirror_id)",
        ),
        (
            &["cluster", "add", "c", "--bootstrap-servers", "c:1", "--property", "fetch.max.bytes=abc"],
            "error: --property, --properties-file (cluster.properties.fetch.max.bytes): \"abc\" is not a whole number: give one",
        ),
        (
            &["cluster", "add", "c", "--bootstrap-servers", "c"],
            "error: --bootstrap-servers (cluster.bootstrap_servers[0])",
        ),
    ] {
        let (code, said) = fails(&service, args).await;
        assert!(code == 2 && said.starts_with(says) && said.contains("\nnext: "), "{args:?}: {code} {said}");
    }
    out(&service, &[&create[..], &["a"]].concat()).await;
    let (code, said) =
        fails(&service, &["mirror", "update", "m", "--exclude", "x,y(", "--groups", "("]).await;
    assert!(code == 2 && said.contains("\n  --exclude (mirror.topics_exclude"), "{said}");
    assert!(said.contains("\n  --groups (mirror.groups[0])"), "{said}");
}

#[tokio::test]
async fn the_command_line_does_not_give_credentials_again_unasked() {
    let service = Service::start().await;
    let mut request = create_cluster("guarded");
    request.cluster.as_mut().unwrap().properties = [
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "ann"),
        ("sasl.password", PASSWORD),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    service.clusters().create_cluster(request).await.unwrap();
    let elsewhere =
        ["cluster", "update", "guarded", "--bootstrap-servers", "new:1", "--property", "client.id=x"];
    let (code, said) = fails(&service, &elsewhere).await;
    assert!(code == 2 && said.contains("CREDENTIALS_REQUIRED") && said.contains("host:9092"), "{said}");
    assert!(said.contains("next: repeat it with the credentials: --property"), "{said}");
    // The remedy that was printed.
    let password = format!("sasl.password={PASSWORD}");
    let again = [&elsewhere[..], &["--property", &password]].concat();
    assert_eq!(out(&service, &again).await, "cluster guarded changed: bootstrap_servers, properties\n");
}
