//! Twinlog as its users run it: a controller with the embedded store, a mirror made through the API, and one worker.

use anyhow::{Context, Result};
use twinlog_proto::v1;

use super::Place;
use super::row::Guarantee;
use super::subject::Job;
use crate::api::Api;
use crate::sandbox::{Controller, ControllerOptions, Worker, WorkerOptions};

/// Starts a controller that knows both clusters and the mirror.
pub(super) fn prepare(place: &Place, job: &Job, engine: v1::Engine) -> Result<Controller> {
    let controller = place.sandbox.controller(&job.alias, ControllerOptions::default())?;
    create(place, job, engine, &Api::new(&controller.url())?)?;
    Ok(controller)
}

pub(super) fn start_worker(place: &Place, job: &Job, controller: &Controller) -> Result<Worker> {
    let mut options = WorkerOptions::of(&[controller]);
    options.env.extend(place.worker_env.iter().cloned());
    place.sandbox.worker(&job.alias, options)
}

fn create(place: &Place, job: &Job, engine: v1::Engine, api: &Api) -> Result<()> {
    let (source, target) = (job.alias.clone(), format!("{}t", job.alias));
    let tls = place.tls_properties(job, "ssl.ca.location");
    for (id, kafka) in [(&source, &place.source), (&target, &place.target)] {
        let cluster = v1::Cluster {
            bootstrap_servers: vec![place.servers(kafka, job)?],
            properties: place.properties.iter().cloned().chain(tls.clone()).collect(),
            ..v1::Cluster::default()
        };
        let request = v1::CreateClusterRequest {
            cluster_id: id.clone(),
            cluster: Some(cluster),
            ..v1::CreateClusterRequest::default()
        };
        api.create_cluster(request).context("cannot create a cluster")?;
    }
    let mirror = v1::Mirror {
        source: format!("clusters/{source}"),
        target: format!("clusters/{target}"),
        topics: vec![job.topic.clone()],
        groups: vec![".*".to_owned()],
        engine: engine.into(),
        guarantee: guarantee(job).into(),
        compression: v1::Compression::from_name(&job.codec.to_uppercase()).map(i32::from).unwrap_or_default(),
        ..v1::Mirror::default()
    };
    let request = v1::CreateMirrorRequest {
        mirror_id: job.alias.clone(),
        mirror: Some(mirror),
        ..v1::CreateMirrorRequest::default()
    };
    api.create_mirror(request).context("cannot create the mirror")?;
    Ok(())
}

fn guarantee(job: &Job) -> v1::Guarantee {
    match job.guarantee {
        Guarantee::AtLeastOnce => v1::Guarantee::AtLeastOnce,
        Guarantee::ExactlyOnce => v1::Guarantee::ExactlyOnce,
    }
}
