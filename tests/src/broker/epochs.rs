//! Which leader wrote which part of a log.

/// (epoch, first offset), both rising.
#[derive(Debug, Clone, Default)]
pub(super) struct Epochs(Vec<(i32, i64)>);

impl Epochs {
    pub(super) fn begin(&mut self, epoch: i32, offset: i64) {
        self.0.retain(|(_, start)| *start < offset);
        self.0.push((epoch, offset));
    }

    /// The log ends at `end` now.
    pub(super) fn truncate(&mut self, end: i64) {
        self.0.retain(|(_, start)| *start < end);
    }

    /// Where the log of `epoch` ends: the largest epoch up to it, and where the next one begins. `None` for an epoch that is newer
    /// than all.
    pub(super) fn end_of(&self, epoch: i32, log_end: i64) -> Option<(i32, i64)> {
        let latest = self.0.last().map(|(latest, _)| *latest)?;
        if epoch == latest {
            return Some((epoch, log_end));
        }
        let (_, next) = *self.0.iter().find(|(at, _)| *at > epoch)?;
        let floor = self.0.iter().rev().find(|(at, _)| *at <= epoch);
        Some((floor.map_or(epoch, |(at, _)| *at), next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let mut epochs = Epochs::default();
        epochs.begin(0, 0);
        epochs.begin(2, 10);
        epochs.begin(5, 30);
        let ends = |epoch| epochs.end_of(epoch, 40);
        assert_eq!((ends(0), ends(1), ends(2)), (Some((0, 10)), Some((0, 10)), Some((2, 30))));
        assert_eq!((ends(4), ends(5), ends(6)), (Some((2, 30)), Some((5, 40)), None));
        epochs.begin(6, 30);
        assert_eq!(epochs.end_of(5, 40), Some((2, 30)), "an epoch without a record leaves no trace");
    }
}
