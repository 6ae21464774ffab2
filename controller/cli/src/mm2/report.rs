//! What became of every key of an imported file, and what can be done about it.

use std::fmt;

use serde::Serialize;

/// What a key does here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Effect {
    /// Its value can't be used: nothing can be made of the file.
    Invalid,
    /// Without it the copy would not be what MirrorMaker's is: refused unless told otherwise.
    Unsupported,
    /// Read as MirrorMaker reads it, which is hardly what was meant.
    Doubtful,
    /// Nobody knows it, MirrorMaker neither.
    Unknown,
    /// Without effect.
    Ignored,
    /// Honoured in another way.
    Different,
    Honoured,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Doubtful => "doubtful",
            Self::Unknown => "unknown",
            Self::Ignored => "without effect",
            Self::Different => "honoured in another way",
            Self::Honoured => "honoured",
        })
    }
}

/// Something to do about a key that helps: afterwards its value is honoured, or the file accepted. A test tries all that are given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Remedy {
    /// The same value under all of these keys instead.
    Rename(Vec<String>),
    /// Another value.
    Value(String),
    Remove,
    /// A flag of the command, with its value.
    Flag(String),
}

impl Remedy {
    fn text(&self, key: &str) -> String {
        match self {
            Self::Rename(keys) => format!("write {} instead", keys.join(" and ")),
            Self::Value(value) => format!("write {key}={value}"),
            Self::Remove => "remove it".to_owned(),
            Self::Flag(flag) => format!("give {flag}"),
        }
    }
}

/// What a key does, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Entry {
    pub(crate) effect: Effect,
    pub(crate) key: String,
    /// Empty where there is nothing to say.
    pub(crate) why: String,
    /// One of them is enough.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) remedies: Vec<Remedy>,
    /// Where the key stands in a properties file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<usize>,
}

impl Entry {
    pub(crate) fn new(effect: Effect, key: impl Into<String>, why: impl Into<String>) -> Self {
        Self { effect, key: key.into(), why: why.into(), remedies: Vec::new(), line: None }
    }

    #[must_use]
    pub(crate) fn or(mut self, remedy: Remedy) -> Self {
        self.remedies.push(remedy);
        self
    }

    /// Reason and remedies, as they are printed.
    pub(crate) fn says(&self) -> String {
        let remedies: Vec<String> = self.remedies.iter().map(|remedy| remedy.text(&self.key)).collect();
        match (self.why.is_empty(), remedies.is_empty()) {
            (_, true) => self.why.clone(),
            (true, false) => remedies.join(", or "),
            (false, false) => format!("{}: {}", self.why, remedies.join(", or ")),
        }
    }

    /// The key, and its line where that is known.
    pub(crate) fn place(&self) -> String {
        match self.line {
            Some(line) => format!("line {line}: {}", self.key),
            None => self.key.clone(),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.says().as_str() {
            "" => write!(f, "{}: {}", self.place(), self.effect),
            says => write!(f, "{} ({}): {says}", self.place(), self.effect),
        }
    }
}
