//! Connectors in JSON, in whatever form: what is sent to Connect's REST interface (POST, PUT), what it answers, lists and maps of
//! these, what AWS's MSK Connect takes.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Given, Kind};
use crate::mm2::strimzi::text;
use crate::mm2::views::Held;

const CLASS: &str = "connector.class";
/// How deep a connector may stand.
const MAX_DEPTH: usize = 8;

/// Every connector of MM2's in the value, and the classes of others.
pub(crate) fn connectors(value: &Value, label: &str, file: Option<usize>) -> (Vec<Given>, Vec<String>) {
    let mut found = Found { label, file, given: Vec::new(), others: Vec::new() };
    found.walk(value, "", &Names::default(), 0);
    (found.given, found.others)
}

/// What the objects around a configuration say of it.
#[derive(Default, Clone)]
struct Names {
    name: Option<String>,
    paused: bool,
}

struct Found<'a> {
    label: &'a str,
    file: Option<usize>,
    given: Vec<Given>,
    others: Vec<String>,
}

impl Found<'_> {
    fn walk(&mut self, value: &Value, pointer: &str, around: &Names, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        match value {
            Value::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    self.walk(item, &format!("{pointer}/{i}"), around, depth + 1);
                }
            }
            Value::Object(object) if object.get(CLASS).is_some_and(Value::is_string) => {
                self.take(object, pointer, around);
            }
            Value::Object(object) => {
                for (key, inner) in object {
                    let escaped = key.replace('~', "~0").replace('/', "~1");
                    let names = around.within(object, key);
                    self.walk(inner, &format!("{pointer}/{escaped}"), &names, depth + 1);
                }
            }
            _ => {}
        }
    }

    fn take(&mut self, config: &Map<String, Value>, pointer: &str, around: &Names) {
        let class = config.get(CLASS).and_then(Value::as_str).unwrap_or_default();
        let Some(kind) = Kind::of(class) else {
            self.others.push(class.to_owned());
            return;
        };
        let name =
            config.get("name").and_then(Value::as_str).map(str::to_owned).or_else(|| around.name.clone());
        let name = name.unwrap_or_default();
        let called = if name.is_empty() { String::new() } else { format!("{name}: ") };
        let secrets = self.file.map(|file| Held { file, pointer: format!("{pointer}/") });
        self.given.push(Given {
            place: format!("{}{called}", self.label),
            name,
            kind,
            props: config.iter().map(|(key, value)| (key.clone(), text(value))).collect(),
            paused: around.paused,
            lines: BTreeMap::new(),
            secrets,
        });
    }
}

impl Names {
    /// Of what stands under this key of the object: its own name, or the key where that is all there is.
    fn within(&self, object: &Map<String, Value>, key: &str) -> Self {
        let own = ["name", "connectorName"].iter().find_map(|key| object.get(*key)?.as_str());
        let wrapper = ["config", "connectorConfiguration", "info", "connectors", "items", "spec", "status"]
            .contains(&key);
        let name = match (own, wrapper) {
            (Some(own), _) => Some(own.to_owned()),
            (None, true) => self.name.clone(),
            (None, false) => Some(key.to_owned()),
        };
        // A connector may be made without being started, and Connect says what it does now.
        let states = [
            object.get("initial_state"),
            object.get("status").and_then(|status| status.pointer("/connector/state")),
        ];
        let idle = |state: &Value| state.as_str().is_some_and(|state| ["PAUSED", "STOPPED"].contains(&state));
        Self { name, paused: self.paused || states.into_iter().flatten().any(idle) }
    }
}
