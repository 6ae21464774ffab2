//! Client properties of one cluster: references resolved, everything checked, both spellings understood.
//!
//! Nothing here ever shows a secret: `Debug` prints who and how, errors leave out secret values.

mod any_name;
mod bag;
mod librdkafka;
mod login_module;
mod oauth;
mod sasl;
mod secrets;
mod store;
mod tls;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::client::OAuthToken;
use twinlog_proto::model;
use twinlog_proto::secret::Access as SecretAccess;

use self::bag::Bag;
pub(in crate::kafka) use self::oauth::TokenSource;
pub(in crate::kafka) use self::sasl::Sasl;
use self::secrets::Secrets;
use self::tls::Tls;
use super::error::KafkaError;

/// A call ends after this time unless the client says otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// `client.id` unless a property says otherwise.
const CLIENT_ID: &str = "twinlog";
/// One request and its answer, unless `request.timeout.ms` says otherwise.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Which rdkafka client a configuration is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Consumer,
    Producer,
}

/// How to reach a cluster and as whom. Cheap to clone. Equal where everything resolved is equal, the content of files included.
#[derive(Clone, PartialEq)]
pub struct ClientProperties(Arc<Resolved>);

#[derive(PartialEq)]
struct Resolved {
    cluster: String,
    bootstrap: Vec<String>,
    client_id: String,
    security: Arc<Security>,
    /// Who this is to the cluster as it may be shown: a reference stays one.
    shown_user: Option<String>,
    /// Of rdkafka's clients, where a role connects in a way of its own.
    consumer_access: Option<Access>,
    producer_access: Option<Access>,
    request_timeout: Duration,
    call_deadline: Duration,
    /// For librdkafka: of both roles, and of each.
    shared: BTreeMap<String, String>,
    consumer: BTreeMap<String, String>,
    producer: BTreeMap<String, String>,
}

/// Where one role connects, and as whom.
#[derive(PartialEq)]
struct Access {
    bootstrap: Vec<String>,
    security: Arc<Security>,
    /// As the whole cluster's.
    shown_user: Option<String>,
}

impl Access {
    /// `None` where the role connects as everything else does. What it takes is taken from the bag.
    fn take(bag: &mut Bag<'_>, prefix: &str, servers: &[String]) -> Result<Option<Self>, KafkaError> {
        let name = format!("{}, its {prefix}* properties", bag.cluster);
        let Some(mut own) = bag.of_role(prefix, &name) else { return Ok(None) };
        let given = own.take("bootstrap.servers");
        let listed = |text: String| text.split(',').map(|server| server.trim().to_owned()).collect();
        let bootstrap = bootstrap(&mut own, &given.map_or_else(|| servers.to_vec(), listed))?;
        let shown_user = sasl::shown_user(&own);
        let security = Arc::new(Security::take(&mut own)?);
        if matches!(security.sasl, Some(Sasl::OAuthBearer(_))) {
            return Err(own.wrong("OAUTHBEARER can't be one role's: set it for the whole cluster"));
        }
        bag.taken_by(prefix, &own);
        Ok(Some(Self { bootstrap, security, shown_user }))
    }
}

#[derive(PartialEq)]
struct Security {
    protocol: Protocol,
    tls: Option<Tls>,
    sasl: Option<Sasl>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl Protocol {
    const ALL: [Self; 4] = [Self::Plaintext, Self::Ssl, Self::SaslPlaintext, Self::SaslSsl];

    fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }
}

impl ClientProperties {
    /// `resolve_for` with the secrets that a worker may resolve without settings of its own.
    ///
    /// # Errors
    /// As `resolve_for`.
    pub fn resolve(cluster: &model::Cluster) -> Result<Self, KafkaError> {
        Self::resolve_for(cluster, &Arc::default())
    }

    /// Resolves and checks a cluster's properties; it reads environment and files of this machine as far as `access` lets it, but
    /// connects to nothing.
    ///
    /// # Errors
    /// SECRET_UNRESOLVED for a reference that leads nowhere or is not allowed; INVALID_PROPERTY for a key that isn't taken or a
    /// value that doesn't fit.
    pub fn resolve_for(cluster: &model::Cluster, access: &Arc<SecretAccess>) -> Result<Self, KafkaError> {
        let id = cluster.id.as_str();
        let secrets = Secrets::new(access, &cluster.bootstrap_servers, &cluster.properties);
        let mut bag = Bag::new(id, &cluster.properties, &[oauth::TOKEN_KEY], secrets)?;
        let shown_user = sasl::shown_user(&bag);
        let consumer_access = Access::take(&mut bag, "consumer.", &cluster.bootstrap_servers)?;
        let producer_access = Access::take(&mut bag, "producer.", &cluster.bootstrap_servers)?;
        let bootstrap = bootstrap(&mut bag, &cluster.bootstrap_servers)?;
        let security = Arc::new(Security::take(&mut bag)?);
        let millis = |ms: Option<u64>, default| ms.map_or(default, Duration::from_millis);
        let request_timeout = millis(bag.number("request.timeout.ms", 1)?, REQUEST_TIMEOUT);
        let call_deadline = millis(bag.number("default.api.timeout.ms", 1)?, DEFAULT_DEADLINE);
        let client_id =
            bag.take("client.id").filter(|c| !c.is_empty()).unwrap_or_else(|| CLIENT_ID.to_owned());
        let own = [&consumer_access, &producer_access].map(|own| own.as_ref().map(|own| &*own.security));
        let [shared, consumer, producer] = by_role(&mut bag, &security, own)?;
        Ok(Self(Arc::new(Resolved {
            cluster: id.to_owned(),
            bootstrap,
            client_id,
            security,
            shown_user,
            consumer_access,
            producer_access,
            request_timeout,
            call_deadline,
            shared,
            consumer,
            producer,
        })))
    }

    /// The configuration of an rdkafka client: bootstrap servers, security and whatever the properties pass on. With
    /// OAUTHBEARER the client's context must answer `generate_oauth_token` with `oauth_token`.
    pub fn rdkafka(&self, role: Role) -> ClientConfig {
        let mut config = ClientConfig::new();
        let (own, access) = match role {
            Role::Consumer => (&self.0.consumer, &self.0.consumer_access),
            Role::Producer => (&self.0.producer, &self.0.producer_access),
        };
        let (bootstrap, security) = match access {
            Some(access) => (&access.bootstrap, &access.security),
            None => (&self.0.bootstrap, &self.0.security),
        };
        config.set("bootstrap.servers", bootstrap.join(","));
        config.set("client.id", &self.0.client_id);
        for (key, value) in self.0.shared.iter().chain(own) {
            config.set(key, value);
        }
        for (key, value) in librdkafka::security(security) {
            config.set(key, value);
        }
        config
    }

    /// What a client of our own reads or writes records with, where that role has servers or credentials of its own.
    pub(in crate::kafka) fn of_role(&self, role: Role) -> Option<Self> {
        let all = &self.0;
        let access = match role {
            Role::Consumer => all.consumer_access.as_ref()?,
            Role::Producer => all.producer_access.as_ref()?,
        };
        Some(Self(Arc::new(Resolved {
            cluster: all.cluster.clone(),
            bootstrap: access.bootstrap.clone(),
            client_id: all.client_id.clone(),
            security: access.security.clone(),
            shown_user: access.shown_user.clone(),
            consumer_access: None,
            producer_access: None,
            request_timeout: all.request_timeout,
            call_deadline: all.call_deadline,
            shared: all.shared.clone(),
            consumer: all.consumer.clone(),
            producer: all.producer.clone(),
        })))
    }

    /// Whether a role of rdkafka's has servers or credentials of its own.
    pub(in crate::kafka) fn connects_elsewhere(&self, role: Role) -> bool {
        match role {
            Role::Consumer => self.0.consumer_access.is_some(),
            Role::Producer => self.0.producer_access.is_some(),
        }
    }

    /// A token for rdkafka's callback, where the mechanism is OAUTHBEARER. It may be fetched: for as long as that takes the call blocks.
    pub fn oauth_token(&self) -> Result<OAuthToken, Box<dyn Error>> {
        let Some(Sasl::OAuthBearer(source)) = &self.0.security.sasl else {
            return Err("the cluster's sasl.mechanism is not OAUTHBEARER".into());
        };
        let token = source.token_blocking()?;
        let lifetime_ms = token.expires.duration_since(UNIX_EPOCH)?.as_millis().try_into()?;
        Ok(OAuthToken { token: token.text, principal_name: token.subject.unwrap_or_default(), lifetime_ms })
    }

    /// PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
    pub fn security_protocol(&self) -> &str {
        self.0.security.protocol.as_str()
    }

    pub fn sasl_mechanism(&self) -> Option<&str> {
        self.0.security.sasl.as_ref().map(Sasl::mechanism)
    }

    /// Who this client is to the cluster, for people: as ACLs name it, but a reference is shown instead of what it stands for.
    /// `None` with a client certificate, whose name the broker makes by rules of its own.
    pub fn principal(&self) -> Option<String> {
        match (&self.0.security.sasl, &self.0.shown_user) {
            (Some(_), Some(shown)) => Some(format!("User:{shown}")),
            _ => self.name_in_acls(),
        }
    }

    /// The same as ACLs name it. For comparing only: it may be a resolved secret.
    pub(crate) fn name_in_acls(&self) -> Option<String> {
        let security = &self.0.security;
        match (&security.sasl, &security.tls) {
            (Some(sasl), _) => sasl.user().map(|user| format!("User:{user}")),
            (None, Some(tls)) if tls.certificate.is_some() => None,
            (None, _) => Some("User:ANONYMOUS".to_owned()),
        }
    }

    /// host:port of each.
    pub fn bootstrap_servers(&self) -> &[String] {
        &self.0.bootstrap
    }

    /// The id under which the cluster is registered.
    pub fn cluster_id(&self) -> &str {
        &self.0.cluster
    }

    /// What brokers know this client by, and give quotas to.
    pub(crate) fn client_id(&self) -> &str {
        &self.0.client_id
    }

    /// The rack that records are read in: `client.rack`, the consumer's own before that of all clients. Empty: none.
    pub(in crate::kafka) fn rack(&self) -> &str {
        let of_all = || self.0.shared.get("client.rack");
        self.0.consumer.get("client.rack").or_else(of_all).map_or("", String::as_str)
    }

    pub(in crate::kafka) fn request_timeout(&self) -> Duration {
        self.0.request_timeout
    }

    pub(in crate::kafka) fn call_deadline(&self) -> Duration {
        self.0.call_deadline
    }

    pub(in crate::kafka) fn tls(&self) -> Option<&Arc<rustls::ClientConfig>> {
        self.0.security.tls.as_ref().map(|tls| &tls.config)
    }

    pub(in crate::kafka) fn sasl(&self) -> Option<&Sasl> {
        self.0.security.sasl.as_ref()
    }

    #[cfg(test)]
    pub(in crate::kafka) fn for_test(cluster: &str, bootstrap: &str) -> Self {
        let cluster = model::Cluster {
            id: twinlog_proto::id::ClusterId::new(cluster).unwrap(),
            bootstrap_servers: vec![bootstrap.to_owned()],
            properties: BTreeMap::new(),
        };
        Self::resolve(&cluster).unwrap()
    }
}

impl Security {
    fn take(bag: &mut Bag<'_>) -> Result<Self, KafkaError> {
        const KEY: &str = "security.protocol";
        let text = bag.take(KEY).unwrap_or_else(|| Protocol::Plaintext.as_str().to_owned());
        let named = |p: &Protocol| p.as_str().eq_ignore_ascii_case(text.trim());
        let Some(protocol) = Protocol::ALL.into_iter().find(named) else {
            return Err(bag.invalid(KEY, &text, "it must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"));
        };
        let tls =
            matches!(protocol, Protocol::Ssl | Protocol::SaslSsl).then(|| Tls::take(bag)).transpose()?;
        let sasl = matches!(protocol, Protocol::SaslPlaintext | Protocol::SaslSsl)
            .then(|| Sasl::take(bag, tls.as_ref()))
            .transpose()?;
        Ok(Self { protocol, tls, sasl })
    }
}

/// The cluster's own list; a property of the same meaning may only repeat it.
fn bootstrap(bag: &mut Bag<'_>, servers: &[String]) -> Result<Vec<String>, KafkaError> {
    const KEY: &str = "bootstrap.servers";
    // Java takes a listener's name in front of an address, and leaves it out of account.
    let address =
        |server: &str| server.rsplit_once("://").map_or(server, |(_, address)| address).trim().to_owned();
    let servers: Vec<String> = servers.iter().map(|server| address(server)).collect();
    for server in &servers {
        let port =
            server.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(1..))) {
            return Err(bag.invalid(KEY, server, "each server must be host:port"));
        }
    }
    if servers.is_empty() {
        return Err(bag.invalid(KEY, "", "at least one host:port is needed"));
    }
    match bag.take(KEY) {
        Some(other) if other.split(',').map(address).ne(servers.iter().cloned()) => {
            Err(bag.invalid(KEY, &other, "it differs from the cluster's bootstrap servers: leave it out"))
        }
        _ => Ok(servers),
    }
}

/// What is left, for both roles and for each, checked.
fn by_role(
    bag: &mut Bag<'_>,
    security: &Security,
    own: [Option<&Security>; 2],
) -> Result<[BTreeMap<String, String>; 3], KafkaError> {
    let (mut shared, mut consumer, mut producer) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (key, value) in bag.drain() {
        if let Some(name) = key.strip_prefix("consumer.") {
            consumer.insert(name.to_owned(), value);
        } else if let Some(name) = key.strip_prefix("producer.") {
            producer.insert(name.to_owned(), value);
        } else {
            shared.insert(key, value);
        }
    }
    Ok([
        librdkafka::passed_on(bag, security, "", shared)?,
        librdkafka::passed_on(bag, own[0].unwrap_or(security), "consumer.", consumer)?,
        librdkafka::passed_on(bag, own[1].unwrap_or(security), "producer.", producer)?,
    ])
}

impl fmt::Debug for ClientProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientProperties")
            .field("cluster", &self.0.cluster)
            .field("bootstrap_servers", &self.0.bootstrap)
            .field("security_protocol", &self.security_protocol())
            .field("sasl_mechanism", &self.sasl_mechanism())
            .field("principal", &self.principal())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod tests;
