//! Words that are used at the edge only: which files name what, by the path that it has. Tests are no part of it.

use std::collections::BTreeSet;

use anyhow::Result;

use super::read::{self, Module};
use super::sources::Sources;

/// Names that end somewhere.
#[derive(Debug, Clone, Copy)]
pub struct Edge<'a> {
    /// Paths that begin so: `tokio`, `std::time::Instant`. A `*` at its end stands for the rest of a name.
    pub names: &'a [&'a str],
    /// Rooms where they are at home: `api` is `api.rs` and all below it.
    pub rooms: &'a [&'a str],
    /// Files that name them still. None is added, and what names none of them any more goes off the list.
    pub still: &'a [&'a str],
}

/// What breaks an edge, in a sentence each.
///
/// # Errors
/// A file can't be read as Rust.
pub fn breaches(sources: &Sources, edge: Edge<'_>) -> Result<Vec<String>> {
    let crates = read::crates(sources)?;
    let naming: BTreeSet<(&str, String)> = crates
        .iter()
        .flatten()
        .filter(|module| !edge.rooms.iter().any(|room| is_in(&module.file, room)))
        .filter_map(|module| Some((module.file.as_str(), named(module, edge.names)?)))
        .collect();
    let new = naming.iter().filter(|(file, _)| !edge.still.contains(file));
    let mut breaches: Vec<String> =
        new.map(|(file, name)| format!("{file} names {name}: that is for {}", edge.rooms())).collect();
    let over = edge.still.iter().filter(|file| !naming.iter().any(|(naming, _)| naming == *file));
    breaches.extend(
        over.map(|file| format!("{file} names none of {:?} any more: take it off the list", edge.names)),
    );
    Ok(breaches)
}

impl Edge<'_> {
    fn rooms(&self) -> String {
        if self.rooms.is_empty() { "others".to_owned() } else { self.rooms.join(", ") }
    }
}

fn is_in(file: &str, room: &str) -> bool {
    file.strip_prefix(room).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// The first of these names that a module uses.
fn named(module: &Module, names: &[&str]) -> Option<String> {
    let used = module.uses.iter().map(|used| (&used.path, used.name == "*"));
    let paths = module.paths.iter().map(|path| (path, false));
    let mut all = used.chain(paths);
    all.find_map(|(path, whole)| names.iter().any(|name| begins(path, whole, name)).then(|| path.join("::")))
}

/// `whole`: everything behind the path is used.
fn begins(path: &[String], whole: bool, name: &str) -> bool {
    let mut left = path.iter();
    name.split("::").all(|part| match (left.next(), part.strip_suffix('*')) {
        (Some(found), Some(start)) => found.starts_with(start),
        (Some(found), None) => found == part,
        (None, _) => whole,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, still: &[&str]) -> Vec<String> {
        let sources = Sources::from([
            ("lib.rs", "mod api; mod inside;"),
            ("api.rs", "mod deep; use tonic::Status;"),
            ("api/deep.rs", "fn f() -> twinlog_proto::v1::Mirror { todo!() }"),
            ("inside.rs", text),
        ]);
        let names = &["tonic*", "twinlog_proto::v1"];
        breaches(&sources, Edge { names, rooms: &["api"], still }).unwrap()
    }

    #[test]
    fn who_names_what_belongs_to_the_edge_is_found_however_it_is_written() {
        for (text, name) in [
            ("use tonic::Status;", "tonic::Status"),
            ("use twinlog_proto::{names, v1};", "twinlog_proto::v1"),
            ("use twinlog_proto::v1::mirror::{Kind as K};", "twinlog_proto::v1::mirror::Kind"),
            ("use twinlog_proto::*;", "twinlog_proto"),
            ("#[tonic::async_trait] trait T {}", "tonic::async_trait"),
            ("fn f() { g(tonic_types::pb::Status::default()) }", "tonic_types::pb::Status::default"),
        ] {
            assert_eq!(found(text, &[]), [format!("inside.rs names {name}: that is for api")], "{text}");
            assert_eq!(found(text, &["inside.rs"]), [] as [&str; 0], "{text}");
        }
    }

    #[test]
    fn what_is_like_it_is_not_it() {
        for text in [
            "use twinlog_proto::names; use twinlog_proto::v10;",
            "fn tonic() { mirror.v1(); } // tonic::Status",
            "#[cfg(test)] mod tests { use tonic::Status; }",
        ] {
            assert_eq!(found(text, &[]), [] as [&str; 0], "{text}");
        }
        let over =
            "inside.rs names none of [\"tonic*\", \"twinlog_proto::v1\"] any more: take it off the list";
        assert_eq!(found("", &["inside.rs"]), [over]);
    }
}
