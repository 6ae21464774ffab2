//! What a mirror has not copied and never will, as a list over all its ranges.

use twinlog_proto::v1;

use crate::page::Page;

pub(super) fn page(page: Page, ranges: Vec<v1::RangeStatus>) -> v1::ListGapsResponse {
    let is_unknown = |range: &&v1::RangeStatus| {
        usize::try_from(range.partition_count).is_ok_and(|count| range.partitions.len() < count)
    };
    let ranges_unknown = i32::try_from(ranges.iter().filter(is_unknown).count()).unwrap_or(i32::MAX);
    let mut gaps: Vec<v1::MirrorGap> = ranges.into_iter().flat_map(of_range).collect();
    gaps.sort_by_cached_key(key);
    let (gaps, next_page_token) = page.cut(gaps, key);
    v1::ListGapsResponse { gaps, next_page_token, ranges_unknown }
}

fn of_range(range: v1::RangeStatus) -> impl Iterator<Item = v1::MirrorGap> {
    let v1::RangeStatus { source_topic, target_topic, partitions, .. } = range;
    partitions.into_iter().flat_map(move |status| {
        let (source_topic, target_topic) = (source_topic.clone(), target_topic.clone());
        status.gaps.into_iter().map(move |gap| v1::MirrorGap {
            source_topic: source_topic.clone(),
            target_topic: target_topic.clone(),
            partition: status.partition,
            gap: Some(gap),
        })
    })
}

/// Topics' names hold no blank, and nothing that sorts before it.
fn key(gap: &v1::MirrorGap) -> String {
    let first = gap.gap.as_ref().map_or(0, |gap| gap.first_offset);
    format!("{} {} {:010} {first:019}", gap.target_topic, gap.source_topic, gap.partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(topic: &str, first_partition: i32, gaps: &[&[i64]]) -> v1::RangeStatus {
        let gap = |first: &i64| v1::Gap { first_offset: *first, end_offset: first + 5, ..v1::Gap::default() };
        let partition = |(gaps, number): (&&[i64], i32)| v1::PartitionStatus {
            partition: number,
            gaps: gaps.iter().map(gap).collect(),
            ..v1::PartitionStatus::default()
        };
        v1::RangeStatus {
            source_topic: topic.to_owned(),
            target_topic: format!("a.{topic}"),
            first_partition,
            partition_count: 2,
            partitions: gaps.iter().zip(first_partition..).map(partition).collect(),
            ..v1::RangeStatus::default()
        }
    }

    #[test]
    fn gaps_of_all_ranges_come_page_by_page_in_order() {
        let ranges =
            vec![range("u", 0, &[&[7], &[]]), range("t", 2, &[&[9, 100], &[0]]), range("t", 0, &[&[]])];
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let answer = page(Page::new("mirrors/m/gaps", 2, &token).unwrap(), ranges.clone());
            assert!(answer.gaps.len() <= 2);
            assert_eq!(answer.ranges_unknown, 1, "of one range a partition is not known");
            found.extend(
                answer
                    .gaps
                    .into_iter()
                    .map(|gap| (gap.target_topic, gap.partition, gap.gap.unwrap().first_offset)),
            );
            token = answer.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        let expected = [("a.t", 2, 9), ("a.t", 2, 100), ("a.t", 3, 0), ("a.u", 0, 7)];
        assert_eq!(found, expected.map(|(topic, partition, first)| (topic.to_owned(), partition, first)));
    }
}
