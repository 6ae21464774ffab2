//! What the port serves besides gRPC: probes, gRPC-Web, health, reflection.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use twinlog_controller::server::ServerConfig;

use crate::service::Service;

/// One HTTP/1.1 exchange; the whole answer as text.
async fn http(service: &Service, head: &str, body: &[u8]) -> String {
    let address = service.url.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head =
        format!("{head}\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn probes_answer_over_plain_http() {
    let service = Service::start().await;
    for path in ["/healthz", "/readyz"] {
        let answer = http(&service, &format!("GET {path} HTTP/1.1"), b"").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    let answer = http(&service, "GET /nothing HTTP/1.1", b"").await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[tokio::test]
async fn a_browser_calls_over_grpc_web_from_an_allowed_origin() {
    let cors_origins = vec!["https://console.example".parse().unwrap()];
    let service = Service::start_with(ServerConfig { cors_origins, ..ServerConfig::default() }).await;
    let head = "POST /twinlog.v1.MirrorService/ListMirrors HTTP/1.1\r\ncontent-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\norigin: https://console.example";
    let answer = http(&service, head, &[0; 5]).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("grpc-status:0"), "{answer}");
    assert!(answer.contains("access-control-allow-origin: https://console.example"), "{answer}");
}

const LIST: &str = "POST /twinlog.v1.MirrorService/ListMirrors HTTP/1.1\r\ncontent-type: application/grpc-web+proto\r\nx-grpc-web: 1";

#[tokio::test]
async fn pages_of_other_origins_and_other_names_are_refused_before_anything_is_done() {
    let cors_origins = vec!["https://console.example".parse().unwrap()];
    let hosts = Some(vec!["box".to_owned()]);
    let service = Service::start_with(ServerConfig { cors_origins, hosts, ..ServerConfig::default() }).await;
    for origin in ["https://evil.example", "null"] {
        let answer = http(&service, &format!("{LIST}\r\norigin: {origin}"), &[0; 5]).await;
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("--cors-origin"), "{answer}");
    }
    for (head, body) in [(LIST, &[0; 5][..]), ("GET /metrics HTTP/1.1", b""), ("GET /readyz HTTP/1.1", b"")] {
        // Two of them are a mistake of the caller's; this port looks at the first.
        let answer = http(&service, &format!("{head}\r\nhost: evil.example"), body).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let answer = http(&service, "GET /readyz HTTP/1.1", b"").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn without_an_allowed_origin_there_is_no_grpc_web() {
    let service = Service::start().await;
    let answer = http(&service, LIST, &[0; 5]).await;
    assert!(!answer.contains("grpc-status:0"), "{answer}");
    let answer = http(&service, &format!("{LIST}\r\norigin: https://console.example"), &[0; 5]).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[tokio::test]
async fn health_and_reflection_are_on() {
    let service = Service::start().await;
    let mut health = HealthClient::new(service.channel.clone());
    let serving = async || {
        let answer = health.check(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
        answer.status() == ServingStatus::Serving
    };
    service.until("it is healthy", serving).await;

    let request = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut client = ServerReflectionClient::new(service.channel.clone());
    let answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}")
    };
    assert!(list.service.iter().any(|service| service.name == "twinlog.v1.MirrorService"), "{list:?}");
}
