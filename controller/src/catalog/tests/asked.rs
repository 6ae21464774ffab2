//! The catalog as it is asked through the API: requests parsed at the edge.

use super::*;

impl Catalog {
    pub(super) async fn ask_create_cluster(
        &self,
        request: v1::CreateClusterRequest,
    ) -> Result<Written<v1::Cluster>, Refusal> {
        self.create_cluster(request.try_into()?).await
    }

    pub(super) async fn ask_update_cluster(
        &self,
        request: v1::UpdateClusterRequest,
    ) -> Result<Written<v1::Cluster>, Refusal> {
        self.update_cluster(request.try_into()?).await
    }

    pub(super) async fn ask_delete_cluster(&self, request: v1::DeleteClusterRequest) -> Result<i64, Refusal> {
        self.delete_cluster(request.try_into()?).await
    }

    pub(super) async fn ask_create_mirror(
        &self,
        request: v1::CreateMirrorRequest,
        state: &State,
        aliases: &Aliases,
    ) -> Result<Written<v1::Mirror>, Refusal> {
        self.create_mirror(request.try_into()?, state, aliases).await
    }

    pub(super) async fn ask_update_mirror(
        &self,
        request: v1::UpdateMirrorRequest,
        state: &State,
    ) -> Result<Written<v1::Mirror>, Refusal> {
        self.update_mirror(request.try_into()?, state).await
    }

    pub(super) async fn ask_delete_mirror(&self, request: v1::DeleteMirrorRequest) -> Result<i64, Refusal> {
        self.delete_mirror(request.try_into()?).await
    }

    pub(super) async fn ask_pause_mirror(
        &self,
        name: &str,
        etag: &str,
        request_id: &str,
    ) -> Result<Written<v1::Mirror>, Refusal> {
        let (name, etag, request_id) = (name.to_owned(), etag.to_owned(), request_id.to_owned());
        let request = v1::PauseMirrorRequest { name, etag, request_id, by: String::new() };
        self.turn_mirror(request.try_into()?).await
    }

    pub(super) async fn ask_resume_mirror(
        &self,
        name: &str,
        etag: &str,
        request_id: &str,
    ) -> Result<Written<v1::Mirror>, Refusal> {
        let (name, etag, request_id) = (name.to_owned(), etag.to_owned(), request_id.to_owned());
        let request = v1::ResumeMirrorRequest { name, etag, request_id };
        self.turn_mirror(request.try_into()?).await
    }
}
