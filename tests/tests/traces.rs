//! One trace follows a command from the command line through the controller to the worker, as a real OTLP collector sees it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use tonic::{Request, Response, Status};
use twinlog_tests::api::Api;
use twinlog_tests::sandbox::{ControllerOptions, Sandbox, WorkerOptions, wait_until};

/// Spans are sent in batches, every five seconds.
const SENT: Duration = Duration::from_secs(30);
const READY: Duration = Duration::from_secs(30);

/// What arrived: (trace, span, parent, name, service).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    name: String,
    service: String,
}

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for group in request.into_inner().resource_spans {
            let service = service_name(group.resource.as_ref());
            let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans).map(|span| Span {
                trace: span.trace_id,
                id: span.span_id,
                parent: span.parent_span_id,
                name: span.name,
                service: service.clone(),
            });
            self.0.lock().expect("nobody panics while holding the spans").extend(spans);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn service_name(resource: Option<&Resource>) -> String {
    let attributes = resource.map(|resource| resource.attributes.as_slice()).unwrap_or_default();
    let value = attributes.iter().find(|attribute| attribute.key == "service.name");
    match value.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(name)) => name.clone(),
        other => format!("{other:?}"),
    }
}

impl Collector {
    fn listen(&self, runtime: &tokio::runtime::Runtime) -> Result<SocketAddr> {
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let service = TraceServiceServer::new(self.clone());
        runtime.spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        Ok(address)
    }

    /// The ancestors of a span, itself first.
    fn lineage(&self, leaf: &Span) -> Vec<Span> {
        let spans = self.0.lock().expect("nobody panics while holding the spans");
        let mut lineage = vec![leaf.clone()];
        while let Some(parent) =
            spans.iter().find(|span| span.id == lineage.last().expect("it has a leaf").parent)
        {
            lineage.push(parent.clone());
        }
        lineage
    }
}

#[test]
fn a_collector_sees_one_trace_from_the_command_line_to_the_worker() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let collector = Collector::default();
    let endpoint = format!("http://{}", collector.listen(&runtime)?);
    let env = vec![("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint.clone())];
    let sandbox = Sandbox::new("traces")?;
    let controller = sandbox.controller("1", ControllerOptions { env: env.clone(), ..Default::default() })?;
    let worker = WorkerOptions { env, ..WorkerOptions::of(&[&controller]) };
    let _worker = sandbox.worker("1", worker)?;
    let api = Api::new(&controller.url())?;
    api.wait_workers(1, READY)?;
    // Nobody listens there: that is what the worker finds out, and says.
    api.add_cluster("nowhere", "127.0.0.1:1", &[])?;
    let mut test = std::process::Command::new(twinlog_tests::sandbox::binary("twinlog")?);
    test.env("TWINLOG_CONTROLLER", controller.url()).env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    let said = test.args(["cluster", "test", "nowhere"]).output()?;
    assert!(!said.status.success(), "a cluster that can't be reached is an error");

    let lineage = wait_until(SENT, "the worker's span and all that it comes from", || {
        let leaf = collector
            .0
            .lock()
            .expect("nobody panics while holding the spans")
            .iter()
            .find(|span| span.name == "query")
            .cloned();
        let lineage = leaf.map(|leaf| collector.lineage(&leaf)).unwrap_or_default();
        Ok((lineage.len() >= 3).then_some(lineage))
    })
    .with_context(|| {
        format!("the collector has {:?}", collector.0.lock().expect("nobody panics while holding the spans"))
    })?;
    let services: Vec<&str> = lineage.iter().map(|span| span.service.as_str()).collect();
    assert_eq!(services, ["twinlog-worker", "twinlog-controller", "twinlog"], "{lineage:?}");
    assert_eq!(lineage[1].name, "twinlog.v1.ClusterService/TestCluster");
    let traces: BTreeSet<&Vec<u8>> = lineage.iter().map(|span| &span.trace).collect();
    assert_eq!(traces.len(), 1, "{lineage:?}");
    Ok(())
}
