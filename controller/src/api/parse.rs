//! Requests that change something, parsed: what they ask of the catalog. INVALID_FIELD names what can't be.

use twinlog_proto::id::{ClusterId, MirrorId};
use twinlog_proto::v1;

use crate::catalog::change::{
    ClusterCreation, ClusterUpdate, Creation, Deletion, MirrorCreation, MirrorUpdate, Turn, Update,
};
use crate::catalog::{cluster_id, mirror_id};
use crate::refusal::{Refusal, invalid};

impl TryFrom<v1::CreateClusterRequest> for ClusterCreation {
    type Error = Refusal;

    fn try_from(request: v1::CreateClusterRequest) -> Result<Self, Refusal> {
        let v1::CreateClusterRequest { cluster_id, cluster, request_id, validate_only } = request;
        let id = ClusterId::new(&cluster_id).map_err(|e| invalid("cluster_id", e.to_string()))?;
        let resource = given("cluster", cluster)?;
        one_name("cluster", &resource.name, &id.name())?;
        Ok(Creation { id, resource, request_id, validate_only })
    }
}

impl TryFrom<v1::CreateMirrorRequest> for MirrorCreation {
    type Error = Refusal;

    fn try_from(request: v1::CreateMirrorRequest) -> Result<Self, Refusal> {
        let v1::CreateMirrorRequest { mirror_id, mirror, request_id, validate_only } = request;
        let id = MirrorId::new(&mirror_id).map_err(|e| invalid("mirror_id", e.to_string()))?;
        let resource = given("mirror", mirror)?;
        one_name("mirror", &resource.name, &id.name())?;
        Ok(Creation { id, resource, request_id, validate_only })
    }
}

impl TryFrom<v1::UpdateClusterRequest> for ClusterUpdate {
    type Error = Refusal;

    fn try_from(request: v1::UpdateClusterRequest) -> Result<Self, Refusal> {
        let v1::UpdateClusterRequest { cluster, update_mask, request_id, validate_only } = request;
        let given = given("cluster", cluster)?;
        let id = cluster_id("cluster.name", &given.name)?;
        Ok(Update { id, given, paths: paths(update_mask), request_id, validate_only })
    }
}

impl TryFrom<v1::UpdateMirrorRequest> for MirrorUpdate {
    type Error = Refusal;

    fn try_from(request: v1::UpdateMirrorRequest) -> Result<Self, Refusal> {
        let v1::UpdateMirrorRequest { mirror, update_mask, request_id, validate_only } = request;
        let given = given("mirror", mirror)?;
        let id = mirror_id("mirror.name", &given.name)?;
        Ok(Update { id, given, paths: paths(update_mask), request_id, validate_only })
    }
}

impl TryFrom<v1::DeleteClusterRequest> for Deletion<ClusterId> {
    type Error = Refusal;

    fn try_from(request: v1::DeleteClusterRequest) -> Result<Self, Refusal> {
        let v1::DeleteClusterRequest { name, etag, request_id } = request;
        Ok(Self { id: cluster_id("name", &name)?, etag, request_id })
    }
}

impl TryFrom<v1::DeleteMirrorRequest> for Deletion<MirrorId> {
    type Error = Refusal;

    fn try_from(request: v1::DeleteMirrorRequest) -> Result<Self, Refusal> {
        let v1::DeleteMirrorRequest { name, etag, request_id } = request;
        Ok(Self { id: mirror_id("name", &name)?, etag, request_id })
    }
}

impl TryFrom<v1::PauseMirrorRequest> for Turn {
    type Error = Refusal;

    fn try_from(request: v1::PauseMirrorRequest) -> Result<Self, Refusal> {
        let v1::PauseMirrorRequest { name, etag, by, request_id } = request;
        Ok(Self { id: mirror_id("name", &name)?, to: v1::DesiredState::Paused, by, etag, request_id })
    }
}

impl TryFrom<v1::ResumeMirrorRequest> for Turn {
    type Error = Refusal;

    fn try_from(request: v1::ResumeMirrorRequest) -> Result<Self, Refusal> {
        let v1::ResumeMirrorRequest { name, etag, request_id } = request;
        let by = String::new();
        Ok(Self { id: mirror_id("name", &name)?, to: v1::DesiredState::Running, by, etag, request_id })
    }
}

fn given<T>(field: &str, resource: Option<T>) -> Result<T, Refusal> {
    resource.ok_or_else(|| invalid(field, "is missing"))
}

/// A name may be left out: the id says it.
fn one_name(field: &str, name: &str, by_id: &str) -> Result<(), Refusal> {
    match name.is_empty() || name == by_id {
        true => Ok(()),
        false => {
            Err(invalid(&format!("{field}.name"), format!("is {name:?}, but {field}_id says {by_id:?}")))
        }
    }
}

fn paths(mask: Option<prost_types::FieldMask>) -> Vec<String> {
    mask.unwrap_or_default().paths
}
