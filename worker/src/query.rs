//! Questions of a controller about clusters and mirrors, answered by asking Kafka.
//!
//! Every question has a deadline, and only so many are worked on at once; the rest wait within their deadlines.

mod answer;
mod asked;
mod holds;
mod permissions;
mod reach;
mod start_group;
mod translate;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::reason::Reason;
use twinlog_proto::telemetry;

use crate::cause::Cause;
use crate::metrics;
use crate::supervisor::Context;

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
    pub fn ask(&self, query: internal::Query, answers: mpsc::Sender<internal::Answer>) {
        let Ok(admitted) = self.admitted.clone().try_acquire_owned() else {
            let cause =
                Cause::new(Reason::TOO_MANY, "this worker is answering too many questions: ask again later");
            // No room for this answer either: the asker's deadline tells.
            let _ = answers.try_send(error(query.id, cause));
            return;
        };
        let this = self.clone();
        let span = tracing::info_span!("query", id = query.id, kind = kind(&query));
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

    async fn answer(&self, query: internal::Query) -> internal::Answer {
        let begin = Instant::now();
        let (id, kind, deadline) = (query.id.clone(), kind(&query), deadline(&query));
        let work = async {
            let _working = self.working.acquire().await;
            answer::answer(&self.context, query, deadline.saturating_sub(CALL_MARGIN)).await
        };
        let result = match tokio::time::timeout(deadline, work).await {
            Ok(result) => result,
            Err(_) => Err(Cause::new(
                Reason::QUERY_TIMEOUT,
                format!(
                    "Kafka did not answer within {deadline:?}: check that the brokers can be reached from this worker"
                ),
            )),
        };
        metrics::query(kind, begin.elapsed(), result.as_ref().err().map(|cause| cause.reason));
        match result {
            Ok(answer) => internal::Answer { id, answer: Some(answer) },
            Err(cause) => {
                tracing::info!(reason = %cause.reason, message = cause.message, "question not answered");
                error(id, cause)
            }
        }
    }
}

fn error(id: String, cause: Cause) -> internal::Answer {
    internal::Answer { id, answer: Some(internal::answer::Answer::Error(cause.into())) }
}

fn deadline(query: &internal::Query) -> Duration {
    match u64::try_from(query.deadline_ms) {
        Ok(0) | Err(_) => DEFAULT_DEADLINE,
        Ok(ms) => Duration::from_millis(ms).min(MAX_DEADLINE).saturating_sub(MARGIN),
    }
}

/// The question's name in metrics and spans.
fn kind(query: &internal::Query) -> &'static str {
    use internal::query::Question;
    match query.question {
        Some(Question::TestCluster(_)) => "test_cluster",
        Some(Question::ListTopics(_)) => "list_topics",
        Some(Question::ListGroups(_)) => "list_groups",
        Some(Question::Plan(_)) => "plan",
        Some(Question::Translate(_)) => "translate",
        Some(Question::TranslateToSource(_)) => "translate_to_source",
        Some(Question::GiveBack(_)) => "give_back",
        None => "unknown",
    }
}
