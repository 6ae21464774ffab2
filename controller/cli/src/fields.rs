//! Values of flags, and how they become fields of the API.

use std::str::FromStr;
use std::time::SystemTime;

use twinlog_proto::model::DEFAULT_CONFIG_EXCLUDE;
use twinlog_proto::v1;
use twinlog_proto::v1::start_position::Position;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Naming {
    /// SOURCE.topic, as MirrorMaker 2 names it
    Prefix,
    /// The same name on both sides
    Identity,
}

impl Naming {
    pub(super) fn wire(self) -> v1::naming::Kind {
        match self {
            Self::Prefix => v1::naming::Kind::Prefix,
            Self::Identity => v1::naming::Kind::Identity,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Partitioning {
    /// Partition N to partition N
    Preserve,
    /// By the key, as Kafka's producers do it, into any number of partitions
    #[value(alias = "by_key")]
    ByKey,
}

impl Partitioning {
    pub(super) fn wire(self) -> v1::Partitioning {
        match self {
            Self::Preserve => v1::Partitioning::Preserve,
            Self::ByKey => v1::Partitioning::ByKey,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Guarantee {
    /// Consumers with read_committed see every record once
    #[value(alias = "exactly_once")]
    ExactlyOnce,
    /// No record is lost; after a crash some may be there twice
    #[value(alias = "at_least_once")]
    AtLeastOnce,
}

impl Guarantee {
    pub(super) fn wire(self) -> v1::Guarantee {
        match self {
            Self::ExactlyOnce => v1::Guarantee::ExactlyOnce,
            Self::AtLeastOnce => v1::Guarantee::AtLeastOnce,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    pub(super) fn wire(self) -> v1::Compression {
        match self {
            Self::None => v1::Compression::None,
            Self::Gzip => v1::Compression::Gzip,
            Self::Snappy => v1::Compression::Snappy,
            Self::Lz4 => v1::Compression::Lz4,
            Self::Zstd => v1::Compression::Zstd,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Engine {
    /// Native, and librdkafka for what that can't move
    Auto,
    /// Decodes records and encodes them again, with connections for each range
    Librdkafka,
    /// Forwards batches untouched, over connections that all ranges share; copies by key and messages of before Kafka 0.11 are librdkafka's
    Native,
}

impl Engine {
    pub(super) fn wire(self) -> v1::Engine {
        match self {
            Self::Auto => v1::Engine::Auto,
            Self::Librdkafka => v1::Engine::Librdkafka,
            Self::Native => v1::Engine::Native,
        }
    }
}

/// What to do where records are gone before they were copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum GapPolicy {
    /// Stop until someone decides
    Halt,
    /// Record the gap, and go on at the first record that exists
    Resume,
}

impl GapPolicy {
    pub(super) fn wire(self) -> v1::GapPolicy {
        match self {
            Self::Halt => v1::GapPolicy::Halt,
            Self::Resume => v1::GapPolicy::Resume,
        }
    }
}

/// What to do with a copy that holds records where a mirror has no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum OntoExisting {
    /// Stop and say so
    Refuse,
    /// Go on where the copy ends, found by comparing records
    Align,
    /// Copy behind what is there
    Append,
}

impl OntoExisting {
    pub(super) fn wire(self) -> v1::OntoExisting {
        match self {
            Self::Refuse => v1::OntoExisting::Refuse,
            Self::Align => v1::OntoExisting::Align,
            Self::Append => v1::OntoExisting::Append,
        }
    }
}

/// `earliest`, `latest` or a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Start {
    Earliest,
    Latest,
    Time(SystemTime),
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            time => match humantime::parse_rfc3339_weak(time) {
                Ok(time) => Ok(Self::Time(time)),
                Err(_) => Err(format!(
                    "{text:?} is neither earliest, latest nor a UTC time such as 2026-01-31T12:00:00Z"
                )),
            },
        }
    }
}

impl Start {
    pub(super) fn position(self) -> Position {
        match self {
            Self::Earliest => Position::Earliest(true),
            Self::Latest => Position::Latest(true),
            Self::Time(time) => Position::Timestamp(time.into()),
        }
    }
}

/// Where to begin, if the group has no offset.
pub(super) fn start_position(start: Start, group: Option<String>) -> v1::StartPosition {
    v1::StartPosition { position: Some(start.position()), group: group.unwrap_or_default() }
}

/// `KEY=VALUE`
pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("it must look like KEY=VALUE".to_owned()),
    }
}

/// Patterns may be repeated or joined by commas. A comma within `{n,m}`, a class or a group belongs to its pattern.
pub(super) fn patterns(given: &[String]) -> Vec<String> {
    given.iter().flat_map(|text| split(text)).filter(|pattern| !pattern.is_empty()).collect()
}

/// Configs to leave out: those that are left out anyway, and these. Nothing means what is left out anyway.
pub(super) fn config_exclude(given: &[String]) -> Vec<String> {
    let mut given = patterns(given);
    if !given.is_empty() {
        given.splice(0..0, DEFAULT_CONFIG_EXCLUDE.iter().map(|pattern| (*pattern).to_owned()));
    }
    given
}

fn split(text: &str) -> Vec<String> {
    let (mut parts, mut depth, mut escaped) = (vec![String::new()], 0_u32, false);
    for c in text.chars() {
        match c {
            ',' if depth == 0 && !escaped => {
                parts.push(String::new());
                continue;
            }
            '{' | '[' | '(' if !escaped => depth += 1,
            '}' | ']' | ')' if !escaped => depth = depth.saturating_sub(1),
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        parts.last_mut().expect("it starts with one").push(c);
    }
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_split_at_commas_between_them() {
        let given = ["a, b.*".to_owned(), r"c{1,2},d[,x]\,e,(f,g)".to_owned(), String::new()];
        assert_eq!(patterns(&given), ["a", "b.*", "c{1,2}", r"d[,x]\,e", "(f,g)"]);
    }

    #[test]
    fn starts_are_words_or_times() {
        assert_eq!("latest".parse(), Ok(Start::Latest));
        let Ok(Start::Time(time)) = "2026-01-31T12:00:00Z".parse() else { panic!("a time") };
        assert_eq!(humantime::format_rfc3339(time).to_string(), "2026-01-31T12:00:00Z");
        assert!("yesterday".parse::<Start>().unwrap_err().contains("yesterday"));
    }
}
