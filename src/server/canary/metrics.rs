//! Metrics of the canary.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// No labels. Unlike a plain gauge, the series is absent until it has a value.
type Nothing = Vec<(&'static str, &'static str)>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByClass {
    class: &'static str,
}

/// A millisecond to the largest timeout of a webhook.
const SECONDS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0, 30.0];

/// Metrics of the canary.
#[derive(Clone, Debug)]
pub(crate) struct CanaryMetrics {
    up: Family<Nothing, Gauge>,
    duration: Histogram,
    failures: Family<ByClass, Counter>,
}

impl CanaryMetrics {
    /// Registers the metrics in a registry with our prefix.
    pub(in crate::server) fn register(registry: &mut Registry) -> CanaryMetrics {
        let metrics = CanaryMetrics {
            up: Family::default(),
            duration: Histogram::new(SECONDS),
            failures: Family::default(),
        };
        registry.register(
            "apiserver_path_up",
            "1 if the API server's last dry run of a pod came back with our proxy, 0 if not; only with --canary-namespace, and \
             only from the replica that tries, so alert on max",
            metrics.up.clone(),
        );
        registry.register_with_unit(
            "apiserver_path_duration",
            "How long the API server took for a dry run of a pod",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register(
            "apiserver_path_failures",
            "Dry runs of a pod that did not come back with our proxy; class is a check of outrigger doctor, or forbidden (our \
             ServiceAccount may not create pods), other-revision or api-server (no usable response)",
            metrics.failures.clone(),
        );
        metrics
    }

    /// Records an attempt, with the class of its failure.
    pub(crate) fn tried(&self, failure: Option<&'static str>, took: Duration) {
        self.up.get_or_create(&Nothing::new()).set(i64::from(failure.is_none()));
        self.duration.observe(took.as_secs_f64());
        if let Some(class) = failure {
            self.failures.get_or_create(&ByClass { class }).inc();
        }
    }

    /// Removes the state, which another replica reports from now on.
    pub(crate) fn forget(&self) {
        self.up.remove(&Nothing::new());
    }
}
