//! What a controller asks, parsed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use twinlog_proto::internal::v1 as internal;
use twinlog_proto::model::Cluster;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;

use super::assigned::{cluster, mirror};
use crate::cause::Cause;
use crate::give_back::GiveBack;
use crate::kafka::CommittedOffset;
use crate::query::{Flow, Positions, Query, Question};

pub(super) fn parse(query: internal::Query) -> Query {
    let deadline = u64::try_from(query.deadline_ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis);
    let (clusters, mirror) = (&query.clusters, query.mirror.as_ref());
    let question = query.question.map_or(Question::Unknown, |asked| question(asked, clusters, mirror));
    Query { id: query.id, deadline, trace_context: query.trace_context, question }
}

fn question(
    asked: internal::query::Question,
    clusters: &[v1::Cluster],
    mirror: Option<&v1::Mirror>,
) -> Question {
    use internal::query::Question as Wire;
    match asked {
        Wire::TestCluster(_) => Question::TestCluster(the_cluster(clusters)),
        Wire::ListTopics(internal::ListTopicsQuestion { patterns }) => {
            Question::ListTopics { cluster: the_cluster(clusters), patterns }
        }
        Wire::ListGroups(internal::ListGroupsQuestion { patterns }) => {
            Question::ListGroups { cluster: the_cluster(clusters), patterns }
        }
        Wire::Plan(internal::PlanQuestion { known }) => {
            Question::Plan { flow: flow(clusters, mirror), known }
        }
        Wire::Translate(internal::TranslateQuestion { group, offsets }) => {
            Question::ToTarget { flow: flow(clusters, mirror), positions: positions(group, offsets) }
        }
        Wire::TranslateToSource(internal::TranslateToSourceQuestion { group, offsets }) => {
            Question::ToSource { flow: flow(clusters, mirror), positions: positions(group, offsets) }
        }
        Wire::GiveBack(internal::GiveBackQuestion { connector, offsets_topic, validate_only }) => {
            let given = |text: String| Some(text).filter(|text| !text.is_empty());
            let (connector, offsets_topic) = (given(connector), given(offsets_topic));
            let how = GiveBack { connector, offsets_topic, validate_only };
            Question::GiveBack { flow: flow(clusters, mirror), how }
        }
    }
}

fn positions(group: String, offsets: Vec<v1::SourceOffset>) -> Positions {
    let position = |offset: v1::SourceOffset| CommittedOffset {
        topic: offset.topic,
        partition: offset.partition,
        offset: offset.offset,
        leader_epoch: -1,
        metadata: String::new(),
    };
    Positions { group, offsets: offsets.into_iter().map(position).collect() }
}

fn invalid(message: String) -> Cause {
    Cause::new(Reason::INVALID_FIELD, message)
}

/// The only cluster of a question about one.
fn the_cluster(clusters: &[v1::Cluster]) -> Result<Cluster, Cause> {
    match clusters {
        [wire] => cluster(wire).map_err(invalid),
        _ => Err(invalid("the question must name one cluster".to_owned())),
    }
}

fn flow(clusters: &[v1::Cluster], wire: Option<&v1::Mirror>) -> Result<Flow, Cause> {
    let wire = wire.ok_or_else(|| invalid("the question must name a mirror".to_owned()))?;
    let mirror = mirror(wire).map_err(invalid)?;
    let end = |name: &str, properties: &BTreeMap<String, String>| {
        let Some(found) = clusters.iter().find(|cluster| cluster.name == name) else {
            return Err(invalid(format!("the question must bring {name}, which {} names", wire.name)));
        };
        Ok(cluster(found).map_err(invalid)?.with(properties))
    };
    Ok(Flow {
        source: end(&wire.source, &mirror.source_properties)?,
        target: end(&wire.target, &mirror.target_properties)?,
        mirror: Arc::new(mirror),
    })
}
