//! FleetService.

use tonic::{Request, Response, Status};
use twinlog_proto::id::WorkerId;
use twinlog_proto::v1;
use twinlog_proto::v1::fleet_service_server::FleetService;

use super::Api;
use crate::fleet::Workers;
use crate::page::Page;
use crate::refusal::{Refusal, invalid};

#[tonic::async_trait]
impl FleetService for Api {
    async fn list_workers(
        &self,
        request: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        let v1::ListWorkersRequest { page_size, page_token } = request.into_inner();
        let page = Page::new("workers", page_size, &page_token)?;
        let Workers { mut workers, settling } = self.controller.informed()?.fleet();
        workers.sort_by(|a, b| a.name.cmp(&b.name));
        let (workers, next_page_token) = page.cut(workers, |worker| worker.name.clone());
        Ok(Response::new(v1::ListWorkersResponse { workers, next_page_token, settling }))
    }

    async fn get_worker(
        &self,
        request: Request<v1::GetWorkerRequest>,
    ) -> Result<Response<v1::Worker>, Status> {
        let id = worker_id(&request.get_ref().name)?;
        Ok(Response::new(self.controller.informed()?.worker(&id)?))
    }

    async fn drain_worker(
        &self,
        request: Request<v1::DrainWorkerRequest>,
    ) -> Result<Response<v1::Worker>, Status> {
        let v1::DrainWorkerRequest { name, cancel } = request.into_inner();
        let id = worker_id(&name)?;
        Ok(Response::new(self.controller.informed()?.drain(&id, cancel).await?))
    }
}

fn worker_id(name: &str) -> Result<WorkerId, Refusal> {
    WorkerId::from_name(name).map_err(|e| invalid("name", e.to_string()))
}
