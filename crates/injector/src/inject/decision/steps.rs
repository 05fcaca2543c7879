//! The decision about a pod rule by rule: what each rule looked at and its result, for people who ask why.
//!
//! The rules themselves are evaluated by the code that decides in the webhook; only the descriptions of their inputs are
//! written here.

use serde_json::{Map, Value};

use super::{Decision, DecisionInput, PodSelector, RULES, View};
use crate::{config::guard::InjectRule, names, pod, warning::shown};

/// A rule of the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The labels of the namespace and the pod, by the selectors of Istio's webhook configuration.
    NamespaceLabels,
    /// The revision in the pod's label, if the namespace is not known.
    PodRevision,
    /// `spec.hostNetwork`.
    HostNetwork,
    /// The namespaces that are never injected.
    IgnoredNamespace,
    /// Mirror pods, pods for Windows, pods with Linkerd's proxy.
    Injectable,
    /// `rules` of the configuration.
    Rules,
    /// The label or annotation `sidecar.istio.io/inject`.
    PodChoice,
    /// `neverInjectSelector` of the configuration.
    NeverInjectSelector,
    /// `alwaysInjectSelector` of the configuration.
    AlwaysInjectSelector,
    /// `policy` of the configuration.
    Policy,
}

/// The result of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// It does not decide about the pod; the next rule is evaluated.
    Passed,
    /// It decided; the decision has no warnings.
    Decided(Decision),
    /// An earlier rule decided.
    NotReached,
}

/// One rule as evaluated for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The rule.
    pub rule: Rule,
    /// The values that it looks at, such as `namespace label istio-injection: "enabled"`.
    pub looked_at: String,
    /// The result.
    pub outcome: StepOutcome,
}

impl Rule {
    /// A stable key, such as `hostNetwork`.
    pub const fn key(self) -> &'static str {
        match self {
            Rule::NamespaceLabels => "namespaceLabels",
            Rule::PodRevision => "podRevision",
            Rule::HostNetwork => "hostNetwork",
            Rule::IgnoredNamespace => "ignoredNamespace",
            Rule::Injectable => "injectable",
            Rule::Rules => "rules",
            Rule::PodChoice => "podChoice",
            Rule::NeverInjectSelector => "neverInjectSelector",
            Rule::AlwaysInjectSelector => "alwaysInjectSelector",
            Rule::Policy => "policy",
        }
    }

    /// Its name for people.
    pub const fn title(self) -> &'static str {
        match self {
            Rule::NamespaceLabels => "labels of the namespace",
            Rule::PodRevision => "revision in the pod's label",
            Rule::HostNetwork => "host network",
            Rule::IgnoredNamespace => "system namespaces",
            Rule::Injectable => "mirror, Windows and Linkerd pods",
            Rule::Rules => "rules of the configuration",
            Rule::PodChoice => "the pod's own choice",
            Rule::NeverInjectSelector => "neverInjectSelector",
            Rule::AlwaysInjectSelector => "alwaysInjectSelector",
            Rule::Policy => "policy",
        }
    }
}

/// Every rule in order, as evaluated for a pod in the given namespace (the pod's, else the request's).
pub fn steps<S: PodSelector>(value: &Value, namespace: &str, input: &DecisionInput<'_, S>) -> Vec<Step> {
    let pod = View::new(value);
    let mut is_decided = false;
    RULES
        .into_iter()
        .chain([Rule::Policy])
        .map(|rule| {
            let looked_at = looked_at(rule, &pod, namespace, input);
            let outcome = if is_decided {
                StepOutcome::NotReached
            } else if let Some(verdict) = rule.apply(&pod, namespace, input, &mut Vec::new()) {
                is_decided = true;
                StepOutcome::Decided(Decision {
                    inject: verdict.inject,
                    reason: verdict.reason,
                    sentence: verdict.sentence,
                    warnings: Vec::new(),
                    rule: input.rule.map(InjectRule::describe),
                })
            } else {
                StepOutcome::Passed
            };
            Step { rule, looked_at, outcome }
        })
        .collect()
}

fn looked_at<S: PodSelector>(
    rule: Rule,
    pod: &View<'_>,
    namespace: &str,
    input: &DecisionInput<'_, S>,
) -> String {
    match rule {
        Rule::NamespaceLabels => match input.namespace_labels {
            Some(labels) => {
                let of_namespace = [names::LABEL_INJECTION, names::REVISION]
                    .map(|key| label_of("namespace", key, labels.get(key).and_then(Value::as_str)));
                let of_pod = [names::REVISION, names::INJECT].map(|key| label_of("pod", key, pod.label(key)));
                [of_namespace, of_pod].concat().join(", ")
            }
            None => "the API server evaluates them, and it calls the webhook for this pod".to_owned(),
        },
        Rule::PodRevision if !input.by_pod_alone => "the namespace decides about the revision".to_owned(),
        Rule::PodRevision => label_of("pod", names::REVISION, pod.label(names::REVISION)),
        Rule::HostNetwork => match pod::at(pod.value, &["spec", "hostNetwork"]) {
            Some(value) => format!("spec.hostNetwork: {value}"),
            None => "spec.hostNetwork is not set".to_owned(),
        },
        Rule::IgnoredNamespace => format!("namespace {}", shown(namespace)),
        Rule::Injectable => "mirror pod annotation, operating system, Linkerd's marks".to_owned(),
        Rule::Rules => match input.rule {
            Some(rule) => format!("{} matches first", rule.describe()),
            None => "no rule matches".to_owned(),
        },
        Rule::PodChoice => match (pod.label(names::INJECT), pod.annotation(names::INJECT)) {
            (Some(label), _) => {
                format!("{}{}", label_of("pod", names::INJECT, Some(label)), unless_boolean(label))
            }
            (None, Some(annotation)) => {
                format!(
                    "pod annotation {}: {}{}",
                    names::INJECT,
                    shown(annotation),
                    unless_boolean(annotation)
                )
            }
            (None, None) => format!("pod label and annotation {} are not set", names::INJECT),
        },
        Rule::NeverInjectSelector => selectors(input.never, pod),
        Rule::AlwaysInjectSelector => selectors(input.always, pod),
        Rule::Policy => shown(input.policy),
    }
}

/// A remark about a value that is ignored.
fn unless_boolean(value: &str) -> &'static str {
    if matches!(value, "true" | "false") { "" } else { ", which is ignored: expected \"true\" or \"false\"" }
}

fn label_of(holder: &str, key: &str, value: Option<&str>) -> String {
    match value {
        Some(value) => format!("{holder} label {key}: {}", shown(value)),
        None => format!("{holder} label {key} is not set"),
    }
}

fn selectors<S: PodSelector>(selectors: &[S], pod: &View<'_>) -> String {
    let none = Map::new();
    let labels = pod::at(pod.value, &["metadata", "labels"]).and_then(Value::as_object).unwrap_or(&none);
    let empty = selectors.iter().filter(|selector| selector.is_empty()).count();
    let ignored = if empty == 0 { String::new() } else { format!(", {empty} of them empty and ignored") };
    match selectors.len() {
        0 => "the configuration has none".to_owned(),
        count => {
            let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let labels = if labels.is_empty() { "no labels".to_owned() } else { labels.join(", ") };
            format!("{count} selector{}{ignored}; the pod has {labels}", if count == 1 { "" } else { "s" })
        }
    }
}
