//! A token server with every answer that one may give.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::kafka::wire::properties::ClientProperties;
use crate::kafka::wire::tokens::FetchedTokens;

/// Answers every request with this, and counts them. The last request's text is kept.
struct Server {
    url: String,
    requests: Arc<AtomicUsize>,
    last: Arc<std::sync::Mutex<String>>,
}

async fn server(answer: impl Fn(usize) -> String + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/oauth/token?tenant=1", listener.local_addr().unwrap());
    let server = Server { url, requests: Arc::default(), last: Arc::default() };
    let (requests, last) = (server.requests.clone(), server.last.clone());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = String::new();
            let mut part = [0; 4096];
            while !text.contains("grant_type") {
                let read = stream.read(&mut part).await.unwrap();
                text.push_str(&String::from_utf8_lossy(&part[..read]));
            }
            *last.lock().unwrap() = text;
            let answer = answer(requests.fetch_add(1, Ordering::SeqCst));
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    server
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn endpoint(url: &str) -> TokenEndpoint {
    TokenEndpoint {
        cluster: "eu".to_owned(),
        uri: parse(url).unwrap(),
        client_id: "me:1".to_owned(),
        client_secret: "hush".to_owned(),
        scope: Some("kafka write".to_owned()),
        audience: None,
        encode_header: false,
        tls: None,
    }
}

#[tokio::test]
async fn client_credentials_are_asked_for_as_the_rfc_has_it() {
    let body = r#"{"access_token":"opaque","expires_in":600,"token_type":"Bearer"}"#;
    let server = server(move |_| http("200 OK", body)).await;
    let token = endpoint(&server.url).fetch().await.unwrap();
    assert_eq!(token.text, "opaque");
    let left = token.expires.duration_since(SystemTime::now()).unwrap();
    assert!(left > Duration::from_secs(590) && left <= Duration::from_secs(600), "{left:?}");
    let request = server.last.lock().unwrap().clone();
    assert!(request.starts_with("POST /oauth/token?tenant=1 HTTP/1.1\r\n"), "{request}");
    for part in [
        "host: 127.0.0.1:",
        &format!("authorization: Basic {}", STANDARD.encode("me:1:hush")),
        "content-type: application/x-www-form-urlencoded",
        "\r\n\r\ngrant_type=client_credentials&scope=kafka+write",
    ] {
        assert!(request.contains(part), "{part} is not in {request}");
    }
    let encoded = TokenEndpoint { encode_header: true, ..endpoint(&server.url) };
    encoded.fetch().await.unwrap();
    let request = server.last.lock().unwrap().clone();
    assert!(request.contains(&STANDARD.encode("me%3A1:hush")), "{request}");
}

#[tokio::test]
async fn every_refusal_names_the_endpoint_and_what_it_said() {
    let huge = "x".repeat(MAX_ANSWER + 1);
    for (answer, words, retriable) in [
        (
            http("401 Unauthorized", r#"{"error":"invalid_client","error_description":"no such secret"}"#),
            "401 Unauthorized (invalid_client: no such secret): check the client's id",
            false,
        ),
        (http("401 Unauthorized", r#"{"error":"hush is wrong"}"#), "401 Unauthorized: check", false),
        (
            http("404 Not Found", "<private>"),
            "404 Not Found: check sasl.oauthbearer.token.endpoint.url",
            false,
        ),
        (http("302 Found", ""), "302 Found", false),
        (http("503 Service Unavailable", ""), "503", true),
        (http("200 OK", r#"{"token":"x"}"#), "no access_token", false),
        (http("200 OK", "<private>"), "no access_token", false),
        (http("200 OK", r#"{"access_token":"a\u0001b"}"#), "characters", false),
        (http("200 OK", &huge), "can't be read", true),
        ("SSH-2.0\r\n".to_owned(), "failed", true),
    ] {
        let server = server(move |_| answer.clone()).await;
        let error = endpoint(&server.url).fetch().await.err().expect(words);
        let port = server.url.trim_start_matches("http://").split('/').next().unwrap();
        let begins = format!("cluster eu: no token from http://{port}/oauth/token: ");
        assert!(error.message.starts_with(&begins) && error.message.contains(words), "{words}: {error}");
        assert_eq!(error.retriable, retriable, "{error}");
        for hidden in ["hush", "private", "tenant"] {
            assert!(!error.message.contains(hidden), "{error}");
        }
    }
    let error = endpoint("http://127.0.0.1:1/t").fetch().await.err().unwrap();
    assert!(error.retriable && error.message.contains("can't be reached"), "{error}");
}

#[tokio::test]
async fn a_silent_server_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let begin = std::time::Instant::now();
    let error = endpoint(&url).fetch().await.err().unwrap();
    assert!(error.retriable && error.message.contains("within 10 s"), "{error}");
    assert!(begin.elapsed() < TIMEOUT + Duration::from_secs(5));
}

fn tokens(url: &str) -> FetchedTokens {
    FetchedTokens::new(endpoint(url))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_is_shared_and_replaced_before_it_expires() {
    let answer = |n| http("200 OK", &format!(r#"{{"access_token":"t{n}","expires_in":"2"}}"#));
    let server = server(answer).await;
    let tokens = tokens(&server.url);
    let many = futures::future::join_all((0..20).map(|_| tokens.token())).await;
    assert!(many.into_iter().all(|token| token.unwrap().text == "t0"), "one request for all");
    // librdkafka's threads, and callbacks that run within a runtime.
    assert_eq!(tokens.token_blocking().unwrap().text, "t0");
    tokio::time::sleep(Duration::from_millis(1_650)).await;
    assert_eq!(tokens.token_blocking().unwrap().text, "t1", "at 80 % of its life");
    tokens.refused("t0");
    assert_eq!(tokens.token().await.unwrap().text, "t1", "another one was refused");
    tokens.refused("t1");
    assert_eq!(tokens.token().await.unwrap().text, "t2");
    assert_eq!(server.requests.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_failing_server_is_not_asked_at_once_again_and_the_old_token_serves_while_it_counts() {
    let answer = |n| match n {
        0 => http("200 OK", r#"{"access_token":"t0","expires_in":10}"#),
        _ => http("500 Internal Server Error", ""),
    };
    let server = server(answer).await;
    let tokens = tokens(&server.url);
    assert_eq!(tokens.token().await.unwrap().text, "t0");
    tokio::time::sleep(Duration::from_millis(8_100)).await;
    assert_eq!(tokens.token().await.unwrap().text, "t0", "the old one, for it counts yet");
    assert_eq!(server.requests.load(Ordering::SeqCst), 2);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let error = tokens.token().await.err().expect("it is nearly over");
    assert!(error.message.contains("500"), "{error}");
    assert_eq!(server.requests.load(Ordering::SeqCst), 2, "the failure counts for 2 s");
}

/// A server with a certificate of its own for 127.0.0.1; that certificate as PEM.
async fn tls_server() -> (String, String) {
    let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key)
            .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/token", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(tcp).await else { continue };
            let mut part = [0; 4096];
            let mut text = String::new();
            while !text.contains("grant_type") {
                let read = stream.read(&mut part).await.unwrap();
                text.push_str(&String::from_utf8_lossy(&part[..read]));
            }
            let answer = http("200 OK", r#"{"access_token":"over-tls","expires_in":60}"#);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, issued.cert.pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_servers_certificate_is_checked() {
    let (url, authority) = tls_server().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &authority).unwrap();
    let location = file.path().display().to_string();
    let cluster = |more: &[(&str, &str)]| {
        let login = [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "OAUTHBEARER"),
            ("sasl.oauthbearer.token.endpoint.url", url.as_str()),
            ("sasl.oauthbearer.client.id", "me"),
            ("sasl.oauthbearer.client.secret", "hush"),
        ];
        let properties = login.iter().chain(more).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let cluster = twinlog_proto::model::Cluster {
            id: twinlog_proto::id::ClusterId::new("eu").unwrap(),
            bootstrap_servers: vec!["b1:9092".to_owned()],
            properties: properties.collect(),
        };
        ClientProperties::resolve(&cluster).unwrap()
    };
    for trusted in [("https.ca.pem", authority.as_str()), ("https.ca.location", location.as_str())] {
        let token = cluster(&[trusted]).oauth_token().unwrap();
        assert_eq!(token.token, "over-tls");
    }
    // The cluster's own authorities count, too, beside the system's.
    let shared = cluster(&[("security.protocol", "SASL_SSL"), ("ssl.ca.pem", &authority)]);
    assert_eq!(shared.oauth_token().unwrap().token, "over-tls");
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap().cert.pem();
    let error = cluster(&[("https.ca.pem", &other)]).oauth_token().err().unwrap().to_string();
    assert!(error.contains(&url) && error.contains("https.ca.location"), "{error}");
}

#[test]
fn a_lifetime_beyond_all_time_is_none() {
    let endpoint = endpoint("http://localhost/token");
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"exp":1e19}"#);
    for answer in [
        r#"{"access_token":"opaque","expires_in":1e19}"#.to_owned(),
        format!(r#"{{"access_token":"a.{claims}.c"}}"#),
    ] {
        let asked = SystemTime::now();
        let token = endpoint.token(asked, StatusCode::OK, answer.as_bytes()).unwrap();
        assert!(token.expires <= SystemTime::now() + UNKNOWN_LIFETIME, "{answer}");
    }
}

/// What a token server answers: the first byte says whether it was a success.
#[test]
fn fuzz_tokens() {
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"exp":1900000000,"sub":"me"}"#);
    let seeds = vec![
        br#"0{"access_token":"opaque","expires_in":600,"token_type":"Bearer"}"#.to_vec(),
        format!(r#"0{{"access_token":"a.{claims}.c"}}"#).into_bytes(),
        br#"1{"error":"invalid_client","error_description":"no such client"}"#.to_vec(),
    ];
    let endpoint = endpoint("http://localhost/token");
    let memory = |bytes: usize| (64 << 10) + bytes * 200;
    crate::fuzz::attack(crate::fuzz::Target { name: "tokens", seeds, memory, repair: None }, |input| {
        let Some((status, body)) = input.split_first() else { return String::new() };
        let status = if status % 2 == 0 { StatusCode::OK } else { StatusCode::BAD_REQUEST };
        match endpoint.token(SystemTime::now(), status, body) {
            Ok(token) => format!("{}", token.subject.is_some()),
            Err(error) => {
                assert!(!error.message.contains("hush"));
                error.message
            }
        }
    });
}
