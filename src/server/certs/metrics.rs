//! The series about certificates: who leads, whether the caBundle is right, what was made and what went wrong.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Configuration {
    /// One of the names the process was told.
    config: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Change {
    change: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct What {
    what: &'static str,
}

/// No labels; unlike a plain gauge the series is not there before it has a value.
type Nothing = Vec<(&'static str, &'static str)>;

/// How a configuration stands; `None` is what is not known here, because another replica keeps it or it is not there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stands {
    /// Whether it is there.
    pub(crate) present: Option<bool>,
    /// Whether all its webhooks trust our CA.
    pub(crate) in_sync: Option<bool>,
    /// Whether all its webhooks have rules.
    pub(crate) active: Option<bool>,
}

/// The series about certificates.
#[derive(Clone, Default)]
pub(crate) struct CertificateMetrics {
    leader: Gauge,
    in_sync: Family<Configuration, Gauge>,
    present: Family<Configuration, Gauge>,
    active: Family<Configuration, Gauge>,
    repairs: Family<Configuration, Counter>,
    changes: Family<Change, Counter>,
    errors: Family<What, Counter>,
    usable: Family<Nothing, Gauge>,
    ca_not_after: Family<Nothing, Gauge>,
}

impl CertificateMetrics {
    /// Makes the series in a registry with our prefix.
    pub(in crate::server) fn register(registry: &mut Registry) -> CertificateMetrics {
        let metrics = CertificateMetrics::default();
        registry.register(
            "leader",
            "Whether this replica keeps the Secret and the caBundle",
            metrics.leader.clone(),
        );
        registry.register(
            "ca_bundle_in_sync",
            "Whether all our webhooks of a MutatingWebhookConfiguration trust our CA; only from the leader",
            metrics.in_sync.clone(),
        );
        registry.register(
            "webhook_configuration_present",
            "Whether a MutatingWebhookConfiguration of ours exists; only from the leader",
            metrics.present.clone(),
        );
        registry.register(
            "webhook_configuration_active",
            "Whether all our webhooks of a MutatingWebhookConfiguration have rules, so that pods are sent; only from the leader",
            metrics.active.clone(),
        );
        registry.register(
            "ca_bundle_writes",
            "How often this replica wrote the caBundle",
            metrics.repairs.clone(),
        );
        registry.register(
            "certificate_changes",
            "What this replica did to the Secret with CA and certificate",
            metrics.changes.clone(),
        );
        registry.register(
            "certificate_errors",
            "What could not be done about CA, certificate and caBundle",
            metrics.errors.clone(),
        );
        registry.register(
            "certificate_secret_usable",
            "Whether the Secret is ours and holds what we serve",
            metrics.usable.clone(),
        );
        registry.register_with_unit(
            "ca_certificate_not_after_timestamp",
            "End of the validity of the CA that signs",
            Unit::Seconds,
            metrics.ca_not_after.clone(),
        );
        metrics
    }

    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// How a configuration stands.
    pub(crate) fn configuration(&self, config: &str, stands: Stands) {
        let label = Configuration { config: config.to_owned() };
        let set = |family: &Family<Configuration, Gauge>, value: Option<bool>| match value {
            Some(value) => {
                family.get_or_create(&label).set(i64::from(value));
            }
            None => {
                family.remove(&label);
            }
        };
        set(&self.present, stands.present);
        set(&self.in_sync, stands.in_sync);
        set(&self.active, stands.active);
    }

    pub(crate) fn ca_bundle_written(&self, config: &str) {
        self.repairs.get_or_create(&Configuration { config: config.to_owned() }).inc();
    }

    pub(crate) fn changed(&self, change: &'static str) {
        self.changes.get_or_create(&Change { change }).inc();
    }

    pub(crate) fn failed(&self, what: &'static str) {
        self.errors.get_or_create(&What { what }).inc();
    }

    pub(crate) fn secret(&self, usable: bool) {
        self.usable.get_or_create(&Nothing::new()).set(i64::from(usable));
    }

    pub(crate) fn ca(&self, not_after: i64) {
        self.ca_not_after.get_or_create(&Nothing::new()).set(not_after);
    }
}
