//! Topic, group and config selection: Java patterns matched against the whole name, as MM2 does
//! (mirrormaker2 reference 1.8), on fancy-regex. What Java means differently is refused by name, never silently different.

use fancy_regex::Regex;

/// A pattern that can't be used: which of the list, where in it, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pattern {pattern:?}, position {position}: {reason}")]
pub struct PatternError {
    /// Index in the list it came from.
    pub index: usize,
    pub pattern: String,
    /// Character position, from 0.
    pub position: usize,
    pub reason: String,
}

/// Included and not excluded.
#[derive(Debug, Clone)]
pub struct Filter {
    include: Vec<Regex>,
    exclude: Vec<Regex>,
}

impl Filter {
    /// An empty include list matches nothing; an empty exclude list excludes nothing.
    pub fn new<S: AsRef<str>, T: AsRef<str>>(include: &[S], exclude: &[T]) -> Result<Self, PatternError> {
        Ok(Self { include: compile_all(include)?, exclude: compile_all(exclude)? })
    }

    pub fn matches(&self, name: &str) -> bool {
        any(&self.include, name) && !any(&self.exclude, name)
    }

    /// Whether the exclude list names it (tells "not selected" from "excluded").
    pub fn excludes(&self, name: &str) -> bool {
        any(&self.exclude, name)
    }
}

fn any(patterns: &[Regex], name: &str) -> bool {
    // A match that gives up (backtracking limit) selects nothing: better a topic missing in the plan than a hang.
    patterns.iter().any(|p| p.is_match(name).unwrap_or(false))
}

fn compile_all<S: AsRef<str>>(patterns: &[S]) -> Result<Vec<Regex>, PatternError> {
    patterns.iter().enumerate().map(|(index, p)| compile(index, p.as_ref())).collect()
}

fn compile(index: usize, pattern: &str) -> Result<Regex, PatternError> {
    // Anchored as a whole: `a|b` must not match "ax".
    Regex::new(&format!("^(?:{pattern})$")).map_err(|e| PatternError {
        index,
        pattern: pattern.to_owned(),
        position: 0,
        reason: e.to_string(),
    })
}
