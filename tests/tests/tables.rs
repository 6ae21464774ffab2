//! The tables beside this folder say which test shows what: every test that they name is there.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the tree").to_owned()
}

/// `file.rs::test`, as a table names it; `::test` alone is of the file that was named last in the same line.
fn named(line: &str) -> Vec<(String, Option<String>)> {
    let mut file: Option<String> = None;
    let mut found = Vec::new();
    for quoted in line.split('`').skip(1).step_by(2) {
        let (path, test) = match quoted.split_once("::") {
            Some((path, test)) if !test.is_empty() => (path, Some(test.to_owned())),
            _ => (quoted, None),
        };
        match (path, &file) {
            ("", Some(file)) => found.push((file.clone(), test)),
            (path, _) if path.ends_with(".rs") => {
                file = Some(path.to_owned());
                found.push((path.to_owned(), test));
            }
            _ => {}
        }
    }
    found
}

/// The file of that name: from the top of the tree, or as the tables abbreviate it, from `tests/tests`.
fn source(path: &str) -> Option<String> {
    let places = [root().join(path), root().join("tests/tests").join(path)];
    places.iter().find_map(|place| std::fs::read_to_string(place).ok())
}

#[test]
fn every_test_that_a_table_names_is_there() {
    let mut missing = Vec::new();
    let mut seen = 0;
    for table in ["acceptance.md", "cases.md", "mirrormaker2.md", "native.md"] {
        let text = std::fs::read_to_string(root().join("tests").join(table)).expect("the table is there");
        for (number, line) in text.lines().enumerate() {
            for (path, test) in named(line) {
                seen += 1;
                let there = source(&path).is_some_and(|text| {
                    test.as_ref().is_none_or(|test| text.contains(&format!("fn {test}(")))
                });
                if !there {
                    missing.push(format!("{table}:{}: {path} {}", number + 1, test.unwrap_or_default()));
                }
            }
        }
    }
    assert!(seen > 100, "the tables are read: {seen}");
    assert!(missing.is_empty(), "named, but not there:\n{}", missing.join("\n"));
}

#[test]
fn every_file_that_the_readme_names_for_a_word_is_there() {
    let text = std::fs::read_to_string(root().join("README.md")).expect("the README is there");
    let map = text.split_once("Where a word lives").expect("the map").1.split_once("## ").expect("its end").0;
    let paths: Vec<&str> = map.split('`').skip(1).step_by(2).filter(|path| path.contains('/')).collect();
    let missing: Vec<_> = paths.iter().filter(|path| !root().join(path).exists()).collect();
    assert!(paths.len() > 25 && missing.is_empty(), "{} paths, not there: {missing:?}", paths.len());
}
