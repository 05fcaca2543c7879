//! Recognizes pod templates by their shape, wherever an unknown kind keeps them.
//!
//! A template is an object under a telling key (`template`, `podTemplate`, `workerTemplate` …) whose spec has named
//! containers. The set of kinds that run pods is open; kinds that only describe pods are listed here and never touched.

use serde_json::Value;

use super::{Object, path::escaped};

/// A pod template found by its shape.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shaped {
    /// Its JSON pointer from the object.
    pub(super) pointer: String,
    /// Whether the object's own pods are created from it as it stands; otherwise it may be a part to be completed, or
    /// belong to a manifest that the object carries.
    pub(super) is_own: bool,
}

/// Keys whose values do not describe what the object runs.
const NEVER_INSIDE: [&str; 7] =
    ["metadata", "status", "managedFields", "openAPIV3Schema", "schema", "values", "valuesObject"];

/// The pod templates in an object with a kind, at any depth.
pub(super) fn templates(value: &Value, object: &Object) -> Vec<Shaped> {
    let mut found = Vec::new();
    if !object.kind.is_empty() && !only_describes_pods(&object.api_version, &object.kind) {
        walk(value, String::new(), Under::default(), &mut found);
    }
    found
}

/// Whether objects of a kind contain what looks like pod templates without any pods being created from them: copies,
/// schemas, policies, patches, and reports about other objects' pods.
pub(super) fn only_describes_pods(api_version: &str, kind: &str) -> bool {
    let group = super::group(api_version);
    matches!(
        (group, kind),
        ("", "ConfigMap" | "Secret" | "Event" | "Status")
            | ("apps", "ControllerRevision")
            | ("apiextensions.k8s.io" | "admissionregistration.k8s.io" | "kustomize.config.k8s.io", _)
            | ("apiextensions.crossplane.io" | "helm.toolkit.fluxcd.io", _)
            | ("kueue.x-k8s.io", "Workload")
    ) || ["kyverno.io", "gatekeeper.sh"]
        .iter()
        .any(|domain| group.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

/// The context of a value: what lies between it and the object.
#[derive(Clone, Copy, Default)]
struct Under {
    /// The key announces a template.
    template: bool,
    /// The key announces a list or map of templates.
    templates: bool,
    /// Inside a complete manifest, which something else creates.
    manifest: bool,
}

fn walk(value: &Value, pointer: String, under: Under, found: &mut Vec<Shaped>) {
    match value {
        Value::Object(map) => {
            let is_root = pointer.is_empty();
            let is_manifest = !is_root && map.get("apiVersion").is_some_and(Value::is_string);
            let kind = map.get("kind").and_then(Value::as_str);
            // FlinkDeployment and similar kinds write their template as a whole Pod.
            let is_pod = matches!(kind, Some("Pod" | "PodTemplate" | "PodTemplateSpec"));
            if under.template
                && (!is_manifest || is_pod)
                && let Some(is_whole) = template(value)
            {
                return found.push(Shaped { pointer, is_own: is_whole && !under.manifest });
            }
            let manifest = under.manifest || is_manifest && kind.is_some() && !is_pod;
            for (key, entry) in map.iter().filter(|(key, _)| !NEVER_INSIDE.contains(&key.as_str())) {
                let (template, templates) = says_template(key);
                let under = Under { template: template || under.templates, templates, manifest };
                walk(entry, format!("{pointer}/{}", escaped(key)), under, found);
            }
        }
        Value::Array(items) => {
            let under = Under { template: under.template || under.templates, ..under };
            for (index, item) in items.iter().enumerate() {
                walk(item, format!("{pointer}/{index}"), under, found);
            }
        }
        _ => {}
    }
}

/// Whether a key announces a template, or several.
fn says_template(key: &str) -> (bool, bool) {
    let key = key.to_ascii_lowercase();
    let stem = key.strip_suffix("spec").unwrap_or(&key);
    (stem.ends_with("template"), stem.ends_with("templates"))
}

/// Whether a template is complete, if the value is one: containers, each with a name.
fn template(value: &Value) -> Option<bool> {
    let containers = value.get("spec")?.get("containers")?.as_array()?;
    let is_named = |container: &Value| match container.get("name") {
        Some(Value::String(name)) => {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        }
        // A name that lacks its quotes, such as `name: n`.
        name => name.is_some_and(is_bare),
    };
    containers.iter().all(is_named).then(|| containers.iter().all(has_image))
}

/// Whether a container names its image; the proxy's may come from a template.
pub(super) fn has_image(container: &Value) -> bool {
    let has_text = match container.get("image") {
        Some(Value::String(image)) => !image.is_empty(),
        image => image.is_some_and(is_bare),
    };
    has_text || container.get("name").and_then(Value::as_str) == Some(crate::names::CONTAINER_PROXY)
}

/// A value that YAML reads as something other than the intended text.
fn is_bare(value: &Value) -> bool {
    value.is_number() || value.is_boolean()
}
