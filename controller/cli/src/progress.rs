//! Progress of mirrors as text: rate, lag, and when a topic will have caught up. Pure: statuses and times in, lines out.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use twinlog_proto::v1;

use super::human;
use super::lag;
use super::output::{self, Table};

/// How far back lag is compared to tell where it is going.
const WINDOW: Duration = Duration::from_secs(15);
/// Shorter than this tells nothing.
const MIN_SPAN: Duration = Duration::from_secs(2);
/// What is copied within this time is as good as there.
const LIVE_WITHIN: f64 = 2.0;
/// Longer estimates are as good as none.
const MAX_ETA_SECONDS: f64 = 365.0 * 24.0 * 3600.0;

/// When lag will be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Eta {
    /// Caught up: what is left is what has just arrived.
    Live,
    In(Duration),
    /// Lag grows.
    Behind,
    Unknown,
}

impl Eta {
    fn text(self) -> String {
        match self {
            Self::Live => "live".to_owned(),
            Self::In(time) => human::duration(time.max(Duration::from_secs(1))),
            Self::Behind => "falling behind".to_owned(),
            Self::Unknown => String::new(),
        }
    }
}

/// Remembers lags for a while, by mirror and topic.
#[derive(Default)]
pub(super) struct Progress {
    lags: HashMap<(String, String), VecDeque<(Instant, i64)>>,
    /// Records copied, by mirror.
    copied: HashMap<String, Copied>,
}

/// Workers count from their ranges' start: where one starts anew, what it had copied before still counts.
#[derive(Default, Clone, Copy)]
struct Copied {
    before: i64,
    now: i64,
}

impl Progress {
    /// Takes a status in; call it for every one.
    pub(super) fn observe(&mut self, now: Instant, status: &v1::MirrorStatus) {
        let copied = self.copied.entry(status.mirror.clone()).or_default();
        let now_copied = status.totals.unwrap_or_default().records;
        copied.before += (copied.now - now_copied).max(0);
        copied.now = now_copied;
        let whole = std::iter::once((String::new(), status.totals.unwrap_or_default()));
        let topics = status.topics.iter().map(|t| (t.source_topic.clone(), t.totals.unwrap_or_default()));
        for (topic, totals) in whole.chain(topics) {
            let lags = self.lags.entry((status.mirror.clone(), topic)).or_default();
            // What isn't known exactly says nothing about where it is going.
            match totals.lag_records.filter(|_| !totals.lag_at_least) {
                Some(lag) => lags.push_back((now, lag)),
                None => lags.clear(),
            }
            while lags.front().is_some_and(|(at, _)| now - *at > WINDOW) {
                lags.pop_front();
            }
        }
    }

    pub(super) fn forget(&mut self, mirror: &str) {
        self.lags.retain(|(name, _), _| name != mirror);
        self.copied.remove(mirror);
    }

    /// `topic` is empty for the whole mirror.
    fn eta(&self, mirror: &str, topic: &str, totals: v1::Totals) -> Eta {
        let Some(lag) = totals.lag_records.filter(|_| !totals.lag_at_least) else { return Eta::Unknown };
        let lag = lag as f64;
        if lag <= totals.records_per_second * LIVE_WITHIN {
            return Eta::Live;
        }
        let Some(lags) = self.lags.get(&(mirror.to_owned(), topic.to_owned())) else { return Eta::Unknown };
        let (Some((from, before)), Some((to, after))) = (lags.front(), lags.back()) else {
            return Eta::Unknown;
        };
        if *to - *from < MIN_SPAN {
            return Eta::Unknown;
        }
        let falling = (before - after) as f64 / (*to - *from).as_secs_f64();
        match lag / falling {
            seconds if seconds > 0.0 && seconds < MAX_ETA_SECONDS => {
                Eta::In(Duration::from_secs_f64(seconds))
            }
            _ if after > before => Eta::Behind,
            _ => Eta::Unknown,
        }
    }

    /// One line for a mirror.
    pub(super) fn line(&self, status: &v1::MirrorStatus) -> String {
        let totals = status.totals.unwrap_or_default();
        let eta = self.eta(&status.mirror, "", totals).text();
        let copied =
            self.copied.get(&status.mirror).map_or(totals.records, |copied| copied.before + copied.now);
        let mut line = format!(
            "{} {}: {} records copied, {} records/s, {}/s, lag {}",
            human::id(&status.mirror),
            human::state(status.state().short_name()),
            human::count(copied),
            human::rate(totals.records_per_second),
            human::bytes(totals.bytes_per_second),
            lag::sentence(&totals),
        );
        if status.state() == v1::State::Active && !eta.is_empty() {
            line.push_str(&format!(
                ", {}",
                if eta == "live" || eta == "falling behind" { eta } else { format!("caught up in {eta}") }
            ));
        }
        if let Some(first) = status.causes.first() {
            line.push_str(&format!(", {}{}", human::cause(first), human::since(first.since)));
        }
        line
    }

    /// A line for the mirror and one for each topic, the most behind first; at most `height` of them.
    pub(super) fn block(&self, status: &v1::MirrorStatus, height: usize) -> Vec<String> {
        let mut lines = vec![self.line(status)];
        let mut topics: Vec<&v1::TopicStatus> = status.topics.iter().collect();
        let lag = |topic: &v1::TopicStatus| topic.totals.unwrap_or_default().lag_records.unwrap_or(i64::MAX);
        topics.sort_by_key(|topic| (-lag(topic), &topic.source_topic));
        let shown = if topics.len() + 3 > height { height.saturating_sub(4).max(1) } else { topics.len() };
        let mut table =
            Table::new(["TOPIC", "STATE", "RECORDS/S", "BYTES/S", "LAG", "P99", "CAUGHT UP IN", "CAUSE"]);
        for topic in topics.iter().take(shown) {
            let totals = topic.totals.unwrap_or_default();
            table.row([
                format!("  {}", topic.source_topic),
                human::state(topic.state().short_name()),
                human::rate(totals.records_per_second),
                human::bytes(totals.bytes_per_second),
                lag::cell(&totals),
                human::maybe_millis(totals.latency_p99_ms),
                self.eta(&status.mirror, &topic.source_topic, totals).text(),
                topic.causes.first().map(human::cause).unwrap_or_default(),
            ]);
        }
        if !table.is_empty() {
            lines.extend(table.render_flat(output::width()).lines().map(str::to_owned));
        }
        if topics.len() > shown {
            lines.push(format!("  ... and {} more topics with less lag", topics.len() - shown));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(lag: i64, rate: f64) -> v1::MirrorStatus {
        let totals = Some(v1::Totals {
            lag_records: Some(lag),
            records_per_second: rate,
            records: 10,
            ..v1::Totals::default()
        });
        let topic = |name: &str| v1::TopicStatus {
            source_topic: name.to_owned(),
            state: v1::State::Active.into(),
            totals,
            ..v1::TopicStatus::default()
        };
        v1::MirrorStatus {
            mirror: "mirrors/m".to_owned(),
            state: v1::State::Active.into(),
            totals,
            topics: vec![topic("a"), topic("b"), topic("c")],
            ..v1::MirrorStatus::default()
        }
    }

    /// Lags seen a second apart.
    fn seen(lags: &[i64]) -> (Progress, Eta) {
        let (mut progress, start) = (Progress::default(), Instant::now());
        for (second, lag) in lags.iter().enumerate() {
            progress.observe(start + Duration::from_secs(second as u64), &status(*lag, 10.0));
        }
        let totals = status(*lags.last().unwrap(), 10.0).totals.unwrap();
        let eta = progress.eta("mirrors/m", "a", totals);
        (progress, eta)
    }

    #[test]
    fn the_estimate_follows_from_how_lag_falls() {
        assert_eq!(seen(&[1000]).1, Eta::Unknown);
        assert_eq!(seen(&[1000, 900, 800]).1, Eta::In(Duration::from_secs(8)));
        assert_eq!(seen(&[1000, 1100, 1200]).1, Eta::Behind);
        assert_eq!(seen(&[1000, 1000, 1000]).1, Eta::Unknown);
        assert_eq!(seen(&[15]).1, Eta::Live);
        assert_eq!(seen(&[0]).1, Eta::Live);
    }

    #[test]
    fn what_was_copied_never_goes_back() {
        let mut progress = Progress::default();
        let with = |records| {
            let mut status = status(0, 10.0);
            status.totals = Some(v1::Totals { records, ..status.totals.unwrap_or_default() });
            status
        };
        let mut shown = Vec::new();
        for records in [10, 90, 5, 0, 0, 7, 20] {
            progress.observe(Instant::now(), &with(records));
            let line = progress.line(&with(records));
            let count = line.split(": ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
            shown.push(count);
        }
        assert_eq!(shown, ["10", "90", "90", "90", "90", "97", "110"]);
    }

    #[test]
    fn a_mirror_is_one_line_or_a_block_that_fits() {
        let (progress, _) = seen(&[1000, 900, 800]);
        let status = status(800, 10.0);
        assert_eq!(
            progress.line(&status),
            "m active: 10 records copied, 10 records/s, 0 B/s, lag 800, caught up in 8s"
        );
        assert_eq!(progress.block(&status, 40).len(), 1 + 1 + 3);
        let mut silent = status.clone();
        let totals = silent.totals.as_mut().unwrap();
        totals.lag_at_least = true;
        totals.source_seen_time = Some(prost_types::Timestamp { seconds: 0, nanos: 0 });
        silent.set_state(v1::State::Waiting);
        assert_eq!(
            progress.line(&silent),
            "m waiting: 10 records copied, 10 records/s, 0 B/s, lag at least 800 (unknown since 1970-01-01T00:00:00Z)"
        );
        silent.totals.as_mut().unwrap().lag_records = None;
        assert!(progress.line(&silent).ends_with("lag unknown since 1970-01-01T00:00:00Z"));
        assert_eq!(progress.eta("mirrors/m", "", silent.totals.unwrap()), Eta::Unknown, "not live");
        let small = progress.block(&status, 5);
        assert_eq!(small.len(), 1 + 1 + 1 + 1);
        assert!(small[3].contains("2 more topics"), "{small:?}");
    }
}
