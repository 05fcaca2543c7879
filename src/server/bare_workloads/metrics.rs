//! Metrics about workloads without a proxy.

use injector::bare_workloads::{Assessment, RestartState};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::Restart;

/// No labels. Unlike a plain gauge, the series is absent until it has a value.
type Nothing = Vec<(&'static str, &'static str)>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByState {
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

/// Metrics about workloads without a proxy.
#[derive(Clone, Debug)]
pub(crate) struct BareWorkloadMetrics {
    workloads: Family<ByState, Gauge>,
    pods: Family<Nothing, Gauge>,
    restarts: Family<ByResult, Counter>,
}

impl BareWorkloadMetrics {
    /// Registers the metrics in a registry with our prefix.
    pub(in crate::server) fn register(registry: &mut Registry) -> BareWorkloadMetrics {
        let metrics = BareWorkloadMetrics {
            workloads: Family::default(),
            pods: Family::default(),
            restarts: Family::default(),
        };
        registry.register(
            "bare_workloads",
            "Workloads with running pods that have no proxy although new ones would get one; state is restartable, restarting, \
             waiting (a rollout or a PodDisruptionBudget), excluded (not restarted by outrigger) or ineffective (restarted in \
             vain); only with --bare-workloads, and only from the replica that looks, so alert on max; absent if the last pass failed",
            metrics.workloads.clone(),
        );
        registry.register(
            "bare_pods",
            "Running pods of these workloads that have no proxy",
            metrics.pods.clone(),
        );
        registry.register(
            "workload_restarts",
            "Restarts of these workloads; result is restarted, changed (by others since it was read; tried again later) or refused",
            metrics.restarts.clone(),
        );
        metrics
    }

    /// Reports what was found.
    pub(super) fn found(&self, found: &Assessment) {
        for state in RestartState::KEYS {
            let number = found.bare.iter().filter(|workload| workload.state.key() == state).count();
            self.workloads.get_or_create(&ByState { state }).set(i64::try_from(number).unwrap_or(i64::MAX));
        }
        let pods: usize = found.bare.iter().map(|workload| workload.bare).sum();
        self.pods.get_or_create(&Nothing::new()).set(i64::try_from(pods).unwrap_or(i64::MAX));
    }

    /// Counts the result of a restart.
    pub(super) fn restarted(&self, result: &Restart) {
        let result = match result {
            Restart::Done(_) => "restarted",
            Restart::Changed => "changed",
            Restart::Refused(_) => "refused",
        };
        self.restarts.get_or_create(&ByResult { result }).inc();
    }

    /// Removes the numbers: they are not known, or another replica reports them from now on.
    pub(crate) fn forget(&self) {
        self.workloads.clear();
        self.pods.clear();
    }

    /// A value for each series, for the reference.
    #[cfg(test)]
    pub(in crate::server) fn sample(&self) {
        self.found(&Assessment::default());
        self.restarted(&Restart::Changed);
    }
}
