//! Metrics of the namespace audit.

use std::collections::BTreeMap;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByCheck {
    check: &'static str,
}

/// Metrics of the namespace audit.
#[derive(Clone, Debug)]
pub(crate) struct NamespaceAuditMetrics {
    mistakes: Family<ByCheck, Gauge>,
}

impl NamespaceAuditMetrics {
    /// Registers the metrics in a registry with our prefix.
    pub(in crate::server) fn register(registry: &mut Registry) -> NamespaceAuditMetrics {
        let metrics = NamespaceAuditMetrics { mistakes: Family::default() };
        registry.register(
            "namespace_label_mistakes",
            "Namespaces whose labels do not do what they say, by check of outrigger doctor; only with --namespace-audit, and only \
             from the replica that audits, so alert on max; absent if the last audit failed",
            metrics.mistakes.clone(),
        );
        metrics
    }

    /// Reports the number of mistakes of each check.
    pub(crate) fn found(&self, mistakes: &BTreeMap<&'static str, usize>) {
        for (&check, &number) in mistakes {
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            self.mistakes.get_or_create(&ByCheck { check }).set(number);
        }
    }

    /// Removes the numbers: they are not known, or another replica reports them from now on.
    pub(crate) fn forget(&self) {
        self.mistakes.clear();
    }
}
