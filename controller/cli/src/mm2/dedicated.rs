//! `mm2.properties`, the file of MM2's dedicated mode, and its precedence rules (mirrormaker2 reference 1.1 and 1.2): what each
//! cluster, each flow's Connect worker and each flow's connectors are configured with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::connector::Connector;
use super::connector::Role;
use super::flow::{ClusterView, FlowView};
use super::keys;
use super::providers::Providers;
use super::{Props, list};
use twinlog_proto::properties::Line;

/// The file's keys and values, unresolved.
#[derive(Debug, Clone)]
pub(crate) struct Dedicated {
    raw: Props,
    providers: Providers,
    /// Where each key stands, every time that it does, from 1.
    lines: BTreeMap<String, Vec<usize>>,
    /// Keys that are given with different values.
    repeated: BTreeSet<String>,
}

/// MM2's names, which are also the connectors' class names.
pub(crate) const CONNECTORS: [&str; 3] =
    ["MirrorSourceConnector", "MirrorCheckpointConnector", "MirrorHeartbeatConnector"];

impl Dedicated {
    /// From the entries of the file, by line. Of a repeated key the last one counts, as in Java.
    pub(crate) fn new(entries: Vec<Line>, secrets_dir: &Path) -> Self {
        let mut file = Self {
            raw: Props::new(),
            providers: Providers::default(),
            lines: BTreeMap::new(),
            repeated: BTreeSet::new(),
        };
        for Line { number, key, value } in entries {
            file.lines.entry(key.clone()).or_default().push(number);
            if file.raw.insert(key.clone(), value.clone()).is_some_and(|before| before.trim() != value.trim())
            {
                file.repeated.insert(key);
            }
        }
        file.providers = Providers::read(&file.raw).0.in_dir(secrets_dir);
        file
    }

    /// The line whose value counts.
    pub(crate) fn line(&self, key: &str) -> Option<usize> {
        self.lines.get(key)?.last().copied()
    }

    /// Keys that are given with different values, with their lines.
    pub(crate) fn repeated(&self) -> impl Iterator<Item = (&String, &Vec<usize>)> {
        self.repeated.iter().filter_map(|key| Some((key, self.lines.get(key)?)))
    }

    /// Providers that can't be used, and why.
    pub(crate) fn unusable_providers(&self) -> Vec<(String, String)> {
        Providers::read(&self.raw).1
    }

    pub(crate) fn raw(&self) -> &Props {
        &self.raw
    }

    pub(crate) fn providers(&self) -> &Providers {
        &self.providers
    }

    /// The aliases, without order.
    pub(crate) fn clusters(&self) -> BTreeSet<String> {
        list(self.get("clusters").unwrap_or_default()).into_iter().collect()
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.raw.get(key).map(String::as_str)
    }

    /// Every ordered pair that MM2 starts a herder for: enabled, or with heartbeats.
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        let clusters = self.clusters();
        let global = self.get("emit.heartbeats.enabled").is_none_or(is_true);
        let pair = |s: &String, t: &String| {
            let own = |key: &str| self.get(&format!("{s}->{t}.{key}"));
            let enabled = own("enabled");
            // With a value that is none, MM2 configures no connector of the flow: not even heartbeats are written.
            let readable =
                enabled.is_none_or(|text| is_true(text) || text.trim().eq_ignore_ascii_case("false"));
            readable
                && (enabled.is_some_and(is_true) || own("emit.heartbeats.enabled").map_or(global, is_true))
        };
        let ordered = clusters.iter().flat_map(|s| clusters.iter().map(move |t| (s, t)));
        ordered.filter(|(s, t)| s != t && pair(s, t)).map(|(s, t)| (s.clone(), t.clone())).collect()
    }

    /// The flows that copy something; where there is none, all.
    pub(crate) fn busy_pairs(&self) -> Vec<(String, String)> {
        let (pairs, enabled) = (self.pairs(), |(s, t): &&(String, String)| {
            self.get(&format!("{s}->{t}.enabled")).is_some_and(is_true)
        });
        let busy: Vec<_> = pairs.iter().filter(enabled).cloned().collect();
        if busy.is_empty() { pairs } else { busy }
    }

    /// `cp(X)`: what the cluster's clients get; `X.producer.k` beats `X.k` beats the top level's `k`.
    pub(crate) fn cluster_props(&self, alias: &str) -> Props {
        let mut props = stripped(&self.raw, &format!("{alias}."));
        let own: Vec<_> = props.iter().filter(|(k, _)| keys::is_client_key(k)).map(pair).collect();
        for (key, value) in own {
            fill_roles(&mut props, &key, &value);
        }
        let top: Vec<_> = self.raw.iter().filter(|(k, _)| keys::is_client_key(k)).map(pair).collect();
        for (key, value) in top {
            fill_roles(&mut props, &key, &value);
            fill(&mut props, &key, &value);
        }
        props
    }

    /// What MM2's `MirrorClient` is given for a cluster: only where to connect, and as whom. `resolve` replaces references.
    pub(crate) fn client_config(&self, alias: &str, role: Role, resolve: impl Fn(&str) -> String) -> Props {
        let mut props = self.raw.clone();
        props.extend(self.cluster_props(alias));
        let prefix = format!("{}.", role.as_str());
        let own = stripped(&props, &prefix);
        props.extend(own);
        props.retain(|key, _| keys::is_client_key(key));
        props.into_iter().map(|(key, value)| (key, resolve(&value))).collect()
    }

    /// The configuration of the flow's Connect worker. Flow-prefixed keys are no part of it.
    pub(crate) fn worker_config(
        &self,
        source: &str,
        target: &str,
        resolve: impl Fn(&str) -> String,
    ) -> Props {
        let mut props = self.cluster_props(target);
        let from_top = |key: &str| keys::WORKER_FROM_TOP.iter().any(|prefix| key.starts_with(prefix));
        props.extend(self.raw.iter().filter(|(key, _)| from_top(key)).map(pair));
        for value in props.values_mut() {
            *value = resolve(value);
        }
        props.extend(self.raw.iter().filter(|(key, _)| key.starts_with("config.providers")).map(pair));
        const BYTES: &str = "org.apache.kafka.connect.converters.ByteArrayConverter";
        for (key, value) in [
            ("client.id", format!("{source}->{target}")),
            ("group.id", format!("{source}-mm2")),
            ("offset.storage.topic", format!("mm2-offsets.{source}.internal")),
            ("status.storage.topic", format!("mm2-status.{source}.internal")),
            ("config.storage.topic", format!("mm2-configs.{source}.internal")),
            ("key.converter", BYTES.to_owned()),
            ("value.converter", BYTES.to_owned()),
            ("header.converter", BYTES.to_owned()),
        ] {
            fill(&mut props, key, &value);
        }
        props
    }

    /// The configuration of one of the flow's connectors, references unresolved: MM2 leaves them to the tasks.
    pub(crate) fn connector_config(&self, source: &str, target: &str, connector: &str) -> Props {
        let top = self.raw.iter().filter(|(key, _)| {
            keys::is_connector_key(key)
                || key.starts_with("config.providers")
                || key.starts_with("replication.policy")
        });
        let mut props: Props = top.map(pair).collect();
        for (side, alias) in [("source", source), ("target", target)] {
            for (key, value) in self.cluster_props(alias) {
                let client = Role::ALL.iter().any(|role| key.starts_with(role.as_str()));
                let key = if client { format!("{side}.{key}") } else { format!("{side}.cluster.{key}") };
                props.insert(key, value);
            }
        }
        fill(&mut props, "name", connector);
        fill(&mut props, "connector.class", &format!("org.apache.kafka.connect.mirror.{connector}"));
        fill(&mut props, "source.cluster.alias", source);
        fill(&mut props, "target.cluster.alias", target);
        props.extend(stripped(&self.raw, &format!("{source}->{target}.")));
        fill(&mut props, "enabled", "false");
        props
    }

    /// The clusters and flows of the file, as far as a mirror depends on them. References are Twinlog's.
    pub(crate) fn views(&self) -> (Vec<ClusterView>, Vec<FlowView>) {
        let ours = |value: &str| self.providers.translate(value).unwrap_or_else(|_| value.to_owned());
        let clusters = self.clusters().into_iter().map(|alias| {
            let props = self.cluster_props(&alias);
            let secured = |role: Role| self.client_config(&alias, role, ours);
            let (admin, consumer, producer) =
                (secured(Role::Admin), secured(Role::Consumer), secured(Role::Producer));
            let settings = props.iter().filter(|(key, _)| !keys::is_client_key(key));
            let settings = settings.map(|(key, value)| (key.clone(), ours(value))).collect();
            ClusterView { alias, admin, consumer, producer, settings }
        });
        let flows = self.pairs().into_iter().map(|(source, target)| {
            let [s, c, h] = CONNECTORS.map(|name| {
                Some(Connector::new(self.connector_config(&source, &target, name), &self.providers))
            });
            let worker = self.worker_config(&source, &target, ours);
            FlowView {
                worker,
                source_connector: s,
                checkpoint_connector: c,
                heartbeat_connector: h,
                paused: false,
                source,
                target,
            }
        });
        (clusters.collect(), flows.collect())
    }
}

/// As Java's `parseBoolean`, but for blanks around it.
fn is_true(text: &str) -> bool {
    text.trim().eq_ignore_ascii_case("true")
}

fn pair((key, value): (&String, &String)) -> (String, String) {
    (key.clone(), value.clone())
}

fn stripped(props: &Props, prefix: &str) -> Props {
    let own =
        props.iter().filter_map(|(key, value)| Some((key.strip_prefix(prefix)?.to_owned(), value.clone())));
    own.collect()
}

fn fill(props: &mut Props, key: &str, value: &str) {
    props.entry(key.to_owned()).or_insert_with(|| value.to_owned());
}

fn fill_roles(props: &mut Props, key: &str, value: &str) {
    for role in Role::ALL {
        fill(props, &format!("{}.{key}", role.as_str()), value);
    }
}

#[cfg(test)]
mod tests;
