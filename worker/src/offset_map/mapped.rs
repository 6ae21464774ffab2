//! All that is mapped of a partition as one row of records, from the first that counts to the last.

use std::collections::BTreeMap;

use prost::Message;
use twinlog_proto::id::MirrorId;
use twinlog_proto::storage::OffsetMapKey;

use super::{Chunk, Segment, reader};
use crate::cluster::ClusterHandle;
use crate::kafka::KafkaError;
use crate::progress::{NOT_A_CHUNK, PartitionProgress};

/// Records with their copies, oldest first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mapped(Vec<Segment>);

impl Mapped {
    /// Puts the pieces together as `History` does: each counts up to where the next one begins.
    pub(crate) fn of(mut closed: Vec<Chunk>, open: &Chunk) -> Self {
        closed.retain(|chunk| chunk.source_start() < open.source_start());
        closed.push(open.clone());
        let limits = closed.iter().skip(1).map(|next| next.source_start().0).chain([i64::MAX]);
        let pieces = closed.iter().zip(limits).flat_map(|(chunk, limit)| {
            chunk
                .segments()
                .iter()
                .filter(move |s| s.source < limit)
                .map(move |segment| Segment { len: segment.len.min(limit - segment.source), ..*segment })
        });
        Self(pieces.filter(|segment| segment.len > 0).collect())
    }

    /// What neither log has any more is left out, and what lies from `end` on.
    pub(crate) fn within(mut self, (source_start, target_start): (i64, i64), end: i64) -> Self {
        for segment in &mut self.0 {
            let gone =
                (source_start - segment.source).max(target_start - segment.target).clamp(0, segment.len);
            segment.source += gone;
            segment.target += gone;
            segment.len = (segment.len - gone).min(end - segment.source);
        }
        self.0.retain(|segment| segment.len > 0);
        self
    }

    pub(crate) fn len(&self) -> i64 {
        self.0.iter().map(|segment| segment.len).sum()
    }

    /// Source and target offset of the record with this number, from 0 on.
    pub(crate) fn at(&self, mut number: i64) -> Option<(i64, i64)> {
        for segment in &self.0 {
            if number < segment.len {
                return Some((segment.source + number, segment.target + number));
            }
            number -= segment.len;
        }
        None
    }
}

/// Reads the closed pieces of these partitions.
pub(crate) async fn mapped(
    target: &ClusterHandle,
    mirror: &MirrorId,
    source_topic: &str,
    partitions: &BTreeMap<i32, &PartitionProgress>,
) -> Result<BTreeMap<i32, Mapped>, KafkaError> {
    let (_, mut offsets) = reader::readers(mirror);
    let mut records = Vec::new();
    offsets.read(target, &mut records).await?;
    let mut closed: BTreeMap<i32, Vec<Chunk>> = BTreeMap::new();
    for record in &records {
        let (Ok(key), Some(value)) = (OffsetMapKey::decode(&*record.key), &record.value) else { continue };
        let progress = partitions.get(&key.partition).filter(|_| key.source_topic == source_topic);
        let same = progress.is_some_and(|progress| progress.source_topic_id == key.source_topic_id);
        if !same || key.first_source_offset == NOT_A_CHUNK {
            continue;
        }
        let Ok(chunk) = Chunk::decode(value) else { continue };
        let closed = closed.entry(key.partition).or_default();
        closed.retain(|known| known.source_start() < chunk.source_start());
        closed.push(chunk);
    }
    let one = |(partition, progress): (&i32, &&PartitionProgress)| {
        (*partition, Mapped::of(closed.remove(partition).unwrap_or_default(), &progress.chunk))
    };
    Ok(partitions.iter().map(one).collect())
}

#[cfg(test)]
mod tests {
    use twinlog_proto::id::{SourceOffset, TargetOffset};

    use super::*;

    fn chunk(pieces: &[(i64, i64, i64)]) -> Chunk {
        let mut chunk = Chunk::anchored(SourceOffset(pieces[0].0), TargetOffset(pieces[0].1));
        for (source, target, len) in pieces {
            chunk.add(SourceOffset(*source), TargetOffset(*target), *len).unwrap();
        }
        chunk
    }

    #[test]
    fn pieces_count_up_to_where_the_next_one_begins() {
        let closed = vec![chunk(&[(0, 0, 10), (12, 11, 20)]), chunk(&[(20, 40, 5)]), chunk(&[(30, 70, 9)])];
        let mapped = Mapped::of(closed, &chunk(&[(25, 50, 5)]));
        // 0-9, 12-19, 20-24, 25-29.
        assert_eq!(mapped.len(), 28);
        let at = |number| mapped.at(number);
        assert_eq!(
            [at(9), at(10), at(17), at(18)],
            [Some((9, 9)), Some((12, 11)), Some((19, 18)), Some((20, 40))]
        );
        assert_eq!([at(27), at(28)], [Some((29, 54)), None]);
        let within = mapped.within((5, 12), 27);
        assert_eq!((within.at(0), within.len()), (Some((13, 12)), 7 + 5 + 2));
        assert_eq!(within.within((0, 100), 27).len(), 0);
    }
}
