//! Metrics about certificates: leadership, the state of the caBundle, changes and errors.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Configuration {
    /// One of the names from the options.
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

/// No labels. Unlike a plain gauge, the series is absent until it has a value.
type Nothing = Vec<(&'static str, &'static str)>;

/// The state of a configuration; `None` if this replica does not know, because another one maintains it or it does
/// not exist.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stands {
    /// Whether it exists.
    pub(crate) present: Option<bool>,
    /// Whether all its webhooks trust our CA.
    pub(crate) in_sync: Option<bool>,
    /// Whether all its webhooks have rules.
    pub(crate) active: Option<bool>,
}

/// Metrics about certificates.
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
    /// Registers the metrics in a registry with our prefix.
    pub(in crate::server) fn register(registry: &mut Registry) -> CertificateMetrics {
        let metrics = CertificateMetrics::default();
        registry.register(
            "leader",
            "1 on the replica that maintains the Secret and the caBundle",
            metrics.leader.clone(),
        );
        registry.register(
            "ca_bundle_in_sync",
            "1 if all our webhooks of a MutatingWebhookConfiguration trust all our CAs; only from the leader, so alert on max by (config)",
            metrics.in_sync.clone(),
        );
        registry.register(
            "webhook_configuration_present",
            "0 if the MutatingWebhookConfiguration does not exist, which then has no outrigger_ca_bundle_in_sync; only from the leader",
            metrics.present.clone(),
        );
        registry.register(
            "webhook_configuration_active",
            "1 if all our webhooks of a MutatingWebhookConfiguration have rules, so that pods are sent; only from the leader",
            metrics.active.clone(),
        );
        registry.register(
            "ca_bundle_writes",
            "How often this replica set the caBundle or the rules",
            metrics.repairs.clone(),
        );
        registry.register(
            "certificate_changes",
            "Changes that this replica made to the Secret with CA and certificate; change is created, restored, leaf, ca_introduced, ca_trusted, ca_signs, ca_retiring, ca_dropped, started_over or other",
            metrics.changes.clone(),
        );
        registry.register(
            "certificate_errors",
            "Failed requests and rejected contents; what is secret, ca_bundle or lease",
            metrics.errors.clone(),
        );
        registry.register(
            "certificate_secret_usable",
            "0 if the Secret is missing, foreign or damaged",
            metrics.usable.clone(),
        );
        registry.register_with_unit(
            "ca_certificate_not_after_timestamp",
            "Expiry of the signing CA",
            Unit::Seconds,
            metrics.ca_not_after.clone(),
        );
        metrics
    }

    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// The state of a configuration.
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

    /// The counter of failures of the leader election.
    pub(crate) fn lease_failures(&self) -> Counter {
        self.errors.get_or_create_owned(&What { what: "lease" })
    }

    pub(crate) fn secret(&self, usable: bool) {
        self.usable.get_or_create(&Nothing::new()).set(i64::from(usable));
    }

    pub(crate) fn ca(&self, not_after: i64) {
        self.ca_not_after.get_or_create(&Nothing::new()).set(not_after);
    }
}
