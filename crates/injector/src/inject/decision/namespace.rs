//! The selectors of Istio's MutatingWebhookConfiguration, evaluated again if the namespace is known.
//!
//! An injector handles its revision and every tag that points to it. Each name has two entries, `rev.namespace` and
//! `rev.object`; the name `default` also has `namespace`, `object` and, if enabled, `auto`.

use serde_json::{Map, Value};

use super::{DecisionInput, Reason, Verdict, View};
use crate::names;
use crate::warning::{Warning, shown};

/// Whether one of the entries selects the pod; if not, the verdict names the label responsible.
pub(super) fn selects<S>(
    pod: &View<'_>,
    namespace: &str,
    labels: &Map<String, Value>,
    input: &DecisionInput<'_, S>,
    warnings: &mut Vec<Warning>,
) -> Result<(), Verdict> {
    let names = Names::of(input);
    let injection = labels.get(names::LABEL_INJECTION).and_then(Value::as_str);
    let revision = labels.get(names::REVISION).and_then(Value::as_str);
    if let (Some(injection), Some(revision)) = (injection, revision) {
        warnings.push(Warning::new(
            "NAMESPACE_HAS_BOTH_LABELS",
            format!(
                "namespace label {}: {} is ignored because of {}: {}",
                names::REVISION,
                shown(revision),
                names::LABEL_INJECTION,
                shown(injection)
            ),
        ));
    }
    if let Some(asked) = pod
        .label(names::REVISION)
        .filter(|asked| (injection.is_some() || revision.is_some()) && !names.contains(asked))
    {
        let label = if injection.is_some() { names::LABEL_INJECTION } else { names::REVISION };
        warnings.push(Warning::new(
            "REVISION_OF_THE_NAMESPACE",
            format!(
                "pod label {}: {} is ignored: the namespace has label {label}",
                names::REVISION,
                shown(asked)
            ),
        ));
    }
    // The handler's own rules detect that the pod's label `false` excludes it from every entry.
    match (injection, revision) {
        (Some(injection), _) => by_injection_label(namespace, injection, &names),
        (None, Some(revision)) => by_revision_label("namespace", revision, &names),
        (None, None) => by_pod_labels(pod, namespace, input, &names),
    }
}

/// Whether the pod's own label does not ask for another revision, as far as that can be determined without the
/// namespace.
pub(super) fn is_for_revision<S>(pod: &View<'_>, input: &DecisionInput<'_, S>) -> Result<(), Verdict> {
    match pod.label(names::REVISION) {
        Some(revision) => by_revision_label("pod", revision, &Names::of(input)),
        None => Ok(()),
    }
}

/// The revision and tags that this injector handles.
struct Names<'a> {
    revision: &'a str,
    tags: &'a [String],
}

impl<'a> Names<'a> {
    fn of<S>(input: &DecisionInput<'a, S>) -> Names<'a> {
        Names { revision: input.revision, tags: input.tags }
    }

    fn own(&self) -> &str {
        if self.revision.is_empty() { "default" } else { self.revision }
    }

    fn contains(&self, name: &str) -> bool {
        name == self.own() || self.tags.iter().any(|tag| tag == name)
    }

    fn contains_default(&self) -> bool {
        self.contains("default")
    }
}

/// Entry `namespace`: any value excludes every other entry, so a misspelled one also means no injection.
fn by_injection_label(namespace: &str, value: &str, names: &Names<'_>) -> Result<(), Verdict> {
    let label = names::LABEL_INJECTION;
    if value != "enabled" {
        let sentence = format!(
            "namespace {} has label {label}: {}, and only \"enabled\" injects",
            shown(namespace),
            shown(value)
        );
        return Err(Verdict::skip(Reason::NamespaceDisabled, sentence));
    }
    if names.contains_default() {
        return Ok(());
    }
    let sentence = format!(
        "namespace label {label}: enabled asks for the default revision, but this is {}",
        shown(names.own())
    );
    Err(Verdict::skip(Reason::RevisionMismatch, sentence))
}

/// Entries `rev.namespace` and `rev.object`.
fn by_revision_label(holder: &str, value: &str, names: &Names<'_>) -> Result<(), Verdict> {
    if names.contains(value) {
        return Ok(());
    }
    let sentence = format!(
        "{holder} label {} asks for revision {}, but this is {}",
        names::REVISION,
        shown(value),
        shown(names.own())
    );
    Err(Verdict::skip(Reason::RevisionMismatch, sentence))
}

/// Entries `rev.object`, `object` and `auto`: the namespace has no relevant label.
fn by_pod_labels<S>(
    pod: &View<'_>,
    namespace: &str,
    input: &DecisionInput<'_, S>,
    names: &Names<'_>,
) -> Result<(), Verdict> {
    let inject = pod.label(names::INJECT);
    if inject == Some("false") {
        return Err(opted_out());
    }
    if let Some(revision) = pod.label(names::REVISION) {
        return by_revision_label("pod", revision, names);
    }
    if inject == Some("true") {
        if names.contains_default() {
            return Ok(());
        }
        let sentence = format!(
            "pod label {}: \"true\" without {} asks for the default revision, but this is {}",
            names::INJECT,
            names::REVISION,
            shown(names.own())
        );
        return Err(Verdict::skip(Reason::RevisionMismatch, sentence));
    }
    let automatic = input.enable_namespaces_by_default && names.contains_default();
    if automatic && inject.is_none() && !names::IGNORED_NAMESPACES.contains(&namespace) {
        return Ok(());
    }
    let sentence = format!(
        "namespace {} has neither label {} nor {}, and the pod does not opt in",
        shown(namespace),
        names::LABEL_INJECTION,
        names::REVISION
    );
    Err(Verdict::skip(Reason::NamespaceNotEnabled, sentence))
}

fn opted_out() -> Verdict {
    Verdict::skip(Reason::PodOptedOut, format!("pod label {} is \"false\"", names::INJECT))
}
