//! What target topics hold before a mirror begins: shown by plans, with a word where nobody has asked to append to it.

use std::collections::HashMap;

use twinlog_proto::model::{Mirror, OntoExisting, Start};
use twinlog_proto::reason::Reason;

use crate::flow::Ends;
use crate::inventory::Warning;
use crate::kafka::{Isolation, KafkaClient, KafkaError, OffsetSpec};
use crate::offset_map;
use crate::start_group::Committed;
use crate::survey::decide::{Decision, Step};
use crate::topic::TopicPartition;

/// A plan looks into so many partitions of the target at most.
const MAX_PARTITIONS: usize = 20_000;
/// Topics that the warning names; of the rest it says how many.
const NAMED: usize = 5;

/// Offsets that exist, by target topic; topics beyond the limit, and those that can't be looked at, are left out.
pub(super) async fn on_target(
    ends: &Ends,
    decisions: &[Decision],
) -> Result<HashMap<String, i64>, KafkaError> {
    let there = decisions.iter().filter(|d| d.target_partitions > 0 && !matches!(d.step, Step::Skip(_)));
    held(&ends.target.client, there.map(|d| (d.target.clone(), d.target_partitions))).await
}

async fn held(
    client: &KafkaClient,
    topics: impl Iterator<Item = (String, i32)>,
) -> Result<HashMap<String, i64>, KafkaError> {
    let mut partitions: Vec<TopicPartition> = Vec::new();
    for (topic, count) in topics {
        if partitions.len() + usize::try_from(count).unwrap_or(usize::MAX) > MAX_PARTITIONS {
            break;
        }
        partitions.extend((0..count).map(|partition| TopicPartition::new(&topic, partition)));
    }
    let list = |spec| {
        let wanted: Vec<_> = partitions.iter().map(|at| (at.topic.clone(), at.partition, spec)).collect();
        async move { client.list_offsets(&wanted, Isolation::Uncommitted).await }
    };
    let (mut starts, mut ends) = tokio::try_join!(list(OffsetSpec::Earliest), list(OffsetSpec::Latest))?;
    let mut held: HashMap<String, Option<i64>> = HashMap::new();
    for place in partitions {
        let pair = place.pair();
        let span = match (starts.remove(&pair), ends.remove(&pair)) {
            (Some(Ok(start)), Some(Ok(end))) => Some(end.offset - start.offset),
            _ => None,
        };
        let sum = held.entry(place.topic).or_insert(Some(0));
        *sum = sum.zip(span).map(|(sum, span)| sum + span);
    }
    Ok(held.into_iter().filter_map(|(topic, held)| Some((topic, held?))).collect())
}

/// What becomes of a copy that holds records of which the mirror knows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// TARGET_NOT_EMPTY: nobody has said what to do.
    Stops,
    /// As somebody asked.
    Appended,
    Aligned,
    /// Nothing of the source is to be copied that is there now.
    OnlyNew,
    /// The source has nothing yet.
    NothingYet,
}

impl Outcome {
    fn of(mirror: &Mirror, source_holds: Option<i64>) -> Self {
        match (mirror.onto_existing, mirror.start) {
            (OntoExisting::Append, _) => Self::Appended,
            (OntoExisting::Align, _) => Self::Aligned,
            (OntoExisting::Refuse, Start::Latest) => Self::OnlyNew,
            (OntoExisting::Refuse, _) if source_holds == Some(0) => Self::NothingYet,
            (OntoExisting::Refuse, _) => Self::Stops,
        }
    }

    /// For the topic's line in a plan.
    fn note(self, records: i64) -> String {
        let then = match self {
            Self::Stops => "stops as TARGET_NOT_EMPTY, unless --onto-existing says what to do",
            Self::Appended => "all is copied behind them",
            Self::Aligned => {
                "goes on where they end in the source, and stops as TARGET_NOT_EMPTY where that isn't found"
            }
            Self::OnlyNew => "what comes to the source is copied behind them",
            Self::NothingYet => {
                "its source has none: what comes is copied behind them, or stops as TARGET_NOT_EMPTY if it comes before the mirror runs \
                 (--onto-existing=append: never)"
            }
        };
        format!("holds {records} records: {then}")
    }
}

/// What becomes of copies that hold records and in which the mirror has no progress: a note for each target topic, and a warning of those
/// that would stop. Where another's copy is continued (MirrorMaker, a consumer group) nothing is said.
pub(super) async fn outcomes(
    mirror: &Mirror,
    ends: &Ends,
    decisions: &[Decision],
    held: &HashMap<String, i64>,
    committed: &Committed,
) -> Result<(HashMap<String, String>, Option<Warning>), KafkaError> {
    if mirror.take_over.is_some() || held.values().all(|held| *held == 0) {
        return Ok((HashMap::new(), None));
    }
    let known = offset_map::kept(&ends.target, &mirror.id).await?.target_topics;
    let onto: Vec<&Decision> = decisions
        .iter()
        .filter(|d| held.get(&d.target).is_some_and(|held| *held > 0) && !known.contains(&d.target))
        .filter(|d| !mirror.policy.is_heartbeats_topic(&d.source.name))
        .filter(|d| !committed.contains_key(&d.source.name))
        .collect();
    let sources = onto.iter().map(|d| (d.source.name.clone(), d.source.partitions));
    let sources = self::held(&ends.source.client, sources).await?;
    let outcome = |d: &Decision| Outcome::of(mirror, sources.get(&d.source.name).copied());
    let notes = onto.iter().map(|d| (d.target.clone(), outcome(d).note(held[&d.target]))).collect();
    let stops: Vec<&Decision> = onto.into_iter().filter(|d| outcome(d) == Outcome::Stops).collect();
    Ok((notes, (!stops.is_empty()).then(|| words(mirror, &stops, held))))
}

fn words(mirror: &Mirror, onto: &[&Decision], held: &HashMap<String, i64>) -> Warning {
    let mut names: Vec<String> =
        onto.iter().take(NAMED).map(|d| format!("{} holds {} records", d.target, held[&d.target])).collect();
    if onto.len() > NAMED {
        names.push(format!("and {} more topics", onto.len() - NAMED));
    }
    let message = format!(
        "on {} {}, and mirror {} has no position in them: nothing is copied behind these records unasked. Say --onto-existing=align to go on \
         where the copy ends (if they are copies of the source), --onto-existing=append to copy behind them, --take-over to continue a \
         MirrorMaker 2, or --start-group to continue a MirrorMaker 1",
        mirror.target,
        names.join(", "),
        mirror.id
    );
    Warning::new(Reason::TARGET_NOT_EMPTY, message)
}

#[cfg(test)]
mod tests {
    use twinlog_proto::v1;
    use twinlog_proto::v1::OntoExisting::{Align, Append, Unspecified as Unasked};
    use twinlog_proto::v1::start_position::Position;

    use super::*;
    use crate::survey::tests::wire;

    /// Second look, D7.
    #[test]
    fn a_plan_says_what_becomes_of_a_copy_that_holds_records() {
        let mirror = |onto: v1::OntoExisting, position: &Position| {
            let start = Some(v1::StartPosition { position: Some(*position), ..Default::default() });
            Mirror::parse(&v1::Mirror { onto_existing: onto.into(), start, ..wire("a", "b") }).unwrap()
        };
        let (first, last) = (Position::Earliest(true), Position::Latest(true));
        let all = [
            (Unasked, &first, Some(7), Outcome::Stops, "stops as TARGET_NOT_EMPTY, unless --onto-existing"),
            (Unasked, &first, None, Outcome::Stops, "stops as TARGET_NOT_EMPTY"),
            (Unasked, &first, Some(0), Outcome::NothingYet, "what comes is copied behind them"),
            (Unasked, &last, Some(7), Outcome::OnlyNew, "what comes to the source is copied behind them"),
            (Append, &first, Some(7), Outcome::Appended, "all is copied behind them"),
            (Align, &first, Some(7), Outcome::Aligned, "goes on where they end in the source"),
        ];
        for (onto, start, source, expected, said) in all {
            let outcome = Outcome::of(&mirror(onto, start), source);
            assert_eq!(outcome, expected);
            let note = outcome.note(3);
            assert!(note.starts_with("holds 3 records: ") && note.contains(said), "{note}");
        }
    }
}
