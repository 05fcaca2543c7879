//! The defaults that API servers fill in before they evaluate conditions (`SetDefaults_Pod`, `SetDefaults_Container`,
//! the ServiceAccount plugin), as far as conditions read them.

use serde_json::{Map, Value, json};

use super::reads::Part;
use crate::pod;

const CONTAINERS: [&str; 2] = ["containers", "initContainers"];
/// The fields that each container gets.
const OF_CONTAINERS: [&str; 4] =
    ["imagePullPolicy", "resources", "terminationMessagePath", "terminationMessagePolicy"];
/// A field, and the function that makes its value.
type Default = (&'static str, fn() -> Value);
/// The fields that the spec gets.
const OF_SPEC: [Default; 7] = [
    ("restartPolicy", || json!("Always")),
    ("terminationGracePeriodSeconds", || json!(30)),
    ("dnsPolicy", || json!("ClusterFirst")),
    ("securityContext", || json!({})),
    ("schedulerName", || json!("default-scheduler")),
    ("enableServiceLinks", || json!(true)),
    (ACCOUNT, || json!("default")),
];
const ACCOUNT: &str = "serviceAccountName";
const FORMER_ACCOUNT: &str = "serviceAccount";

/// Fills in the defaults of the parts of a pod that are read: `object` has these parts of `pod`.
pub(super) fn set_defaults(object: &mut Value, pod: &Value, namespace: &str, parts: &Part) {
    let Some(object) = object.as_object_mut() else { return };
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.remove("managedFields");
    }
    let fill = |map: &mut Map<String, Value>, parts: &Part, key: &str, value: &dyn Fn() -> Value| {
        if parts.field(key).is_some() {
            map.entry(key).or_insert_with(value);
        }
    };
    fill(object, parts, "apiVersion", &|| json!("v1"));
    fill(object, parts, "kind", &|| json!("Pod"));
    fill(object, parts, "metadata", &|| json!({}));
    fill(object, parts, "status", &|| json!({}));
    fill(object, parts, "spec", &|| json!({}));
    if let (Some(Value::Object(metadata)), Some(parts)) =
        (object.get_mut("metadata"), parts.field("metadata"))
    {
        fill(metadata, parts, "namespace", &|| json!(namespace));
    }
    let (Some(Value::Object(spec)), Some(parts)) = (object.get_mut("spec"), parts.field("spec")) else {
        return;
    };
    for (key, value) in OF_SPEC {
        fill(spec, parts, key, &value);
    }
    fill(spec, parts, FORMER_ACCOUNT, &|| {
        pod::at(pod, &["spec", ACCOUNT]).cloned().unwrap_or_else(|| json!("default"))
    });
    for list in CONTAINERS {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(container) = container.as_object_mut() {
                set_defaults_of_container(container);
            }
        }
    }
}

fn set_defaults_of_container(container: &mut Map<String, Value>) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let tag = image.rsplit_once('/').map_or(image, |(_, name)| name).rsplit_once(':');
    let is_moving = !image.contains('@') && tag.is_none_or(|(_, tag)| tag == "latest");
    let policy = if is_moving { "Always" } else { "IfNotPresent" };
    for key in OF_CONTAINERS {
        container.entry(key).or_insert_with(|| match key {
            "imagePullPolicy" => json!(policy),
            "terminationMessagePath" => json!("/dev/termination-log"),
            "terminationMessagePolicy" => json!("File"),
            _ => json!({}),
        });
    }
    for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            port.entry(PROTOCOL).or_insert_with(|| json!("TCP"));
        }
    }
}

const PROTOCOL: &str = "protocol";

/// The length of the longest list or map of a pod with its defaults; a text counts as one element for each KiB.
pub(super) fn longest(pod: &Value) -> u64 {
    let Some(fields) = pod.as_object() else { return of(pod) };
    let missing = |map: &Map<String, Value>, keys: &[&str]| {
        keys.iter().filter(|key| !map.contains_key(**key)).count() as u64
    };
    let of_fields = fields.iter().map(|(key, value)| match (key.as_str(), value) {
        ("metadata", Value::Object(metadata)) => {
            let kept = metadata.iter().filter(|(key, _)| *key != "managedFields");
            let (count, longest) =
                kept.fold((0, 0), |(count, longest), (_, value)| (count + 1, of(value).max(longest)));
            longest.max(count + missing(metadata, &["namespace"]))
        }
        ("spec", Value::Object(spec)) => {
            let keys = OF_SPEC.iter().map(|(key, _)| *key).chain([FORMER_ACCOUNT]);
            let missing = keys.filter(|key| !spec.contains_key(*key)).count();
            let of_spec = spec.iter().map(|(key, value)| match value {
                Value::Array(items) if CONTAINERS.contains(&key.as_str()) => {
                    items.iter().map(of_container).max().unwrap_or(0).max(items.len() as u64)
                }
                other => of(other),
            });
            of_spec.max().unwrap_or(0).max((spec.len() + missing) as u64)
        }
        (_, other) => of(other),
    });
    let missing_fields = missing(fields, &["apiVersion", "kind", "metadata", "status", "spec"]);
    // A spec that is filled in has nothing but its defaults.
    let of_defaults = if fields.contains_key("spec") { 0 } else { OF_SPEC.len() as u64 + 1 };
    of_fields.max().unwrap_or(0).max(fields.len() as u64 + missing_fields).max(of_defaults)
}

fn of_container(container: &Value) -> u64 {
    let Some(fields) = container.as_object() else { return of(container) };
    let missing = OF_CONTAINERS.iter().filter(|key| !fields.contains_key(**key)).count();
    let of_ports = |port: &Value| {
        let missing =
            port.as_object().map_or(0, |port| u64::from(!port.contains_key(PROTOCOL)) + port.len() as u64);
        of(port).max(missing)
    };
    let of_fields = fields.iter().map(|(key, value)| match value {
        Value::Array(ports) if key == "ports" => {
            ports.iter().map(of_ports).max().unwrap_or(0).max(ports.len() as u64)
        }
        other => of(other),
    });
    of_fields.max().unwrap_or(0).max((fields.len() + missing) as u64)
}

/// [`longest`] of any value.
pub(super) fn of(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items.iter().map(of).max().unwrap_or(0).max(items.len() as u64),
        Value::Object(map) => map.values().map(of).max().unwrap_or(0).max(map.len() as u64),
        Value::String(text) => text.len() as u64 / 1024,
        _ => 0,
    }
}
