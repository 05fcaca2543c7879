//! The labels of namespaces, and pods that run without a proxy in namespaces that ask for one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Facts, Finding, Severity, is_own, labels, name, namespace, path, some, text};
use crate::{
    names, pod,
    warning::shown,
    webhook_config::{
        entries, revision_of,
        selection::{self, Creation, Selected},
    },
    workload::Workload,
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

pub(super) fn findings(facts: &Facts, refusals: BTreeMap<Workload, String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for object in facts.namespaces.iter().flatten() {
        let labels = labels(object);
        findings.extend(label_mistakes(&facts.webhooks, name(object), &labels));
        findings.extend(another_injector(&facts.webhooks, name(object), &labels));
    }
    findings.extend(uninjected(facts));
    findings.extend(refused(facts, refusals));
    findings.extend(on_host_network(facts));
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

/// Workloads whose pods the API server refuses: because of a webhook or policy, or, in a namespace whose pods get a proxy, for
/// any reason, which may be the proxy. Workloads of a namespace with the same message are one finding.
fn refused(facts: &Facts, refusals: BTreeMap<Workload, String>) -> Vec<Finding> {
    let namespaces = facts.namespaces.iter().flatten();
    let own: BTreeMap<&str, Vec<&str>> = namespaces
        .map(|object| {
            let called = called(&facts.webhooks, name(object), &labels(object), &plain_pod());
            let own = called.into_iter().filter(|(configuration, _)| is_own(configuration));
            (name(object), own.map(|(configuration, _)| name(configuration)).collect())
        })
        .collect();
    let mut by_message: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for ((kind, of, name), message) in refusals {
        let is_admission = ["admission webhook", "failed calling webhook", "ValidatingAdmissionPolicy"]
            .iter()
            .any(|words| message.contains(words));
        if is_admission || own.get(of.as_str()).is_some_and(|own| !own.is_empty()) {
            by_message.entry((of, message)).or_default().push(format!("{kind} {name}"));
        }
    }
    by_message
        .into_iter()
        .map(|((of, message), workloads)| {
            let first = workloads.first().cloned().unwrap_or_default();
            let (kind, name) = first.split_once(' ').unwrap_or_default();
            let explain = || format!("outrigger explain {}/{name} -n {of}", kind.to_ascii_lowercase());
            let failed = |probe: &&path::Probe| {
                own.get(of.as_str()).is_some_and(|own| own.contains(&probe.configuration.as_str()))
                    && message.contains(&format!("failed calling webhook \"{}\"", probe.entry))
            };
            let probe = facts.probes.iter().find(failed);
            let cause = probe.and_then(|probe| {
                let causes = path::of_probe(facts, probe);
                let cause = causes.iter().find(|finding| finding.severity == Severity::Error)?;
                Some(format!("{} of MutatingWebhookConfiguration {}", cause.check, probe.configuration))
            });
            // The controller has not tried again since: it waits for up to a quarter of an hour.
            let works_now =
                probe.is_some_and(|probe| matches!(probe.outcome, path::ProbeOutcome::Injected(_)));
            let severity = if works_now { Severity::Warning } else { Severity::Error };
            let fix = match cause {
                Some(cause) => format!("fix {cause}, which is a finding of its own"),
                None if works_now => format!(
                    "the call works now, and the controller tries again by itself, or at once after kubectl -n {of} rollout restart {}/{name}",
                    kind.to_ascii_lowercase()
                ),
                None if message.contains("denied the request") => {
                    format!("correct what the message names; {} gives details", explain())
                }
                None => {
                    let fix = path::creation_fix(&message, &of, |name| path::configuration_of(facts, name));
                    format!("{fix}; {} gives details", explain())
                }
            };
            let some: Vec<&str> = workloads.iter().map(String::as_str).collect();
            let (subject, evidence) = match some.as_slice() {
                [_] => (format!("{kind} {of}/{name}"), message),
                several => (
                    format!("Namespace {of}"),
                    format!(
                        "{} workloads get no new pods: {}: {message}",
                        several.len(),
                        super::some(several)
                    ),
                ),
            };
            Finding::new(severity, "creation-refused", subject, evidence, fix)
        })
        .collect()
}

fn is_opted_out(object: &Value) -> bool {
    pod::label(object, names::INJECT).or_else(|| pod::annotation(object, names::INJECT)) == Some("false")
}

/// Pods on the host's network in namespaces whose other pods get a proxy, by namespace.
fn on_host_network(facts: &Facts) -> Vec<Finding> {
    let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let namespaces: BTreeMap<&str, Map<String, Value>> =
        facts.namespaces.iter().flatten().map(|object| (name(object), labels(object))).collect();
    for object in facts.pods.iter().flatten() {
        let on_host = object.pointer("/spec/hostNetwork") == Some(&Value::Bool(true));
        let opted_out = is_opted_out(object);
        let Some(labels) = namespaces.get(namespace(object)).filter(|_| on_host && !opted_out) else {
            continue;
        };
        let called = called(&facts.webhooks, namespace(object), labels, object);
        if pod::is_running(object) && called.iter().any(|(configuration, _)| is_own(configuration)) {
            let owner = pod::owner(object);
            found.entry(namespace(object)).or_default().insert(format!("{} {}", owner.kind, owner.name));
        }
    }
    found
        .into_iter()
        .map(|(of, owners)| {
            let owners: Vec<&str> = owners.iter().map(String::as_str).collect();
            let first = owners.first().map(|owner| owner.replacen(' ', "/", 1).to_ascii_lowercase());
            Finding::new(
                Severity::Info,
                "pods-on-host-network",
                format!("Namespace {of}"),
                format!("pods on the host's network never get a proxy: {}", some(&owners)),
                format!(
                    "remove spec.hostNetwork where the pods do not need it, or label the pod template {}=false to say that this \
                     is intended; outrigger explain {} -n {of} gives details",
                    names::INJECT,
                    first.unwrap_or_default()
                ),
            )
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
    // A new pod would have no proxy, either.
    let mut failing: BTreeMap<&str, String> = BTreeMap::new();
    for object in pods {
        let Some(labels) = by_name.get(namespace(object)) else { continue };
        let on_host = object.pointer("/spec/hostNetwork") == Some(&Value::Bool(true));
        let opted_out = is_opted_out(object);
        if !pod::is_running(object) || pod::has_proxy(object) || on_host || opted_out {
            continue;
        }
        let called = called(&facts.webhooks, namespace(object), labels, object);
        if let Some((configuration, _)) = called.iter().find(|(configuration, _)| is_own(configuration)) {
            let of_it = facts.probes.iter().filter(|probe| probe.configuration == name(configuration));
            let errors = of_it.flat_map(|probe| path::of_probe(facts, probe));
            let cause = errors.into_iter().find(|finding| finding.severity == Severity::Error);
            if let Some(cause) = cause {
                let cause =
                    format!("{} of MutatingWebhookConfiguration {}", cause.check, name(configuration));
                failing.insert(namespace(object), cause);
            }
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
                match names.as_slice() {
                    [one] => format!("a pod runs without a proxy: {one}"),
                    several => format!("{} pods run without a proxy: {}", several.len(), some(several)),
                },
                {
                    let first =
                        failing.get(of).map(|cause| format!("fix {cause} first; then ")).unwrap_or_default();
                    match owners.get(of) {
                        Some(owners) => {
                            let owners: Vec<&str> = owners.iter().map(String::as_str).collect();
                            format!("{first}kubectl -n {of} rollout restart {}", owners.join(" "))
                        }
                        None => format!(
                            "{first}create the pods again; outrigger explain pod/{} -n {of} gives details",
                            names.first().copied().unwrap_or("NAME")
                        ),
                    }
                },
            )
        })
        .collect()
}
