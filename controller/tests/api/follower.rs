//! A call is answered alike whichever replica it is made to: what is the leader's goes there whole, once.

use prost::Message;
use tonic::Request;
use twinlog_controller::keys;
use twinlog_controller::store::{LeaderRecord, Store, Transaction, Write};
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;
use twinlog_proto::v1::offset_service_client::OffsetServiceClient;
use twinlog_proto::v1::watch_mirrors_response::Event;

use crate::service::{PATIENCE, Service, create_mirror, expect};
use crate::worker::Worker;

struct Pair {
    leader: Service,
    follower: Service,
    _worker: Worker,
}

impl Pair {
    /// With mirrors `m` and `n`, of which the second is paused, and a worker that is connected through the follower.
    async fn new() -> Self {
        let leader = Service::with_clusters().await;
        leader.mirrors().create_mirror(create_mirror("m")).await.unwrap();
        leader.mirrors().create_mirror(create_mirror("n")).await.unwrap();
        let pause = v1::PauseMirrorRequest { name: "mirrors/n".to_owned(), ..Default::default() };
        leader.mirrors().pause_mirror(pause).await.unwrap();
        let follower = leader.follower("second").await;
        let worker = Worker::start(&follower).await;
        let survey = async || {
            let status = v1::GetMirrorStatusRequest { name: "mirrors/n".to_owned(), ..Default::default() };
            let status = leader.mirrors().get_mirror_status(status).await.unwrap().into_inner();
            status.tasks.iter().any(|task| task.worker == "workers/w1")
        };
        leader.until("the worker has the paused mirror's survey", survey).await;
        Self { leader, follower, _worker: worker }
    }

    fn both(&self) -> [&Service; 2] {
        [&self.leader, &self.follower]
    }
}

#[tokio::test]
async fn a_follower_answers_as_the_leader_does() {
    let pair = Pair::new().await;
    let mut answers = Vec::new();
    for called in pair.both() {
        let status = v1::GetMirrorStatusRequest { name: "mirrors/n/status".to_owned(), ..Default::default() };
        let status = called.mirrors().get_mirror_status(status).await.unwrap().into_inner();
        let statuses = v1::ListMirrorStatusesRequest {
            parent: "mirrors/-".to_owned(),
            order_by: "mirror desc".to_owned(),
            page_size: 1,
            ..Default::default()
        };
        let statuses = called.mirrors().list_mirror_statuses(statuses).await.unwrap().into_inner();
        let page: Vec<String> = statuses.mirror_statuses.into_iter().map(|s| s.mirror).collect();
        let ranges = v1::ListRangesRequest { parent: "mirrors/m".to_owned(), ..Default::default() };
        let ranges = called.mirrors().list_ranges(ranges).await.unwrap().into_inner();
        let gaps = v1::ListGapsRequest { parent: "mirrors/m".to_owned(), ..Default::default() };
        let gaps = called.mirrors().list_gaps(gaps).await.unwrap().into_inner();
        let workers = called.fleet().list_workers(v1::ListWorkersRequest::default()).await.unwrap();
        let workers: Vec<String> = workers.into_inner().workers.into_iter().map(|w| w.name).collect();
        assert_eq!(
            (page.as_slice(), workers.as_slice()),
            (&["mirrors/n".to_owned()][..], &["workers/w1".to_owned()][..])
        );
        answers.push((status, page, statuses.next_page_token, ranges, gaps, workers));
    }
    assert_eq!(answers[0], answers[1]);
    // What is refused is refused alike, with its details.
    for called in pair.both() {
        let unknown = v1::GetMirrorStatusRequest { name: "mirrors/x".to_owned(), ..Default::default() };
        expect(called.mirrors().get_mirror_status(unknown).await, Reason::MIRROR_NOT_FOUND, "x");
        let filter = v1::ListMirrorStatusesRequest {
            parent: "mirrors/-".to_owned(),
            filter: "colour = red".to_owned(),
            ..Default::default()
        };
        let fields =
            expect(called.mirrors().list_mirror_statuses(filter).await, Reason::INVALID_FIELD, "colour");
        assert_eq!(fields, ["filter"]);
        let give_back = v1::GiveBackMirrorRequest { name: "mirrors/m".to_owned(), ..Default::default() };
        expect(called.mirrors().give_back_mirror(give_back).await, Reason::MIRROR_NOT_PAUSED, "pause m");
    }
}

#[tokio::test]
async fn a_follower_asks_and_drains_workers_as_the_leader_does() {
    let pair = Pair::new().await;
    let drain = |cancel| v1::DrainWorkerRequest { name: "workers/w1".to_owned(), cancel };
    let drained = pair.follower.fleet().drain_worker(drain(false)).await.unwrap().into_inner();
    assert_ne!(drained.state(), v1::worker::State::Ready);
    for called in pair.both() {
        let get = v1::GetWorkerRequest { name: "workers/w1".to_owned() };
        let seen = called.fleet().get_worker(get).await.unwrap().into_inner();
        assert_ne!(seen.state(), v1::worker::State::Ready);
    }
    let back = pair.follower.fleet().drain_worker(drain(true)).await.unwrap().into_inner();
    assert_eq!(back.state(), v1::worker::State::Ready);
    for called in pair.both() {
        let topics = v1::ListTopicsRequest { parent: "clusters/a".to_owned(), ..Default::default() };
        let topics = called.clusters().list_topics(topics).await.unwrap().into_inner();
        assert_eq!(topics.topics[0].topic, "topic-000");
        let test = v1::TestClusterRequest { name: "clusters/a".to_owned(), cluster: None };
        let tested = called.clusters().test_cluster(test).await.unwrap().into_inner();
        assert_eq!((tested.reachable, tested.worker.as_str()), (true, "workers/w1"));
        let plan = v1::PlanMirrorRequest { name: "mirrors/m".to_owned() };
        let plan = called.mirrors().plan_mirror(plan).await.unwrap().into_inner();
        assert_eq!((plan.topics[0].target_topic.as_str(), plan.worker.as_str()), ("a.orders", "workers/w1"));
        let offset = v1::SourceOffset { topic: "orders".to_owned(), partition: 0, offset: 5 };
        let translate = v1::TranslateOffsetsRequest {
            mirror: "mirrors/m".to_owned(),
            offsets: vec![offset],
            ..Default::default()
        };
        let mut offsets = OffsetServiceClient::new(called.channel.clone());
        let translated = offsets.translate_offsets(translate).await.unwrap().into_inner();
        assert_eq!(translated.offsets[0].target_offset, Some(6));
        // Only validated: a worker plans it, and nothing is made.
        let only = v1::CreateMirrorRequest { validate_only: true, ..create_mirror("v") };
        let planned = called.mirrors().create_mirror(only).await.unwrap().into_inner().plan.unwrap();
        assert_eq!(planned.worker, "workers/w1");
        let change = v1::UpdateMirrorRequest {
            mirror: Some(v1::Mirror {
                name: "mirrors/n".to_owned(),
                topics: vec!["t".to_owned()],
                ..Default::default()
            }),
            update_mask: Some(prost_types::FieldMask { paths: vec!["topics".to_owned()] }),
            validate_only: true,
            ..Default::default()
        };
        let planned = called.mirrors().update_mirror(change).await.unwrap().into_inner();
        assert_eq!(
            (planned.topics, planned.plan.unwrap().worker.as_str()),
            (vec!["t".to_owned()], "workers/w1")
        );
    }
    // A write is any replica's, and who made it sees it there.
    let made = pair.follower.mirrors().create_mirror(create_mirror("w")).await.unwrap().into_inner();
    let get = v1::GetMirrorRequest { name: "mirrors/w".to_owned() };
    assert_eq!(pair.follower.mirrors().get_mirror(get).await.unwrap().into_inner().etag, made.etag);
}

#[tokio::test]
async fn a_watch_at_a_follower_has_statuses_too() {
    let pair = Pair::new().await;
    let request = v1::WatchMirrorsRequest {
        name: "mirrors/n".to_owned(),
        status_interval: Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 }),
        ..Default::default()
    };
    let mut stream = pair.follower.mirrors().watch_mirrors(request).await.unwrap().into_inner();
    let seen = async {
        loop {
            if let Some(Event::Status(status)) = stream.message().await.unwrap().unwrap().event {
                return status;
            }
        }
    };
    let status = tokio::time::timeout(PATIENCE, seen).await.expect("a status in time");
    assert_eq!(status.mirror, "mirrors/n");
}

#[tokio::test]
async fn a_request_is_counted_where_it_is_made() {
    let pair = Pair::new().await;
    let request = v1::ListTopicsRequest {
        parent: "clusters/a".to_owned(),
        patterns: vec!["x".to_owned(); 1_001],
        ..Default::default()
    };
    for called in pair.both() {
        let fields =
            expect(called.clusters().list_topics(request.clone()).await, Reason::INVALID_FIELD, "1000");
        assert_eq!(fields, ["patterns"]);
    }
}

/// The key says that somebody leads who doesn't: as in the moment in which a leader has resigned.
#[tokio::test]
async fn what_was_passed_on_once_is_not_passed_on_again() {
    let pair = Pair::new().await;
    // The one that leads no more is the leader to the other two, and the other way round: a call would go round for ever.
    let third = pair.leader.follower("third").await;
    let list = |at: &Service| {
        let mut fleet = at.fleet();
        async move { fleet.list_workers(v1::ListWorkersRequest::default()).await }
    };
    list(&third).await.expect("it is passed on to the leader");
    // Both followers take the second one for the leader.
    let record = LeaderRecord { id: "another".to_owned(), address: pair.follower.url.clone() };
    let write = Write::put(keys::LEADER, record.encode_to_vec());
    pair.leader.store.commit(Transaction { guards: Vec::new(), writes: vec![write] }).await.unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let refused = loop {
        match list(&third).await {
            Err(refused) if refused.message().contains("does not lead") => break refused,
            Ok(_) | Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
        assert!(tokio::time::Instant::now() < deadline, "it goes on being answered");
    };
    expect::<()>(Err(refused), Reason::NO_LEADER, "does not lead");
    // Nor by itself to itself.
    expect(list(&pair.follower).await, Reason::NO_LEADER, "does not lead");
    let marked = Request::new(v1::GetMirrorRequest { name: "mirrors/m".to_owned() });
    pair.follower.mirrors().get_mirror(marked).await.expect("what needs no leader is answered");
}
