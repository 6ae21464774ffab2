//! What tasks consist of: derived from mirrors and inventory, for the planner and for the workers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use twinlog_proto::id::{Generation, MirrorId, TaskName, Term};
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::v1;

use crate::assignment::Assignment;
use crate::heartbeats::Heartbeats;
use crate::planner::{Input, MirrorInput, TopicInput, checkpoint_shards};
use crate::ranges::{is_copied, range};
use crate::state::{MirrorState, State};

/// What the planner must know of the mirrors and of what runs now.
pub(super) fn planner_input(state: &State) -> Input<'_> {
    let heartbeats = Heartbeats::of(state);
    let mirrors = state.mirrors.values().map(|mirror| MirrorInput {
        heartbeats: heartbeats.are_emitted_by(&mirror.model),
        ..mirror_input(mirror, state)
    });
    let current = state.assignments.iter();
    Input {
        mirrors: mirrors.collect(),
        current: current.filter_map(|(task, a)| Some((task.as_ref(), a.worker.as_ref()?))).collect(),
        ..Input::default()
    }
}

fn mirror_input<'a>(mirror: &'a MirrorState, state: &'a State) -> MirrorInput<'a> {
    let model = &mirror.model;
    let inventory = state.inventories.get(&model.id).map(|stored| &stored.inventory);
    let topics = inventory.into_iter().flat_map(|inventory| &inventory.topics);
    MirrorInput {
        id: &model.id,
        running: model.running,
        placement: &model.placement,
        block_size: model.block_size,
        heartbeats: model.heartbeats,
        groups: translates_groups(mirror)
            .then(|| inventory.map_or(0, |inventory| u32::try_from(inventory.groups).unwrap_or(0))),
        topics: topics.filter(|topic| is_copied(topic)).map(topic_input).collect(),
    }
}

/// Whether there is anything to do for consumer groups.
fn translates_groups(mirror: &MirrorState) -> bool {
    let model = &mirror.model;
    let syncs = model.sync_group_offsets || model.sync_group_offsets_to_source;
    !mirror.wire.groups.is_empty() && (model.checkpoints || syncs)
}

fn topic_input(topic: &internal::InventoryTopic) -> TopicInput<'_> {
    TopicInput {
        target_topic: &topic.target_topic,
        partitions: u32::try_from(topic.partitions).expect("is_copied() says that it is positive"),
    }
}

/// Builds the messages that workers get.
pub(super) struct Work<'a> {
    state: &'a State,
    heartbeats: Heartbeats<'a>,
    topics: HashMap<(&'a MirrorId, &'a str), &'a internal::InventoryTopic>,
    shards: HashMap<&'a MirrorId, u32>,
}

impl<'a> Work<'a> {
    pub(super) fn new(state: &'a State) -> Self {
        let topics = state.inventories.iter().flat_map(|(mirror, stored)| {
            let copied = stored.inventory.topics.iter().filter(|topic| is_copied(topic));
            copied.map(move |topic| ((mirror, topic.target_topic.as_str()), topic))
        });
        let shards = state.mirrors.iter().map(|(id, mirror)| {
            let groups = mirror_input(mirror, state).groups.unwrap_or(0);
            let runs =
                |shard| state.assignments.contains_key(&TaskName::Checkpoint { mirror: id.clone(), shard });
            (id, checkpoint_shards(groups, runs))
        });
        let heartbeats = Heartbeats::of(state);
        Self { state, heartbeats, topics: topics.collect(), shards: shards.collect() }
    }

    /// One worker's whole set.
    pub(super) fn set(
        &self,
        tasks: &[(&TaskName, &Assignment)],
        term: Term,
        generation: Generation,
    ) -> internal::AssignmentSet {
        let mut mirrors: BTreeMap<&MirrorId, &Arc<MirrorState>> = BTreeMap::new();
        let mut messages = Vec::with_capacity(tasks.len());
        for (task, assignment) in tasks {
            let Some((id, mirror)) = self.state.mirrors.get_key_value(task.mirror()) else { continue };
            let Some(kind) = self.kind(task, mirror) else { continue };
            mirrors.insert(id, mirror);
            messages.push(internal::Task {
                name: task.to_string(),
                epoch: assignment.epoch.0,
                mirror: id.name(),
                kind: Some(kind),
            });
        }
        let named = mirrors.values().flat_map(|mirror| [&mirror.model.source, &mirror.model.target]);
        let clusters: BTreeMap<_, _> = named.filter_map(|id| self.state.clusters.get_key_value(id)).collect();
        internal::AssignmentSet {
            term: term.0,
            generation: generation.0,
            tasks: messages,
            mirrors: mirrors
                .values()
                .map(|mirror| for_workers(self.heartbeats.wire(&mirror.wire, &mirror.model)))
                .collect(),
            clusters: clusters.values().map(|cluster| cluster.wire.clone()).collect(),
            heard_report: None,
        }
    }

    /// `None`: the inventory doesn't hold the topic any more; the task is about to be released.
    fn kind(&self, task: &TaskName, mirror: &MirrorState) -> Option<internal::task::Kind> {
        Some(match task {
            TaskName::Survey { .. } => internal::task::Kind::Survey(internal::SurveyTask {}),
            TaskName::Heartbeat { .. } => internal::task::Kind::Heartbeat(internal::HeartbeatTask {}),
            TaskName::Checkpoint { mirror, shard } => {
                internal::task::Kind::Checkpoint(internal::CheckpointTask {
                    shard: i32::try_from(*shard).ok()?,
                    shard_count: i32::try_from(*self.shards.get(mirror)?).ok()?,
                })
            }
            TaskName::Replicate { mirror: id, target_topic, block } => {
                let topic = self.topics.get(&(id, target_topic.as_str()))?;
                let range = range(topic, *block, mirror.model.block_size)?;
                internal::task::Kind::Replicate(internal::ReplicateTask { range: Some(range) })
            }
        })
    }
}

/// A mirror without what no worker needs, so that changing that is no new work for them.
fn for_workers(wire: v1::Mirror) -> v1::Mirror {
    v1::Mirror {
        display_name: String::new(),
        labels: HashMap::new(),
        etag: String::new(),
        create_time: None,
        update_time: None,
        desired_state_time: None,
        ..wire
    }
}

#[cfg(test)]
mod tests {
    use twinlog_proto::model;

    use super::*;
    use crate::planner::plan;

    /// Kinds of tasks that a mirror has besides its survey.
    fn services(change: impl FnOnce(&mut v1::Mirror)) -> Vec<&'static str> {
        let mut wire = v1::Mirror {
            name: "mirrors/m".to_owned(),
            source: "clusters/a".to_owned(),
            target: "clusters/b".to_owned(),
            topics: vec![".*".to_owned()],
            groups: vec![".*".to_owned()],
            ..Default::default()
        };
        change(&mut wire);
        let model = Arc::new(model::Mirror::parse(&wire).unwrap());
        let mut state = State::default();
        let id = model.id.clone();
        let mirror = MirrorState { wire, model, create_revision: 1, mod_revision: 1 };
        Arc::make_mut(&mut state.mirrors).insert(id, Arc::new(mirror));
        let tasks = plan(&planner_input(&state)).tasks;
        tasks
            .keys()
            .filter_map(|task| match task {
                TaskName::Heartbeat { .. } => Some("heartbeat"),
                TaskName::Checkpoint { .. } => Some("checkpoint"),
                _ => None,
            })
            .collect()
    }

    fn without_checkpoints(mirror: &mut v1::Mirror) {
        mirror.checkpoints = Some(v1::Checkpoints { enabled: Some(false), ..Default::default() });
    }

    #[test]
    fn nothing_runs_for_what_is_switched_off() {
        assert_eq!(services(|_| {}), ["checkpoint", "heartbeat"]);
        let off = v1::Heartbeats { enabled: Some(false), ..Default::default() };
        assert_eq!(services(|m| m.heartbeats = Some(off)), ["checkpoint"]);
        assert_eq!(services(|m| m.groups.clear()), ["heartbeat"]);
        assert_eq!(services(without_checkpoints), ["heartbeat"], "no checkpoints, no group offsets");
        let synced = |m: &mut v1::Mirror| {
            without_checkpoints(m);
            m.sync_group_offsets = true;
        };
        assert_eq!(services(synced), ["checkpoint", "heartbeat"], "only group offsets");
        let to_source = |m: &mut v1::Mirror| {
            without_checkpoints(m);
            m.sync_group_offsets_to_source = true;
        };
        assert_eq!(services(to_source), ["checkpoint", "heartbeat"], "only back to the source");
    }
}
