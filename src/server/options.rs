//! The options of all parts of a server.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use prometheus_client::metrics::counter::Counter;

use crate::server::configuration::{bundle::Bundle, cluster, source};
use crate::server::observe::log as telemetry;
pub use crate::server::{
    admin::AdminAuth,
    http::limits::{Limits, Timeouts},
    reload::Pace,
    tls::MinVersion,
};
use crate::server::{bare_workloads, canary, certs, client_auth, kube, namespace_audit, tls};

/// All options of a server.
#[derive(Clone)]
pub struct Options {
    /// Address of the webhook. An unspecified IPv6 address is dual-stack, and falls back to IPv4.
    pub listen: SocketAddr,
    /// Address of probes and metrics, over plain HTTP.
    pub admin: SocketAddr,
    /// Who may read metrics.
    pub admin_auth: AdminAuth,
    /// The serving certificate.
    pub certificate: Certificate,
    /// Minimum TLS version to accept.
    pub tls_min_version: MinVersion,
    /// Client authentication for the webhook.
    pub client_auth: client_auth::Options,
    /// The source of the configuration.
    pub configuration: Origin,
    /// The API server client, if one is needed.
    pub access: kube::client::Access,
    /// Limits on clients.
    pub limits: Limits,
    /// Timeouts.
    pub timeouts: Timeouts,
    /// Timing of file watches.
    pub pace: Pace,
    /// The collector for traces, such as `http://collector:4317`; requires the feature `otlp`.
    pub otlp_endpoint: Option<String>,
    /// The filter of the log, if it may be changed on the admin port.
    pub log_filter: Option<telemetry::Filter>,
    /// How many decisions are kept for `/debug/decisions` on the admin port; 0 turns it off.
    pub debug_decisions: usize,
    /// The canary, if there is one.
    pub canary: Option<canary::Options>,
    /// The audit of namespace labels, if there is one.
    pub namespace_audit: Option<namespace_audit::Options>,
    /// What is done about workloads without a proxy, if anything.
    pub bare_workloads: Option<bare_workloads::Options>,
    /// Whether clients on loopback can look at the server's page, `/ui` on the admin port.
    pub admin_page: bool,
    /// Counts dropped log lines; shared with [`crate::server::observe::log`].
    pub dropped_log_lines: Counter,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            listen: SocketAddr::from(([0_u16; 8], 8443)),
            admin: SocketAddr::from(([0_u16; 8], 8080)),
            admin_auth: AdminAuth::default(),
            certificate: Certificate::SelfSigned { names: Vec::new() },
            tls_min_version: MinVersion::default(),
            client_auth: client_auth::Options::default(),
            configuration: Origin::Source(Arc::new(Bundle::default())),
            access: kube::client::Access::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            pace: Pace::default(),
            log_filter: None,
            debug_decisions: 0,
            canary: None,
            namespace_audit: None,
            bare_workloads: None,
            admin_page: false,
            otlp_endpoint: None,
            dropped_log_lines: Counter::default(),
        }
    }
}

/// The source of the configuration.
#[derive(Clone)]
pub enum Origin {
    /// A source that is read at the start, at every reload, and when one of its files changes.
    Source(Arc<dyn source::Source>),
    /// Objects in the cluster, which are watched.
    Cluster(Box<cluster::Options>),
}

/// The source of the serving certificate.
#[derive(Clone, Debug)]
pub enum Certificate {
    /// Our own CA in a Secret; we manage the caBundle of our webhooks.
    Controller(Box<certs::Options>),
    /// PEM files, read again at every reload.
    Files {
        /// The chain, leaf first.
        chain: PathBuf,
        /// The private key of the leaf.
        key: PathBuf,
    },
    /// Created in memory at the start.
    SelfSigned {
        /// DNS names and IP addresses in addition to the local ones.
        names: Vec<String>,
    },
}

impl Origin {
    /// Label value for metrics.
    pub(in crate::server) const fn key(&self) -> &'static str {
        match self {
            Origin::Source(_) => "bundle",
            Origin::Cluster(_) => "cluster",
        }
    }

    /// The source to read, if it is not watched.
    pub(in crate::server) fn source(&self) -> Option<Arc<dyn source::Source>> {
        match self {
            Origin::Source(source) => Some(source.clone()),
            Origin::Cluster(_) => None,
        }
    }
}

impl Certificate {
    /// The source to read or create, if it is not kept in the cluster.
    pub(in crate::server) fn origin(&self) -> Option<tls::Origin> {
        match self {
            Certificate::Controller(_) => None,
            Certificate::Files { chain, key } => {
                Some(tls::Origin::Files { chain: chain.clone(), key: key.clone() })
            }
            Certificate::SelfSigned { names } => Some(tls::Origin::SelfSigned { names: names.clone() }),
        }
    }
}
