//! MirrorService, OffsetService and FleetService.

use twinlog_proto::reason::Reason;
use twinlog_proto::v1;
use twinlog_proto::v1::offset_service_client::OffsetServiceClient;

use crate::service::{Service, create_mirror, expect};
use crate::worker::Worker;

#[tokio::test]
async fn a_mirror_lives_from_create_to_delete() {
    let service = Service::with_clusters().await;
    let mut client = service.mirrors();
    let made = client.create_mirror(create_mirror("m")).await.unwrap().into_inner();
    assert_eq!((made.name.as_str(), made.desired_state()), ("mirrors/m", v1::DesiredState::Running));
    expect(client.create_mirror(create_mirror("m")).await, Reason::ALREADY_EXISTS, "mirrors/m");

    let pause = v1::PauseMirrorRequest { name: made.name.clone(), ..Default::default() };
    let paused = client.pause_mirror(pause.clone()).await.unwrap().into_inner();
    assert_eq!(paused.desired_state(), v1::DesiredState::Paused);
    assert_eq!(client.pause_mirror(pause).await.unwrap().into_inner().etag, paused.etag, "twice is once");
    let resume = v1::ResumeMirrorRequest { name: made.name.clone(), etag: made.etag, ..Default::default() };
    expect(client.resume_mirror(resume).await, Reason::ETAG_MISMATCH, "read it again");

    let status = v1::GetMirrorStatusRequest { name: made.name.clone(), ..Default::default() };
    assert_eq!(
        client.get_mirror_status(status).await.unwrap().into_inner().name,
        made.name.clone() + "/status"
    );
    let delete = v1::DeleteMirrorRequest { name: made.name.clone(), ..Default::default() };
    client.delete_mirror(delete).await.unwrap();
    let get = v1::GetMirrorRequest { name: made.name };
    expect(client.get_mirror(get).await, Reason::MIRROR_NOT_FOUND, "m");
}

#[tokio::test]
async fn validate_only_answers_with_a_workers_plan_and_creates_nothing() {
    let service = Service::with_clusters().await;
    let request = v1::CreateMirrorRequest { validate_only: true, ..create_mirror("m") };
    expect(service.mirrors().create_mirror(request.clone()).await, Reason::NO_WORKER, "worker");
    let _worker = Worker::start(&service).await;
    let planned = service.mirrors().create_mirror(request).await.unwrap().into_inner();
    let plan = planned.plan.unwrap();
    assert_eq!((plan.topics[0].target_topic.as_str(), plan.worker.as_str()), ("a.orders", "workers/w1"));
    let get = v1::GetMirrorRequest { name: "mirrors/m".to_owned() };
    expect(service.mirrors().get_mirror(get).await, Reason::MIRROR_NOT_FOUND, "m");
}

#[tokio::test]
async fn bad_mirrors_are_refused_with_the_fields_that_are_wrong() {
    let service = Service::with_clusters().await;
    let mut request = create_mirror("m");
    let mirror = request.mirror.as_mut().unwrap();
    mirror.topics = vec!["fine".to_owned(), "a(b".to_owned()];
    mirror.groups = vec![r"\p{Alpha}+".to_owned()];
    mirror.target_latency = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
    let answer = service.mirrors().create_mirror(request).await;
    let fields = expect(answer, Reason::INVALID_PATTERN, "position 1");
    assert_eq!(fields, ["mirror.topics[1]", "mirror.groups[0]", "mirror.target_latency"]);

    let mut same = create_mirror("m");
    same.mirror.as_mut().unwrap().target = "clusters/a".to_owned();
    expect(service.mirrors().create_mirror(same).await, Reason::SOURCE_IS_TARGET, "same cluster");
    let mut unknown = create_mirror("m");
    unknown.mirror.as_mut().unwrap().source = "clusters/zzz".to_owned();
    expect(service.mirrors().create_mirror(unknown).await, Reason::CLUSTER_NOT_FOUND, "zzz");
    let empty = v1::CreateMirrorRequest::default();
    expect(service.mirrors().create_mirror(empty).await, Reason::INVALID_FIELD, "mirror_id");
}

#[tokio::test]
async fn an_oversize_message_is_refused_and_the_connection_lives() {
    let service = Service::with_clusters().await;
    let mut request = create_mirror("m");
    request.mirror.as_mut().unwrap().display_name = "x".repeat(5_000_000);
    let status = service.mirrors().create_mirror(request).await.unwrap_err();
    assert!(status.message().contains("too large"), "{status:?}");
    let mut long = create_mirror("m");
    long.mirror.as_mut().unwrap().display_name = "x".repeat(2_000_000);
    expect(service.mirrors().create_mirror(long).await, Reason::INVALID_FIELD, "65536");
    let mut large = create_mirror("m");
    large.mirror.as_mut().unwrap().topics = vec!["x".repeat(1_200); 1_000];
    expect(service.mirrors().create_mirror(large).await, Reason::INVALID_FIELD, "1000000");
    service.mirrors().create_mirror(create_mirror("m")).await.unwrap();
}

#[tokio::test]
async fn offsets_are_translated_by_a_worker() {
    let service = Service::with_clusters().await;
    service.mirrors().create_mirror(create_mirror("m")).await.unwrap();
    let _worker = Worker::start(&service).await;
    let mut client = OffsetServiceClient::new(service.channel.clone());
    let offset = |offset| v1::SourceOffset { topic: "orders".to_owned(), partition: 0, offset };
    let request = |group: &str, offsets| v1::TranslateOffsetsRequest {
        mirror: "mirrors/m".to_owned(),
        group: group.to_owned(),
        offsets,
        direction: 0,
    };
    let translated =
        client.translate_offsets(request("", vec![offset(5), offset(500)])).await.unwrap().into_inner();
    let targets: Vec<_> = translated.offsets.iter().map(|o| (o.target_offset, o.reason.as_str())).collect();
    assert_eq!(targets, [(Some(6), ""), (None, "NOT_YET_MIRRORED")]);

    let to_source = |direction| v1::TranslateOffsetsRequest {
        direction,
        ..request("", vec![v1::SourceOffset { topic: "a.orders".to_owned(), partition: 0, offset: 5 }])
    };
    let back = client.translate_offsets(to_source(2)).await.unwrap().into_inner().offsets.remove(0);
    assert_eq!(
        (back.source_topic.as_str(), back.source_offset, back.target_offset),
        ("orders", Some(4), Some(5))
    );
    expect(client.translate_offsets(to_source(7)).await, Reason::INVALID_FIELD, "TO_SOURCE");

    expect(client.translate_offsets(request("", vec![])).await, Reason::INVALID_FIELD, "group");
    expect(client.translate_offsets(request("g", vec![offset(1)])).await, Reason::INVALID_FIELD, "not both");
    expect(client.translate_offsets(request("", vec![offset(-1)])).await, Reason::INVALID_FIELD, "negative");
    expect(
        client.translate_offsets(request("", vec![offset(1); 10_001])).await,
        Reason::INVALID_FIELD,
        "more than 10000",
    );
    expect(client.translate_offsets(request("confused", vec![])).await, Reason::INTERNAL, "w1");
    let unknown = v1::TranslateOffsetsRequest { mirror: "mirrors/x".to_owned(), ..request("g", vec![]) };
    expect(client.translate_offsets(unknown).await, Reason::MIRROR_NOT_FOUND, "x");
}

#[tokio::test]
async fn workers_are_listed_and_drained() {
    let service = Service::start().await;
    let drain = |name: &str, cancel| v1::DrainWorkerRequest { name: name.to_owned(), cancel };
    expect(service.fleet().drain_worker(drain("workers/w1", false)).await, Reason::WORKER_NOT_FOUND, "w1");
    expect(service.fleet().drain_worker(drain("w1", false)).await, Reason::INVALID_FIELD, "workers/{id}");
    let _worker = Worker::start(&service).await;
    let drained = service.fleet().drain_worker(drain("workers/w1", false)).await.unwrap().into_inner();
    assert_ne!(drained.state(), v1::worker::State::Ready);
    let back = service.fleet().drain_worker(drain("workers/w1", true)).await.unwrap().into_inner();
    assert_eq!(back.state(), v1::worker::State::Ready);
}
