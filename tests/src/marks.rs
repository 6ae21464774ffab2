//! Marks in the keys, values and headers of test records, and the search for them: no log, status, error, metrics page or trace
//! of Twinlog's may show what records hold.
//!
//! Every load's values have the mark (`tests/java/Load.java`), and a sandbox searches the logs of our processes at its end: so
//! every scenario proves it along with its own story.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// In keys.
pub const KEY: &str = "mark-of-a-key-7c1f";
/// In values.
pub const VALUE: &str = "mark-of-a-value-7c1f";
/// In headers' values.
pub const HEADER: &str = "mark-of-a-header-7c1f";

/// The start of what the marks have in common, in the ways that a program may show bytes.
fn shapes() -> [String; 4] {
    let start = &KEY[.."mark-of-a-".len()];
    let bytes = start.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>();
    let hex: String = start.bytes().map(|byte| format!("{byte:02x}")).collect();
    [start.to_owned(), bytes.join(", "), bytes.join(","), hex]
}

/// What shows of a record's content in `text`, with what stands around it.
pub fn find(text: &str) -> Option<String> {
    let found = shapes().iter().find_map(|shape| text.find(shape.as_str()))?;
    let start = text[..found].char_indices().rev().nth(300).map_or(0, |(at, _)| at);
    Some(text[start..].chars().take(700).collect())
}

/// Panics where `text` shows content.
///
/// # Panics
/// That is what it is for.
pub fn none_in(what: &str, text: &str) {
    if let Some(found) = find(text) {
        panic!("{what} shows what a record holds: ... {found} ...");
    }
}

/// The first content that shows in the logs of our own processes in a sandbox's folder, and where.
pub(crate) fn in_logs(sandbox: &Path) -> Option<String> {
    let entries = std::fs::read_dir(sandbox).ok()?;
    entries.flatten().find_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let ours = ["controller-", "worker-", "run-"].iter().any(|prefix| name.starts_with(prefix));
        let log = entry.path().join("log");
        let found = ours.then(|| in_log(&log)).flatten()?;
        Some(format!("{}: ... {found} ...", log.display()))
    })
}

fn in_log(log: &Path) -> Option<String> {
    let mut reader = BufReader::new(File::open(log).ok()?);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).ok()? > 0 {
        if let Some(found) = find(&String::from_utf8_lossy(&line)) {
            return Some(found);
        }
        line.clear();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_in_any_shape() {
        for text in [
            format!("WARN writing records: {VALUE}"),
            format!("{:?}", HEADER.as_bytes()),
            format!("x {:?}", KEY.as_bytes().to_vec()).replace(", ", ","),
            KEY.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ] {
            assert!(find(&text).is_some(), "{text}");
        }
        assert_eq!(find("a market of keys"), None);
    }

    #[test]
    fn a_log_is_searched_where_it_is_ours() {
        let folder = tempfile::tempdir().unwrap();
        for (process, found) in [("kafka-a", false), ("worker-1", true)] {
            let place = folder.path().join(process);
            std::fs::create_dir(&place).unwrap();
            std::fs::write(place.join("log"), format!("fine\n{}{VALUE}\n", "x".repeat(10_000))).unwrap();
            assert_eq!(in_logs(folder.path()).is_some(), found, "{process}");
        }
    }
}
