//! The controller mode for certificates: keeps a CA and a serving certificate in a Secret, and the caBundle of our
//! webhooks.
//!
//! In reading order: `plan` (what to do next, pure), `reconciler` (follows the Secret, serves its content, and writes
//! if it leads), `content` (what the Secret holds), `change` and `issue` (new keys and certificates), `secret` (the
//! object), `ca_bundle` (our webhooks), `repairs` (backoff) and `report` (log and Events).

mod ca_bundle;
mod change;
mod content;
mod issue;
pub(in crate::server) mod metrics;
mod plan;
mod reconciler;
mod repairs;
mod report;
mod secret;

use std::{sync::Arc, time::Duration};

use kube::Client;
use tokio::{sync::watch, task::JoinHandle};

use self::metrics::CertificateMetrics;
use self::{
    ca_bundle::{CaBundleStatus, Kept, Tools},
    plan::CertificatePolicy,
    reconciler::SecretReconciler,
    report::Reporter,
};
use crate::server::kube::{events::EventSender, lease};
use crate::server::readiness::Readiness;
use crate::server::shutdown::{Phase, Watch};
use crate::server::supervise::Supervisor;
use crate::server::tls::CertificateStore;

/// Name of the gate that opens once API servers trust the certificate, or trust nobody.
pub(crate) const CA_BUNDLE: &str = "ca-bundle";

/// Names and durations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Our own namespace, which holds Secret and Lease.
    pub namespace: String,
    /// Name of the Secret with the CA and the serving certificate.
    pub secret: String,
    /// Name of the Lease that elects the writing replica.
    pub lease: String,
    /// Name of this replica: holder of the Lease and reporter of Events.
    pub identity: String,
    /// DNS names of the serving certificate; the first one is its common name.
    pub names: Vec<String>,
    /// The MutatingWebhookConfigurations whose caBundle we maintain.
    pub webhook_configurations: Vec<String>,
    /// MutatingWebhookConfigurations of tags, which can appear, disappear and be moved. We maintain their caBundle
    /// while their label names our revision.
    pub tag_configurations: Vec<String>,
    /// The ValidatingWebhookConfiguration for advice, whose caBundle we maintain.
    pub advice_configuration: Option<String>,
    /// Our revision.
    pub revision: String,
    /// Suffix of our webhooks' names in these configurations, such as `sidecar-injector.istio.io`. Other entries are
    /// left alone.
    pub webhook_suffixes: Vec<String>,
    /// Lifetime of the CA.
    pub ca_lifetime: Duration,
    /// Lifetime of a serving certificate.
    pub leaf_lifetime: Duration,
    /// How long a new CA is trusted before it signs serving certificates, and how long an old CA stays trusted
    /// afterward.
    pub ca_overlap: Duration,
    /// How long this replica must have been ready before webhooks without rules get them, so that API servers can
    /// reach it.
    pub activation_delay: Duration,
}

/// What the controller updates.
pub(crate) struct Targets {
    pub(crate) certificate: Arc<CertificateStore>,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: CertificateMetrics,
    pub(crate) supervisor: Supervisor,
    pub(crate) phase: Watch,
}

/// A running controller.
pub(crate) struct Controller {
    /// Completes when the server stops and the Lease is released.
    pub(crate) task: JoinHandle<()>,
    /// Whether this replica leads.
    pub(crate) leading: watch::Receiver<bool>,
}

/// Starts the controller, which runs until the server stops and releases the Lease when the server drains. The gates
/// exist when this returns. The leader gate opens for followers too, because they serve requests like the leader.
pub(crate) fn start(client: Client, options: Options, targets: Targets) -> Controller {
    let Targets { certificate, readiness, metrics, supervisor, phase } = targets;
    let gate = readiness.gate("leader", "no leader observed yet");
    let lease = lease::Options {
        namespace: options.namespace.clone(),
        name: options.lease.clone(),
        identity: options.identity.clone(),
    };
    let election = lease::start(
        client.clone(),
        lease,
        gate,
        metrics.lease_failures(),
        phase.clone(),
        supervisor.clone(),
    );
    let gate = readiness.gate(CA_BUNDLE, "not known yet whether API servers trust the certificate");
    let kept = options.kept();
    let ca_bundles = CaBundleStatus::new(&kept, gate, metrics.clone());
    let (events, write_events) = EventSender::new(client.clone(), &options.identity);
    // Ends when the last of its senders is gone.
    tokio::spawn(write_events);
    let reporter = Reporter::new(events, &options);
    let (trust, trusted) = watch::channel(None);
    let (serves, serving) = watch::channel(false);
    let tools = Tools {
        client: client.clone(),
        suffixes: Arc::new(options.webhook_suffixes.clone()),
        trust: trusted,
        serving,
        leading: election.leading.clone(),
        clock: election.clock.clone(),
        reporter: reporter.clone(),
        ca_bundles: ca_bundles.clone(),
        supervisor: supervisor.clone(),
    };
    let leading = election.leading.clone();
    let around = reconciler::Context {
        certificate,
        metrics: metrics.clone(),
        clock: election.clock,
        leading: leading.clone(),
        reporter,
        ca_bundles: ca_bundles.clone(),
        trust,
    };
    let advice = options.advice_configuration.clone();
    let delay = options.activation_delay;
    let draining = phase.clone();
    tokio::spawn(async move {
        let settled = async {
            readiness.passed().await;
            tokio::time::sleep(delay).await;
        };
        tokio::select! {
            () = settled => { serves.send_replace(true); }
            () = draining.reached(Phase::Draining) => {}
        }
    });
    let leader = leading.clone();
    let task = tokio::spawn(async move {
        let keep = supervisor.keep("certificate Secret reconciler", || {
            SecretReconciler::new(
                client.clone(),
                options.clone(),
                CertificatePolicy::of(&options),
                around.clone(),
            )
            .run()
        });
        tokio::select! {
            () = phase.reached(Phase::Stopped) => {}
            () = keep => {}
            // Without a name there is nothing to maintain.
            () = ca_bundle::keep(&kept, &tools), if !kept.is_empty() => {}
            () = ca_bundle::keep_advice(advice, &tools) => {}
            () = tell_who_leads(leading, metrics) => {}
        }
        let _ = election.task.await;
    });
    Controller { task, leading: leader }
}

/// Updates the leadership metric for as long as it is polled.
async fn tell_who_leads(mut leading: watch::Receiver<bool>, metrics: CertificateMetrics) {
    loop {
        metrics.leads(*leading.borrow_and_update());
        if leading.changed().await.is_err() {
            // The election has ended, and with it all writing.
            metrics.leads(false);
            return std::future::pending().await;
        }
    }
}

impl Options {
    /// Every maintained configuration, once.
    fn kept(&self) -> Vec<Kept> {
        let always = self.webhook_configurations.iter().map(|name| (name, None));
        let tags = self.tag_configurations.iter().map(|name| (name, Some(self.revision.clone())));
        // Configurations that are always maintained come first.
        let mut kept: Vec<Kept> = always
            .chain(tags)
            .map(|(name, while_of_revision)| Kept { name: name.clone(), while_of_revision })
            .collect();
        kept.sort();
        kept.dedup_by(|later, earlier| later.name == earlier.name);
        kept
    }
}

impl CertificatePolicy {
    /// The lifetimes from the options. A serving certificate lives for at least ten seconds, and a CA for ten
    /// overlaps and at least as long as its certificates; shorter ones would rotate without end.
    fn of(options: &Options) -> CertificatePolicy {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 8);
        let leaf_lifetime = seconds(options.leaf_lifetime).max(10);
        let ca_lifetime = seconds(options.ca_lifetime).max(leaf_lifetime).max(30);
        let overlap = seconds(options.ca_overlap).clamp(1, ca_lifetime / 10);
        CertificatePolicy { ca_lifetime, leaf_lifetime, overlap }
    }
}

#[cfg(test)]
mod tests;
