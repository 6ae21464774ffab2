//! What most scenarios need: a source and a target cluster, etcd, controllers and workers, the tools, and the API.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use twinlog_proto::v1;

use crate::api::Api;
use crate::sandbox::{
    Controller, ControllerOptions, Etcd, KafkaOptions, Lent, Sandbox, Worker, WorkerOptions, wait_until,
};
use crate::tools::{Isolation, Tools};
use crate::verify::{Verdict, compare};

/// Workers are there within this time, on a machine that is busy with Kafka's own start.
const WORKERS: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub struct WorldOptions {
    pub source: KafkaOptions,
    pub target: KafkaOptions,
    pub controllers: usize,
    pub workers: usize,
    /// 0: no etcd, the controller keeps its state in a file.
    pub etcd_members: usize,
    /// Arguments of every worker.
    pub worker_args: Vec<String>,
    /// Environment of every controller and worker.
    pub env: Vec<(String, String)>,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self {
            source: KafkaOptions::default(),
            target: KafkaOptions::default(),
            controllers: 1,
            workers: 2,
            etcd_members: 1,
            worker_args: Vec::new(),
            env: Vec::new(),
        }
    }
}

/// Everything, running: clusters `a` (source) and `b` (target) are registered.
pub struct World {
    // Fields drop in this order: our processes before the clusters they are connected to.
    pub workers: Vec<Worker>,
    pub controllers: Vec<Controller>,
    pub api: Api,
    pub tools: Arc<Tools>,
    pub etcd: Option<Etcd>,
    pub source: Lent,
    pub target: Lent,
    pub sandbox: Sandbox,
}

impl World {
    pub fn start(name: &str, options: WorldOptions) -> Result<Self> {
        let sandbox = Sandbox::new(name)?;
        let etcd = match options.etcd_members {
            0 => None,
            members => Some(sandbox.etcd(members)?),
        };
        let endpoints = etcd.as_ref().map(Etcd::endpoints).unwrap_or_default();
        // Before Kafka, which takes longest: meanwhile the leader of the new store listens for what workers may run.
        let mut controllers = Vec::new();
        for number in 1..=options.controllers {
            let env = options.env.clone();
            let controller = ControllerOptions { etcd: endpoints.clone(), env, ..Default::default() };
            controllers.push(sandbox.controller(&number.to_string(), controller)?);
        }
        let mut workers = Vec::new();
        for number in 1..=options.workers {
            let mut worker = WorkerOptions::of(&controllers.iter().collect::<Vec<_>>());
            worker.args = options.worker_args.clone();
            worker.env = options.env.clone();
            workers.push(sandbox.worker(&number.to_string(), worker)?);
        }
        let (source, target) = sandbox.lent_pair(("a", options.source), ("b", options.target))?;
        let tools = Tools::start(&sandbox)?;
        let api = Api::new(&controllers[0].url())?;
        api.wait_workers(options.workers, WORKERS)?;
        api.add_cluster("a", &source.bootstrap(), &[])?;
        api.add_cluster("b", &target.bootstrap(), &[])?;
        Ok(Self { workers, controllers, api, tools, etcd, source, target, sandbox })
    }

    /// The etcd of a world that has one.
    pub fn etcd(&self) -> &Etcd {
        self.etcd.as_ref().expect("this world was started with etcd")
    }

    /// Waits until the target's topic is the source's topic, and says what is different if that doesn't come.
    pub fn wait_exact(&self, source_topic: &str, target_topic: &str, deadline: Duration) -> Result<Verdict> {
        let mut last = None;
        let waited = wait_until(deadline, &format!("{target_topic} to equal {source_topic}"), || {
            let verdict = self.compare(source_topic, target_topic)?;
            let exact = verdict.is_exact();
            last = Some(verdict.clone());
            Ok(exact.then_some(verdict))
        });
        waited.map_err(|error| match last {
            Some(verdict) => error.context(format!("{target_topic}: {verdict}")),
            None => error,
        })
    }

    /// Compares what `read_committed` readers see now.
    pub fn compare(&self, source_topic: &str, target_topic: &str) -> Result<Verdict> {
        let source = self.tools.dump(&self.source, source_topic, Isolation::Committed)?;
        let target = self.tools.dump(&self.target, target_topic, Isolation::Committed)?;
        Ok(compare(&source, &target))
    }
}

/// A mirror of `topics` from `a` to `b`, everything else at its default.
pub fn mirror(topics: &[&str]) -> v1::Mirror {
    v1::Mirror {
        source: "clusters/a".into(),
        target: "clusters/b".into(),
        topics: topics.iter().map(|t| (*t).to_owned()).collect(),
        ..Default::default()
    }
}

/// `v1::Naming` of a kind.
pub fn naming(kind: v1::naming::Kind) -> Option<v1::Naming> {
    Some(v1::Naming { kind: kind.into(), ..Default::default() })
}
