//! The labels of namespaces, and pods that run without a proxy in namespaces that ask for one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Facts, Finding, Severity, is_own, items, labels, name, namespace, path, some, text};
use crate::{
    names, pod,
    warning::shown,
    webhook_config::{
        entries, revision_of,
        selection::{self, Creation, Selected},
    },
};

/// Keys that people write for `istio-injection`.
const MISSPELLED: [&str; 6] = [
    "istio.io/injection",
    "istio/injection",
    "injection",
    "sidecar-injection",
    "istio.injection",
    "sidecar.istio.io/inject",
];

/// The checks of [`label_mistakes`].
pub const LABEL_MISTAKES: [&str; 4] =
    ["both-labels", "label-misspelled", "label-value", "revision-not-served"];

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for object in facts.namespaces.iter().flatten() {
        let labels = labels(object);
        findings.extend(label_mistakes(&facts.webhooks, name(object), &labels));
        findings.extend(another_injector(&facts.webhooks, name(object), &labels));
    }
    findings.extend(uninjected(facts));
    findings.extend(refused(facts));
    findings
}

/// The mistakes in the labels of the namespace `of`, according to all MutatingWebhookConfigurations: findings of the checks in
/// [`LABEL_MISTAKES`].
pub fn label_mistakes(webhooks: &[Value], of: &str, labels: &Map<String, Value>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let subject = || format!("Namespace {of}");
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    let (injection, revision) = (label(names::LABEL_INJECTION), label(names::REVISION));
    match (injection, revision) {
        (Some(injection), Some(revision)) => findings.push(Finding::new(
            Severity::Warning,
            "both-labels",
            subject(),
            format!("istio-injection={injection} decides, istio.io/rev={revision} is ignored"),
            format!("remove one of them: kubectl label namespace {of} istio-injection- (or istio.io/rev-)"),
        )),
        (Some(value), None) if !matches!(value, "enabled" | "disabled") => findings.push(Finding::new(
            Severity::Error,
            "label-value",
            subject(),
            format!("istio-injection={}, and only \"enabled\" injects", shown(value)),
            format!(
                "kubectl label namespace {of} --overwrite istio-injection=enabled; then kubectl -n {of} rollout restart its \
                 workloads"
            ),
        )),
        _ => {}
    }
    for key in labels.keys().filter(|_| injection.is_none() && revision.is_none()) {
        let is_near = key != names::LABEL_INJECTION
            && (MISSPELLED.contains(&key.as_str())
                || key.len().abs_diff(names::LABEL_INJECTION.len()) <= 2
                    && strsim::levenshtein(key, names::LABEL_INJECTION) <= 2
                || strsim::levenshtein(key, names::REVISION) == 1);
        if is_near {
            findings.push(Finding::new(
                Severity::Error,
                "label-misspelled",
                subject(),
                format!("label {} has no effect on a namespace", shown(key)),
                format!("kubectl label namespace {of} {key}- istio-injection=enabled"),
            ));
        }
    }
    let asks = injection == Some("enabled") || (injection.is_none() && revision.is_some());
    if asks && !webhooks.is_empty() && called(webhooks, of, labels, &plain_pod()).is_empty() {
        let asked = injection.map_or_else(
            || format!("istio.io/rev={}", revision.unwrap_or_default()),
            |_| "istio-injection=enabled".to_owned(),
        );
        findings.push(Finding::new(
            Severity::Error,
            "revision-not-served",
            subject(),
            format!("{asked}, and no webhook with rules selects its pods: they run without a proxy"),
            {
                let known = webhooks.iter().find_map(revision_of).unwrap_or("REVISION");
                let asked = revision.filter(|_| injection.is_none()).unwrap_or("default");
                format!(
                    "kubectl label namespace {of} --overwrite istio-injection- istio.io/rev={known}, or outrigger tag set {asked} \
                     --revision {known}; then kubectl -n {of} rollout restart its workloads"
                )
            },
        ));
    }
    findings
}

fn plain_pod() -> Value {
    serde_json::json!({"metadata": {}, "spec": {"containers": [{"name": "a", "image": "a"}]}})
}

/// The configurations that are called for a pod and look like injectors of sidecars: ours, and those with Istio's labels or
/// names.
fn called<'f>(
    webhooks: &'f [Value],
    in_namespace: &str,
    labels: &Map<String, Value>,
    pod: &Value,
) -> Vec<(&'f Value, &'f str)> {
    let creation = Creation { namespace: in_namespace, namespace_labels: Some(labels), pod };
    // Our own conditions only exclude pods that are not injected anyway.
    let condition = |_: &str| Ok(true);
    let injectors = webhooks.iter().filter(|configuration| is_own(configuration) || is_istio(configuration));
    injectors
        .flat_map(|configuration| {
            entries(configuration).map(move |(name, entry)| (configuration, name, entry))
        })
        .filter(|(_, _, entry)| selection::webhook(entry, creation, &condition) == Selected::Yes)
        .map(|(configuration, name, _)| (configuration, name))
        .collect()
}

fn is_istio(configuration: &Value) -> bool {
    text(configuration, "/metadata/labels/app") == "sidecar-injector"
        || ["istio-sidecar-injector", "istio-revision-tag"]
            .iter()
            .any(|prefix| name(configuration).starts_with(prefix))
}

fn another_injector(webhooks: &[Value], of: &str, labels: &Map<String, Value>) -> Vec<Finding> {
    let called = called(webhooks, of, labels, &plain_pod());
    let (own, others): (Vec<_>, Vec<_>) =
        called.into_iter().partition(|(configuration, _)| is_own(configuration));
    if own.is_empty() || others.is_empty() {
        return Vec::new();
    }
    let others: Vec<&str> = others.iter().map(|(configuration, _)| name(configuration)).collect();
    vec![Finding::new(
        Severity::Error,
        "another-injector",
        format!("Namespace {of}"),
        format!("its pods are sent to outrigger and to {}", some(&others)),
        "let one of them inject: give the namespace the label of one revision (istio.io/rev), or remove the other injector's \
         webhook",
    )]
}

/// ReplicaSets whose pods the API server refuses: because of a webhook or policy, or, in a namespace whose pods get a proxy, for
/// any reason, which may be the proxy.
fn refused(facts: &Facts) -> Vec<Finding> {
    let injected: BTreeSet<&str> = facts
        .namespaces
        .iter()
        .flatten()
        .filter(|object| {
            let called = called(&facts.webhooks, name(object), &labels(object), &plain_pod());
            called.iter().any(|(configuration, _)| is_own(configuration))
        })
        .map(name)
        .collect();
    let failing = |object: &Value| {
        items(object, "/status/conditions").iter().find_map(|condition| {
            let (kind, message) = (text(condition, "/type"), text(condition, "/message"));
            let is_failing = text(condition, "/status") == "True" && kind == "ReplicaFailure";
            let is_admission = ["admission webhook", "failed calling webhook", "ValidatingAdmissionPolicy"]
                .iter()
                .any(|words| message.contains(words));
            (is_failing && (is_admission || injected.contains(namespace(object))))
                .then(|| message.split_whitespace().collect::<Vec<_>>().join(" "))
        })
    };
    let controllers = facts.controllers.iter().flatten();
    controllers
        .filter_map(|object| {
            let message = failing(object)?;
            let owner = items(object, "/metadata/ownerReferences").first();
            let (kind, of) = owner.map_or((text(object, "/kind"), name(object)), |owner| {
                (text(owner, "/kind"), text(owner, "/name"))
            });
            let kind = if kind.is_empty() { "ReplicaSet" } else { kind };
            let fix = if message.contains("exceeded quota") {
                format!("{}; {}", path::quota_fix(namespace(object)), path::SMALLER_PROXY)
            } else if message.contains("failed calling webhook") {
                // The call fails for every pod there, so that the workload has no part in it.
                format!("outrigger doctor --probe-namespace {}", namespace(object))
            } else {
                format!("outrigger explain {}/{of} -n {}", kind.to_ascii_lowercase(), namespace(object))
            };
            let subject = format!("{kind} {}/{of}", namespace(object));
            Some(Finding::new(Severity::Error, "creation-refused", subject, message, fix))
        })
        .collect()
}

/// Pods without a proxy in namespaces that ask for one, by namespace.
fn uninjected(facts: &Facts) -> Vec<Finding> {
    let (Some(pods), Some(namespaces)) = (&facts.pods, &facts.namespaces) else { return Vec::new() };
    let by_name: BTreeMap<&str, Map<String, Value>> =
        namespaces.iter().map(|object| (name(object), labels(object))).collect();
    let mut bare: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut owners: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for object in pods {
        let Some(labels) = by_name.get(namespace(object)) else { continue };
        let on_host = object.pointer("/spec/hostNetwork") == Some(&Value::Bool(true));
        let opted_out = pod::annotation(object, names::INJECT) == Some("false");
        if !pod::is_running(object) || pod::has_proxy(object) || on_host || opted_out {
            continue;
        }
        if called(&facts.webhooks, namespace(object), labels, object)
            .iter()
            .any(|(configuration, _)| is_own(configuration))
        {
            bare.entry(namespace(object)).or_default().push(name(object));
            let owner = pod::owner(object);
            let is_restartable = matches!(owner.kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet");
            if is_restartable {
                let owner = format!("{}/{}", owner.kind.to_ascii_lowercase(), owner.name);
                owners.entry(namespace(object)).or_default().insert(owner);
            }
        }
    }
    bare.into_iter()
        .map(|(of, names)| {
            Finding::new(
                Severity::Warning,
                "uninjected-pods",
                format!("Namespace {of}"),
                format!("{} pods run without a proxy: {}", names.len(), some(&names)),
                match owners.get(of) {
                    Some(owners) => {
                        let owners: Vec<&str> = owners.iter().map(String::as_str).collect();
                        format!("kubectl -n {of} rollout restart {}", owners.join(" "))
                    }
                    None => format!(
                        "create the pods again; outrigger explain pod/{} -n {of} tells more",
                        names.first().copied().unwrap_or("NAME")
                    ),
                },
            )
        })
        .collect()
}
