//! Writing mirrors.

use std::collections::BTreeMap;

use twinlog_proto::id::MirrorId;
use twinlog_proto::model::{self, DEFAULT_BLOCK_SIZE};
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;
use uuid::Uuid;

use super::change::{Deletion, MirrorCreation, MirrorUpdate, Turn};
use super::cluster::cluster_not_found;
use super::mask::Mask;
use super::places::{self, Aliases, Places};
use super::request::{Fingerprint, Request};
use super::stored::{Resource, Stored, encode_new};
use super::{
    Catalog, MAX_ATTEMPTS, Written, already_exists, check, check_etag, loops, now, overlap, store_failed,
    write_conflict,
};
use crate::keys;
use crate::refusal::{Refusal, invalid};
use crate::state::{State, etag};
use crate::store::{Entry, Guard, Transaction, Write};

impl Catalog {
    /// Creates a mirror. INVALID_FIELD, INVALID_PATTERN, SOURCE_IS_TARGET, CLUSTER_NOT_FOUND, ALREADY_EXISTS,
    /// REQUEST_ID_REUSED, TARGET_OVERLAP, LOOP. `state` is what surveys have found for the other mirrors, `aliases` what a worker
    /// has found of this mirror's clusters.
    pub async fn create_mirror(
        &self,
        creation: MirrorCreation,
        state: &State,
        aliases: &Aliases,
    ) -> Result<Written<v1::Mirror>, Refusal> {
        let MirrorCreation { id, resource: mut mirror, request_id, validate_only } = creation;
        mirror.name = id.name();
        mirror.plan = None;
        mirror.output().clear();
        mirror.paused_by.clear();
        mirror.heartbeats_carried_by.clear();
        mirror.desired_state_time = None;
        let request_id = Request::new(&request_id, Fingerprint::of(&mirror))?;
        pin_defaults(&mut mirror);
        // What is checked is what is stored.
        let model = self.checked(&mirror).await?;
        if mirror.desired_state() == v1::DesiredState::Paused {
            PAUSED_BY_CREATION.clone_into(&mut mirror.paused_by);
        }

        for _ in 0..MAX_ATTEMPTS {
            let key = keys::mirror(&id);
            if let Some(entry) = self.read(&key).await? {
                let existing = Stored::<v1::Mirror>::decode(&entry)?;
                if existing.is_repeat(request_id.as_ref())? {
                    return Ok(Written { resource: existing.resource, revision: Some(entry.mod_revision) });
                }
                return Err(already_exists(&mirror.name));
            }
            let mut guards = vec![Guard::absent(&key)];
            guards.extend(self.cluster_guards(&model, &mirror).await?);
            // Patterns that overlap are only warned of, in plans: there may never be such a topic.
            let overlaps = overlap::find(&model, state, &Places::proven(&places::stored(state), aliases));
            if let Some(double) = overlaps.iter().find(|overlap| overlap.same_source && overlap.found) {
                return Err(Refusal::in_the_way(Reason::TARGET_OVERLAP, &mirror.name, double.message()));
            }
            guards.push(self.refuse_circles(&model, state, aliases).await?);
            // What is refused is refused to plans, too.
            if validate_only {
                return Ok(Written { resource: mirror, revision: None });
            }
            mirror.uid = Uuid::now_v7().to_string();
            mirror.create_time = Some(now());
            mirror.update_time = mirror.create_time;
            mirror.desired_state_time = mirror.create_time;
            let value = encode_new(&mirror, request_id.as_ref());
            // CREATIONS changes with every creation, so that no cluster is deleted under a mirror that it didn't see, and no two
            // mirrors close a circle between them.
            let writes = vec![Write::put(key, value), Write::put(keys::CREATIONS, mirror.uid.clone())];
            if let Some(revision) = self.commit(Transaction { guards, writes }).await? {
                mirror.etag = etag(revision);
                return Ok(Written { resource: mirror, revision: Some(revision) });
            }
        }
        Err(write_conflict(&mirror.name))
    }

    /// Changes a mirror. MIRROR_NOT_FOUND, ETAG_MISMATCH, UNKNOWN_FIELD, IMMUTABLE_FIELD, LOOP, and what creating refuses.
    pub async fn update_mirror(
        &self,
        update: MirrorUpdate,
        state: &State,
    ) -> Result<Written<v1::Mirror>, Refusal> {
        let MirrorUpdate { id, mut given, paths, request_id, validate_only } = update;
        given.plan = None;
        let mask = Mask::of("Mirror", &paths, &given)?;
        let fingerprint = Fingerprint::of(&given).and(&format!("update {:?}", mask.texts));
        let request_id = Request::new(&request_id, fingerprint)?;
        let keep = [&["desired_state"], IMMUTABLE].concat();
        let change = |stored: &v1::Mirror| {
            let mut next = mask.apply(stored, &given, &keep);
            refuse_immutable(stored, &mut next)?;
            if next.desired_state != stored.desired_state {
                next.paused_by.clear();
            }
            Ok(next)
        };
        self.change_mirror(&id, &given.etag, request_id, validate_only, Some(state), change).await
    }

    /// Pauses or resumes a mirror; doing it twice is no error. MIRROR_NOT_FOUND, ETAG_MISMATCH, INVALID_FIELD, REQUEST_ID_REUSED.
    pub async fn turn_mirror(&self, turn: Turn) -> Result<Written<v1::Mirror>, Refusal> {
        let Turn { id, to: state, by, etag, request_id } = turn;
        if !["", PAUSED_BY_FILE].contains(&by.as_str()) {
            return Err(invalid("by", format!("{by:?} is none: leave it out, or give {PAUSED_BY_FILE:?}")));
        }
        let fingerprint = Fingerprint::of_bytes(format!("{} {by}", state.short_name()).as_bytes());
        let request_id = Request::new(&request_id, fingerprint)?;
        let change = |stored: &v1::Mirror| {
            // What a person paused stays a person's.
            let again = stored.desired_state == i32::from(state) && !by.is_empty();
            let paused_by = if again { stored.paused_by.clone() } else { by.clone() };
            Ok(v1::Mirror { desired_state: state.into(), paused_by, ..stored.clone() })
        };
        self.change_mirror(&id, &etag, request_id, false, None, change).await
    }

    /// `state`: given where the change may close a circle.
    async fn change_mirror(
        &self,
        id: &MirrorId,
        given_etag: &str,
        request_id: Option<Request>,
        validate_only: bool,
        state: Option<&State>,
        change: impl Fn(&v1::Mirror) -> Result<v1::Mirror, Refusal>,
    ) -> Result<Written<v1::Mirror>, Refusal> {
        for _ in 0..MAX_ATTEMPTS {
            let stored = self.stored_mirror(id).await?;
            if stored.is_repeat(request_id.as_ref())? {
                return Ok(Written { revision: Some(stored.mod_revision), resource: stored.resource });
            }
            check_etag(&id.name(), given_etag, &stored.resource.etag)?;
            let mut next = change(&stored.resource)?;
            next.desired_state_time = stored.resource.desired_state_time;
            let model = self.checked(&next).await?;
            let has_properties = !(next.source_properties.is_empty() && next.target_properties.is_empty());
            let clusters = match has_properties {
                true => self.cluster_guards(&model, &next).await?,
                false => Vec::new(),
            };
            if validate_only {
                if let Some(state) = state {
                    self.refuse_circles(&model, state, &Aliases::new()).await?;
                }
                return Ok(Written { resource: next, revision: None });
            }
            if next == stored.resource {
                return Ok(Written { resource: next, revision: Some(stored.mod_revision) });
            }
            next.update_time = Some(now());
            if next.desired_state != stored.resource.desired_state {
                next.desired_state_time = next.update_time;
            }
            let key = keys::mirror(id);
            let mut txn = Transaction {
                guards: [vec![Guard::unchanged(&key, stored.mod_revision)], clusters].concat(),
                writes: vec![Write::put(key, stored.replaced_by(&next, request_id.as_ref()))],
            };
            if let Some(state) = state.filter(|_| may_close_circles(&stored.resource, &next)) {
                txn.guards.push(self.refuse_circles(&model, state, &Aliases::new()).await?);
                txn.writes.push(Write::put(keys::CREATIONS, Uuid::now_v7().to_string()));
            }
            if let Some(revision) = self.commit(txn).await? {
                next.etag = etag(revision);
                return Ok(Written { resource: next, revision: Some(revision) });
            }
        }
        Err(write_conflict(&id.name()))
    }

    /// Deletes a mirror; returns the revision of the deletion. MIRROR_NOT_FOUND, ETAG_MISMATCH, REQUEST_ID_REUSED.
    pub async fn delete_mirror(&self, deletion: Deletion<MirrorId>) -> Result<i64, Refusal> {
        let Deletion { id, etag, request_id } = deletion;
        let name = id.name();
        let request_id = Request::new(&request_id, Fingerprint::of_bytes(name.as_bytes()))?;
        for _ in 0..MAX_ATTEMPTS {
            let deletions = self.deletions(request_id.as_ref()).await?;
            if let Some(revision) = deletions.done(request_id.as_ref())? {
                return Ok(revision);
            }
            let stored = self.stored_mirror(&id).await?;
            check_etag(&name, &etag, &stored.resource.etag)?;
            let key = keys::mirror(&id);
            let mut txn = Transaction {
                guards: vec![Guard::unchanged(&key, stored.mod_revision)],
                writes: vec![Write::delete(key)],
            };
            deletions.remember(request_id.as_ref(), &mut txn);
            if let Some(revision) = self.commit(txn).await? {
                return Ok(revision);
            }
        }
        Err(write_conflict(&name))
    }

    async fn checked(&self, mirror: &v1::Mirror) -> Result<model::Mirror, Refusal> {
        let mirror = mirror.clone();
        self.apart(move || check::mirror(&mirror)).await
    }

    /// A mirror that was checked before.
    pub(crate) async fn parsed(&self, mirror: &v1::Mirror) -> Result<model::Mirror, Refusal> {
        let mirror = mirror.clone();
        let parsed = self.apart(move || model::Mirror::parse(&mirror)).await;
        parsed.map_err(|violations| invalid("mirror", format!("{violations:?}")))
    }

    async fn stored_mirror(&self, id: &MirrorId) -> Result<Stored<v1::Mirror>, Refusal> {
        match self.read(&keys::mirror(id)).await? {
            Some(entry) => Stored::decode(&entry),
            None => Err(mirror_not_found(id)),
        }
    }

    /// LOOP where the mirror would close a circle with what the store holds now. The guard holds until another mirror is made or
    /// selects something else.
    async fn refuse_circles(
        &self,
        model: &model::Mirror,
        state: &State,
        aliases: &Aliases,
    ) -> Result<Guard, Refusal> {
        let places = Places::likely(state, aliases);
        let last = self.read(keys::CREATIONS).await?.map(|entry| entry.mod_revision);
        if !model.allow_loops && self.circle(model, state, &places, last.unwrap_or(0)).await?.is_some() {
            // A mirror that was deleted a moment ago may still be in the cache.
            let stored = self.stored_mirrors().await?;
            if let Some(circle) = loops::find(model, &stored.iter().collect::<Vec<_>>(), state, &places) {
                return Err(Refusal::in_the_way(Reason::LOOP, model.id.name(), circle.message()));
            }
        }
        Ok(match last {
            Some(revision) => Guard::unchanged(keys::CREATIONS, revision),
            None => Guard::absent(keys::CREATIONS),
        })
    }

    /// By the mirrors in the cache, which are compiled already; by those in the store where the cache doesn't know the last one.
    async fn circle(
        &self,
        model: &model::Mirror,
        state: &State,
        places: &Places<'_>,
        last_created: i64,
    ) -> Result<Option<loops::Circle>, Refusal> {
        if state.revision >= last_created {
            let others: Vec<&model::Mirror> = state.mirrors.values().map(|m| m.model.as_ref()).collect();
            return Ok(loops::find(model, &others, state, places));
        }
        let others = self.stored_mirrors().await?;
        Ok(loops::find(model, &others.iter().collect::<Vec<_>>(), state, places))
    }

    async fn stored_mirrors(&self) -> Result<Vec<model::Mirror>, Refusal> {
        let stored = self.store.list(keys::MIRRORS).await.map_err(store_failed)?;
        let parse = |entry: &Entry| {
            let wire = Stored::<v1::Mirror>::decode(entry).ok()?.resource;
            model::Mirror::parse(&wire).ok()
        };
        Ok(self.apart(move || stored.entries.iter().filter_map(parse).collect()).await)
    }

    /// Hold as long as both clusters are there and unchanged. CREDENTIALS_REQUIRED where the mirror's own properties would send
    /// theirs elsewhere.
    async fn cluster_guards(
        &self,
        model: &model::Mirror,
        mirror: &v1::Mirror,
    ) -> Result<Vec<Guard>, Refusal> {
        let mut guards = Vec::new();
        for (id, field, overlay) in [
            (&model.source, "source_properties", &mirror.source_properties),
            (&model.target, "target_properties", &mirror.target_properties),
        ] {
            let key = keys::cluster(id);
            let entry = self.read(&key).await?.ok_or_else(|| cluster_not_found(id))?;
            check::overlay(field, overlay, &Stored::<v1::Cluster>::decode(&entry)?.resource)?;
            guards.push(Guard::unchanged(key, entry.mod_revision));
        }
        Ok(guards)
    }
}

/// `Mirror.paused_by`.
const PAUSED_BY_CREATION: &str = "creation";
const PAUSED_BY_FILE: &str = "file";

/// Whether a change is of what decides which records go where.
fn may_close_circles(before: &v1::Mirror, next: &v1::Mirror) -> bool {
    let decides = |m: &v1::Mirror| {
        let heartbeats = m.heartbeats.unwrap_or_default();
        (m.topics.clone(), m.topics_exclude.clone(), m.naming.clone(), m.allow_loops, heartbeats.replicate)
    };
    decides(before) != decides(next)
}

/// Of a value in an error, characters.
const MAX_SHOWN: usize = 200;
/// What identifies ranges and the names of topics. Where a call has no value for them, they stay.
const IMMUTABLE: &[&str] = &["source", "target", "guarantee", "partitioning", "block_size", "naming"];

/// Writes down the defaults of what can't change later, so that another default in a later version changes nothing.
fn pin_defaults(mirror: &mut v1::Mirror) {
    let naming = mirror.naming.get_or_insert_default();
    if naming.kind == 0 {
        naming.set_kind(v1::naming::Kind::Prefix);
    }
    if naming.separator.is_empty() && !naming.no_separator {
        ".".clone_into(&mut naming.separator);
    }
    if naming.internal_topics == 0 {
        naming.set_internal_topics(v1::naming::InternalTopics::Mm2Only);
    }
    naming.separator_in_internal_topics.get_or_insert(true);
    if mirror.guarantee == 0 {
        mirror.set_guarantee(v1::Guarantee::ExactlyOnce);
    }
    if mirror.partitioning == 0 {
        mirror.set_partitioning(v1::Partitioning::Preserve);
    }
    if mirror.block_size == 0 {
        mirror.block_size = DEFAULT_BLOCK_SIZE.cast_signed();
    }
    if mirror.desired_state == 0 {
        mirror.set_desired_state(v1::DesiredState::Running);
    }
}

/// IMMUTABLE_FIELD names every field of `next` that can't become what it is there; the others stay as they are stored.
fn refuse_immutable(stored: &v1::Mirror, next: &mut v1::Mirror) -> Result<(), Refusal> {
    let changed = immutable(stored).into_iter().zip(immutable(next)).filter(|(now, given)| now != given);
    let refuse = |((field, now), _): ((&str, String), _)| {
        let shown: String = now.chars().take(MAX_SHOWN).collect();
        (format!("mirror.{field}"), format!("can't change, it is {shown}: create another mirror for that"))
    };
    let violations: Vec<_> = changed.map(refuse).collect();
    if !violations.is_empty() {
        return Err(Refusal::of_fields(Reason::IMMUTABLE_FIELD, violations));
    }
    next.naming.clone_from(&stored.naming);
    (next.guarantee, next.partitioning, next.block_size) =
        (stored.guarantee, stored.partitioning, stored.block_size);
    Ok(())
}

/// Every field that can't change, with its value as text.
fn immutable(mirror: &v1::Mirror) -> [(&'static str, String); 10] {
    let mut mirror = mirror.clone();
    pin_defaults(&mut mirror);
    let naming = mirror.naming.take().unwrap_or_default();
    let name = |known: Option<&str>, number: i32| known.map_or_else(|| number.to_string(), str::to_owned);
    let kind = v1::naming::Kind::try_from(naming.kind).ok();
    let internal = v1::naming::InternalTopics::try_from(naming.internal_topics).ok();
    let guarantee = v1::Guarantee::try_from(mirror.guarantee).ok();
    let partitioning = v1::Partitioning::try_from(mirror.partitioning).ok();
    [
        ("source", mirror.source),
        ("target", mirror.target),
        ("guarantee", name(guarantee.map(|g| g.short_name()), mirror.guarantee)),
        ("partitioning", name(partitioning.map(|p| p.short_name()), mirror.partitioning)),
        ("block_size", mirror.block_size.to_string()),
        ("naming.kind", name(kind.map(|k| k.short_name()), naming.kind)),
        ("naming.separator", format!("{:?}", naming.separator)),
        ("naming.map", format!("{:?}", BTreeMap::from_iter(&naming.map))),
        ("naming.internal_topics", name(internal.map(|i| i.short_name()), naming.internal_topics)),
        ("naming.separator_in_internal_topics", naming.separator_in_internal_topics().to_string()),
    ]
}

/// Parses `mirrors/{id}` from a request's field.
pub(crate) fn mirror_id(field: &str, name: &str) -> Result<MirrorId, Refusal> {
    MirrorId::from_name(name).map_err(|e| invalid(field, e.to_string()))
}

pub(crate) fn mirror_not_found(id: &MirrorId) -> Refusal {
    let message = format!("there is no mirror {id}: list the mirrors to see their ids");
    Refusal::new(Reason::MIRROR_NOT_FOUND, message, &[("mirror", id.as_str())])
}
