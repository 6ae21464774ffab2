//! What became of every key of an imported file.

use std::fmt;

use serde::Serialize;

/// What a key does here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Effect {
    /// Its value can't be used: nothing can be made of the file.
    Invalid,
    /// Without it the copy would not be what MirrorMaker's is: refused unless told otherwise.
    Unsupported,
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
            Self::Unknown => "unknown",
            Self::Ignored => "without effect",
            Self::Different => "in another way",
            Self::Honoured => "honoured",
        })
    }
}

/// One key, as the file spells it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Entry {
    pub effect: Effect,
    pub key: String,
    /// Empty where there is nothing to say.
    pub why: String,
}

impl Entry {
    pub fn new(effect: Effect, key: impl Into<String>, why: impl Into<String>) -> Self {
        Self { effect, key: key.into(), why: why.into() }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why.as_str() {
            "" => write!(f, "{}: {}", self.key, self.effect),
            why => write!(f, "{} ({}): {why}", self.key, self.effect),
        }
    }
}
