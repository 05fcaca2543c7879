//! A tag's configuration, derived from that of the revision it points to: endpoint, trust and rules are the same, and
//! only the selecting labels differ. A tag therefore moves with one write, including its caBundle.

use serde_json::{Map, Value, json};

use super::{
    DEFAULT_REVISION,
    entry::{self, Entry},
    rules, tag_name,
};
use crate::names;

/// The revision's annotations that the tag also gets: who manages the caBundle, if not us.
const SHARED_ANNOTATIONS: &str = "cert-manager.io/inject-";
/// The revision's labels that the tag also gets.
const SHARED_LABELS: [&str; 3] = ["app", "app.kubernetes.io/name", "app.kubernetes.io/instance"];
/// Makes Helm keep an object that it created.
const HELM_POLICY: (&str, &str) = ("helm.sh/resource-policy", "keep");
/// Helm's mark on its objects.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The release of a Helm object.
const HELM_RELEASE: &str = "meta.helm.sh/release-name";

/// The configuration of a tag that points to the revision of `source`, a configuration from the API server; `before` is
/// the tag's current one.
///
/// # Errors
/// A sentence if `source` cannot be called yet, or is not a configuration of this revision.
pub fn tagged(
    tag: &str,
    revision: &str,
    namespace: &str,
    source: &Value,
    before: Option<&Value>,
) -> Result<Value, String> {
    let webhooks: Result<Vec<Value>, String> =
        entry::of(tag).iter().map(|entry| webhook(entry, revision, source)).collect();
    let mut labels: Map<String, Value> = SHARED_LABELS
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), label(source, key)?.clone())))
        .collect();
    labels.insert(names::LABEL_CONFIGURATION_REVISION.to_owned(), revision.into());
    labels.insert(names::LABEL_CONFIGURATION_TAG.to_owned(), tag.into());
    let mut annotations: Map<String, Value> = metadata(source, "annotations")
        .filter(|(key, _)| key.starts_with(SHARED_ANNOTATIONS))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if before.is_some_and(|before| helm_release(before).is_some() || is_kept_by_policy(before)) {
        // Otherwise the next upgrade of the release, which no longer contains the tag, would delete it.
        annotations.insert(HELM_POLICY.0.to_owned(), HELM_POLICY.1.into());
    }
    let mut object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": tag_name(tag, namespace), "labels": labels},
        "webhooks": webhooks?,
    });
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        if !annotations.is_empty() {
            metadata.insert("annotations".to_owned(), Value::Object(annotations));
        }
        // With its version, it replaces exactly the object that was read.
        for key in ["resourceVersion", "ownerReferences", "finalizers"] {
            if let Some(value) = before.and_then(|before| before.get("metadata")?.get(key)) {
                metadata.insert(key.to_owned(), value.clone());
            }
        }
    }
    Ok(object)
}

/// The revision of a configuration, according to its label.
pub fn revision_of(configuration: &Value) -> Option<&str> {
    label(configuration, names::LABEL_CONFIGURATION_REVISION)?.as_str()
}

/// The tag of a configuration.
pub fn tag_of(configuration: &Value) -> Option<&str> {
    label(configuration, names::LABEL_CONFIGURATION_TAG)?.as_str()
}

/// The Helm release that created a configuration and will change it again.
pub fn helm_release(configuration: &Value) -> Option<&str> {
    let is_helms = label(configuration, MANAGED_BY).and_then(Value::as_str) == Some("Helm");
    let release = metadata(configuration, "annotations").find(|(key, _)| *key == HELM_RELEASE);
    release.filter(|_| is_helms).and_then(|(_, release)| release.as_str())
}

/// Whether the server of a revision's configuration manages the caBundle of a tag, or another manager does.
pub fn keeps_tag(source: &Value, tag: &str) -> bool {
    let is_url = super::entries(source).all(|(_, entry)| entry.pointer("/clientConfig/url").is_some());
    is_url
        || metadata(source, "annotations").any(|(key, value)| {
            let mut tags = value.as_str().unwrap_or_default().split(',');
            key.starts_with(SHARED_ANNOTATIONS)
                || (key == names::ANNOTATION_MOVABLE_TAGS && tags.any(|found| found == tag))
        })
}

fn is_kept_by_policy(configuration: &Value) -> bool {
    metadata(configuration, "annotations").any(|(key, value)| key == HELM_POLICY.0 && value == HELM_POLICY.1)
}

/// One entry of the tag, from the revision's entry for the same kind of request; the default revision has additional
/// kinds, whose entries differ only in their selectors.
fn webhook(entry: &Entry, revision: &str, source: &Value) -> Result<Value, String> {
    let candidates = entry::of(revision);
    let same = candidates.iter().find(|candidate| candidate.way() == entry.way()).or(candidates.first());
    let found = same.and_then(|same| Some((same, from(source, same)?)));
    let Some((model, found)) = found else {
        return Err(format!(
            "{} has no entry of revision {revision:?} whose name is one of ours",
            name_of(source)
        ));
    };
    let (name, webhook) = found;
    let is_service = webhook.pointer("/clientConfig/service").is_some();
    if is_service && super::ca_bundle(webhook).is_none() {
        return Err(format!(
            "{}: {name} has no caBundle yet; wait until a replica is ready",
            name_of(source)
        ));
    }
    if webhook.get("rules").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        return Err(format!("{}: {name} has no rules yet; wait until a replica is ready", name_of(source)));
    }
    let suffix = name.strip_prefix(model.prefix()).unwrap_or(name);
    let mut made = webhook.clone();
    if let Some(bundle) = super::ca_bundle(webhook) {
        let copy = super::ca_bundle::copied(bundle).map_err(|problem| {
            format!(
                "{}: the caBundle of {name} contains no certificate that API servers can read: {problem}",
                name_of(source)
            )
        })?;
        if let Some(config) = made.get_mut("clientConfig").and_then(Value::as_object_mut) {
            config.insert("caBundle".to_owned(), copy.into());
        }
    }
    // Pods that opt out are sent to a tag if they are sent to its revision.
    let expressions = webhook.pointer("/objectSelector/matchExpressions").and_then(Value::as_array);
    let lacks = |requirement: &Value| !expressions.is_some_and(|all| all.contains(requirement));
    let sends = model.object_requirements(false).iter().any(lacks);
    for (key, ours, of_model) in [
        ("namespaceSelector", entry.namespace_requirements(), model.namespace_requirements()),
        ("objectSelector", entry.object_requirements(sends), model.object_requirements(sends)),
    ] {
        let selector = webhook.get(key).cloned().unwrap_or_else(|| json!({}));
        let all = selector.get("matchExpressions").and_then(Value::as_array).cloned().unwrap_or_default();
        if !of_model.iter().all(|requirement| all.contains(requirement)) {
            return Err(format!(
                "{}: {name} does not select by the label that requests revision {revision:?} ({key}); expected what \
                 `webhook apply` or the chart makes",
                name_of(source)
            ));
        }
        // The namespaces that are never selected, and additions from the values.
        let rest = all.into_iter().filter(|requirement| !of_model.contains(requirement));
        let all: Vec<Value> = ours.into_iter().chain(rest).collect();
        if let (Some(made), Some(mut selector)) = (made.as_object_mut(), selector.as_object().cloned()) {
            selector.insert("matchExpressions".to_owned(), Value::Array(all));
            made.insert(key.to_owned(), Value::Object(selector));
        }
    }
    if let Some(made) = made.as_object_mut() {
        made.insert("name".to_owned(), entry.name(suffix).into());
        made.insert("rules".to_owned(), rules());
    }
    Ok(made)
}

/// The entry of a configuration for a kind of request.
fn from<'a>(source: &'a Value, entry: &Entry) -> Option<(&'a str, &'a Value)> {
    super::entries(source).find(|(name, _)| {
        // `rev.namespace.x` starts with no other prefix, and `namespace.x` is not for `rev.namespace.`.
        name.starts_with(entry.prefix())
    })
}

fn name_of(configuration: &Value) -> &str {
    configuration.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

fn label<'a>(configuration: &'a Value, key: &str) -> Option<&'a Value> {
    configuration.get("metadata")?.get("labels")?.get(key)
}

fn metadata<'a>(configuration: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    configuration
        .get("metadata")
        .and_then(|metadata| metadata.get(key))
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}

/// Checks the names of a tag and a revision.
///
/// # Errors
/// A sentence: the value found and the values expected.
pub fn check_names(tag: &str, revision: &str) -> Result<(), String> {
    for (what, text) in [("tag", tag), ("revision", revision)] {
        if !super::check::is_dns_label(text) {
            return Err(format!("{what}: found {text:?}; expected {}", super::check::LABEL));
        }
    }
    if tag == revision {
        let hint = if tag == DEFAULT_REVISION { " and already the default one" } else { "" };
        return Err(format!("tag: found {tag:?}, which is the revision{hint}; expected another name"));
    }
    Ok(())
}
