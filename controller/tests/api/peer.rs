//! What replicas may ask of each other is nobody else's: refused without their secret; and what is internal is not in reflection.

use tonic::{Request, Status};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;

use crate::service::{Service, create_mirror, expect};
use crate::worker::Worker;

/// As somebody sends it who would like to be taken for a replica.
fn forged<T>(message: T) -> Request<T> {
    let mut marked = Request::new(message);
    for (key, value) in
        [("twinlog-relayed", "1"), ("twinlog-replica", "0123"), ("twinlog-caller", "10.1.2.3")]
    {
        marked.metadata_mut().insert(key, value.parse().unwrap());
    }
    marked
}

#[tokio::test]
async fn nobody_but_a_replica_may_call_the_leader_as_one() {
    let service = Service::with_clusters().await;
    let _worker = Worker::start(&service).await;
    service.mirrors().create_mirror(create_mirror("m")).await.unwrap();
    let follower = service.follower("second").await;
    let says = "replicas among themselves";
    // Whoever is called: what is not true is refused there, and not passed on.
    for called in [&service, &follower] {
        let give_back = v1::GiveBackMirrorRequest { name: "mirrors/m".to_owned(), ..Default::default() };
        expect(called.mirrors().give_back_mirror(forged(give_back)).await, Reason::NOT_A_REPLICA, says);
        let workers = v1::ListWorkersRequest::default();
        expect(called.fleet().list_workers(forged(workers)).await, Reason::NOT_A_REPLICA, says);
        let drain = v1::DrainWorkerRequest { name: "workers/w1".to_owned(), cancel: false };
        expect(called.fleet().drain_worker(forged(drain)).await, Reason::NOT_A_REPLICA, says);
        let status = v1::GetMirrorStatusRequest { name: "mirrors/m".to_owned(), ..Default::default() };
        expect(called.mirrors().get_mirror_status(forged(status)).await, Reason::NOT_A_REPLICA, says);
        let statuses = v1::ListMirrorStatusesRequest { parent: "mirrors/-".to_owned(), ..Default::default() };
        expect(called.mirrors().list_mirror_statuses(forged(statuses)).await, Reason::NOT_A_REPLICA, says);
        let ranges = v1::ListRangesRequest { parent: "mirrors/m".to_owned(), ..Default::default() };
        expect(called.mirrors().list_ranges(forged(ranges)).await, Reason::NOT_A_REPLICA, says);
        // Also where no leader is needed, and where only a part of it is forged.
        let get = v1::GetMirrorRequest { name: "mirrors/m".to_owned() };
        expect(called.mirrors().get_mirror(forged(get.clone())).await, Reason::NOT_A_REPLICA, says);
        let mut half = Request::new(get);
        half.metadata_mut().insert("twinlog-relayed", "1".parse().unwrap());
        expect(called.mirrors().get_mirror(half).await, Reason::NOT_A_REPLICA, says);
    }
    let worker = v1::GetWorkerRequest { name: "workers/w1".to_owned() };
    let worker = service.fleet().get_worker(worker).await.unwrap().into_inner();
    assert_eq!(worker.state(), v1::worker::State::Ready, "nobody drained it");
}

#[tokio::test]
async fn a_running_mirror_is_not_given_back() {
    let service = Service::with_clusters().await;
    let _worker = Worker::start(&service).await;
    service.mirrors().create_mirror(create_mirror("m")).await.unwrap();
    let request = v1::GiveBackMirrorRequest { name: "mirrors/m".to_owned(), ..Default::default() };
    expect(
        service.mirrors().give_back_mirror(request.clone()).await,
        Reason::MIRROR_NOT_PAUSED,
        "twinlog mirror pause m",
    );
    let dry = v1::GiveBackMirrorRequest { validate_only: true, ..request.clone() };
    service.mirrors().give_back_mirror(dry).await.unwrap();
    let pause = v1::PauseMirrorRequest { name: "mirrors/m".to_owned(), ..Default::default() };
    service.mirrors().pause_mirror(pause).await.unwrap();
    service.mirrors().give_back_mirror(request).await.unwrap();
}

async fn reflected(service: &Service, asked: MessageRequest) -> Result<MessageResponse, Status> {
    let request = ServerReflectionRequest { message_request: Some(asked), ..Default::default() };
    let mut client = ServerReflectionClient::new(service.channel.clone());
    let answers = client.server_reflection_info(tokio_stream::once(request)).await?;
    Ok(answers.into_inner().message().await?.unwrap().message_response.unwrap())
}

#[tokio::test]
async fn reflection_shows_the_public_services_only() {
    let service = Service::start().await;
    let listed = reflected(&service, MessageRequest::ListServices(String::new())).await.unwrap();
    let MessageResponse::ListServicesResponse(list) = listed else { panic!("{listed:?}") };
    let mut names: Vec<&str> =
        list.service.iter().map(|s| s.name.as_str()).filter(|n| n.starts_with("twinlog")).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["ClusterService", "FleetService", "MirrorService", "OffsetService"]
            .map(|n| format!("twinlog.v1.{n}"))
    );
    // What errors carry, and health: clients find all that they meet.
    for symbol in ["google.rpc.ErrorInfo", "google.rpc.BadRequest", "grpc.health.v1.Health"] {
        let asked = reflected(&service, MessageRequest::FileContainingSymbol(symbol.to_owned())).await;
        assert!(matches!(asked, Ok(MessageResponse::FileDescriptorResponse(_))), "{symbol}: {asked:?}");
    }
    for symbol in
        ["twinlog.internal.v1.Query", "twinlog.internal.v1.WorkerService", "twinlog.storage.v1.Progress"]
    {
        let asked = reflected(&service, MessageRequest::FileContainingSymbol(symbol.to_owned())).await;
        assert!(!matches!(asked, Ok(MessageResponse::FileDescriptorResponse(_))), "{symbol}: {asked:?}");
    }
}
