//! Log lines as they leave: one event is one line of bounded length, and holds nothing that a terminal would obey, whatever
//! topics, brokers and callers call their things.

use std::io::Write;

use tracing_subscriber::fmt::MakeWriter;

use super::LogFormat;
use crate::text::{sentence, squeeze, visible};

/// Characters of a line.
const LONGEST: usize = 8_000;

/// Where lines go: stderr, in one piece each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    pub(super) format: LogFormat,
    /// Lines have colours of their own: these stay.
    pub(super) coloured: bool,
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

impl Write for Lines {
    /// Called once for each event, with all of it.
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = format!("{}\n", self.line(text.trim_end_matches('\n')));
        std::io::stderr().lock().write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

impl Lines {
    fn line(self, event: &str) -> String {
        match self.format {
            LogFormat::Json => json(event),
            LogFormat::Human if self.coloured => {
                squeeze(&event.split('\x1b').enumerate().map(after_escape).collect::<String>(), LONGEST)
                    .into_owned()
            }
            LogFormat::Human => squeeze(&visible(&squeeze(event, LONGEST)), LONGEST).into_owned(),
        }
    }
}

/// What stands behind an ESC: a colour, or something else, which is written out.
fn after_escape((number, text): (usize, &str)) -> String {
    let colour = text.strip_prefix('[').and_then(|rest| rest.split_once('m'));
    match colour.filter(|(code, _)| code.chars().all(|c| c.is_ascii_digit() || c == ';')) {
        Some((code, rest)) if number > 0 => format!("\x1b[{code}m{}", visible(rest)),
        _ if number > 0 => format!("\\u{{1b}}{}", visible(text)),
        _ => visible(text).into_owned(),
    }
}

/// A line stays JSON: where it is too long its texts are cut.
fn json(event: &str) -> String {
    if event.len() <= LONGEST {
        return event.to_owned();
    }
    match serde_json::from_str(event) {
        Ok(mut value) => {
            cut(&mut value);
            value.to_string()
        }
        Err(_) => serde_json::json!({ "message": squeeze(event, LONGEST) }).to_string(),
    }
}

fn cut(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => *text = sentence(text),
        serde_json::Value::Array(values) => {
            values.truncate(100);
            values.iter_mut().for_each(cut);
        }
        serde_json::Value::Object(fields) => fields.values_mut().for_each(cut),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUMAN: Lines = Lines { format: LogFormat::Human, coloured: false };

    #[test]
    fn a_line_is_one_line_and_obeys_nobody() {
        let event = "WARN lane: topic \x1b]0;x\x07 \u{202e}\nINFO forged";
        assert_eq!(HUMAN.line(event), "WARN lane: topic \\u{1b}]0;x\\u{7} \\u{202e}\\nINFO forged");
        let coloured = Lines { coloured: true, ..HUMAN };
        assert_eq!(coloured.line("\x1b[33m WARN\x1b[0m a\x1b[2Jb"), "\x1b[33m WARN\x1b[0m a\\u{1b}[2Jb");
    }

    #[test]
    fn a_line_of_megabytes_is_cut_and_stays_what_it_is() {
        let long = "x ".repeat(1 << 20);
        assert!(HUMAN.line(&long).chars().count() <= LONGEST);
        let event =
            serde_json::json!({ "level": "WARN", "message": long, "lane": { "topic": long } }).to_string();
        let line = Lines { format: LogFormat::Json, coloured: false }.line(&event);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(line.len() < LONGEST && value["level"] == "WARN", "{line}");
    }
}
