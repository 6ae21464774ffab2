//! MirrorService.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use twinlog_proto::id::MirrorId;
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::internal::v1::answer::Answer;
use twinlog_proto::internal::v1::query::Question as Ask;
use twinlog_proto::model;
use twinlog_proto::names;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;
use twinlog_proto::v1::mirror_service_server::MirrorService;

use super::watch::{self, MessageStream};
use super::{Api, LONG_QUERY_DEADLINE, gaps, last_plan, wrong_answer};
use crate::caller::Caller;
use crate::catalog::change::MirrorCreation;
use crate::catalog::places::{self, Aliases, Places};
use crate::catalog::warning::Warning;
use crate::catalog::{Written, loops, mirror_id, mirror_not_found, overlap};
use crate::fleet::{Answered, Question};
use crate::heartbeats::Heartbeats;
use crate::page::Page;
use crate::refusal::{Refusal, invalid};
use crate::state::{InventoryState, MirrorState};
use crate::statuses::Listing;

/// Of a connector, characters.
const MAX_NAME_CHARS: usize = 256;

#[tonic::async_trait]
impl MirrorService for Api {
    async fn create_mirror(
        &self,
        request: Request<v1::CreateMirrorRequest>,
    ) -> Result<Response<v1::Mirror>, Status> {
        if request.get_ref().validate_only
            && let Some(leader) = self.controller.elsewhere(request.extensions())
        {
            return leader.create_mirror(request).await;
        }
        let creation = MirrorCreation::try_from(request.into_inner())?;
        let aliases = self.aliases(&creation.resource).await;
        let written = self.catalog.create_mirror(creation, &self.state(), &aliases).await?;
        self.answer_write(written).await
    }

    async fn get_mirror(
        &self,
        request: Request<v1::GetMirrorRequest>,
    ) -> Result<Response<v1::Mirror>, Status> {
        let id = mirror_id("name", &request.get_ref().name)?;
        Ok(Response::new(self.stored(&id)?.wire.clone()))
    }

    async fn list_mirrors(
        &self,
        request: Request<v1::ListMirrorsRequest>,
    ) -> Result<Response<v1::ListMirrorsResponse>, Status> {
        let v1::ListMirrorsRequest { page_size, page_token } = request.into_inner();
        let page = Page::new("mirrors", page_size, &page_token)?;
        let state = self.state();
        let (mirrors, next_page_token) = page.cut(state.mirrors.iter(), |(id, _)| id.to_string());
        let mirrors = mirrors.into_iter().map(|(_, mirror)| mirror.wire.clone()).collect();
        let response = v1::ListMirrorsResponse { mirrors, next_page_token, revision: state.revision };
        Ok(Response::new(response))
    }

    async fn update_mirror(
        &self,
        request: Request<v1::UpdateMirrorRequest>,
    ) -> Result<Response<v1::Mirror>, Status> {
        if request.get_ref().validate_only
            && let Some(leader) = self.controller.elsewhere(request.extensions())
        {
            return leader.update_mirror(request).await;
        }
        let written = self.catalog.update_mirror(request.into_inner().try_into()?, &self.state()).await?;
        self.answer_write(written).await
    }

    async fn delete_mirror(&self, request: Request<v1::DeleteMirrorRequest>) -> Result<Response<()>, Status> {
        let revision = self.catalog.delete_mirror(request.into_inner().try_into()?).await?;
        self.seen(Some(revision)).await;
        Ok(Response::new(()))
    }

    async fn pause_mirror(
        &self,
        request: Request<v1::PauseMirrorRequest>,
    ) -> Result<Response<v1::Mirror>, Status> {
        let written = self.catalog.turn_mirror(request.into_inner().try_into()?).await?;
        self.answer_write(written).await
    }

    async fn resume_mirror(
        &self,
        request: Request<v1::ResumeMirrorRequest>,
    ) -> Result<Response<v1::Mirror>, Status> {
        let written = self.catalog.turn_mirror(request.into_inner().try_into()?).await?;
        self.answer_write(written).await
    }

    async fn plan_mirror(
        &self,
        request: Request<v1::PlanMirrorRequest>,
    ) -> Result<Response<v1::MirrorPlan>, Status> {
        let id = mirror_id("name", &request.get_ref().name)?;
        let known = self.state().inventories.get(&id).cloned();
        let stored = self.stored(&id)?;
        Ok(Response::new(self.plan(&stored.wire, &stored.model, known).await?))
    }

    async fn give_back_mirror(
        &self,
        request: Request<v1::GiveBackMirrorRequest>,
    ) -> Result<Response<v1::GiveBackMirrorResponse>, Status> {
        Ok(Response::new(self.give_back(request.into_inner()).await?))
    }

    async fn get_mirror_status(
        &self,
        request: Request<v1::GetMirrorStatusRequest>,
    ) -> Result<Response<v1::MirrorStatus>, Status> {
        Ok(Response::new(self.status(request.into_inner())?))
    }

    async fn list_mirror_statuses(
        &self,
        request: Request<v1::ListMirrorStatusesRequest>,
    ) -> Result<Response<v1::ListMirrorStatusesResponse>, Status> {
        let listing = Listing::parse(request.get_ref())?;
        Ok(Response::new(self.controller.informed()?.mirror_statuses(listing).await?))
    }

    async fn list_ranges(
        &self,
        request: Request<v1::ListRangesRequest>,
    ) -> Result<Response<v1::ListRangesResponse>, Status> {
        let v1::ListRangesRequest { parent, page_size, page_token } = request.into_inner();
        let id = mirror_id("parent", &parent)?;
        let page = Page::new(format!("{parent}/ranges"), page_size, &page_token)?;
        let key = |range: &v1::RangeStatus| format!("{}/{:010}", range.target_topic, range.first_partition);
        let mut ranges = self.controller.informed()?.ranges(&id)?;
        ranges.sort_by_cached_key(key);
        let (ranges, next_page_token) = page.cut(ranges, key);
        Ok(Response::new(v1::ListRangesResponse { ranges, next_page_token }))
    }

    async fn list_gaps(
        &self,
        request: Request<v1::ListGapsRequest>,
    ) -> Result<Response<v1::ListGapsResponse>, Status> {
        let v1::ListGapsRequest { parent, page_size, page_token } = request.into_inner();
        let id = mirror_id("parent", &parent)?;
        let page = Page::new(format!("{parent}/gaps"), page_size, &page_token)?;
        Ok(Response::new(gaps::page(page, self.controller.informed()?.ranges(&id)?)))
    }

    type WatchMirrorsStream = MessageStream;

    async fn watch_mirrors(
        &self,
        request: Request<v1::WatchMirrorsRequest>,
    ) -> Result<Response<Self::WatchMirrorsStream>, Status> {
        let address = request.extensions().get().and_then(Caller::origin);
        let stream = watch::start(self, request.into_inner(), address).await?;
        Ok(Response::new(watch::messages(stream)))
    }
}

impl Api {
    /// As the cache has it, its patterns compiled.
    fn stored(&self, id: &MirrorId) -> Result<Arc<MirrorState>, Refusal> {
        self.state().mirrors.get(id).cloned().ok_or_else(|| mirror_not_found(id))
    }

    /// The mirror as it was written; with its plan, where it was only validated.
    async fn answer_write(&self, written: Written<v1::Mirror>) -> Result<Response<v1::Mirror>, Status> {
        let mut mirror = written.resource;
        match written.revision {
            Some(_) => self.seen(written.revision).await,
            None => {
                let model = self.catalog.parsed(&mirror).await?;
                mirror.plan = Some(self.plan(&mirror, &model, None).await?);
            }
        }
        Ok(Response::new(mirror))
    }

    /// What a worker finds that this mirror would do, and where it would write what other mirrors write. `known`: what its survey
    /// found last, which has to do where the clusters can't be asked.
    async fn plan(
        &self,
        mirror: &v1::Mirror,
        model: &model::Mirror,
        known: Option<Arc<InventoryState>>,
    ) -> Result<v1::MirrorPlan, Status> {
        let question = Ask::Plan(internal::PlanQuestion { known: known.is_some() });
        let asked = Heartbeats::of(&self.state()).wire(mirror, model);
        let carrier = Some(asked.heartbeats_carried_by.clone()).filter(|carrier| !carrier.is_empty());
        let model = &model::Mirror { heartbeats_carried_by: carrier, ..model.clone() };
        let mut plan = match (self.ask_for(asked, model, question).await, known) {
            (Ok(Answered { worker, answer: Answer::Plan(plan) }), _) => {
                v1::MirrorPlan { worker: worker.name(), ..plan }
            }
            (Ok(answered), _) => return Err(wrong_answer(&answered).into()),
            (Err(error), Some(stored)) if last_plan::stands_in_for(&error) => {
                last_plan::of(&stored.inventory, &error)
            }
            (Err(error), _) => return Err(error),
        };
        let (state, aliases) = (self.state(), Aliases::new());
        let overlaps = overlap::find(model, &state, &Places::proven(&places::stored(&state), &aliases));
        plan.warnings.extend(overlaps.iter().map(|overlap| warning(overlap.warning())));
        let places = Places::likely(&state, &aliases);
        let others: Vec<&model::Mirror> =
            state.mirrors.values().map(|mirror| mirror.model.as_ref()).collect();
        let circle = loops::find(model, &others, &state, &places).map(|circle| circle.warning());
        plan.warnings.extend(circle.or_else(|| loops::ring_warning(model, &others, &places)).map(warning));
        Ok(plan)
    }

    /// The leader refuses it for a mirror that isn't paused.
    async fn give_back(
        &self,
        request: v1::GiveBackMirrorRequest,
    ) -> Result<v1::GiveBackMirrorResponse, Status> {
        let v1::GiveBackMirrorRequest { name, etag, connector, offsets_topic, validate_only } = request;
        let id = mirror_id("name", &name)?;
        names::line(&connector, MAX_NAME_CHARS).map_err(|what| invalid("connector", what))?;
        if !offsets_topic.is_empty() {
            names::topic(&offsets_topic).map_err(|what| invalid("offsets_topic", what))?;
        }
        let mirror = self.stored(&id)?;
        if !etag.is_empty() && etag != mirror.wire.etag {
            let message = format!("{name} has changed since it was read: read it again");
            return Err(Refusal::new(Reason::ETAG_MISMATCH, message, &[("mirror", id.as_str())]).into());
        }
        let question = internal::GiveBackQuestion { connector, offsets_topic, validate_only };
        let answered = self.ask_for(mirror.wire.clone(), &mirror.model, Ask::GiveBack(question)).await?;
        match answered.answer {
            Answer::GiveBack(response) => Ok(response),
            _ => Err(wrong_answer(&answered).into()),
        }
    }

    /// Asks a worker something about a mirror and both its clusters.
    async fn ask_for(&self, mirror: v1::Mirror, model: &model::Mirror, ask: Ask) -> Result<Answered, Status> {
        let question = Question {
            question: ask,
            clusters: self.clusters(&[&model.source, &model.target])?,
            mirror: Some(mirror),
            deadline: LONG_QUERY_DEADLINE,
        };
        self.ask(question).await
    }
}

fn warning(warning: Warning) -> v1::PlanWarning {
    v1::PlanWarning { reason: warning.reason.as_str().to_owned(), message: warning.message }
}
