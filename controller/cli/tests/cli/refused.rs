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
