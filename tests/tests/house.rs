//! The house stands: no modules use each other in a circle, files are short and say what they are, and what is depended on is used and may be.

use std::path::{Path, PathBuf};

use twinlog_tests::house::{House, Packages, Sources};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the tree").to_owned()
}

/// The packages of the workspace, as its Cargo.toml lists them.
fn packages() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has a Cargo.toml");
    let members =
        text.lines().find_map(|line| line.strip_prefix("members = ")).expect("it lists its members");
    members.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn no_modules_use_each_other_in_a_circle() {
    let mut circles = Vec::new();
    for package in packages() {
        let sources = Sources::read(&root().join(&package).join("src")).expect("a package has sources");
        let house = House::of(&sources).unwrap_or_else(|error| panic!("{package}: {error:#}"));
        assert!(house.arrows >= sources.files().count() / 2, "{package} is read: {} arrows", house.arrows);
        circles.extend(house.circles.iter().map(|circle| format!("{package}/src: {circle}")));
    }
    assert!(
        circles.is_empty(),
        "Arrows between modules go one way. Put what both need below them.\n{}",
        circles.join("\n")
    );
}

#[test]
fn every_file_says_what_it_is_and_holds_one_idea() {
    const LINES: usize = 500;
    let mut wrong = Vec::new();
    for package in packages() {
        let sources = Sources::read(&root().join(&package).join("src")).expect("a package has sources");
        for file in sources.files() {
            let text = sources.text(file).expect("it was read");
            let is_test = file.ends_with("tests.rs");
            if !is_test && !text.starts_with("//! ") {
                wrong.push(format!("{package}/src/{file} doesn't begin with //! and what it is"));
            }
            if text.lines().count() > LINES {
                wrong.push(format!("{package}/src/{file} has more than {LINES} lines"));
            }
            if file.rsplit('/').next() == Some("mod.rs") {
                wrong.push(format!("{package}/src/{file} doesn't have its module's name"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_depended_on_is_used_and_may_be() {
    let packages = Packages::of(&root(), env!("TARGET")).expect("Cargo knows its packages");
    assert!(packages.len() > 100, "all of them: {}", packages.len());
    let none = [] as [&str; 0];
    assert_eq!(packages.licences(), none, "licences that we can't take: tests/src/house/licences.rs");
    assert_eq!(
        packages.needless_versions(),
        none,
        "there is another version, and nobody else needs this one"
    );
    assert_eq!(
        packages.unused().expect("files can be read"),
        none,
        "nothing uses it: take it out of Cargo.toml"
    );
    let text = std::fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has a Cargo.toml");
    let table = text.split("[workspace.dependencies]\n").nth(1).and_then(|rest| rest.split("\n[").next());
    let listed = table
        .expect("it lists dependencies")
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name);
    let named = packages.named();
    let left: Vec<&str> = listed.filter(|name| !named.contains(name)).collect();
    assert_eq!(left, none, "no package depends on it");
}
