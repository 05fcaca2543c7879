//! The cluster: what is watched there becomes configurations and facts.
//!
//! Nothing here is waited for by a request. Every watch opens its gate after its first complete list; what fails later
//! is a remark, a metric and a log line, and the last good state stays.

mod assemble;
pub(in crate::server) mod config_maps;
mod events;
mod inputs;
mod namespaces;
mod nodes;
mod proxy_configs;
mod publish;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kube::Client;
use tokio::task::JoinSet;

use crate::config::{Compat, NativeSidecars, Platform};
use crate::server::configuration::active::Configuration;
use crate::server::configuration::cluster::config_maps::{ConfigMapKeeper, Role};
use crate::server::configuration::cluster::events::Recorder;
use crate::server::configuration::cluster::inputs::Inputs;
use crate::server::configuration::cluster::nodes::NodeKeeper;
use crate::server::configuration::cluster::proxy_configs::ProxyConfigKeeper;
use crate::server::configuration::cluster::publish::Publisher;
use crate::server::configuration::facts::LiveFacts;
use crate::server::kube::metrics::Watches;
use crate::server::kube::request::{Selected, Server};
use crate::server::kube::watch::Watcher;
use crate::server::readiness::Readiness;
use crate::server::shutdown::{Phase, Watch};
use crate::server::supervise::Supervisor;

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
    /// How patient the watches are.
    pub timings: Timings,
}

/// How patient the watches are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timings {
    /// The longest a watch is asked to last; some last a fifth less, so that they do not all end at once.
    pub watch: Duration,
    /// Silence after which a watch is asked for anew. API servers send a bookmark every minute.
    pub idle: Duration,
    /// Silence after which a request is given up. With the one before: how long an API server can be frozen unnoticed.
    pub answer: Duration,
    /// The first wait after a failure; each next one is twice as long.
    pub retry_first: Duration,
    /// The longest of these waits.
    pub retry_longest: Duration,
    /// How often a resource is looked for that the API server does not have.
    pub absent: Duration,
    /// A pause in changes after which they are taken into use.
    pub quiet: Duration,
    /// How long changes without a pause wait.
    pub longest: Duration,
    /// The least time between two writes of one Event.
    pub events: Duration,
}

impl Default for Timings {
    fn default() -> Timings {
        Timings {
            watch: Duration::from_secs(290),
            idle: Duration::from_secs(75),
            answer: Duration::from_secs(15),
            retry_first: Duration::from_millis(250),
            retry_longest: Duration::from_secs(5),
            absent: Duration::from_secs(30),
            quiet: Duration::from_millis(100),
            longest: Duration::from_secs(1),
            events: Duration::from_secs(10),
        }
    }
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
    pub(crate) watches: Watches,
    pub(crate) supervisor: Supervisor,
    pub(crate) phase: Watch,
}

/// Starts the watches; they run until the server stops. Gates are there when this returns.
pub(crate) fn start(client: Client, options: Options, targets: Targets) {
    let Options { config_maps: source, proxy_configs, nodes, identity, timings } = options;
    let phase = targets.phase.clone();
    let supervisor = targets.supervisor.clone();
    let server = Server { client, timings: timings.clone() };
    let (sender, inputs) = tokio::sync::watch::channel(Inputs::default());
    let (recorder, record) = Recorder::new(server.clone(), identity);
    let watcher = |key, selected: Selected| {
        targets.watches.started(key);
        idle_watcher(&server, &targets, key, selected)
    };

    let mut tasks = JoinSet::new();
    tasks.spawn(record);
    for (role, namespace, name) in source.roles() {
        let watcher = watcher(role.key(), config_maps::selected(namespace, name));
        let sender = sender.clone();
        let begin = move || watcher.clone().run(ConfigMapKeeper::new(role, sender.clone()));
        tasks.spawn(supervisor.clone().keep(role.key(), begin));
    }
    if proxy_configs {
        let watcher = watcher("proxyconfigs", proxy_configs::selected());
        let sender = sender.clone();
        let begin = move || watcher.clone().run(ProxyConfigKeeper::new(sender.clone()));
        tasks.spawn(supervisor.clone().keep("proxyconfigs", begin));
    } else {
        sender.send_modify(|inputs| inputs.proxy_configs = Some(Arc::default()));
    }
    if nodes {
        let watcher = watcher("nodes", nodes::selected());
        let facts = targets.facts.clone();
        let begin = move || watcher.clone().run(NodeKeeper::new(facts.clone()));
        tasks.spawn(supervisor.clone().keep("nodes", begin));
    }
    let namespaces = idle_watcher(&server, &targets, "namespaces", namespaces::selected());
    namespaces.gate.trouble("not known before the configuration is, which says what kind of cluster it is");
    let publisher = Publisher {
        source,
        inputs,
        timings,
        recorder,
        nodes_watched: nodes,
        namespaces: publish::Namespaces::new(namespaces, supervisor.clone()),
        wrong: None,
        targets,
    };
    tasks.spawn(supervisor.keep("the configuration is published", move || publisher.begun().run()));
    tokio::spawn(async move {
        tokio::select! {
            () = supervise(tasks) => {}
            () = phase.reached(Phase::Stopped) => {}
        }
    });
}

/// A watch that is not started yet, with its gate.
fn idle_watcher(server: &Server, targets: &Targets, key: &'static str, selected: Selected) -> Watcher {
    let gate = targets.readiness.gate(key, &format!("{} were not listed yet", selected.named()));
    let metrics = targets.watches.clone();
    Watcher { server: server.clone(), selected, key, metrics, gate }
}

/// Runs the tasks, none of which should end: those that can be are begun again.
async fn supervise(mut tasks: JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        tracing::error!(panicked = ended.is_err(), "a task that follows the cluster has ended");
    }
}

impl ConfigMaps {
    /// The ConfigMaps: what each is, its namespace and its name.
    fn roles(&self) -> Vec<(Role, &str, &str)> {
        match self {
            ConfigMaps::Bundle { namespace, name, .. } => vec![(Role::Bundle, namespace, name)],
            ConfigMaps::Istio { namespace, injector, mesh, .. } => {
                vec![(Role::Injector, namespace, injector), (Role::Mesh, namespace, mesh)]
            }
        }
    }
}
