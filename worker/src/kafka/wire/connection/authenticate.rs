//! SASL on a new connection: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;
use twinlog_proto::reason::Reason;

use super::Connection;
use crate::kafka::wire::error::KafkaError;
use crate::kafka::wire::properties::{ClientProperties, Sasl, TokenSource};
use crate::kafka::wire::scram::{Exchange, Hash};

/// Random bytes in a SCRAM nonce.
const NONCE_BYTES: usize = 24;
/// Part of a session's lifetime for which its connection is used: it is replaced before the broker would close it.
const USED_PART_OF_LIFETIME: f64 = 0.85;

/// Authenticates where `security.protocol` asks for it. Answers how long the connection may be used, if the broker limits that.
pub(super) async fn authenticate(connection: &mut Connection) -> Result<Option<Duration>, KafkaError> {
    let properties = connection.properties().clone();
    let Some(sasl) = properties.sasl() else { return Ok(None) };
    handshake(connection, &properties, sasl.mechanism()).await?;
    let last = match sasl {
        Sasl::Plain { username, password } => {
            send(connection, &properties, format!("\0{username}\0{password}").into_bytes()).await?
        }
        Sasl::ScramSha256 { username, password } => {
            scram(connection, &properties, Hash::Sha256, username, password).await?
        }
        Sasl::ScramSha512 { username, password } => {
            scram(connection, &properties, Hash::Sha512, username, password).await?
        }
        Sasl::OAuthBearer(source) => oauth_bearer(connection, &properties, source).await?,
    };
    let lifetime = u64::try_from(last.session_lifetime_ms).ok().filter(|ms| *ms > 0);
    Ok(lifetime.map(|ms| Duration::from_millis(ms).mul_f64(USED_PART_OF_LIFETIME)))
}

async fn handshake(
    connection: &mut Connection,
    properties: &ClientProperties,
    mechanism: &'static str,
) -> Result<(), KafkaError> {
    let build = |_| Ok(SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism)));
    let (_, answer) = connection.call::<SaslHandshakeRequest>(&build).await?;
    if answer.error_code == 0 {
        return Ok(());
    }
    let offered: Vec<&str> = answer.mechanisms.iter().map(|m| &**m).collect();
    let why = match offered.as_slice() {
        [] => "its listener doesn't use SASL: set security.protocol to PLAINTEXT or SSL".to_owned(),
        some => format!("it offers only {}", some.join(", ")),
    };
    Err(refused(connection, properties, &why))
}

async fn send(
    connection: &mut Connection,
    properties: &ClientProperties,
    message: Vec<u8>,
) -> Result<SaslAuthenticateResponse, KafkaError> {
    let message = Bytes::from(message);
    let build = |_| Ok(SaslAuthenticateRequest::default().with_auth_bytes(message.clone()));
    let (_, answer) = connection.call::<SaslAuthenticateRequest>(&build).await?;
    if answer.error_code == 0 {
        return Ok(answer);
    }
    let text = answer.error_message.as_deref().filter(|m| !m.is_empty());
    Err(refused(connection, properties, text.unwrap_or("it gives no reason")))
}

async fn scram(
    connection: &mut Connection,
    properties: &ClientProperties,
    hash: Hash,
    username: &str,
    password: &str,
) -> Result<SaslAuthenticateResponse, KafkaError> {
    let nonce = URL_SAFE_NO_PAD.encode(rand::random::<[u8; NONCE_BYTES]>());
    let exchange = Exchange::new(hash, username, password, nonce);
    let answer = send(connection, properties, exchange.first().into_bytes()).await?;
    let server_first = String::from_utf8_lossy(&answer.auth_bytes).into_owned();
    let proof = tokio::task::spawn_blocking(move || exchange.prove(&server_first));
    let proof = proof.await.expect("the proof is computed without a panic");
    let (last, proven) = proof.map_err(|why| refused(connection, properties, &why))?;
    let answer = send(connection, properties, last.into_bytes()).await?;
    let verified = proven.verify(&String::from_utf8_lossy(&answer.auth_bytes));
    verified.map_err(|why| refused(connection, properties, &why))?;
    Ok(answer)
}

async fn oauth_bearer(
    connection: &mut Connection,
    properties: &ClientProperties,
    source: &TokenSource,
) -> Result<SaslAuthenticateResponse, KafkaError> {
    let token = source.token().await?;
    let message = format!("n,,\x01auth=Bearer {}\x01\x01", token.text);
    let answer = send(connection, properties, message.into_bytes()).await;
    if answer
        .as_ref()
        .map_or_else(|e| e.reason == Reason::AUTHENTICATION_FAILED, |a| !a.auth_bytes.is_empty())
    {
        source.refused(&token);
    }
    let answer = answer?;
    if answer.auth_bytes.is_empty() {
        return Ok(answer);
    }
    // The broker explains its refusal, and ends the exchange when it has been heard.
    let why = String::from_utf8_lossy(&answer.auth_bytes).into_owned();
    match send(connection, properties, b"\x01".to_vec()).await {
        Err(error) if error.reason != Reason::AUTHENTICATION_FAILED => Err(error),
        _ => Err(refused(connection, properties, &why)),
    }
}

fn refused(connection: &Connection, properties: &ClientProperties, why: &str) -> KafkaError {
    let cluster = properties.cluster_id();
    let mechanism = properties.sasl_mechanism().unwrap_or_default();
    let who = properties.principal().unwrap_or_else(|| "this client".to_owned());
    KafkaError::new(
        Reason::AUTHENTICATION_FAILED,
        format!(
            "cluster {cluster}: broker {} did not authenticate {who} with {mechanism}: {why}",
            connection.peer()
        ),
    )
}
