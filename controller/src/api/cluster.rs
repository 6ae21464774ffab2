//! ClusterService.

use tonic::{Request, Response, Status};
use twinlog_proto::id::{ClusterId, stable_hash};
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::internal::v1::answer::Answer;
use twinlog_proto::internal::v1::query::Question as Ask;
use twinlog_proto::v1;
use twinlog_proto::v1::cluster_service_server::ClusterService;

use super::{Api, QUERY_DEADLINE, wrong_answer};
use crate::catalog::{cluster_id, cluster_not_found, hide_secrets};
use crate::fleet::{Answered, Question};
use crate::page::Page;
use crate::refusal::invalid;

/// Name of a cluster that is tested before it is registered without one.
const UNREGISTERED: &str = "clusters/unregistered";

#[tonic::async_trait]
impl ClusterService for Api {
    async fn create_cluster(
        &self,
        request: Request<v1::CreateClusterRequest>,
    ) -> Result<Response<v1::Cluster>, Status> {
        let written = self.catalog.create_cluster(request.into_inner().try_into()?).await?;
        self.seen(written.revision).await;
        Ok(Response::new(hide_secrets(written.resource)))
    }

    async fn get_cluster(
        &self,
        request: Request<v1::GetClusterRequest>,
    ) -> Result<Response<v1::Cluster>, Status> {
        let id = cluster_id("name", &request.get_ref().name)?;
        match self.state().clusters.get(&id) {
            Some(cluster) => Ok(Response::new(hide_secrets(cluster.wire.clone()))),
            None => Err(cluster_not_found(&id).into()),
        }
    }

    async fn list_clusters(
        &self,
        request: Request<v1::ListClustersRequest>,
    ) -> Result<Response<v1::ListClustersResponse>, Status> {
        let v1::ListClustersRequest { page_size, page_token } = request.into_inner();
        let page = Page::new("clusters", page_size, &page_token)?;
        let state = self.state();
        let (clusters, next_page_token) = page.cut(state.clusters.iter(), |(id, _)| id.to_string());
        let clusters = clusters.into_iter().map(|(_, cluster)| hide_secrets(cluster.wire.clone())).collect();
        Ok(Response::new(v1::ListClustersResponse { clusters, next_page_token }))
    }

    async fn update_cluster(
        &self,
        request: Request<v1::UpdateClusterRequest>,
    ) -> Result<Response<v1::Cluster>, Status> {
        let written = self.catalog.update_cluster(request.into_inner().try_into()?).await?;
        self.seen(written.revision).await;
        Ok(Response::new(hide_secrets(written.resource)))
    }

    async fn delete_cluster(
        &self,
        request: Request<v1::DeleteClusterRequest>,
    ) -> Result<Response<()>, Status> {
        let revision = self.catalog.delete_cluster(request.into_inner().try_into()?).await?;
        self.seen(Some(revision)).await;
        Ok(Response::new(()))
    }

    async fn test_cluster(
        &self,
        request: Request<v1::TestClusterRequest>,
    ) -> Result<Response<v1::TestClusterResponse>, Status> {
        let cluster = match request.into_inner() {
            v1::TestClusterRequest { name, cluster: None } => {
                let id = cluster_id("name", &name)?;
                self.clusters(&[&id])?.remove(0)
            }
            v1::TestClusterRequest { name, cluster: Some(mut cluster) } if name.is_empty() => {
                if cluster.name.is_empty() {
                    UNREGISTERED.clone_into(&mut cluster.name);
                }
                self.catalog.check_cluster(&cluster)?;
                cluster
            }
            _ => {
                return Err(invalid(
                    "cluster",
                    "give either the name of a registered cluster or a cluster, not both",
                )
                .into());
            }
        };
        let answered = self.ask_about(cluster, Ask::TestCluster(internal::TestClusterQuestion {})).await?;
        match answered.answer {
            Answer::TestCluster(response) => {
                Ok(Response::new(v1::TestClusterResponse { worker: answered.worker.name(), ..response }))
            }
            _ => Err(wrong_answer(&answered).into()),
        }
    }

    async fn list_topics(
        &self,
        request: Request<v1::ListTopicsRequest>,
    ) -> Result<Response<v1::ListTopicsResponse>, Status> {
        let v1::ListTopicsRequest { parent, page_size, page_token, patterns } = request.into_inner();
        let id = cluster_id("parent", &parent)?;
        let list = format!("{parent}/topics {:x}", asked(&patterns));
        let page = Page::new(list, page_size, &page_token)?;
        let patterns = self.catalog.check_patterns(patterns).await?;
        let question = Ask::ListTopics(internal::ListTopicsQuestion { patterns });
        let answered = self.ask_about_registered(&id, question).await?;
        let Answer::ListTopics(mut all) = answered.answer else { return Err(wrong_answer(&answered).into()) };
        all.topics.sort_by(|a, b| a.topic.cmp(&b.topic));
        let (topics, next_page_token) = page.cut(all.topics, |topic| topic.topic.clone());
        Ok(Response::new(v1::ListTopicsResponse { topics, next_page_token }))
    }

    async fn list_groups(
        &self,
        request: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        let v1::ListGroupsRequest { parent, page_size, page_token, patterns } = request.into_inner();
        let id = cluster_id("parent", &parent)?;
        let list = format!("{parent}/groups {:x}", asked(&patterns));
        let page = Page::new(list, page_size, &page_token)?;
        let patterns = self.catalog.check_patterns(patterns).await?;
        let question = Ask::ListGroups(internal::ListGroupsQuestion { patterns });
        let answered = self.ask_about_registered(&id, question).await?;
        let Answer::ListGroups(mut all) = answered.answer else { return Err(wrong_answer(&answered).into()) };
        all.groups.sort_by(|a, b| a.group.cmp(&b.group));
        let (groups, next_page_token) = page.cut(all.groups, |group| group.group.clone());
        Ok(Response::new(v1::ListGroupsResponse { groups, next_page_token }))
    }
}

impl Api {
    async fn ask_about(&self, cluster: v1::Cluster, question: Ask) -> Result<Answered, Status> {
        let question = Question { question, clusters: vec![cluster], mirror: None, deadline: QUERY_DEADLINE };
        self.ask(question).await
    }

    async fn ask_about_registered(&self, id: &ClusterId, question: Ask) -> Result<Answered, Status> {
        let cluster = self.clusters(&[id])?.remove(0);
        self.ask_about(cluster, question).await
    }
}

/// Stands for the patterns in a page's token, which would be as long as they are.
fn asked(patterns: &[String]) -> u64 {
    stable_hash(format!("{patterns:?}").as_bytes())
}
