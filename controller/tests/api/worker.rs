//! A worker that runs nothing and answers every question.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::internal::v1::answer::Answer;
use twinlog_proto::internal::v1::controller_message::Message as In;
use twinlog_proto::internal::v1::query::Question;
use twinlog_proto::internal::v1::worker_message::Message as Out;
use twinlog_proto::internal::v1::worker_service_client::WorkerServiceClient;
use twinlog_proto::v1;

use crate::service::Service;

/// Ends with its connection when dropped.
pub(crate) struct Worker {
    task: JoinHandle<()>,
}

impl Worker {
    /// Connects, and waits until the controller knows it.
    pub(crate) async fn start(service: &Service) -> Self {
        let (sender, receiver) = mpsc::channel(16);
        let hello =
            internal::Hello { worker_id: "w1".to_owned(), version: "test".to_owned(), ..Default::default() };
        sender.send(message(Out::Hello(hello))).await.unwrap();
        let mut client = WorkerServiceClient::new(service.channel.clone());
        let mut inbound = client.session(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        let task = tokio::spawn(async move {
            let mut reports = tokio::time::interval(Duration::from_millis(50));
            let mut applied = internal::Applied::default();
            loop {
                let out = tokio::select! {
                    received = inbound.message() => match received {
                        Ok(Some(internal::ControllerMessage { message: Some(In::Query(query)) })) => {
                            Out::Answer(internal::Answer { answer: Some(answer(&query)), id: query.id })
                        }
                        Ok(Some(internal::ControllerMessage { message: Some(In::Assignments(set)) })) => {
                            applied = internal::Applied { term: set.term, generation: set.generation, ..Default::default() };
                            continue;
                        }
                        Ok(Some(_)) => continue,
                        _ => return,
                    },
                    _ = reports.tick() => {
                        Out::Report(internal::Report { applied: Some(applied.clone()), ..Default::default() })
                    }
                };
                if sender.send(message(out)).await.is_err() {
                    return;
                }
            }
        });
        let connected = async || {
            let list = service.fleet().list_workers(v1::ListWorkersRequest::default()).await.unwrap();
            list.into_inner().workers.len() == 1
        };
        service.until("the worker is known", connected).await;
        Self { task }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn message(message: Out) -> internal::WorkerMessage {
    internal::WorkerMessage { message: Some(message) }
}

/// The source has topics `topic-000` to `topic-249`; every mirror would copy `orders`.
fn answer(query: &internal::Query) -> Answer {
    match query.question.as_ref().unwrap() {
        Question::TestCluster(_) => Answer::TestCluster(v1::TestClusterResponse {
            reachable: true,
            kafka_cluster_id: query.clusters[0].name.clone(),
            // What the worker would continue; see trace.rs.
            broker_version: query.trace_context.get("traceparent").cloned().unwrap_or_default(),
            ..Default::default()
        }),
        Question::ListTopics(_) => {
            let topics = (0..250)
                .rev()
                .map(|i| v1::TopicInfo { topic: format!("topic-{i:03}"), ..Default::default() });
            Answer::ListTopics(v1::ListTopicsResponse { topics: topics.collect(), ..Default::default() })
        }
        Question::ListGroups(_) => Answer::ListGroups(v1::ListGroupsResponse::default()),
        Question::GiveBack(_) => Answer::GiveBack(v1::GiveBackMirrorResponse::default()),
        Question::Plan(_) => {
            let topic = v1::PlannedTopic {
                source_topic: "orders".to_owned(),
                target_topic: "a.orders".to_owned(),
                source_partitions: 3,
                action: v1::planned_topic::Action::Create.into(),
                ..Default::default()
            };
            let plan = v1::MirrorPlan {
                topics: vec![topic],
                matched_topics: 1,
                matched_partitions: 3,
                ..Default::default()
            };
            Answer::Plan(plan)
        }
        Question::Translate(question) if question.group == "confused" => {
            Answer::Plan(v1::MirrorPlan::default())
        }
        Question::TranslateToSource(question) => {
            let offsets = question.offsets.iter().map(|offset| v1::TranslatedOffset {
                source_topic: offset.topic.trim_start_matches("a.").to_owned(),
                partition: offset.partition,
                source_offset: (offset.offset < 100).then_some(offset.offset - 1),
                target_topic: offset.topic.clone(),
                target_offset: Some(offset.offset),
                reason: if offset.offset < 100 { String::new() } else { "NOT_YET_MIRRORED".to_owned() },
                ..Default::default()
            });
            Answer::Translate(v1::TranslateOffsetsResponse { offsets: offsets.collect(), unasked: None })
        }
        Question::Translate(question) => {
            let offsets = question.offsets.iter().map(|offset| v1::TranslatedOffset {
                source_topic: offset.topic.clone(),
                partition: offset.partition,
                source_offset: Some(offset.offset),
                target_topic: format!("a.{}", offset.topic),
                target_offset: (offset.offset < 100).then_some(offset.offset + 1),
                reason: if offset.offset < 100 { String::new() } else { "NOT_YET_MIRRORED".to_owned() },
                ..Default::default()
            });
            Answer::Translate(v1::TranslateOffsetsResponse { offsets: offsets.collect(), unasked: None })
        }
    }
}
