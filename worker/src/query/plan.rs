//! What a mirror would do, as it is found now.

use std::collections::{BTreeMap, HashMap};

use twinlog_proto::id::WorkerId;
use twinlog_proto::model::Mirror;
use twinlog_proto::reason::Reason;

use super::asked::Asked;
use super::question::Flow;
use super::{holds, reach, start_group};
use crate::cause::Cause;
use crate::inventory::{Drift, Warning};
use crate::survey::apply::new_topics;
use crate::survey::beats::Beats;
use crate::survey::decide::{Decision, Step};
use crate::survey::drift;
use crate::survey::limits::Limits;
use crate::survey::look::{Look, same_cluster_message};
use crate::survey::pair::pairs;
use crate::survey::select;

#[derive(Debug)]
pub struct Plan {
    pub topics: Vec<PlannedTopic>,
    pub warnings: Vec<Warning>,
    /// Of `topics`, those that the mirror selects, and their partitions.
    pub matched_topics: usize,
    pub matched_partitions: i32,
    /// Who says it.
    pub worker: WorkerId,
}

#[derive(Debug)]
pub struct PlannedTopic {
    pub source_topic: String,
    pub target_topic: String,
    pub source_partitions: i32,
    pub target_partitions: i32,
    pub action: Action,
    /// Why it is not copied, why it is though nobody named it, or what becomes of a copy that holds records.
    pub reason: String,
    pub configs: BTreeMap<String, String>,
    pub drift: Vec<Drift>,
    /// Offsets that the target topic holds; `None` where it isn't there, or could not be looked at.
    pub target_records: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    None,
    Create,
    AddPartitions,
    Blocked,
    Skip,
}

/// What the survey would do, without doing it.
pub(super) async fn plan(asked: &Asked<'_>, flow: Result<Flow, Cause>, known: bool) -> Result<Plan, Cause> {
    let (mirror, ends) = asked.flow(flow)?;
    let within = if known { reach::SOON } else { reach::ALIVE };
    tokio::try_join!(reach::alive(&ends.source, within), reach::alive(&ends.target, within))?;
    let look = Look::take(&mirror, &ends, &mut Beats::default()).await?;
    let creates: Vec<&Decision> = look.decisions.iter().filter(|d| d.step == Step::Create).collect();
    let (new, unreadable) = new_topics(&mirror, &ends.source.client, &creates).await?;
    let mut configs: HashMap<_, _> = new.into_iter().map(|topic| (topic.name, topic.configs)).collect();
    let mut warnings = look.warnings(&mirror);
    warnings.extend(look.create_warning(&mirror));
    warnings.extend(unreadable.into_iter().map(|(topic, error)| {
        Warning::new(error.reason, format!("{topic} can't be created: {}", error.message))
    }));
    if look.same_cluster() {
        warnings.push(Warning::new(Reason::SAME_CLUSTER, same_cluster_message(&mirror)));
    }
    let (matched_topics, matched_partitions) =
        (look.selected().count(), look.selected().map(|d| d.source.partitions).sum());
    let mut topics: Vec<_> = look
        .decisions
        .iter()
        .map(|decision| planned(&mirror, decision, configs.remove(&decision.target).unwrap_or_default()))
        .collect();
    if !look.same_cluster() {
        let (found, unseen) = drift::planned(&mirror, &ends, &pairs(&look.decisions)).await;
        warnings.extend(unseen);
        let mut limits = Limits::default();
        limits.refresh(&ends.target.client, &look.decisions).await?;
        warnings.extend(limits.warning(&mirror, &look.decisions));
        let mut by_target: HashMap<String, Vec<Drift>> = HashMap::new();
        found.into_iter().for_each(|(topic, drift)| by_target.entry(topic).or_default().push(drift));
        let held = holds::on_target(&ends, &look.decisions).await?;
        let (committed, group) = start_group::look(&mirror, &ends, &look.decisions).await?;
        warnings.extend(group);
        let (mut notes, stops) = holds::outcomes(&mirror, &ends, &look.decisions, &held, &committed).await?;
        warnings.extend(stops);
        for topic in &mut topics {
            if topic.reason.is_empty() {
                topic.reason = notes.remove(&topic.target_topic).unwrap_or_default();
            }
            topic.target_records = held.get(&topic.target_topic).copied();
            topic.drift = by_target.remove(&topic.target_topic).unwrap_or_default();
        }
    }
    topics.sort_by(|a, b| a.source_topic.cmp(&b.source_topic));
    let worker = asked.context.worker.clone();
    Ok(Plan { topics, warnings, matched_topics, matched_partitions, worker })
}

fn planned(mirror: &Mirror, decision: &Decision, configs: BTreeMap<String, String>) -> PlannedTopic {
    let note = || select::note(mirror, &decision.source.name);
    let (action, reason) = match &decision.step {
        Step::Nothing => (Action::None, note()),
        Step::Create => (Action::Create, note()),
        Step::Grow => (Action::AddPartitions, note()),
        Step::Blocked(reason, message) | Step::Unknown(reason, message) => {
            (Action::Blocked, format!("{reason}: {message}"))
        }
        Step::Skip(rule) => (Action::Skip, rule.clone()),
    };
    PlannedTopic {
        source_topic: decision.source.name.clone(),
        target_topic: decision.target.clone(),
        source_partitions: decision.source.partitions,
        target_partitions: decision.target_partitions,
        action,
        reason,
        configs,
        drift: Vec::new(),
        target_records: None,
    }
}
