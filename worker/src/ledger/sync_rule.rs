//! Which pairs of offsets are told: MM2's rule (mirrormaker2 reference 4.7). A pair is due at once where translation would
//! otherwise be off: first, after a gap, after the target was reset, or `offset.lag.max` target offsets after the last one. Any
//! other waits for the next flush. One pair waits of either kind: a newer one replaces it. Pure.

/// A source offset and where its record is on the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OffsetSync {
    pub(crate) upstream: i64,
    pub(crate) downstream: i64,
}

/// The rule's state for one partition.
#[derive(Debug)]
pub(crate) struct SyncRule {
    lag_max: i64,
    previous: Option<OffsetSync>,
    /// Target offset of the last pair that was due.
    last: Option<i64>,
    /// Due, not sent yet.
    pending: Option<OffsetSync>,
    /// Newest pair that was not due.
    delayed: Option<OffsetSync>,
}

impl SyncRule {
    pub(crate) fn new(lag_max: i64) -> Self {
        Self { lag_max, previous: None, last: None, pending: None, delayed: None }
    }

    pub(crate) fn set_lag_max(&mut self, lag_max: i64) {
        self.lag_max = lag_max;
    }

    /// `count` consecutive records, which are consecutive on the target too, were copied.
    pub(crate) fn copied(&mut self, first: OffsetSync, count: i64) {
        self.one(first);
        let last =
            OffsetSync { upstream: first.upstream + count - 1, downstream: first.downstream + count - 1 };
        // The rest has no gaps: due is what lies at multiples of the distance behind the last one that was.
        let distance = self.lag_max.saturating_add(1);
        let behind = last.downstream - self.last.expect("the first record has set it");
        let due = behind.checked_div(distance).unwrap_or(0);
        if count > 1 && due > 0 {
            let back = behind % distance;
            self.due(OffsetSync { upstream: last.upstream - back, downstream: last.downstream - back });
        }
        if self.last != Some(last.downstream) {
            self.delayed = Some(last);
        }
        self.previous = Some(last);
    }

    /// Whether the pair is due.
    fn one(&mut self, pair: OffsetSync) -> bool {
        let gap = self.previous.is_none_or(|previous| {
            pair.upstream - previous.upstream != 1 || pair.downstream < previous.downstream
        });
        let far = self.last.is_none_or(|last| pair.downstream - (last + 1) >= self.lag_max);
        self.previous = Some(pair);
        if gap || far {
            self.due(pair)
        } else {
            self.delayed = Some(pair)
        }
        gap || far
    }

    fn due(&mut self, pair: OffsetSync) {
        self.last = Some(pair.downstream);
        self.pending = Some(pair);
        self.delayed = None;
    }

    /// Whether there is a pair that was not told, due or not.
    pub(crate) fn waits(&self) -> bool {
        self.pending.is_some() || self.delayed.is_some()
    }

    /// What is due.
    pub(crate) fn take(&mut self) -> Option<OffsetSync> {
        self.pending.take()
    }

    /// At a flush what waited is due, too: a quiet partition's last offset is told soon.
    pub(crate) fn flush(&mut self) {
        self.pending = self.delayed.take().or(self.pending);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair(upstream: i64, downstream: i64) -> OffsetSync {
        OffsetSync { upstream, downstream }
    }

    /// S12: MM2's own sequence for `offset.lag.max` 50; its flag is what waits to be sent here.
    #[test]
    fn s12_pairs_are_due_as_in_mm2() {
        let mut rule = SyncRule::new(50);
        for (up, down, due, sent) in [
            (0, 100, true, true),
            (2, 102, true, true),
            (3, 152, false, true),
            (4, 153, true, true),
            (5, 154, false, true),
            (6, 203, false, true),
            (7, 204, true, true),
            (2, 206, true, true),
            (3, 207, false, true),
            (4, 3, true, true),
            (5, 4, false, true),
            (7, 6, true, false),
            (7, 6, true, false),
            (8, 7, true, false),
            (10, 57, true, true),
            (11, 58, false, true),
        ] {
            rule.copied(pair(up, down), 1);
            assert_eq!(rule.pending.is_some(), due, "({up}, {down})");
            if sent {
                rule.take();
            }
        }
        let mut every = SyncRule::new(0);
        for i in 0..5 {
            assert!(every.one(pair(i, 100 + i)), "lag 0: every record");
        }
    }

    /// S13: MM2's own sequence for `offset.lag.max` 2: what is due, what waits, and what a flush makes of it.
    #[test]
    fn s13_what_waits_is_replaced_by_what_is_newer() {
        let mut rule = SyncRule::new(2);
        rule.copied(pair(0, 1), 1);
        assert_eq!((rule.pending, rule.delayed, rule.last), (Some(pair(0, 1)), None, Some(1)));
        rule.copied(pair(1, 2), 1);
        assert_eq!((rule.delayed, rule.last), (Some(pair(1, 2)), Some(1)));

        let mut rule = SyncRule::new(50);
        rule.copied(pair(0, 100), 1);
        rule.copied(pair(1, 101), 1);
        rule.flush();
        assert_eq!((rule.pending, rule.delayed), (Some(pair(1, 101)), None));
        assert_eq!((rule.take(), rule.take()), (Some(pair(1, 101)), None), "told once");
        rule.flush();
        assert_eq!(rule.take(), None, "nothing is told twice");
    }

    proptest! {
        /// S12: runs of records come out as the same records one by one.
        #[test]
        fn s12_a_run_is_as_good_as_its_records(
            lag in 0_i64..60,
            runs in prop::collection::vec((1_i64..80, 0_i64..3, 0_i64..3), 1..20),
        ) {
            let (mut whole, mut single) = (SyncRule::new(lag), SyncRule::new(lag));
            let (mut up, mut down) = (0, 100);
            for (count, up_gap, down_gap) in runs {
                (up, down) = (up + up_gap, down + down_gap);
                whole.copied(pair(up, down), count);
                for i in 0..count {
                    single.one(pair(up + i, down + i));
                }
                prop_assert_eq!(
                    (whole.pending, whole.delayed, whole.last, whole.previous),
                    (single.pending, single.delayed, single.last, single.previous)
                );
                (up, down) = (up + count, down + count);
            }
        }
    }
}
