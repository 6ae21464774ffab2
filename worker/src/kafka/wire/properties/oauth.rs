//! Where OAUTHBEARER tokens come from, as properties say it: in Java's, librdkafka's or Strimzi's words.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use twinlog_proto::jaas::ENDPOINT as JAAS_ENDPOINT;
use twinlog_proto::login::{self, MSK_CREDENTIALS};

use super::bag::Bag;
use super::login_module::login_module;
use super::secrets::Secrets;
use super::tls::{Https, Tls};
use crate::kafka::wire::error::KafkaError;
use crate::kafka::wire::msk::{self, Credentials, MskSigner};
use crate::kafka::wire::token::Token;
use crate::kafka::wire::token_endpoint::{self, TokenEndpoint};
use crate::kafka::wire::tokens::FetchedTokens;

/// The property that holds an OAUTHBEARER token. A reference in it is read anew for every authentication.
pub(super) const TOKEN_KEY: &str = "sasl.oauthbearer.token";
/// How long a token counts that doesn't say when it expires.
const OPAQUE_TOKEN_LIFETIME: Duration = Duration::from_secs(3600);
/// Lifetime of tokens that we make ourselves.
const UNSECURED_TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

const ENDPOINT: &str = "sasl.oauthbearer.token.endpoint.url";
const METHOD: &str = "sasl.oauthbearer.method";
const GRANT: &str = "sasl.oauthbearer.grant.type";
const ENCODE: &str = "sasl.oauthbearer.header.urlencode";
const EXTENSIONS: &str = "sasl.oauthbearer.extensions";
const SCOPE: &str = "sasl.oauthbearer.scope";
const ID: &[&str] = &["sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.client.id"];
const SECRET: &[&str] =
    &["sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.client.secret"];
const AWS_CREDENTIALS: &str = "AWS_MSK_IAM signs with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN of the workers' environment, where they are started with --secret-env-prefix AWS_=*.amazonaws.com";

/// Where OAUTHBEARER tokens come from.
#[derive(PartialEq, Eq)]
pub(in crate::kafka) enum TokenSource {
    /// A property's value, its references not yet resolved.
    Property { cluster: String, value: String, secrets: Secrets },
    /// An unsigned token for this subject, as Java's default login module makes: for tests.
    Unsecured { subject: String },
    /// An OAuth server, by client credentials.
    Fetched(Arc<FetchedTokens>),
    /// Ourselves, with AWS's credentials.
    Signed(Arc<MskSigner>),
}

impl TokenSource {
    pub(super) fn take(bag: &mut Bag<'_>, tls: Option<&Tls>) -> Result<Self, KafkaError> {
        let jaas = bag.take("sasl.jaas.config");
        let token = bag.take(TOKEN_KEY).filter(|value| !value.trim().is_empty());
        let given = Given::take(bag)?;
        let https = Https::take(bag)?;
        if let Some(value) = token {
            let (cluster, secrets) = (bag.cluster.to_owned(), bag.secrets.clone());
            return match read(&cluster, &value, &secrets)?.text.is_empty() {
                true => Err(bag.invalid(TOKEN_KEY, "", "the token is empty")),
                false => Ok(Self::Property { cluster, value, secrets }),
            };
        }
        let jaas = jaas.map(|text| login_module(bag, &text, "OAuthBearerLoginModule")).transpose()?;
        if let Some(what) = jaas.as_ref().and_then(login::option_not_taken) {
            return Err(bag.wrong(&format!("property sasl.jaas.config: {what}")));
        }
        let mut options = jaas.map(|jaas| jaas.options).unwrap_or_default();
        let unsecured = options.remove("unsecuredLoginStringClaim_sub");
        if let (Some(subject), None) = (unsecured, &given.url) {
            return Ok(Self::Unsecured { subject });
        }
        let endpoint = given.endpoint(bag, options)?;
        let tls = match endpoint.uri.scheme_str() {
            Some("https") => Some(https.trusting(bag, tls)?),
            _ => None,
        };
        Ok(Self::Fetched(Arc::new(FetchedTokens::new(TokenEndpoint { tls, ..endpoint }))))
    }

    /// `AWS_MSK_IAM`: a token goes to MSK's own brokers only, whose names are checked. Whoever has it can use it elsewhere.
    pub(super) fn of_msk(bag: &mut Bag<'_>, tls: Option<&Tls>) -> Result<Self, KafkaError> {
        if let Some(text) = bag.take("sasl.jaas.config") {
            let jaas = login_module(bag, &text, "IAMLoginModule")?;
            if let Some(option) = jaas.options.keys().next() {
                return Err(bag.wrong(&format!(
                    "property sasl.jaas.config: the option {option} is not taken: {AWS_CREDENTIALS}"
                )));
            }
        }
        if !tls.is_some_and(|tls| tls.check_host) {
            return Err(bag.wrong(
                "AWS_MSK_IAM needs security.protocol=SASL_SSL, and the brokers' names checked (ssl.endpoint.identification.algorithm)",
            ));
        }
        let servers = bag.secrets.servers().to_vec();
        let regions: Option<BTreeSet<&str>> = servers.iter().map(|server| msk::region_of(server)).collect();
        let regions = regions.unwrap_or_default();
        let (Some(region), 1) = (regions.first(), regions.len()) else {
            return Err(bag.wrong(&format!(
                "AWS_MSK_IAM is for servers with MSK's own names in one region, as in b-1.name.id.c2.kafka.eu-west-1.amazonaws.com:9098: the servers are {}",
                servers.join(", ")
            )));
        };
        let [id, secret, session] = MSK_CREDENTIALS;
        let read = |name: &str| {
            let read = bag.secrets.resolve(bag.cluster, "sasl.mechanism", &format!("${{env:{name}}}"));
            read.map_err(|e| KafkaError::new(e.reason, format!("{}; {AWS_CREDENTIALS}", e.message)))
        };
        let credentials = Credentials {
            access_key_id: read(id)?,
            secret_access_key: read(secret)?,
            session_token: std::env::var_os(session).map(|_| read(session)).transpose()?,
        };
        Ok(Self::Signed(Arc::new(MskSigner { region: (*region).to_owned(), credentials })))
    }

    /// A token for now.
    pub(in crate::kafka) async fn token(&self) -> Result<Token, KafkaError> {
        match self {
            Self::Property { cluster, value, secrets } => read(cluster, value, secrets),
            Self::Unsecured { subject } => Ok(unsecured(subject, SystemTime::now())),
            Self::Fetched(tokens) => tokens.token().await,
            Self::Signed(signer) => Ok(signer.token(SystemTime::now())),
        }
    }

    /// The same for a thread that may wait.
    pub(super) fn token_blocking(&self) -> Result<Token, KafkaError> {
        match self {
            Self::Property { cluster, value, secrets } => read(cluster, value, secrets),
            Self::Unsecured { subject } => Ok(unsecured(subject, SystemTime::now())),
            Self::Fetched(tokens) => tokens.token_blocking(),
            Self::Signed(signer) => Ok(signer.token(SystemTime::now())),
        }
    }

    /// Who this is, without asking anybody.
    pub(super) fn subject(&self) -> Option<String> {
        match self {
            Self::Property { cluster, value, secrets } => read(cluster, value, secrets).ok()?.subject,
            Self::Unsecured { subject } => Some(subject.clone()),
            Self::Fetched(tokens) => Some(tokens.subject()),
            Self::Signed(_) => None,
        }
    }

    /// A broker didn't take this token.
    pub(in crate::kafka) fn refused(&self, token: &Token) {
        if let Self::Fetched(tokens) = self {
            tokens.refused(&token.text);
        }
    }
}

/// What the properties say of an endpoint; taken out of the bag in any case.
struct Given {
    url: Option<String>,
    id: Option<String>,
    secret: Option<String>,
    scope: Option<String>,
    encode_header: bool,
}

impl Given {
    fn take(bag: &mut Bag<'_>) -> Result<Self, KafkaError> {
        for (key, known, why) in [
            (METHOD, &["default", "oidc"][..], "it must be oidc, or default"),
            (GRANT, &["client_credentials"], "client_credentials is the one grant that Twinlog can use"),
            (EXTENSIONS, &[], "extensions of OAUTHBEARER are not supported"),
        ] {
            let given = bag.take(key).filter(|value| !value.trim().is_empty());
            if let Some(value) = given.filter(|value| !known.contains(&value.trim())) {
                return Err(bag.invalid(key, &value, why));
            }
        }
        Ok(Self {
            encode_header: bag.take(ENCODE).is_some_and(|value| value.trim().eq_ignore_ascii_case("true")),
            url: bag.take_any(&[ENDPOINT]).map(|(_, value)| value),
            id: bag.take_any(ID).map(|(_, value)| value),
            secret: bag.take_any(SECRET).map(|(_, value)| value),
            scope: bag.take_any(&[SCOPE]).map(|(_, value)| value),
        })
    }

    /// With what the login module has. Where that names the endpoint, id and secret stand beside it: those that stand elsewhere may
    /// have been given for another one.
    fn endpoint(
        self,
        bag: &Bag<'_>,
        mut options: BTreeMap<String, String>,
    ) -> Result<TokenEndpoint, KafkaError> {
        let mut option = |names: [&str; 2]| names.into_iter().find_map(|name| options.remove(name));
        let own_id = option(["clientId", "oauth.client.id"]);
        let own_secret = option(["clientSecret", "oauth.client.secret"]);
        let scope = self.scope.or(option(["scope", "oauth.scope"]));
        let audience = option(["oauth.audience", ""]);
        let of_jaas = option([JAAS_ENDPOINT, ""]).filter(|_| self.url.is_none());
        let (id, secret) = match of_jaas {
            Some(_) => (own_id, own_secret),
            None => (self.id.or(own_id), self.secret.or(own_secret)),
        };
        let Some(url) = self.url.or(of_jaas) else {
            return Err(bag.wrong(&format!(
                "OAUTHBEARER needs a token: set {TOKEN_KEY}, for example to ${{file:/path}} that something else keeps fresh, or {ENDPOINT} with the client's id and secret"
            )));
        };
        let uri = token_endpoint::parse(&url).map_err(|why| bag.invalid(ENDPOINT, &url, why))?;
        let missing = |what: &str, key: &str, option: &str| {
            bag.wrong(&format!(
                "{ENDPOINT} needs the client's {what}: set {key}, or {option} in sasl.jaas.config"
            ))
        };
        Ok(TokenEndpoint {
            cluster: bag.cluster.to_owned(),
            uri,
            client_id: id.ok_or_else(|| missing("id", ID[0], "clientId"))?,
            client_secret: secret.ok_or_else(|| missing("secret", SECRET[0], "clientSecret"))?,
            scope: scope.filter(|scope| !scope.is_empty()),
            audience: audience.filter(|audience| !audience.is_empty()),
            encode_header: self.encode_header,
            tls: None,
        })
    }
}

fn read(cluster: &str, value: &str, secrets: &Secrets) -> Result<Token, KafkaError> {
    Ok(Token::read(secrets.resolve(cluster, TOKEN_KEY, value)?.trim(), OPAQUE_TOKEN_LIFETIME))
}

fn unsecured(subject: &str, now: SystemTime) -> Token {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let claims = json!({ "sub": subject, "iat": now, "exp": now + UNSECURED_TOKEN_LIFETIME.as_secs() });
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    Token::read(&format!("{}.{}.", part(json!({ "alg": "none" })), part(claims)), OPAQUE_TOKEN_LIFETIME)
}

#[cfg(test)]
mod tests;
