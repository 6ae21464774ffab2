//! What of a group's committed offsets the copies can stand for: an offset behind the end of the copy becomes that end, and one that
//! belongs to an earlier life of its topic becomes nothing. Pure.

use std::collections::{HashMap, HashSet};

use twinlog_proto::id::SourceOffset;

use super::decide::GroupOffsets;
use crate::kafka::CommittedOffset;
use crate::topic::TopicPartition;

/// What the source and the map say of a partition.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Copied up to here; what is not in it has no progress.
    pub(super) copied: HashMap<TopicPartition, SourceOffset>,
    /// Ends of the source partitions in which some group is ahead of the copy; what is not in it isn't known.
    pub(super) ends: HashMap<TopicPartition, SourceOffset>,
}

/// Partitions in which some group is ahead of the copy.
pub(super) fn ahead(
    groups: &[GroupOffsets],
    copied: &HashMap<TopicPartition, SourceOffset>,
) -> Vec<TopicPartition> {
    let offsets = groups.iter().flat_map(|group| group.offsets.iter().flatten());
    let mut ahead: Vec<TopicPartition> = offsets
        .map(|offset| (at(offset), offset.offset))
        .filter(|(partition, offset)| copied.get(partition).is_some_and(|copied| *offset > copied.0))
        .map(|(partition, _)| partition)
        .collect();
    ahead.sort_unstable();
    ahead.dedup();
    ahead
}

/// Brings every offset that is ahead of the copy back to its end.
pub(super) fn bring_back(groups: &mut [GroupOffsets], facts: &Facts) {
    for group in groups {
        let Ok(offsets) = &mut group.offsets else { continue };
        let (at_copy_end, of_others) = (&mut group.at_copy_end, &mut group.of_others);
        offsets.retain_mut(|offset| {
            let partition = at(offset);
            let Some(copied) = facts.copied.get(&partition).filter(|copied| offset.offset > copied.0) else {
                return true;
            };
            match facts.ends.get(&partition) {
                Some(end) if offset.offset <= end.0 => {
                    offset.offset = copied.0;
                    *at_copy_end += 1;
                    true
                }
                Some(end) => {
                    let why = format!(
                        "{} partition {} ends at {end} on the source, before the group's offset {}: that is of records which are gone \
                         (truncated, or of an earlier topic of this name)",
                        offset.topic, offset.partition, offset.offset
                    );
                    leave_out(of_others, partition, why);
                    false
                }
                None => {
                    let why = format!(
                        "{} partition {}: the group is at {}, ahead of the copy, and the end on the source is not known",
                        offset.topic, offset.partition, offset.offset
                    );
                    leave_out(of_others, partition, why);
                    false
                }
            }
        });
    }
}

/// Of which partition it is.
fn at(offset: &CommittedOffset) -> TopicPartition {
    TopicPartition::new(&offset.topic, offset.partition)
}

fn leave_out(others: &mut (Vec<TopicPartition>, Option<String>), partition: TopicPartition, why: String) {
    others.0.push(partition);
    others.1.get_or_insert(why);
}

/// Offsets of groups that were committed in an earlier life of a topic. Kafka deletes them with the topic, but not at once: until a
/// group's offset has changed or gone, it is taken for the earlier topic's.
#[derive(Debug, Default)]
pub(super) struct Lives {
    /// Topic ids (UUID text) as they were last seen.
    ids: HashMap<String, String>,
    /// Every offset as it was last seen, in the life that the topic had then.
    seen: HashMap<(String, TopicPartition), i64>,
    /// Those that were seen in an earlier life and have not changed since.
    earlier: HashMap<(String, TopicPartition), i64>,
}

impl Lives {
    /// Leaves out what belongs to an earlier life. `ids`: of the topics on the source, read after the offsets; a topic that is not in
    /// it can't be told.
    pub(super) fn sort_out(&mut self, groups: &mut [GroupOffsets], ids: &HashMap<String, String>) {
        let reborn: Vec<&str> = ids
            .iter()
            .filter(|(topic, id)| self.ids.get(*topic).is_some_and(|before| before != *id))
            .map(|(topic, _)| topic.as_str())
            .collect();
        for ((group, partition), offset) in &self.seen {
            if reborn.contains(&partition.topic.as_str()) {
                self.earlier.insert((group.clone(), partition.clone()), *offset);
            }
        }
        self.ids.extend(ids.iter().map(|(topic, id)| (topic.clone(), id.clone())));
        // A group that could not be read now keeps what is known of it.
        let unread: HashSet<&str> =
            groups.iter().filter(|g| g.offsets.is_err()).map(|g| g.group.as_str()).collect();
        let mut seen: HashMap<_, _> = std::mem::take(&mut self.seen)
            .into_iter()
            .filter(|((g, _), _)| unread.contains(g.as_str()))
            .collect();
        for group in &*groups {
            let key = |o: &CommittedOffset| (group.group.clone(), at(o));
            seen.extend(group.offsets.iter().flatten().map(|offset| (key(offset), offset.offset)));
        }
        self.earlier.retain(|key, offset| {
            seen.get(key).is_some_and(|now| now == offset) || unread.contains(key.0.as_str())
        });
        self.seen = seen;
        for group in groups {
            let Ok(offsets) = &mut group.offsets else { continue };
            let (name, of_others) = (&group.group, &mut group.of_others);
            offsets.retain(|offset| {
                let partition = at(offset);
                // From offset 0 everything is still to be read, in any life.
                if offset.offset == 0 || !self.earlier.contains_key(&(name.clone(), partition.clone())) {
                    return true;
                }
                let why = format!(
                    "{} was deleted and made anew on the source, and the group's offset {} in partition {} is what it was before: it \
                     counts as soon as the group commits again",
                    offset.topic, offset.offset, offset.partition
                );
                leave_out(of_others, partition, why);
                false
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use twinlog_proto::reason::Reason;

    use super::*;
    use crate::kafka::KafkaError;

    fn committed(topic: &str, partition: i32, offset: i64) -> CommittedOffset {
        CommittedOffset { topic: topic.into(), partition, offset, leader_epoch: 3, metadata: String::new() }
    }

    fn group(offsets: &[(i32, i64)]) -> Vec<GroupOffsets> {
        let offsets = offsets.iter().map(|(p, o)| committed("t", *p, *o)).collect();
        vec![GroupOffsets::new("g".into(), Ok(offsets))]
    }

    fn offsets(groups: &[GroupOffsets]) -> Vec<i64> {
        groups.iter().flat_map(|g| g.offsets.iter().flatten()).map(|o| o.offset).collect()
    }

    fn facts(copied: &[i64], ends: &[(i32, i64)]) -> Facts {
        let of = |p: i32| TopicPartition::new("t", p);
        Facts {
            copied: (0..).zip(copied).map(|(p, o)| (of(p), SourceOffset(*o))).collect(),
            ends: ends.iter().map(|(p, end)| (of(*p), SourceOffset(*end))).collect(),
        }
    }

    /// The translation of min(commit, copied end): what is behind the copy's end stays, what is ahead becomes the end.
    #[test]
    fn an_offset_ahead_of_the_copy_becomes_its_end() {
        let facts = facts(&[100, 100, 100], &[(2, 250)]);
        let mut groups = group(&[(0, 99), (1, 100), (2, 250), (3, 7)]);
        assert_eq!(ahead(&groups, &facts.copied), [TopicPartition::new("t", 2)]);
        bring_back(&mut groups, &facts);
        assert_eq!(offsets(&groups), [99, 100, 100, 7], "3 has no progress: the translator says so");
        assert_eq!((groups[0].at_copy_end, groups[0].of_others.0.len()), (1, 0));
    }

    /// An offset behind the source's own end is not of this log: the copy's end would pass over records that the group never saw.
    #[test]
    fn an_offset_behind_the_sources_end_stands_for_nothing() {
        let mut groups = group(&[(0, 280), (1, 280)]);
        bring_back(&mut groups, &facts(&[100, 100], &[(0, 120)]));
        assert_eq!(offsets(&groups), [0i64; 0]);
        assert_eq!((groups[0].at_copy_end, groups[0].of_others.0.len()), (0, 2));
        let why = groups[0].of_others.1.as_deref().unwrap();
        assert!(why.contains("ends at 120") && why.contains("280"), "{why}");
    }

    fn ids(id: &str) -> HashMap<String, String> {
        HashMap::from([("t".to_owned(), id.to_owned())])
    }

    fn sorted(lives: &mut Lives, now: &[(i32, i64)], id: &str) -> Vec<i64> {
        let mut groups = group(now);
        lives.sort_out(&mut groups, &ids(id));
        offsets(&groups)
    }

    #[test]
    fn an_offset_of_an_earlier_life_counts_once_it_has_changed() {
        let mut lives = Lives::default();
        assert_eq!(sorted(&mut lives, &[(0, 250), (1, 0)], "A"), [250, 0]);
        assert_eq!(sorted(&mut lives, &[(0, 251), (1, 0)], "A"), [251, 0]);
        for _ in 0..2 {
            assert_eq!(
                sorted(&mut lives, &[(0, 251), (1, 0)], "B"),
                [0],
                "as it was: Kafka has not deleted it yet"
            );
        }
        assert_eq!(sorted(&mut lives, &[(0, 9), (1, 3)], "B"), [9, 3]);
        assert_eq!(sorted(&mut lives, &[(0, 251), (1, 3)], "B"), [251, 3], "it got there by itself");
    }

    #[test]
    fn an_offset_that_was_deleted_is_a_new_one_when_it_comes_back() {
        let mut lives = Lives::default();
        sorted(&mut lives, &[(0, 250)], "A");
        assert_eq!(sorted(&mut lives, &[(0, 250)], "B"), [0i64; 0]);
        let failed = KafkaError::new(Reason::KAFKA_ERROR, "no");
        lives.sort_out(&mut [GroupOffsets::new("g".into(), Err(failed))], &ids("B"));
        assert_eq!(sorted(&mut lives, &[(0, 250)], "B"), [0i64; 0], "what can't be read is not deleted");
        sorted(&mut lives, &[], "B");
        assert_eq!(sorted(&mut lives, &[(0, 250)], "B"), [250]);
    }
}
