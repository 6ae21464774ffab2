//! MirrorMaker 2's configuration, imported: `mm2.properties` of its dedicated mode and Strimzi's `KafkaMirrorMaker2` resources
//! become clusters and mirrors, and a report that says what became of every key.
//!
//! `dedicated` and `strimzi` read a file into the same `flow` views by their precedence rules; `plan` makes clusters and mirrors of
//! these; `audit` judges the keys. Pure but for reading the file and what its references stand for.

mod audit;
pub mod connector;
pub mod dedicated;
pub mod flow;
mod keys;
mod mirror;
mod plan;
pub mod providers;
pub mod report;
mod strimzi;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use twinlog_proto::properties;

pub use plan::{LABEL, LABEL_VALUE, Options, Plan};

/// Keys and values.
pub type Props = BTreeMap<String, String>;

/// Largest file, bytes.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// A file that can't be read at all. What is wrong with single keys stands in the report.
#[derive(Debug, thiserror::Error)]
pub enum Mm2Error {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is larger than {MAX_FILE_BYTES} bytes", .0.display())]
    TooLarge(PathBuf),
    #[error("{}: {what}", path.display())]
    Invalid { path: PathBuf, what: String },
}

/// A configuration of MirrorMaker 2.
#[derive(Debug)]
pub enum Source {
    Dedicated(dedicated::Dedicated),
    Strimzi(strimzi::Resource),
}

impl Source {
    /// Reads a properties file, or YAML where the name or the content says so.
    pub fn read(path: &Path, secrets_dir: &Path) -> Result<Self, Mm2Error> {
        let unreadable = |source| Mm2Error::Unreadable { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE_BYTES {
            return Err(Mm2Error::TooLarge(path.to_owned()));
        }
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let invalid = |what: String| Mm2Error::Invalid { path: path.to_owned(), what };
        if is_yaml(path, &bytes) {
            let text = String::from_utf8(bytes).map_err(|e| invalid(format!("it is not UTF-8: {e}")))?;
            return strimzi::Resource::parse(&text, secrets_dir).map(Self::Strimzi).map_err(invalid);
        }
        let lines = properties::lines_latin1(&bytes).map_err(|e| invalid(e.to_string()))?;
        let file = dedicated::Dedicated::new(lines);
        if !file.raw().contains_key("clusters") {
            return Err(invalid(without_clusters(path, file.raw())));
        }
        Ok(Self::Dedicated(file))
    }

    /// The clusters and mirrors it makes.
    pub fn plan(&self, options: &Options) -> Plan {
        match self {
            Self::Dedicated(file) => plan::of_dedicated(file, options),
            Self::Strimzi(resource) => plan::of_strimzi(resource, options),
        }
    }
}

/// What a file without `clusters` could be.
fn without_clusters(path: &Path, raw: &Props) -> String {
    if path.extension().is_some_and(|e| e == "toml") {
        return "it looks like settings of `twinlog run`: give it with --config".to_owned();
    }
    if let Some(other) = raw.keys().find(|key| key.eq_ignore_ascii_case("clusters")) {
        return format!("it has no `clusters`, but {other}: write it in lower case");
    }
    if raw.contains_key("bootstrap.servers") {
        return "it has no `clusters`: as the properties of one Kafka client it goes with --source-config or --target-config"
            .to_owned();
    }
    "it has no `clusters`: it is neither an mm2.properties file nor a KafkaMirrorMaker2 resource".to_owned()
}

fn is_yaml(path: &Path, bytes: &[u8]) -> bool {
    let named = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
    let says = bytes.split(|b| *b == b'\n').any(|line| line.trim_ascii() == b"kind: KafkaMirrorMaker2");
    named || says
}

/// The items of a Kafka list value.
pub(crate) fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}
