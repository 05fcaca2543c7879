//! The input of an injection: one pod, its origin, and the known facts about the cluster.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    cel::User,
    config::{InjectorConfig, Namespace, Nodes},
    pod::Workload,
};

/// One pod to inject.
#[derive(Clone, Debug)]
pub struct PodRequest {
    /// The namespace of the request; used for a pod without one.
    pub namespace: String,
    /// The pod as received.
    pub pod: Value,
    /// Environment of the proxy by variable name, from the webhook's URL path (Istio's `parseInjectEnvs`).
    pub path_env: BTreeMap<String, String>,
    /// The workload whose template the pod is (manual injection); `None` derives it from the pod's owner.
    pub workload: Option<Workload>,
    /// Who creates the pod; `None` if that is not known.
    pub user: Option<User>,
    /// Whether strings of the pod stand for those of other pods, so that the result must not depend on them: a template
    /// that inspects one fails. See `patch_cache`.
    pub stand_ins: bool,
}

impl PodRequest {
    /// A request as received by the webhook, without parameters in the path.
    pub fn new(namespace: impl Into<String>, pod: Value) -> PodRequest {
        PodRequest {
            namespace: namespace.into(),
            pod,
            path_env: BTreeMap::new(),
            workload: None,
            user: None,
            stand_ins: false,
        }
    }
}

/// Facts about the cluster besides the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The request's namespace, if known.
    pub namespace: Option<&'a Namespace>,
    /// Who has evaluated the selectors of the webhook configuration for the namespace.
    pub selection: Selection,
    /// The cluster's nodes, whose kubelet versions determine whether native sidecars are used. `None` means unknown,
    /// which differs from no nodes.
    pub nodes: Option<&'a Nodes>,
}

impl<'a> Facts<'a> {
    /// The facts in the configuration itself.
    pub fn of(mesh: &'a InjectorConfig, namespace: &str) -> Facts<'a> {
        Facts {
            namespace: mesh.namespace(namespace),
            selection: Selection::ByLabels,
            nodes: Some(mesh.nodes()),
        }
    }
}

/// Who has evaluated the selectors of the webhook configuration for a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// Nobody yet: the labels are evaluated if the namespace is known; otherwise the pod counts as selected.
    #[default]
    ByLabels,
    /// The API server. The namespace known here may be older than the one it evaluated (O-06), and a pod that is
    /// skipped because of an outdated label would run without its proxy.
    ByApiServer,
    /// Nobody yet, and the namespace is not known: only the selectors for the pod's own revision label are evaluated,
    /// so that a manifest for another revision is skipped.
    ByPodAlone,
}

/// Which rules of the injector's configuration apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rules {
    /// All of them, as for a pod at the webhook.
    #[default]
    Configured,
    /// Only the templates, with `sidecar` as the default one: policy, selectors, aliases, injected annotations,
    /// namespaces and nodes are ignored (Istio's `IntoObject`, behind `istioctl kube-inject`).
    TemplatesOnly,
}
