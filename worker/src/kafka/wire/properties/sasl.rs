//! Which SASL mechanism, and as whom.

use twinlog_proto::client_properties::KERBEROS;
use twinlog_proto::jaas;
use twinlog_proto::login::MSK_MECHANISM;
use twinlog_proto::secret;

use super::bag::Bag;
use super::login_module::login_module;
use super::oauth::TokenSource;
use super::tls::Tls;
use crate::kafka::wire::error::KafkaError;

/// A mechanism with its credentials.
#[derive(PartialEq, Eq)]
pub(in crate::kafka) enum Sasl {
    Plain { username: String, password: String },
    ScramSha256 { username: String, password: String },
    ScramSha512 { username: String, password: String },
    OAuthBearer(TokenSource),
}

impl Sasl {
    pub(super) fn take(bag: &mut Bag<'_>, tls: Option<&Tls>) -> Result<Self, KafkaError> {
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
            "OAUTHBEARER" => Ok(Self::OAuthBearer(TokenSource::take(bag, tls)?)),
            MSK_MECHANISM => Ok(Self::OAuthBearer(TokenSource::of_msk(bag, tls)?)),
            "GSSAPI" => Err(bag.invalid(key, &mechanism, KERBEROS)),
            _ => Err(bag.invalid(
                key,
                &mechanism,
                "Twinlog supports PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER and AWS_MSK_IAM",
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
            Self::OAuthBearer(source) => source.subject(),
        }
    }
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

/// Options of login modules that say who logs in.
const USERS: &[&str] = &["username", "clientId", "oauth.client.id"];

/// The user as the properties name it, where they do so by a reference.
pub(super) fn shown_user(bag: &Bag<'_>) -> Option<String> {
    if let Some(text) = bag.reference("sasl.jaas.config") {
        if let Ok(mut jaas) = jaas::parse(text) {
            return USERS.iter().find_map(|option| jaas.options.remove(*option));
        }
        return (!secret::is_literal("sasl.jaas.config", text)).then(|| text.to_owned());
    }
    let keys =
        ["sasl.username", "sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.client.id"];
    keys.iter().find_map(|key| bag.reference(key)).map(str::to_owned)
}
