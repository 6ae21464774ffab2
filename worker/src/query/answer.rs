//! One answer per kind of question.

use std::time::Duration;

use twinlog_proto::model::Mirror;
use twinlog_proto::reason::Reason;

use super::asked::Asked;
use super::cluster::{ClusterTest, TopicInfo};
use super::plan::Plan;
use super::question::Question;
use super::translate::Translated;
use super::{cluster, plan, reach, translate};
use crate::cause::Cause;
use crate::give_back::{self, GivenBack};
use crate::kafka::GroupListing;
use crate::supervisor::Context;

/// To the question of this id, or why there is none.
#[derive(Debug)]
pub struct Answer {
    pub id: String,
    pub said: Result<Said, Cause>,
}

#[derive(Debug)]
pub enum Said {
    TestCluster(ClusterTest),
    ListTopics(Vec<TopicInfo>),
    ListGroups(Vec<GroupListing>),
    Plan(Plan),
    Translated(Translated),
    GivenBack(Vec<GivenBack>),
}

/// No call to Kafka takes longer than `patience`.
pub(super) async fn answer(context: &Context, question: Question, patience: Duration) -> Result<Said, Cause> {
    let asked = &Asked { context, patience };
    match question {
        Question::TestCluster(cluster) => Ok(Said::TestCluster(cluster::test(asked, cluster).await)),
        Question::ListTopics { cluster, patterns } => {
            Ok(Said::ListTopics(cluster::topics(asked, cluster, &patterns).await?))
        }
        Question::ListGroups { cluster, patterns } => {
            Ok(Said::ListGroups(cluster::groups(asked, cluster, &patterns).await?))
        }
        Question::Plan { flow, known } => Ok(Said::Plan(plan::plan(asked, flow, known).await?)),
        Question::ToTarget { flow, positions } => {
            Ok(Said::Translated(translate::to_target(asked, flow, &positions).await?))
        }
        Question::ToSource { flow, positions } => {
            Ok(Said::Translated(translate::to_source(asked, flow, &positions).await?))
        }
        Question::GiveBack { flow, how } => {
            let (mirror, ends) = asked.flow(flow)?;
            if !how.validate_only {
                refuse_unless_paused(context, &mirror)?;
            }
            reach::alive(&ends.target, reach::ALIVE).await?;
            Ok(Said::GivenBack(give_back::give_back(mirror, ends, how).await?))
        }
        Question::Unknown => Err(Cause::new(
            Reason::QUERY_FAILED,
            "this worker doesn't know the question: the controller is newer",
        )),
    }
}

/// What runs would move on from what is written. The controller has looked at all workers; here it is looked at once more.
fn refuse_unless_paused(context: &Context, mirror: &Mirror) -> Result<(), Cause> {
    let running = context.board.running();
    let runs_here = running.keys().any(|task| task.is_replicate() && *task.mirror() == mirror.id);
    match mirror.running || runs_here {
        true => Err(Cause::new(
            Reason::MIRROR_NOT_PAUSED,
            format!("mirrors/{0} copies: pause it first (twinlog mirror pause {0})", mirror.id),
        )),
        false => Ok(()),
    }
}
