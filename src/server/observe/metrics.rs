//! Every metric, once: Istio's five with their documented meaning, and ours under `outrigger_`.
//!
//! Labels are bounded: outcomes, reasons and stages are keys out of code, never names of namespaces, pods or owners.

mod answers;
mod callers;
pub(crate) mod certs;
mod exposition;
mod in_use;
mod kube_api;
#[cfg(feature = "otlp")]
pub(crate) mod spans;
mod watches;

use std::{fmt, sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};

pub(crate) use self::{
    answers::Answers, callers::Callers, exposition::Exposition, kube_api::KubeApi, watches::Watches,
};
use self::{certs::CertificateMetrics, in_use::InUse};
use crate::server::configuration::active::Slot;
use crate::server::observe::process;

type Label = &'static str;

/// Labels of `outrigger_requests_total`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    outcome: Label,
    reason: Label,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Stage {
    stage: Label,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByReason {
    reason: Label,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByCode {
    code: Label,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByResult {
    result: Label,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reload {
    source: Label,
    result: Label,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Listener {
    listener: Label,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Allowed with a patch.
    Injected,
    /// Allowed without a patch.
    Skipped,
    /// Not allowed, by the configuration or because of the pod.
    Denied,
    /// Not answered as a review, or our own fault.
    Error,
}

impl Outcome {
    pub(crate) fn key(self) -> &'static str {
        match self {
            Outcome::Injected => "injected",
            Outcome::Skipped => "skipped",
            Outcome::Denied => "denied",
            Outcome::Error => "error",
        }
    }
}

/// Reason of requests that are refused under load.
pub(crate) const SHED: &str = "SHED";

/// A number of bytes that are held.
pub(crate) type Held = Gauge<u64, AtomicU64>;

/// All metrics of one server.
pub(crate) struct Metrics {
    registry: Registry,
    istio_requests: Counter,
    istio_success: Counter,
    istio_failure: Counter,
    istio_skip: Counter,
    istio_time: Histogram,
    requests: Family<RequestLabels, Counter>,
    duration: Histogram,
    stages: Family<Stage, Histogram>,
    /// The same, found without a lookup.
    known_stages: [(Label, Histogram); 4],
    /// Requests that are being answered now.
    pub(crate) in_flight: Gauge,
    /// Bytes of bodies and answers, with what their requests cost beside them.
    pub(crate) held: Held,
    shed: Family<ByReason, Counter>,
    evicted: Family<ByReason, Counter>,
    /// What one request that is turned away under overload counts in.
    turned_away: [Counter; 4],
    /// Requests that were not done within their deadline.
    pub(crate) deadline_exceeded: Counter,
    warnings: Family<ByCode, Counter>,
    /// Panics that were contained.
    pub(crate) panics: Counter,
    request_bytes: Histogram,
    patch_bytes: Histogram,
    patch_operations: Histogram,
    config_last_reload_success: Gauge,
    config_reloads: Family<Reload, Counter>,
    certificate_not_before: Gauge,
    certificate_not_after: Gauge,
    tls_reloads: Family<ByResult, Counter>,
    tls_handshake_errors: Family<ByReason, Counter>,
    connections: Family<Listener, Gauge>,
    connections_accepted: Family<Listener, Counter>,
    connections_timed_out: Family<ByReason, Counter>,
    accept_errors: Family<Listener, Counter>,
    /// CA, certificate, caBundle and who leads.
    pub(crate) certs: CertificateMetrics,
    /// Watches on the API server.
    pub(crate) watches: Watches,
    /// How answers were found.
    pub(crate) answers: Answers,
    /// Authentication of callers.
    pub(crate) callers: Callers,
    /// Requests to the API server.
    pub(crate) kube_api: KubeApi,
    /// Spans of traces.
    #[cfg(feature = "otlp")]
    pub(crate) spans: spans::Spans,
}

/// A quarter of a millisecond to ten seconds.
const SECONDS: [f64; 14] =
    [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// A kibibyte to 16 MiB.
const BYTES: [f64; 8] =
    [1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];
const OPERATIONS: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 500.0];
/// Stages are much shorter than requests: 10 µs to a second.
const STAGE_SECONDS: [f64; 9] = [0.000_01, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.01, 0.1, 1.0];

impl Metrics {
    pub(crate) fn new(dropped_log_lines: Counter, configuration: Slot) -> Metrics {
        let metrics = Metrics::unregistered();
        metrics.register(dropped_log_lines, configuration)
    }

    fn unregistered() -> Metrics {
        let (istio_requests, istio_failure) = (Counter::default(), Counter::default());
        let requests = Family::<RequestLabels, Counter>::default();
        let shed = Family::<ByReason, Counter>::default();
        let stages = Family::<Stage, Histogram>::new_with_constructor(|| Histogram::new(STAGE_SECONDS));
        let known = |stage| (stage, stages.get_or_create_owned(&Stage { stage }));
        let refused = RequestLabels { outcome: Outcome::Error.key(), reason: SHED };
        Metrics {
            registry: Registry::default(),
            known_stages: ["read", "decode", "inject", "encode"].map(known),
            turned_away: [
                istio_requests.clone(),
                istio_failure.clone(),
                requests.get_or_create_owned(&refused),
                shed.get_or_create_owned(&ByReason { reason: "overload" }),
            ],
            istio_requests,
            istio_success: Counter::default(),
            istio_failure,
            istio_skip: Counter::default(),
            istio_time: Histogram::new([0.1, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0]),
            requests,
            duration: Histogram::new(SECONDS),
            stages,
            in_flight: Gauge::default(),
            held: Held::default(),
            shed,
            evicted: Family::default(),
            deadline_exceeded: Counter::default(),
            warnings: Family::default(),
            panics: Counter::default(),
            request_bytes: Histogram::new(BYTES),
            patch_bytes: Histogram::new(BYTES),
            patch_operations: Histogram::new(OPERATIONS),
            config_last_reload_success: Gauge::default(),
            config_reloads: Family::default(),
            certificate_not_before: Gauge::default(),
            certificate_not_after: Gauge::default(),
            tls_reloads: Family::default(),
            tls_handshake_errors: Family::default(),
            connections: Family::default(),
            connections_accepted: Family::default(),
            connections_timed_out: Family::default(),
            accept_errors: Family::default(),
            certs: CertificateMetrics::default(),
            watches: Watches::default(),
            answers: Answers::default(),
            callers: Callers::default(),
            kube_api: KubeApi::default(),
            #[cfg(feature = "otlp")]
            spans: spans::Spans::default(),
        }
    }

    fn register(mut self, dropped_log_lines: Counter, configuration: Slot) -> Metrics {
        let mut registry = Registry::default();
        // The text format appends `_total` to counters and the unit to the name.
        registry.register(
            "sidecar_injection_requests",
            "Injection requests that arrived",
            self.istio_requests.clone(),
        );
        registry.register(
            "sidecar_injection_success",
            "Requests that were answered with a patch",
            self.istio_success.clone(),
        );
        registry.register(
            "sidecar_injection_failure",
            "Requests that were denied or could not be answered",
            self.istio_failure.clone(),
        );
        registry.register(
            "sidecar_injection_skip",
            "Requests that were allowed without a patch",
            self.istio_skip.clone(),
        );
        registry.register_with_unit(
            "sidecar_injection_time",
            "Time from a request's arrival to its answer",
            Unit::Seconds,
            self.istio_time.clone(),
        );

        let own = registry.sub_registry_with_prefix("outrigger");
        own.register("requests", "Requests by outcome and reason", self.requests.clone());
        own.register_with_unit(
            "request_duration",
            "Time from a request's arrival to its answer",
            Unit::Seconds,
            self.duration.clone(),
        );
        own.register_with_unit(
            "stage_duration",
            "Time spent in each stage of a request",
            Unit::Seconds,
            self.stages.clone(),
        );
        own.register("in_flight_requests", "Requests being answered now", self.in_flight.clone());
        own.register_with_unit(
            "held",
            "Memory that bodies and untaken answers take of the budget for them",
            Unit::Bytes,
            self.held.clone(),
        );
        own.register(
            "evicted",
            "Requests and connections that were given up because of their peer",
            self.evicted.clone(),
        );
        own.register("shed", "Connections and requests refused under load", self.shed.clone());
        own.register(
            "deadline_exceeded",
            "Requests that were not done within their deadline",
            self.deadline_exceeded.clone(),
        );
        own.register("warnings", "Warnings about pods, by code", self.warnings.clone());
        own.register("panics", "Panics that were contained", self.panics.clone());
        own.register_with_unit("request", "Size of request bodies", Unit::Bytes, self.request_bytes.clone());
        own.register_with_unit("patch", "Size of patches", Unit::Bytes, self.patch_bytes.clone());
        own.register("patch_operations", "Operations in patches", self.patch_operations.clone());
        own.register(
            "config_last_reload_success",
            "Whether the last load of the configuration succeeded",
            self.config_last_reload_success.clone(),
        );
        own.register("config_reload", "Loads of the configuration", self.config_reloads.clone());
        own.register_collector(Box::new(InUse(configuration)));
        own.register_with_unit(
            "tls_certificate_not_before_timestamp",
            "Start of the serving certificate's validity",
            Unit::Seconds,
            self.certificate_not_before.clone(),
        );
        own.register_with_unit(
            "tls_certificate_not_after_timestamp",
            "End of the serving certificate's validity",
            Unit::Seconds,
            self.certificate_not_after.clone(),
        );
        own.register("tls_reload", "Loads of the serving certificate", self.tls_reloads.clone());
        own.register("tls_handshake_errors", "TLS handshakes that failed", self.tls_handshake_errors.clone());
        own.register("connections", "Open connections", self.connections.clone());
        own.register(
            "connections_accepted",
            "Connections that were accepted",
            self.connections_accepted.clone(),
        );
        own.register(
            "connections_timed_out",
            "Connections that were closed because the peer was too slow or silent",
            self.connections_timed_out.clone(),
        );
        own.register("accept_errors", "Errors of accept(2)", self.accept_errors.clone());
        self.watches.register(own);
        self.kube_api.register(own);
        self.answers.register(own);
        self.callers.register(own);
        #[cfg(feature = "otlp")]
        self.spans.register(own);
        own.register(
            "log_lines_dropped",
            "Log lines that were dropped because the log was not read",
            dropped_log_lines,
        );
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        own.register(
            "cpus",
            "CPUs this process may use",
            ConstGauge::new(u64::try_from(workers).unwrap_or(u64::MAX)),
        );
        self.certs.register(registry.sub_registry_with_prefix("outrigger"));
        registry.register_collector(Box::new(process::Process));
        self.registry = registry;
        self
    }

    /// Writes all metrics.
    ///
    /// # Errors
    /// When a collector fails to write.
    pub(crate) fn encode(&self, exposition: Exposition) -> Result<String, fmt::Error> {
        let mut out = String::with_capacity(16 << 10);
        text::encode(&mut out, &self.registry)?;
        Ok(match exposition {
            Exposition::OpenMetrics(_) => out,
            Exposition::Classic => exposition::classic(&out),
        })
    }

    /// Counts a request that is about to be read.
    pub(crate) fn request_arrived(&self) {
        self.istio_requests.inc();
    }

    /// Counts a request that is done. Every request that arrived ends here exactly once.
    pub(crate) fn request_done(&self, outcome: Outcome, reason: &'static str, took: Duration) {
        match outcome {
            Outcome::Injected => self.istio_success.inc(),
            Outcome::Skipped => self.istio_skip.inc(),
            Outcome::Denied | Outcome::Error => self.istio_failure.inc(),
        };
        self.istio_time.observe(took.as_secs_f64());
        self.duration.observe(took.as_secs_f64());
        self.requests.get_or_create(&RequestLabels { outcome: outcome.key(), reason }).inc();
    }

    pub(crate) fn stage(&self, stage: &'static str, took: Duration) {
        let took = took.as_secs_f64();
        match self.known_stages.iter().find(|(name, _)| *name == stage) {
            Some((_, histogram)) => histogram.observe(took),
            None => self.stages.get_or_create(&Stage { stage }).observe(took),
        }
    }

    /// Counts a request of a caller that may not call. Its time is in no histogram: nothing was done for it.
    pub(crate) fn unauthenticated(&self, reason: &'static str) {
        self.istio_requests.inc();
        self.istio_failure.inc();
        self.requests.get_or_create(&RequestLabels { outcome: Outcome::Error.key(), reason }).inc();
    }

    /// Counts a request that is refused under overload.
    pub(crate) fn turned_away(&self) {
        for counter in &self.turned_away {
            counter.inc();
        }
    }

    pub(crate) fn sizes(&self, request_bytes: usize, patch: Option<(usize, usize)>) {
        // Sizes are far below 2^52.
        self.request_bytes.observe(request_bytes as f64);
        if let Some((bytes, operations)) = patch {
            self.patch_bytes.observe(bytes as f64);
            self.patch_operations.observe(operations as f64);
        }
    }

    /// Counts a warning.
    pub(crate) fn warned(&self, code: &'static str) {
        self.warnings.get_or_create(&ByCode { code }).inc();
    }

    pub(crate) fn shed(&self, reason: &'static str) {
        self.shed.get_or_create(&ByReason { reason }).inc();
    }

    /// Counts what is given up because of its peer, or for another one.
    pub(crate) fn evicted(&self, reason: &'static str) {
        self.evicted.get_or_create(&ByReason { reason }).inc();
    }

    pub(crate) fn handshake_failed(&self, reason: &'static str) {
        self.tls_handshake_errors.get_or_create(&ByReason { reason }).inc();
    }

    pub(crate) fn connection_timed_out(&self, reason: &'static str) {
        self.connections_timed_out.get_or_create(&ByReason { reason }).inc();
    }

    pub(crate) fn accept_failed(&self, listener: &'static str) {
        self.accept_errors.get_or_create(&Listener { listener }).inc();
    }

    pub(crate) fn connection_opened(&self, listener: &'static str) {
        self.connections_accepted.get_or_create(&Listener { listener }).inc();
        self.connections.get_or_create(&Listener { listener }).inc();
    }

    pub(crate) fn connection_closed(&self, listener: &'static str) {
        self.connections.get_or_create(&Listener { listener }).dec();
    }

    /// Notes a load of the configuration, taken into use or refused.
    pub(crate) fn config_loaded(&self, source: &'static str, success: bool) {
        let result = if success { "success" } else { "error" };
        self.config_reloads.get_or_create(&Reload { source, result }).inc();
        self.config_last_reload_success.set(i64::from(success));
    }

    /// Notes that the configuration in use was found again where a refused one had been.
    pub(crate) fn config_confirmed(&self) {
        self.config_last_reload_success.set(1);
    }

    /// Notes a load of the certificate; `validity` is in seconds since 1970.
    pub(crate) fn certificate_loaded(&self, validity: Option<(i64, i64)>) {
        let result = if validity.is_some() { "success" } else { "error" };
        self.tls_reloads.get_or_create(&ByResult { result }).inc();
        if let Some((not_before, not_after)) = validity {
            self.certificate_not_before.set(not_before);
            self.certificate_not_after.set(not_after);
        }
    }
}
