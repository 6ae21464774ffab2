//! What waits to be sent to one broker of the target: of each partition its batches, in their order.
//!
//! A broker answers a request when the slowest of its partitions is replicated, and reads none that follows on the same connection before.
//! So there are two lanes, each over a connection of its own: a partition that was not replicated in time goes over the slow one until it
//! is quick again, and holds up only others like it. It changes lanes while nothing of it is on its way: its batches arrive in order.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::news::News;
use crate::budget::Taker;
use crate::kafka::{KafkaError, Parcel, Refused, Spot};

/// A request is not filled further, bytes.
const MAX_BYTES: usize = 4 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Lane {
    #[default]
    Quick,
    Slow,
}

impl Lane {
    pub(super) const ALL: [Self; 2] = [Self::Quick, Self::Slow];
}

/// A batch on its way, and who wants to know.
pub(super) struct Letter {
    pub(super) parcel: Parcel,
    /// Where it belongs to a transaction.
    pub(super) transactional_id: Option<Arc<str>>,
    pub(super) waits: Waits,
}

/// Who waits for the answer to one batch.
pub(super) struct Waits {
    pub(super) spot: Spot,
    pub(super) sequence: i32,
    /// The partition's number within the range.
    pub(super) slot: u16,
    /// Has room for all that the range has on its way.
    pub(super) reply: mpsc::Sender<Reply>,
    /// It stays as long as an answer is to come.
    pub(super) by: Arc<Outbox>,
}

impl Waits {
    pub(super) fn tell(self, outcome: Outcome, throttle: Duration) {
        let reply = Reply { slot: self.slot, sequence: self.sequence, outcome, throttle };
        // Whoever doesn't listen any more has ended.
        let _ = self.reply.try_send(reply);
    }
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) slot: u16,
    pub(super) sequence: i32,
    pub(super) outcome: Outcome,
    pub(super) throttle: Duration,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// From this offset on.
    Stored(i64),
    Refused(Refused),
    /// The broker can't be used: it may have stored the batch, or not.
    Away(KafkaError),
}

/// What ranges hold of it. The connections live as long as somebody holds this.
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    pub(super) taker: Arc<Taker>,
    /// By lane. Dropped when nobody holds the outbox any more.
    news: [News; 2],
}

impl Outbox {
    pub(super) fn new(taker: Arc<Taker>) -> Self {
        Self { queue: Mutex::default(), taker, news: Lane::ALL.map(|_| News(Arc::default())) }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What tells a lane that there is something to send, or that nobody needs it any more.
    pub(super) fn news(&self, lane: Lane) -> Arc<Notify> {
        self.news[lane as usize].0.clone()
    }

    /// Letters for one partition are sent in the order in which they come.
    pub(super) fn send(&self, letter: Letter) {
        let lane = self.lock().push(letter);
        self.tell(lane);
    }

    /// One batch of each partition of the lane, as far as they fit into a request.
    pub(super) fn take(&self, lane: Lane) -> Vec<Letter> {
        self.lock().take(lane)
    }

    /// All that waits for the lane.
    pub(super) fn take_all(&self, lane: Lane) -> Vec<Letter> {
        self.lock().take_all(lane)
    }

    /// An answer has come for a batch that was taken; with `turns`, the partition belongs to that lane from now on.
    pub(super) fn answered(&self, spot: &Spot, turns: Option<Lane>) {
        let lane = self.lock().answered(spot, turns);
        self.tell(lane);
    }

    fn tell(&self, lane: Option<Lane>) {
        if let Some(lane) = lane {
            self.news[lane as usize].0.notify_one();
        }
    }
}

/// One partition.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Letter>,
    lane: Lane,
    /// Batches without an answer, and the lane that they went over.
    flying: usize,
    over: Lane,
    /// It stands among those that are ready.
    listed: bool,
}

#[derive(Default)]
struct Queue {
    lines: HashMap<Spot, Line>,
    /// By lane: partitions with something to send, the longest waiting first.
    ready: [VecDeque<Spot>; 2],
}

impl Queue {
    fn push(&mut self, letter: Letter) -> Option<Lane> {
        let spot = letter.parcel.spot.clone();
        self.lines.entry(spot.clone()).or_default().waiting.push_back(letter);
        self.list(&spot)
    }

    /// Lists a partition where that is due. Returns the lane that has something new to do.
    fn list(&mut self, spot: &Spot) -> Option<Lane> {
        let line = self.lines.get_mut(spot)?;
        if line.waiting.is_empty() {
            if line.flying == 0 && line.lane == Lane::Quick {
                self.lines.remove(spot);
            }
            return None;
        }
        if line.listed || (line.flying > 0 && line.over != line.lane) {
            return None;
        }
        line.listed = true;
        self.ready[line.lane as usize].push_back(spot.clone());
        Some(line.lane)
    }

    fn answered(&mut self, spot: &Spot, turns: Option<Lane>) -> Option<Lane> {
        let line = self.lines.get_mut(spot)?;
        line.flying = line.flying.saturating_sub(1);
        if let Some(lane) = turns.filter(|lane| *lane != line.lane) {
            if std::mem::take(&mut line.listed) {
                self.ready[line.lane as usize].retain(|ready| ready != spot);
            }
            line.lane = lane;
        }
        self.list(spot)
    }

    /// All letters belong to the same transaction, or none to any.
    fn take(&mut self, lane: Lane) -> Vec<Letter> {
        let (mut taken, mut bytes, mut others) = (Vec::<Letter>::new(), 0, VecDeque::new());
        let mut again = VecDeque::new();
        while let Some(spot) = self.ready[lane as usize].pop_front() {
            let Some(line) = self.lines.get_mut(&spot) else { continue };
            // What nobody waits for any more belongs to a run that has ended: behind that of the next one it would come too late.
            line.waiting.retain(|letter| !letter.waits.reply.is_closed());
            let Some(next) = line.waiting.front() else {
                line.listed = false;
                self.list(&spot);
                continue;
            };
            let fits = taken.is_empty() || bytes + next.parcel.len() <= MAX_BYTES;
            let belongs = taken.first().is_none_or(|first| first.transactional_id == next.transactional_id);
            if !fits || !belongs {
                others.push_back(spot);
                if !fits {
                    break;
                }
                continue;
            }
            bytes += next.parcel.len();
            taken.extend(line.waiting.pop_front());
            (line.flying, line.over) = (line.flying + 1, lane);
            if line.waiting.is_empty() {
                line.listed = false;
            } else {
                again.push_back(spot);
            }
        }
        // Who didn't fit is first next time, who has more goes behind all.
        let ready = &mut self.ready[lane as usize];
        while let Some(spot) = others.pop_back() {
            ready.push_front(spot);
        }
        ready.append(&mut again);
        taken
    }

    fn take_all(&mut self, lane: Lane) -> Vec<Letter> {
        self.ready[lane as usize].clear();
        let mut all = Vec::new();
        for line in self.lines.values_mut().filter(|line| line.lane == lane) {
            line.listed = false;
            all.extend(line.waiting.drain(..));
        }
        self.lines.retain(|_, line| line.lane != Lane::Quick || line.flying > 0 || !line.waiting.is_empty());
        all
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;

    /// Somebody waits for the answer as long as the test runs.
    fn listened_to() -> mpsc::Sender<Reply> {
        let (reply, replies) = mpsc::channel(1);
        Box::leak(Box::new(replies));
        reply
    }

    fn spot(partition: i32) -> Spot {
        Spot { topic: Arc::from("t"), partition }
    }

    fn letter_to(
        reply: mpsc::Sender<Reply>,
        (partition, sequence): (i32, i32),
        size: usize,
        id: Option<&str>,
    ) -> Letter {
        let spot = spot(partition);
        let by = Arc::new(Outbox::new(Arc::default()));
        let parcel = Parcel {
            spot: spot.clone(),
            topic_id: Uuid::nil(),
            header: Bytes::new(),
            payload: Bytes::from(vec![0; size]),
        };
        let waits = Waits { spot, sequence, slot: 0, reply, by };
        Letter { parcel, transactional_id: id.map(Arc::from), waits }
    }

    fn letter(partition: i32, sequence: i32, size: usize, id: Option<&str>) -> Letter {
        letter_to(listened_to(), (partition, sequence), size, id)
    }

    fn taken_by(queue: &mut Queue, lane: Lane) -> Vec<(i32, i32)> {
        let of = |letter: Letter| (letter.parcel.spot.partition, letter.waits.sequence);
        queue.take(lane).into_iter().map(of).collect()
    }

    fn taken(queue: &mut Queue) -> Vec<(i32, i32)> {
        taken_by(queue, Lane::Quick)
    }

    #[test]
    fn a_request_has_one_batch_of_each_partition() {
        let mut queue = Queue::default();
        for (partition, sequence) in [(0, 0), (0, 1), (1, 0), (0, 2)] {
            queue.push(letter(partition, sequence, 10, None));
        }
        assert_eq!(taken(&mut queue), [(0, 0), (1, 0)]);
        assert_eq!(taken(&mut queue), [(0, 1)]);
        assert_eq!(taken(&mut queue), [(0, 2)]);
        assert_eq!(taken(&mut queue), []);
        (0..3).for_each(|_| assert_eq!(queue.answered(&spot(0), None), None));
        queue.answered(&spot(1), None);
        assert!(queue.lines.is_empty(), "nothing stays of what is done");
    }

    #[test]
    fn who_does_not_fit_is_first_next_time() {
        let mut queue = Queue::default();
        for partition in 0..3 {
            queue.push(letter(partition, 0, MAX_BYTES / 2, None));
            queue.push(letter(partition, 1, MAX_BYTES / 2, None));
        }
        assert_eq!(taken(&mut queue), [(0, 0), (1, 0)]);
        assert_eq!(taken(&mut queue), [(2, 0), (0, 1)]);
        assert_eq!(taken(&mut queue), [(1, 1), (2, 1)]);
        queue.push(letter(7, 0, MAX_BYTES * 2, None));
        assert_eq!(taken(&mut queue), [(7, 0)], "however large it is");
    }

    #[test]
    fn transactions_are_not_mixed() {
        let mut queue = Queue::default();
        for (partition, id) in [(0, Some("a")), (1, None), (2, Some("a")), (3, Some("b"))] {
            queue.push(letter(partition, 0, 10, id));
        }
        assert_eq!(taken(&mut queue), [(0, 0), (2, 0)]);
        assert_eq!(taken(&mut queue), [(1, 0)]);
        assert_eq!(taken(&mut queue), [(3, 0)]);
    }

    #[test]
    fn what_a_run_that_has_ended_left_is_not_sent() {
        let mut queue = Queue::default();
        let ended = mpsc::channel(1).0;
        queue.push(letter_to(ended.clone(), (0, 7), 10, None));
        queue.push(letter_to(ended, (1, 7), 10, None));
        queue.push(letter(0, 0, 10, None));
        assert_eq!(taken(&mut queue), [(0, 0)], "what the next run has");
        assert!(queue.ready[0].is_empty());
        assert_eq!(queue.lines.len(), 1);
    }

    #[test]
    fn a_slow_partition_changes_lanes_when_nothing_of_it_is_on_its_way() {
        let mut queue = Queue::default();
        (0..3).for_each(|sequence| _ = queue.push(letter(0, sequence, 10, None)));
        queue.push(letter(1, 0, 10, None));
        assert_eq!(taken(&mut queue), [(0, 0), (1, 0)]);
        assert_eq!(taken(&mut queue), [(0, 1)]);
        assert_eq!(queue.answered(&spot(0), Some(Lane::Slow)), None, "one is still on its way");
        assert_eq!((taken(&mut queue), taken_by(&mut queue, Lane::Slow)), (vec![], vec![]));
        assert_eq!(queue.answered(&spot(0), Some(Lane::Slow)), Some(Lane::Slow));
        queue.push(letter(1, 1, 10, None));
        assert_eq!(taken(&mut queue), [(1, 1)], "the other stays quick");
        assert_eq!(taken_by(&mut queue, Lane::Slow), [(0, 2)]);
        assert_eq!(queue.answered(&spot(0), None), None);
        assert_eq!(queue.push(letter(0, 3, 10, None)), Some(Lane::Slow), "until it is quick");
        assert_eq!(taken_by(&mut queue, Lane::Slow), [(0, 3)]);
        queue.answered(&spot(0), Some(Lane::Quick));
        assert_eq!(queue.push(letter(0, 4, 10, None)), Some(Lane::Quick));
    }

    #[test]
    fn who_waits_for_a_lane_that_is_gone_hears_of_it() {
        let mut queue = Queue::default();
        (0..3).for_each(|partition| _ = queue.push(letter(partition, 0, 10, None)));
        assert_eq!(queue.take(Lane::Quick).len(), 3);
        queue.answered(&spot(0), Some(Lane::Slow));
        (0..3).for_each(|partition| _ = queue.push(letter(partition, 1, 10, None)));
        assert_eq!(queue.take_all(Lane::Quick).len(), 2);
        assert_eq!(taken_by(&mut queue, Lane::Slow), [(0, 1)]);
        assert_eq!(queue.take_all(Lane::Slow).len(), 0);
    }
}
