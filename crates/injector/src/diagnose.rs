//! Diagnoses an installation: turns an API server's data about it into findings, each with evidence and the command
//! that fixes it.
//!
//! Pure: the caller reads the objects. Anything that could not be read is `None`, and no conclusion is drawn from it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::workload::{self, Workload};

mod namespaces;
mod path;
mod permissions;
pub mod probe;
mod webhooks;

#[cfg(test)]
mod tests;

pub use namespaces::{LABEL_MISTAKES, label_mistakes};
pub use path::{Probe, ProbeOutcome, creation_fix, refusal_class};
pub use permissions::Access;

/// The known facts about a cluster.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// All MutatingWebhookConfigurations.
    pub webhooks: Vec<Value>,
    /// The Services that our webhooks name; one that does not exist is missing.
    pub services: Option<Vec<Value>>,
    /// The EndpointSlices of these Services.
    pub endpoint_slices: Option<Vec<Value>>,
    /// The Deployments in the namespaces of these Services.
    pub deployments: Option<Vec<Value>>,
    /// The pods in the namespaces of these Services.
    pub own_pods: Option<Vec<Value>>,
    /// All namespaces.
    pub namespaces: Option<Vec<Value>>,
    /// Pods of the namespaces that ask for injection.
    pub pods: Option<Vec<Value>>,
    /// What creates pods in the same namespaces: the ReplicaSets and, where Events name them, StatefulSets, DaemonSets and Jobs.
    pub controllers: Option<Vec<Value>>,
    /// The Events `FailedCreate` of the same namespaces.
    pub events: Option<Vec<Value>>,
    /// Some nodes, for hints about the provider.
    pub nodes: Option<Vec<Value>>,
    /// The results of creating pods as a dry run: one for each MutatingWebhookConfiguration of ours that selects a pod in some
    /// namespace.
    pub probes: Vec<Probe>,
    /// The rights that the ServiceAccounts of our Deployments need.
    pub permissions: Option<Vec<Access>>,
    /// Problems of the configuration, if it was read.
    pub configuration: Option<Result<Vec<String>, String>>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Pods are not created, or run without their proxy.
    Error,
    /// Something will go wrong under conditions that are likely to occur.
    Warning,
    /// Worth knowing.
    Info,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A stable key, such as `no-endpoints`.
    pub check: &'static str,
    /// The object, such as `Service outrigger-system/outrigger`.
    pub subject: String,
    /// The evidence.
    pub evidence: String,
    /// What to do: a command where one command does it.
    pub fix: String,
}

/// Every key of a finding, with its meaning.
pub const CHECKS: [(&str, &str); 30] = [
    ("another-injector", "the webhook of another injector selects the same pods"),
    ("api-server-address", "the API server is not allowed to connect to the address of the pod"),
    ("both-labels", "a namespace has both labels; one of them is ignored"),
    ("ca-bundle-missing", "an entry has no caBundle, so API servers trust no certificate"),
    ("ca-bundle-unreadable", "a caBundle holds no certificate"),
    ("certificate-expired", "the served certificate is expired or not yet valid"),
    ("certificate-name", "the served certificate is not valid for the Service's name"),
    ("certificate-untrusted", "API servers do not trust the served certificate"),
    ("configuration-invalid", "the configuration cannot be used"),
    ("configuration-warning", "the configuration has warnings"),
    ("connection-refused", "nothing listens where the Service points"),
    (
        "creation-refused",
        "the pods of a workload cannot be created: a webhook or policy refuses them or, where pods get a proxy, a quota, a LimitRange or Pod Security",
    ),
    ("fail-closed-alone", "failurePolicy Fail with a single replica"),
    ("ignored-failures", "failurePolicy Ignore, and the call fails: pods run without a proxy"),
    ("label-misspelled", "a namespace has a label that is almost the one for injection"),
    ("label-value", "a namespace has a value of istio-injection that means no injection"),
    ("network-timeout", "the API server cannot reach the webhook over the network"),
    ("no-endpoints", "no replica is ready"),
    ("no-rules", "an entry has no rules, so API servers send it no pods"),
    ("no-webhook", "no webhook of outrigger is registered"),
    ("not-injected", "a pod that a webhook selects came back without a proxy"),
    ("other-refusal", "something else refuses the pod"),
    ("permission-missing", "the ServiceAccount of outrigger may not do what its flags ask for"),
    (
        "pods-on-host-network",
        "pods on the host's network, which never get a proxy, in a namespace that asks for one",
    ),
    ("replicas-not-ready", "replicas of outrigger are not ready"),
    ("revision-not-served", "a namespace names a revision that no webhook serves"),
    ("service-missing", "the Service that a webhook names does not exist"),
    ("slow-path", "the creation of a pod is slow"),
    ("uninjected-pods", "pods run without a proxy in a namespace that asks for it"),
    ("webhook-error", "the webhook answers with an error"),
];

impl Finding {
    fn new(
        severity: Severity,
        check: &'static str,
        subject: impl Into<String>,
        evidence: impl Into<String>,
        fix: impl Into<String>,
    ) -> Finding {
        debug_assert!(CHECKS.iter().any(|(known, _)| *known == check), "{check} has no row");
        Finding { severity, check, subject: subject.into(), evidence: evidence.into(), fix: fix.into() }
    }
}

/// All findings, the worst first.
pub fn diagnose(facts: &Facts) -> Vec<Finding> {
    let refusals = refusals(facts);
    let mut findings = webhooks::findings(facts);
    findings.extend(path::findings(facts, &refusals));
    findings.extend(permissions::findings(facts));
    findings.extend(namespaces::findings(facts, refusals));
    match &facts.configuration {
        Some(Err(problem)) => findings.push(Finding::new(
            Severity::Error,
            "configuration-invalid",
            "configuration",
            problem.clone(),
            "outrigger bundle print --from-cluster shows every problem with its place; replicas keep the last valid one",
        )),
        Some(Ok(warnings)) => findings.extend(warnings.iter().map(|warning| {
            Finding::new(
                Severity::Warning,
                "configuration-warning",
                "configuration",
                warning.clone(),
                "correct the configuration, or leave it if it is intended",
            )
        })),
        None => {}
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// The workloads whose pods the API server refuses, each with its message.
fn refusals(facts: &Facts) -> BTreeMap<Workload, String> {
    // Without the pods, it is not known whether a StatefulSet has made up for a failure.
    let is_clear =
        |event: &&Value| facts.pods.is_some() || text(event, "/involvedObject/kind") != "StatefulSet";
    let events: Vec<Value> = facts.events.iter().flatten().filter(is_clear).cloned().collect();
    workload::refusals(facts.controllers.iter().chain(&facts.pods).flatten(), &events)
}

/// Our webhooks: configuration, name of the entry, entry.
fn own_entries(facts: &Facts) -> impl Iterator<Item = (&Value, &str, &Value)> {
    let own = facts.webhooks.iter().filter(|configuration| is_own(configuration));
    own.flat_map(|configuration| {
        crate::webhook_config::entries(configuration).map(move |(name, entry)| (configuration, name, entry))
    })
}

fn is_own(configuration: &Value) -> bool {
    crate::webhook_config::revision_of(configuration).is_some()
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn items<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

fn labels(object: &Value) -> Map<String, Value> {
    object.pointer("/metadata/labels").and_then(Value::as_object).cloned().unwrap_or_default()
}

/// A list of names that shows only the first few.
fn some(names: &[&str]) -> String {
    const MOST: usize = 5;
    match names.len().checked_sub(MOST) {
        Some(more) if more > 0 => {
            format!("{} and {more} more", names.get(..MOST).unwrap_or_default().join(", "))
        }
        _ => names.join(", "),
    }
}
