//! A span for each request and each of its stages.
//!
//! Spans are created from the measurements of a completed request, so they do not delay requests. They continue the
//! API server's trace, if there is one. They contain nothing of a pod except the attributes in [`Sink::observe`].

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use hyper::HeaderMap;
use opentelemetry::{
    Context, KeyValue,
    trace::{SpanBuilder, SpanKind, Status, TraceContextExt, Tracer},
};
use prometheus_client::registry::Registry;

use crate::server::observe::traces::{Collector, metrics::SpanMetrics};
use crate::server::webhook::record::{Outcome, Record, Stages, clip};

/// Traces before they are started.
pub(crate) struct Traces(SpanMetrics);

impl Traces {
    /// Registers the metrics in a registry with our prefix.
    pub(crate) fn register(registry: &mut Registry) -> Traces {
        Traces(SpanMetrics::register(registry))
    }

    /// Starts exporting, if a collector is configured.
    ///
    /// # Errors
    /// When its address is not a URL or the exporter's thread cannot be started.
    pub(crate) async fn start(self, collector: Option<String>) -> io::Result<Sink> {
        let Some(endpoint) = collector else { return Ok(Sink::default()) };
        Ok(Sink(Some(Arc::new(Collector::start(endpoint, self.0).await?))))
    }
}

/// Receives records, and exports spans if a collector is configured.
#[derive(Clone, Default)]
pub(crate) struct Sink(Option<Arc<Collector>>);

/// The caller's span, if spans are exported.
pub(crate) struct Caller(Option<Context>);

impl Sink {
    /// The caller's span, from these headers.
    pub(in crate::server::webhook) fn caller(&self, headers: &HeaderMap) -> Caller {
        Caller(self.0.as_ref().map(|traces| traces.caller(headers)))
    }

    /// Creates the spans of a completed request.
    pub(in crate::server::webhook) fn observe(&self, caller: &Caller, record: &Record) {
        let (Some(traces), Caller(Some(caller))) = (&self.0, caller) else { return };
        let now = SystemTime::now();
        let start = now.checked_sub(record.took).unwrap_or(now);
        let attributes = [
            ("k8s.namespace.name", record.namespace.as_str()),
            ("outrigger.uid", &record.uid),
            ("outrigger.outcome", record.outcome.key()),
            ("outrigger.reason", record.reason),
            ("outrigger.config_hash", record.config_hash().unwrap_or_default()),
        ];
        let attributes = attributes.into_iter().filter(|(_, value)| !value.is_empty());
        let attributes = attributes.map(|(key, value)| KeyValue::new(key, clip(value).to_owned()));
        let span = SpanBuilder {
            span_kind: Some(SpanKind::Server),
            start_time: Some(start),
            attributes: Some(attributes.collect()),
            ..SpanBuilder::from_name("POST /inject")
        };
        let own = caller.with_span(traces.tracer().build_with_context(span, caller));
        if own.span().span_context().is_sampled() {
            stages(traces, &own, start, &record.stages);
        }
        if record.outcome == Outcome::Error {
            own.span().set_status(Status::error(record.reason));
        }
        own.span().end_with_timestamp(now);
    }

    /// Exports the queued spans, but at most for this long.
    pub(crate) async fn flush(&self, within: Duration) {
        if let Some(traces) = &self.0 {
            traces.flush(within).await;
        }
    }
}

/// One stage after the other.
fn stages(traces: &Collector, own: &Context, start: SystemTime, stages: &Stages) {
    let mut at = start;
    for (name, took) in Stages::NAMES.into_iter().zip(stages.in_order()) {
        let Some(took) = took else { continue };
        let span = SpanBuilder { start_time: Some(at), ..SpanBuilder::from_name(name) };
        at = at.checked_add(took).unwrap_or(at);
        let span = own.with_span(traces.tracer().build_with_context(span, own));
        span.span().end_with_timestamp(at);
    }
}

#[cfg(test)]
mod tests;
