//! From where on a halted partition's records are missing: what lag is counted from while someone has to decide. Pure.

use twinlog_proto::id::TargetOffset;

use super::start::Facts;
use crate::progress::PartitionProgress;

/// First source offset that is not rightly on the target, where that isn't the position: what lag is counted from while a partition
/// halts.
pub(super) fn missing_from(before: &PartitionProgress, facts: &Facts) -> Option<i64> {
    let ids_known = !before.source_topic_id.is_empty() && !facts.topic_id.is_empty();
    if ids_known && before.source_topic_id != facts.topic_id {
        return Some(facts.earliest);
    }
    let kept = facts.kept();
    let ids_known = !before.target_topic_id.is_empty() && !facts.target_topic_id.is_empty();
    let copy_end = match ids_known && before.target_topic_id != facts.target_topic_id {
        true => 0,
        false => facts.target_kept.unwrap_or(i64::MAX).min(facts.target_end),
    };
    let lost = (copy_end < before.chunk.target_end().0).then(|| {
        before.chunk.source_of(TargetOffset(copy_end)).unwrap_or(before.origin).0.max(facts.earliest)
    });
    [Some(kept), lost].into_iter().flatten().min().filter(|from| *from < before.position.0)
}

#[cfg(test)]
mod tests {
    use twinlog_proto::id::SourceOffset;

    use super::*;
    use crate::offset_map::Chunk;

    /// Source offsets 0 to 299 were copied to 0 to 299.
    fn copied() -> PartitionProgress {
        let mut chunk = Chunk::anchored(SourceOffset(0), TargetOffset(0));
        chunk.add(SourceOffset(0), TargetOffset(0), 300).unwrap();
        PartitionProgress {
            position: SourceOffset(300),
            source_topic_id: "id".to_owned(),
            leader_epoch: 0,
            origin: SourceOffset(0),
            origin_is_log_start: true,
            gaps: Vec::new(),
            chunk,
            target_topic_id: "x".to_owned(),
            target_known: None,
            last: None,
        }
    }

    #[test]
    fn what_is_not_rightly_on_the_target_is_missing() {
        let facts = Facts {
            earliest: 0,
            latest: 400,
            topic_id: "id".to_owned(),
            epoch_end: None,
            others_from: None,
            start: 0,
            target_start: 0,
            target_end: 300,
            target_kept: None,
            target_topic_id: "x".to_owned(),
            holds: 0,
            foreign: None,
        };
        let missing = |facts: Facts| missing_from(&copied(), &facts);
        assert_eq!(missing(facts.clone()), None, "from the position on");
        assert_eq!(missing(Facts { earliest: 350, ..facts.clone() }), None, "what is lost is missing, too");
        assert_eq!(missing(Facts { latest: 250, ..facts.clone() }), Some(250), "truncated");
        assert_eq!(
            missing(Facts { epoch_end: Some(200), ..facts.clone() }),
            Some(200),
            "and written to again"
        );
        assert_eq!(missing(Facts { topic_id: "other".to_owned(), earliest: 7, ..facts.clone() }), Some(7));
        assert_eq!(missing(Facts { target_end: 120, ..facts.clone() }), Some(120), "the copy lost them");
        let anew = Facts { target_topic_id: "y".to_owned(), ..facts.clone() };
        assert_eq!(missing(anew), Some(0), "the copy was made anew");
        assert_eq!(missing(Facts { target_end: 0, latest: 250, ..facts }), Some(0), "both");
    }
}
