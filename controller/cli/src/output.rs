//! What a command prints: tables for people, JSON or YAML (ProtoJSON, with the API's field names) for programs.

use std::io::{IsTerminal, Write as _};

use prost::Message;
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde::Deserialize;
use serde_json::Value;
use twinlog_proto::text::{is_hidden, visible_lines};

use super::failure::{Failure, Kind};
pub(super) use super::table::Table;
use super::table::wrap;
use twinlog_controller::descriptors;

/// Columns where neither a terminal nor COLUMNS says how many there are.
const DEFAULT_WIDTH: usize = 160;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    #[default]
    Table,
    Json,
    Yaml,
}

pub(super) struct Output {
    format: Format,
}

impl Output {
    pub(super) fn new(format: Format) -> Self {
        Self { format }
    }

    pub(super) fn is_table(&self) -> bool {
        self.format == Format::Table
    }

    /// `table` is only asked where it is wanted.
    pub(super) fn show(&self, value: Value, table: impl FnOnce() -> String) -> Result<(), Failure> {
        let text = match self.format {
            Format::Table => table(),
            Format::Json => plain_json(&format!("{value:#}")),
            Format::Yaml => yaml(&value)?,
        };
        print(text.trim_end())
    }

    /// One document per line or, in YAML, between `---`: for streams.
    pub(super) fn show_event(&self, value: Value) -> Result<(), Failure> {
        match self.format {
            Format::Yaml => {
                print("---")?;
                self.show(value, String::new)
            }
            _ => print(&plain_json(&value.to_string())),
        }
    }
}

/// JSON with what a terminal would obey or hide as `\u` escapes: the same value.
fn plain_json(text: &str) -> String {
    escaped(text, |c| c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect())
}

fn escaped(text: &str, escape: impl Fn(char) -> String) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c != '\n' && is_hidden(c) {
            true => plain.push_str(&escape(c)),
            false => plain.push(c),
        }
    }
    plain
}

fn yaml(value: &Value) -> Result<String, Failure> {
    let text = serde_norway::to_string(value)
        .map_err(|e| Failure::new(Kind::Failed, format!("cannot write YAML: {e}")))?;
    // Not every way of writing a text in YAML knows escapes. JSON is YAML, too, but for what lies outside of 16 bits.
    let is_plain = text.chars().all(|c| c == '\n' || !is_hidden(c));
    let escape = |c: char| match u32::from(c) {
        c @ ..=0xffff => format!("\\u{c:04x}"),
        c => format!("\\U{c:08x}"),
    };
    Ok(if is_plain { text } else { escaped(&format!("{value:#}"), escape) })
}

/// Columns of the terminal; COLUMNS wins.
pub(super) fn width() -> usize {
    let given = std::env::var("COLUMNS").ok().and_then(|columns| columns.trim().parse().ok());
    let terminal = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    given
        .filter(|columns| *columns > 0)
        .or_else(terminal)
        .filter(|columns| *columns > 0)
        .unwrap_or(DEFAULT_WIDTH)
}

/// A text of its own between others, wrapped where the terminal ends.
pub(super) fn paragraph(indent: &str, text: &str) -> String {
    let lines = wrap(text, width().saturating_sub(indent.len()), usize::MAX);
    lines.iter().map(|line| format!("{indent}{line}\n")).collect()
}

/// What a terminal would obey is written out, whoever wrote it. A closed pipe (`twinlog ... | head`) ends the program without a
/// complaint.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{}", visible_lines(text)) {
        #[expect(
            clippy::exit,
            reason = "nobody reads any more: there is nothing left to say, and nothing to clean up"
        )]
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}

pub(super) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// A message of the API as JSON; `name` is its name in the package. What JSON can't hold (a time that is none) is said in its place.
pub(super) fn json<M: Message>(name: &str, message: &M) -> Value {
    let dynamic = DynamicMessage::decode(descriptors::message(name), message.encode_to_vec().as_slice())
        .expect("it was encoded with the same descriptor");
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false)
        .skip_default_fields(false);
    dynamic
        .serialize_with_options(serde_json::value::Serializer, &options)
        .unwrap_or_else(|error| serde_json::json!({ "unreadable": format!("{name}: {error}") }))
}

pub(super) fn json_list<M: Message>(name: &str, messages: &[M]) -> Value {
    messages.iter().map(|message| json(name, message)).collect()
}

impl Table {
    /// As text for the present terminal.
    pub(super) fn render(&self) -> String {
        self.render_within(width())
    }
}

#[cfg(test)]
mod tests {
    use twinlog_proto::v1;

    use super::*;

    #[test]
    fn a_time_that_json_can_not_hold_is_no_panic() {
        let far = prost_types::Timestamp { seconds: 1 << 60, nanos: 0 };
        let mirror = v1::Mirror { create_time: Some(far), ..Default::default() };
        assert!(json("Mirror", &mirror)["unreadable"].as_str().unwrap().contains("Mirror"));
    }

    #[test]
    fn json_uses_the_names_of_the_api() {
        let mirror = v1::Mirror {
            name: "mirrors/m".to_owned(),
            topics_exclude: vec!["x".to_owned()],
            guarantee: v1::Guarantee::AtLeastOnce.into(),
            target_latency: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }),
            ..v1::Mirror::default()
        };
        let shown = json("Mirror", &mirror);
        assert_eq!(shown["name"], "mirrors/m");
        assert_eq!(shown["topics_exclude"], serde_json::json!(["x"]));
        assert_eq!(shown["guarantee"], "GUARANTEE_AT_LEAST_ONCE");
        assert_eq!(shown["target_latency"], "1.500s");
        // A program finds every plain field, also where it holds nothing.
        assert_eq!((&shown["sync_group_offsets"], &shown["block_size"]), (&false.into(), &0.into()));
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_stays_the_same_value() {
        let value = serde_json::json!({ "name": "a\u{202e}b\u{1b}[2J\u{9b}c\nd\u{e0041}" });
        let yaml_text = yaml(&value).unwrap();
        for text in [&plain_json(&format!("{value:#}")), &plain_json(&value.to_string()), &yaml_text] {
            assert!(text.chars().all(|c| c == '\n' || !is_hidden(c)), "{text:?}");
        }
        assert_eq!(serde_json::from_str::<Value>(&plain_json(&value.to_string())).unwrap(), value);
        assert_eq!(serde_norway::from_str::<Value>(&yaml_text).unwrap(), value, "{yaml_text}");
        assert_eq!(yaml(&serde_json::json!({ "a": "b" })).unwrap(), "a: b\n");
    }
}
