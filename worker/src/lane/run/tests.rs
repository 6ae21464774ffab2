//! A lane's life, told with a scripted engine and scripted clusters, on a clock that goes on by itself when nobody has anything to
//! do: hours take milliseconds, and no test sleeps.

mod backoff;
mod fencing;
mod halt;
mod opening;
mod refused;
mod settings;
mod turns;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use twinlog_proto::id::{ClusterId, Epoch, SourceOffset, TaskName, WorkerId};
use twinlog_proto::model::{self, Guarantee, Mirror, OffsetSyncLocation};
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;

use crate::budget::Budget;
use crate::cause::Cause;
use crate::cluster::ClusterHandle;
use crate::engine::scripted::{Act, Engine, Life, Told};
use crate::engine::{Durability, Exit, Health, NotOpened, Trouble};
use crate::lane::clusters::scripted::{Clusters, OFFSETS, PROGRESS};
use crate::lane::{LaneHandle, LaneSpec, LaneStatus, Range, start_with};
use crate::status::{PartitionStatus, State};

const MIB: u64 = 1 << 20;
/// What must come, comes within this time.
const SOON: Duration = Duration::from_secs(600);

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Both clusters, a mirror between them, and one range of it, before its lane starts.
struct Setting {
    mirror: Mirror,
    range: Range,
    epoch: i64,
    budget: Arc<Budget>,
    clusters: Clusters,
    engine: Engine,
}

impl Setting {
    fn new() -> Self {
        let wire = v1::Mirror {
            name: "mirrors/m".to_owned(),
            source: "clusters/a".to_owned(),
            target: "clusters/b".to_owned(),
            topics: vec!["t".to_owned()],
            ..Default::default()
        };
        let mut mirror = Mirror::parse(&wire).expect("a valid mirror");
        mirror.guarantee = Guarantee::ExactlyOnce;
        // Of the two it is the one whose ranges take shares of the budget.
        mirror.engine = model::Engine::Librdkafka;
        // They would be written by a client of their own.
        mirror.offset_syncs = OffsetSyncLocation::Disabled;
        let clusters = Clusters::default();
        let engine = Engine::new(clusters.state().log.clone());
        Self { mirror, range: range(2), epoch: 7, budget: Budget::new(64 * MIB), clusters, engine }
    }

    fn mirror(mut self, change: impl FnOnce(&mut Mirror)) -> Self {
        change(&mut self.mirror);
        self
    }

    fn life(self, life: Life) -> Self {
        self.engine.then(life);
        self
    }

    /// The engine ends at once, each time with the next of these.
    fn ends(self, exits: impl IntoIterator<Item = Exit>) -> Self {
        exits.into_iter().for_each(|exit| self.engine.then(Life::Runs(vec![Act::Ends(exit)])));
        self
    }

    fn source(self, partition: i32, log: (i64, i64)) -> Self {
        self.clusters.state().source.insert(partition, log);
        self
    }

    fn start(self) -> Stage {
        let mirror = Arc::new(self.mirror);
        let target_topic = self.range.target_topic.clone();
        let spec = LaneSpec {
            task: TaskName::Replicate { mirror: mirror.id.clone(), target_topic, block: 0 },
            epoch: Epoch(self.epoch),
            worker: WorkerId::new("w").expect("a valid id"),
            mirror: mirror.clone(),
            range: self.range.clone(),
            source: cluster("a"),
            target: cluster("b"),
        };
        let with = (
            crate::engine::Engine::Scripted(self.engine.clone()),
            super::Clusters::Scripted(self.clusters.clone()),
        );
        let (range, clusters, engine, budget) = (self.range, self.clusters, self.engine, self.budget);
        let lane = start_with(spec, with, &budget);
        Stage { mirror, range, clusters, engine, budget, lane }
    }
}

/// Nobody listens there: whatever is asked of it is not asked by the lane's life.
fn cluster(id: &str) -> Arc<ClusterHandle> {
    let cluster = model::Cluster {
        id: ClusterId::new(id).expect("a valid id"),
        bootstrap_servers: vec!["127.0.0.1:1".to_owned()],
        properties: BTreeMap::new(),
    };
    Arc::new(ClusterHandle::open(&cluster).expect("valid properties"))
}

fn range(partitions: i32) -> Range {
    Range {
        source_topic: "t".to_owned(),
        target_topic: "a.t".to_owned(),
        block: 0,
        first_partition: 0,
        partition_count: partitions,
        source_topic_id: None,
        target_max_message_bytes: None,
        initial_partitions: partitions,
        target_topic_id: None,
    }
}

/// A lane that runs.
struct Stage {
    mirror: Arc<Mirror>,
    range: Range,
    clusters: Clusters,
    engine: Engine,
    budget: Arc<Budget>,
    lane: LaneHandle,
}

impl Stage {
    /// The first status that is as wanted.
    async fn status(&self, wanted: impl FnMut(&LaneStatus) -> bool) -> LaneStatus {
        let mut status = self.lane.status();
        let found = timeout(SOON, status.wait_for(wanted)).await;
        found.unwrap_or_else(|_| panic!("it stays {:?}", self.now())).expect("the lane lives").clone()
    }

    async fn is_in(&self, state: State, reason: Option<Reason>) -> LaneStatus {
        self.status(|status| status.state == state && reason_of(status) == reason).await
    }

    fn now(&self) -> LaneStatus {
        self.lane.status().borrow().clone()
    }

    /// Waits until something holds.
    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < SOON, "it doesn't come: {:?}, {:?}", self.now(), self.engine.told());
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits for the engine that is opened as number `count` and has got its order.
    async fn ordered(&self, count: usize) -> Told {
        self.until(|stage| stage.engine.told().get(count - 1).is_some_and(|told| told.order.is_some())).await;
        self.engine.told()[count - 1].clone()
    }

    async fn opened(&self, count: usize) -> Told {
        self.until(|stage| stage.engine.told().len() >= count).await;
        self.engine.told()[count - 1].clone()
    }

    fn update(&self, change: impl FnOnce(&mut Mirror)) {
        let mut mirror = (*self.mirror).clone();
        change(&mut mirror);
        self.lane.update(Arc::new(mirror), self.range.clone());
    }

    /// The lane ends, within the time that it takes now.
    async fn drain(mut self) -> Duration {
        let began = Instant::now();
        self.lane.drain();
        timeout(SOON, self.lane.stopped()).await.expect("it ends");
        assert_eq!(self.engine.open_now(), 0, "its clients are closed");
        assert_eq!((self.now().state, reason_of(&self.now())), (State::Pending, Some(Reason::STARTING)));
        began.elapsed()
    }

    /// What is durable of a partition, by the range's progress.
    fn durable(&self, partition: i32) -> Option<i64> {
        let progress = self.clusters.progress(&self.range)?;
        progress.partitions.get(&partition).map(|own| own.position.0)
    }

    fn partition(&self, partition: i32) -> PartitionStatus {
        let status = self.now();
        let found = status.partitions.iter().find(|p| p.partition == partition).cloned();
        found.unwrap_or_else(|| panic!("partition {partition} is not shown: {status:?}"))
    }
}

fn reason_of(status: &LaneStatus) -> Option<Reason> {
    status.cause.as_ref().map(|cause| cause.reason)
}

fn failed() -> Exit {
    Exit::Failed { what: "writing records", error: Trouble::new("the target went away") }
}

/// After which what has stopped is tried again; timers are as fine as a millisecond.
fn is_a_retry(pause: Duration) -> bool {
    (secs(30)..secs(30) + Duration::from_millis(5)).contains(&pause)
}

/// Times from one engine's opening to the next one's.
fn pauses(told: &[Told]) -> Vec<Duration> {
    told.windows(2).map(|two| two[1].at - two[0].at).collect()
}

#[tokio::test(start_paused = true)]
async fn it_runs_until_it_is_drained_and_says_where_it_is() {
    let copies = Life::Runs(vec![Act::Copies(0, 5), Act::Copies(1, 3)]);
    let stage = Setting::new().source(0, (0, 5)).source(1, (0, 3)).life(copies).start();
    assert_eq!(stage.now().state, State::Pending);
    let told = stage.ordered(1).await;
    assert_eq!((told.position(0), told.position(1)), (Some(0), Some(0)));
    assert!(matches!(told.durability, Durability::Transactions { .. }));
    stage.is_in(State::Active, None).await;
    stage.until(|stage| stage.partition(1).position == Some(SourceOffset(3))).await;
    assert_eq!((stage.partition(0).position, stage.partition(0).records), (Some(SourceOffset(5)), 5));
    sleep(secs(3600)).await;
    assert_eq!((stage.engine.told().len(), stage.engine.open_now()), (1, 1), "nothing disturbs it");
    let (engine, budget) = (stage.engine.clone(), stage.budget.clone());
    assert!(stage.drain().await < secs(1));
    assert_eq!(engine.told()[0].exit, Some(Exit::Drained));
    assert_eq!(budget.reserved(), 0);
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_where_its_progress_says() {
    let lives =
        [vec![Act::Copies(0, 5), Act::Acknowledges(1, 4), Act::Ends(failed())], vec![Act::Copies(0, 2)]];
    let setting = Setting::new().source(0, (0, 9)).source(1, (0, 9));
    let stage = lives.into_iter().fold(setting, |setting, acts| setting.life(Life::Runs(acts))).start();
    let told = stage.ordered(2).await;
    assert_eq!((told.position(0), told.position(1)), (Some(5), Some(0)), "only what is durable counts");
    stage.until(|stage| stage.durable(0) == Some(7)).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_handle_drains_the_lane() {
    let stage = Setting::new().start();
    stage.ordered(1).await;
    let Stage { engine, lane, .. } = stage;
    drop(lane);
    while engine.open_now() > 0 {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(engine.told()[0].exit, Some(Exit::Drained));
}
