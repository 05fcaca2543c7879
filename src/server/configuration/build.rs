//! Builds an engine from a configuration: checks it with sample pods and connects it to the cluster state.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use serde_json::Value;

use crate::config::{self, InjectorConfig, Namespace, Nodes};
use crate::inject::manual::{Advice, NamespaceLabels};
use crate::inject::{self, Admission, AdmissionRequest, Facts, Injector, PodRequest, Selection, Unreadable};
use crate::server::configuration::engine::Engine;
use crate::server::configuration::facts::{LabelUse, LiveFacts};
use crate::server::configuration::source::Loaded;
use injector::effects::Effect;

/// Builds an engine for a configuration that itself contains the cluster state.
///
/// # Errors
/// When a template fails for a sample pod.
pub fn engine(mesh: InjectorConfig) -> Result<Arc<dyn Engine>, String> {
    loaded(mesh, &[], Cluster::InConfiguration).map(|loaded| loaded.engine)
}

/// Where the cluster state comes from.
pub(crate) enum Cluster {
    /// From the configuration itself.
    InConfiguration,
    /// From nowhere: the configuration contains none, and there are no watches.
    Unknown,
    /// From watches.
    Watched(Arc<LiveFacts>),
}

/// Checks that a configuration can inject pods and builds an engine from it.
///
/// # Errors
/// When a template fails for a sample pod.
pub(crate) fn loaded(
    mesh: InjectorConfig,
    warnings: &[config::Warning],
    cluster: Cluster,
) -> Result<Loaded, String> {
    // As in a request, no state that outlives the call can be left half changed.
    let checked = catch_unwind(AssertUnwindSafe(|| inject::check::check(&mesh)));
    let remarks = checked
        .map_err(|_| "a bug in outrigger: sample pods made the engine panic".to_owned())?
        .map_err(|error| error.to_string())?;
    let warnings = warnings.iter().map(ToString::to_string);
    let warnings = warnings.chain(remarks.iter().map(ToString::to_string)).collect();
    Ok(Loaded { engine: Arc::new(LiveInjector { injector: Injector::new(mesh), cluster }), warnings })
}

/// An injector with the current cluster state.
struct LiveInjector {
    injector: Injector,
    cluster: Cluster,
}

/// The cluster state for one request.
struct Known {
    namespace: Option<Arc<Namespace>>,
    nodes: Option<Arc<Nodes>>,
}

impl LiveInjector {
    fn known(&self, namespace: &str) -> Known {
        match &self.cluster {
            Cluster::InConfiguration | Cluster::Unknown => Known { namespace: None, nodes: None },
            Cluster::Watched(facts) => Known {
                namespace: self.with_limits(
                    facts.namespace(namespace, LabelUse::of(self.injector.config())),
                    namespace,
                    facts,
                ),
                nodes: facts.nodes(),
            },
        }
    }

    /// A namespace with the limits that are compared with its pods.
    fn with_limits(
        &self,
        known: Option<Arc<Namespace>>,
        name: &str,
        facts: &LiveFacts,
    ) -> Option<Arc<Namespace>> {
        let are_read = self.injector.config().namespace_limits().are_read();
        let Some(limits) = are_read.then(|| facts.limits(name)).flatten() else { return known };
        let mut known =
            known.unwrap_or_else(|| Arc::new(Namespace { name: name.to_owned(), ..Namespace::default() }));
        let namespace = Arc::make_mut(&mut known);
        namespace.limit_ranges.clone_from(&limits.limit_ranges);
        namespace.resource_quotas.clone_from(&limits.resource_quotas);
        Some(known)
    }

    fn facts<'f>(&'f self, known: &'f Known, namespace: &str) -> Facts<'f> {
        match &self.cluster {
            Cluster::InConfiguration => Facts::of(self.injector.config(), namespace),
            Cluster::Unknown => Facts::default(),
            Cluster::Watched(_) => Facts {
                namespace: known.namespace.as_deref(),
                selection: Selection::ByApiServer,
                nodes: known.nodes.as_deref(),
            },
        }
    }
}

impl Engine for LiveInjector {
    fn review(&self, request: AdmissionRequest<'_>) -> Result<Admission, Unreadable> {
        let known = self.known(request.namespace());
        let facts = self.facts(&known, request.namespace());
        self.injector.review(request, &facts)
    }

    fn leaves_alone(&self, outline: AdmissionRequest<'_>) -> Option<Admission> {
        let known = self.known(outline.namespace());
        let facts = self.facts(&known, outline.namespace());
        self.injector.leaves_alone(outline, &facts)
    }

    fn advise(&self, workload: &Value, namespace: &str, labels: NamespaceLabels) -> Vec<Advice> {
        let known = self.known(namespace);
        let facts = self.facts(&known, namespace);
        inject::manual::advise(self.injector.config(), workload, namespace, labels, &facts)
    }

    fn effect(&self, request: &PodRequest, namespace: &Namespace) -> Option<Effect> {
        let nodes = self.known(&namespace.name).nodes;
        let selection = Selection::ByApiServer;
        let facts = Facts { namespace: Some(namespace), selection, nodes: nodes.as_deref() };
        Some(injector::effects::effect(self.injector.config(), request, &facts))
    }

    fn revision(&self) -> &str {
        self.injector.config().revision()
    }

    fn hash(&self) -> &str {
        self.injector.config().hash()
    }
}
