//! Strimzi's `KafkaMirrorMaker2` resources, `kafka.strimzi.io/v1beta2` and `v1`: the connectors that Strimzi's operator would
//! configure from them.
//!
//! Kubernetes secrets become references to files, `<secrets dir>/<secret name>/<key>`: what a worker finds where each secret is
//! mounted as a folder of its own.

mod oauth;
mod schema;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use self::schema::{Authentication, Certificate, Cluster, ConnectorSpec, Document, Mirror, Spec, Tls};
use super::audit::{self, Place, Scope, judge};
use super::connector::Connector;
use super::flow::{ClusterView, FlowView};
use super::providers::Providers;
use super::report::{Effect, Entry};
use super::views::Views;
use super::{Props, keys};

pub(super) use self::schema::text;

const KIND: &str = "KafkaMirrorMaker2";
/// Strimzi's, and IBM Event Streams', which is made of it.
const GROUPS: [&str; 2] = ["kafka.strimzi.io", "eventstreams.ibm.com"];
/// All but `v1` have the same fields.
const VERSIONS: [&str; 4] = ["v1", "v1beta2", "v1beta1", "v1alpha1"];
/// Strimzi's defaults where `v1beta2` says nothing.
const GROUP: &str = "mirrormaker2-cluster";
const CONNECT_TOPICS: [&str; 2] = ["configStorageTopic", "statusStorageTopic"];
const OFFSETS_TOPIC: &str = "mirrormaker2-cluster-offsets";

/// One resource of this kind.
pub(super) fn read(value: &Value, secrets_dir: &Path) -> Result<Views, String> {
    let name = value["metadata"]["name"].as_str().unwrap_or_default();
    let document =
        Document::deserialize(value).map_err(|e| format!("the {KIND} {name} can't be read: {e}"))?;
    let (group, version) = document.api_version.split_once('/').unwrap_or_default();
    if !GROUPS.contains(&group) || !VERSIONS.contains(&version) {
        return Err(format!(
            "the {KIND} {name} has the apiVersion {:?}: it is to be {} of {}",
            document.api_version,
            VERSIONS.join(", "),
            GROUPS.join(" or ")
        ));
    }
    let of_target = document.spec.target_config();
    let providers = Providers::of_strimzi(&of_target, secrets_dir);
    Reading { secrets_dir, providers, report: Vec::new(), secrets: false }.resource(document.spec)
}

struct Reading<'a> {
    secrets_dir: &'a Path,
    providers: Providers,
    report: Vec<Entry>,
    secrets: bool,
}

/// A cluster with what its clients get, under Kafka's names.
struct Known {
    cluster: Cluster,
    security: Props,
}

impl Reading<'_> {
    fn resource(mut self, spec: Spec) -> Result<Views, String> {
        self.providers(&spec.target_config());
        for field in spec.rest.keys() {
            self.entry(
                Effect::Ignored,
                format!("spec.{field}"),
                "it configures Strimzi's pods, which are not there",
            );
        }
        let (clusters, mirrors) = self.by_alias(spec)?;
        let mut flows = Vec::new();
        for (index, (mirror, source, target)) in mirrors.into_iter().enumerate() {
            let find = |alias: &str| {
                clusters
                    .get(alias)
                    .ok_or_else(|| format!("spec.mirrors[{index}]: no cluster has the alias {alias:?}"))
            };
            flows.push(self.flow(index, mirror, find(&source)?, find(&target)?));
        }
        let targets: Vec<&str> = flows.iter().map(|flow| flow.target.as_str()).collect();
        let clusters = clusters.iter().map(|(alias, known)| {
            let worker = targets.contains(&alias.as_str());
            let settings = if worker { known.cluster.config() } else { Props::new() };
            let [admin, consumer, producer] = [(); 3].map(|()| known.security.clone());
            ClusterView { alias: alias.clone(), admin, consumer, producer, settings }
        });
        let mut notes = Vec::new();
        if self.secrets {
            notes.push(format!(
                "Kubernetes secrets are read from {0}/<secret>/<key>: mount each secret that is named as {0}/<secret> into the workers, or give another folder with --secrets-dir",
                self.secrets_dir.display()
            ));
        }
        let clusters = clusters.collect();
        Ok(Views { clusters, flows, report: self.report, notes, ..Views::default() })
    }

    /// A config provider of the target that can't be used matters where something refers to it.
    fn providers(&mut self, config: &Props) {
        let (_, unusable) = Providers::read(config);
        for (name, what) in unusable {
            self.entry(Effect::Ignored, format!("config.providers.{name}"), what);
        }
    }

    /// A value with its references as Twinlog's.
    fn ours(&mut self, place: &str, value: &str) -> String {
        match self.providers.translate(value) {
            Ok(ours) => {
                self.secrets |= ours.contains(&format!("${{file:{}/", self.secrets_dir.display()));
                ours
            }
            Err(what) => {
                self.entry(Effect::Invalid, place, what);
                value.to_owned()
            }
        }
    }

    fn entry(&mut self, effect: Effect, key: impl Into<String>, why: impl Into<String>) {
        self.report.push(Entry::new(effect, key, why));
    }

    /// Every cluster by its alias, and every mirror with its two aliases, from either version's fields.
    #[allow(clippy::type_complexity)]
    fn by_alias(
        &mut self,
        spec: Spec,
    ) -> Result<(BTreeMap<String, Known>, Vec<(Mirror, String, String)>), String> {
        let mut clusters = BTreeMap::new();
        let mut add = |reading: &mut Self, place: String, cluster: Cluster| {
            let security = reading.security(&place, &cluster);
            for (key, value) in cluster.config() {
                let verdict = judge(&of_cluster(&place), &key, &value);
                reading.report.push(verdict.entry(format!("{place}.config.{key}")));
            }
            for field in cluster.rest.keys() {
                let (effect, why) = match CONNECT_TOPICS.contains(&field.as_str()) {
                    true => (Effect::Ignored, "it configures Kafka Connect, which is not there"),
                    false => (Effect::Unknown, "no such field"),
                };
                reading.entry(effect, format!("{place}.{field}"), why);
            }
            let alias = cluster.alias.clone();
            clusters.insert(alias.clone(), Known { cluster, security });
            alias
        };
        for (i, cluster) in spec.clusters.into_iter().enumerate() {
            add(self, format!("spec.clusters[{i}]"), cluster);
        }
        let target =
            spec.target.map(|cluster| add(self, "spec.target".to_owned(), cluster)).or(spec.connect_cluster);
        let mut mirrors = Vec::new();
        for (i, mut mirror) in spec.mirrors.into_iter().enumerate() {
            let own =
                mirror.source.take().map(|cluster| add(self, format!("spec.mirrors[{i}].source"), cluster));
            let source = own.or_else(|| mirror.source_cluster.clone());
            let target = mirror.target_cluster.clone().or_else(|| target.clone());
            match (source, target) {
                (Some(source), Some(target)) => mirrors.push((mirror, source, target)),
                (None, _) => {
                    return Err(format!(
                        "spec.mirrors[{i}] names no source (source, or sourceCluster in v1beta2)"
                    ));
                }
                (_, None) => {
                    return Err(
                        "no target is named (spec.target, or spec.connectCluster in v1beta2)".to_owned()
                    );
                }
            }
        }
        if mirrors.is_empty() {
            return Err("spec.mirrors names no mirror".to_owned());
        }
        Ok((clusters, mirrors))
    }

    /// Bootstrap servers and client security of a cluster.
    fn security(&mut self, place: &str, cluster: &Cluster) -> Props {
        let mut props = Props::new();
        props.insert("bootstrap.servers".into(), cluster.bootstrap_servers.clone());
        let tls = cluster.tls.is_some();
        if let Some(tls) = &cluster.tls {
            self.trust(place, tls, &mut props);
        }
        let mut sasl = false;
        match &cluster.authentication {
            None => {}
            Some(Authentication::Tls { certificate_and_key: pair }) => {
                props.insert(
                    "ssl.keystore.certificate.chain".into(),
                    self.secret(&pair.secret_name, &pair.certificate),
                );
                props.insert("ssl.keystore.key".into(), self.secret(&pair.secret_name, &pair.key));
                props.insert("ssl.keystore.type".into(), "PEM".into());
            }
            Some(Authentication::Password { mechanism, username, secret }) => {
                sasl = true;
                props.insert("sasl.mechanism".into(), mechanism.clone());
                props.insert("sasl.username".into(), username.clone());
                props.insert("sasl.password".into(), self.secret(&secret.secret_name, &secret.password));
            }
            Some(Authentication::Custom { sasl: with_sasl, config }) => {
                sasl = *with_sasl;
                for (key, value) in config.iter().map(|(k, v)| (k, text(v))) {
                    let verdict = judge(&of_cluster(place), key, &value);
                    self.report.push(verdict.entry(format!("{place}.authentication.config.{key}")));
                    let ours = self.ours(&format!("{place}.authentication.config.{key}"), &value);
                    props.insert(key.clone(), ours);
                }
            }
            Some(Authentication::Oauth(oauth)) => {
                sasl = true;
                self.oauth(&format!("{place}.authentication"), oauth, &mut props);
            }
            Some(Authentication::Other(kind)) => {
                let why = format!(
                    "authentication of type {kind} can't be imported: give the cluster a type of tls, plain, scram-sha-256, scram-sha-512, oauth or custom"
                );
                self.entry(Effect::Invalid, format!("{place}.authentication.type"), why);
            }
        }
        let protocol = match (sasl, tls) {
            (true, true) => "SASL_SSL",
            (true, false) => "SASL_PLAINTEXT",
            (false, true) => "SSL",
            (false, false) => "PLAINTEXT",
        };
        props.insert("security.protocol".into(), protocol.into());
        // Strimzi lets these few through.
        for (key, value) in cluster.config().into_iter().filter(|(key, _)| keys::is_client_key(key)) {
            let ours = self.ours(&format!("{place}.config.{key}"), &value);
            props.insert(key, ours);
        }
        props
    }

    fn trust(&mut self, place: &str, tls: &Tls, props: &mut Props) {
        let certificates =
            self.certificates(&format!("{place}.tls.trustedCertificates"), &tls.trusted_certificates);
        if !certificates.is_empty() {
            props.insert("ssl.truststore.certificates".into(), certificates);
            props.insert("ssl.truststore.type".into(), "PEM".into());
        }
    }

    /// References to certificates in secrets, one below the other.
    fn certificates(&mut self, field: &str, trusted: &[Certificate]) -> String {
        let mut certificates = Vec::new();
        for Certificate { secret_name, certificate, pattern } in trusted {
            let file = match (certificate, pattern) {
                (Some(file), _) => file.clone(),
                (None, pattern) => {
                    let pattern = pattern.as_deref().unwrap_or("*");
                    let why =
                        format!("of the files {pattern} in the secret {secret_name} only ca.crt is read");
                    self.entry(Effect::Different, field, why);
                    "ca.crt".to_owned()
                }
            };
            certificates.push(self.secret(secret_name, &file));
        }
        certificates.join("\n")
    }

    fn secret(&mut self, name: &str, key: &str) -> String {
        self.secrets = true;
        format!("${{file:{}/{name}/{key}}}", self.secrets_dir.display())
    }

    fn flow(&mut self, index: usize, mirror: Mirror, source: &Known, target: &Known) -> FlowView {
        let place = format!("spec.mirrors[{index}]");
        for field in mirror.rest.keys() {
            self.entry(Effect::Unknown, format!("{place}.{field}"), "no such field");
        }
        let (from, to) = (source.cluster.alias.clone(), target.cluster.alias.clone());
        let mut base = Props::new();
        for (side, known) in [("source", source), ("target", target)] {
            base.insert(format!("{side}.cluster.alias"), known.cluster.alias.clone());
            base.extend(
                known.security.iter().map(|(key, value)| (format!("{side}.cluster.{key}"), value.clone())),
            );
        }
        let paused = mirror.source_connector.as_ref().is_some_and(ConnectorSpec::is_paused);
        let patterns = mirror.patterns();
        let mut connector = |field: &str, class: &str, spec: Option<ConnectorSpec>| {
            let spec = spec?;
            let props = self.connector(&format!("{place}.{field}"), &spec, &base, &patterns);
            if spec.is_paused() && field != SOURCE {
                let why = "what it would write is not written: it doesn't run";
                self.entry(Effect::Different, format!("{place}.{field}.state"), why);
                return None;
            }
            let name = ("name".to_owned(), format!("{from}->{to}.{class}"));
            Some(Connector::new(props.into_iter().chain([name]).collect(), &self.providers))
        };
        let source_connector = connector(SOURCE, "MirrorSourceConnector", mirror.source_connector);
        let checkpoint_connector =
            connector("checkpointConnector", "MirrorCheckpointConnector", mirror.checkpoint_connector);
        let heartbeat_connector =
            connector("heartbeatConnector", "MirrorHeartbeatConnector", mirror.heartbeat_connector);
        let others = checkpoint_connector.is_some() || heartbeat_connector.is_some();
        if paused && others {
            let why = "the whole mirror is paused: checkpoints and heartbeats stand still, too";
            self.entry(Effect::Different, format!("{place}.{SOURCE}.state"), why);
        }
        let mut worker = target.cluster.config();
        let group = target.cluster.group_id.clone().unwrap_or_else(|| GROUP.to_owned());
        let offsets = target.cluster.offset_storage_topic.clone().unwrap_or_else(|| OFFSETS_TOPIC.to_owned());
        worker.entry("group.id".into()).or_insert(group);
        worker.entry("offset.storage.topic".into()).or_insert(offsets);
        FlowView {
            source: from,
            target: to,
            worker,
            source_connector,
            checkpoint_connector,
            heartbeat_connector,
            paused,
        }
    }
}

/// The keys of a cluster's own configuration.
fn of_cluster(place: &str) -> Place {
    let here = format!("{place}.config.");
    Place { scope: Scope::Cluster, here, flows: Vec::new(), sources: Vec::new(), targets: Vec::new() }
}

const SOURCE: &str = "sourceConnector";

impl Reading<'_> {
    /// What a connector is configured with: its own configuration over the clusters', and the mirror's patterns over both.
    fn connector(&mut self, place: &str, spec: &ConnectorSpec, base: &Props, patterns: &Props) -> Props {
        let here = format!("{place}.config.");
        let mut props = base.clone();
        for (key, value) in spec.config() {
            let at = Place::connector(&here);
            self.report.push(judge(&at, &key, &value).entry(format!("{here}{key}")));
            props.insert(key, value);
        }
        for field in spec.rest.keys() {
            let why = "partition ranges spread over all workers and start again by themselves";
            self.entry(Effect::Ignored, format!("{place}.{field}"), why);
        }
        props.extend(patterns.clone());
        let excluded = audit::excluded_of_connector(&here, &props);
        self.report.retain(|entry| !excluded.iter().any(|other| other.key == entry.key));
        self.report.extend(excluded);
        props
    }
}

#[cfg(test)]
mod tests;
