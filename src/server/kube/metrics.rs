//! Metrics of the API server: requests to it, and the state of the watches.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

/// One watch. The label is a constant such as `nodes` or `configmaps/mesh`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Watched {
    resource: &'static str,
}

/// Metrics of all watches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watches {
    connected: Family<Watched, Gauge>,
    errors: Family<Watched, Counter>,
    last_event: Family<Watched, Gauge>,
    synced: Family<Watched, Gauge>,
}

impl Watches {
    /// Registers the metrics in a registry with our prefix.
    pub(in crate::server) fn register(registry: &mut Registry) -> Watches {
        let metrics = Watches::default();
        registry.register(
            "watch_connected",
            "1 while the API server responds to a watch; resource is what is watched, such as nodes or configmap-mesh",
            metrics.connected.clone(),
        );
        registry.register(
            "watch_errors",
            "Failed lists and watches, and broken watches",
            metrics.errors.clone(),
        );
        registry.register_with_unit(
            "watch_last_event_timestamp",
            "When a watch last received a response, an event or a bookmark",
            Unit::Seconds,
            metrics.last_event.clone(),
        );
        registry.register("cache_synced", "1 after the first complete list", metrics.synced.clone());
        metrics
    }

    /// Creates the series of a watch that starts.
    pub(crate) fn started(&self, resource: &'static str) {
        self.connected(resource, false);
        let _from_zero = self.errors.get_or_create(&Watched { resource });
        self.synced.get_or_create(&Watched { resource }).set(0);
    }

    pub(crate) fn connected(&self, resource: &'static str, connected: bool) {
        self.connected.get_or_create(&Watched { resource }).set(i64::from(connected));
    }

    pub(crate) fn failed(&self, resource: &'static str) {
        self.errors.get_or_create(&Watched { resource }).inc();
    }

    /// Records a sign of life; `now` is in seconds since 1970.
    pub(crate) fn heard(&self, resource: &'static str, now: i64) {
        self.last_event.get_or_create(&Watched { resource }).set(now);
    }

    pub(crate) fn synced(&self, resource: &'static str) {
        self.synced.get_or_create(&Watched { resource }).set(1);
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Asked {
    verb: &'static str,
    resource: &'static str,
    code: String,
}

/// Requests to the API server.
#[derive(Clone, Debug, Default)]
pub(crate) struct KubeApi(Family<Asked, Counter>);

impl KubeApi {
    /// Registers the metrics in a registry with our prefix.
    pub(in crate::server) fn register(registry: &mut Registry) -> KubeApi {
        let metrics = KubeApi::default();
        registry.register(
            "kube_api_requests",
            "Requests to the API server; code is an HTTP status, error, or unanswered for an abandoned request",
            metrics.0.clone(),
        );
        metrics
    }

    /// Counts a request. `code` must come from a small set: HTTP statuses, or a constant.
    pub(crate) fn asked(&self, verb: &'static str, resource: &'static str, code: impl Into<String>) {
        self.0.get_or_create(&Asked { verb, resource, code: code.into() }).inc();
    }
}

/// Metrics of the API server.
#[derive(Clone, Debug)]
pub(crate) struct KubeMetrics {
    /// Requests.
    pub(crate) requests: KubeApi,
    /// Watches.
    pub(crate) watches: Watches,
}

impl KubeMetrics {
    /// Registers the metrics in a registry with our prefix.
    pub(in crate::server) fn register(registry: &mut Registry) -> KubeMetrics {
        let watches = Watches::register(registry);
        KubeMetrics { requests: KubeApi::register(registry), watches }
    }
}
