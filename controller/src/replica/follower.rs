//! What a replica does while it doesn't lead: it stands for election, and makes way for the one that leads.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::leader::Leader;
use super::shared::Shared;
use crate::reconciler::TermEnd;

/// Pause before this replica stands again after a term or an error.
const CAMPAIGN_RETRY: Duration = Duration::from_millis(500);
/// A replica that leads no more, and hears of no other leader for this long, closes its sessions.
const CUT_OFF: Duration = Duration::from_secs(10);

/// Stands for election, leads, and stands again, until stopped.
pub(crate) async fn stand(shared: Arc<Shared>) {
    let mut said = None;
    loop {
        let elected = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            elected = Leader::elected(&shared) => elected,
        };
        match elected {
            Ok(leader) => {
                said = None;
                if matches!(leader.lead().await, TermEnd::Stopping) {
                    return;
                }
            }
            // Tried again twice a second: said when it changes.
            Err(error) if said.as_ref() == Some(&error.to_string()) => {}
            Err(error) => {
                warn!(%error, "can't campaign");
                said = Some(error.to_string());
            }
        }
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(CAMPAIGN_RETRY) => {}
        }
    }
}

/// Once another replica leads, this one's sessions end: the workers reconnect and reach the leader. While nobody leads they
/// stay open for a while, as this replica may lead again. Not for ever: it may be the only one that can't see the store, and
/// then its workers must find the leader that it doesn't know of.
pub(crate) async fn make_way(shared: Arc<Shared>) {
    let mut states = shared.cache.subscribe();
    let mut leading = shared.leading.subscribe();
    loop {
        let leads = leading.borrow_and_update().is_some();
        states.mark_unchanged();
        if shared.follows() && !leads {
            shared.fleet.close_sessions();
        }
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            _ = leading.changed() => {}
            changed = states.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(CUT_OFF), if !leads => shared.fleet.close_sessions(),
        }
    }
}
