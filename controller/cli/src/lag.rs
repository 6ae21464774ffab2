//! Lag as people read it: what isn't known is never a 0.

use twinlog_proto::v1::{PartitionStatus, Totals};

use super::human;

/// For a table.
pub(super) fn cell(totals: &Totals) -> String {
    match (totals.lag_records, totals.lag_at_least) {
        (Some(lag), false) => human::count(lag),
        (Some(lag), true) => format!("at least {}", human::count(lag)),
        (None, _) => "?".to_owned(),
    }
}

/// Of some partitions together, for a table.
pub(super) fn cell_of(partitions: &[PartitionStatus], all: i32) -> String {
    let mut totals = Totals::default();
    partitions.iter().for_each(|partition| twinlog_proto::lag::add(&mut totals, Some(partition)));
    let said = i32::try_from(partitions.len()).unwrap_or(i32::MAX);
    (said..all).for_each(|_| twinlog_proto::lag::add(&mut totals, None));
    twinlog_proto::lag::settle(&mut totals, true);
    cell(&totals)
}

/// Behind "lag": how much, and since when no more is known.
pub(super) fn sentence(totals: &Totals) -> String {
    let since = totals.source_seen_time.and_then(human::time).map(|at| format!(" since {at}"));
    match (totals.lag_records, totals.lag_at_least) {
        (Some(lag), false) => human::count(lag),
        (Some(lag), true) => {
            let why = match totals.partitions_lag_unknown {
                0 => format!("unknown{}", since.unwrap_or_default()),
                n => format!("{n} partitions unknown{}", since.unwrap_or_default()),
            };
            format!("at least {} ({why})", human::count(lag))
        }
        (None, _) => format!("unknown{}", since.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_0() {
        let totals = |lag_records, lag_at_least| Totals { lag_records, lag_at_least, ..Totals::default() };
        assert_eq!(cell(&totals(Some(0), false)), "0");
        assert_eq!(cell(&totals(Some(1_171), true)), "at least 1,171");
        assert_eq!((cell(&totals(None, true)), cell(&Totals::default())), ("?".to_owned(), "?".to_owned()));
        assert_eq!(sentence(&totals(Some(171), true)), "at least 171 (unknown)");
        let seen = Some(prost_types::Timestamp { seconds: 60, nanos: 5 });
        let unknown = Totals { source_seen_time: seen, ..totals(None, true) };
        assert_eq!(sentence(&unknown), "unknown since 1970-01-01T00:01:00Z");
        let part = Totals { partitions_lag_unknown: 2, ..totals(Some(3), true) };
        assert_eq!(sentence(&part), "at least 3 (2 partitions unknown)");
        assert_eq!(cell_of(&[], 1), "?");
    }
}
