//! Decides whether a pod is injected, and why.
//!
//! There are two stages: the labels of the namespace, by the selectors of Istio's webhook configuration (only if the
//! namespace is known, otherwise the API server has already evaluated them), then Istio's handler (`injectRequired`).
//! The result is data: logs, metrics and audit annotations all show the same key and sentence. The content of the
//! injection plays no role here.

use std::fmt;

use serde_json::{Map, Value};

use crate::{
    config::guard::{InjectRule, RuleAction},
    names, pod,
    quirks::{Quirk, Quirks},
    warning::{Warning, shown},
};

mod namespace;
mod os;
mod reason;
mod steps;

pub use reason::Reason;
pub use steps::{Rule, Step, StepOutcome, steps};

/// A label selector over the labels of a pod.
pub trait PodSelector {
    /// Whether the selector has no requirements; such a selector is ignored.
    fn is_empty(&self) -> bool;
    /// Whether every requirement holds for these labels.
    fn matches(&self, labels: &Map<String, Value>) -> bool;
}

impl PodSelector for crate::config::Selector {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
    fn matches(&self, labels: &Map<String, Value>) -> bool {
        self.matches(labels)
    }
}

/// The configuration and the facts on which a decision depends.
#[derive(Clone, Copy, Debug)]
pub struct DecisionInput<'a, S> {
    /// `policy` of the injector's configuration as written.
    pub policy: &'a str,
    /// `neverInjectSelector`: any match skips.
    pub never: &'a [S],
    /// `alwaysInjectSelector`: any match injects.
    pub always: &'a [S],
    /// Labels of the request's namespace; `None` if the namespace is not known, in which case the API server's
    /// selection is trusted.
    pub namespace_labels: Option<&'a Map<String, Value>>,
    /// Whether to skip a pod whose own label asks for another revision, even if the namespace is not known.
    pub by_pod_alone: bool,
    /// Revision of this injector; empty and `default` mean the default revision.
    pub revision: &'a str,
    /// Revision tags that point to this injector.
    pub tags: &'a [String],
    /// Whether namespaces without any label are injected (`enableNamespacesByDefault`).
    pub enable_namespaces_by_default: bool,
    /// The configuration's rule that matches the pod.
    pub rule: Option<&'a InjectRule>,
    /// The behaviors of Istio that are kept.
    pub quirks: Quirks,
}

impl<S> DecisionInput<'_, S> {
    fn has_valid_policy(&self) -> bool {
        matches!(self.policy, "enabled" | "disabled")
    }
}

/// Whether a pod is injected, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the pod is injected.
    pub inject: bool,
    /// The rule that decided.
    pub reason: Reason,
    /// A sentence for people that names the label or value that decided; without a period.
    pub sentence: String,
    /// Additional information for the user.
    pub warnings: Vec<Warning>,
    /// The configuration's rule that applies to the pod, with its reason; whether it decided or only gives defaults.
    pub rule: Option<String>,
}

impl Decision {
    /// The name of the configuration's rule that applies.
    pub fn rule_name(&self) -> Option<&str> {
        let rule = self.rule.as_deref()?.strip_prefix("rule ")?;
        Some(rule.split_once(':').map_or(rule, |(name, _)| name))
    }
}

/// Decides about a pod in the given namespace (the pod's, else the request's).
pub fn decide<S: PodSelector>(pod: &Value, namespace: &str, input: &DecisionInput<'_, S>) -> Decision {
    let mut warnings = Vec::new();
    let verdict = judge(&View::new(pod), namespace, input, &mut warnings);
    warnings.extend(ignored_annotation(&View::new(pod)).filter(|_| verdict.reason.heeds_wishes()));
    let rule = input.rule.map(InjectRule::describe);
    Decision { inject: verdict.inject, reason: verdict.reason, sentence: verdict.sentence, warnings, rule }
}

struct Verdict {
    inject: bool,
    reason: Reason,
    sentence: String,
}

impl Verdict {
    fn skip(reason: Reason, sentence: impl fmt::Display) -> Verdict {
        Verdict { inject: false, reason, sentence: sentence.to_string() }
    }

    fn inject(reason: Reason, sentence: impl fmt::Display) -> Verdict {
        Verdict { inject: true, reason, sentence: sentence.to_string() }
    }
}

/// Evaluates [`RULES`] up to the first one that decides.
fn judge<S: PodSelector>(
    pod: &View<'_>,
    namespace: &str,
    input: &DecisionInput<'_, S>,
    warnings: &mut Vec<Warning>,
) -> Verdict {
    RULES.iter().find_map(|rule| rule.apply(pod, namespace, input, warnings)).unwrap_or_else(|| policy(input))
}

/// Every rule in order of evaluation: Istio's order, with the namespace before it, and pods in which a proxy cannot work
/// and the configuration's own rules in between. The policy comes last and always decides.
pub const RULES: [Rule; 9] = [
    Rule::NamespaceLabels,
    Rule::PodRevision,
    Rule::HostNetwork,
    Rule::IgnoredNamespace,
    Rule::Injectable,
    Rule::Rules,
    Rule::PodChoice,
    Rule::NeverInjectSelector,
    Rule::AlwaysInjectSelector,
];

impl Rule {
    /// The verdict, if the rule decides about the pod.
    fn apply<S: PodSelector>(
        self,
        pod: &View<'_>,
        namespace: &str,
        input: &DecisionInput<'_, S>,
        warnings: &mut Vec<Warning>,
    ) -> Option<Verdict> {
        match self {
            Rule::NamespaceLabels => {
                namespace::selects(pod, namespace, input.namespace_labels?, input, warnings).err()
            }
            Rule::PodRevision => {
                input.by_pod_alone.then(|| namespace::is_for_revision(pod, input).err()).flatten()
            }
            Rule::HostNetwork => uses_host_network(pod, warnings),
            Rule::IgnoredNamespace => names::IGNORED_NAMESPACES.contains(&namespace).then(|| {
                Verdict::skip(Reason::IgnoredNamespace, format!("namespace {namespace} is never injected"))
            }),
            Rule::Injectable => not_injectable(pod, input.quirks, warnings),
            Rule::Rules => by_rule(input.rule?),
            Rule::PodChoice => choice(pod, input, warnings),
            Rule::NeverInjectSelector => {
                let index = matching(pod, input, input.never)?;
                let sentence = format!("the pod's labels match neverInjectSelector[{index}]");
                Some(Verdict::skip(Reason::NeverInjectSelector, sentence))
            }
            Rule::AlwaysInjectSelector => {
                let index = matching(pod, input, input.always)?;
                let sentence = format!("the pod's labels match alwaysInjectSelector[{index}]");
                Some(Verdict::inject(Reason::AlwaysInjectSelector, sentence))
            }
            Rule::Policy => Some(policy(input)),
        }
    }
}

fn by_rule(rule: &InjectRule) -> Option<Verdict> {
    Some(match rule.inject? {
        RuleAction::Never => Verdict::skip(Reason::RuleNever, rule.describe()),
        RuleAction::Force => Verdict::inject(Reason::RuleForce, rule.describe()),
    })
}

fn uses_host_network(pod: &View<'_>, warnings: &mut Vec<Warning>) -> Option<Verdict> {
    if pod::at(pod.value, &["spec", "hostNetwork"]) != Some(&Value::Bool(true)) {
        return None;
    }
    warnings.push(Warning::new("BYPASS_HOST_NETWORK", "spec.hostNetwork prevents injection"));
    Some(Verdict::skip(
        Reason::HostNetwork,
        "the pod has spec.hostNetwork: true; redirecting its traffic would redirect the node's",
    ))
}

fn policy<S>(input: &DecisionInput<'_, S>) -> Verdict {
    match input.policy {
        "enabled" => {
            Verdict::inject(Reason::PolicyEnabled, "the policy is enabled and nothing opts the pod out")
        }
        "disabled" => Verdict::skip(
            Reason::PolicyDisabled,
            format!("the policy is disabled and the pod has no label {}: \"true\"", names::INJECT),
        ),
        other => Verdict::skip(
            Reason::PolicyInvalid,
            format!("the policy is {}, expected enabled or disabled, so nothing is injected", shown(other)),
        ),
    }
}

/// Pods in which a proxy cannot work, regardless of labels; Istio injects them anyway.
///
/// Anyone who may create pods can write every mark that this rule reads, so each skip causes a warning. A pod with a
/// false mark gains little: a kubelet runs no container of a mirror pod that is not its own, and no Linux node takes a
/// pod whose nodes are for Windows. Linkerd's marks and the options for Windows keep no pod from running: the rule
/// requires both of Linkerd's marks, and the chart's policy follows neither these marks nor these options.
fn not_injectable(pod: &View<'_>, quirks: Quirks, warnings: &mut Vec<Warning>) -> Option<Verdict> {
    let windows = || os::windows(pod.value).filter(|_| !quirks.contains(Quirk::InjectWindowsPods));
    let is_mirror = pod.annotation(names::ANNOTATION_MIRROR_POD).is_some();
    let (reason, code, sentence) = if is_mirror && !quirks.contains(Quirk::InjectMirrorPods) {
        let mark = names::ANNOTATION_MIRROR_POD;
        let sentence = format!("annotation {mark} marks a mirror pod, which cannot be changed");
        (Reason::MirrorPod, "SKIPPED_MIRROR_POD", sentence)
    } else if let Some(sign) = windows() {
        let sentence = format!("the pod has {sign}, and the proxy runs on Linux");
        (Reason::WindowsPod, "SKIPPED_WINDOWS_POD", sentence)
    } else if !quirks.contains(Quirk::InjectLinkerdPods) && has_linkerd(pod, warnings) {
        let (mark, proxy) = (names::ANNOTATION_LINKERD_PROXY_VERSION, names::CONTAINER_LINKERD_PROXY);
        let sentence =
            format!("annotation {mark} and container {proxy} say that Linkerd has injected the pod");
        (Reason::InjectedByLinkerd, "SKIPPED_LINKERD_POD", sentence)
    } else {
        return None;
    };
    warnings.push(Warning::new(code, format!("not injected: {sentence}")));
    Some(Verdict::skip(reason, sentence))
}

/// Whether Linkerd has injected the pod. It leaves an annotation and a container; one of them alone proves nothing.
fn has_linkerd(pod: &View<'_>, warnings: &mut Vec<Warning>) -> bool {
    let (mark, proxy) = (names::ANNOTATION_LINKERD_PROXY_VERSION, names::CONTAINER_LINKERD_PROXY);
    let (is_marked, has_proxy) = (pod.annotation(mark).is_some(), pod.has_container(proxy));
    if is_marked != has_proxy {
        let (one, other) = if is_marked {
            (format!("annotation {mark}"), format!("container {proxy}"))
        } else {
            (format!("container {proxy}"), format!("annotation {mark}"))
        };
        let message = format!("{one} without {other} does not indicate Linkerd: the pod is injected");
        warnings.push(Warning::new("LINKERD_MARK_ALONE", message));
    }
    is_marked && has_proxy
}

/// The choice of the pod itself. Nothing overrides an invalid policy.
fn choice<S>(pod: &View<'_>, input: &DecisionInput<'_, S>, warnings: &mut Vec<Warning>) -> Option<Verdict> {
    // A label overrides the annotation even if it is empty.
    let label = pod.label(names::INJECT);
    let kind = if label.is_some() { "label" } else { "annotation" };
    match label.or_else(|| pod.annotation(names::INJECT)).unwrap_or_default() {
        "true" if input.has_valid_policy() => {
            let sentence = format!("pod {kind} {} is \"true\"", names::INJECT);
            Some(Verdict::inject(Reason::PodOptedIn, sentence))
        }
        "false" if input.has_valid_policy() => {
            if input.policy == "enabled" {
                warnings.push(Warning::new("BYPASS_OPTED_OUT", "the pod opted out"));
            }
            let sentence = format!("pod {kind} {} is \"false\"", names::INJECT);
            Some(Verdict::skip(Reason::PodOptedOut, sentence))
        }
        "" | "true" | "false" => None,
        other => {
            warnings.push(Warning::new(
                "INVALID_INJECT_VALUE",
                format!(
                    "{kind} {}: {} is ignored; expected \"true\", \"false\"",
                    names::INJECT,
                    shown(other)
                ),
            ));
            None
        }
    }
}

/// The index of the first selector that matches the pod's labels; empty selectors match nothing, and nothing overrides
/// an invalid policy.
fn matching<S: PodSelector>(pod: &View<'_>, input: &DecisionInput<'_, S>, selectors: &[S]) -> Option<usize> {
    let none = Map::new();
    let labels = pod::at(pod.value, &["metadata", "labels"]).and_then(Value::as_object).unwrap_or(&none);
    let is_match = |selector: &S| !selector.is_empty() && selector.matches(labels);
    selectors.iter().position(is_match).filter(|_| input.has_valid_policy())
}

/// Warns about an annotation that contradicts the label of the same name, which wins.
fn ignored_annotation(pod: &View<'_>) -> Option<Warning> {
    let (label, annotation) = (pod.label(names::INJECT)?, pod.annotation(names::INJECT)?);
    if label == annotation || annotation.is_empty() {
        return None;
    }
    let message = format!(
        "annotation {}: {} is ignored because of the label {}",
        names::INJECT,
        shown(annotation),
        shown(label)
    );
    Some(Warning::new("IGNORED_ANNOTATION", message))
}

/// The parts of a pod that a decision reads; a value of the wrong JSON type counts as absent.
struct View<'a> {
    value: &'a Value,
}

impl<'a> View<'a> {
    fn new(value: &'a Value) -> View<'a> {
        View { value }
    }

    fn label(&self, key: &str) -> Option<&'a str> {
        self.value.get("metadata")?.get("labels")?.get(key)?.as_str()
    }

    fn annotation(&self, key: &str) -> Option<&'a str> {
        self.value.get("metadata")?.get("annotations")?.get(key)?.as_str()
    }

    fn has_container(&self, name: &str) -> bool {
        pod::find_container(self.value, name).is_some()
    }
}

#[cfg(test)]
mod tests;
