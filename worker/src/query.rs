//! Questions of a controller about clusters and mirrors, answered by asking Kafka.
//!
//! Every question has a deadline, and only so many are worked on at once; the rest wait within their deadlines.

mod answer;
mod asked;
mod cluster;
mod holds;
mod permissions;
mod plan;
mod question;
mod reach;
mod start_group;
mod translate;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use twinlog_proto::reason::Reason;
use twinlog_proto::telemetry;

use crate::cause::Cause;
use crate::metrics;
use crate::supervisor::Context;

pub use answer::{Answer, Said};
pub use cluster::{ClusterTest, Login, Reached, TopicInfo};
pub use permissions::PermissionCheck;
pub use plan::{Action, Plan, PlannedTopic};
pub use question::{Flow, Positions, Query, Question};
pub use translate::{Not, Translated, TranslatedOffset};

/// Questions worked on at once.
const CONCURRENT: usize = 8;
/// Questions that may wait for their turn; more are answered TOO_MANY.
const WAITING: usize = 56;
/// Where a question names no deadline.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);
const MAX_DEADLINE: Duration = Duration::from_secs(60);
/// An answer is due this long before the deadline, or nobody would be there to take it ...
const MARGIN: Duration = Duration::from_millis(200);
/// ... and calls to Kafka end this long before that, so that the answer can say what stood in the way.
const CALL_MARGIN: Duration = Duration::from_millis(200);

/// Answers questions; clones share the limits.
#[derive(Clone)]
pub struct Queries {
    context: Arc<Context>,
    admitted: Arc<Semaphore>,
    working: Arc<Semaphore>,
    tracker: TaskTracker,
}

impl Queries {
    pub fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            admitted: Arc::new(Semaphore::new(CONCURRENT + WAITING)),
            working: Arc::new(Semaphore::new(CONCURRENT)),
            tracker: TaskTracker::new(),
        }
    }

    /// Works on a question aside; the answer goes to `answers`, unless nobody listens there any more.
    pub fn ask(&self, query: Query, answers: mpsc::Sender<Answer>) {
        let Ok(admitted) = self.admitted.clone().try_acquire_owned() else {
            let cause =
                Cause::new(Reason::TOO_MANY, "this worker is answering too many questions: ask again later");
            // No room for this answer either: the asker's deadline tells.
            let _ = answers.try_send(Answer { id: query.id, said: Err(cause) });
            return;
        };
        let this = self.clone();
        let span = tracing::info_span!("query", id = query.id, kind = query.question.kind());
        telemetry::follow(&span, &query.trace_context);
        self.tracker.spawn(
            async move {
                let answer = this.answer(query).await;
                let _ = answers.send(answer).await;
                drop(admitted);
            }
            .instrument(span),
        );
    }

    async fn answer(&self, query: Query) -> Answer {
        let begin = Instant::now();
        let Query { id, deadline: asked, question, .. } = query;
        let (kind, deadline) = (question.kind(), deadline(asked));
        let work = async {
            let _working = self.working.acquire().await;
            answer::answer(&self.context, question, deadline.saturating_sub(CALL_MARGIN)).await
        };
        let said = match tokio::time::timeout(deadline, work).await {
            Ok(said) => said,
            Err(_) => Err(Cause::new(
                Reason::QUERY_TIMEOUT,
                format!(
                    "Kafka did not answer within {deadline:?}: check that the brokers can be reached from this worker"
                ),
            )),
        };
        metrics::query(kind, begin.elapsed(), said.as_ref().err().map(|cause| cause.reason));
        if let Err(cause) = &said {
            tracing::info!(reason = %cause.reason, message = cause.message, "question not answered");
        }
        Answer { id, said }
    }
}

fn deadline(asked: Option<Duration>) -> Duration {
    asked.map_or(DEFAULT_DEADLINE, |asked| asked.min(MAX_DEADLINE).saturating_sub(MARGIN))
}
