//! Metrics of TLS: the serving certificate and failed handshakes.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

/// Metrics of TLS.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsMetrics {
    not_before: Gauge,
    not_after: Gauge,
    reloads: Family<ByResult, Counter>,
    handshake_errors: Family<ByReason, Counter>,
}

impl TlsMetrics {
    /// Registers the metrics in a registry with our prefix.
    pub(crate) fn register(registry: &mut Registry) -> TlsMetrics {
        let metrics = TlsMetrics::default();
        registry.register_with_unit(
            "tls_certificate_not_before_timestamp",
            "Start of the serving certificate's validity",
            Unit::Seconds,
            metrics.not_before.clone(),
        );
        registry.register_with_unit(
            "tls_certificate_not_after_timestamp",
            "End of the serving certificate's validity",
            Unit::Seconds,
            metrics.not_after.clone(),
        );
        registry.register(
            "tls_reload",
            "Loads of the serving certificate, including the first one; result is success or error",
            metrics.reloads.clone(),
        );
        registry.register("tls_handshake_errors", "Failed TLS handshakes; reason is timeout, not_tls, incompatible, alert, alpn, malformed, closed, io, client_certificate or other", metrics.handshake_errors.clone());
        metrics
    }

    pub(crate) fn handshake_failed(&self, reason: &'static str) {
        self.handshake_errors.get_or_create(&ByReason { reason }).inc();
    }

    /// Records a load of the certificate; `validity` is in seconds since 1970.
    pub(crate) fn loaded(&self, validity: Option<(i64, i64)>) {
        let result = if validity.is_some() { "success" } else { "error" };
        self.reloads.get_or_create(&ByResult { result }).inc();
        if let Some((not_before, not_after)) = validity {
            self.not_before.set(not_before);
            self.not_after.set(not_after);
        }
    }
}
