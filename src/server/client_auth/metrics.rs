//! Metrics of client authentication.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Failed {
    reason: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Loaded {
    what: &'static str,
    result: &'static str,
}

/// No labels.
type Nothing = Vec<(&'static str, &'static str)>;

/// Metrics of client authentication. Without it, the series are absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientAuthMetrics {
    failed: Family<Failed, Counter>,
    loaded: Family<Loaded, Counter>,
    ca_not_after: Family<Nothing, Gauge>,
}

impl ClientAuthMetrics {
    /// Registers the metrics in a registry with our prefix.
    pub(in crate::server) fn register(registry: &mut Registry) -> ClientAuthMetrics {
        let metrics = ClientAuthMetrics::default();
        registry.register(
            "client_auth_failures",
            "Handshakes and requests of unauthenticated clients; outcome is refused, or admitted with \
             --client-auth=request",
            metrics.failed.clone(),
        );
        registry.register(
            "client_auth_reload",
            "Loads of the client CA or tokens, including the first one; what is ca or tokens, result is success or error",
            metrics.loaded.clone(),
        );
        registry.register_with_unit(
            "client_ca_not_after_timestamp",
            "Expiry of the client CA that expires last",
            Unit::Seconds,
            metrics.ca_not_after.clone(),
        );
        metrics
    }

    pub(crate) fn failed(&self, reason: &'static str, refused: bool) {
        let outcome = if refused { "refused" } else { "admitted" };
        self.failed.get_or_create(&Failed { reason, outcome }).inc();
    }

    /// Records a load of the client CA; its expiry is in seconds since 1970.
    pub(crate) fn ca_loaded(&self, not_after: Option<i64>) {
        self.load("ca", not_after.is_some());
        if let Some(not_after) = not_after {
            self.ca_not_after.get_or_create(&Nothing::new()).set(not_after);
        }
    }

    pub(crate) fn tokens_loaded(&self, success: bool) {
        self.load("tokens", success);
    }

    fn load(&self, what: &'static str, success: bool) {
        let result = if success { "success" } else { "error" };
        self.loaded.get_or_create(&Loaded { what, result }).inc();
    }
}
