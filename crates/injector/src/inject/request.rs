//! What an injection is asked for: one pod, where it comes from, and the facts the cluster knows.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    config::{Mesh, Namespace, Nodes},
    pod::Workload,
};

/// One pod to inject.
#[derive(Clone, Debug)]
pub struct PodRequest {
    /// The namespace of the request; it stands in for a pod that names none.
    pub namespace: String,
    /// The pod as it was received.
    pub pod: Value,
    /// Environment of the proxy by variable name, from the webhook's URL path (Istio's `parseInjectEnvs`).
    pub path_env: BTreeMap<String, String>,
    /// The workload the pod is a template of (manual injection); `None` finds it from the pod's owner.
    pub workload: Option<Workload>,
    /// Whether strings of the pod stand for those of other pods, so that nothing may depend on what they are: a template
    /// that looks at one fails. See `patch_cache`.
    pub stand_ins: bool,
}

impl PodRequest {
    /// A request as the webhook gets it, without parameters in the path.
    pub fn new(namespace: impl Into<String>, pod: Value) -> PodRequest {
        PodRequest {
            namespace: namespace.into(),
            pod,
            path_env: BTreeMap::new(),
            workload: None,
            stand_ins: false,
        }
    }
}

/// What is known of the cluster beside the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The request's namespace, if it is known.
    pub namespace: Option<&'a Namespace>,
    /// Who has compared the labels of the namespace with the selectors of the webhook's configuration.
    pub selection: Selection,
    /// The cluster's nodes, whose kubelets' versions decide whether native sidecars are used. `None`: not known, which
    /// is not the same as none.
    pub nodes: Option<&'a Nodes>,
}

impl<'a> Facts<'a> {
    /// What the configuration itself says about a namespace and the nodes.
    pub fn of(mesh: &'a Mesh, namespace: &str) -> Facts<'a> {
        Facts {
            namespace: mesh.namespace(namespace),
            selection: Selection::ByLabels,
            nodes: Some(mesh.nodes()),
        }
    }
}

/// Who has compared the labels of a namespace with the selectors of the webhook's configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// Nobody yet: where the namespace is known its labels count, else the request is taken as selected.
    #[default]
    ByLabels,
    /// The API server. What is known of the namespace here may be older than what it selected by (O-06), and a pod
    /// that is left out because of an old label would run without its proxy.
    ByApiServer,
    /// Nobody yet, and the namespace is not known: of the selectors only those of the pod's own revision label count, so
    /// that a manifest for another revision is left to it.
    ByPodAlone,
}

/// Which rules of the configuration's injector count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rules {
    /// All of them, as for a pod that comes through the webhook.
    #[default]
    Configured,
    /// None but the templates, of which `sidecar` is the default one: policy, selectors, aliases, annotations to add,
    /// namespaces and nodes do not count (Istio's `IntoObject`, behind `istioctl kube-inject`).
    TemplatesOnly,
}
