//! Makes clusters and mirrors what flags or a file say: created, changed, or left alone.

use tonic::{Code, Status};
use twinlog_proto::reason;
use twinlog_proto::v1;

use super::connect::Connection;
use super::desired::{Origin, Settings};
use super::failure::{Failure, Kind};
use super::human;
use super::mirror;
use crate::mm2::{LABEL, LABEL_VALUE};

/// What flags say about an existing mirror. The immutable ones stand here too, so that a change of theirs is refused.
const FLAG_FIELDS: &[&str] = &[
    "source",
    "target",
    "naming",
    "guarantee",
    "partitioning",
    "topics",
    "topics_exclude",
    "groups",
    "sync_group_offsets",
    "sync_group_offsets_to_source",
    "start",
    "topic_creation",
    "config_sync",
    "acl_sync",
    "allow_loops",
    "onto_existing",
    "allow_foreign_writes",
    "engine",
];

/// What MirrorMaker's file says; the same rule.
pub(super) const FILE_FIELDS: &[&str] = &[
    "source",
    "target",
    "naming",
    "guarantee",
    "topics",
    "topics_exclude",
    "groups",
    "groups_exclude",
    "sync_group_offsets",
    "start",
    "heartbeats",
    "topic_creation",
    "refresh",
    "offset_syncs",
    "compression",
    "config_sync",
    "acl_sync",
    "checkpoints",
    "allow_loops",
    "source_properties",
    "target_properties",
    "take_over",
];

/// Says what was done, a line for each mirror.
///
/// Whether a mirror runs is not among it, unless a file says or once said so: a pause is kept until someone resumes.
pub(super) async fn apply(connection: &Connection, settings: &Settings) -> Result<Vec<String>, Failure> {
    let mut done = Vec::new();
    if settings.origin == Origin::Flags {
        refuse_foreign(connection, settings).await?;
    }
    for cluster in &settings.clusters {
        apply_cluster(connection, cluster).await?;
    }
    let fields = match settings.origin {
        Origin::Flags => FLAG_FIELDS,
        Origin::File => FILE_FIELDS,
    };
    for mirror in &settings.mirrors {
        let next = match settings.origin {
            Origin::Flags => format!(
                "start it as before, or make another mirror: other ids (--source-id, --target-id) and another --data DIR than {}",
                settings.data.display()
            ),
            Origin::File => format!(
                "undo that change in the file, or keep another state with --data DIR than {}",
                settings.data.display()
            ),
        };
        done.push(
            apply_mirror(connection, mirror, fields).await.map_err(|failure| immutable(failure, next))?,
        );
    }
    if settings.origin == Origin::File {
        done.extend(pause_absent(connection, settings).await?);
    }
    Ok(done)
}

fn immutable(failure: ApplyFailure, next: String) -> Failure {
    match failure {
        ApplyFailure::Immutable(message) => Failure::new(Kind::Precondition, message).next(next),
        ApplyFailure::Other(failure) => failure,
    }
}

/// A data folder of flags is one mirror's: another one in it would keep running unseen.
async fn refuse_foreign(connection: &Connection, settings: &Settings) -> Result<(), Failure> {
    let name = &settings.mirrors[0].name;
    match mirror::mirrors(connection).await?.into_iter().find(|mirror| mirror.name != *name) {
        None => Ok(()),
        Some(other) => {
            let message = format!(
                "the data folder {} belongs to mirror {} ({} -> {}), not to {}",
                settings.data.display(),
                human::id(&other.name),
                human::id(&other.source),
                human::id(&other.target),
                human::id(name),
            );
            let mirror = &settings.mirrors[0];
            let next = match other.source == mirror.target && other.target == mirror.source {
                // With its ids, the other direction would run again.
                true => "keep this direction's state in a folder of its own: --data DIR",
                false => {
                    "use the --source-id and --target-id it was made with, or another folder with --data DIR"
                }
            };
            Err(Failure::new(Kind::Precondition, message).next(next))
        }
    }
}

/// Flows that have gone from the file stop, and keep their place.
async fn pause_absent(connection: &Connection, settings: &Settings) -> Result<Vec<String>, Failure> {
    let mut paused = Vec::new();
    for mirror in mirror::mirrors(connection).await? {
        let imported = mirror.labels.get(LABEL).is_some_and(|value| value == LABEL_VALUE);
        let present = settings.mirrors.iter().any(|other| other.name == mirror.name);
        if present || !imported || mirror.desired_state() == v1::DesiredState::Paused {
            continue;
        }
        set_state(connection, &mirror, Next::Pause).await?;
        let id = human::id(&mirror.name);
        paused.push(format!("mirror {id} ({}) is not in the file any more: paused", flow(&mirror)));
    }
    Ok(paused)
}

pub(super) async fn apply_cluster(connection: &Connection, cluster: &v1::Cluster) -> Result<(), Failure> {
    put_cluster(connection, cluster, &["bootstrap_servers", "properties"], false).await?;
    Ok(())
}

/// Why a mirror could not be made what it should be.
pub(super) enum ApplyFailure {
    /// It exists, and differs in what can't be changed.
    Immutable(String),
    Other(Failure),
}

impl From<Status> for ApplyFailure {
    fn from(status: Status) -> Self {
        match is(&status, "IMMUTABLE_FIELD") {
            true => Self::Immutable(status.message().to_owned()),
            false => Self::Other(status.into()),
        }
    }
}

/// Creates the mirror, or changes these fields of it.
pub(super) async fn apply_mirror(
    connection: &Connection,
    mirror: &v1::Mirror,
    fields: &[&str],
) -> Result<String, ApplyFailure> {
    let (id, flow) = (human::id(&mirror.name), flow(mirror));
    let (before, after) = put_mirror(connection, mirror, fields, false).await?;
    let Some(before) = before else { return Ok(format!("mirror {id} ({flow}) created")) };
    let next = next_state(mirror.desired_state(), &after);
    set_state(connection, &after, next).await?;
    let does = match next {
        Next::Same => "goes on".to_owned(),
        Next::Pause => "is paused, as the file says".to_owned(),
        Next::Resume => "is resumed: a file had paused it".to_owned(),
        Next::StaysPaused => stays_paused(connection, &id),
    };
    Ok(match after.etag == before.etag {
        true => format!("mirror {id} ({flow}) {does}"),
        false => format!("mirror {id} ({flow}) changed, and {does}"),
    })
}

/// What becomes of a mirror's desired state when a file or flags are applied to it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Same,
    Pause,
    Resume,
    /// Someone paused it: only someone resumes it.
    StaysPaused,
}

pub(super) fn next_state(wanted: v1::DesiredState, now: &v1::Mirror) -> Next {
    let paused = now.desired_state() == v1::DesiredState::Paused;
    match (wanted, paused) {
        (v1::DesiredState::Paused, false) => Next::Pause,
        (v1::DesiredState::Running, true) if !now.paused_by.is_empty() => Next::Resume,
        (_, true) => Next::StaysPaused,
        (_, false) => Next::Same,
    }
}

/// Answers with the mirror where it was changed.
pub(super) async fn set_state(
    connection: &Connection,
    mirror: &v1::Mirror,
    next: Next,
) -> Result<Option<v1::Mirror>, Status> {
    let (mut client, name, etag) = (connection.mirrors(), mirror.name.clone(), String::new());
    let request_id = uuid::Uuid::new_v4().to_string();
    Ok(match next {
        Next::Pause => {
            let by = "file".to_owned();
            Some(
                client
                    .pause_mirror(v1::PauseMirrorRequest { name, etag, by, request_id })
                    .await?
                    .into_inner(),
            )
        }
        Next::Resume => {
            Some(client.resume_mirror(v1::ResumeMirrorRequest { name, etag, request_id }).await?.into_inner())
        }
        Next::Same | Next::StaysPaused => None,
    })
}

/// With the command that resumes, as it works here.
pub(super) fn stays_paused(connection: &Connection, id: &str) -> String {
    format!("stays paused, as someone left it; resume it with: {} mirror resume {id}", connection.command())
}

/// Creates the cluster, or changes these fields of it. Answers with what was there before, and what is there now (`validate_only`:
/// would be).
pub(super) async fn put_cluster(
    connection: &Connection,
    cluster: &v1::Cluster,
    fields: &[impl AsRef<str>],
    validate_only: bool,
) -> Result<(Option<v1::Cluster>, v1::Cluster), Status> {
    let mut client = connection.clusters();
    let before = client.get_cluster(v1::GetClusterRequest { name: cluster.name.clone() }).await;
    let Some(before) = existing(before)? else {
        let request = v1::CreateClusterRequest {
            cluster_id: human::id(&cluster.name),
            cluster: Some(cluster.clone()),
            validate_only,
            ..v1::CreateClusterRequest::default()
        };
        return Ok((None, client.create_cluster(request).await?.into_inner()));
    };
    let request = v1::UpdateClusterRequest {
        cluster: Some(cluster.clone()),
        update_mask: mask(fields),
        validate_only,
        ..v1::UpdateClusterRequest::default()
    };
    Ok((Some(before), client.update_cluster(request).await?.into_inner()))
}

/// The same for mirrors.
pub(super) async fn put_mirror(
    connection: &Connection,
    mirror: &v1::Mirror,
    fields: &[impl AsRef<str>],
    validate_only: bool,
) -> Result<(Option<v1::Mirror>, v1::Mirror), Status> {
    let mut client = connection.mirrors();
    let before = client.get_mirror(v1::GetMirrorRequest { name: mirror.name.clone() }).await;
    let Some(before) = existing(before)? else {
        let request = v1::CreateMirrorRequest {
            mirror_id: human::id(&mirror.name),
            mirror: Some(mirror.clone()),
            validate_only,
            ..v1::CreateMirrorRequest::default()
        };
        return Ok((None, client.create_mirror(request).await?.into_inner()));
    };
    let request = v1::UpdateMirrorRequest {
        mirror: Some(mirror.clone()),
        update_mask: mask(fields),
        validate_only,
        ..v1::UpdateMirrorRequest::default()
    };
    Ok((Some(before), client.update_mirror(request).await?.into_inner()))
}

fn existing<M>(answer: Result<tonic::Response<M>, Status>) -> Result<Option<M>, Status> {
    match answer {
        Ok(found) => Ok(Some(found.into_inner())),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}

fn flow(mirror: &v1::Mirror) -> String {
    format!("{} -> {}", human::id(&mirror.source), human::id(&mirror.target))
}

fn mask(paths: &[impl AsRef<str>]) -> Option<prost_types::FieldMask> {
    Some(prost_types::FieldMask { paths: paths.iter().map(|path| path.as_ref().to_owned()).collect() })
}

fn is(status: &Status, expected: &str) -> bool {
    reason::reason_of(status).is_some_and(|reason| reason == expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pause is kept until someone resumes; what a file paused, a file resumes.
    #[test]
    fn a_pause_is_kept_until_someone_resumes() {
        use v1::DesiredState::{Paused, Running, Unspecified};
        let next = |wanted, now: v1::DesiredState, by: &str| {
            let now =
                v1::Mirror { desired_state: now.into(), paused_by: by.to_owned(), ..Default::default() };
            next_state(wanted, &now)
        };
        for wanted in [Running, Unspecified] {
            assert_eq!(next(wanted, Paused, ""), Next::StaysPaused);
            assert_eq!(next(wanted, Running, ""), Next::Same);
        }
        assert_eq!(next(Running, Paused, "file"), Next::Resume);
        assert_eq!(next(Unspecified, Paused, "file"), Next::StaysPaused, "nothing says that it shall run");
        assert_eq!(next(Paused, Running, ""), Next::Pause);
        assert_eq!(next(Paused, Paused, ""), Next::StaysPaused);
    }
}
