//! The demo: a newcomer watches records flow between two clusters, and reads whether the copy is right.
//!
//! It only does what a user does (the `twinlog` command line), and judges by the independent reader. Ends with an error if one
//! record differs or one translated offset is wrong.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::sandbox::{ControllerOptions, KafkaOptions, Sandbox, WorkerOptions};
use crate::tools::{Isolation, LoadOptions, Tools};
use crate::world::World;

mod groups;
mod show;
mod verdict;

use show::{Stage, command};

/// The topic that records keep flowing into while everything else happens.
const LIVE: &str = "demo.live";
const LIVE_PARTITIONS: u32 = 6;
const MIRROR: &str = "demo";
const WORKERS_UP: Duration = Duration::from_secs(30);
/// The whole corpus on the target, on a slow machine.
const COPIED: Duration = Duration::from_secs(180);

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Multiplies the corpus; 1 is about 30,000 records.
    #[arg(long, default_value_t = 2)]
    scale: u32,
    /// Records per second that flow while the demo watches.
    #[arg(long, default_value_t = 2_000.0)]
    rate: f64,
    /// How long to watch, seconds.
    #[arg(long, default_value_t = 12)]
    watch: u64,
    /// Keep everything running at the end until Enter is pressed.
    #[arg(long)]
    stay: bool,
}

pub fn run(options: &Options) -> Result<()> {
    let begin = Instant::now();
    let mut stage = Stage::new();
    let world = start(&mut stage)?;
    let controller = &world.controllers[0];

    stage.next("A consumer group's work and a mixed corpus on cluster a");
    let made = world.tools.corpus(&world.source, "demo", 20_240_611, options.scale)?;
    for (topic, records) in &made {
        println!("   {topic:<20} {records:>8} records");
    }
    world.tools.create_topic(&world.source, LIVE, LIVE_PARTITIONS, &[])?;
    groups::commit(&world)?;

    stage.next("Two clusters and a mirror, as a user makes them");
    command(controller, &["cluster", "add", "a", "--bootstrap-servers", &world.source.bootstrap()])?;
    command(controller, &["cluster", "add", "b", "--bootstrap-servers", &world.target.bootstrap()])?;
    command(controller, &["cluster", "test", "a"])?;
    let create = ["mirror", "create", MIRROR, "--source", "a", "--target", "b", "--topics", r"demo\..*"];
    let groups = ["--groups", "demo-.*", "--sync-group-offsets"];
    command(controller, &[&create[..], &groups[..], &["--plan"]].concat())?;
    command(controller, &[&create[..], &groups[..]].concat())?;

    stage.next("Records flow: lag, rate and latency, live");
    world.tools.tail(&world.target, &format!("a.{LIVE}"), Isolation::Committed)?;
    let live = LoadOptions { rate: options.rate, ..LoadOptions::new(LIVE_PARTITIONS) };
    world.tools.load(&world.source, LIVE, &live)?;
    show::watch(&world, MIRROR, LIVE, Duration::from_secs(options.watch))?;
    command(controller, &["worker", "list"])?;
    let produced: u64 = world.tools.stop_load(LIVE)?.values().sum();

    stage.next("A consumer group's offsets, translated exactly");
    command(controller, &["offsets", "translate", MIRROR, "--group", groups::GROUP])?;

    stage.next("Verdict: every record read back from both clusters and compared");
    let mut topics: Vec<_> = made.keys().cloned().collect();
    topics.push(LIVE.to_owned());
    let records = verdict::records(&world, &topics, COPIED)?;
    let offsets = groups::verify(&world, COPIED)?;
    let tail = world.tools.stop_tail(&format!("a.{LIVE}"))?;
    ensure!(tail.wrong == 0, "the live topic as it arrived: {}", tail.first_wrong);
    println!(
        "   while flowing: {produced} records, from made on a to read on b: p50 {} ms, p99 {} ms",
        tail.p50_ms, tail.p99_ms
    );
    if options.stay {
        show::stay(controller, &world)?;
    }
    println!("\nVERDICT: {records} records in {} topics on b equal their source on a:", topics.len());
    println!(
        "         key, value, headers, timestamp, partition and order. {offsets} committed offsets exact."
    );
    println!("         {:.0} s since the clusters were started.", begin.elapsed().as_secs_f64());
    Ok(())
}

fn start(stage: &mut Stage) -> Result<World> {
    stage.next("Two separate Kafka clusters and etcd");
    let sandbox = Sandbox::new("demo")?;
    println!("   logs and data: {}", sandbox.folder().display());
    let etcd = sandbox.etcd(1)?;
    let (source, target) =
        sandbox.kafka_pair(("a", KafkaOptions::default()), ("b", KafkaOptions::default()))?;
    println!("   cluster a (source): Kafka {} at {}", source.version(), source.bootstrap());
    println!("   cluster b (target): Kafka {} at {}", target.version(), target.bootstrap());
    let tools = Tools::start(&sandbox)?;

    stage.next("A controller and two workers");
    let options = ControllerOptions { etcd: etcd.endpoints(), ..Default::default() };
    let controllers = vec![sandbox.controller("1", options)?];
    let worker = |name| sandbox.worker(name, WorkerOptions::of(&[&controllers[0]]));
    let workers = vec![worker("1")?, worker("2")?];
    let api = crate::api::Api::new(&controllers[0].url())?;
    api.wait_workers(2, WORKERS_UP)?;
    println!("   controller: {}", controllers[0].url());
    let (source, target) = (source.into(), target.into());
    Ok(World { workers, controllers, api, tools, etcd: Some(etcd), source, target, sandbox })
}
