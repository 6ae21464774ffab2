//! What a file that is no `mm2.properties` comes to: clusters, flows, and what is said of its keys.

use super::Props;
use super::flow::{ClusterView, FlowView};
use super::report::Entry;

/// Where a key's value can be read again.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    /// Index of the file, in the order in which they were given.
    pub(crate) file: usize,
    /// A JSON pointer to the configuration; empty for a properties file.
    pub(crate) pointer: String,
}

impl Held {
    pub(super) fn below(self, prefix: &str) -> Self {
        Self { pointer: format!("{}{prefix}", self.pointer), ..self }
    }
}

/// A file's clusters and flows.
#[derive(Debug, Default)]
pub(crate) struct Views {
    pub(super) clusters: Vec<ClusterView>,
    pub(super) flows: Vec<FlowView>,
    pub(super) report: Vec<Entry>,
    pub(super) notes: Vec<String>,
    /// Connectors of a Connect cluster that the file doesn't describe: where it keeps positions must be said.
    pub(super) connect: bool,
    /// The file in which `connect-standalone` keeps positions.
    pub(super) standalone: Option<String>,
    /// Values of the file, by the cluster or flow that they are for, with their keys and where they can be read again.
    pub(super) held: Vec<(String, String, String, Option<Held>)>,
}

impl Views {
    /// What is said of these keys instead of anything else.
    pub(super) fn replace(&mut self, entries: Vec<Entry>) {
        self.report.retain(|entry| !entries.iter().any(|other| other.key == entry.key));
        self.report.extend(entries);
    }

    /// The views of another file beside these. Clusters of one name must be one.
    ///
    /// # Errors
    /// Two clusters have the same alias and different servers.
    pub(super) fn join(&mut self, other: Self, name: &str) -> Result<(), String> {
        for cluster in other.clusters {
            let servers = |props: &Props| props.get("bootstrap.servers").cloned();
            match self.clusters.iter().find(|known| known.alias == cluster.alias) {
                Some(known) if servers(&known.admin) != servers(&cluster.admin) => {
                    return Err(format!(
                        "{name} calls another cluster {:?} than a resource before it: write each of these resources into a file of its own",
                        cluster.alias
                    ));
                }
                Some(_) => {}
                None => self.clusters.push(cluster),
            }
        }
        self.flows.extend(other.flows);
        self.report.extend(other.report);
        self.notes.extend(other.notes);
        self.held.extend(other.held);
        self.connect |= other.connect;
        self.standalone = self.standalone.take().or(other.standalone);
        Ok(())
    }
}
