//! Makes clusters and mirrors what flags or a file say: created, changed, or left alone.

use tonic::{Code, Status};
use twinlog_proto::reason::{self, Reason};
use twinlog_proto::v1;

use super::connect::{Connection, request_id};
use super::desired::{Origin, Settings};
use super::failure::{Failure, Kind};
use super::flags;
use super::human;
use super::mirror;
use crate::mm2::{LABEL, LABEL_VALUE};

/// What MirrorMaker's file says about an existing mirror. The immutable ones stand here too, so that a change of theirs is refused.
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
    let refused: Refused = match settings.origin {
        Origin::Flags => |status| flags::refused(&status, OF_RUN),
        Origin::File => Failure::from,
    };
    for cluster in &settings.clusters {
        apply_cluster(connection, cluster).await.map_err(|status| match settings.origin {
            Origin::Flags => flags::refused(&status, of_end(cluster, settings)),
            Origin::File => status.into(),
        })?;
    }
    // What can't change is said, too, so that a change of it is refused.
    let of_flags = [&["source", "target"], &*flags::of_run()].concat();
    let fields = match settings.origin {
        Origin::Flags => &of_flags,
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
        let applied = apply_mirror(connection, mirror, fields).await;
        done.push(applied.map_err(|status| refusal(status, refused, next))?);
    }
    if settings.origin == Origin::File {
        done.extend(pause_absent(connection, settings).await?);
    }
    Ok(done)
}

/// The flags of `run` for what is no setting of a mirror's.
const OF_RUN: &[flags::Field] = &[("mirror.source", "--source-id"), ("mirror.target", "--target-id")];
const OF_SOURCE: &[flags::Field] = &[
    ("cluster_id", "--source-id"),
    ("cluster.bootstrap_servers", "--source"),
    ("cluster.properties", "--source-config"),
];
const OF_TARGET: &[flags::Field] = &[
    ("cluster_id", "--target-id"),
    ("cluster.bootstrap_servers", "--target"),
    ("cluster.properties", "--target-config"),
];

fn of_end(cluster: &v1::Cluster, settings: &Settings) -> &'static [flags::Field] {
    let is_source = settings.mirrors.iter().any(|mirror| mirror.source == cluster.name);
    if is_source { OF_SOURCE } else { OF_TARGET }
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

pub(super) async fn apply_cluster(connection: &Connection, cluster: &v1::Cluster) -> Result<(), Status> {
    put_cluster(connection, cluster, &["bootstrap_servers", "properties"], false).await?;
    Ok(())
}

/// How a refusal is told: with the flags, where flags made the call.
type Refused = fn(Status) -> Failure;

/// What a refusal of a mirror means. `next` is for a mirror that exists, and differs in what can't be changed.
pub(super) fn refusal(status: Status, refused: Refused, next: impl Into<String>) -> Failure {
    match is(&status, Reason::IMMUTABLE_FIELD) {
        true => refused(status).of_kind(Kind::Precondition).next(next),
        false => refused(status),
    }
}

/// Creates the mirror, or changes these fields of it.
pub(super) async fn apply_mirror(
    connection: &Connection,
    mirror: &v1::Mirror,
    fields: &[&str],
) -> Result<String, Status> {
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
    let request_id = request_id();
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

fn is(status: &Status, expected: Reason) -> bool {
    reason::reason_of(status).is_some_and(|reason| reason == expected.as_str())
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
