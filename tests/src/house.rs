//! What holds for the tree as a whole: no modules use each other in a circle, and each names only what is its own business; what it depends
//! on is used, and may be.
//!
//! A module is a file, and one room with the modules below it: `fleet.rs` holds the words that `fleet/*.rs` share and puts them together, so
//! between a module and what lies below it arrows go both ways. Between rooms beside each other they go one way, at every level: `x/a.rs -> y.rs`
//! and `y/b.rs -> x.rs` are a circle, whatever lies in between.
//!
//! An arrow goes from the file that names something to the file that defines it, through re-exports; a re-export itself is none, where the file
//! doesn't use the name. Tests are no part of it. What a file uses without naming it (a method of another room's type) isn't seen.

mod circles;
mod edges;
mod licences;
mod mentions;
mod packages;
mod read;
mod resolve;
mod sources;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

pub use circles::Circle;
pub use edges::{Edge, breaches};
pub use packages::Packages;
pub use sources::Sources;

/// What a file takes of another: the names, by the files and the rooms that they stand for.
type Arrows = BTreeMap<(Place, Place), BTreeSet<String>>;

/// A module's file, and its path from the crate's root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    file: String,
    path: Vec<String>,
}

/// What was found in a crate.
#[derive(Debug)]
pub struct House {
    /// Pairs of files of which one uses the other.
    pub arrows: usize,
    pub circles: Vec<Circle>,
}

impl House {
    /// # Errors
    /// A file can't be read, or belongs to no module: it would be left out.
    pub fn of(sources: &Sources) -> Result<Self> {
        let mut house = Self { arrows: 0, circles: Vec::new() };
        for modules in read::crates(sources)? {
            let arrows = resolve::arrows(&modules);
            house.arrows += arrows.len();
            house.circles.extend(circles::of(&arrows));
        }
        Ok(house)
    }
}

#[cfg(test)]
mod tests;
