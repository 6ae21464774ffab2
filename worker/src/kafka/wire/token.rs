//! An OAUTHBEARER token, and what it says of itself.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// An OAUTHBEARER token, and what it says of itself.
#[derive(Clone)]
pub(in crate::kafka) struct Token {
    pub(in crate::kafka) text: String,
    pub(in crate::kafka) subject: Option<String>,
    pub(in crate::kafka) expires: SystemTime,
}

impl Token {
    /// `lifetime` is for one that doesn't say when it expires.
    pub(in crate::kafka) fn read(text: &str, lifetime: Duration) -> Self {
        let claims = claims(text).unwrap_or_default();
        let since_epoch = claims["exp"].as_f64().and_then(|s| Duration::try_from_secs_f64(s).ok());
        let expires =
            since_epoch.filter(|since| !since.is_zero()).and_then(|since| UNIX_EPOCH.checked_add(since));
        Self {
            subject: claims["sub"].as_str().map(str::to_owned),
            expires: expires.unwrap_or_else(|| SystemTime::now() + lifetime),
            text: text.to_owned(),
        }
    }
}

/// The claims of a JSON web token, unverified: that is the broker's task.
fn claims(token: &str) -> Option<Value> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?).ok()
}
