//! Questions on their way to workers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;
use twinlog_proto::id::{MirrorId, TaskName, WorkerId};
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::internal::v1::query::Question as Ask;
use twinlog_proto::reason::Reason;

use super::{Answered, Fleet, Members, Question};
use crate::planner::is_eligible;
use crate::refusal::Refusal;
use crate::state::State;

/// Questions under way at the same time, at most.
const MAX_QUERIES: usize = 64;
/// A question whose worker goes away is asked again this often.
const ATTEMPTS: usize = 3;

pub(super) struct Queries {
    permits: Semaphore,
    pending: Mutex<HashMap<String, Pending>>,
}

struct Pending {
    session: u64,
    answer: oneshot::Sender<internal::Answer>,
}

impl Default for Queries {
    fn default() -> Self {
        Self { permits: Semaphore::new(MAX_QUERIES), pending: Mutex::default() }
    }
}

impl Queries {
    fn pending(&self) -> MutexGuard<'_, HashMap<String, Pending>> {
        self.pending.lock().expect("no code panics while it holds the queries")
    }

    /// Whoever waits for this session's answers sees that none will come.
    pub(super) fn session_ended(&self, session: u64) {
        self.pending().retain(|_, pending| pending.session != session);
    }
}

/// Takes a question out of the list, however its asking ends.
struct Forget<'a> {
    queries: &'a Queries,
    id: String,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.queries.pending().remove(&self.id);
    }
}

impl Fleet {
    /// A worker answers. An answer nobody waits for is dropped.
    pub(crate) fn answer(&self, session: u64, answer: internal::Answer) {
        let mut pending = self.queries.pending();
        if pending.get(&answer.id).is_some_and(|pending| pending.session == session) {
            let waiting = pending.remove(&answer.id).expect("it was just found");
            // The asker may have given up.
            let _ = waiting.answer.send(answer);
        }
    }

    /// Asks a suitable worker; another one if that goes away meanwhile.
    pub(crate) async fn ask(&self, question: Question, state: &State) -> Result<Answered, Refusal> {
        let Ok(_permit) = self.queries.permits.try_acquire() else {
            return Err(Refusal::new(
                Reason::TOO_MANY,
                format!("{MAX_QUERIES} queries are under way already"),
                &[],
            ));
        };
        let deadline = Instant::now() + question.deadline;
        let mut tried = Vec::new();
        loop {
            let (worker, answer, _forget) = self.send(&question, state, &tried, deadline)?;
            match tokio::time::timeout_at(deadline, answer).await {
                Ok(Ok(answer)) => return accept(worker, answer),
                Ok(Err(_)) if tried.len() + 1 < ATTEMPTS => tried.push(worker),
                Ok(Err(_)) => {
                    let message = format!("worker {worker} went away before it answered");
                    return Err(Refusal::new(Reason::NO_WORKER, message, &[("worker", worker.as_str())]));
                }
                Err(_) => {
                    let message = format!("worker {worker} did not answer within {:?}", question.deadline);
                    return Err(Refusal::new(Reason::QUERY_TIMEOUT, message, &[("worker", worker.as_str())]));
                }
            }
        }
    }

    fn send(
        &self,
        question: &Question,
        state: &State,
        tried: &[WorkerId],
        deadline: Instant,
    ) -> Result<(WorkerId, oneshot::Receiver<internal::Answer>, Forget<'_>), Refusal> {
        let id = uuid::Uuid::new_v4().to_string();
        let query = internal::Query {
            id: id.clone(),
            deadline_ms: deadline.duration_since(Instant::now()).as_millis().try_into().unwrap_or(i64::MAX),
            clusters: question.clusters.clone(),
            mirror: question.mirror.clone(),
            question: Some(question.question.clone()),
            trace_context: twinlog_proto::telemetry::current_context(),
        };
        let members = self.members();
        let worker = members.choose(question, state, tried)?;
        let link = members.by_id[&worker].link.as_ref().expect("only connected workers are chosen");
        let (sender, receiver) = oneshot::channel();
        self.queries.pending().insert(id.clone(), Pending { session: link.session, answer: sender });
        let forget = Forget { queries: &self.queries, id };
        link.queries.try_send(query).map_err(|_| {
            let message = format!("worker {worker} has too many queries to answer already");
            Refusal::new(Reason::TOO_MANY, message, &[("worker", worker.as_str())])
        })?;
        Ok((worker, receiver, forget))
    }
}

fn accept(worker: WorkerId, answer: internal::Answer) -> Result<Answered, Refusal> {
    match answer.answer {
        Some(internal::answer::Answer::Error(cause)) => {
            let known = Reason::ALL.iter().find(|reason| reason.as_str() == cause.reason);
            let reason = known.copied().unwrap_or(Reason::QUERY_FAILED);
            Err(Refusal::new(reason, cause.message, &[("worker", worker.as_str())]))
        }
        Some(answer) => Ok(Answered { worker, answer }),
        None => {
            let message =
                format!("worker {worker} does not know this question: it may be older than the controller");
            Err(Refusal::new(Reason::QUERY_FAILED, message, &[("worker", worker.as_str())]))
        }
    }
}

impl Members {
    /// The worker that knows most about the question: one that runs the mirror's checkpoint or survey, then one that runs
    /// anything between the clusters in question, then any that may run the mirror.
    fn choose(&self, question: &Question, state: &State, tried: &[WorkerId]) -> Result<WorkerId, Refusal> {
        let placement: BTreeMap<String, String> =
            question.mirror.iter().flat_map(|mirror| mirror.placement.clone()).collect();
        let mut connected =
            self.by_id.values().filter(|m| m.link.is_some() && !tried.contains(&m.id)).peekable();
        if connected.peek().is_none() {
            return Err(Refusal::new(Reason::NO_WORKER, "no worker is connected to answer this", &[]));
        }
        let wanted = Wanted::of(question, state);
        let eligible = connected.filter(|member| is_eligible(&member.profile.labels, &placement));
        let best = eligible
            .min_by_key(|member| (member.leaving, wanted.rank(member.running.tasks.keys()), &member.id));
        best.map(|member| member.id.clone()).ok_or_else(|| {
            let labels: Vec<_> = placement.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let message = format!("no connected worker carries the labels {}", labels.join(", "));
            Refusal::new(Reason::NO_ELIGIBLE_WORKER, message, &[])
        })
    }
}

/// Whose tasks make a worker a good one to ask.
struct Wanted {
    mirror: Option<MirrorId>,
    translate: bool,
    /// Mirrors between the clusters in question.
    related: Arc<[MirrorId]>,
}

impl Wanted {
    fn of(question: &Question, state: &State) -> Self {
        let names: Vec<&str> = question.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        let related = state.mirrors.values().filter(|mirror| {
            names.iter().any(|name| *name == mirror.wire.source || *name == mirror.wire.target)
        });
        Self {
            mirror: question.mirror.as_ref().and_then(|mirror| MirrorId::from_name(&mirror.name).ok()),
            translate: matches!(question.question, Ask::Translate(_) | Ask::TranslateToSource(_)),
            related: related.map(|mirror| mirror.model.id.clone()).collect(),
        }
    }

    /// Lower is better.
    fn rank<'a>(&self, tasks: impl Iterator<Item = &'a TaskName>) -> u8 {
        let rank = |task: &TaskName| match task {
            TaskName::Checkpoint { mirror, .. } if self.translate && self.mirror.as_ref() == Some(mirror) => {
                0
            }
            TaskName::Survey { mirror } if self.mirror.as_ref() == Some(mirror) => 1,
            task if self.mirror.as_ref() == Some(task.mirror()) => 2,
            task if self.related.contains(task.mirror()) => 3,
            _ => 4,
        };
        tasks.map(rank).min().unwrap_or(4)
    }
}
