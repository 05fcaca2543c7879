//! The cluster as a source: watched objects become configurations and cluster state.
//!
//! No request waits for anything here. Every watch opens its gate after its first complete list. Later failures cause
//! a note, a metric and a log line, and the last good state stays in effect.

mod assemble;
pub(in crate::server) mod config_maps;
mod inputs;
mod limits;
mod nodes;
mod proxy_configs;
mod publish;

use std::{collections::BTreeMap, sync::Arc};

use kube::Client;
use tokio::task::JoinSet;

use crate::config::{Compat, NativeSidecars, Platform};
use crate::server::configuration::active::Configuration;
use crate::server::configuration::cluster::config_maps::{ConfigMapKeeper, Role};
use crate::server::configuration::cluster::inputs::Inputs;
use crate::server::configuration::cluster::limits::LimitWatches;
use crate::server::configuration::cluster::nodes::NodeKeeper;
use crate::server::configuration::cluster::proxy_configs::ProxyConfigKeeper;
use crate::server::configuration::cluster::publish::Publisher;
use crate::server::configuration::facts::LiveFacts;
use crate::server::configuration::namespaces;
use crate::server::configuration::selection::{Selection, SelectionCheck};
pub use crate::server::kube::Timings;
use crate::server::kube::events::EventSender;
use crate::server::kube::metrics::Watches;
use crate::server::kube::watch::{Watchable, Watched, Watcher};
use crate::server::readiness::Readiness;
use crate::server::shutdown::{Phase, Watch};
use crate::server::supervise::Supervisor;

/// What to watch, and settings that the objects do not contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The ConfigMaps with the configuration.
    pub config_maps: ConfigMaps,
    /// Whether ProxyConfig resources are watched.
    pub proxy_configs: bool,
    /// Whether nodes are watched.
    pub nodes: bool,
    /// Whether namespace labels are checked after the API server has selected a pod.
    pub selection: Selection,
    /// Whether Events tell workloads that their pods are denied, skipped, or injected with warnings.
    pub workload_events: bool,
    /// Name of this replica, for Events.
    pub identity: String,
    /// Timeouts and backoff of the watches.
    pub timings: Timings,
}

/// Which ConfigMaps contain the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigMaps {
    /// Our own: one ConfigMap with one key, `bundle`.
    Bundle {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The revision of this process. A bundle with another one is rejected.
        revision: String,
    },
    /// Istio's: keys `config` and `values` of the injector's ConfigMap, key `mesh` of the mesh's.
    Istio {
        /// Their namespace.
        namespace: String,
        /// Name of the injector's ConfigMap, such as `istio-sidecar-injector`.
        injector: String,
        /// Name of the mesh's ConfigMap, such as `istio`.
        mesh: String,
        /// Settings that these ConfigMaps do not contain.
        installation: Installation,
    },
}

/// Settings that a bundle contains and Istio's ConfigMaps do not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installation {
    /// The revision of this process.
    pub revision: String,
    /// The compatibility mode.
    pub compat: Compat,
    /// The kind of cluster.
    pub platform: Platform,
    /// Whether proxies run as native sidecars.
    pub native_sidecars: NativeSidecars,
    /// The compliance policy passed to the proxies; empty for none.
    pub compliance_policy: String,
    /// Environment variables visible to the template function `env`.
    pub env: BTreeMap<String, String>,
}

/// What the watches update.
#[derive(Clone)]
pub(crate) struct Targets {
    pub(crate) configuration: Arc<Configuration>,
    pub(crate) facts: Arc<LiveFacts>,
    pub(crate) readiness: Readiness,
    pub(crate) watches: Watches,
    pub(crate) supervisor: Supervisor,
    pub(crate) phase: Watch,
}

/// Starts the watches, which run until the server stops. Their gates exist when this returns.
pub(crate) fn start(client: Client, options: Options, targets: Targets) {
    let Options { config_maps: source, proxy_configs, nodes, selection, identity, timings, .. } = options;
    let phase = targets.phase.clone();
    let supervisor = targets.supervisor.clone();
    let (sender, inputs) = tokio::sync::watch::channel(Inputs::default());
    let (events, write_events) = EventSender::new(client.clone(), &identity);
    if selection == Selection::Verify {
        targets.configuration.check_selection(SelectionCheck::new(client.clone(), targets.facts.clone()));
    }
    let connection = Connection { client, timings };

    let mut tasks = JoinSet::new();
    tasks.spawn(write_events);
    for (role, namespace, name) in source.roles() {
        let watcher = connection.started(&targets, role.key(), config_maps::watched(namespace, name));
        let sender = sender.clone();
        let begin = move || watcher.clone().run(ConfigMapKeeper::new(role, sender.clone()));
        tasks.spawn(supervisor.clone().keep(role.key(), begin));
    }
    if proxy_configs {
        let watcher = connection.started(&targets, "proxyconfigs", proxy_configs::watched());
        let sender = sender.clone();
        let begin = move || watcher.clone().run(ProxyConfigKeeper::new(sender.clone()));
        tasks.spawn(supervisor.clone().keep("proxyconfigs", begin));
    } else {
        sender.send_modify(|inputs| inputs.proxy_configs = Some(Arc::default()));
    }
    if nodes {
        let watcher = connection.started(&targets, "nodes", nodes::watched());
        let facts = targets.facts.clone();
        let begin = move || watcher.clone().run(NodeKeeper::new(facts.clone()));
        tasks.spawn(supervisor.clone().keep("nodes", begin));
    }
    let limits = LimitWatches::new(connection.client.clone(), connection.timings.clone(), supervisor.clone());
    let namespaces = connection.watcher(&targets, "namespaces", namespaces::watched());
    namespaces.gate.trouble("waiting for the configuration, which names the platform");
    let publisher = Publisher {
        source,
        inputs,
        events,
        nodes_watched: nodes,
        namespaces: publish::Namespaces::new(namespaces, selection, supervisor.clone()),
        limits,
        wrong: None,
        targets,
    };
    tasks.spawn(supervisor.keep("configuration publisher", move || publisher.begun().run()));
    tokio::spawn(async move {
        tokio::select! {
            () = supervise(tasks) => {}
            () = phase.reached(Phase::Stopped) => {}
        }
    });
}

/// The API server client.
struct Connection {
    client: Client,
    timings: Timings,
}

impl Connection {
    /// Prepares a watch and its gate.
    fn watcher<K: Watchable>(&self, targets: &Targets, key: &'static str, watched: Watched<K>) -> Watcher<K> {
        let gate = targets.readiness.gate(key, &format!("{} not listed yet", watched.target));
        let metrics = targets.watches.clone();
        let (client, timings) = (self.client.clone(), self.timings.clone());
        Watcher { client, watched, timings, key, metrics, gate }
    }

    /// Starts a watch.
    fn started<K: Watchable>(&self, targets: &Targets, key: &'static str, watched: Watched<K>) -> Watcher<K> {
        targets.watches.started(key);
        self.watcher(targets, key, watched)
    }
}

/// Runs the tasks, none of which should end. The supervisor restarts those that can be restarted.
async fn supervise(mut tasks: JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        tracing::error!(panicked = ended.is_err(), "cluster task exited unexpectedly");
    }
}

impl ConfigMaps {
    /// The ConfigMaps: role, namespace and name of each.
    fn roles(&self) -> Vec<(Role, &str, &str)> {
        match self {
            ConfigMaps::Bundle { namespace, name, .. } => vec![(Role::Bundle, namespace, name)],
            ConfigMaps::Istio { namespace, injector, mesh, .. } => {
                vec![(Role::Injector, namespace, injector), (Role::InjectorConfig, namespace, mesh)]
            }
        }
    }
}

#[cfg(test)]
mod tests;
