//! Waiting for what a transaction coordinator does, and saying why that can't be had.

use std::time::{Duration, Instant};

use twinlog_proto::reason::Reason;

use crate::cause::Cause;
use crate::engine::{NotOpened, Opening, Trouble};
use crate::kafka::{KafkaClient, KafkaError, code};

/// One wait for the transaction coordinator.
pub(super) const STEP: Duration = Duration::from_secs(1);
/// After this time a coordinator that does not answer is worth a word in the status.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// The cluster is asked why this often.
const LOOK: Duration = Duration::from_secs(10);
/// After this the lane looks at the clusters anew.
pub(super) const AGAIN: Duration = Duration::from_secs(60);

/// Asks until it is done, and says what it waits for.
pub(super) async fn persist<T, F: Future<Output = Result<T, KafkaError>>>(
    opening: &Opening,
    ask: impl Fn() -> F,
) -> Result<T, NotOpened> {
    let client = opening.target.client.as_producer();
    let (began, mut said) = (Instant::now(), None::<Instant>);
    loop {
        let error = match wanted(opening, ask()).await? {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        // A topic that isn't there is named by the lane.
        if !error.retriable || error.code == code::UNKNOWN_TOPIC_OR_PARTITION {
            return Err(refused(&error));
        }
        if began.elapsed() >= AGAIN {
            return Err(NotOpened::Waited);
        }
        if began.elapsed() >= PATIENCE && said.is_none_or(|at| at.elapsed() >= LOOK) {
            let cause = wanted(opening, without_coordinator(&client, &error)).await?;
            opening.waits.send_replace(Some(cause));
            said = Some(Instant::now());
        }
    }
}

/// Waits for an answer, not longer than the lane is wanted.
pub(super) async fn wanted<T>(opening: &Opening, answer: impl Future<Output = T>) -> Result<T, NotOpened> {
    let control = &opening.control;
    let mut answer = std::pin::pin!(answer);
    loop {
        if control.is_draining() {
            return Err(NotOpened::Drained);
        }
        if control.turn().is_over() {
            return Err(NotOpened::TurnOver);
        }
        tokio::select! {
            answer = &mut answer => return Ok(answer),
            () = control.woken() => {}
        }
    }
}

fn refused(error: &KafkaError) -> NotOpened {
    match error.code {
        code::INVALID_TRANSACTION_TIMEOUT => NotOpened::PatienceRefused(away(error)),
        code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED => NotOpened::Forbidden,
        _ => NotOpened::Target(away(error)),
    }
}

/// Why the transactional id has no coordinator.
async fn without_coordinator(client: &KafkaClient, error: &KafkaError) -> Cause {
    if let Ok(Some(text)) = client.with_deadline(PATIENCE).transactions_trouble().await {
        return Cause::new(Reason::TRANSACTIONS_UNAVAILABLE, text);
    }
    let reason = match error.reason {
        Reason::CLUSTER_UNREACHABLE | Reason::KAFKA_ERROR => Reason::WAITING_FOR_CLUSTER,
        other => other,
    };
    Cause::new(reason, error.message.clone())
}

/// That the cluster as a whole can't be asked.
pub(super) fn away(error: &KafkaError) -> Trouble {
    Trouble { away: Some(error.reason), ..Trouble::new(error.message.clone()) }
}
