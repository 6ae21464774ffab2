//! What a key does, why, and what would: the words of a judgement.

use crate::mm2::report::{Effect, Entry, Remedy};

/// Where a key stands in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mm2) enum Scope {
    Top,
    /// `X.<key>`
    Cluster,
    /// `X->Y.<key>`
    Flow,
}

/// A place for keys in a file, and those where they could do something instead. What stands before a key is its prefix.
#[derive(Debug, Clone)]
pub(in crate::mm2) struct Place {
    pub(in crate::mm2) scope: Scope,
    pub(in crate::mm2) here: String,
    /// Prefixes of the flows that this place is about.
    pub(in crate::mm2) flows: Vec<String>,
    /// Prefixes of the clusters that these read from, and write to.
    pub(in crate::mm2) sources: Vec<String>,
    pub(in crate::mm2) targets: Vec<String>,
}

impl Place {
    /// The keys of one connector by itself.
    pub(in crate::mm2) fn connector(here: impl Into<String>) -> Self {
        let here = here.into();
        Self { scope: Scope::Flow, flows: vec![here.clone()], here, sources: Vec::new(), targets: Vec::new() }
    }
}

/// What a key does, why, and what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mm2) struct Verdict {
    pub(in crate::mm2) effect: Effect,
    pub(in crate::mm2) why: String,
    pub(in crate::mm2) remedies: Vec<Remedy>,
    pub(super) meant: Meant,
}

/// Where the key would do something, perhaps: `hints` judges it there before it is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meant {
    Nothing,
    /// The first of these that helps.
    Instead(Vec<(At, String)>),
    /// Any of these that help.
    Either(Vec<(At, String)>),
    /// Nobody has such a key; perhaps it is misspelt.
    Misspelt,
}

/// Where a key would stand instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    Here,
    Flow,
    Source,
    Target,
}

impl Verdict {
    pub(super) fn new(effect: Effect, why: impl Into<String>) -> Self {
        Self { effect, why: why.into(), remedies: Vec::new(), meant: Meant::Nothing }
    }

    pub(super) fn honoured() -> Self {
        Self::new(Effect::Honoured, "")
    }

    pub(super) fn ignored(why: impl Into<String>) -> Self {
        Self::new(Effect::Ignored, why)
    }

    pub(super) fn unsupported(why: impl Into<String>) -> Self {
        Self::new(Effect::Unsupported, why)
    }

    /// Without effect here, but under the first of these that helps.
    pub(super) fn instead(why: &str, meant: impl IntoIterator<Item = (At, String)>) -> Self {
        Self { meant: Meant::Instead(meant.into_iter().collect()), ..Self::ignored(why) }
    }

    /// Without effect here, but under any of these that help.
    pub(super) fn either(why: &str, meant: impl IntoIterator<Item = (At, String)>) -> Self {
        Self { meant: Meant::Either(meant.into_iter().collect()), ..Self::ignored(why) }
    }

    /// A key that nobody has.
    pub(super) fn unknown() -> Self {
        let verdict = Self::new(Effect::Unknown, "MM2 has no such key here, and ignores it too");
        Self { meant: Meant::Misspelt, ..verdict }
    }

    pub(super) fn or(mut self, remedy: impl IntoIterator<Item = Remedy>) -> Self {
        self.remedies.extend(remedy);
        self
    }

    pub(in crate::mm2) fn entry(self, key: impl Into<String>) -> Entry {
        Entry { remedies: self.remedies, ..Entry::new(self.effect, key, self.why) }
    }
}
