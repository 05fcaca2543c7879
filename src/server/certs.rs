//! The controller mode of certificates: a CA and a leaf kept in a Secret, and the caBundle of our webhooks.
//!
//! In reading order: `plan` (what is to be done, pure), `reconciler` (follows the Secret, serves what is in it, and writes
//! when it leads), `content` (what is in the Secret), `change` and `issue` (new keys and certificates), `secret` (the
//! object), `ca_bundle` (our webhooks), `repairs` (how fast) and `report` (log and Events).

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

/// Name of the gate that opens when API servers trust the certificate, or nobody.
pub(crate) const CA_BUNDLE: &str = "ca-bundle";

/// What is kept where, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Our own namespace: Secret and Lease are in it.
    pub namespace: String,
    /// Name of the Secret with the CA and the leaf.
    pub secret: String,
    /// Name of the Lease that elects the replica that writes.
    pub lease: String,
    /// Name of this replica: holder of the Lease, reporter of Events.
    pub identity: String,
    /// DNS names of the leaf, the first one as its common name.
    pub names: Vec<String>,
    /// The MutatingWebhookConfigurations whose caBundle is kept.
    pub webhook_configurations: Vec<String>,
    /// MutatingWebhookConfigurations of tags, which may come, go and point elsewhere: their caBundle is kept while their
    /// label says our revision.
    pub tag_configurations: Vec<String>,
    /// Our revision.
    pub revision: String,
    /// Suffix of the names of our webhooks in them, such as `sidecar-injector.istio.io`: other entries are left alone.
    pub webhook_suffixes: Vec<String>,
    /// Lifetime of the CA.
    pub ca_lifetime: Duration,
    /// Lifetime of a leaf.
    pub leaf_lifetime: Duration,
    /// How long a new CA is trusted before leaves move to it, and an old one after they have.
    pub ca_overlap: Duration,
    /// How long this replica must have been ready before webhooks without rules get them: until API servers reach it.
    pub activation_delay: Duration,
}

/// What the controller writes to.
pub(crate) struct Targets {
    pub(crate) certificate: Arc<CertificateStore>,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: CertificateMetrics,
    pub(crate) supervisor: Supervisor,
    pub(crate) phase: Watch,
}

/// Starts the controller; it runs until the server stops, and gives the Lease back when it drains. Gates are there when
/// this returns. That of the lead is open, because a server that does not lead serves as well as one that does.
pub(crate) fn start(client: Client, options: Options, targets: Targets) -> JoinHandle<()> {
    let Targets { certificate, readiness, metrics, supervisor, phase } = targets;
    let gate = readiness.gate("leader", "nobody is known to lead yet");
    let lease = lease::Options {
        namespace: options.namespace.clone(),
        name: options.lease.clone(),
        identity: options.identity.clone(),
    };
    let election =
        lease::start(client.clone(), lease, gate, metrics.clone(), phase.clone(), supervisor.clone());
    let gate = readiness.gate(CA_BUNDLE, "it is not known yet whether API servers trust the certificate");
    let kept = options.kept();
    let board = CaBundleStatus::new(&kept, gate, metrics.clone());
    let (events, write_events) = EventSender::new(client.clone(), &options.identity);
    // Ends with the last of those that tell it something.
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
        board: board.clone(),
        supervisor: supervisor.clone(),
    };
    let leading = election.leading.clone();
    let around = reconciler::Context {
        certificate,
        metrics: metrics.clone(),
        clock: election.clock,
        leading: leading.clone(),
        reporter,
        board: board.clone(),
        trust,
    };
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
    tokio::spawn(async move {
        let keep = supervisor.keep("the Secret with CA and certificate is kept", || {
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
            // Without a name there is nothing to keep.
            () = ca_bundle::keep(&kept, &tools), if !kept.is_empty() => {}
            () = tell_who_leads(leading, metrics) => {}
        }
        let _ = election.task.await;
    })
}

/// Keeps the metric about who leads, for as long as it is polled.
async fn tell_who_leads(mut leading: watch::Receiver<bool>, metrics: CertificateMetrics) {
    loop {
        metrics.leads(*leading.borrow_and_update());
        if leading.changed().await.is_err() {
            // The election is over, and with it the writing.
            metrics.leads(false);
            return std::future::pending().await;
        }
    }
}

impl Options {
    /// Every configuration that is kept, once.
    fn kept(&self) -> Vec<Kept> {
        let always = self.webhook_configurations.iter().map(|name| (name, None));
        let tags = self.tag_configurations.iter().map(|name| (name, Some(self.revision.clone())));
        // What is kept in any case comes first.
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
    /// The lifetimes of the options. A leaf lives for at least ten seconds and a CA for ten times the overlap and no
    /// shorter than its leaves, or else it would be rotated without end.
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
