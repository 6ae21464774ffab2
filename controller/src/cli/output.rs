//! What a command prints: tables for people, JSON or YAML (ProtoJSON, with the API's field names) for programs.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use prost::Message;
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde::Deserialize;
use serde_json::Value;

use super::failure::{Failure, Kind};
use crate::descriptors;

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
            Format::Json => format!("{value:#}"),
            Format::Yaml => serde_norway::to_string(&value)
                .map_err(|e| Failure::new(Kind::Failed, format!("cannot write YAML: {e}")))?,
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
            _ => print(&value.to_string()),
        }
    }
}

/// A closed pipe (`twinlog ... | head`) ends the program without a complaint.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}

pub(super) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// A message of the API as JSON; `name` is its name in the package.
pub(super) fn json<M: Message>(name: &str, message: &M) -> Value {
    let dynamic = DynamicMessage::decode(descriptors::message(name), message.encode_to_vec().as_slice())
        .expect("it was encoded with the same descriptor");
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false)
        .skip_default_fields(false);
    dynamic
        .serialize_with_options(serde_json::value::Serializer, &options)
        .expect("JSON values hold any message")
}

pub(super) fn json_list<M: Message>(name: &str, messages: &[M]) -> Value {
    messages.iter().map(|message| json(name, message)).collect()
}

/// Columns as wide as they must be. Columns of numbers are aligned to the right.
pub(super) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new<const N: usize>(header: [&'static str; N]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| if cell.is_empty() { "-".to_owned() } else { cell }).to_vec());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn render(&self) -> String {
        let columns: Vec<Column> = (0..self.header.len()).map(|i| self.column(i)).collect();
        let mut text = String::new();
        let header: Vec<String> = self.header.iter().map(|cell| (*cell).to_owned()).collect();
        for row in std::iter::once(&header).chain(&self.rows) {
            let mut line = String::new();
            for (cell, column) in row.iter().zip(&columns) {
                let width = column.width;
                let _ = match column.right {
                    true => write!(line, "{cell:>width$}   "),
                    false => write!(line, "{cell:<width$}   "),
                };
            }
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }

    fn column(&self, i: usize) -> Column {
        let cells = self.rows.iter().map(|row| row[i].as_str());
        let width = cells.clone().chain([self.header[i]]).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let number = |cell: &str| cell == "-" || cell.starts_with(|c: char| c.is_ascii_digit() || c == '-');
        let right = self.rows.iter().any(|row| row[i] != "-") && cells.clone().all(number);
        Column { width, right }
    }
}

struct Column {
    width: usize,
    right: bool,
}

#[cfg(test)]
mod tests {
    use twinlog_proto::v1;

    use super::*;

    #[test]
    fn columns_fit_their_cells_and_numbers_stand_right() {
        let mut table = Table::new(["ID", "LAG", "NOTE"]);
        table.row(["orders".to_owned(), "7".to_owned(), "fine".to_owned()]);
        table.row(["a".to_owned(), "1,234".to_owned(), String::new()]);
        assert_eq!(table.render(), "ID         LAG   NOTE\norders       7   fine\na        1,234   -\n");
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
        assert_eq!(shown["guarantee"], "AT_LEAST_ONCE");
        assert_eq!(shown["target_latency"], "1.500s");
        // A program finds every plain field, also where it holds nothing.
        assert_eq!((&shown["sync_group_offsets"], &shown["block_size"]), (&false.into(), &0.into()));
    }
}
