//! Kubernetes resources, as YAML or JSON, one or many: those of them that mirror.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::connect::{self, Given, Kind};
use super::report::{Effect, Entry};
use super::views::Views;
use super::{Props, strimzi};

const MIRROR: &str = "KafkaMirrorMaker2";
const CONNECTOR: &str = "KafkaConnector";
const CONNECT: &str = "KafkaConnect";
const MIRROR_1: &str = "KafkaMirrorMaker";
const CONFIG_MAP: &str = "ConfigMap";
/// Strimzi's own defaults where `v1beta2` says nothing.
const CONNECT_GROUP: &str = "connect-cluster";
const CONNECT_OFFSETS: &str = "connect-cluster-offsets";

#[cfg(test)]
pub(super) fn parse(text: &str, secrets_dir: &Path) -> Result<Views, String> {
    let documents = documents(text)?;
    of_documents(&documents, secrets_dir)
}

/// Every document of the text, lists taken apart.
pub(super) fn documents(text: &str) -> Result<Vec<Value>, String> {
    let mut found = Vec::new();
    for document in serde_norway::Deserializer::from_str(text) {
        let unreadable = |e: &dyn std::fmt::Display| match text.contains("{{") {
            true => format!("it is a template: render it first, as `helm template` does ({e})"),
            false => format!("it is not YAML: {e}"),
        };
        let mut yaml = serde_norway::Value::deserialize(document).map_err(|e| unreadable(&e))?;
        // `<<: *anchor`, which kubectl resolves before the cluster sees it.
        yaml.apply_merge().map_err(|e| unreadable(&e))?;
        let value = serde_json::to_value(yaml).map_err(|e| unreadable(&e))?;
        take_apart(value, &mut found);
    }
    Ok(found)
}

/// The same of one value.
pub(super) fn apart(value: Value) -> Vec<Value> {
    let mut found = Vec::new();
    take_apart(value, &mut found);
    found
}

/// `kind: List`, and lists of one kind, as `kubectl get -o yaml` prints them.
fn take_apart(value: Value, found: &mut Vec<Value>) {
    let is_list = value["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    match value {
        Value::Object(mut object) if is_list => {
            if let Some(Value::Array(items)) = object.remove("items") {
                items.into_iter().for_each(|item| take_apart(item, found));
            }
        }
        Value::Array(items) => items.into_iter().for_each(|item| take_apart(item, found)),
        Value::Null => {}
        other => found.push(other),
    }
}

fn kind(value: &Value) -> &str {
    value["kind"].as_str().unwrap_or_default()
}

fn name(value: &Value) -> String {
    value["metadata"]["name"].as_str().unwrap_or("(without a name)").to_owned()
}

/// What the resources come to.
///
/// # Errors
/// What is wrong with them, and what to do.
pub(super) fn of_documents(documents: &[Value], secrets_dir: &Path) -> Result<Views, String> {
    let of_kind = |wanted: &'static str| documents.iter().filter(move |value| kind(value) == wanted);
    let mirrors: Vec<&Value> = of_kind(MIRROR).collect();
    let mut all = Views::default();
    for value in &mirrors {
        let mut views = strimzi::read(value, secrets_dir)?;
        if mirrors.len() > 1 {
            let name = name(value);
            for entry in &mut views.report {
                entry.key = format!("{name}: {}", entry.key);
            }
        }
        all.join(views, &format!("the {MIRROR} {}", name(value)))?;
    }
    let mut others = Vec::new();
    let connectors: Vec<Given> = of_kind(CONNECTOR)
        .filter_map(|value| connector(value).map_err(|other| others.push(other)).ok())
        .collect();
    if !connectors.is_empty() {
        let worker = worker(documents, of_kind(CONNECTOR).next());
        all.join(connect::views(connectors, &worker, secrets_dir), CONNECTOR)?;
    }
    all.report.extend(others);
    if all.flows.is_empty() && all.report.iter().all(|entry| entry.effect != Effect::Invalid) {
        return Err(nothing(documents));
    }
    if let Some(first) = of_kind(MIRROR_1).next() {
        all.report.push(Entry::new(
            Effect::Invalid,
            format!("{MIRROR_1} {}", name(first)),
            mirror_maker_1(first),
        ));
    }
    Ok(all)
}

/// A `KafkaConnector`; one that isn't of MM2's classes is left alone.
fn connector(value: &Value) -> Result<Given, Entry> {
    let (name, spec) = (name(value), &value["spec"]);
    let class = spec["class"].as_str().unwrap_or_default();
    let Some(kind) = Kind::of(class) else {
        let why = format!("{class} is none of MirrorMaker's connectors: it is left alone");
        return Err(Entry::new(Effect::Ignored, format!("{CONNECTOR} {name}"), why));
    };
    let config = spec["config"].as_object().into_iter().flatten();
    let mut props: Props = config.map(|(key, value)| (key.clone(), strimzi::text(value))).collect();
    props.insert("connector.class".to_owned(), class.to_owned());
    if !spec["tasksMax"].is_null() {
        props.entry("tasks.max".to_owned()).or_insert_with(|| strimzi::text(&spec["tasksMax"]));
    }
    let paused = match spec["state"].as_str() {
        Some(state) => state != "running",
        None => spec["pause"] == Value::Bool(true),
    };
    Ok(Given {
        place: format!("{name}: "),
        name,
        kind,
        props,
        paused,
        lines: Default::default(),
        secrets: None,
    })
}

/// The configuration of the Connect cluster that a connector is for, where it stands in the same file.
fn worker(documents: &[Value], connector: Option<&Value>) -> Props {
    let cluster = connector.and_then(|value| value["metadata"]["labels"]["strimzi.io/cluster"].as_str());
    let found =
        documents.iter().find(|value| kind(value) == CONNECT && cluster.is_none_or(|of| name(value) == of));
    let Some(found) = found else { return Props::new() };
    let spec = &found["spec"];
    let config = spec["config"].as_object().into_iter().flatten();
    let mut props: Props = config.map(|(key, value)| (key.clone(), strimzi::text(value))).collect();
    for (field, key, default) in [
        ("groupId", "group.id", CONNECT_GROUP),
        ("offsetStorageTopic", "offset.storage.topic", CONNECT_OFFSETS),
    ] {
        let given = spec[field].as_str().unwrap_or(default);
        props.entry(key.to_owned()).or_insert_with(|| given.to_owned());
    }
    props
}

/// What to do with a file in which nothing mirrors.
fn nothing(documents: &[Value]) -> String {
    if let Some(first) = documents.iter().find(|value| kind(value) == MIRROR_1) {
        return format!("the {MIRROR_1} {}: {}", name(first), mirror_maker_1(first));
    }
    let data = |value: &&Value| value["data"].as_object().is_some_and(|data| data.values().any(mirrors));
    if let Some(map) = documents.iter().filter(|value| kind(value) == CONFIG_MAP).find(data) {
        let key = map["data"]
            .as_object()
            .into_iter()
            .flatten()
            .find(|(_, text)| mirrors(text))
            .map(|(key, _)| key.clone());
        let (name, key) = (name(map), key.unwrap_or_default());
        return format!(
            "MirrorMaker's configuration is in the {CONFIG_MAP} {name}: write it into a file and give that one: kubectl get configmap {name} -o jsonpath='{{.data.{}}}' > {key}",
            key.replace('.', "\\.")
        );
    }
    let kinds: Vec<&str> = documents.iter().map(kind).filter(|kind| !kind.is_empty()).collect();
    match kinds.is_empty() {
        true => "it holds no resource of kind KafkaMirrorMaker2 or KafkaConnector, nor any other. Values of a Helm chart have to be rendered first: helm template NAME CHART -f FILE > rendered.yaml".to_owned(),
        false => format!("it holds no resource of kind {MIRROR}, and no {CONNECTOR} with one of MirrorMaker 2's classes, but {}", kinds.join(", ")),
    }
}

fn mirrors(text: &Value) -> bool {
    let lines = text.as_str().unwrap_or_default().lines();
    lines.map(str::trim).any(|line| line.starts_with("clusters") || line.contains(".MirrorSourceConnector"))
}

/// MirrorMaker 1 is one command here.
fn mirror_maker_1(value: &Value) -> String {
    let spec = &value["spec"];
    let servers = |end: &str| spec[end]["bootstrapServers"].as_str().unwrap_or("HOST:PORT").to_owned();
    let topics = ["include", "whitelist"].iter().find_map(|key| spec[*key].as_str()).unwrap_or(".*");
    let secured = ["consumer", "producer"]
        .iter()
        .any(|end| !spec[*end]["tls"].is_null() || !spec[*end]["authentication"].is_null());
    // Strimzi's MirrorMaker 1 has Java's defaults.
    let start = match spec["consumer"]["config"]["auto.offset.reset"].as_str() {
        Some("earliest") => "earliest",
        _ => "latest",
    };
    let group = spec["consumer"]["groupId"].as_str().unwrap_or("GROUP");
    let config = match secured {
        true => {
            ". Its TLS and credentials go into client properties, with --source-config FILE and --target-config FILE"
        }
        false => "",
    };
    format!(
        "MirrorMaker 1 is not read from a resource. The same is: twinlog run --source {} --target {} --topics '{topics}' --naming identity --partitioning by-key --start-group {group} --start {start}{config}. It begins where MirrorMaker 1's group has got to, once that has ended",
        servers("consumer"),
        servers("producer"),
    )
}
