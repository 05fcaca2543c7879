//! Traces: a span for each request and each of its stages, sent to an OpenTelemetry collector over OTLP.
//!
//! Spans are made when a request is done, out of what was measured anyway: nothing is in the way of a request that is
//! being judged. They continue the trace of the API server, if it has one. Nothing of a pod is in them but what stands
//! in [`Traces::record`].

mod queue;

use std::{
    io,
    time::{Duration, Instant, SystemTime},
};

use hyper::HeaderMap;
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator},
    trace::{SpanBuilder, SpanKind, Status, TraceContextExt, Tracer, TracerProvider},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider},
};

use self::queue::Queue;
use crate::server::observe::metrics::Outcome;
use crate::server::observe::metrics::spans::Spans;
use crate::server::webhook::verdict::Record;

/// Makes spans of requests.
pub(crate) struct Traces {
    tracer: SdkTracer,
    // Its end would be the end of the tracer.
    _provider: SdkTracerProvider,
    queue: Queue,
    propagator: TraceContextPropagator,
}

/// A request that is done.
pub(crate) struct Finished<'a> {
    /// When its header had been read.
    pub(crate) arrived: Instant,
    /// What came of it.
    pub(crate) record: &'a Record,
    /// The configuration it was judged by.
    pub(crate) hash: Option<&'a str>,
}

/// How long the collector may take for one batch.
const EXPORT_WITHIN: Duration = Duration::from_secs(5);

impl Traces {
    /// Starts sending to a collector that speaks gRPC, such as `http://collector:4317`. It need not be there yet.
    ///
    /// # Errors
    /// When the endpoint is no URL or the thread that sends cannot be started.
    pub(crate) async fn start(endpoint: String, counters: Spans) -> io::Result<Traces> {
        let exporter = move || {
            SpanExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint)
                .with_timeout(EXPORT_WITHIN)
                .build()
                .map_err(|error| io::Error::other(format!("cannot send traces: {error}")))
        };
        Ok(Traces::over(Queue::start(exporter, resource(), counters).await?))
    }

    fn over(queue: Queue) -> Traces {
        // Unless OTEL_TRACES_SAMPLER says otherwise, what the caller samples is sampled, and what has no caller.
        let provider =
            SdkTracerProvider::builder().with_span_processor(queue.clone()).with_resource(resource()).build();
        let tracer = provider.tracer("outrigger");
        Traces { tracer, _provider: provider, queue, propagator: TraceContextPropagator::new() }
    }

    /// The span of whoever sent a request, by its header `traceparent`.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Context {
        self.propagator.extract_with_context(&Context::new(), &Headers(headers))
    }

    /// Makes the spans of a request that is done.
    pub(crate) fn record(&self, caller: &Context, finished: &Finished<'_>) {
        let Finished { arrived, record, hash } = finished;
        let (now, elapsed) = (SystemTime::now(), arrived.elapsed());
        let start = now.checked_sub(elapsed).unwrap_or(now);
        let attributes = [
            ("k8s.namespace.name", record.namespace.as_str()),
            ("outrigger.uid", &record.uid),
            ("outrigger.outcome", record.outcome.key()),
            ("outrigger.reason", record.reason),
            ("outrigger.config_hash", hash.unwrap_or_default()),
        ];
        let attributes = attributes.into_iter().filter(|(_, value)| !value.is_empty());
        let span = SpanBuilder {
            span_kind: Some(SpanKind::Server),
            start_time: Some(start),
            attributes: Some(attributes.map(|(key, value)| KeyValue::new(key, clip(value))).collect()),
            ..SpanBuilder::from_name("POST /inject")
        };
        let own = caller.with_span(self.tracer.build_with_context(span, caller));
        if own.span().span_context().is_sampled() {
            self.record_stages(&own, start, finished);
        }
        if record.outcome == Outcome::Error {
            own.span().set_status(Status::error(record.reason));
        }
        own.span().end_with_timestamp(now);
    }

    /// Reading the body first, then the stages one after the other.
    fn record_stages(&self, own: &Context, start: SystemTime, finished: &Finished<'_>) {
        let Some(judged) = finished.record.judged else { return };
        let read = ("read", judged.saturating_duration_since(finished.arrived));
        let mut at = start;
        for (stage, took) in std::iter::once(&read).chain(&finished.record.stages) {
            let span = SpanBuilder { start_time: Some(at), ..SpanBuilder::from_name(*stage) };
            at = at.checked_add(*took).unwrap_or(at);
            let span = own.with_span(self.tracer.build_with_context(span, own));
            span.span().end_with_timestamp(at);
        }
    }

    /// Sends what has not been sent yet, but not for longer than this.
    pub(crate) async fn flush(&self, within: Duration) {
        let _ = tokio::time::timeout(within, self.queue.flush()).await;
    }
}

fn resource() -> Resource {
    let resource =
        Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    match std::env::var_os("OTEL_SERVICE_NAME") {
        Some(_) => resource.build(),
        None => resource.with_service_name("outrigger").build(),
    }
}

/// Names in Kubernetes have at most 253 characters; what is longer was never a name.
fn clip(text: &str) -> String {
    text.chars().take(253).collect()
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

#[cfg(test)]
mod tests;
