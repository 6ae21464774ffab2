//! What differs between source topics and their target topics: found, shown, mended, and shown again.

use twinlog_proto::model::Mirror;
use twinlog_proto::reason::Reason;

use super::acl_sync::{self, AclSync};
use super::acls;
use super::config_sync::{self, ConfigSync};
use super::pair::Pair;
use crate::flow::Ends;
use crate::inventory::{self, Inventory, Warning};
use crate::kafka::KafkaError;
use crate::metrics;

/// Everything that a mirror keeps in step besides records.
#[derive(Default)]
pub(super) struct Drift {
    configs: ConfigSync,
    acls: AclSync,
}

impl Drift {
    /// Compares what is due. True where something is to be mended.
    pub(super) async fn look(&mut self, mirror: &Mirror, ends: &Ends, pairs: &[Pair]) -> bool {
        let configs = self.configs.look(mirror, ends, pairs).await;
        let acls = self.acls.look(mirror, ends, pairs).await;
        configs || acls
    }

    pub(super) async fn mend(&mut self, mirror: &Mirror, ends: &Ends) {
        self.configs.mend(mirror, &ends.target.client).await;
        self.acls.mend(mirror, &ends.target.client).await;
        metrics::drift(&mirror.id, "config", self.configs.open());
        metrics::drift(&mirror.id, "acl", self.acls.open());
    }

    /// Writes what is known into an inventory.
    pub(super) fn show(&self, mirror: &Mirror, inventory: &mut Inventory) {
        let mut of_acls = self.acls.drift();
        for topic in &mut inventory.topics {
            let (mut drift, mended) = self.configs.drift(&topic.target_topic);
            drift.extend(of_acls.remove(topic.target_topic.as_str()).unwrap_or_default());
            topic.drift = drift;
            topic.drift_mended = mended + self.acls.mended(&topic.target_topic);
        }
        let ours = [Reason::CONFIG_SYNC_FAILED, Reason::ACL_SYNC_FAILED];
        inventory.warnings.retain(|warning| !ours.contains(&warning.reason));
        let configs = self.configs.failure(mirror).into_iter().map(|m| (Reason::CONFIG_SYNC_FAILED, m));
        let acls = self.acls.failures(mirror).into_iter().map(|m| (Reason::ACL_SYNC_FAILED, m));
        inventory.warnings.extend(configs.chain(acls).map(|(reason, message)| Warning::new(reason, message)));
    }
}

/// For plans: what differs now, by target topic, and what could not be compared.
pub async fn planned(
    mirror: &Mirror,
    ends: &Ends,
    pairs: &[Pair],
) -> (Vec<(String, inventory::Drift)>, Vec<Warning>) {
    let (mut drift, mut warnings) = (Vec::new(), Vec::new());
    let failed = |reason, error: KafkaError| Warning::new(reason, error.message);
    if mirror.config_sync.enabled {
        match config_sync::find(mirror, ends, pairs).await {
            Ok(found) => {
                for (topic, result) in found {
                    match result {
                        Ok(differences) => drift
                            .extend(differences.iter().map(|d| (topic.clone(), config_sync::shown(d, None)))),
                        Err(error) => warnings.push(failed(Reason::CONFIG_SYNC_FAILED, error)),
                    }
                }
            }
            Err(error) => warnings.push(failed(Reason::CONFIG_SYNC_FAILED, error)),
        }
    }
    if mirror.acl_sync.enabled {
        match acl_sync::find(mirror, ends, pairs).await {
            Ok(found) => {
                let shown = |d: acls::Difference| (d.topic.clone(), acl_sync::shown(&d, None));
                drift.extend(found.into_iter().flat_map(|found| found.differences).map(shown));
            }
            Err(error) => warnings.push(failed(Reason::ACL_SYNC_FAILED, error)),
        }
    }
    (drift, warnings)
}
