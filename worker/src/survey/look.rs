//! One look at both sides: the facts, and what they mean for a mirror. Changes nothing; the survey acts on it, a plan
//! shows it.

use std::collections::{HashMap, HashSet};

use twinlog_proto::model::Mirror;
use twinlog_proto::reason::Reason;

use super::apart::{self, Side};
use super::beats::Beats;
use super::decide::{self, Decision, Step, TargetTopic};
use super::select::{self, Selection, SourceTopic};
use crate::flow::Ends;
use crate::inventory::Warning;
use crate::kafka::{AclOperation, KafkaError, TopicMetadata};

/// Topics that a warning names; of the rest it says how many.
const NAMED_IN_WARNING: usize = 5;

pub struct Look {
    /// Empty where the cluster has none, or where the other one has the same and is another cluster.
    pub source_cluster_id: String,
    pub target_cluster_id: String,
    /// One per topic of the source.
    pub decisions: Vec<Decision>,
    /// The id of both, though they are two.
    shared_id: Option<String>,
    loops: Option<String>,
    unmatched: Option<String>,
    unreadable: Vec<String>,
    unwritable: Vec<String>,
    /// Known only where the broker tells.
    may_create: Option<bool>,
}

impl Look {
    pub async fn take(mirror: &Mirror, ends: &Ends, beats: &mut Beats) -> Result<Self, KafkaError> {
        let (source, target) = (&ends.source.client, &ends.target.client);
        let (source_info, target_info, listed) =
            tokio::try_join!(source.describe_cluster(), target.describe_cluster(), source.topics(None))?;
        let mut source_cluster_id = source_info.cluster_id.unwrap_or_default();
        let mut target_cluster_id = target_info.cluster_id.unwrap_or_default();
        let mut shared_id = None;
        if source_cluster_id == target_cluster_id && !source_cluster_id.is_empty() {
            let on_target = target.topics(None).await?;
            let source = Side { brokers: &source_info.brokers, topics: &listed };
            if apart::are_apart(source, Side { brokers: &target_info.brokers, topics: &on_target }) {
                shared_id = Some(std::mem::take(&mut source_cluster_id));
                target_cluster_id.clear();
            }
        }
        let topics: Vec<SourceTopic> =
            listed.iter().filter(|t| t.error.is_none()).map(SourceTopic::from).collect();
        let beats = beats.look(mirror, &ends.source, &topics).await;
        let selections = select::select(mirror, &topics, &beats);
        let wanted: Vec<String> =
            selections.iter().filter_map(Selection::target).map(str::to_owned).collect();
        let on_target = if wanted.is_empty() { Vec::new() } else { target.topics(Some(&wanted)).await? };
        let targets: HashMap<String, TargetTopic> =
            on_target.iter().map(|t| (t.name.clone(), TargetTopic::from(t))).collect();
        let loops = select::loop_warning(mirror, &topics, &selections, &beats);
        let unmatched = select::unmatched_warning(mirror, &topics);
        let decisions = decide::decide(mirror, &topics, selections, &targets);
        let copied: HashSet<&str> = decisions
            .iter()
            .filter(|d| !matches!(d.step, Step::Skip(_)))
            .map(|d| d.source.name.as_str())
            .collect();
        let unreadable = lacking(&listed, AclOperation::Read, |name| copied.contains(name));
        Ok(Self {
            source_cluster_id,
            target_cluster_id,
            shared_id,
            loops,
            unmatched,
            unreadable,
            unwritable: lacking(&on_target, AclOperation::Write, |_| true),
            may_create: target_info.authorized_operations.map(|granted| {
                granted.contains(&AclOperation::Create) || granted.contains(&AclOperation::All)
            }),
            decisions,
        })
    }

    /// What becomes of the topics that the mirror selects.
    pub fn selected(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.iter().filter(|d| !matches!(d.step, Step::Skip(_)))
    }

    /// Both ends are one Kafka cluster, whatever they are called here.
    pub fn same_cluster(&self) -> bool {
        !self.source_cluster_id.is_empty() && self.source_cluster_id == self.target_cluster_id
    }

    /// What an operator should know that stops nothing.
    pub fn warnings(&self, mirror: &Mirror) -> Vec<Warning> {
        let mut warnings: Vec<_> = self.loops.iter().map(|m| Warning::new(Reason::LOOP, m)).collect();
        warnings.extend(self.unmatched.iter().map(|m| Warning::new(Reason::NO_TOPIC_MATCHES, m)));
        if let Some(id) = &self.shared_id {
            let (source, target) = (mirror.source.name(), mirror.target.name());
            let message = format!(
                "{source} and {target} were formatted with the same cluster id, {id}, and are two clusters: tools that go by the id take them \
                 for one, and Twinlog can't see circles by it"
            );
            warnings.push(Warning::new(Reason::CLUSTER_ID_SHARED, message));
        }
        let mismatches = decide::partition_warnings(mirror, &self.decisions);
        warnings.extend(mismatches.into_iter().map(|m| Warning::new(Reason::PARTITION_MISMATCH, m)));
        if let Some(names) = some_of(&self.unreadable) {
            let message = format!("READ is not granted on topics of {}: {names}", mirror.source);
            warnings.push(Warning::new(Reason::MISSING_PERMISSION, message));
        }
        if let Some(names) = some_of(&self.unwritable) {
            let message = format!("WRITE is not granted on topics of {}: {names}", mirror.target);
            warnings.push(Warning::new(Reason::MISSING_PERMISSION, message));
        }
        warnings
    }

    /// For plans: what would be created may not be permitted. CREATE may also be granted on a prefix of topic names,
    /// which the cluster resource doesn't show: hence a warning and not a refusal.
    pub fn create_warning(&self, mirror: &Mirror) -> Option<Warning> {
        let creates = self.decisions.iter().any(|d| d.step == Step::Create);
        (creates && self.may_create == Some(false)).then(|| Warning {
            reason: Reason::MISSING_PERMISSION,
            message: format!(
                "CREATE is not granted on cluster {}: topics can be created only if it is granted on their names",
                mirror.target
            ),
        })
    }
}

/// Sentence for status, plan and log.
pub fn same_cluster_message(mirror: &Mirror) -> String {
    format!(
        "{} and {} are the same Kafka cluster: they have one cluster id, and brokers or topics in common. Check the bootstrap servers of both",
        mirror.source.name(),
        mirror.target.name()
    )
}

/// Topics on which the broker says that an operation isn't granted. Brokers that don't say count as granting it.
fn lacking(
    topics: &[TopicMetadata],
    operation: AclOperation,
    concerns: impl Fn(&str) -> bool,
) -> Vec<String> {
    topics
        .iter()
        .filter(|topic| topic.error.is_none() && concerns(&topic.name))
        .filter(|topic| {
            topic
                .authorized_operations
                .as_ref()
                .is_some_and(|granted| !granted.contains(&operation) && !granted.contains(&AclOperation::All))
        })
        .map(|topic| topic.name.clone())
        .collect()
}

/// The first of them; `None` where there are none.
pub(super) fn some_of(names: &[String]) -> Option<String> {
    let shown = names.iter().take(NAMED_IN_WARNING).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => None,
        n if n > NAMED_IN_WARNING => Some(format!("{shown} and {} more", n - NAMED_IN_WARNING)),
        _ => Some(shown),
    }
}
