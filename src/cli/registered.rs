//! What an API server calls when a pod is created: every mutating webhook and policy in the cluster, in the order of calls.
//!
//! Policies come first, in no particular order: an API server keeps them in a Go map (`calculatePolicyData`), so that their
//! order can change whenever one of them does. Here they are sorted by name. Webhooks have the order of their
//! configurations' names (`MutatingWebhookConfigurationSorter`).

use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Map, Value, json};

use super::{
    cluster::{Session, Target},
    failure::Failure,
};
use crate::{
    cel::Variables,
    inject::PodRequest,
    webhook_config::{
        reinvocation::{self, SecondRound, Step},
        revision_of,
        selection::{self, Creation, Mismatch, Selected},
    },
};

/// The webhooks and policies of a cluster, in the order of calls.
pub(super) struct Registered {
    /// Pairs of a MutatingAdmissionPolicy and a binding.
    policies: Vec<(Value, Value)>,
    /// MutatingWebhookConfigurations.
    webhooks: Vec<Value>,
}

/// A webhook or policy, and whether it is called for a pod.
pub(super) struct Called {
    /// `webhook` or `policy`.
    pub(super) kind: &'static str,
    /// The configuration's or policy's name.
    pub(super) configuration: String,
    /// The webhook's or binding's name.
    pub(super) name: String,
    pub(super) selected: Selected,
    /// `Fail` or `Ignore`.
    pub(super) failure_policy: String,
    /// `IfNeeded` or `Never`.
    pub(super) reinvocation: String,
    /// Where it is called: `Service outrigger-system/outrigger`, or a URL.
    pub(super) endpoint: String,
    /// Whether an injector of ours answers there.
    pub(super) is_ours: bool,
    /// The revision of the injector, if it reports one.
    pub(super) revision: Option<String>,
}

impl Called {
    pub(super) fn is_selected(&self) -> bool {
        self.selected == Selected::Yes
    }

    /// As in the JSON of commands.
    pub(super) fn to_value(&self) -> Value {
        let (selected, why) = match &self.selected {
            Selected::Yes => ("yes", None),
            Selected::No(mismatch) => ("no", Some(mismatch.to_string())),
            Selected::Unknown(why) => ("unknown", Some(why.clone())),
        };
        json!({
            "kind": self.kind,
            "configuration": self.configuration,
            "name": self.name,
            "selected": selected,
            "why": why,
            "endpoint": self.endpoint,
            "failurePolicy": self.failure_policy,
            "reinvocationPolicy": self.reinvocation,
            "revision": self.revision,
            "outrigger": self.is_ours,
        })
    }

    pub(super) fn may_be_selected(&self) -> bool {
        !matches!(self.selected, Selected::No(_))
    }

    pub(super) fn is_policy(&self) -> bool {
        self.kind == POLICY
    }

    /// Whether an earlier webhook or policy may change the pod so that this one is called.
    pub(super) fn may_be_selected_later(&self) -> bool {
        match &self.selected {
            Selected::No(Mismatch::Label { selector, .. }) => *selector == "objectSelector",
            Selected::No(Mismatch::Condition { .. }) => true,
            _ => false,
        }
    }
}

const POLICY: &str = "policy";

/// Which of them run in the second round.
pub(super) fn second_round(called: &[Called]) -> Vec<SecondRound> {
    let step = |called: &Called| Step {
        is_policy: called.is_policy(),
        is_called: called.may_be_selected(),
        if_needed: called.reinvocation == "IfNeeded",
    };
    reinvocation::second_round(&called.iter().map(step).collect::<Vec<_>>())
}

/// Reads the webhooks and policies.
pub(super) async fn read(session: &Session) -> Result<Registered, Failure> {
    let mut webhooks =
        list(session, "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", "v1").await?;
    webhooks.sort_by_key(name);
    let mut policies = Vec::new();
    // The kind is served as v1 from Kubernetes 1.36 on, as a beta before.
    for version in ["v1", "v1beta1"] {
        let kinds = [
            ("mutatingadmissionpolicies", "MutatingAdmissionPolicy"),
            ("mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding"),
        ];
        let [all, bindings] = kinds;
        let all = list(session, all.0, all.1, version).await?;
        if all.is_empty() {
            continue;
        }
        let bindings = list(session, bindings.0, bindings.1, version).await?;
        policies = bound(&all, &bindings);
        break;
    }
    Ok(Registered { policies, webhooks })
}

fn bound(policies: &[Value], bindings: &[Value]) -> Vec<(Value, Value)> {
    let mut pairs: Vec<(Value, Value)> = bindings
        .iter()
        .filter_map(|binding| {
            let wanted = binding.pointer("/spec/policyName")?.as_str()?;
            let policy = policies.iter().find(|policy| name(policy) == wanted)?;
            Some((policy.clone(), binding.clone()))
        })
        .collect();
    pairs.sort_by_key(|(policy, binding)| (name(policy), name(binding)));
    pairs
}

fn name(object: &Value) -> String {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// All objects of a kind; none if the API server does not serve it.
async fn list(
    session: &Session,
    resource: &'static str,
    kind: &str,
    version: &str,
) -> Result<Vec<Value>, Failure> {
    let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", version, kind);
    let resource_type = ApiResource::from_gvk_with_plural(&kind, resource);
    let api: Api<DynamicObject> = Api::all_with(session.client.clone(), &resource_type);
    match session.list_all(&Target::all(resource), &api).await {
        Ok(objects) => Ok(objects.iter().map(|object| json!(object)).collect()),
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

impl Registered {
    /// Every webhook and policy in the order of calls, and whether it is called for a pod.
    pub(super) fn called(
        &self,
        request: &PodRequest,
        namespace_labels: Option<&Map<String, Value>>,
    ) -> Vec<Called> {
        let name_of_namespace = namespace_of(request);
        let variables = Variables::of(&request.pod, &name_of_namespace, None, None);
        let condition = |expression: &str| variables.evaluate(expression);
        let creation = Creation { namespace: &name_of_namespace, namespace_labels, pod: &request.pod };
        let text = |value: &Value, key: &str, default: &str| {
            value.get(key).and_then(Value::as_str).unwrap_or(default).to_owned()
        };
        let none = Value::Null;
        let policies = self.policies.iter().map(|(policy, binding)| {
            let spec = policy.get("spec").unwrap_or(&none);
            Called {
                kind: POLICY,
                configuration: name(policy),
                name: name(binding),
                selected: selection::policy(policy, binding, creation, &condition),
                failure_policy: text(spec, "failurePolicy", "Fail"),
                reinvocation: text(spec, "reinvocationPolicy", "Never"),
                endpoint: "in the API server".to_owned(),
                is_ours: false,
                revision: None,
            }
        });
        let webhooks = self.webhooks.iter().flat_map(|configuration| {
            let entries = configuration.get("webhooks").and_then(Value::as_array).into_iter().flatten();
            entries.map(move |entry| Called {
                kind: "webhook",
                configuration: name(configuration),
                name: text(entry, "name", ""),
                selected: selection::webhook(entry, creation, &condition),
                failure_policy: text(entry, "failurePolicy", "Fail"),
                reinvocation: text(entry, "reinvocationPolicy", "Never"),
                endpoint: endpoint(entry),
                is_ours: revision_of(configuration).is_some(),
                revision: revision_of(configuration)
                    .map(str::to_owned)
                    .or_else(|| label(configuration, "istio.io/rev")),
            })
        });
        policies.chain(webhooks).collect()
    }
}

/// Fails if a namespace does not exist; one that may not be read is assumed to exist.
///
/// # Errors
/// If there is no such namespace, or the API server does not answer.
pub(super) async fn namespace_exists(session: &Session, name: &str) -> Result<(), Failure> {
    let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", "Namespace"), "namespaces");
    let api: Api<DynamicObject> = Api::all_with(session.client.clone(), &kind);
    match session.call("get", &Target::named("namespaces", name), api.get_metadata(name)).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => {
            Err(Failure::data(format!("namespace {name} does not exist in this cluster")))
        }
        Err(error) if error.is_forbidden() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The namespace of a pod, else of its request.
pub(super) fn namespace_of(request: &PodRequest) -> String {
    match crate::pod::namespace(&request.pod) {
        "" => request.namespace.clone(),
        namespace => namespace.to_owned(),
    }
}

fn label(object: &Value, key: &str) -> Option<String> {
    Some(object.get("metadata")?.get("labels")?.get(key)?.as_str()?.to_owned())
}

/// Where a webhook is called: `Service NAMESPACE/NAME`, or a URL.
pub(super) fn endpoint(entry: &Value) -> String {
    let at = |pointer: &str| entry.pointer(pointer).and_then(Value::as_str);
    match (at("/clientConfig/service/name"), at("/clientConfig/service/namespace"), at("/clientConfig/url")) {
        (Some(name), Some(namespace), _) => format!("Service {namespace}/{name}"),
        (_, _, Some(url)) => url.to_owned(),
        _ => "nowhere".to_owned(),
    }
}
