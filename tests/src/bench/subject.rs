//! What is measured, Twinlog with either engine, MirrorMaker 2, a plain librdkafka loop, and a relay, and what each is to do.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail};
use serde::Serialize;

use super::row::{Guarantee, Row};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Subject {
    /// Twinlog with the native engine.
    Native,
    /// Twinlog with the librdkafka engine.
    Twinlog,
    Mm2,
    Plain,
    /// The source's bytes through two sockets, unread: what no copy through a process can be cheaper than.
    Relay,
}

impl Subject {
    pub(super) const ALL: [Self; 5] = [Self::Native, Self::Twinlog, Self::Mm2, Self::Plain, Self::Relay];

    /// Whether it copies with this guarantee, as it is run here.
    pub(super) fn keeps(self, guarantee: Guarantee) -> bool {
        match guarantee {
            Guarantee::AtLeastOnce => self != Self::Relay,
            Guarantee::ExactlyOnce => matches!(self, Self::Native | Self::Twinlog),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Twinlog => "twinlog",
            Self::Mm2 => "mm2",
            Self::Plain => "plain",
            Self::Relay => "relay",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Subject {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|s| s.name() == text) {
            Some(subject) => Ok(subject),
            None => bail!("{text:?} is none of native, twinlog, mm2, plain, relay"),
        }
    }
}

/// One topic to copy.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// The source's alias: one for each run, so that no run meets another's progress.
    pub(super) alias: String,
    pub(super) topic: String,
    pub(super) partitions: i32,
    pub(super) codec: &'static str,
    pub(super) tls: bool,
    pub(super) guarantee: Guarantee,
}

impl Job {
    pub(super) fn new(row: &Row, alias: &str, topic: &str) -> Self {
        Self {
            alias: alias.to_owned(),
            topic: topic.to_owned(),
            partitions: row.partitions,
            codec: row.codec,
            tls: row.tls,
            guarantee: row.guarantee,
        }
    }

    /// As MM2's default policy names it; Twinlog does the same.
    pub(super) fn target_topic(&self) -> String {
        format!("{}.{}", self.alias, self.topic)
    }
}
