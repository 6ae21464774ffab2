//! Fetched OAUTHBEARER tokens: the one that a cluster's clients share until it is nearly over.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::error::KafkaError;
use super::token::Token;
use super::token_endpoint::TokenEndpoint;

/// Part of a token's lifetime after which a new one is fetched.
const FRESH: f64 = 0.8;
/// Part for which it is given when no new one can be had.
const USABLE: f64 = 0.95;
/// A failure counts for all who ask so soon after it.
const FAILURE_COUNTS: Duration = Duration::from_secs(2);

/// Tokens of one endpoint for one client, fetched when they are asked for.
pub(in crate::kafka) struct FetchedTokens {
    endpoint: TokenEndpoint,
    state: Mutex<State>,
    /// Held by the one who fetches, whichever runtime that is in.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    failed: Option<(Instant, KafkaError)>,
}

struct Held {
    token: Token,
    since: SystemTime,
}

impl Held {
    fn is_within(&self, part: f64, now: SystemTime) -> bool {
        let lifetime = self.token.expires.duration_since(self.since).unwrap_or_default();
        now >= self.since && now < self.since + lifetime.mul_f64(part)
    }
}

/// What it is made of is the same: a token is no property.
impl PartialEq for FetchedTokens {
    fn eq(&self, other: &Self) -> bool {
        self.endpoint == other.endpoint
    }
}

impl Eq for FetchedTokens {}

impl FetchedTokens {
    pub(in crate::kafka) fn new(endpoint: TokenEndpoint) -> Self {
        Self { endpoint, state: Mutex::default(), fetching: tokio::sync::Mutex::default() }
    }

    /// The token that is held, or a new one. One is fetched at a time; while the old one will do, nobody waits for it.
    pub(in crate::kafka) async fn token(&self) -> Result<Token, KafkaError> {
        if let Some(token) = self.held(FRESH) {
            return Ok(token);
        }
        let _fetching = match (self.fetching.try_lock(), self.held(USABLE)) {
            (Ok(fetching), _) => fetching,
            (Err(_), Some(usable)) => return Ok(usable),
            (Err(_), None) => self.fetching.lock().await,
        };
        if let Some(token) = self.held(FRESH) {
            return Ok(token);
        }
        let fetched = match self.just_failed() {
            Some(error) => Err(error),
            None => self.fetch().await,
        };
        fetched.or_else(|error| self.held(USABLE).ok_or(error))
    }

    /// `token` for a thread of librdkafka's, which may wait. The runtime is one of its own: it may be called from within another.
    pub(in crate::kafka) fn token_blocking(&self) -> Result<Token, KafkaError> {
        if let Some(token) = self.held(FRESH) {
            return Ok(token);
        }
        let asked = std::thread::scope(|scope| scope.spawn(|| self.on_own_runtime()).join());
        asked.unwrap_or_else(|_| Err(self.endpoint.failed("the request ended in a panic")))
    }

    fn on_own_runtime(&self) -> Result<Token, KafkaError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| self.endpoint.failed(&format!("no runtime: {e}")))?;
        let token = runtime.block_on(self.token());
        // Not waiting for a name server that is silent.
        runtime.shutdown_background();
        token
    }

    /// Who the token that is held says that this is, or else the client that it is asked for as.
    pub(in crate::kafka) fn subject(&self) -> String {
        let subject = self.state().held.as_ref().and_then(|held| held.token.subject.clone());
        subject.unwrap_or_else(|| self.endpoint.client_id.clone())
    }

    /// A broker didn't take this one: the next is another.
    pub(in crate::kafka) fn refused(&self, text: &str) {
        self.state().held.take_if(|held| held.token.text == text);
    }

    async fn fetch(&self) -> Result<Token, KafkaError> {
        let fetched = self.endpoint.fetch().await;
        let mut state = self.state();
        match &fetched {
            Ok(token) => {
                state.held = Some(Held { token: token.clone(), since: SystemTime::now() });
                state.failed = None;
            }
            Err(error) => {
                tracing::warn!("{error}");
                state.failed = Some((Instant::now(), error.clone()));
            }
        }
        fetched
    }

    fn held(&self, part: f64) -> Option<Token> {
        let state = self.state();
        let held = state.held.as_ref().filter(|held| held.is_within(part, SystemTime::now()))?;
        Some(held.token.clone())
    }

    fn just_failed(&self) -> Option<KafkaError> {
        let state = self.state();
        let (at, error) = state.failed.as_ref()?;
        (at.elapsed() < FAILURE_COUNTS).then(|| error.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
