//! What kind of file it is, and what several of them are together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use twinlog_proto::properties;

use super::connect::{self, Given, Kind};
use super::dedicated::Dedicated;
use super::views::Held;
use super::views::Views;
use super::{Mm2Error, Options, Plan, Props, kubernetes, plan};
use crate::named_file;

/// A configuration of MirrorMaker 2.
#[derive(Debug)]
pub(crate) enum Source {
    Dedicated(Box<Dedicated>),
    Views(Box<Views>),
}

/// What one file holds.
enum Part {
    Dedicated(Box<Dedicated>),
    Resources(Vec<Value>),
    Connectors(Vec<Given>),
    /// Of a Connect worker, `connect-distributed.properties` or `connect-standalone.properties`.
    Worker(Props),
}

impl Source {
    /// Reads one file, or all that make a flow: connectors one by one, with their Connect worker's own file.
    ///
    /// # Errors
    /// A file that can't be read, or that isn't MirrorMaker's, with what to do.
    pub(crate) fn read(paths: &[PathBuf], secrets_dir: &Path) -> Result<Self, Mm2Error> {
        let (mut resources, mut connectors, mut worker) = (Vec::new(), Vec::new(), Props::new());
        for (index, path) in paths.iter().enumerate() {
            let invalid = |what: String| Mm2Error::Invalid { path: path.clone(), what };
            match part(path, index, paths.len(), secrets_dir)? {
                Part::Dedicated(file) if paths.len() == 1 => return Ok(Self::Dedicated(file)),
                Part::Dedicated(_) => {
                    return Err(invalid(
                        "an mm2.properties file has all of its flows: give it alone".to_owned(),
                    ));
                }
                Part::Resources(found) => resources.extend(found),
                Part::Connectors(found) => connectors.extend(found),
                Part::Worker(found) => worker.extend(found),
            }
        }
        let together = |what: String| match paths {
            [path] => Mm2Error::Invalid { path: path.clone(), what },
            _ => Mm2Error::Together(what),
        };
        let mut views = match resources.is_empty() {
            true => Views::default(),
            false => kubernetes::of_documents(&resources, secrets_dir).map_err(together)?,
        };
        if !connectors.is_empty() {
            let of_connect = connect::views(connectors, &worker, secrets_dir);
            views.join(of_connect, "the connectors").map_err(together)?;
        }
        if views.flows.is_empty() && views.report.is_empty() {
            let what = "it configures a Connect worker, not what runs there: give the connectors' files, too";
            return Err(together(what.to_owned()));
        }
        Ok(Self::Views(Box::new(views)))
    }

    /// The clusters and mirrors it makes.
    pub(crate) fn plan(&self, options: &Options) -> Plan {
        match self {
            Self::Dedicated(file) => plan::of_dedicated(file, options),
            Self::Views(views) => plan::of_views(views, options),
        }
    }
}

fn part(path: &Path, index: usize, files: usize, secrets_dir: &Path) -> Result<Part, Mm2Error> {
    let unreadable = |source| Mm2Error::Unreadable { path: path.to_owned(), source };
    let bytes = named_file::read(path).map_err(unreadable)?;
    let invalid = |what: String| Mm2Error::Invalid { path: path.to_owned(), what };
    let label = if files > 1 { format!("{}: ", path.display()) } else { String::new() };
    let bare = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes).trim_ascii_start();
    if bare.starts_with(b"{") || bare.starts_with(b"[") {
        return json(bare, &label, index).map_err(invalid);
    }
    if is_yaml(path, &bytes) {
        let text = String::from_utf8(bytes).map_err(|e| invalid(format!("it is not UTF-8: {e}")))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        return yaml(text, &label).map_err(invalid);
    }
    let lines = properties::lines_latin1(&bytes).map_err(|e| invalid(e.to_string()))?;
    let file = Dedicated::new(lines, secrets_dir);
    if file.raw().contains_key("clusters") {
        return Ok(Part::Dedicated(Box::new(file)));
    }
    if let Some(class) = file.raw().get("connector.class") {
        let kind = Kind::of(class).ok_or_else(|| invalid(foreign(std::slice::from_ref(class))))?;
        return Ok(Part::Connectors(vec![standalone(&file, kind, label, index)]));
    }
    let of_connect = ["offset.storage.topic", "offset.storage.file.filename"];
    if of_connect.iter().any(|key| file.raw().contains_key(*key)) {
        return Ok(Part::Worker(file.raw().clone()));
    }
    Err(invalid(without_clusters(path, file.raw())))
}

/// A file for `connect-standalone`.
fn standalone(file: &Dedicated, kind: Kind, label: String, index: usize) -> Given {
    let lines: BTreeMap<String, usize> =
        file.raw().keys().filter_map(|key| Some((key.clone(), file.line(key)?))).collect();
    Given {
        name: file.raw().get("name").map(|name| name.trim().to_owned()).unwrap_or_default(),
        kind,
        props: file.raw().clone(),
        paused: false,
        place: label,
        lines,
        secrets: Some(Held { file: index, pointer: String::new() }),
    }
}

fn json(bytes: &[u8], label: &str, index: usize) -> Result<Part, String> {
    let mut values = Vec::new();
    for value in serde_json::Deserializer::from_slice(bytes).into_iter::<Value>() {
        values.push(value.map_err(|e| match e.is_data() {
            true => format!("it can't be read: {e}"),
            false => format!("it is not JSON: {e}"),
        })?);
    }
    // A pointer into one of several values has no meaning for others.
    let file = (values.len() == 1).then_some(index);
    of_values(&values, label, file)
}

fn yaml(text: &str, label: &str) -> Result<Part, String> {
    let documents = kubernetes::documents(text)?;
    let is_resource = |value: &Value| value["kind"].is_string();
    if documents.iter().any(is_resource) || !text.contains("connector.class") {
        return Ok(Part::Resources(documents));
    }
    // Secrets in YAML have no name that workers could read them by.
    of_values(&documents, label, None)
}

fn of_values(values: &[Value], label: &str, file: Option<usize>) -> Result<Part, String> {
    if values.iter().any(|value| value["kind"].is_string()) {
        return Ok(Part::Resources(
            values.iter().flat_map(|value| kubernetes::apart(value.clone())).collect(),
        ));
    }
    let (mut given, mut others) = (Vec::new(), Vec::new());
    for value in values {
        let (found, foreign) = connect::of_json(value, label, file);
        given.extend(found);
        others.extend(foreign);
    }
    match (given.is_empty(), others.is_empty()) {
        (true, true) => {
            Err("it holds no connector: one has connector.class, and its configuration beside it".to_owned())
        }
        (true, false) => Err(foreign(&others)),
        _ => Ok(Part::Connectors(given)),
    }
}

fn foreign(classes: &[String]) -> String {
    format!(
        "it holds no connector of MirrorMaker 2's, but {}: MirrorMaker's are org.apache.kafka.connect.mirror.MirrorSourceConnector, MirrorCheckpointConnector and MirrorHeartbeatConnector",
        classes.join(", ")
    )
}

/// What a file without `clusters` could be.
fn without_clusters(path: &Path, raw: &Props) -> String {
    if path.extension().is_some_and(|e| e == "toml") {
        return "it looks like settings of `twinlog run`: give it with --config".to_owned();
    }
    if let Some(other) = raw.keys().find(|key| key.eq_ignore_ascii_case("clusters")) {
        return format!("it has no `clusters`, but {other}: write it in lower case");
    }
    if raw.contains_key("group.id") {
        return "it has no `clusters`: it is a consumer's, as MirrorMaker 1 takes it: twinlog run --source-config consumer.properties --target-config producer.properties --topics 'PATTERN' --naming identity --partitioning by-key begins where its group has got to"
            .to_owned();
    }
    if raw.contains_key("bootstrap.servers") {
        return "it has no `clusters`: as the properties of one Kafka client it goes with --source-config or --target-config"
            .to_owned();
    }
    "it has no `clusters` and no `connector.class`: it is neither an mm2.properties file, nor a connector's, nor a KafkaMirrorMaker2 resource".to_owned()
}

fn is_yaml(path: &Path, bytes: &[u8]) -> bool {
    let named = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
    let says =
        |line: &[u8]| line.starts_with(b"apiVersion:") || line.trim_ascii() == b"kind: KafkaMirrorMaker2";
    named || bytes.split(|b| *b == b'\n').any(says)
}
