//! MirrorMaker 2's configuration, imported: `mm2.properties` of its dedicated mode, connectors as Kafka Connect takes them, and
//! Strimzi's resources become clusters and mirrors, and a report that says what became of every key.
//!
//! `dedicated`, `connect` and `strimzi` read files into the same `flow` views by their precedence rules; `plan` makes clusters and
//! mirrors of these; `audit` judges the keys. Pure but for reading the files and what their references stand for.

mod audit;
#[cfg(test)]
mod cases;
pub(crate) mod connect;
pub(crate) mod connector;
pub(crate) mod dedicated;
pub(crate) mod flow;
mod keys;
mod kubernetes;
mod mirror;
mod plan;
pub(crate) mod providers;
pub(crate) mod report;
mod source;
mod strimzi;
pub(crate) mod views;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub(crate) use plan::{LABEL, LABEL_VALUE, Options, Plan};
pub(crate) use source::Source;

/// Keys and values.
pub(crate) type Props = BTreeMap<String, String>;

/// A file that can't be read at all. What is wrong with single keys stands in the report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Mm2Error {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{}: {what}", path.display())]
    Invalid { path: PathBuf, what: String },
    #[error("{0}")]
    Together(String),
}

/// The items of a Kafka list value.
pub(crate) fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}
