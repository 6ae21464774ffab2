//! One answer per kind of question.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use twinlog_proto::filter::Filter;
use twinlog_proto::id::{SourceOffset, TargetOffset};
use twinlog_proto::model::{Cluster, Mirror};
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;
use twinlog_proto::v1::answer::Answer;
use twinlog_proto::v1::planned_topic::Action;
use twinlog_proto::v1::query::Question;

use super::permissions;
use crate::assignments::violations;
use crate::cause::Cause;
use crate::cluster::ClusterHandle;
use crate::give_back;
use crate::kafka::{CommittedOffset, GroupType};
use crate::lane::{SourcePosition, Translation, Translator};
use crate::supervisor::{Context, Ends};
use crate::survey::apply::new_topics;
use crate::survey::decide::{Decision, Step};
use crate::survey::drift;
use crate::survey::limits::Limits;
use crate::survey::look::{Look, same_cluster_message};

/// How long a test of a cluster waits for a broker. Well within the question's own deadline: that nobody answers is the answer.
const TEST_DEADLINE: Duration = Duration::from_secs(8);
/// Explicit offsets in one question.
const MAX_OFFSETS: usize = 10_000;

/// No call to Kafka takes longer than `patience`.
pub(super) async fn answer(context: &Context, query: v1::Query, patience: Duration) -> Result<Answer, Cause> {
    let asked = Asked { context, clusters: &query.clusters, mirror: query.mirror.as_ref(), patience };
    match &query.question {
        Some(Question::TestCluster(_)) => Ok(Answer::TestCluster(test_cluster(&asked).await?)),
        Some(Question::ListTopics(question)) => {
            Ok(Answer::ListTopics(list_topics(&asked, &question.patterns).await?))
        }
        Some(Question::ListGroups(question)) => {
            Ok(Answer::ListGroups(list_groups(&asked, &question.patterns).await?))
        }
        Some(Question::Plan(_)) => Ok(Answer::Plan(plan(&asked).await?)),
        Some(Question::Translate(question)) => Ok(Answer::Translate(translate(&asked, question).await?)),
        Some(Question::TranslateToSource(question)) => {
            Ok(Answer::Translate(translate_to_source(&asked, question).await?))
        }
        Some(Question::GiveBack(question)) => {
            let (mirror, ends) = asked.flow()?;
            Ok(Answer::GiveBack(give_back::give_back(mirror, ends, question).await?))
        }
        None => Err(Cause::new(
            Reason::QUERY_FAILED,
            "this worker doesn't know the question: the controller is newer",
        )),
    }
}

/// What a question came with.
struct Asked<'a> {
    context: &'a Context,
    clusters: &'a [v1::Cluster],
    mirror: Option<&'a v1::Mirror>,
    patience: Duration,
}

impl Asked<'_> {
    /// The only cluster of a question about one.
    fn cluster(&self) -> Result<Arc<ClusterHandle>, Cause> {
        match self.clusters {
            [wire] => self.open(wire, &BTreeMap::new()),
            _ => Err(Cause::new(Reason::INVALID_FIELD, "the question must name one cluster")),
        }
    }

    fn open(
        &self,
        wire: &v1::Cluster,
        properties: &BTreeMap<String, String>,
    ) -> Result<Arc<ClusterHandle>, Cause> {
        let cluster = Cluster::parse(wire)
            .map_err(|list| Cause::new(Reason::INVALID_FIELD, violations(&wire.name, &list)))?;
        let handle = self.context.clusters.handle(&cluster.with(properties))?;
        Ok(Arc::new(handle.with_deadline(self.patience)))
    }

    fn flow(&self) -> Result<(Arc<Mirror>, Ends), Cause> {
        let invalid = |message: String| Cause::new(Reason::INVALID_FIELD, message);
        let wire = self.mirror.ok_or_else(|| invalid("the question must name a mirror".into()))?;
        let mirror = Mirror::parse(wire).map_err(|list| invalid(violations(&wire.name, &list)))?;
        let end = |name: &str, properties: &BTreeMap<String, String>| match self
            .clusters
            .iter()
            .find(|c| c.name == name)
        {
            Some(cluster) => self.open(cluster, properties),
            None => Err(invalid(format!("the question must bring {name}, which {} names", wire.name))),
        };
        let ends = Ends {
            source: end(&wire.source, &mirror.source_properties)?,
            target: end(&wire.target, &mirror.target_properties)?,
        };
        Ok((Arc::new(mirror), ends))
    }
}

/// Whatever stands in the way is the answer, not an error: that is what was asked.
async fn test_cluster(asked: &Asked<'_>) -> Result<v1::TestClusterResponse, Cause> {
    let worker = asked.context.worker.to_string();
    let unreachable =
        |error: String| v1::TestClusterResponse { error, worker: worker.clone(), ..Default::default() };
    let handle = match asked.cluster() {
        Ok(handle) => handle,
        Err(cause) => return Ok(unreachable(format!("{}: {}", cause.reason, cause.message))),
    };
    let response = v1::TestClusterResponse {
        security_protocol: handle.properties.security_protocol().to_owned(),
        sasl_mechanism: handle.properties.sasl_mechanism().unwrap_or_default().to_owned(),
        principal: handle.properties.principal().unwrap_or_default(),
        worker: worker.clone(),
        ..Default::default()
    };
    let client = handle.client.with_deadline(TEST_DEADLINE);
    let info = match client.describe_cluster().await {
        Ok(info) => info,
        Err(error) => {
            let error = format!("{}: {}", error.reason, error.message);
            return Ok(v1::TestClusterResponse { error, ..response });
        }
    };
    Ok(v1::TestClusterResponse {
        reachable: true,
        checks: permissions::checks(&client, &info).await,
        kafka_cluster_id: info.cluster_id.unwrap_or_default(),
        broker_version: info.broker_version,
        brokers: i32::try_from(info.brokers.len()).unwrap_or(i32::MAX),
        controller_id: info.controller_id.unwrap_or(-1),
        ..response
    })
}

/// Every name, where no pattern is given.
fn filter(patterns: &[String]) -> Result<Filter, Cause> {
    let patterns = if patterns.is_empty() { &[".*".to_owned()] } else { patterns };
    Filter::new(patterns, &[] as &[&str]).map_err(|e| Cause::new(Reason::INVALID_PATTERN, e.to_string()))
}

async fn list_topics(asked: &Asked<'_>, patterns: &[String]) -> Result<v1::ListTopicsResponse, Cause> {
    let filter = filter(patterns)?;
    let listed = asked.cluster()?.client.topics(None).await?;
    let mut topics: Vec<_> = listed
        .into_iter()
        .filter(|topic| topic.error.is_none() && filter.matches(&topic.name))
        .map(|topic| v1::TopicInfo {
            topic_id: topic.topic_id.map(|id| id.to_string()).unwrap_or_default(),
            partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
            replication_factor: i32::try_from(topic.replication_factor()).unwrap_or(i32::MAX),
            internal: topic.internal,
            topic: topic.name,
        })
        .collect();
    topics.sort_by(|a, b| a.topic.cmp(&b.topic));
    Ok(v1::ListTopicsResponse { topics, next_page_token: String::new() })
}

async fn list_groups(asked: &Asked<'_>, patterns: &[String]) -> Result<v1::ListGroupsResponse, Cause> {
    let filter = filter(patterns)?;
    let listed = asked.cluster()?.client.list_groups().await?;
    let mut groups: Vec<_> = listed
        .into_iter()
        .filter(|group| filter.matches(&group.group))
        .map(|group| v1::GroupInfo {
            state: group.state.map(|state| format!("{state:?}")).unwrap_or_default(),
            protocol_type: group.protocol_type,
            group_type: group_type(group.group_type).to_owned(),
            group: group.group,
        })
        .collect();
    groups.sort_by(|a, b| a.group.cmp(&b.group));
    Ok(v1::ListGroupsResponse { groups, next_page_token: String::new() })
}

fn group_type(kind: GroupType) -> &'static str {
    match kind {
        GroupType::Classic => "classic",
        GroupType::Consumer => "consumer",
        GroupType::Share => "share",
        GroupType::Streams => "streams",
        GroupType::Unknown => "",
    }
}

/// What the survey would do, without doing it.
async fn plan(asked: &Asked<'_>) -> Result<v1::MirrorPlan, Cause> {
    let (mirror, ends) = asked.flow()?;
    let look = Look::take(&mirror, &ends).await?;
    let creates: Vec<&Decision> = look.decisions.iter().filter(|d| d.step == Step::Create).collect();
    let (new, unreadable) = new_topics(&mirror, &ends.source.client, &creates).await?;
    let mut configs: HashMap<_, _> = new.into_iter().map(|topic| (topic.name, topic.configs)).collect();
    let mut warnings = look.warnings(&mirror);
    warnings.extend(look.create_warning(&mirror));
    warnings.extend(unreadable.into_iter().map(|(topic, error)| v1::PlanWarning {
        reason: error.reason.as_str().to_owned(),
        message: format!("{topic} can't be created: {}", error.message),
    }));
    if look.same_cluster() {
        let reason = Reason::SAME_CLUSTER.as_str().to_owned();
        warnings.push(v1::PlanWarning { reason, message: same_cluster_message(&mirror) });
    }
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let (matched, partitions) = (look.selected().count(), look.selected().map(|d| d.source.partitions).sum());
    let mut topics: Vec<_> = look
        .decisions
        .iter()
        .map(|decision| planned(decision, configs.remove(&decision.target).unwrap_or_default()))
        .collect();
    if !look.same_cluster() {
        let (found, unseen) = drift::planned(&mirror, &ends, &drift::pairs(&look.decisions)).await;
        warnings.extend(unseen);
        let mut limits = Limits::default();
        limits.refresh(&ends.target.client, &look.decisions).await?;
        warnings.extend(limits.warning(&mirror, &look.decisions));
        let mut by_target: HashMap<String, Vec<v1::Drift>> = HashMap::new();
        found.into_iter().for_each(|(topic, drift)| by_target.entry(topic).or_default().push(drift));
        for topic in &mut topics {
            topic.drift = by_target.remove(&topic.target_topic).unwrap_or_default();
        }
    }
    topics.sort_by(|a, b| a.source_topic.cmp(&b.source_topic));
    Ok(v1::MirrorPlan {
        skipped_topics: count(topics.len() - matched),
        matched_topics: count(matched),
        matched_partitions: partitions,
        topics,
        warnings,
        worker: asked.context.worker.to_string(),
    })
}

fn planned(decision: &Decision, configs: std::collections::BTreeMap<String, String>) -> v1::PlannedTopic {
    let (action, reason) = match &decision.step {
        Step::Nothing => (Action::None, String::new()),
        Step::Create => (Action::Create, String::new()),
        Step::Grow => (Action::AddPartitions, String::new()),
        Step::Blocked(reason, message) | Step::Unknown(reason, message) => {
            (Action::Blocked, format!("{reason}: {message}"))
        }
        Step::Skip(rule) => (Action::Skip, rule.clone()),
    };
    v1::PlannedTopic {
        source_topic: decision.source.name.clone(),
        target_topic: decision.target.clone(),
        source_partitions: decision.source.partitions,
        target_partitions: decision.target_partitions,
        action: action.into(),
        reason,
        configs: configs.into_iter().collect(),
        drift: Vec::new(),
    }
}

async fn translate(
    asked: &Asked<'_>,
    question: &v1::TranslateQuestion,
) -> Result<v1::TranslateOffsetsResponse, Cause> {
    let (mirror, ends) = asked.flow()?;
    let positions = positions(&ends.source, &question.group, &question.offsets).await?;
    let translator = Translator::open(mirror.clone(), ends.source, ends.target).await?;
    let wanted: Vec<_> =
        positions.iter().map(|p| (p.topic.clone(), p.partition, SourceOffset(p.offset))).collect();
    let translations = translator.translate(&wanted).await;
    let offsets = positions.into_iter().zip(translations).map(|(p, t)| translated(&mirror, p, t)).collect();
    Ok(v1::TranslateOffsetsResponse { offsets })
}

/// From positions in the copies on the target to the source.
async fn translate_to_source(
    asked: &Asked<'_>,
    question: &v1::TranslateToSourceQuestion,
) -> Result<v1::TranslateOffsetsResponse, Cause> {
    let (mirror, ends) = asked.flow()?;
    // Before the map is read: what the group has read by now is then in it.
    let positions = positions(&ends.target, &question.group, &question.offsets).await?;
    let translator = Translator::open(mirror.clone(), ends.source, ends.target).await?;
    let wanted: Vec<_> =
        positions.iter().map(|p| (p.topic.clone(), p.partition, TargetOffset(p.offset))).collect();
    let translations = translator.translate_to_source(&wanted).await;
    let offsets = positions.into_iter().zip(translations);
    Ok(v1::TranslateOffsetsResponse {
        offsets: offsets.map(|(p, t)| translated_to_source(&mirror, p, t)).collect(),
    })
}

/// The group's, or those given where no group is.
async fn positions(
    cluster: &ClusterHandle,
    group: &str,
    offsets: &[v1::SourceOffset],
) -> Result<Vec<CommittedOffset>, Cause> {
    if offsets.len() > MAX_OFFSETS {
        let message = format!("{} offsets were given; at most {MAX_OFFSETS} are allowed", offsets.len());
        return Err(Cause::new(Reason::TOO_MANY, message));
    }
    match group {
        "" => Ok(offsets.iter().map(position).collect()),
        group => committed(cluster, group).await,
    }
}

fn position(offset: &v1::SourceOffset) -> CommittedOffset {
    CommittedOffset {
        topic: offset.topic.clone(),
        partition: offset.partition,
        offset: offset.offset,
        leader_epoch: -1,
        metadata: String::new(),
    }
}

async fn committed(cluster: &ClusterHandle, group: &str) -> Result<Vec<CommittedOffset>, Cause> {
    let mut fetched = cluster.client.fetch_offsets(&[group.to_owned()]).await?;
    let mut offsets = fetched.remove(group).transpose()?.unwrap_or_default();
    // Brokers answer in no order; people read the result.
    offsets.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    if offsets.is_empty() {
        let message = format!("group {group:?} has no committed offsets on {}", cluster.id.name());
        return Err(Cause::new(Reason::NO_COMMITTED_OFFSET, message));
    }
    Ok(offsets)
}

fn translated(mirror: &Mirror, position: CommittedOffset, translation: Translation) -> v1::TranslatedOffset {
    let selected = mirror.selects(&position.topic);
    let target_topic = mirror.policy.remote_topic(&position.topic).filter(|_| selected).unwrap_or_default();
    let (target_offset, reason, message) = match translation {
        Translation::Exact(offset) => (Some(offset.0), String::new(), String::new()),
        Translation::Not { reason, message } => (None, reason.as_str().to_owned(), message),
    };
    v1::TranslatedOffset {
        source_topic: position.topic,
        partition: position.partition,
        source_offset: position.offset,
        target_topic,
        target_offset,
        reason,
        message,
        metadata: position.metadata,
    }
}

fn translated_to_source(
    mirror: &Mirror,
    position: CommittedOffset,
    translation: Translation<SourcePosition>,
) -> v1::TranslatedOffset {
    let (source_offset, reason, message) = match translation {
        Translation::Exact(found) => (found.offset.0, "", String::new()),
        Translation::Not { reason, message } => (-1, reason.as_str(), message),
    };
    let is_copy = reason != Reason::NOT_A_COPY.as_str();
    let source_topic = mirror.policy.source_topic(&position.topic).filter(|_| is_copy);
    v1::TranslatedOffset {
        source_topic: source_topic.unwrap_or_default(),
        partition: position.partition,
        source_offset,
        target_topic: position.topic,
        target_offset: Some(position.offset),
        reason: reason.to_owned(),
        message,
        metadata: position.metadata,
    }
}
