//! Which SASL mechanism, and as whom.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use twinlog_proto::jaas::{self, Jaas};

use super::bag::Bag;
use super::secrets::Secrets;
use crate::kafka::KafkaError;

/// The property that holds an OAUTHBEARER token. A reference in it is read anew for every authentication.
pub(super) const TOKEN_KEY: &str = "sasl.oauthbearer.token";
/// How long a token counts that doesn't say when it expires.
const OPAQUE_TOKEN_LIFETIME: Duration = Duration::from_secs(3600);
/// Lifetime of tokens that we make ourselves.
const UNSECURED_TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// A mechanism with its credentials.
#[derive(PartialEq, Eq)]
pub(in crate::kafka) enum Sasl {
    Plain { username: String, password: String },
    ScramSha256 { username: String, password: String },
    ScramSha512 { username: String, password: String },
    OAuthBearer(TokenSource),
}

/// Where OAUTHBEARER tokens come from.
#[derive(PartialEq, Eq)]
pub(in crate::kafka) enum TokenSource {
    /// A property's value, its references not yet resolved.
    Property { cluster: String, value: String, secrets: Secrets },
    /// An unsigned token for this subject, as Java's default login module makes: for tests.
    Unsecured { subject: String },
}

/// An OAUTHBEARER token, and what it says of itself.
pub(in crate::kafka) struct Token {
    pub(in crate::kafka) text: String,
    pub(in crate::kafka) subject: Option<String>,
    pub(in crate::kafka) expires: SystemTime,
}

impl Sasl {
    pub(super) fn take(bag: &mut Bag<'_>) -> Result<Self, KafkaError> {
        let Some((key, mechanism)) = bag.take_any(&["sasl.mechanism", "sasl.mechanisms"]) else {
            return Err(bag.wrong(
                "security.protocol asks for SASL, but sasl.mechanism is not set: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER",
            ));
        };
        match mechanism.trim() {
            "PLAIN" => {
                let (username, password) = password_login(bag, "PlainLoginModule")?;
                Ok(Self::Plain { username, password })
            }
            "SCRAM-SHA-256" => {
                let (username, password) = password_login(bag, "ScramLoginModule")?;
                Ok(Self::ScramSha256 { username, password })
            }
            "SCRAM-SHA-512" => {
                let (username, password) = password_login(bag, "ScramLoginModule")?;
                Ok(Self::ScramSha512 { username, password })
            }
            "OAUTHBEARER" => Ok(Self::OAuthBearer(token_source(bag)?)),
            _ => Err(bag.invalid(
                key,
                &mechanism,
                "Twinlog supports PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER",
            )),
        }
    }

    pub(in crate::kafka) fn mechanism(&self) -> &'static str {
        match self {
            Self::Plain { .. } => "PLAIN",
            Self::ScramSha256 { .. } => "SCRAM-SHA-256",
            Self::ScramSha512 { .. } => "SCRAM-SHA-512",
            Self::OAuthBearer(_) => "OAUTHBEARER",
        }
    }

    /// The user name, where the mechanism has one.
    pub(super) fn user(&self) -> Option<String> {
        match self {
            Self::Plain { username, .. }
            | Self::ScramSha256 { username, .. }
            | Self::ScramSha512 { username, .. } => Some(username.clone()),
            Self::OAuthBearer(source) => source.token().ok()?.subject,
        }
    }
}

impl TokenSource {
    /// A token for now.
    pub(in crate::kafka) fn token(&self) -> Result<Token, KafkaError> {
        let text = match self {
            Self::Property { cluster, value, secrets } => {
                secrets.resolve(cluster, TOKEN_KEY, value)?.trim().to_owned()
            }
            Self::Unsecured { subject } => unsecured(subject, SystemTime::now()),
        };
        let claims = claims(&text).unwrap_or_default();
        let expires = claims["exp"].as_f64().filter(|s| *s > 0.0).map(Duration::try_from_secs_f64);
        Ok(Token {
            subject: claims["sub"].as_str().map(str::to_owned),
            expires: match expires {
                Some(Ok(since_epoch)) => UNIX_EPOCH + since_epoch,
                _ => SystemTime::now() + OPAQUE_TOKEN_LIFETIME,
            },
            text,
        })
    }
}

/// The claims of a JSON web token, unverified: that is the broker's task.
fn claims(token: &str) -> Option<Value> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?).ok()
}

fn unsecured(subject: &str, now: SystemTime) -> String {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let claims = json!({ "sub": subject, "iat": now, "exp": now + UNSECURED_TOKEN_LIFETIME.as_secs() });
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(json!({ "alg": "none" })), part(claims))
}

fn password_login(bag: &mut Bag<'_>, module: &str) -> Result<(String, String), KafkaError> {
    let direct = (bag.take_any(&["sasl.username"]), bag.take("sasl.password"));
    if let Some(text) = bag.take("sasl.jaas.config") {
        let mut jaas = login_module(bag, &text, module)?;
        let mut option = |name: &str| {
            jaas.options.remove(name).ok_or_else(|| {
                bag.wrong(&format!("property sasl.jaas.config: {module} has no option {name}"))
            })
        };
        return Ok((option("username")?, option("password")?));
    }
    match direct {
        (Some((_, username)), Some(password)) => Ok((username, password)),
        (None, _) => Err(bag.wrong("property sasl.username (or sasl.jaas.config) is missing")),
        (_, None) => Err(bag.wrong("property sasl.password (or sasl.jaas.config) is missing")),
    }
}

/// The user as the properties name it, where they do so by a reference.
pub(super) fn shown_user(bag: &Bag<'_>) -> Option<String> {
    if let Some(jaas) = bag.reference("sasl.jaas.config") {
        let user = jaas::parse(jaas).map(|mut jaas| jaas.options.remove("username"));
        return Some(user.ok().flatten().unwrap_or_else(|| jaas.to_owned()));
    }
    bag.reference("sasl.username").map(str::to_owned)
}

fn login_module(bag: &Bag<'_>, text: &str, module: &str) -> Result<Jaas, KafkaError> {
    let jaas = jaas::parse(text).map_err(|why| bag.wrong(&format!("property sasl.jaas.config: {why}")))?;
    if jaas.module != module {
        // A module's name that came out of a file is the file's, and not shown.
        let from_reference =
            bag.reference("sasl.jaas.config").is_some_and(|given| jaas::parse(given).is_err());
        let found = if from_reference { "another (hidden)" } else { &jaas.module };
        return Err(bag.wrong(&format!(
            "property sasl.jaas.config: sasl.mechanism needs {module}, but the login module is {found}"
        )));
    }
    Ok(jaas)
}

fn token_source(bag: &mut Bag<'_>) -> Result<TokenSource, KafkaError> {
    let jaas = bag.take("sasl.jaas.config");
    if let Some(value) = bag.take(TOKEN_KEY) {
        let (cluster, secrets) = (bag.cluster.to_owned(), bag.secrets.clone());
        let source = TokenSource::Property { cluster, value, secrets };
        if source.token()?.text.is_empty() {
            return Err(bag.invalid(TOKEN_KEY, "", "the token is empty"));
        }
        return Ok(source);
    }
    let options = jaas.map(|text| login_module(bag, &text, "OAuthBearerLoginModule")).transpose()?;
    let subject = options.and_then(|mut jaas| jaas.options.remove("unsecuredLoginStringClaim_sub"));
    subject.map(|subject| TokenSource::Unsecured { subject }).ok_or_else(|| {
        bag.wrong(&format!(
            "OAUTHBEARER needs a token: set {TOKEN_KEY}, for example to ${{file:/path}} that something else keeps fresh"
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn an_unsecured_token_says_who_and_until_when() {
        let token = TokenSource::Unsecured { subject: "admin".into() }.token().unwrap();
        assert_eq!(token.subject.as_deref(), Some("admin"));
        let left = token.expires.duration_since(SystemTime::now()).unwrap();
        assert!(left > Duration::from_secs(3590) && left <= Duration::from_secs(3600), "{left:?}");
        assert!(token.text.ends_with('.'));
    }

    fn property(value: String) -> TokenSource {
        let access = Arc::new(twinlog_proto::secret::Access::Everything);
        TokenSource::Property {
            cluster: "eu".into(),
            value,
            secrets: Secrets::new(&access, &[], &BTreeMap::new()),
        }
    }

    #[test]
    fn a_token_file_is_read_anew_each_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let source = property(format!("${{file:{}}}", file.path().display()));
        for text in ["first", "second"] {
            std::fs::write(file.path(), format!("{text}\n")).unwrap();
            assert_eq!(source.token().unwrap().text, text);
        }
    }

    #[test]
    fn an_opaque_token_is_taken_as_it_is() {
        let source = property("a.!!.c".into());
        let token = source.token().unwrap();
        assert_eq!((token.text.as_str(), token.subject), ("a.!!.c", None));
        assert!(token.expires > SystemTime::now());
    }
}
