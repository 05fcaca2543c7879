//! What a server is told: the options of all its parts.

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
use crate::server::{certs, client_auth, kube, tls};

/// Everything a server needs to know.
#[derive(Clone)]
pub struct Options {
    /// Where the webhook listens. An unspecified IPv6 address is dual-stack, and falls back to IPv4.
    pub listen: SocketAddr,
    /// Where probes and metrics are served, in plain HTTP.
    pub admin: SocketAddr,
    /// Who may read metrics.
    pub admin_auth: AdminAuth,
    /// The serving certificate.
    pub certificate: Certificate,
    /// The oldest TLS version that is spoken.
    pub tls_min_version: MinVersion,
    /// Who may call the webhook.
    pub client_auth: client_auth::Options,
    /// Where the configuration comes from.
    pub configuration: Origin,
    /// The way to the API server, if anything is to be done there.
    pub access: kube::client::Access,
    /// Caps.
    pub limits: Limits,
    /// Timeouts.
    pub timeouts: Timeouts,
    /// How eagerly files are looked at.
    pub pace: Pace,
    /// The collector that traces are sent to, such as `http://collector:4317`; it takes the feature `otlp`.
    pub otlp_endpoint: Option<String>,
    /// The filter of the log, if it may be exchanged on the admin port.
    pub log_filter: Option<telemetry::Filter>,
    /// Counts log lines that were dropped; shared with [`crate::server::observe::log`].
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
            otlp_endpoint: None,
            dropped_log_lines: Counter::default(),
        }
    }
}

/// Where the configuration comes from.
#[derive(Clone)]
pub enum Origin {
    /// Something that is read at the start, at every reload, and when one of its files changes.
    Source(Arc<dyn source::Source>),
    /// The cluster's own objects, which are watched.
    Cluster(Box<cluster::Options>),
}

/// Where the serving certificate comes from.
#[derive(Clone, Debug)]
pub enum Certificate {
    /// A CA and leaves of our own, kept in a Secret; we keep the caBundle of our webhooks.
    Controller(Box<certs::Options>),
    /// PEM files; read again at every reload.
    Files {
        /// The chain, leaf first.
        chain: PathBuf,
        /// The private key of the leaf.
        key: PathBuf,
    },
    /// Made in memory at the start.
    SelfSigned {
        /// DNS names and IP addresses in addition to the local ones.
        names: Vec<String>,
    },
}

impl Origin {
    /// Key for metrics.
    pub(in crate::server) const fn key(&self) -> &'static str {
        match self {
            Origin::Source(_) => "bundle",
            Origin::Cluster(_) => "cluster",
        }
    }

    /// What is read, if it is not watched.
    pub(in crate::server) fn source(&self) -> Option<Arc<dyn source::Source>> {
        match self {
            Origin::Source(source) => Some(source.clone()),
            Origin::Cluster(_) => None,
        }
    }
}

impl Certificate {
    /// What is read or made, if it is not kept in the cluster.
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
