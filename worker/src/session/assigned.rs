//! The work that a set of assignments brings, parsed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use twinlog_proto::id::{Epoch, Generation, TaskName, Term};
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::reason::Reason;
use twinlog_proto::{model, v1};

use crate::assignments::{Assigned, Assignments, Kind, Shard, Version, Work};
use crate::cause::Cause;
use crate::range::Range;
use crate::topic::TopicId;

/// The mirrors of the last set. Compiling a mirror's patterns takes milliseconds, and most sets bring the same mirrors.
#[derive(Debug, Default)]
pub(crate) struct Mirrors(HashMap<String, (v1::Mirror, Arc<model::Mirror>)>);

impl Mirrors {
    fn parse(&mut self, wire: &v1::Mirror) -> Result<Arc<model::Mirror>, String> {
        if let Some((known, mirror)) = self.0.get(&wire.name)
            && known == wire
        {
            return Ok(mirror.clone());
        }
        let mirror = Arc::new(mirror(wire)?);
        self.0.insert(wire.name.clone(), (wire.clone(), mirror.clone()));
        Ok(mirror)
    }

    fn forget_others(&mut self, set: &internal::AssignmentSet) {
        let named: HashSet<&str> = set.mirrors.iter().map(|m| m.name.as_str()).collect();
        self.0.retain(|name, _| named.contains(name.as_str()));
    }
}

/// Where its tasks run is the controller's affair: no task is another when that changes.
pub(super) fn mirror(wire: &v1::Mirror) -> Result<model::Mirror, String> {
    let mirror = model::Mirror::parse(wire).map_err(|v| violations(&wire.name, &v))?;
    Ok(model::Mirror { placement: BTreeMap::new(), ..mirror })
}

pub(super) fn cluster(wire: &v1::Cluster) -> Result<model::Cluster, String> {
    model::Cluster::parse(wire).map_err(|v| violations(&wire.name, &v))
}

/// One text for everything that is wrong with a resource.
fn violations(name: &str, list: &[model::Violation]) -> String {
    let all: Vec<_> = list.iter().map(|(field, what)| format!("{field}: {what}")).collect();
    format!("{name} is not valid: {}", all.join("; "))
}

/// A task that can't be parsed carries the cause; one whose very name is wrong is left out and logged.
pub(crate) fn parse(set: &internal::AssignmentSet, known: &mut Mirrors) -> Assignments {
    known.forget_others(set);
    let clusters: HashMap<&str, Result<Arc<model::Cluster>, String>> =
        set.clusters.iter().map(|c| (c.name.as_str(), cluster(c).map(Arc::new))).collect();
    let mirrors: HashMap<&str, Result<Flow, String>> =
        set.mirrors.iter().map(|m| (m.name.as_str(), Flow::parse(m, &clusters, known))).collect();
    let mut tasks = BTreeMap::new();
    for task in &set.tasks {
        match task.name.parse::<TaskName>() {
            Ok(name) => {
                let work = parse_work(&name, task, &mirrors)
                    .map_err(|message| Cause::new(Reason::INVALID_FIELD, message));
                tasks.insert(name, Assigned { epoch: Epoch(task.epoch), work });
            }
            Err(error) => tracing::error!(task = task.name, %error, "left out a task with an unknown name"),
        }
    }
    let version = Version { term: Term(set.term), generation: Generation(set.generation) };
    Assignments { version, tasks }
}

/// A mirror with its clusters, parsed once for all of its tasks.
struct Flow {
    mirror: Arc<model::Mirror>,
    source: Arc<model::Cluster>,
    target: Arc<model::Cluster>,
}

impl Flow {
    fn parse(
        wire: &v1::Mirror,
        clusters: &HashMap<&str, Result<Arc<model::Cluster>, String>>,
        known: &mut Mirrors,
    ) -> Result<Self, String> {
        let cluster = |name: &str| match clusters.get(name) {
            Some(found) => found.clone(),
            None => Err(format!("the assignment set holds no {name}, which {} names", wire.name)),
        };
        let mirror = known.parse(wire)?;
        Ok(Self {
            source: with(cluster(&wire.source)?, &mirror.source_properties),
            target: with(cluster(&wire.target)?, &mirror.target_properties),
            mirror,
        })
    }
}

/// Shared as it is where the mirror has no properties of its own.
fn with(cluster: Arc<model::Cluster>, properties: &BTreeMap<String, String>) -> Arc<model::Cluster> {
    if properties.is_empty() {
        return cluster;
    }
    Arc::new(Arc::unwrap_or_clone(cluster).with(properties))
}

fn parse_work(
    name: &TaskName,
    task: &internal::Task,
    mirrors: &HashMap<&str, Result<Flow, String>>,
) -> Result<Work, String> {
    let flow = match mirrors.get(task.mirror.as_str()) {
        Some(Ok(flow)) => flow,
        Some(Err(message)) => return Err(message.clone()),
        None => return Err(format!("the assignment set holds no {:?}, which {name} names", task.mirror)),
    };
    Ok(Work {
        kind: parse_kind(name, task)?,
        mirror: flow.mirror.clone(),
        source: flow.source.clone(),
        target: flow.target.clone(),
    })
}

fn parse_kind(name: &TaskName, task: &internal::Task) -> Result<Kind, String> {
    use internal::task::Kind as Wire;
    match (name, task.kind.as_ref()) {
        (TaskName::Survey { .. }, Some(Wire::Survey(_))) => Ok(Kind::Survey),
        (TaskName::Heartbeat { .. }, Some(Wire::Heartbeat(_))) => Ok(Kind::Heartbeat),
        (TaskName::Checkpoint { .. }, Some(Wire::Checkpoint(task))) => {
            let shard = u32::try_from(task.shard).ok();
            let count = u32::try_from(task.shard_count).ok();
            match (shard, count) {
                (Some(index), Some(count)) if index < count => Ok(Kind::Checkpoint(Shard { index, count })),
                _ => Err(format!("{name}: shard {} of {} does not exist", task.shard, task.shard_count)),
            }
        }
        (TaskName::Replicate { .. }, Some(Wire::Replicate(task))) => {
            let wire = task.range.as_ref().ok_or_else(|| format!("{name} has no range"))?;
            range(wire).map(Kind::Replicate).map_err(|e| format!("{name}: {e}"))
        }
        _ => Err(format!("{name}: its kind does not fit its name; this worker may be too old for it")),
    }
}

/// Why a range can't be run.
#[derive(Debug, thiserror::Error)]
#[error("partition range: {field} {value:?} is not valid: {rule}")]
struct InvalidRange {
    field: &'static str,
    value: String,
    rule: &'static str,
}

fn range(wire: &internal::PartitionRange) -> Result<Range, InvalidRange> {
    let invalid = |field, value: &dyn ToString, rule| InvalidRange { field, value: value.to_string(), rule };
    for (field, value) in [("source_topic", &wire.source_topic), ("target_topic", &wire.target_topic)] {
        if value.is_empty() {
            return Err(invalid(field, value, "it must not be empty"));
        }
    }
    if wire.first_partition < 0 {
        return Err(invalid("first_partition", &wire.first_partition, "it must not be negative"));
    }
    if wire.partition_count < 1 || wire.partition_count > model::MAX_BLOCK_SIZE {
        return Err(invalid("partition_count", &wire.partition_count, "it must be 1 to 256"));
    }
    let block =
        u32::try_from(wire.block).map_err(|_| invalid("block", &wire.block, "it must not be negative"))?;
    let topic_id = |field, text: &str| match text {
        "" => Ok(None),
        text => match TopicId::parse(text) {
            None => Err(invalid(field, &text, "it must be a UUID")),
            known => Ok(known),
        },
    };
    let source_topic_id = topic_id("source_topic_id", &wire.source_topic_id)?;
    let target_topic_id = topic_id("target_topic_id", &wire.target_topic_id)?;
    Ok(Range {
        source_topic: wire.source_topic.clone(),
        target_topic: wire.target_topic.clone(),
        block,
        first_partition: wire.first_partition,
        partition_count: wire.partition_count,
        source_topic_id,
        target_max_message_bytes: Some(wire.target_max_message_bytes).filter(|n| *n > 0),
        initial_partitions: wire.initial_partitions,
        target_topic_id,
    })
}

#[cfg(test)]
pub(crate) mod tests;
