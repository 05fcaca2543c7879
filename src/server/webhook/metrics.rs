//! Metrics of requests: Istio's five with their documented meaning, and ours under `outrigger_`.
//!
//! Labels are bounded: outcomes, reasons and stages are constants, never names of namespaces, pods or owners.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::{
    record::{Outcome, Record, Stages},
    refusal::{Refusal, SHED},
};
use crate::inject::CacheStatus;
use crate::server::http::metrics::HttpMetrics;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Stage {
    stage: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByCode {
    code: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

/// Metrics of requests.
pub(crate) struct RequestMetrics {
    /// Shared with both ports.
    http: HttpMetrics,
    istio_requests: Counter,
    istio_success: Counter,
    istio_failure: Counter,
    istio_skip: Counter,
    istio_time: Histogram,
    requests: Family<ByOutcome, Counter>,
    duration: Histogram,
    /// In the order of [`Stages`].
    stages: [Histogram; 4],
    in_flight: Gauge,
    /// The counters for a request refused under overload.
    turned_away: [Counter; 4],
    deadline_exceeded: Counter,
    warnings: Family<ByCode, Counter>,
    /// Advised, silent and refused.
    advice: [Counter; 3],
    /// Shared with supervised tasks.
    panics: Counter,
    request_bytes: Histogram,
    patch_bytes: Histogram,
    patch_operations: Histogram,
    /// Hit, miss and stale.
    patch_cache: [Counter; 3],
}

/// A quarter of a millisecond to ten seconds.
const SECONDS: [f64; 14] =
    [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Buckets of Istio's own histogram.
const ISTIO_SECONDS: [f64; 8] = [0.1, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0];
/// A kibibyte to 16 MiB.
const BYTES: [f64; 8] =
    [1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];
const OPERATIONS: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 500.0];
/// Stages are much shorter than requests: 10 µs to a second.
const STAGE_SECONDS: [f64; 9] = [0.000_01, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.01, 0.1, 1.0];

/// Registers a metric. The text format appends `_total` to counters and the unit to the name.
fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn histogram<const N: usize>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    unit: Option<Unit>,
    buckets: [f64; N],
) -> Histogram {
    let histogram = Histogram::new(buckets);
    match unit {
        Some(unit) => registry.register_with_unit(name, help, unit, histogram.clone()),
        None => registry.register(name, help, histogram.clone()),
    }
    histogram
}

fn family<L, M>(registry: &mut Registry, name: &str, help: &str) -> Family<L, M>
where
    L: EncodeLabelSet + Clone + std::hash::Hash + Eq + std::fmt::Debug + Send + Sync + 'static,
    M: Default
        + std::fmt::Debug
        + Send
        + Sync
        + 'static
        + prometheus_client::encoding::EncodeMetric
        + prometheus_client::metrics::TypedMetric,
{
    let family = Family::<L, M>::default();
    registry.register(name, help, family.clone());
    family
}

impl RequestMetrics {
    /// Registers the metrics: Istio's in the registry itself, ours under our prefix. `panics` counts those of every
    /// part.
    pub(crate) fn register(registry: &mut Registry, http: HttpMetrics, panics: Counter) -> RequestMetrics {
        let istio_requests = counter(
            registry,
            "sidecar_injection_requests",
            "Requests received; each one also counts in exactly one of success, skip and failure",
        );
        let istio_success = counter(
            registry,
            "sidecar_injection_success",
            "Requests allowed with a patch; Istio's injector also counts skips and failures here",
        );
        let istio_failure =
            counter(registry, "sidecar_injection_failure", "Requests denied, or not answered with a review");
        let istio_skip = counter(registry, "sidecar_injection_skip", "Requests allowed without a patch");
        const TOOK: &str = "Time from a request's arrival to its answer";
        let seconds = Some(Unit::Seconds);
        let istio_time = histogram(registry, "sidecar_injection_time", TOOK, seconds.clone(), ISTIO_SECONDS);

        let own = registry.sub_registry_with_prefix("outrigger");
        let requests: Family<ByOutcome, Counter> = family(
            own,
            "requests",
            "Requests; outcome is injected, skipped, denied or error, reason is one of the reasons of docs/reasons",
        );
        let duration = histogram(own, "request_duration", TOOK, seconds, SECONDS);
        let stages = Family::<Stage, Histogram>::new_with_constructor(|| Histogram::new(STAGE_SECONDS));
        own.register_with_unit(
            "stage_duration",
            "Time spent in each stage of a request; stage is read, decode, inject or encode",
            Unit::Seconds,
            stages.clone(),
        );
        let in_flight = Gauge::default();
        own.register("in_flight_requests", "Requests in flight", in_flight.clone());
        let deadline_exceeded = counter(
            own,
            "deadline_exceeded",
            "Bodies that arrived too late, requests abandoned because of the timeout of the URL, and responses sent after it",
        );
        let warnings = family(
            own,
            "warnings",
            "Warnings about pods, injected or skipped, and about workloads received for advice; code is one of the codes of docs/reasons",
        );
        let advice: Family<ByResult, Counter> = family(
            own,
            "advice",
            "Workloads received for advice; result is advised (with warnings), silent (without) or refused (not answered)",
        );
        let bytes = Some(Unit::Bytes);
        let request_bytes = histogram(own, "request", "Size of request bodies", bytes.clone(), BYTES);
        let patch_bytes = histogram(own, "patch", "Size of patches", bytes, BYTES);
        let patch_operations = histogram(own, "patch_operations", "Operations in patches", None, OPERATIONS);
        let patch_cache: Family<ByResult, Counter> = family(
            own,
            "patch_cache",
            "Pods by how their patch was found; result is hit (that of a sibling), miss (the whole pipeline) or stale (the \
             whole pipeline, which contradicts what was cached)",
        );
        let refused = ByOutcome { outcome: Outcome::Error.key(), reason: SHED };
        RequestMetrics {
            turned_away: [
                istio_requests.clone(),
                istio_failure.clone(),
                requests.get_or_create_owned(&refused),
                http.shed_counter("overload"),
            ],
            http,
            istio_requests,
            istio_success,
            istio_failure,
            istio_skip,
            istio_time,
            requests,
            duration,
            stages: Stages::NAMES.map(|stage| stages.get_or_create_owned(&Stage { stage })),
            in_flight,
            deadline_exceeded,
            warnings,
            advice: ["advised", "silent", "refused"]
                .map(|result| advice.get_or_create_owned(&ByResult { result })),
            panics,
            request_bytes,
            patch_bytes,
            patch_operations,
            patch_cache: [CacheStatus::Hit, CacheStatus::Miss, CacheStatus::Stale]
                .map(|served| patch_cache.get_or_create_owned(&ByResult { result: served.key() })),
        }
    }

    /// Counts a request that is about to be read. [`observe`](Self::observe) follows exactly once.
    pub(crate) fn arrived(&self) {
        self.istio_requests.inc();
        self.in_flight.inc();
    }

    /// Counts a completed request.
    pub(crate) fn observe(&self, record: &Record) {
        self.in_flight.dec();
        self.ended(record.outcome, record.reason, record.took);
        // Sizes are far below 2^52.
        self.request_bytes.observe(record.bytes_in as f64);
        if let Some(patch) = record.patch {
            self.patch_bytes.observe(patch.bytes as f64);
            self.patch_operations.observe(patch.operations as f64);
        }
        for (histogram, took) in self.stages.iter().zip(record.stages.in_order()) {
            if let Some(took) = took {
                histogram.observe(took.as_secs_f64());
            }
        }
        for code in &record.warning_codes {
            self.warnings.get_or_create(&ByCode { code }).inc();
        }
        if record.panicked {
            self.panics.inc();
        }
        if let Some(served) = record.served {
            let [hit, miss, stale] = &self.patch_cache;
            let counter = match served {
                CacheStatus::Hit => hit,
                CacheStatus::Miss => miss,
                CacheStatus::Stale => stale,
            };
            counter.inc();
        }
        match &record.refusal {
            Some(Refusal::Shed(shed)) => self.http.shed(shed.key()),
            Some(Refusal::BodyTooSlow { .. }) => self.http.evicted("slow_body"),
            Some(Refusal::BodyTimeout | Refusal::Deadline { .. }) => {
                self.deadline_exceeded.inc();
            }
            _ if record.missed => {
                self.deadline_exceeded.inc();
            }
            _ => {}
        }
    }

    fn ended(&self, outcome: Outcome, reason: &'static str, took: Duration) {
        match outcome {
            Outcome::Injected => self.istio_success.inc(),
            Outcome::Skipped => self.istio_skip.inc(),
            Outcome::Denied | Outcome::Error => self.istio_failure.inc(),
        };
        self.istio_time.observe(took.as_secs_f64());
        self.duration.observe(took.as_secs_f64());
        self.requests.get_or_create(&ByOutcome { outcome: outcome.key(), reason }).inc();
    }

    /// Counts a request of an unauthenticated client. Its time is in no histogram, because no work was done for it.
    pub(crate) fn unauthenticated(&self, reason: &'static str) {
        self.istio_requests.inc();
        self.istio_failure.inc();
        self.requests.get_or_create(&ByOutcome { outcome: Outcome::Error.key(), reason }).inc();
    }

    /// Counts a workload that was received for advice: the codes of its warnings, or `None` if it was not answered.
    pub(crate) fn advised(&self, codes: Option<&[&'static str]>) {
        let [advised, silent, refused] = &self.advice;
        match codes {
            None => refused.inc(),
            Some([]) => silent.inc(),
            Some(codes) => {
                for code in codes {
                    self.warnings.get_or_create(&ByCode { code }).inc();
                }
                advised.inc()
            }
        };
    }

    /// Counts a request refused under overload.
    pub(crate) fn turned_away(&self) {
        for counter in &self.turned_away {
            counter.inc();
        }
    }

    /// Counts an evicted connection.
    pub(crate) fn evicted(&self) {
        self.http.evicted("connection");
    }
}
