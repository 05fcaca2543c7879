//! Traces: sends spans to an OpenTelemetry collector over OTLP. The caller decides what a span contains.

pub(crate) mod metrics;
pub(crate) mod queue;

use std::{io, time::Duration};

use hyper::HeaderMap;
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator},
    trace::TracerProvider,
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider},
};

use self::{metrics::SpanMetrics, queue::Queue};

/// The exporter's connection to a collector.
pub(crate) struct Collector {
    tracer: SdkTracer,
    // Dropping it would end the tracer.
    _provider: SdkTracerProvider,
    queue: Queue,
    propagator: TraceContextPropagator,
}

/// Timeout of the collector for one batch.
const EXPORT_WITHIN: Duration = Duration::from_secs(5);

impl Collector {
    /// Starts exporting to a collector over gRPC, such as `http://collector:4317`. It need not be running yet.
    ///
    /// # Errors
    /// When the endpoint is not a URL or the exporter's thread cannot be started.
    pub(crate) async fn start(endpoint: String, counters: SpanMetrics) -> io::Result<Collector> {
        let exporter = move || {
            SpanExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint)
                .with_timeout(EXPORT_WITHIN)
                .build()
                .map_err(|error| io::Error::other(format!("cannot send traces: {error}")))
        };
        Ok(Collector::over(Queue::start(exporter, resource(), counters).await?))
    }

    /// Queues spans.
    pub(crate) fn over(queue: Queue) -> Collector {
        // Unless OTEL_TRACES_SAMPLER says otherwise, spans are sampled if the caller samples them or there is no
        // caller.
        let provider =
            SdkTracerProvider::builder().with_span_processor(queue.clone()).with_resource(resource()).build();
        let tracer = provider.tracer("outrigger");
        Collector { tracer, _provider: provider, queue, propagator: TraceContextPropagator::new() }
    }

    /// The caller's span, from the request header `traceparent`.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Context {
        self.propagator.extract_with_context(&Context::new(), &Headers(headers))
    }

    /// The tracer.
    pub(crate) fn tracer(&self) -> &SdkTracer {
        &self.tracer
    }

    /// Exports the queued spans, but at most for this long.
    pub(crate) async fn flush(&self, within: Duration) {
        let _ = tokio::time::timeout(within, self.queue.flush()).await;
    }
}

pub(crate) fn resource() -> Resource {
    let resource =
        Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    match std::env::var_os("OTEL_SERVICE_NAME") {
        Some(_) => resource.build(),
        None => resource.with_service_name("outrigger").build(),
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(hyper::header::HeaderName::as_str).collect()
    }
}
