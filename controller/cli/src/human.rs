//! Numbers, times and causes as people read them.

use std::time::{Duration, SystemTime};

use twinlog_proto::text::visible;
use twinlog_proto::v1;

/// `1,234,567`
pub(super) fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

/// Records per second: `0`, `8.5`, `1,234`.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        r if r < 0.05 => "0".to_owned(),
        r if r < 10.0 => format!("{r:.1}"),
        r => count(r.round() as i64),
    }
}

/// `512 B`, `1.5 KiB`, `20 MiB`
pub(super) fn bytes(amount: f64) -> String {
    let mut value = amount.max(0.0);
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return sized(value, unit);
        }
        value /= 1024.0;
    }
    sized(value, "TiB")
}

fn sized(value: f64, unit: &str) -> String {
    if value < 10.0 && unit != "B" { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// Two units at most: `850ms`, `12s`, `3m 20s`, `2d 4h`.
pub(super) fn duration(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        return format!("{}ms", time.as_millis());
    }
    let seconds = time.as_secs();
    let parts =
        [("d", seconds / 86_400), ("h", seconds / 3_600 % 24), ("m", seconds / 60 % 60), ("s", seconds % 60)];
    let first = parts.iter().position(|(_, n)| *n > 0).unwrap_or(3);
    let shown = parts[first..].iter().take(2).filter(|(_, n)| *n > 0);
    shown.map(|(unit, n)| format!("{n}{unit}")).collect::<Vec<_>>().join(" ")
}

/// Milliseconds, or nothing where they aren't known.
pub(super) fn maybe_millis(ms: Option<f64>) -> String {
    ms.map(millis).unwrap_or_default()
}

/// How long ago, `3s ago`; nothing where it isn't known. A clock that is behind shows as `0ms ago`.
pub(super) fn ago(time: Option<prost_types::Timestamp>, now: SystemTime) -> String {
    let time = time.and_then(|time| SystemTime::try_from(time).ok());
    time.map(|time| format!("{} ago", duration(now.duration_since(time).unwrap_or_default())))
        .unwrap_or_default()
}

/// As in logs: `2026-11-27T11:06:15Z`; `None` where it is no time of this calendar.
pub(super) fn time(at: prost_types::Timestamp) -> Option<String> {
    const YEAR_10000: i64 = 253_402_300_800;
    let at = std::time::SystemTime::try_from(at).ok().filter(|_| (0..YEAR_10000).contains(&at.seconds))?;
    Some(humantime::format_rfc3339_seconds(at).to_string())
}

/// Behind a sentence: ` (since 2026-11-27T11:06:15Z)`; nothing where it isn't known.
pub(super) fn since(at: Option<prost_types::Timestamp>) -> String {
    at.and_then(time).map(|at| format!(" (since {at})")).unwrap_or_default()
}

/// Milliseconds as the API gives them.
pub(super) fn millis(ms: f64) -> String {
    match ms {
        m if m <= 0.0 => String::new(),
        m if m < 1.0 => "<1ms".to_owned(),
        m => duration(Duration::from_millis(m.round() as u64)),
    }
}

/// `ACTIVE` as `active`, `NOT_BACK` as `not back`.
pub(super) fn state(name: &str) -> String {
    name.to_lowercase().replace('_', " ")
}

/// Why something is as it is.
pub(super) fn cause(cause: &v1::Cause) -> String {
    visible(&format!("{}: {}", cause.reason, cause.message)).into_owned()
}

/// The id of a resource name.
pub(super) fn id(name: &str) -> String {
    name.split_once('/').map_or(name, |(_, id)| id).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            ["0", "999", "1,000", "-1,234,567"],
            [0, 999, 1000, -1_234_567].map(count).each_ref().map(String::as_str)
        );
        assert_eq!(["0", "8.5", "1,234"], [0.01, 8.5, 1234.4].map(rate).each_ref().map(String::as_str));
        assert_eq!(
            ["0 B", "1.5 KiB", "20 MiB"],
            [0.0, 1536.0, 20.0 * 1024.0 * 1024.0].map(bytes).each_ref().map(String::as_str)
        );
        let times =
            [850, 12_000, 200_000, 3_600_000, 187_200_000].map(|ms| duration(Duration::from_millis(ms)));
        assert_eq!(times, ["850ms", "12s", "3m 20s", "1h", "2d 4h"]);
        assert_eq!([0.0, 0.4, 12.3].map(millis), ["", "<1ms", "12ms"]);
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        assert_eq!([None, at(97), at(200)].map(|time| ago(time, now)), ["", "3s ago", "0ms ago"]);
        assert_eq!((state("NOT_BACK"), id("mirrors/a")), ("not back".to_owned(), "a".to_owned()));
    }
}
