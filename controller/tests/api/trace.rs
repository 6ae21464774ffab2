//! One trace follows a call from the client through the controller, whichever replica is called, to the worker.

use opentelemetry::trace::{TraceContextExt, TracerProvider};
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use twinlog_proto::telemetry;
use twinlog_proto::v1;
use twinlog_proto::v1::cluster_service_client::ClusterServiceClient;

use crate::service::Service;
use crate::worker::Worker;

#[tokio::test]
async fn a_trace_goes_from_client_to_worker() {
    // For the whole process: with one scoped subscriber, spans first met on another test's thread would stay off.
    let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).unwrap();

    let service = Service::with_clusters().await;
    let _worker = Worker::start(&service).await;
    let follower = service.follower("second").await;
    for called in [&service, &follower] {
        let span = tracing::info_span!("a person's command");
        let trace = span.context().span().span_context().trace_id().to_string();
        let mut client =
            ClusterServiceClient::with_interceptor(called.channel.clone(), telemetry::send_context);
        let request = v1::TestClusterRequest { name: "clusters/a".to_owned(), cluster: None };
        let tested = client.test_cluster(request).instrument(span).await.unwrap().into_inner();
        let carried: Vec<&str> = tested.broker_version.split('-').collect();
        assert_eq!(carried.get(1), Some(&trace.as_str()), "{}", tested.broker_version);
    }
}
