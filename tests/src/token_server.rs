//! An OAuth server for client credentials, as small as it can be: its tokens are unsecured ones, as brokers in tests take them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

/// A request is small, and whoever sends it does so at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whom it gives a token, for which scope, and for how long.
#[derive(Debug, Clone)]
pub struct TokenServerOptions {
    pub client_id: String,
    pub client_secret: String,
    pub scope: String,
    pub lifetime: Duration,
}

/// Runs until the process ends.
pub struct TokenServer {
    url: String,
    given: Arc<AtomicUsize>,
    down: Arc<AtomicBool>,
}

impl TokenServer {
    pub fn start(options: TokenServerOptions) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("the token server needs a port")?;
        let url = format!("http://{}/oauth/token", listener.local_addr()?);
        let given = Arc::new(AtomicUsize::new(0));
        let down = Arc::new(AtomicBool::new(false));
        let (counted, is_down) = (given.clone(), down.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if is_down.load(Ordering::SeqCst) {
                    continue;
                }
                // A client that went away is no reason to stop.
                if let Ok(true) = serve(stream, &options) {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        Ok(Self { url, given, down })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Closes every connection without a word, or answers again.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// How many tokens it has given so far.
    pub fn given(&self) -> usize {
        self.given.load(Ordering::SeqCst)
    }
}

/// Whether a token was given.
fn serve(mut stream: TcpStream, options: &TokenServerOptions) -> Result<bool> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = request(&mut stream)?;
    let login = STANDARD.encode(format!("{}:{}", options.client_id, options.client_secret));
    let form = format!("grant_type=client_credentials&scope={}", options.scope);
    let (status, body) = if !request.contains(&format!("Basic {login}\r\n")) {
        (
            "401 Unauthorized",
            json!({ "error": "invalid_client", "error_description": "no such client or secret" }),
        )
    } else if !request.ends_with(&form) {
        ("400 Bad Request", json!({ "error": "invalid_scope" }))
    } else {
        ("200 OK", json!({ "access_token": token(options), "expires_in": options.lifetime.as_secs() }))
    };
    let body = body.to_string();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())?;
    Ok(status.starts_with("200"))
}

/// Head and body of a request.
fn request(stream: &mut TcpStream) -> Result<String> {
    let mut text = String::new();
    let mut part = [0; 4096];
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                return Ok(text);
            }
        }
        let read = stream.read(&mut part)?;
        anyhow::ensure!(read > 0, "the request ended too soon");
        text.push_str(&String::from_utf8_lossy(&part[..read]));
    }
}

fn token(options: &TokenServerOptions) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let claims = json!({
        "sub": options.client_id,
        "scope": [options.scope],
        "iat": now.as_secs(),
        "exp": (now + options.lifetime).as_secs(),
    });
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(json!({ "alg": "none" })), part(claims))
}
