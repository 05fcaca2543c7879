//! Publishes what the watches found as the active configuration: outside of requests, and rate-limited.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::Value;
use tokio::{sync::watch::Receiver, task::JoinSet, time::Instant};

use crate::server::configuration::build::{self, Cluster};
use crate::server::configuration::cluster::assemble::{Gathered, Refused, Texts};
use crate::server::configuration::cluster::inputs::{Inputs, Reference};
use crate::server::configuration::cluster::limits::LimitWatches;
use crate::server::configuration::cluster::{ConfigMaps, Targets, assemble};
use crate::server::configuration::namespaces::{Namespace, NamespaceKeeper};
use crate::server::configuration::selection::Selection;
use crate::server::configuration::source::Loaded;
use crate::server::kube::events::{EventSender, EventType, Note};
use crate::server::kube::watch::Watcher;
use crate::{
    config::{NamespaceLimits, Nodes},
    server::{readiness::Gate, supervise::Supervisor},
};

/// Follows the inputs.
pub(in crate::server) struct Publisher {
    pub(in crate::server) source: ConfigMaps,
    pub(in crate::server) inputs: Receiver<Inputs>,
    pub(in crate::server) targets: Targets,
    pub(in crate::server) events: EventSender,
    /// Whether nodes come from the cluster; otherwise those in the bundle count.
    pub(in crate::server) nodes_watched: bool,
    pub(in crate::server) namespaces: Namespaces,
    pub(in crate::server) limits: LimitWatches,
    /// The problem with the newest configuration, if any.
    pub(in crate::server) wrong: Option<Wrong>,
}

/// The watch on namespaces, which is started when a configuration needs it.
pub(in crate::server) struct Namespaces {
    /// The watch to start; `None` once it was started.
    watcher: Option<Watcher<Namespace>>,
    selection: Selection,
    gate: Gate,
    supervisor: Supervisor,
    tasks: JoinSet<()>,
}

/// The problem with the newest configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) enum Wrong {
    Missing(String),
    Refused(String),
}

/// The result of parsing the texts.
enum Built {
    /// The configuration that is already active.
    Same(Needs),
    /// A different one.
    Other { loaded: Loaded, needs: Needs, nodes: Nodes, enabled_by_default: bool },
    /// None.
    Refused(Refused),
}

/// The cluster state that a configuration needs.
#[derive(Clone, Copy)]
struct Needs {
    namespaces: bool,
    limits: NamespaceLimits,
}

/// The value that injects namespaces without any label.
const ENABLED_BY_DEFAULT: [&str; 2] = ["sidecarInjectorWebhook", "enableNamespacesByDefault"];
/// Changes are applied after a pause of this length.
const QUIET: Duration = Duration::from_millis(100);
/// Maximum delay if changes keep coming without a pause.
const LONGEST: Duration = Duration::from_secs(1);

impl Publisher {
    /// A publisher that starts by looking at the current state.
    pub(in crate::server) fn begun(&self) -> Publisher {
        let mut inputs = self.inputs.clone();
        inputs.mark_changed();
        Publisher {
            source: self.source.clone(),
            inputs,
            targets: self.targets.clone(),
            events: self.events.clone(),
            nodes_watched: self.nodes_watched,
            namespaces: Namespaces {
                watcher: self.namespaces.watcher.clone(),
                selection: self.namespaces.selection,
                gate: self.namespaces.gate.clone(),
                supervisor: self.namespaces.supervisor.clone(),
                tasks: JoinSet::new(),
            },
            limits: self.limits.begun(),
            wrong: self.wrong.clone(),
        }
    }

    /// Runs until the watches are gone.
    pub(in crate::server) async fn run(mut self) {
        while self.changed().await {
            let inputs = self.inputs.borrow_and_update().clone();
            match assemble::gather(&self.source, &inputs) {
                Gathered::Waiting => {}
                Gathered::Missing(sentence) => self.missing(sentence),
                Gathered::Texts(texts) => self.publish(texts).await,
            }
        }
    }

    /// Waits for a change, and until changes pause. Returns whether there is one.
    async fn changed(&mut self) -> bool {
        if self.inputs.changed().await.is_err() {
            return false;
        }
        if self.targets.configuration.current().is_none() {
            // No request can be served yet, so the first configuration is not delayed.
            return true;
        }
        let first = Instant::now();
        let mut last = first;
        loop {
            let due = (last + QUIET).min(first + LONGEST);
            tokio::select! {
                changed = self.inputs.changed() => match changed {
                    Ok(()) => last = Instant::now(),
                    Err(_) => return false,
                },
                () = tokio::time::sleep_until(due) => return true,
            }
        }
    }

    fn missing(&mut self, sentence: String) {
        let wrong = Wrong::Missing(sentence);
        if self.wrong.as_ref() != Some(&wrong)
            && let Wrong::Missing(sentence) = &wrong
        {
            self.targets.configuration.stale(sentence);
        }
        self.wrong = Some(wrong);
    }

    async fn publish(&mut self, texts: Texts) {
        let about = texts.reference().clone();
        let facts = self.targets.facts.clone();
        let current = self.targets.configuration.current();
        let build = move || {
            let (mesh, warnings) = match assemble::mesh(&texts) {
                Ok(made) => made,
                Err(refused) => return Built::Refused(refused),
            };
            let needs = Needs { namespaces: mesh.needs_namespaces(), limits: mesh.namespace_limits() };
            if current.is_some_and(|active| active.engine.hash() == mesh.hash()) {
                return Built::Same(needs);
            }
            let nodes = mesh.nodes().clone();
            let enabled_by_default = mesh.value(&ENABLED_BY_DEFAULT) == Some(&Value::Bool(true));
            match build::loaded(mesh, &warnings, Cluster::Watched(facts)) {
                Ok(loaded) => Built::Other { loaded, needs, nodes, enabled_by_default },
                Err(sentence) => Built::Refused(Refused { sentence, about: texts.reference().clone() }),
            }
        };
        // A panic counts as a rejection, and the watches continue.
        let built = tokio::task::spawn_blocking(build).await.unwrap_or_else(|_| {
            let sentence = "internal error while reading it; see the log".to_owned();
            Built::Refused(Refused { sentence, about: about.clone() })
        });
        match built {
            Built::Refused(refused) => self.refused(refused),
            Built::Same(needs) => {
                self.start_watches(needs);
                if self.wrong.is_some() {
                    self.targets.configuration.confirmed();
                }
                self.accepted(about);
            }
            Built::Other { loaded, needs, nodes, enabled_by_default } => {
                if !self.nodes_watched && !nodes.is_empty() {
                    self.targets.facts.replace_nodes(nodes);
                }
                self.start_watches(needs);
                // During the change, the more inclusive setting applies.
                let facts = &self.targets.facts;
                facts.enable_by_default(enabled_by_default || facts.is_enabled_by_default());
                self.targets.configuration.publish(loaded);
                facts.enable_by_default(enabled_by_default);
                self.accepted(about);
            }
        }
    }

    fn start_watches(&mut self, needs: Needs) {
        self.namespaces.start(needs.namespaces, &self.targets);
        self.limits.start(needs.limits, &self.targets);
    }

    fn refused(&mut self, Refused { sentence, about }: Refused) {
        // A problem that stays the same after another change is not logged again.
        let wrong = Wrong::Refused(sentence.clone());
        if self.wrong.as_ref() != Some(&wrong) {
            self.targets.configuration.refused(&sentence);
            self.wrong = Some(wrong);
            self.event(EventType::Warning, "ConfigRejected", about, sentence);
        }
    }

    fn accepted(&mut self, about: Reference) {
        if let Some(Wrong::Refused(_)) = self.wrong.take() {
            let hash = self.targets.configuration.current().map(|active| active.engine.hash().to_owned());
            let message = format!("configuration applied, hash {}", hash.unwrap_or_default());
            self.event(EventType::Normal, "ConfigAccepted", about, message);
        }
    }
}

impl Publisher {
    /// Reports an Event on the ConfigMap.
    fn event(&self, kind: EventType, reason: &'static str, about: Reference, text: String) {
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("ConfigMap".to_owned()),
            namespace: Some(about.namespace),
            name: Some(about.name),
            uid: Some(about.uid),
            // Without its resource version: the `Recorder` would create a new Event for each version instead of
            // extending the series.
            ..ObjectReference::default()
        };
        self.events.send(Note { about, kind, reason, text, at_once: false });
    }
}

impl Namespaces {
    /// A watch that is not started yet.
    pub(in crate::server) fn new(
        watcher: Watcher<Namespace>,
        selection: Selection,
        supervisor: Supervisor,
    ) -> Namespaces {
        let gate = watcher.gate.clone();
        Namespaces { watcher: Some(watcher), selection, gate, supervisor, tasks: JoinSet::new() }
    }

    /// Starts the watch if the configuration or the selection check needs it.
    fn start(&mut self, is_needed: bool, targets: &Targets) {
        if self.watcher.is_none() {
            return;
        }
        let optional = match (is_needed, self.selection) {
            (true, _) => false,
            (false, Selection::Verify) => true,
            (false, Selection::Trust) => {
                self.gate.open(
                    "not watched: the configuration reads no namespaces and the selection check is off",
                );
                return;
            }
        };
        if let Some(watcher) = self.watcher.take() {
            targets.watches.started(watcher.key);
            let facts = targets.facts.clone();
            let begin = move || watcher.clone().run(NamespaceKeeper::new(facts.clone(), optional));
            self.tasks.spawn(self.supervisor.clone().keep("namespaces", begin));
        }
    }
}
