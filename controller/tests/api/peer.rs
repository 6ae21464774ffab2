//! What replicas call on each other is nobody else's: refused without their secret, and not in reflection.

use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::internal::v1::peer_service_client::PeerServiceClient;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;

use crate::service::{Service, create_mirror, expect};
use crate::worker::Worker;

fn give_back(mirror: v1::Mirror) -> internal::PeerAskRequest {
    let question = internal::GiveBackQuestion { validate_only: false, ..Default::default() };
    internal::PeerAskRequest {
        query: Some(internal::Query {
            mirror: Some(mirror),
            question: Some(internal::query::Question::GiveBack(question)),
            ..Default::default()
        }),
        deadline: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
    }
}

#[tokio::test]
async fn nobody_but_a_replica_may_call_the_leader_as_one() {
    let service = Service::with_clusters().await;
    let _worker = Worker::start(&service).await;
    let mirror = service.mirrors().create_mirror(create_mirror("m")).await.unwrap().into_inner();
    let mut peer: PeerServiceClient<Channel> = PeerServiceClient::new(service.channel.clone());
    let says = "replicas among themselves";
    expect(peer.peer_ask(give_back(mirror.clone())).await, Reason::NOT_A_REPLICA, says);
    let mut marked = Request::new(give_back(mirror));
    for (key, value) in [("twinlog-relayed", "1"), ("twinlog-replica", "0123")] {
        marked.metadata_mut().insert(key, value.parse().unwrap());
    }
    expect(peer.peer_ask(marked).await, Reason::NOT_A_REPLICA, says);
    expect(peer.peer_workers(internal::PeerWorkersRequest {}).await, Reason::NOT_A_REPLICA, says);
    let drain = v1::DrainWorkerRequest { name: "workers/w1".to_owned(), cancel: false };
    expect(peer.peer_drain(drain).await, Reason::NOT_A_REPLICA, says);
    let status = v1::GetMirrorStatusRequest { name: "mirrors/m".to_owned(), ..Default::default() };
    expect(peer.peer_mirror_status(status).await, Reason::NOT_A_REPLICA, says);
    let statuses = v1::ListMirrorStatusesRequest { parent: "mirrors/-".to_owned(), ..Default::default() };
    expect(peer.peer_mirror_statuses(statuses).await, Reason::NOT_A_REPLICA, says);
    let ranges = internal::PeerRangesRequest { parent: "mirrors/m".to_owned() };
    expect(peer.peer_ranges(ranges).await, Reason::NOT_A_REPLICA, says);
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
    for symbol in [
        "twinlog.internal.v1.PeerService",
        "twinlog.internal.v1.PeerAskRequest",
        "twinlog.internal.v1.WorkerService",
        "twinlog.storage.v1.Progress",
    ] {
        let asked = reflected(&service, MessageRequest::FileContainingSymbol(symbol.to_owned())).await;
        assert!(!matches!(asked, Ok(MessageResponse::FileDescriptorResponse(_))), "{symbol}: {asked:?}");
    }
}
