//! Topic, group and config selection: Java patterns matched against the whole name, as MM2 does
//! (mirrormaker2 reference 1.8). What would mean something else here than in Java is refused by name, never silently
//! different.
//!
//! Two things differ from MM2 on purpose: every pattern of a list is compiled by itself, so an inline flag such as `(?i)`
//! does not leak into the patterns after it; and a pattern may hold a comma.

mod java;

use fancy_regex::{Regex, RegexBuilder};

/// Longest pattern that is accepted, in characters.
pub const MAX_PATTERN_CHARS: usize = 10_000;
/// What the patterns of one list may compile to together, bytes. A short pattern can take much: `\p{L}{200}` has 11 characters and
/// would take some 8 MB.
const MAX_LIST_BYTES: usize = 16 << 20;
/// The share of one pattern lies between these.
const MIN_PATTERN_BYTES: usize = 32 << 10;
const MAX_PATTERN_BYTES: usize = 1 << 20;
/// What a matcher may keep of its work for the next name, bytes.
const MAX_CACHE_BYTES: usize = 1 << 20;

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

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        let same_excludes =
            self.exclude.iter().map(Regex::as_str).eq(other.exclude.iter().map(Regex::as_str));
        self.patterns == other.patterns && same_excludes
    }
}

impl Eq for Filter {}

impl Filter {
    /// An empty include list matches nothing; an empty exclude list excludes nothing.
    pub fn new<S: AsRef<str>, T: AsRef<str>>(include: &[S], exclude: &[T]) -> Result<Self, PatternError> {
        let patterns = include.iter().map(|pattern| pattern.as_ref().to_owned()).collect();
        Ok(Self { patterns, include: compile_all(include)?, exclude: compile_all(exclude)? })
    }

    /// What this one includes, without what the other one excludes.
    #[must_use]
    pub fn but_not(self, other: Self) -> Self {
        Self { exclude: other.exclude, ..self }
    }

    /// The include list as it was given.
    pub fn include_patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Those patterns of the include list that match none of the names, whatever is excluded.
    pub fn unmatched<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) -> Vec<&str> {
        let none = |pattern: &&Regex| !names.clone().any(|name| pattern.is_match(name).unwrap_or(false));
        let each = self.patterns.iter().zip(&self.include);
        each.filter(|(_, pattern)| none(pattern)).map(|(text, _)| text.as_str()).collect()
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
    let share = (MAX_LIST_BYTES / patterns.len().max(1)).clamp(MIN_PATTERN_BYTES, MAX_PATTERN_BYTES);
    patterns.iter().enumerate().map(|(index, p)| compile(index, p.as_ref(), share)).collect()
}

/// `limit`: what it may compile to, bytes.
fn compile(index: usize, pattern: &str, limit: usize) -> Result<Regex, PatternError> {
    let error = |position, reason| PatternError { index, pattern: pattern.to_owned(), position, reason };
    if pattern.chars().count() > MAX_PATTERN_CHARS {
        return Err(error(MAX_PATTERN_CHARS, format!("longer than {MAX_PATTERN_CHARS} characters")));
    }
    let translated = java::translate(pattern).map_err(|e| error(e.position, e.reason))?;
    // Anchored as a whole: `a|b` must not match "ax".
    const PREFIX: &str = r"\A(?:";
    let mut builder = RegexBuilder::new(&format!("{PREFIX}{})\\z", translated.text));
    builder.delegate_size_limit(limit).delegate_dfa_size_limit(MAX_CACHE_BYTES);
    builder.build().map_err(|e| match &e {
        fancy_regex::Error::ParseError(at, _) => {
            error(translated.position(at.saturating_sub(PREFIX.len())), e.to_string())
        }
        fancy_regex::Error::CompileError(inner) if is_too_large(inner) => {
            let what = format!(
                "it takes more than {} KiB of memory (a list may take {} MiB in all): write it with fewer repetitions, or split the list over several mirrors",
                limit >> 10,
                MAX_LIST_BYTES >> 20
            );
            error(0, what)
        }
        _ => error(0, e.to_string()),
    })
}

fn is_too_large(error: &fancy_regex::CompileError) -> bool {
    matches!(error, fancy_regex::CompileError::InnerError(inner) if inner.size_limit().is_some())
}

#[cfg(test)]
mod tests;
