//! Logs and traces, set up the same way in every binary, and the trace context that travels between them.
//!
//! Logs go to stderr, for people or as one JSON object per line. Spans go to an OTLP collector where
//! `OTEL_EXPORTER_OTLP_ENDPOINT` is set. The W3C trace context travels in gRPC metadata, and inside a `Query` on the
//! worker stream (one stream carries the work of many calls), so that one trace follows a call from client to worker.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tonic::metadata::{KeyRef, MetadataKey, MetadataMap};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use lines::Lines;

mod lines;

/// What is logged, in `tracing` filter syntax: `info,twinlog_worker=debug`. `RUST_LOG` is read where it is unset.
pub const LOG_ENV: &str = "TWINLOG_LOG";
/// `human` (default) or `json`.
pub const LOG_FORMAT_ENV: &str = "TWINLOG_LOG_FORMAT";
/// Where spans go, e.g. `http://localhost:4317` (OTLP over gRPC). Unset: nowhere.
pub const OTLP_ENV: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// How long the last spans may take to leave at exit.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Human,
    Json,
}

impl FromStr for LogFormat {
    type Err = TelemetryError;

    fn from_str(text: &str) -> Result<Self, TelemetryError> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            other => Err(TelemetryError::Format(other.to_owned())),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("log format {0:?} is neither human nor json")]
    Format(String),
    #[error("log filter {text:?} can't be read; an example: info,twinlog_worker=debug")]
    Filter {
        text: String,
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    #[error("{OTLP_ENV} can't be used; an example: http://localhost:4317")]
    Otlp(#[source] opentelemetry_otlp::ExporterBuildError),
    #[error("logs were set up twice")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// What a binary says about its logs; the environment wins.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// `service.name` of its spans.
    pub service: &'static str,
    pub format: LogFormat,
    /// Filter where the environment names none.
    pub filter: String,
}

/// Sends what is left when it is dropped: keep it until the end of `main`.
#[must_use = "dropping it ends tracing"]
pub struct TelemetryGuard(Option<SdkTracerProvider>);

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take()
            && let Err(error) = provider.shutdown_with_timeout(FLUSH_TIMEOUT)
        {
            // The subscriber may be gone with the provider.
            eprintln!("the last spans could not be sent to {OTLP_ENV}: {error}");
        }
    }
}

impl Telemetry {
    /// Sets up logs and traces for the process. With an OTLP endpoint it must be called inside a tokio runtime.
    pub fn init(self) -> Result<TelemetryGuard, TelemetryError> {
        let format = match env(LOG_FORMAT_ENV) {
            Some(text) => text.parse()?,
            None => self.format,
        };
        let text = env(LOG_ENV).or_else(|| env("RUST_LOG")).unwrap_or(self.filter);
        let filter = EnvFilter::try_new(&text).map_err(|source| TelemetryError::Filter { text, source })?;
        let provider = env(OTLP_ENV).map(|_| tracer_provider(self.service)).transpose()?;
        // What is logged and what is traced are chosen apart: a quiet program has traces too.
        let spans = provider.as_ref().map(|provider| {
            let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer(self.service));
            layer.with_filter(LevelFilter::INFO)
        });
        let logs = log_layer(format).with_filter(filter);
        tracing_subscriber::registry().with(spans).with(logs).try_init().map_err(TelemetryError::Twice)?;
        Ok(TelemetryGuard(provider))
    }
}

fn log_layer<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let coloured = format == LogFormat::Human && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let layer = tracing_subscriber::fmt::layer().with_writer(Lines { format, coloured });
    match format {
        LogFormat::Human => layer.with_ansi(coloured).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}

/// An empty variable counts as unset.
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn tracer_provider(service: &'static str) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter =
        opentelemetry_otlp::SpanExporter::builder().with_tonic().build().map_err(TelemetryError::Otlp)?;
    let resource = opentelemetry_sdk::Resource::builder().with_service_name(service).build();
    Ok(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
}

/// The current span's context as W3C headers (`traceparent`, `tracestate`); empty where nothing is traced.
pub fn current_context() -> HashMap<String, String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut carrier);
    carrier
}

/// Makes `span` a child of the span that a message carries. A message without a readable context changes nothing.
pub fn follow(span: &Span, carrier: &HashMap<String, String>) {
    set_parent(span, carrier);
}

/// Makes `span` a child of the span that a request's HTTP headers carry.
pub fn follow_headers(span: &Span, headers: &http::HeaderMap) {
    set_parent(span, &Headers(headers));
}

/// A tonic interceptor for clients: sends the current span's context along.
pub fn send_context(mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
    let context = Span::current().context();
    TraceContextPropagator::new().inject_context(&context, &mut Metadata(request.metadata_mut()));
    Ok(request)
}

fn set_parent(span: &Span, carrier: &dyn Extractor) {
    let context = TraceContextPropagator::new().extract(carrier);
    if context.span().span_context().is_valid() {
        // Fails where no tracer is installed: there is nothing to follow then.
        let _ = span.set_parent(context);
    }
}

struct Metadata<'a>(&'a mut MetadataMap);

impl Injector for Metadata<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (MetadataKey::from_bytes(key.as_bytes()), value.parse()) {
            self.0.insert(key, value);
        }
    }
}

impl Extractor for Metadata<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }
    fn keys(&self) -> Vec<&str> {
        let ascii = |key| if let KeyRef::Ascii(key) = key { Some(key.as_str()) } else { None };
        self.0.keys().filter_map(ascii).collect()
    }
}

struct Headers<'a>(&'a http::HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }
    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// Prometheus' text without the samples of lag that isn't known (NaN): a gauge can't be taken back from the recorder.
pub fn without_unknown(text: &str) -> String {
    let unknown = |line: &str| {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        line.ends_with(" NaN") && !line.starts_with('#') && name.contains("_lag_")
    };
    text.split_inclusive('\n').filter(|line| !unknown(line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceId;

    use super::*;

    /// Runs `body` where spans are traced and go nowhere.
    fn traced(body: impl FnOnce()) {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), body);
    }

    fn trace_of(span: &Span) -> TraceId {
        span.context().span().span_context().trace_id()
    }

    #[test]
    fn a_call_is_followed_through_metadata_and_through_a_message() {
        traced(|| {
            let client = tracing::info_span!("client");
            let request = client.in_scope(|| send_context(tonic::Request::new(())).unwrap());
            let headers = request.metadata().clone().into_headers();

            let controller = tracing::info_span!("controller");
            follow_headers(&controller, &headers);
            let carried = controller.in_scope(current_context);

            let worker = tracing::info_span!("worker");
            follow(&worker, &carried);

            assert_ne!(trace_of(&client), TraceId::INVALID);
            assert_eq!(trace_of(&client), trace_of(&controller));
            assert_eq!(trace_of(&client), trace_of(&worker));
        });
    }

    #[test]
    fn an_unreadable_context_changes_nothing() {
        traced(|| {
            let parent = tracing::info_span!("parent");
            let span = parent.in_scope(|| tracing::info_span!("span"));
            follow(&span, &HashMap::from([("traceparent".to_owned(), "nonsense".to_owned())]));
            assert_eq!(trace_of(&span), trace_of(&parent));
        });
    }

    #[test]
    fn without_a_tracer_nothing_is_sent() {
        assert!(current_context().is_empty());
        let request = send_context(tonic::Request::new(())).unwrap();
        assert!(request.metadata().is_empty());
    }

    #[test]
    fn formats_are_human_and_json() {
        assert_eq!("json".parse::<LogFormat>().unwrap(), LogFormat::Json);
        assert!("xml".parse::<LogFormat>().unwrap_err().to_string().contains("xml"));
    }
}
