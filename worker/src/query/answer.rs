//! One answer per kind of question.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use twinlog_proto::filter::Filter;
use twinlog_proto::id::TaskName;
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::internal::v1::answer::Answer;
use twinlog_proto::internal::v1::query::Question;
use twinlog_proto::model::Mirror;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;
use twinlog_proto::v1::planned_topic::Action;

use super::asked::Asked;
use super::{holds, permissions, reach, start_group, translate};
use crate::cause::Cause;
use crate::give_back;
use crate::kafka::GroupType;
use crate::supervisor::Context;
use crate::survey::apply::new_topics;
use crate::survey::beats::Beats;
use crate::survey::decide::{Decision, Step};
use crate::survey::drift;
use crate::survey::limits::Limits;
use crate::survey::look::{Look, same_cluster_message};
use crate::survey::pair::pairs;
use crate::survey::select;

/// How long a test of a cluster waits for a broker. Well within the question's own deadline: that nobody answers is the answer.
const TEST_DEADLINE: Duration = Duration::from_secs(8);

/// No call to Kafka takes longer than `patience`.
pub(super) async fn answer(
    context: &Context,
    query: internal::Query,
    patience: Duration,
) -> Result<Answer, Cause> {
    let asked = Asked { context, clusters: &query.clusters, mirror: query.mirror.as_ref(), patience };
    match &query.question {
        Some(Question::TestCluster(_)) => Ok(Answer::TestCluster(test_cluster(&asked).await?)),
        Some(Question::ListTopics(question)) => {
            Ok(Answer::ListTopics(list_topics(&asked, &question.patterns).await?))
        }
        Some(Question::ListGroups(question)) => {
            Ok(Answer::ListGroups(list_groups(&asked, &question.patterns).await?))
        }
        Some(Question::Plan(question)) => Ok(Answer::Plan(plan(&asked, question).await?)),
        Some(Question::Translate(question)) => {
            Ok(Answer::Translate(translate::to_target(&asked, question).await?))
        }
        Some(Question::TranslateToSource(question)) => {
            Ok(Answer::Translate(translate::to_source(&asked, question).await?))
        }
        Some(Question::GiveBack(question)) => {
            let (mirror, ends) = asked.flow()?;
            if !question.validate_only {
                refuse_unless_paused(context, &mirror)?;
            }
            reach::alive(&ends.target, reach::ALIVE).await?;
            Ok(Answer::GiveBack(give_back::give_back(mirror, ends, question).await?))
        }
        None => Err(Cause::new(
            Reason::QUERY_FAILED,
            "this worker doesn't know the question: the controller is newer",
        )),
    }
}

/// What runs would move on from what is written. The controller has looked at all workers; here it is looked at once more.
fn refuse_unless_paused(context: &Context, mirror: &Mirror) -> Result<(), Cause> {
    let runs_here = context.board.applied().running.iter().any(|running| {
        running.task.parse::<TaskName>().is_ok_and(|task| task.is_replicate() && *task.mirror() == mirror.id)
    });
    match mirror.running || runs_here {
        true => Err(Cause::new(
            Reason::MIRROR_NOT_PAUSED,
            format!("mirrors/{0} copies: pause it first (twinlog mirror pause {0})", mirror.id),
        )),
        false => Ok(()),
    }
}

/// Whatever stands in the way is the answer, not an error: that is what was asked.
async fn test_cluster(asked: &Asked<'_>) -> Result<v1::TestClusterResponse, Cause> {
    let worker = asked.context.worker.to_string();
    let unreachable = |cause: Cause| v1::TestClusterResponse {
        cause: Some(cause.into()),
        worker: worker.clone(),
        ..Default::default()
    };
    let handle = match asked.cluster() {
        Ok(handle) => handle,
        Err(cause) => return Ok(unreachable(cause)),
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
            let cause = Some(Cause::from(error).into());
            return Ok(v1::TestClusterResponse { cause, ..response });
        }
    };
    Ok(v1::TestClusterResponse {
        reachable: true,
        checks: permissions::checks(&client, &info).await,
        kafka_cluster_id: info.cluster_id.unwrap_or_default(),
        broker_version: info.broker_version,
        brokers: i32::try_from(info.brokers.len()).unwrap_or(i32::MAX),
        broker_addresses: info
            .brokers
            .iter()
            .map(|broker| format!("{}:{}", broker.host, broker.port))
            .collect(),
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
    let cluster = asked.cluster()?;
    reach::alive(&cluster, reach::ALIVE).await?;
    let listed = cluster.client.topics(None).await?;
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
    let cluster = asked.cluster()?;
    reach::alive(&cluster, reach::ALIVE).await?;
    let listed = cluster.client.list_groups().await?;
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
async fn plan(asked: &Asked<'_>, question: &internal::PlanQuestion) -> Result<v1::MirrorPlan, Cause> {
    let (mirror, ends) = asked.flow()?;
    let within = if question.known { reach::SOON } else { reach::ALIVE };
    tokio::try_join!(reach::alive(&ends.source, within), reach::alive(&ends.target, within))?;
    let look = Look::take(&mirror, &ends, &mut Beats::default()).await?;
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
        .map(|decision| planned(&mirror, decision, configs.remove(&decision.target).unwrap_or_default()))
        .collect();
    if !look.same_cluster() {
        let (found, unseen) = drift::planned(&mirror, &ends, &pairs(&look.decisions)).await;
        warnings.extend(unseen);
        let mut limits = Limits::default();
        limits.refresh(&ends.target.client, &look.decisions).await?;
        warnings.extend(limits.warning(&mirror, &look.decisions));
        let mut by_target: HashMap<String, Vec<v1::Drift>> = HashMap::new();
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
    Ok(v1::MirrorPlan {
        skipped_topics: count(topics.len() - matched),
        matched_topics: count(matched),
        matched_partitions: partitions,
        topics,
        warnings,
        worker: asked.context.worker.to_string(),
        as_of: None,
    })
}

fn planned(mirror: &Mirror, decision: &Decision, configs: BTreeMap<String, String>) -> v1::PlannedTopic {
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
    v1::PlannedTopic {
        source_topic: decision.source.name.clone(),
        target_topic: decision.target.clone(),
        source_partitions: decision.source.partitions,
        target_partitions: decision.target_partitions,
        action: action.into(),
        reason,
        configs: configs.into_iter().collect(),
        drift: Vec::new(),
        target_records: None,
    }
}
