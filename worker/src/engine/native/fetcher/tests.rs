//! What a broker is asked for, as ranges come, take, and go.

use bytes::Bytes;
use tokio::time::timeout;
use uuid::Uuid;

use super::*;
use crate::budget::Budget;

fn subscription(slot: u16, deliver: &mpsc::Sender<Delivery>, news: &Arc<Notify>) -> Subscription {
    let from = From { topic_id: Uuid::nil(), offset: 0, leader_epoch: -1, last_epoch: -1, max_bytes: 1 };
    let flow = Arc::new(Flow::new(1000, news.clone()));
    let (taker, deliver) = (Arc::default(), deliver.clone());
    Subscription { slot, from, flow, queue: 1000, taker, deliver, ends: (-1, -1), fresh: true }
}

fn piece(high_watermark: i64) -> Piece {
    Piece { records: Bytes::new(), aborted: Vec::new(), high_watermark, last_stable_offset: high_watermark }
}

fn answer(parts: Vec<Part>) -> Fetched {
    let [waited, took, throttle] = [Duration::ZERO; 3];
    Fetched { parts, bytes: 0, throttle, waited, took }
}

fn memory() -> Memory {
    Budget::new(64 << 20).shared().clone()
}

async fn kept() -> Arc<Kept> {
    Arc::new(Kept::new(&Arc::new(memory().share(1000).await), &Arc::default()))
}

#[tokio::test(start_paused = true)]
async fn there_is_always_room_for_the_word_that_nothing_more_comes() {
    let (news, kept) = (Arc::<Notify>::default(), kept().await);
    let (deliver, mut deliveries) = mpsc::channel(2 * DELIVERIES);
    for slot in [0, 1] {
        let mut one = subscription(slot, &deliver, &news);
        let mut asked = 0;
        while one.flow.is_open() {
            asked += 1;
            one.piece(piece(asked), kept.clone(), 1);
        }
        one.tell(What::Away(KafkaError::retriable(
            twinlog_proto::reason::Reason::CLUSTER_UNREACHABLE,
            String::new(),
        )));
    }
    let mut told = Vec::new();
    while let Ok(delivery) = deliveries.try_recv() {
        told.extend(matches!(delivery.what, What::Away(_)).then_some(delivery.slot));
    }
    assert_eq!(told, [0, 1], "though the range took nothing meanwhile");
}

#[tokio::test(start_paused = true)]
async fn the_broker_hears_only_of_what_has_changed() {
    let (news, memory, taker) = (Arc::<Notify>::default(), memory(), Arc::<Taker>::default());
    let (deliver, mut deliveries) = mpsc::channel(4 * DELIVERIES);
    let spot = |partition| Spot { topic: Arc::from("t"), partition };
    let fetcher = Fetcher { wanted: Arc::default(), news: News(news) };
    let subscribe = |partition, offset| {
        let from = subscription(0, &deliver, &Arc::default()).from;
        let start = (0, From { offset, ..from });
        fetcher.subscribe(&spot(partition), start, (&taker, 1000), &deliver).expect("nobody else has it")
    };
    let said = || {
        let mut changes = Changes::new();
        let Asking { something, .. } = fetcher.wanted.changes(&memory, &mut changes);
        let offset = |from: Option<From>| from.map(|from| from.offset);
        let said = changes.into_iter().map(|(spot, from)| (spot.partition, offset(from)));
        (something, said.collect::<Vec<_>>())
    };
    let flows = [subscribe(0, 5), subscribe(1, 7)];
    assert_eq!(said(), (true, vec![(0, Some(5)), (1, Some(7))]));
    assert_eq!(said(), (true, vec![]));
    // One that its range takes no more of is left out until it does.
    let share = Arc::new(memory.share(1000).await);
    for high in 1..=PIECES as i64 {
        let parts = vec![Part { spot: spot(0), outcome: Ok(piece(high)) }];
        super::deliver(&fetcher.wanted, answer(parts), (&memory, &share), &Pace::default());
    }
    assert_eq!(said(), (true, vec![(0, None)]));
    assert_eq!(said(), (true, vec![]));
    deliveries.recv().await.unwrap().flow.taken();
    assert_eq!(said(), (true, vec![(0, Some(5))]));
    // Who comes anew for the same partition shall hear of its ends, though the broker has said them.
    fetcher.unsubscribe(&spot(1), &flows[1]);
    let _again = subscribe(1, 7);
    assert_eq!(said(), (true, vec![(1, None)]));
    assert_eq!(said(), (true, vec![(1, Some(7))]));
    fetcher.unsubscribe(&spot(0), &flows[0]);
    fetcher.wanted.begin_anew();
    assert_eq!(said(), (true, vec![(1, Some(7))]));
    drop((deliver, deliveries));
    fetcher.wanted.begin_anew();
    assert_eq!(said(), (false, vec![]));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_takes_is_not_asked_for_until_there_is_memory_for_it_again() {
    let (news, memory, taker) = (Arc::<Notify>::default(), memory(), Arc::<Taker>::default());
    let (deliver, mut deliveries) = mpsc::channel(DELIVERIES);
    let spot = Spot { topic: Arc::from("t"), partition: 0 };
    let fetcher = Fetcher { wanted: Arc::default(), news: News(news) };
    let from = subscription(0, &deliver, &Arc::default()).from;
    let _flow = fetcher.subscribe(&spot, (0, from), (&taker, 1000), &deliver).expect("it is new");
    let mut changes = Changes::new();
    let asking = |changes: &mut _| fetcher.wanted.changes(&memory, changes);
    assert_eq!(asking(&mut changes), Asking { something: true, held_back: false });

    let share = Arc::new(memory.share(1000).await);
    let mut held = Vec::new();
    while memory.is_open_to(&taker, Some(&share)) {
        held.push(Kept::new(&Arc::new(memory.share(32 << 20).await), &taker));
    }
    let parts = vec![Part { spot: spot.clone(), outcome: Ok(piece(1)) }];
    super::deliver(&fetcher.wanted, answer(parts), (&memory, &share), &Pace::default());
    assert!(deliveries.try_recv().is_err(), "it came too late and is fetched once more");
    changes.clear();
    assert_eq!(asking(&mut changes), Asking { something: false, held_back: true });
    assert_eq!(changes.remove(&spot), Some(None));
    drop(held);
    assert_eq!(asking(&mut changes), Asking { something: true, held_back: false });
    assert_eq!(changes.remove(&spot).flatten().map(|from| from.offset), Some(0));
}

#[tokio::test(start_paused = true)]
async fn whoever_was_left_out_is_heard_of_when_its_range_has_taken_some() {
    let (news, kept) = (Arc::<Notify>::default(), kept().await);
    let (deliver, mut deliveries) = mpsc::channel(DELIVERIES);
    let mut one = subscription(0, &deliver, &news);
    (0..PIECES as i64).for_each(|at| one.piece(piece(at), kept.clone(), 1));
    assert!(!one.flow.is_open());
    deliveries.recv().await.unwrap().flow.taken();
    timeout(Duration::from_secs(1), news.notified()).await.expect("it may go on");
    assert!(one.flow.is_open());
    // The same with bytes.
    one.flow.keeps(1000);
    assert!(!one.flow.is_open());
    one.flow.done(1);
    timeout(Duration::from_secs(1), news.notified()).await.expect("it may go on");
}
