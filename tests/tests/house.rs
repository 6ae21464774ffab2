//! The house stands: no modules use each other in a circle, in any crate.

use std::path::{Path, PathBuf};

use twinlog_tests::house::{House, Sources};

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
