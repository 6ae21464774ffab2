//! How much a range gets, and who gives way to those who wait. Pure.

use std::time::Duration;

/// A share is this fraction of what is free.
const SHARE_OF_FREE: u64 = 32;
/// More than this does not make one range faster.
pub const MAX_SHARE_BYTES: u64 = 64 << 20;
/// Less than this does not carry records.
pub const MIN_SHARE_BYTES: u64 = 1 << 20;

/// The share of one of `ranges`, while `free` of `bytes` are. The first ranges of a worker run with deep queues, and there is
/// still room for the hundredth; where it is known that there are many, each gets an equal part.
pub(super) fn share(bytes: u64, free: u64, ranges: usize) -> u64 {
    let equal = bytes / u64::try_from(ranges).unwrap_or(u64::MAX).max(1);
    (free / SHARE_OF_FREE).min(equal).clamp(MIN_SHARE_BYTES, MAX_SHARE_BYTES)
}

/// A range that holds a share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) bytes: u64,
    /// Since it got its share.
    pub(super) held: Duration,
    /// Since it has had nothing to copy; `None`: it has.
    pub(super) idle: Option<Duration>,
}

/// Who is to give way, at most so many as are `wanted`: who has had nothing to copy for longest, then who holds more than
/// `too_large` (to come back with less), then who has held its share for longest, but at least for a turn.
pub(super) fn who_gives_way(
    candidates: impl Iterator<Item = (u64, Candidate)>,
    wanted: usize,
    too_large: Option<u64>,
    turn: Duration,
    idle_turn: Duration,
) -> Vec<u64> {
    let rank = |candidate: &Candidate| match candidate.idle {
        Some(idle) if idle >= idle_turn => Some((0, std::cmp::Reverse(idle))),
        _ if too_large.is_some_and(|limit| candidate.bytes > limit) => {
            Some((1, std::cmp::Reverse(candidate.held)))
        }
        _ if candidate.held >= turn => Some((2, std::cmp::Reverse(candidate.held))),
        _ => None,
    };
    let mut ranked: Vec<_> = candidates.filter_map(|(id, candidate)| Some((rank(&candidate)?, id))).collect();
    ranked.sort_unstable();
    ranked.into_iter().take(wanted).map(|(_, id)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn few_ranges_run_with_deep_queues_and_many_with_equal_ones() {
        assert_eq!(share(512 * MIB, 512 * MIB, 1), 16 * MIB);
        assert_eq!(share(512 * MIB, 512 * MIB, 256), 2 * MIB);
        assert_eq!(share(512 * MIB, 512 * MIB, 10_000), MIN_SHARE_BYTES);
        assert_eq!(share(1 << 40, 1 << 40, 1), MAX_SHARE_BYTES);
        assert_eq!(share(0, 0, 0), MIN_SHARE_BYTES);
    }

    #[test]
    fn the_idle_give_way_first_then_the_large_then_those_whose_turn_is_over() {
        let (turn, idle_turn) = (Duration::from_secs(5), Duration::from_secs(1));
        let candidate = |bytes, held, idle: Option<u64>| Candidate {
            bytes,
            held: Duration::from_secs(held),
            idle: idle.map(Duration::from_secs),
        };
        let all = [
            (1, candidate(MIB, 60, None)),
            (2, candidate(MIB, 4, None)),
            (3, candidate(MIB, 9, Some(2))),
            (4, candidate(MIB, 9, Some(0))),
            (5, candidate(16 * MIB, 1, None)),
            (6, candidate(MIB, 70, None)),
            (7, candidate(MIB, 9, Some(8))),
        ];
        let who = |wanted, limit| who_gives_way(all.iter().copied(), wanted, limit, turn, idle_turn);
        assert_eq!(who(100, Some(2 * MIB)), [7, 3, 5, 6, 1, 4]);
        assert_eq!(who(100, None), [7, 3, 6, 1, 4], "a large share hurts nobody where memory isn't short");
        assert_eq!(who(2, None), [7, 3]);
        assert!(who(0, None).is_empty());
    }
}
