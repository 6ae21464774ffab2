//! What makes revisions only grow, whatever happens to etcd: a number that is kept in etcd and added to its own revisions.
//!
//! etcd counts from 1 in a new data folder, and from the past in one that was restored from a snapshot. Epochs, terms, etags and
//! the revisions of watches are made of revisions: going back would fence every range for ever, and take other people's changes
//! for one's own. So whoever notices that etcd went back, or that another etcd answers, raises the base above everything that was
//! seen; so does whoever finds none. A new base is at least the time in milliseconds since 1970, as the embedded store's
//! revisions are: then a process that has seen nothing raises it far enough, too.

use bytes::Bytes;
use prost::Message;

/// The stored form.
#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(int64, tag = "1")]
    base: i64,
}

pub(super) fn encode(base: i64) -> Bytes {
    Record { base }.encode_to_vec().into()
}

/// # Errors
/// A sentence about a value that nobody of ours wrote.
pub(super) fn decode(value: &[u8]) -> Result<i64, String> {
    match Record::decode(value) {
        Ok(Record { base }) if base > 0 => Ok(base),
        Ok(Record { base }) => Err(format!("{base} is no base for revisions")),
        Err(error) => Err(error.to_string()),
    }
}

/// The etcd that this process speaks with, as it was last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Base {
    /// Added to etcd's revisions.
    pub(super) base: i64,
    /// etcd's revision that wrote the base: what lies before it belongs to another history.
    pub(super) since: i64,
    /// etcd's cluster id.
    pub(super) cluster: u64,
}

impl Base {
    pub(super) fn ours(&self, etcds: i64) -> i64 {
        self.base.saturating_add(etcds)
    }

    /// 0 stays 0: it means that a key isn't there.
    pub(super) fn etcds(&self, ours: i64) -> i64 {
        if ours == 0 { 0 } else { ours.saturating_sub(self.base) }
    }

    /// The revision that watches may begin after, at the earliest.
    pub(super) fn oldest(&self) -> i64 {
        self.ours(self.since)
    }
}

/// What a linearizable read of the base's key found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// etcd's revision of the answer.
    pub(super) revision: i64,
    pub(super) cluster: u64,
    /// The base, and etcd's revision that wrote it.
    pub(super) stored: Option<(i64, i64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// All is well with this base.
    Go(Base),
    /// This base must be written first, in place of what was found.
    Raise(i64),
}

/// `seen`: the greatest revision (of ours) that this process knew of before it asked.
pub(super) fn decide(known: Option<Base>, seen: i64, found: Found, now_ms: i64) -> Decision {
    let above = now_ms.max(seen);
    let Some((base, since)) = found.stored else { return Decision::Raise(above) };
    let next = Base { base, since, cluster: found.cluster };
    // A replica that noticed earlier has raised the base already.
    let another = known.is_some_and(|known| known.cluster != found.cluster && known.base == base);
    if another || next.ours(found.revision) < seen { Decision::Raise(above) } else { Decision::Go(next) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;
    const KNOWN: Base = Base { base: 1_000, since: 2, cluster: 7 };

    fn found(revision: i64, stored: Option<(i64, i64)>) -> Found {
        Found { revision, cluster: 7, stored }
    }

    fn raised(decision: Decision) -> Option<i64> {
        match decision {
            Decision::Raise(base) => Some(base),
            Decision::Go(_) => None,
        }
    }

    #[test]
    fn a_store_that_goes_on_keeps_its_base() {
        let same = found(50, Some((1_000, 2)));
        assert_eq!(decide(Some(KNOWN), 1_050, same, NOW), Decision::Go(KNOWN));
        assert_eq!(decide(None, 0, same, NOW), Decision::Go(KNOWN), "a process that has just started");
    }

    #[test]
    fn an_empty_store_gets_a_base_above_the_clock_and_above_what_was_seen() {
        assert_eq!(raised(decide(None, 0, found(1, None), NOW)), Some(NOW));
        assert_eq!(raised(decide(Some(KNOWN), 1_050, found(1, None), NOW)), Some(NOW));
        let seen = NOW + 5_000;
        assert_eq!(raised(decide(Some(KNOWN), seen, found(1, None), NOW)), Some(seen), "the clock went back");
    }

    #[test]
    fn a_store_that_went_back_gets_a_later_base() {
        let back = found(40, Some((1_000, 2)));
        assert_eq!(raised(decide(Some(KNOWN), 1_050, back, NOW)), Some(NOW));
        // Every revision of the old history, the greatest one too, is smaller than any of the new one.
        let seen = NOW + 1_050;
        let base = raised(decide(Some(KNOWN), seen, back, NOW)).unwrap();
        assert!(Base { base, since: 41, cluster: 7 }.ours(1) > seen);
    }

    #[test]
    fn another_cluster_is_another_store_unless_somebody_has_noticed() {
        let other = Found { cluster: 8, ..found(5_000, Some((1_000, 2))) };
        assert_eq!(raised(decide(Some(KNOWN), 1_050, other, NOW)), Some(NOW));
        let noticed = Found { cluster: 8, ..found(41, Some((NOW, 41))) };
        assert_eq!(
            decide(Some(KNOWN), 1_050, noticed, NOW),
            Decision::Go(Base { base: NOW, since: 41, cluster: 8 })
        );
    }

    #[test]
    fn a_base_survives_its_encoding_and_rubbish_is_named() {
        assert_eq!(decode(&encode(NOW)), Ok(NOW));
        assert!(decode(&encode(-5)).unwrap_err().contains("-5"));
        assert!(decode(b"\xff\xff").is_err());
    }

    #[test]
    fn revisions_are_mapped_both_ways() {
        assert_eq!(KNOWN.etcds(KNOWN.ours(17)), 17);
        assert_eq!(KNOWN.etcds(0), 0, "an absent key stays absent");
    }
}
