//! WatchMirrors: nothing is missed and nothing comes twice, also over a lost stream.

use std::time::{Duration, Instant};

use tonic::transport::Endpoint;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;
use twinlog_proto::v1::mirror_service_client::MirrorServiceClient;
use twinlog_proto::v1::watch_mirrors_response::{Change, Event};

use crate::service::{PATIENCE, Service, create_mirror, expect};

type Stream = tonic::Streaming<v1::WatchMirrorsResponse>;

async fn watch(service: &Service, request: v1::WatchMirrorsRequest) -> Stream {
    service.mirrors().watch_mirrors(request).await.unwrap().into_inner()
}

fn since(revision: i64) -> v1::WatchMirrorsRequest {
    v1::WatchMirrorsRequest { revision, ..Default::default() }
}

async fn next(stream: &mut Stream) -> v1::WatchMirrorsResponse {
    tokio::time::timeout(PATIENCE, stream.message())
        .await
        .expect("a message in time")
        .unwrap()
        .expect("no end")
}

/// What a message says, in short.
fn short(message: &v1::WatchMirrorsResponse) -> String {
    match message.event.as_ref().unwrap() {
        Event::Mirror(mirror) => format!("{} {}", mirror.name, mirror.desired_state().short_name()),
        Event::Deleted(deleted) => format!("{} deleted", deleted.name),
        Event::Status(status) => format!("{} status", status.name),
        Event::Synced(_) => "synced".to_owned(),
        Event::Bookmark(_) => "bookmark".to_owned(),
    }
}

async fn set(service: &Service, id: &str, running: bool) {
    let name = format!("mirrors/{id}");
    if running {
        service
            .mirrors()
            .resume_mirror(v1::ResumeMirrorRequest { name, ..Default::default() })
            .await
            .unwrap();
    } else {
        service.mirrors().pause_mirror(v1::PauseMirrorRequest { name, ..Default::default() }).await.unwrap();
    }
}

#[tokio::test]
async fn a_watch_shows_the_present_then_changes_and_resumes_where_it_was() {
    let service = Service::with_clusters().await;
    service.mirrors().create_mirror(create_mirror("m")).await.unwrap();
    let mut stream = watch(&service, since(0)).await;
    let present = next(&mut stream).await;
    assert_eq!((short(&present), present.change()), ("mirrors/m RUNNING".to_owned(), Change::Present));
    assert_eq!(short(&next(&mut stream).await), "synced");

    set(&service, "m", false).await;
    let paused = next(&mut stream).await;
    assert_eq!((short(&paused), paused.change()), ("mirrors/m PAUSED".to_owned(), Change::Updated));
    let Some(Event::Mirror(mirror)) = &paused.event else { panic!("{paused:?}") };
    assert_eq!(mirror.etag, paused.revision.to_string());

    // Away while three things happen.
    drop(stream);
    set(&service, "m", true).await;
    service.mirrors().create_mirror(create_mirror("n")).await.unwrap();
    let delete = v1::DeleteMirrorRequest { name: "mirrors/m".to_owned(), ..Default::default() };
    service.mirrors().delete_mirror(delete).await.unwrap();
    let mut stream = watch(&service, since(paused.revision)).await;
    for (expected, change) in [
        ("mirrors/m RUNNING", Change::Updated),
        ("mirrors/n RUNNING", Change::Created),
        ("mirrors/m deleted", Change::Unspecified),
    ] {
        let message = next(&mut stream).await;
        assert_eq!((short(&message).as_str(), message.change()), (expected, change));
    }
}

#[tokio::test]
async fn a_list_and_a_watch_from_its_revision_miss_nothing() {
    let service = Service::with_clusters().await;
    let listed =
        service.mirrors().list_mirrors(v1::ListMirrorsRequest::default()).await.unwrap().into_inner();
    service.mirrors().create_mirror(create_mirror("m")).await.unwrap();
    let mut stream = watch(&service, since(listed.revision)).await;
    assert_eq!(short(&next(&mut stream).await), "mirrors/m RUNNING");
}

#[tokio::test]
async fn one_mirror_can_be_watched_with_its_status() {
    let service = Service::with_clusters().await;
    for id in ["m", "n"] {
        service.mirrors().create_mirror(create_mirror(id)).await.unwrap();
    }
    let request = v1::WatchMirrorsRequest {
        name: "mirrors/n".to_owned(),
        status_interval: Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 }),
        ..Default::default()
    };
    let mut stream = watch(&service, request).await;
    for expected in ["mirrors/n RUNNING", "synced", "mirrors/n/status status", "mirrors/n/status status"] {
        assert_eq!(short(&next(&mut stream).await), expected);
    }
}

/// Without the bookmark a client can't tell a stream on which nothing happens from one that is dead.
#[tokio::test]
async fn a_watch_on_which_nothing_happens_says_so_from_time_to_time() {
    let service = Service::with_clusters().await;
    let mut stream = watch(&service, since(0)).await;
    assert_eq!(short(&next(&mut stream).await), "synced");
    let began = Instant::now();
    let quiet = tokio::time::timeout(Duration::from_secs(30), stream.message()).await.expect("in time");
    let quiet = quiet.unwrap().unwrap();
    assert_eq!(short(&quiet), "bookmark");
    assert!(began.elapsed() > Duration::from_secs(9), "not more often than every 10 s");
    // A client resumes from it and misses nothing.
    service.mirrors().create_mirror(create_mirror("m")).await.unwrap();
    assert_eq!(short(&next(&mut stream).await), "mirrors/m RUNNING");
    let mut resumed = watch(&service, since(quiet.revision)).await;
    assert_eq!(short(&next(&mut resumed).await), "mirrors/m RUNNING");
}

#[tokio::test]
async fn what_can_not_be_watched_is_refused() {
    let service = Service::with_clusters().await;
    let request = v1::WatchMirrorsRequest { name: "mirrors/none".to_owned(), ..Default::default() };
    expect(service.mirrors().watch_mirrors(request).await, Reason::MIRROR_NOT_FOUND, "none");
    expect(service.mirrors().watch_mirrors(since(-1)).await, Reason::INVALID_FIELD, "negative");
    let listed =
        service.mirrors().list_mirrors(v1::ListMirrorsRequest::default()).await.unwrap().into_inner();
    for future in [listed.revision + 1_000_000_000, i64::MAX] {
        let refused = service.mirrors().watch_mirrors(since(future)).await;
        let says = format!("revision {future} has not happened here");
        expect(refused, Reason::REVISION_UNKNOWN, &says);
    }
    let status_interval = Some(prost_types::Duration { seconds: 0, nanos: 1 });
    let request = v1::WatchMirrorsRequest { status_interval, ..Default::default() };
    expect(service.mirrors().watch_mirrors(request).await, Reason::INVALID_FIELD, "100ms");
}

/// Control plane 7: one caller could take all places.
#[tokio::test]
async fn one_address_leaves_watches_for_others() {
    let service = Service::start().await;
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(watch(&service, since(0)).await);
    }
    let refused = service.mirrors().watch_mirrors(since(0)).await;
    expect(refused, Reason::TOO_MANY, "127.0.0.1 has 100 watches at this controller already");
    let elsewhere =
        Endpoint::from_shared(service.url.clone()).unwrap().local_address(Some([127, 0, 0, 2].into()));
    let mut other = MirrorServiceClient::new(elsewhere.connect().await.unwrap());
    let mut stream = other.watch_mirrors(since(0)).await.unwrap().into_inner();
    assert_eq!(short(&next(&mut stream).await), "synced");
    streams.pop();
    service
        .until("its place is free again", async || service.mirrors().watch_mirrors(since(0)).await.is_ok())
        .await;
}

#[tokio::test]
async fn a_stopping_controller_ends_its_watches_with_a_status() {
    let service = Service::start().await;
    let mut stream = watch(&service, since(0)).await;
    assert_eq!(short(&next(&mut stream).await), "synced");
    service.stop().await;
    let ended = tokio::time::timeout(PATIENCE, stream.message()).await.expect("it ends in time");
    assert_eq!(ended.unwrap_err().code(), tonic::Code::Unavailable);
}
