//! Topic, group and config selection: Java patterns matched against the whole name, as MM2 does
//! (mirrormaker2 reference 1.8). What would mean something else here than in Java is refused by name, never silently
//! different.
//!
//! Two things differ from MM2 on purpose: every pattern of a list is compiled by itself, so an inline flag such as `(?i)`
//! does not leak into the patterns after it; and a pattern may hold a comma.

mod java;

use fancy_regex::Regex;

/// Longest pattern that is accepted, in characters.
pub const MAX_PATTERN_CHARS: usize = 10_000;

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
    patterns: Vec<String>,
    include: Vec<Regex>,
    exclude: Vec<Regex>,
}

impl Filter {
    /// An empty include list matches nothing; an empty exclude list excludes nothing.
    pub fn new<S: AsRef<str>, T: AsRef<str>>(include: &[S], exclude: &[T]) -> Result<Self, PatternError> {
        let patterns = include.iter().map(|pattern| pattern.as_ref().to_owned()).collect();
        Ok(Self { patterns, include: compile_all(include)?, exclude: compile_all(exclude)? })
    }

    /// The include list as it was given.
    pub fn include_patterns(&self) -> &[String] {
        &self.patterns
    }

    pub fn matches(&self, name: &str) -> bool {
        // A match that gives up (backtracking limit) selects nothing: better a topic missing in the plan than a hang.
        self.include.iter().any(|p| p.is_match(name).unwrap_or(false)) && !self.excludes(name)
    }

    /// Whether the exclude list names it (tells "not selected" from "excluded").
    pub fn excludes(&self, name: &str) -> bool {
        self.exclude.iter().any(|p| p.is_match(name).unwrap_or(true))
    }
}

fn compile_all<S: AsRef<str>>(patterns: &[S]) -> Result<Vec<Regex>, PatternError> {
    patterns.iter().enumerate().map(|(index, p)| compile(index, p.as_ref())).collect()
}

fn compile(index: usize, pattern: &str) -> Result<Regex, PatternError> {
    let error = |position, reason| PatternError { index, pattern: pattern.to_owned(), position, reason };
    if pattern.chars().count() > MAX_PATTERN_CHARS {
        return Err(error(MAX_PATTERN_CHARS, format!("longer than {MAX_PATTERN_CHARS} characters")));
    }
    let translated = java::translate(pattern).map_err(|e| error(e.position, e.reason))?;
    // Anchored as a whole: `a|b` must not match "ax".
    const PREFIX: &str = r"\A(?:";
    Regex::new(&format!("{PREFIX}{})\\z", translated.text)).map_err(|e| {
        let position = match &e {
            fancy_regex::Error::ParseError(at, _) => translated.position(at.saturating_sub(PREFIX.len())),
            _ => 0,
        };
        error(position, e.to_string())
    })
}

#[cfg(test)]
mod tests;
