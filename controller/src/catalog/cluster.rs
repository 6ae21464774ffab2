//! Writing clusters.

use twinlog_proto::id::ClusterId;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;
use uuid::Uuid;

use super::change::{ClusterCreation, ClusterUpdate, Deletion};
use super::mask::Mask;
use super::request::{Fingerprint, Request};
use super::stored::{Resource, Stored, encode_new};
use super::{
    Catalog, MAX_ATTEMPTS, Written, already_exists, check, check_etag, now, store_failed, write_conflict,
};
use crate::keys;
use crate::refusal::{Refusal, invalid};
use crate::state::etag;
use crate::store::{Guard, Transaction, Write};

impl Catalog {
    /// Registers a cluster. INVALID_FIELD, LITERAL_SECRET, ALREADY_EXISTS, REQUEST_ID_REUSED.
    pub async fn create_cluster(&self, creation: ClusterCreation) -> Result<Written<v1::Cluster>, Refusal> {
        let ClusterCreation { id, resource: mut cluster, request_id, validate_only } = creation;
        cluster.name = id.name();
        cluster.output().clear();
        self.check_cluster(&cluster)?;
        let request_id = Request::new(&request_id, Fingerprint::of(&cluster))?;

        for _ in 0..MAX_ATTEMPTS {
            let key = keys::cluster(&id);
            if let Some(entry) = self.read(&key).await? {
                let existing = Stored::<v1::Cluster>::decode(&entry)?;
                if existing.is_repeat(request_id.as_ref())? {
                    return Ok(Written { resource: existing.resource, revision: Some(entry.mod_revision) });
                }
                return Err(already_exists(&cluster.name));
            }
            if validate_only {
                return Ok(Written { resource: cluster, revision: None });
            }
            cluster.uid = Uuid::now_v7().to_string();
            cluster.create_time = Some(now());
            cluster.update_time = cluster.create_time;
            let value = encode_new(&cluster, request_id.as_ref());
            let txn = Transaction { guards: vec![Guard::absent(&key)], writes: vec![Write::put(key, value)] };
            if let Some(revision) = self.commit(txn).await? {
                cluster.etag = etag(revision);
                return Ok(Written { resource: cluster, revision: Some(revision) });
            }
        }
        Err(write_conflict(&cluster.name))
    }

    /// Changes a cluster. CLUSTER_NOT_FOUND, ETAG_MISMATCH, UNKNOWN_FIELD, and what creating refuses.
    pub async fn update_cluster(&self, update: ClusterUpdate) -> Result<Written<v1::Cluster>, Refusal> {
        let ClusterUpdate { id, given, paths, request_id, validate_only } = update;
        let mask = Mask::of("Cluster", &paths, &given)?;
        let fingerprint = Fingerprint::of(&given).and(&format!("update {:?}", mask.texts));
        let request_id = Request::new(&request_id, fingerprint)?;
        for _ in 0..MAX_ATTEMPTS {
            let stored = self.stored_cluster(&id).await?;
            if stored.is_repeat(request_id.as_ref())? {
                return Ok(Written { revision: Some(stored.mod_revision), resource: stored.resource });
            }
            check_etag(&given.name, &given.etag, &stored.resource.etag)?;
            let mut next = mask.apply(&stored.resource, &given, &[]);
            check::restore_secrets(&mut next.properties, &stored.resource.properties);
            self.check_cluster(&next)?;
            check::credentials(&stored.resource, &given, &next, &mask)?;
            if validate_only {
                return Ok(Written { resource: next, revision: None });
            }
            if next == stored.resource {
                return Ok(Written { resource: next, revision: Some(stored.mod_revision) });
            }
            next.update_time = Some(now());
            let key = keys::cluster(&id);
            let txn = Transaction {
                guards: vec![Guard::unchanged(&key, stored.mod_revision)],
                writes: vec![Write::put(key, stored.replaced_by(&next, request_id.as_ref()))],
            };
            if let Some(revision) = self.commit(txn).await? {
                next.etag = etag(revision);
                return Ok(Written { resource: next, revision: Some(revision) });
            }
        }
        Err(write_conflict(&given.name))
    }

    /// Removes a cluster; returns the revision of the removal. CLUSTER_NOT_FOUND, ETAG_MISMATCH, CLUSTER_IN_USE, REQUEST_ID_REUSED.
    pub async fn delete_cluster(&self, deletion: Deletion<ClusterId>) -> Result<i64, Refusal> {
        let Deletion { id, etag, request_id } = deletion;
        let name = id.name();
        let request_id = Request::new(&request_id, Fingerprint::of_bytes(name.as_bytes()))?;
        for _ in 0..MAX_ATTEMPTS {
            let deletions = self.deletions(request_id.as_ref()).await?;
            if let Some(revision) = deletions.done(request_id.as_ref())? {
                return Ok(revision);
            }
            let stored = self.stored_cluster(&id).await?;
            check_etag(&name, &etag, &stored.resource.etag)?;
            // Read before the mirrors: whoever creates a mirror writes it, so none can appear unseen.
            let creations = self.read(keys::CREATIONS).await?.map_or(0, |entry| entry.mod_revision);
            self.refuse_if_used(&name).await?;
            let key = keys::cluster(&id);
            let mut txn = Transaction {
                guards: vec![
                    Guard::unchanged(&key, stored.mod_revision),
                    Guard::unchanged(keys::CREATIONS, creations),
                ],
                writes: vec![Write::delete(key)],
            };
            deletions.remember(request_id.as_ref(), &mut txn);
            if let Some(revision) = self.commit(txn).await? {
                return Ok(revision);
            }
        }
        Err(write_conflict(&name))
    }

    async fn refuse_if_used(&self, name: &str) -> Result<(), Refusal> {
        let snapshot = self.store.list(keys::MIRRORS).await.map_err(store_failed)?;
        let mut users = Vec::new();
        for entry in &snapshot.entries {
            let mirror = Stored::<v1::Mirror>::decode(entry)?.resource;
            if mirror.source == name || mirror.target == name {
                users.push(mirror.name);
            }
        }
        if users.is_empty() {
            return Ok(());
        }
        let message = format!("{name} is used by {}: delete these mirrors first", users.join(", "));
        Err(Refusal::in_the_way(Reason::CLUSTER_IN_USE, name, message))
    }

    /// Checks a cluster that need not be registered.
    pub fn check_cluster(&self, cluster: &v1::Cluster) -> Result<(), Refusal> {
        check::cluster(cluster, self.literal_secrets).map(|_| ())
    }

    async fn stored_cluster(&self, id: &ClusterId) -> Result<Stored<v1::Cluster>, Refusal> {
        match self.read(&keys::cluster(id)).await? {
            Some(entry) => Stored::decode(&entry),
            None => Err(cluster_not_found(id)),
        }
    }
}

/// Parses `clusters/{id}` from a request's field.
pub(crate) fn cluster_id(field: &str, name: &str) -> Result<ClusterId, Refusal> {
    ClusterId::from_name(name).map_err(|e| invalid(field, e.to_string()))
}

pub(crate) fn cluster_not_found(id: &ClusterId) -> Refusal {
    let message =
        format!("there is no cluster {id}: register it first, or list the clusters to see their ids");
    Refusal::new(Reason::CLUSTER_NOT_FOUND, message, &[("cluster", id.as_str())])
}
