//! The survey of a mirror: what the source has, what of it is copied and to where, and that the target is ready for it.
//!
//! Every `refresh.topics` it lists both sides, creates and grows topics on the target, and reports the inventory when it
//! changed. In steady state that is two metadata requests, whatever the number of topics. It never deletes a topic, and what
//! it can't look at stays as it was last known. How the source's topics end is looked at beside that (`ends`), also while the mirror
//! is paused: then it does nothing else. Configs and ACLs of the copies are kept in step at intervals of their own.

mod acl_sync;
mod acls;
mod adapt;
mod apart;
pub mod apply;
pub mod beats;
mod config_sync;
pub mod configs;
pub mod decide;
pub mod drift;
mod ends;
pub mod internal;
mod inventory;
pub mod limits;
pub mod look;
pub mod pair;
pub mod select;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, MissedTickBehavior};
use twinlog_proto::id::Epoch;
use twinlog_proto::model::Mirror;
use twinlog_proto::reason::Reason;

use crate::board::{Board, StatusCell, TaskStatus, state_of};
use crate::cause::Cause;
use crate::flow::Ends;
use crate::inventory::{Inventory, InventoryReport, InventoryTopic};
use crate::kafka::KafkaError;
use crate::metrics;
use crate::offset_map;
use crate::said::Said;

use beats::Beats;
use decide::Decision;
use drift::Drift;
use limits::Limits;
use look::Look;
use pair::Pair;

/// An unchanged inventory is sent again after this, to say that it is still so.
const REPEAT_INVENTORY: Duration = Duration::from_secs(30);

/// Surveys until it is dropped.
pub async fn run(epoch: Epoch, mirror: Arc<Mirror>, ends: Ends, status: &StatusCell, board: &Board) {
    let looks = Box::pin(ends::run(epoch, &mirror, &ends, board));
    if mirror.running {
        let rounds = Box::pin(rounds(epoch, mirror.clone(), ends.clone(), status, board));
        tokio::join!(looks, rounds);
    } else {
        status.active();
        looks.await;
    }
}

async fn rounds(epoch: Epoch, mirror: Arc<Mirror>, ends: Ends, status: &StatusCell, board: &Board) {
    let mut ticks = tokio::time::interval(mirror.refresh_topics);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut survey = Survey::new(mirror.clone(), ends);
    let mut sent: Option<(Inventory, Instant)> = None;
    let mut publish = |inventory: Inventory| {
        let fresh = sent.as_ref().is_none_or(|(before, at)| {
            at.elapsed() >= REPEAT_INVENTORY || !inventory::same(before, &inventory)
        });
        if fresh {
            let report = InventoryReport { epoch, inventory: inventory.clone() };
            board.set_inventory(mirror.id.clone(), report);
            sent = Some((inventory, Instant::now()));
        }
    };
    loop {
        ticks.tick().await;
        publish(survey.round(status).await);
        // Copying begins before configs and ACLs are looked at, and differences are shown before they are mended.
        if survey.look_for_drift().await {
            publish(survey.known.clone());
            survey.mend_drift().await;
        }
        publish(survey.known.clone());
        survey.count_groups().await;
    }
}

/// Another cluster than before answers at the source's address.
pub(crate) fn source_changed(mirror: &Mirror, before: &str, now: &str) -> Cause {
    let (id, source) = (&mirror.id, &mirror.source);
    let message = format!(
        "{} is another Kafka cluster than mirror {id} has copied from: its cluster id was {before}, now {now} answers there. Nothing is copied          from it. Check the addresses (twinlog cluster update {source} --bootstrap-servers HOST:PORT); if the other cluster is to be mirrored, register          it under an id of its own and make a mirror of its own for it",
        source.name()
    );
    Cause::new(Reason::SOURCE_CLUSTER_CHANGED, message)
}

/// What a survey knows from one round to the next.
struct Survey {
    mirror: Arc<Mirror>,
    ends: Ends,
    internal: internal::Internal,
    /// The last complete inventory; its topics stand in while a round fails.
    known: Inventory,
    limits: Limits,
    groups: usize,
    groups_counted: Option<Instant>,
    /// Topics that are copied, as the last complete look found them; empty where nothing may be copied.
    copied: Vec<Pair>,
    drift: Drift,
    beats: Beats,
    said: Said,
    /// Kafka's id of the cluster that the mirror copies from; `None` before it was looked up.
    copied_from: Option<String>,
}

impl Survey {
    fn new(mirror: Arc<Mirror>, ends: Ends) -> Self {
        Self {
            mirror,
            ends,
            internal: internal::Internal::default(),
            known: Inventory::default(),
            limits: Limits::default(),
            groups: 0,
            groups_counted: None,
            copied: Vec::new(),
            drift: Drift::default(),
            beats: Beats::default(),
            said: Said::default(),
            copied_from: None,
        }
    }

    /// One look at both sides, with what it takes to make the target fit. A failure leaves the topics as they were.
    async fn round(&mut self, status: &StatusCell) -> Inventory {
        let begin = Instant::now();
        let result = Box::pin(self.look_and_apply()).await;
        metrics::survey_round(&self.mirror.id, begin.elapsed(), result.as_ref().err().map(|e| e.reason));
        match result {
            Ok(mut inventory) => {
                self.drift.show(&self.mirror, &mut inventory);
                match &inventory.blocked {
                    Some(blocked) => status.stopped(blocked.clone()),
                    None => status.active(),
                }
                metrics::survey_topics(&self.mirror.id, &inventory);
                if self.said.over() {
                    tracing::info!(mirror = %self.mirror.id, "surveys work again");
                }
                self.known = inventory.clone();
                inventory
            }
            Err(error) => {
                if self.said.trouble(error.reason) {
                    tracing::warn!(mirror = %self.mirror.id, reason = %error.reason, error = %error, "survey failed; it tries again");
                }
                let cause = Cause::from(error.clone());
                status.set(TaskStatus::new(state_of(&error), Some(cause.clone())));
                let blocked = cause.continuing(self.known.blocked.as_ref());
                self.known.blocked = Some(blocked);
                self.known.clone()
            }
        }
    }

    async fn look_and_apply(&mut self) -> Result<Inventory, KafkaError> {
        let (mirror, ends) = (self.mirror.clone(), self.ends.clone());
        let mut look = Box::pin(Look::take(&mirror, &ends, &mut self.beats)).await?;
        self.copied.clear();
        if look.same_cluster() {
            return Ok(self.blocked_inventory(&look, self.same_cluster()));
        }
        if let Some(cause) = self.another_source(&look.source_cluster_id).await? {
            return Ok(self.blocked_inventory(&look, cause));
        }
        self.internal.ensure(&mirror, &ends).await?;
        apply::apply(&mirror, &ends.source.client, &ends.target.client, &mut look.decisions).await?;
        self.copied = pair::pairs(&look.decisions);
        self.limits.refresh(&ends.target.client, &look.decisions).await?;
        let gone = self.gone(&look.decisions).await?;
        Ok(self.inventory(&look, gone))
    }

    /// True where something differs that can be mended.
    async fn look_for_drift(&mut self) -> bool {
        let found = self.drift.look(&self.mirror, &self.ends, &self.copied).await;
        self.drift.show(&self.mirror, &mut self.known);
        found
    }

    async fn mend_drift(&mut self) {
        self.drift.mend(&self.mirror, &self.ends).await;
        self.drift.show(&self.mirror, &mut self.known);
    }

    fn inventory(&self, look: &Look, gone: Vec<InventoryTopic>) -> Inventory {
        let known = inventory::by_source(&self.known);
        let limit = |target: &str| self.limits.max_message_bytes(target);
        let timestamps = self.limits.warning(&self.mirror, &look.decisions).into_iter().collect();
        let mut topics: Vec<InventoryTopic> = look
            .selected()
            .map(|d| InventoryTopic {
                note: select::note(&self.mirror, &d.source.name),
                ..inventory::topic(d, limit(&d.target), known.get(d.source.name.as_str()).copied())
            })
            .chain(gone)
            .collect();
        topics.sort_by(|a, b| (&a.target_topic, &a.source_topic).cmp(&(&b.target_topic, &b.source_topic)));
        Inventory {
            topics,
            blocked: None,
            warnings: [look.warnings(&self.mirror), timestamps, self.internal.warnings().to_vec()].concat(),
            groups: self.groups,
            source_cluster_id: look.source_cluster_id.clone(),
            target_cluster_id: look.target_cluster_id.clone(),
            time: Some(SystemTime::now()),
            selected_by: inventory::selected_by(&self.mirror),
        }
    }

    /// Compares with what was copied from before, also by an earlier survey: progress on the target knows it.
    async fn another_source(&mut self, now: &str) -> Result<Option<Cause>, KafkaError> {
        let before = match self.copied_from.take() {
            Some(before) => before,
            None => offset_map::kept(&self.ends.target, &self.mirror.id).await?.source_cluster_id,
        };
        let before = self.copied_from.insert(if before.is_empty() { now.to_owned() } else { before });
        let changed = !now.is_empty() && *before != now;
        Ok(changed.then(|| source_changed(&self.mirror, before, now)))
    }

    fn blocked_inventory(&self, look: &Look, cause: Cause) -> Inventory {
        let cause = cause.continuing(self.known.blocked.as_ref());
        Inventory {
            topics: look.selected().map(|d| inventory::refused(d, &cause)).collect(),
            blocked: Some(cause),
            source_cluster_id: look.source_cluster_id.clone(),
            target_cluster_id: look.target_cluster_id.clone(),
            time: Some(SystemTime::now()),
            ..Inventory::default()
        }
    }

    fn same_cluster(&self) -> Cause {
        Cause::new(Reason::SAME_CLUSTER, look::same_cluster_message(&self.mirror))
    }

    /// Topics that were there before and are not listed now. An empty answer is no proof: each is asked for by name, and
    /// only what the source says doesn't exist is called deleted.
    async fn gone(&self, decisions: &[Decision]) -> Result<Vec<InventoryTopic>, KafkaError> {
        let listed: HashSet<&str> = decisions.iter().map(|d| d.source.name.as_str()).collect();
        let missing: Vec<&InventoryTopic> =
            self.known.topics.iter().filter(|t| !listed.contains(t.source_topic.as_str())).collect();
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = missing.iter().map(|t| t.source_topic.clone()).collect();
        let asked = self.ends.source.client.topics(Some(&names)).await?;
        let errors: HashMap<&str, Option<&KafkaError>> =
            asked.iter().map(|t| (t.name.as_str(), t.error.as_ref())).collect();
        let gone = |known: &&InventoryTopic| {
            let error = errors.get(known.source_topic.as_str()).copied().flatten();
            inventory::gone(&self.mirror, known, error)
        };
        Ok(missing.iter().map(gone).collect())
    }

    /// How many groups the mirror selects, every `refresh.groups`. A failure leaves the last number: the checkpoint task
    /// reports what is wrong.
    async fn count_groups(&mut self) {
        if self.groups_counted.is_some_and(|at| at.elapsed() < self.mirror.refresh_groups) {
            return;
        }
        self.groups_counted = Some(Instant::now());
        match self.ends.source.client.list_groups().await {
            Ok(groups) => {
                self.groups = groups.iter().filter(|g| self.mirror.groups.matches(&g.group)).count();
            }
            Err(error) => tracing::debug!(mirror = %self.mirror.id, %error, "groups not counted"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
