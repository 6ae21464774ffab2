//! The house stands: no modules use each other in a circle, files are short and say what they are, and what is depended on is used and may be.

use std::path::{Path, PathBuf};

use twinlog_tests::house::{Edge, House, Packages, Sources, breaches};

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

/// Where the controller speaks to others.
const EDGES: &[&str] = &["api", "replica/forward", "server", "session"];
/// They take or make generated types still: resources and inventories as they are stored, reports and statuses.
const STILL_GENERATED: &[&str] = &[
    "catalog/change.rs",
    "catalog/check.rs",
    "catalog/cluster.rs",
    "catalog/conflict.rs",
    "catalog/mirror.rs",
    "catalog/places.rs",
    "catalog/stored.rs",
    "fleet.rs",
    "fleet/claims.rs",
    "fleet/last.rs",
    "fleet/member.rs",
    "fleet/orphans.rs",
    "fleet/plausible.rs",
    "fleet/queries.rs",
    "fleet/texts.rs",
    "fleet/view.rs",
    "fleet/view/aggregate.rs",
    "fleet/view/known.rs",
    "fleet/view/summary.rs",
    "fleet/view/tasks.rs",
    "heartbeats.rs",
    "inventory.rs",
    "last_groups.rs",
    "metrics/fleet.rs",
    "ranges.rs",
    "reconciler.rs",
    "reconciler/work.rs",
    "replica/informed.rs",
    "state.rs",
    "statuses.rs",
    "statuses/filter.rs",
    "statuses/order.rs",
];

/// Where the worker reads and writes what it keeps on target clusters.
const KEEPERS: &[&str] = &["progress", "offset_map", "chunk"];
/// They read or write some of it by themselves still.
const STILL_KEPT: &[&str] = &["lane/run/former.rs", "survey/ends/recall.rs"];

#[test]
fn what_belongs_to_the_edge_stays_there() {
    let said = &["twinlog_proto::v1", "twinlog_proto::internal"];
    let of_controller = [
        Edge { names: &["tonic*"], rooms: EDGES, still: &[] },
        Edge { names: said, rooms: EDGES, still: STILL_GENERATED },
    ];
    let of_worker = [
        // An address is checked when it is given.
        Edge { names: &["tonic*"], rooms: &["session"], still: &["config.rs"] },
        Edge { names: said, rooms: &["session"], still: &[] },
        Edge { names: &["twinlog_proto::storage"], rooms: KEEPERS, still: STILL_KEPT },
    ];
    let mut wrong = Vec::new();
    for (package, edges) in [("controller", of_controller.as_slice()), ("worker", &of_worker)] {
        let sources = Sources::read(&root().join(package).join("src")).expect("it has sources");
        for edge in edges {
            let found = breaches(&sources, *edge).expect("it is Rust");
            wrong.extend(found.into_iter().map(|breach| format!("{package}/src: {breach}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_planner_is_a_pure_function() {
    let names =
        ["tokio*", "std::time::Instant", "std::time::SystemTime", "rand*", "uuid", "twinlog_proto::v1"];
    let sources = Sources::read(&root().join("controller/src")).expect("it has sources");
    let all = breaches(&sources, Edge { names: &names, rooms: &[], still: &[] }).expect("it is Rust");
    let of = |room: &str| all.iter().filter(|breach| breach.starts_with(room)).collect::<Vec<_>>();
    assert!(!of("controller.rs").is_empty(), "others name such things");
    assert_eq!(of("planner"), [] as [&String; 0], "no tasks, no clock, no chance, nothing of the wire");
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
