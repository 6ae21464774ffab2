//! Topics with their copies.

use super::decide::Decision;

/// A topic that is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub source: String,
    pub target: String,
}

/// The topics that are copied, at least in part: only these are kept in step.
pub fn pairs<'a>(decisions: impl IntoIterator<Item = &'a Decision>) -> Vec<Pair> {
    let copied = decisions.into_iter().filter(|d| d.partitions() > 0 && d.target_partitions > 0);
    copied.map(|d| Pair { source: d.source.name.clone(), target: d.target.clone() }).collect()
}
