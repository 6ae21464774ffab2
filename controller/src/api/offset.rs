//! OffsetService.

use tonic::{Request, Response, Status};
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::internal::v1::answer::Answer;
use twinlog_proto::internal::v1::query::Question as Ask;
use twinlog_proto::v1::offset_service_server::OffsetService;
use twinlog_proto::v1::translate_offsets_request::Direction;
use twinlog_proto::{names, v1};

use super::{Api, LONG_QUERY_DEADLINE, wrong_answer};
use crate::catalog::{mirror_id, mirror_not_found};
use crate::fleet::Question;
use crate::refusal::{Refusal, invalid};

/// Kafka has no limit; nobody's groups are longer.
const MAX_GROUP_CHARS: usize = 1_000;

#[tonic::async_trait]
impl OffsetService for Api {
    async fn translate_offsets(
        &self,
        request: Request<v1::TranslateOffsetsRequest>,
    ) -> Result<Response<v1::TranslateOffsetsResponse>, Status> {
        let v1::TranslateOffsetsRequest { mirror, group, offsets, direction } = request.into_inner();
        let id = mirror_id("mirror", &mirror)?;
        check(&group, &offsets)?;
        let ask = match Direction::try_from(direction) {
            Ok(Direction::Unspecified | Direction::ToTarget) => {
                Ask::Translate(internal::TranslateQuestion { group, offsets })
            }
            Ok(Direction::ToSource) => {
                Ask::TranslateToSource(internal::TranslateToSourceQuestion { group, offsets })
            }
            Err(_) => {
                let what = format!("{direction} is none: TO_TARGET (1) and TO_SOURCE (2) are");
                return Err(invalid("direction", what).into());
            }
        };
        let state = self.state();
        let mirror = state.mirrors.get(&id).ok_or_else(|| mirror_not_found(&id))?;
        let question = Question {
            question: ask,
            clusters: self.clusters(&[&mirror.model.source, &mirror.model.target])?,
            mirror: Some(mirror.wire.clone()),
            deadline: LONG_QUERY_DEADLINE,
        };
        let answered = self.ask(question).await?;
        match answered.answer {
            Answer::Translate(response) => Ok(Response::new(response)),
            _ => Err(wrong_answer(&answered).into()),
        }
    }
}

fn check(group: &str, offsets: &[v1::SourceOffset]) -> Result<(), Refusal> {
    match (group.is_empty(), offsets.len()) {
        (true, 0) => return Err(invalid("group", "give a consumer group, or offsets")),
        (false, 1..) => return Err(invalid("offsets", "give a consumer group or offsets, not both")),
        _ => {}
    }
    for (i, offset) in offsets.iter().enumerate() {
        let problem = match offset {
            o if o.topic.is_empty() => "the topic is missing".to_owned(),
            o if o.partition < 0 => "the partition is negative".to_owned(),
            o if o.offset < 0 => "the offset is negative".to_owned(),
            o => match names::topic(&o.topic) {
                Ok(()) => continue,
                Err(what) => what,
            },
        };
        return Err(invalid(&format!("offsets[{i}]"), problem));
    }
    names::line(group, MAX_GROUP_CHARS).map_err(|what| invalid("group", what))
}
