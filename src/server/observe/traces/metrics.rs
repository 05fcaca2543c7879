//! Metrics of traces: spans sent and lost.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// Counters of spans.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpanMetrics {
    sent: Counter,
    lost: Family<ByReason, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

impl SpanMetrics {
    /// Registers the metrics under `outrigger_`.
    pub(crate) fn register(own: &mut Registry) -> SpanMetrics {
        let metrics = SpanMetrics::default();
        own.register("spans_sent", "Spans accepted by the collector", metrics.sent.clone());
        own.register(
            "spans_lost",
            "Spans that did not reach the collector; reason is queue (full) or export (not accepted)",
            metrics.lost.clone(),
        );
        metrics
    }

    pub(crate) fn sent(&self, count: u64) {
        self.sent.inc_by(count);
    }

    /// `reason` is `queue` for spans dropped from a full queue, `export` for those the collector did not accept.
    pub(crate) fn lost(&self, reason: &'static str, count: u64) {
        self.lost.get_or_create(&ByReason { reason }).inc_by(count);
    }

    #[cfg(test)]
    pub(crate) fn counts(&self) -> (u64, u64) {
        let lost = |reason| self.lost.get_or_create(&ByReason { reason }).get();
        (self.sent.get(), lost("queue") + lost("export"))
    }
}
