//! Parsing of single fields, which goes on after a violation so that all of them are found.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Start, Violation, or_default};
use crate::filter::Filter;
use crate::policy::{InternalTopics, Naming};
use crate::v1;

/// Characters of an alias at most, as of a cluster's id.
const MAX_ALIAS: usize = 64;

/// Collects violations while parsing goes on.
#[derive(Default)]
pub(super) struct Violations(Vec<Violation>);

/// The last second of `google.protobuf.Timestamp`: 9999-12-31T23:59:59Z.
const LAST_SECOND: i64 = 253_402_300_799;
const LAST_NANO: i32 = 999_999_999;

impl Violations {
    pub(super) fn add(&mut self, field: &str, what: impl Into<String>) {
        self.0.push((field.to_owned(), what.into()));
    }

    pub(super) fn take<T, E: std::fmt::Display>(&mut self, field: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|e| self.add(field, e.to_string())).ok()
    }

    pub(super) fn take_at<T>(
        &mut self,
        field: &str,
        result: Result<T, crate::filter::PatternError>,
    ) -> Option<T> {
        result.map_err(|e| self.add(&format!("{field}[{}]", e.index), e.to_string())).ok()
    }

    pub(super) fn filter(
        &mut self,
        field: &str,
        include: &[String],
        exclude: &[String],
        default_exclude: &[&str],
    ) -> Option<Filter> {
        let exclude = or_default(exclude, default_exclude);
        let included = self.take_at(field, Filter::new(include, &[] as &[&str]));
        let excluded = self.take_at(&format!("{field}_exclude"), Filter::new(&[] as &[&str], &exclude));
        Some(included?.but_not(excluded?))
    }

    pub(super) fn duration(
        &mut self,
        field: &str,
        given: Option<&prost_types::Duration>,
        default: Duration,
        (min, max): (Duration, Duration),
    ) -> Duration {
        let Some(given) = given else { return default };
        let normal = given.seconds.signum() * i64::from(given.nanos.signum()) >= 0
            && given.nanos.unsigned_abs() <= LAST_NANO.unsigned_abs();
        match Duration::try_from(*given) {
            Ok(_) if !normal => {
                self.add(field, "seconds and nanos must have one sign, and nanos be less than a second");
                default
            }
            Ok(d) if d.is_zero() => default,
            Ok(d) if d >= min && d <= max => d,
            _ => {
                self.add(
                    field,
                    format!(
                        "must be between {} and {}",
                        humantime::format_duration(min),
                        humantime::format_duration(max)
                    ),
                );
                default
            }
        }
    }

    pub(super) fn naming(&mut self, wire: Option<&v1::Naming>) -> Option<Naming> {
        let wire = wire.cloned().unwrap_or_default();
        let separator = match (wire.no_separator, wire.separator.as_str()) {
            (true, "") => String::new(),
            (true, _) => {
                self.add("naming.no_separator", "true, and separator is given: one of them can be");
                return None;
            }
            (false, "") => ".".to_owned(),
            (false, given) => given.to_owned(),
        };
        if !separator.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
            self.add(
                "naming.separator",
                format!("{separator:?} holds characters that topic names can't have"),
            );
            return None;
        }
        Some(match wire.kind() {
            v1::naming::Kind::Identity => Naming::Identity { separator },
            v1::naming::Kind::Map => {
                if wire.map.is_empty() {
                    self.add("naming.map", "naming MAP needs at least one source topic = target topic");
                }
                let map: BTreeMap<String, String> = wire.map.into_iter().collect();
                let mut seen = BTreeMap::new();
                for (source, target) in &map {
                    if let Some(other) = seen.insert(target.clone(), source.clone()) {
                        self.add("naming.map", format!("{other} and {source} both map to {target}"));
                    }
                }
                Naming::Map(map)
            }
            _ => Naming::Prefix { separator },
        })
    }

    /// What the clusters are called in names of topics: the mirror's aliases, or their ids.
    pub(super) fn aliases<'a>(
        &mut self,
        wire: Option<&'a v1::Naming>,
        source: &'a str,
        target: &'a str,
    ) -> (&'a str, &'a str) {
        let given = |alias: &'a Option<String>, id: &'a str| alias.as_deref().unwrap_or(id);
        let Some(wire) = wire else { return (source, target) };
        let (from, to) = (given(&wire.source_alias, source), given(&wire.target_alias, target));
        for (field, alias) in [("naming.source_alias", from), ("naming.target_alias", to)] {
            let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if alias.len() > MAX_ALIAS || !alias.chars().all(legal) {
                self.add(
                    field,
                    format!("{alias:?} is not 0-{MAX_ALIAS} characters of a-z, A-Z, 0-9, '.', '_' and '-'"),
                );
            }
        }
        if from == to && wire.kind() == v1::naming::Kind::Identity {
            let what = "it is the source's, too: MirrorMaker would take every topic for one that comes back, and copy nothing. Give another one";
            self.add("naming.target_alias", what);
        }
        (from, to)
    }

    /// Positive, or -1 for the broker's default, which 0 means too.
    pub(super) fn replication_factor(&mut self, field: &str, given: i32) -> i16 {
        match i16::try_from(given) {
            Ok(0 | -1) => -1,
            Ok(n) if n > 0 => n,
            _ => {
                self.add(field, format!("{given} is neither positive nor -1 (the broker's default)"));
                -1
            }
        }
    }

    pub(super) fn internal_topics(&mut self, wire: Option<&v1::Naming>) -> InternalTopics {
        let wire = wire.cloned().unwrap_or_default();
        InternalTopics {
            any_suffix: wire.internal_topics() == v1::naming::InternalTopics::AnyInternalSuffix,
            separator: wire.separator_in_internal_topics.unwrap_or(true),
        }
    }

    pub(super) fn latency_objective(&mut self, given: Option<prost_types::Duration>) {
        if given.is_some() {
            self.add("latency_objective", "is not in this version: leave it out");
        }
    }

    pub(super) fn start(&mut self, wire: Option<&v1::StartPosition>) -> Start {
        use v1::start_position::Position;
        match wire.and_then(|s| s.position.as_ref()) {
            Some(Position::Latest(true)) => Start::Latest,
            Some(Position::Timestamp(t))
                if (0..=LAST_SECOND).contains(&t.seconds) && (0..=LAST_NANO).contains(&t.nanos) =>
            {
                Start::Timestamp(t.seconds * 1000 + i64::from(t.nanos) / 1_000_000)
            }
            Some(Position::Timestamp(_)) => {
                self.add("start.timestamp", "must be between 1970-01-01 and 9999-12-31");
                Start::Earliest
            }
            _ => Start::Earliest,
        }
    }

    pub(super) fn start_group(&mut self, wire: &v1::Mirror) -> Option<String> {
        let group = wire.start.as_ref().map(|start| start.group.clone()).filter(|group| !group.is_empty())?;
        if wire.take_over.is_some() {
            self.add(
                "start.group",
                "a mirror continues one other: a consumer group's copy (start.group) or MirrorMaker 2's (take_over)",
            );
        }
        Some(group)
    }

    pub(super) fn done<T>(self, value: T) -> Result<T, Vec<Violation>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_can_not_be_are_refused() {
        let start = |seconds, nanos| {
            let time = prost_types::Timestamp { seconds, nanos };
            let wire = v1::StartPosition {
                position: Some(v1::start_position::Position::Timestamp(time)),
                ..Default::default()
            };
            let mut bad = Violations::default();
            bad.start(Some(&wire));
            bad.0.len()
        };
        assert_eq!([start(0, 0), start(LAST_SECOND, LAST_NANO)], [0, 0]);
        for (seconds, nanos) in [(-1, 0), (LAST_SECOND + 1, 0), (1 << 60, 0), (1, -1), (1, LAST_NANO + 1)] {
            assert_eq!(start(seconds, nanos), 1, "{seconds} s {nanos} ns");
        }

        let duration = |seconds, nanos| {
            let given = prost_types::Duration { seconds, nanos };
            let mut bad = Violations::default();
            bad.duration(
                "x",
                Some(&given),
                Duration::ZERO,
                (Duration::from_millis(5), Duration::from_secs(60)),
            );
            bad.0.len()
        };
        assert_eq!([duration(1, 5), duration(0, 0)], [0, 0]);
        for (seconds, nanos) in [(1, -5), (-1, 0), (61, 0), (0, 1_000_000_001)] {
            assert_eq!(duration(seconds, nanos), 1, "{seconds} s {nanos} ns");
        }
    }
}
