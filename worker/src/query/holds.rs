//! What target topics hold before a mirror begins: shown by plans, with a word where nobody has asked to append to it.

use std::collections::HashMap;

use twinlog_proto::model::{Mirror, OntoExisting, Start};
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;

use crate::kafka::{Isolation, KafkaClient, KafkaError, OffsetSpec};
use crate::offset_map;
use crate::start_group::Committed;
use crate::supervisor::Ends;
use crate::survey::decide::{Decision, Step};

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
    let mut partitions: Vec<(String, i32)> = Vec::new();
    for (topic, count) in topics {
        if partitions.len() + usize::try_from(count).unwrap_or(usize::MAX) > MAX_PARTITIONS {
            break;
        }
        partitions.extend((0..count).map(|partition| (topic.clone(), partition)));
    }
    let list = |spec| {
        let wanted: Vec<_> = partitions.iter().map(|(t, p)| (t.clone(), *p, spec)).collect();
        async move { client.list_offsets(&wanted, Isolation::Uncommitted).await }
    };
    let (mut starts, mut ends) = tokio::try_join!(list(OffsetSpec::Earliest), list(OffsetSpec::Latest))?;
    let mut held: HashMap<String, Option<i64>> = HashMap::new();
    for place in partitions {
        let span = match (starts.remove(&place), ends.remove(&place)) {
            (Some(Ok(start)), Some(Ok(end))) => Some(end.offset - start.offset),
            _ => None,
        };
        let sum = held.entry(place.0).or_insert(Some(0));
        *sum = sum.zip(span).map(|(sum, span)| sum + span);
    }
    Ok(held.into_iter().filter_map(|(topic, held)| Some((topic, held?))).collect())
}

/// Copies that would stop with TARGET_NOT_EMPTY: they hold records, the mirror has no progress there, and their source has records.
pub(super) async fn warning(
    mirror: &Mirror,
    ends: &Ends,
    decisions: &[Decision],
    held: &HashMap<String, i64>,
    committed: &Committed,
) -> Result<Option<v1::PlanWarning>, KafkaError> {
    let asked = mirror.onto_existing != OntoExisting::Refuse || mirror.take_over.is_some();
    if asked || mirror.start == Start::Latest || held.values().all(|held| *held == 0) {
        return Ok(None);
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
    let onto: Vec<_> =
        onto.into_iter().filter(|d| sources.get(&d.source.name).is_none_or(|held| *held > 0)).collect();
    Ok((!onto.is_empty()).then(|| words(mirror, &onto, held)))
}

fn words(mirror: &Mirror, onto: &[&Decision], held: &HashMap<String, i64>) -> v1::PlanWarning {
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
    v1::PlanWarning { reason: Reason::TARGET_NOT_EMPTY.as_str().to_owned(), message }
}
