//! Makes the clusters and the mirror of `twinlog run` what its flags say: created, changed, or left alone.

use twinlog_proto::reason;
use twinlog_proto::v1;

use super::connect::Connection;
use super::failure::{Failure, Kind};
use super::human;
use super::mirror;
use super::run::Settings;

/// Says what was done.
pub(super) async fn apply(connection: &Connection, settings: &Settings) -> Result<String, Failure> {
    let id = settings.mirror_id();
    refuse_foreign(connection, &id, settings).await?;
    for cluster in [&settings.source, &settings.target] {
        apply_cluster(connection, cluster).await?;
    }
    let request = v1::CreateMirrorRequest {
        mirror_id: id.clone(),
        mirror: Some(settings.mirror.clone()),
        ..v1::CreateMirrorRequest::default()
    };
    let flow = format!("{} -> {}", human::id(&settings.source.name), human::id(&settings.target.name));
    match connection.mirrors().create_mirror(request).await {
        Ok(_) => Ok(format!("mirror {id} ({flow}) created")),
        Err(status) if is(&status, "ALREADY_EXISTS") => update_mirror(connection, &id, settings, &flow).await,
        Err(status) => Err(status.into()),
    }
}

/// One data folder is one mirror's: another one in it would keep running unseen.
async fn refuse_foreign(connection: &Connection, id: &str, settings: &Settings) -> Result<(), Failure> {
    match mirror::list(connection).await?.into_iter().find(|mirror| human::id(&mirror.name) != id) {
        None => Ok(()),
        Some(other) => {
            let message = format!(
                "the data folder {} belongs to mirror {} ({} -> {}), not to {id}",
                settings.data.display(),
                human::id(&other.name),
                human::id(&other.source),
                human::id(&other.target),
            );
            Err(Failure::new(Kind::Precondition, message).next(
                "use the --source-id and --target-id it was made with, or another folder with --data DIR",
            ))
        }
    }
}

async fn apply_cluster(connection: &Connection, cluster: &v1::Cluster) -> Result<(), Failure> {
    let request = v1::CreateClusterRequest {
        cluster_id: human::id(&cluster.name),
        cluster: Some(cluster.clone()),
        ..v1::CreateClusterRequest::default()
    };
    match connection.clusters().create_cluster(request).await {
        Ok(_) => return Ok(()),
        Err(status) if is(&status, "ALREADY_EXISTS") => {}
        Err(status) => return Err(status.into()),
    }
    let request = v1::GetClusterRequest { name: cluster.name.clone() };
    let stored = connection.clusters().get_cluster(request).await?.into_inner();
    if stored.bootstrap_servers != cluster.bootstrap_servers || stored.properties != cluster.properties {
        let update_mask = mask(&["bootstrap_servers", "properties"]);
        let cluster = Some(cluster.clone());
        let request =
            v1::UpdateClusterRequest { cluster, update_mask, ..v1::UpdateClusterRequest::default() };
        connection.clusters().update_cluster(request).await?;
    }
    Ok(())
}

/// What flags say about an existing mirror. The immutable ones stand here too, so that a change of theirs is refused.
const FIELDS: &[&str] = &[
    "source",
    "target",
    "naming",
    "guarantee",
    "topics",
    "topics_exclude",
    "groups",
    "sync_group_offsets",
    "start",
    "topic_creation",
    "desired_state",
];

async fn update_mirror(
    connection: &Connection,
    id: &str,
    settings: &Settings,
    flow: &str,
) -> Result<String, Failure> {
    let name = format!("mirrors/{id}");
    let get = v1::GetMirrorRequest { name: name.clone() };
    let before = connection.mirrors().get_mirror(get).await?.into_inner();
    let request = v1::UpdateMirrorRequest {
        mirror: Some(v1::Mirror { name, ..settings.mirror.clone() }),
        update_mask: mask(FIELDS),
        ..v1::UpdateMirrorRequest::default()
    };
    match connection.mirrors().update_mirror(request).await {
        Ok(after) if after.get_ref().etag == before.etag => Ok(format!("mirror {id} ({flow}) goes on")),
        Ok(_) => Ok(format!("mirror {id} ({flow}) changed, and goes on")),
        Err(status) if is(&status, "IMMUTABLE_FIELD") => Err(Failure::new(Kind::Precondition, status.message()).next(format!(
            "start it as before, or make another mirror: other ids (--source-id, --target-id) and another --data DIR than {}",
            settings.data.display()
        ))),
        Err(status) => Err(status.into()),
    }
}

fn mask(paths: &[&str]) -> Option<prost_types::FieldMask> {
    Some(prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
}

fn is(status: &tonic::Status, expected: &str) -> bool {
    reason::reason_of(status).is_some_and(|reason| reason == expected)
}
