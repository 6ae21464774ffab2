//! The fields of a `KafkaMirrorMaker2` resource, both versions in one: what one of them doesn't have is absent.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::mm2::Props;

type Map = BTreeMap<String, Value>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    pub(super) api_version: String,
    pub(super) spec: Spec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    /// v1beta2
    pub(super) connect_cluster: Option<String>,
    /// v1beta2
    #[serde(default)]
    pub(super) clusters: Vec<Cluster>,
    /// v1
    pub(super) target: Option<Cluster>,
    #[serde(default)]
    pub(super) mirrors: Vec<Mirror>,
    #[serde(flatten)]
    pub(super) rest: Map,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cluster {
    pub(super) alias: String,
    pub(super) bootstrap_servers: String,
    pub(super) tls: Option<Tls>,
    pub(super) authentication: Option<Authentication>,
    #[serde(default)]
    config: Map,
    /// v1, of the target: Connect's group and offsets topic.
    pub(super) group_id: Option<String>,
    pub(super) offset_storage_topic: Option<String>,
    #[serde(flatten)]
    pub(super) rest: Map,
}

impl Spec {
    /// The target's own configuration, which is Connect's.
    pub(super) fn target_config(&self) -> Props {
        let named = |cluster: &&Cluster| Some(&cluster.alias) == self.connect_cluster.as_ref();
        self.target
            .as_ref()
            .or_else(|| self.clusters.iter().find(named))
            .map(Cluster::config)
            .unwrap_or_default()
    }
}

impl Cluster {
    pub(super) fn config(&self) -> Props {
        texts(&self.config)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tls {
    #[serde(default)]
    pub(super) trusted_certificates: Vec<Certificate>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Certificate {
    pub(super) secret_name: String,
    pub(super) certificate: Option<String>,
    pub(super) pattern: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CertificateAndKey {
    pub(super) secret_name: String,
    pub(super) certificate: String,
    pub(super) key: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PasswordSecret {
    pub(super) secret_name: String,
    pub(super) password: String,
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "RawAuthentication")]
pub(super) enum Authentication {
    Tls { certificate_and_key: CertificateAndKey },
    Password { mechanism: String, username: String, secret: PasswordSecret },
    Custom { sasl: bool, config: Map },
    Oauth(Oauth),
    Other(String),
}

/// How Strimzi's pods get a token: as a client with a secret, or from a file or a secret that something else keeps fresh.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Oauth {
    pub(super) client_id: Option<String>,
    pub(super) client_secret: Option<SecretKey>,
    pub(super) token_endpoint_uri: Option<String>,
    pub(super) scope: Option<String>,
    pub(super) audience: Option<String>,
    pub(super) access_token: Option<SecretKey>,
    pub(super) access_token_location: Option<String>,
    pub(super) tls_trusted_certificates: Vec<Certificate>,
    pub(super) disable_tls_hostname_verification: bool,
    #[serde(flatten)]
    pub(super) rest: Map,
}

/// One key of a Kubernetes secret.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SecretKey {
    pub(super) secret_name: String,
    pub(super) key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAuthentication {
    #[serde(rename = "type")]
    kind: String,
    certificate_and_key: Option<CertificateAndKey>,
    username: Option<String>,
    password_secret: Option<PasswordSecret>,
    #[serde(default)]
    sasl: bool,
    #[serde(default)]
    config: Map,
    #[serde(flatten)]
    rest: Map,
}

impl TryFrom<RawAuthentication> for Authentication {
    type Error = String;

    fn try_from(raw: RawAuthentication) -> Result<Self, String> {
        let kind = raw.kind.clone();
        let needs = |field: &str| format!("authentication of type {kind} needs {field}");
        let mechanism = match raw.kind.as_str() {
            "tls" => {
                let pair = raw.certificate_and_key.ok_or_else(|| needs("certificateAndKey"))?;
                return Ok(Self::Tls { certificate_and_key: pair });
            }
            "custom" => return Ok(Self::Custom { sasl: raw.sasl, config: raw.config }),
            "oauth" => {
                // Of a password login, which the client's secret is not.
                let mut given = raw.rest;
                given.extend(raw.username.map(|user| ("username".to_owned(), Value::String(user))));
                let oauth = Oauth::deserialize(Value::Object(given.into_iter().collect()));
                return oauth.map(Self::Oauth).map_err(|e| format!("authentication of type oauth: {e}"));
            }
            "plain" => "PLAIN",
            "scram-sha-256" => "SCRAM-SHA-256",
            "scram-sha-512" => "SCRAM-SHA-512",
            _ => return Ok(Self::Other(raw.kind)),
        };
        let secret = raw.password_secret.ok_or_else(|| needs("passwordSecret"))?;
        let username = raw.username.ok_or_else(|| needs("username"))?;
        Ok(Self::Password { mechanism: mechanism.to_owned(), username, secret })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mirror {
    /// v1
    pub(super) source: Option<Cluster>,
    /// v1beta2, as the next
    pub(super) source_cluster: Option<String>,
    pub(super) target_cluster: Option<String>,
    pub(super) source_connector: Option<ConnectorSpec>,
    pub(super) checkpoint_connector: Option<ConnectorSpec>,
    /// v1beta2
    pub(super) heartbeat_connector: Option<ConnectorSpec>,
    topics_pattern: Option<String>,
    topics_exclude_pattern: Option<String>,
    topics_blacklist_pattern: Option<String>,
    groups_pattern: Option<String>,
    groups_exclude_pattern: Option<String>,
    groups_blacklist_pattern: Option<String>,
    #[serde(flatten)]
    pub(super) rest: Map,
}

impl Mirror {
    /// The patterns as Strimzi puts them into every connector, over its own configuration.
    pub(super) fn patterns(&self) -> Props {
        let given = [
            ("topics", &self.topics_pattern),
            (
                "topics.exclude",
                if self.topics_exclude_pattern.is_some() {
                    &self.topics_exclude_pattern
                } else {
                    &self.topics_blacklist_pattern
                },
            ),
            ("groups", &self.groups_pattern),
            (
                "groups.exclude",
                if self.groups_exclude_pattern.is_some() {
                    &self.groups_exclude_pattern
                } else {
                    &self.groups_blacklist_pattern
                },
            ),
        ];
        given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))).collect()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConnectorSpec {
    #[serde(default)]
    config: Map,
    /// running, paused or stopped
    state: Option<String>,
    /// Before `state` there was this.
    #[serde(default)]
    pause: bool,
    #[serde(flatten)]
    pub(super) rest: Map,
}

impl ConnectorSpec {
    pub(super) fn config(&self) -> Props {
        texts(&self.config)
    }

    pub(super) fn is_paused(&self) -> bool {
        self.state.as_deref().map_or(self.pause, |state| state != "running")
    }
}

fn texts(map: &Map) -> Props {
    map.iter().map(|(key, value)| (key.clone(), text(value))).collect()
}

/// A scalar as Strimzi and Connect write it into Kafka's configuration; a list as Kafka has lists.
pub(in crate::mm2) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}
