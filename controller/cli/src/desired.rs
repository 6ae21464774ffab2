//! What shall run: clusters and mirrors, of flags or of a file.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use twinlog_proto::secret::{Access, Rule};
use twinlog_proto::{client_properties, login, v1};

/// What shall run.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) clusters: Vec<v1::Cluster>,
    pub(super) mirrors: Vec<v1::Mirror>,
    pub(super) origin: Origin,
    pub(super) data: PathBuf,
    pub(super) listen: Option<SocketAddr>,
    /// Names that the API answers for.
    pub(super) hosts: Vec<String>,
}

/// Where mirrors come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// One mirror, for which the data folder is.
    Flags,
    /// All flows of MirrorMaker's file.
    File,
}

impl Settings {
    /// What the worker may resolve: what the files refer to, each for the servers of the cluster that it stands in. Whoever
    /// reaches the API can't have more read than that.
    pub(super) fn secrets(&self) -> Access {
        let mut rules = Vec::new();
        let mut named = |cluster: &v1::Cluster, properties: &HashMap<String, String>| {
            let servers = client_properties::servers(&cluster.bootstrap_servers, properties);
            rules.extend(properties.values().flat_map(|value| Rule::exactly(value, &servers)));
            rules.extend(Rule::exactly(&login::implied_references(properties), &servers));
        };
        for cluster in &self.clusters {
            named(cluster, &cluster.properties);
            for mirror in &self.mirrors {
                for (end, own) in
                    [(&mirror.source, &mirror.source_properties), (&mirror.target, &mirror.target_properties)]
                {
                    if *end == cluster.name && !own.is_empty() {
                        let mut all = cluster.properties.clone();
                        all.extend(own.clone());
                        named(cluster, &all);
                    }
                }
            }
        }
        Access::with(rules)
    }
}
