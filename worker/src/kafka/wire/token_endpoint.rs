//! A token from an OAuth server, by client credentials (RFC 6749 4.4): one request over HTTP, bounded in time and size.
//!
//! librdkafka could fetch it only with libcurl, which it is built without; and so both kinds of clients share one way, and one token.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use twinlog_proto::reason::Reason;

use super::dial::dial;
use super::error::KafkaError;
use super::token::Token;

/// From the connection to the end of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Of an answer. Tokens have a few KiB.
const MAX_ANSWER: usize = 256 << 10;
/// How long a token counts where neither it nor the answer says so.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(300);
/// The server's own words in an error, characters.
const MAX_WORDS: usize = 200;

/// Whom to ask for a token, and as whom.
#[derive(PartialEq)]
pub(in crate::kafka) struct TokenEndpoint {
    /// The cluster that the token is for, for errors.
    pub(in crate::kafka) cluster: String,
    pub(in crate::kafka) uri: Uri,
    pub(in crate::kafka) client_id: String,
    pub(in crate::kafka) client_secret: String,
    pub(in crate::kafka) scope: Option<String>,
    pub(in crate::kafka) audience: Option<String>,
    /// Id and secret are encoded before they go into the header, as the RFC has it and Kafka by default hasn't.
    pub(in crate::kafka) encode_header: bool,
    /// Where the URL is https.
    pub(in crate::kafka) tls: Option<Trust>,
}

/// Which servers are trusted.
#[derive(Clone)]
pub(in crate::kafka) struct Trust {
    /// Authorities that were given, in PEM; `config` is made of them.
    pub(in crate::kafka) authorities: String,
    pub(in crate::kafka) config: Arc<rustls::ClientConfig>,
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.authorities == other.authorities
    }
}

/// The URL of a token endpoint.
///
/// # Errors
/// What it must look like.
pub(in crate::kafka) fn parse(url: &str) -> Result<Uri, &'static str> {
    if url.starts_with("file:") {
        return Err("a token in a file is given with sasl.oauthbearer.token=${file:/path}");
    }
    let uri: Uri = url.trim().parse().map_err(|_| "it is no URL")?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
            Err("a user name doesn't belong into it: set the client's id and secret")
        }
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err("it must be https://host/path, or http"),
    }
}

impl TokenEndpoint {
    /// A new token.
    ///
    /// # Errors
    /// The endpoint and what it answered, without what is secret. Retriable where it can't be asked, or fails itself.
    pub(in crate::kafka) async fn fetch(&self) -> Result<Token, KafkaError> {
        let asked = SystemTime::now();
        let answer = tokio::time::timeout(TIMEOUT, self.ask()).await;
        let (status, body) = answer.unwrap_or_else(|_| {
            Err(self.away(&format!("it did not answer within {} s", TIMEOUT.as_secs())))
        })?;
        self.token(asked, status, &body)
    }

    /// What the answer gives.
    fn token(&self, asked: SystemTime, status: StatusCode, body: &[u8]) -> Result<Token, KafkaError> {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        if !status.is_success() {
            return Err(self.refused(status, &body));
        }
        let Some(text) = body["access_token"].as_str().filter(|token| !token.is_empty()) else {
            return Err(self.wrong("its answer holds no access_token: is it the URL of a token endpoint?"));
        };
        if text.chars().any(char::is_control) {
            return Err(self.wrong("the token that it gave holds characters that no token has"));
        }
        let token = Token::read(text, UNKNOWN_LIFETIME);
        // By our own clock, which may differ from theirs.
        let expires = seconds(&body["expires_in"]).and_then(|lifetime| asked.checked_add(lifetime));
        let expires = expires.unwrap_or(token.expires);
        if expires <= SystemTime::now() {
            return Err(self.wrong("the token that it gave has expired already: compare the clocks"));
        }
        Ok(Token { expires, ..token })
    }

    async fn ask(&self) -> Result<(StatusCode, Bytes), KafkaError> {
        let host = self.uri.host().unwrap_or_default();
        let port = self.uri.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let unreachable = |e: io::Error| self.away(&format!("it can't be reached: {e}"));
        let tcp = dial(&format!("{host}:{port}")).await.map_err(unreachable)?;
        let Some(tls) = &self.tls else { return self.exchange(tcp).await };
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| self.wrong("its host is not a name that TLS can check"))?;
        let stream = TlsConnector::from(tls.config.clone()).connect(name, tcp).await.map_err(|e| {
            let remedy = "name the authority of its certificate with https.ca.location";
            KafkaError::new(Reason::TLS_FAILED, self.text(&format!("TLS failed: {e}; {remedy}")))
        })?;
        self.exchange(stream).await
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
    ) -> Result<(StatusCode, Bytes), KafkaError> {
        let broken = |e: hyper::Error| self.away(&format!("the request failed: {e}"));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let request = self.request()?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(broken)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|e| self.away(&format!("its answer can't be read: {e}")))?;
            Ok((status, body.to_bytes()))
        };
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            // The answer may be there when the server has closed.
            _ = connection => exchange.await,
        }
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, KafkaError> {
        let part = |text: &str| if self.encode_header { encoded(text) } else { text.to_owned() };
        let login = STANDARD.encode(format!("{}:{}", part(&self.client_id), part(&self.client_secret)));
        let mut form = "grant_type=client_credentials".to_owned();
        for (name, value) in [("scope", &self.scope), ("audience", &self.audience)] {
            if let Some(value) = value {
                form.push_str(&format!("&{name}={}", encoded(value)));
            }
        }
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        Request::post(path)
            .header(HOST, authority)
            .header(AUTHORIZATION, format!("Basic {login}"))
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(form))
            .map_err(|_| self.wrong("no request can be made for this URL"))
    }

    /// Of an answer only the fields of OAuth are shown: whatever else is there belongs to somebody else.
    fn refused(&self, status: StatusCode, body: &Value) -> KafkaError {
        let words = ["error", "error_description"].map(|field| body[field].as_str().unwrap_or_default());
        let said: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let said: String = said.join(": ").chars().take(MAX_WORDS).collect();
        let quotes_secret = said.contains(&self.client_secret);
        let said = if said.is_empty() || quotes_secret { String::new() } else { format!(" ({said})") };
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return self.away(&format!("it answered {status}{said}"));
        }
        let remedy = match status {
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                ": check the client's id, secret and scope"
            }
            _ => ": check sasl.oauthbearer.token.endpoint.url",
        };
        self.wrong(&format!("it answered {status}{said}{remedy}"))
    }

    fn wrong(&self, what: &str) -> KafkaError {
        KafkaError::new(Reason::AUTHENTICATION_FAILED, self.text(what))
    }

    /// Something of our own failed.
    pub(in crate::kafka) fn failed(&self, what: &str) -> KafkaError {
        KafkaError::retriable(Reason::INTERNAL, self.text(what))
    }

    /// Waiting may help.
    fn away(&self, what: &str) -> KafkaError {
        KafkaError::retriable(Reason::AUTHENTICATION_FAILED, self.text(what))
    }

    /// A query may hold secrets.
    fn text(&self, what: &str) -> String {
        let (scheme, authority) = (self.uri.scheme_str().unwrap_or_default(), self.uri.authority());
        let authority = authority.map_or("", |authority| authority.as_str());
        format!("cluster {}: no token from {scheme}://{authority}{}: {what}", self.cluster, self.uri.path())
    }
}

/// A number, also where it is written as a text, as some servers do.
fn seconds(value: &Value) -> Option<Duration> {
    let number = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
    Duration::try_from_secs_f64(number).ok().filter(|lifetime| !lifetime.is_zero())
}

/// As `application/x-www-form-urlencoded` has it.
fn encoded(text: &str) -> String {
    let byte = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => char::from(b).to_string(),
        b' ' => "+".to_owned(),
        _ => format!("%{b:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests;
