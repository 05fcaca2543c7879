//! What the watches found becomes the configuration in use: away from requests, and not more often than is good.

use std::time::Instant;

use tokio::{sync::watch::Receiver, task::JoinSet};

use crate::server::configuration::build::{self, Cluster};
use crate::server::configuration::cluster::assemble::{Gathered, Refused, Texts};
use crate::server::configuration::cluster::events::{Recorder, Remark, Verdict};
use crate::server::configuration::cluster::inputs::{Inputs, Reference};
use crate::server::configuration::cluster::namespaces::NamespaceKeeper;
use crate::server::configuration::cluster::{ConfigMaps, Targets, Timings, assemble};
use crate::server::configuration::source::Loaded;
use crate::server::kube::backoff as pace;
use crate::server::kube::watch::Watcher;
use crate::{
    config::{Nodes, Platform},
    server::{readiness::Gate, supervise::Supervisor},
};

/// Follows the inputs.
pub(in crate::server) struct Publisher {
    pub(in crate::server) source: ConfigMaps,
    pub(in crate::server) inputs: Receiver<Inputs>,
    pub(in crate::server) targets: Targets,
    pub(in crate::server) timings: Timings,
    pub(in crate::server) recorder: Recorder,
    /// Whether nodes come from the cluster; if not, those of the bundle count.
    pub(in crate::server) nodes_watched: bool,
    pub(in crate::server) namespaces: Namespaces,
    /// What is wrong with the newest configuration, if anything.
    pub(in crate::server) wrong: Option<Wrong>,
}

/// The watch on namespaces, which is started when a configuration needs it.
pub(in crate::server) struct Namespaces {
    /// What to start; nothing once it was started.
    watcher: Option<Watcher>,
    gate: Gate,
    supervisor: Supervisor,
    tasks: JoinSet<()>,
}

/// What is wrong with the newest configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) enum Wrong {
    Missing(String),
    Refused(String),
}

/// What was made of texts.
enum Built {
    /// The configuration that is in use already.
    Same(Platform),
    /// Another one.
    Other { loaded: Loaded, platform: Platform, nodes: Nodes },
    /// None.
    Refused(Refused),
}

impl Publisher {
    /// One that begins, and looks at what there is first of all.
    pub(in crate::server) fn begun(&self) -> Publisher {
        let mut inputs = self.inputs.clone();
        inputs.mark_changed();
        Publisher {
            source: self.source.clone(),
            inputs,
            targets: self.targets.clone(),
            timings: self.timings.clone(),
            recorder: self.recorder.clone(),
            nodes_watched: self.nodes_watched,
            namespaces: Namespaces {
                watcher: self.namespaces.watcher.clone(),
                gate: self.namespaces.gate.clone(),
                supervisor: self.namespaces.supervisor.clone(),
                tasks: JoinSet::new(),
            },
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

    /// Waits for a change, and until changes pause. Tells whether there is one.
    async fn changed(&mut self) -> bool {
        if self.inputs.changed().await.is_err() {
            return false;
        }
        if self.targets.configuration.current().is_none() {
            // Nobody is served yet: the first configuration is not waited with.
            return true;
        }
        let first = Instant::now();
        let mut last = first;
        loop {
            let due = pace::due(&self.timings, first, last);
            tokio::select! {
                changed = self.inputs.changed() => match changed {
                    Ok(()) => last = Instant::now(),
                    Err(_) => return false,
                },
                () = tokio::time::sleep_until(due.into()) => return true,
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
            if current.is_some_and(|active| active.engine.hash() == mesh.hash()) {
                return Built::Same(mesh.platform());
            }
            let (platform, nodes) = (mesh.platform(), mesh.nodes().clone());
            match build::loaded(mesh, &warnings, Cluster::Watched(facts)) {
                Ok(loaded) => Built::Other { loaded, platform, nodes },
                Err(sentence) => Built::Refused(Refused { sentence, about: texts.reference().clone() }),
            }
        };
        // A panic in it is a refusal: the watches go on.
        let built = tokio::task::spawn_blocking(build).await.unwrap_or_else(|_| {
            let sentence = "an internal error while it was read; the log has the place".to_owned();
            Built::Refused(Refused { sentence, about: about.clone() })
        });
        match built {
            Built::Refused(refused) => self.refused(refused),
            Built::Same(platform) => {
                self.namespaces.wanted_on(platform, &self.targets);
                if self.wrong.is_some() {
                    self.targets.configuration.confirmed();
                }
                self.accepted(about);
            }
            Built::Other { loaded, platform, nodes } => {
                if !self.nodes_watched && !nodes.is_empty() {
                    self.targets.facts.replace_nodes(nodes);
                }
                self.namespaces.wanted_on(platform, &self.targets);
                self.targets.configuration.publish(loaded);
                self.accepted(about);
            }
        }
    }

    fn refused(&mut self, Refused { sentence, about }: Refused) {
        // The same problem again, because something else has changed, is not worth another line.
        let wrong = Wrong::Refused(sentence.clone());
        if self.wrong.as_ref() != Some(&wrong) {
            self.targets.configuration.refused(&sentence);
            self.wrong = Some(wrong);
            self.recorder.record(Remark { about, verdict: Verdict::Rejected, message: sentence });
        }
    }

    fn accepted(&mut self, about: Reference) {
        if let Some(Wrong::Refused(_)) = self.wrong.take() {
            let hash = self.targets.configuration.current().map(|active| active.engine.hash().to_owned());
            let message = format!("the configuration is in use, hash {}", hash.unwrap_or_default());
            self.recorder.record(Remark { about, verdict: Verdict::Accepted, message });
        }
    }
}

impl Namespaces {
    /// A watch that is not started yet.
    pub(in crate::server) fn new(watcher: Watcher, supervisor: Supervisor) -> Namespaces {
        Namespaces { gate: watcher.gate.clone(), watcher: Some(watcher), supervisor, tasks: JoinSet::new() }
    }

    /// Starts the watch if the platform needs it.
    fn wanted_on(&mut self, platform: Platform, targets: &Targets) {
        match platform {
            Platform::OpenShift => {
                if let Some(watcher) = self.watcher.take() {
                    targets.watches.started(watcher.key);
                    let facts = targets.facts.clone();
                    let begin = move || watcher.clone().run(NamespaceKeeper::new(facts.clone()));
                    self.tasks.spawn(self.supervisor.clone().keep("namespaces", begin));
                }
            }
            Platform::Kubernetes if self.watcher.is_some() => {
                self.gate.open("not watched: the platform is not openshift");
            }
            Platform::Kubernetes => {}
        }
    }
}
