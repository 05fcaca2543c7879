//! Views of a pod as JSON: containers, labels, annotations, and the pod's owner.
//!
//! The pod may be malformed: a field of the wrong type counts as absent, and only views that change the pod create
//! missing parts. Nothing is decided here.

use serde_json::{Map, Value};

use crate::names;

/// The workload that a pod belongs to according to its owner, or the pod itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// `apps/v1`, …
    pub api_version: String,
    /// `Deployment`, …
    pub kind: String,
    /// The workload's name; empty for a pod that has none yet.
    pub name: String,
    /// The pod's namespace according to the pod; empty if it has none.
    pub namespace: String,
}

/// The value at a path of keys. Unlike a JSON pointer, nothing is decoded, so only the lookups cost time.
pub fn at<'v>(value: &'v Value, path: &[&str]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

/// The elements of `spec.containers`.
pub fn containers(pod: &Value) -> &[Value] {
    spec_list(pod, "containers")
}

/// The elements of `spec.initContainers`.
pub fn init_containers(pod: &Value) -> &[Value] {
    spec_list(pod, "initContainers")
}

/// The list `spec.containers`, created if absent.
pub fn containers_mut(pod: &mut Value) -> &mut Vec<Value> {
    spec_list_mut(pod, "containers")
}

/// The list `spec.initContainers`, created if absent.
pub fn init_containers_mut(pod: &mut Value) -> &mut Vec<Value> {
    spec_list_mut(pod, "initContainers")
}

/// The elements of a list in the spec.
pub fn spec_list<'p>(pod: &'p Value, field: &str) -> &'p [Value] {
    pod.get("spec").and_then(|spec| spec.get(field)).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A list in the spec, created if absent.
pub fn spec_list_mut<'p>(pod: &'p mut Value, field: &str) -> &'p mut Vec<Value> {
    as_list(object(pod, "spec").entry(field).or_insert(Value::Null))
}

/// The spec, created if absent.
pub fn spec_mut(pod: &mut Value) -> &mut Map<String, Value> {
    object(pod, "spec")
}

/// The metadata, created if absent.
pub fn metadata_mut(pod: &mut Value) -> &mut Map<String, Value> {
    object(pod, "metadata")
}

/// The name of a container, volume or anything else that has one; empty if it has none.
pub fn name(element: &Value) -> &str {
    text(element, "name")
}

/// The first element with a name (Go: `FindContainer`).
pub fn find<'p>(elements: &'p [Value], wanted: &str) -> Option<&'p Value> {
    elements.iter().find(|element| name(element) == wanted)
}

/// The container with a name, first among the containers, then among the init containers (Go: `FindContainerFromPod`).
pub fn find_container<'p>(pod: &'p Value, wanted: &str) -> Option<&'p Value> {
    find(containers(pod), wanted).or_else(|| find(init_containers(pod), wanted))
}

/// [`find_container`], mutably.
pub fn find_container_mut<'p>(pod: &'p mut Value, wanted: &str) -> Option<&'p mut Value> {
    let spec = pod.get_mut("spec")?.as_object_mut()?;
    let of = |list: Option<&Value>| {
        list.and_then(Value::as_array).is_some_and(|list| find(list, wanted).is_some())
    };
    let field = if of(spec.get("containers")) { "containers" } else { "initContainers" };
    spec.get_mut(field)?.as_array_mut()?.iter_mut().find(|element| name(element) == wanted)
}

/// The proxy's container, either an ordinary container or a native sidecar (Go: `FindSidecar`).
pub fn find_sidecar(pod: &Value) -> Option<&Value> {
    find_container(pod, names::CONTAINER_PROXY)
}

/// [`find_sidecar`], mutably.
pub fn find_sidecar_mut(pod: &mut Value) -> Option<&mut Value> {
    find_container_mut(pod, names::CONTAINER_PROXY)
}

/// Whether the pod was injected: it has a proxy, or the annotation of an injection.
pub fn has_proxy(pod: &Value) -> bool {
    find_sidecar(pod).is_some() || annotation(pod, names::ANNOTATION_STATUS).is_some()
}

/// Whether the pod runs, or will: it has not ended, and nobody has deleted it.
pub fn is_running(pod: &Value) -> bool {
    let phase = pod.pointer("/status/phase").and_then(Value::as_str);
    !matches!(phase, Some("Succeeded" | "Failed")) && pod.pointer("/metadata/deletionTimestamp").is_none()
}

/// The labels that are strings.
pub fn labels(pod: &Value) -> impl Iterator<Item = (&str, &str)> {
    strings(pod, "labels")
}

/// The annotations that are strings.
pub fn annotations(pod: &Value) -> impl Iterator<Item = (&str, &str)> {
    strings(pod, "annotations")
}

/// The value of a label.
pub fn label<'p>(pod: &'p Value, key: &str) -> Option<&'p str> {
    pod.get("metadata")?.get("labels")?.get(key)?.as_str()
}

/// The value of an annotation.
pub fn annotation<'p>(pod: &'p Value, key: &str) -> Option<&'p str> {
    pod.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

/// The labels, created if absent.
pub fn labels_mut(pod: &mut Value) -> &mut Map<String, Value> {
    as_object(metadata_mut(pod).entry("labels").or_insert(Value::Null))
}

/// The annotations, created if absent.
pub fn annotations_mut(pod: &mut Value) -> &mut Map<String, Value> {
    as_object(metadata_mut(pod).entry("annotations").or_insert(Value::Null))
}

/// The namespace in the pod's metadata; empty if absent.
pub fn namespace(pod: &Value) -> &str {
    pod.get("metadata").map_or("", |metadata| text(metadata, "namespace"))
}

/// The name of a pod for messages: its name, or the prefix of its future name (Go: `potentialPodName`).
pub fn potential_name(pod: &Value) -> String {
    let Some(metadata) = pod.get("metadata") else { return String::new() };
    match (text(metadata, "name"), text(metadata, "generateName")) {
        ("", "") => String::new(),
        ("", prefix) => format!("{prefix}***** (actual name not yet known)"),
        (name, _) => name.to_owned(),
    }
}

/// The workload of a pod, inferred from its owner (Go: `GetDeployMetaFromPod`).
///
/// Owners count only for pods with generated names, and among them only the controller. A ReplicaSet leads to the
/// Deployment or Rollout whose hash its name ends in, a ReplicationController to the DeploymentConfig named on the pod,
/// and a Job whose name ends in a time to its CronJob.
pub fn owner(pod: &Value) -> Workload {
    owner_by(pod, is_time)
}

/// [`owner`], with another test for whether the end of a Job's name is the time that a CronJob's controller puts there.
pub(crate) fn owner_by(pod: &Value, is_time: impl Fn(&str) -> bool) -> Workload {
    let metadata = pod.get("metadata").unwrap_or(&Value::Null);
    let pod_name = text(metadata, "name");
    let itself = Workload {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: pod_name.to_owned(),
        namespace: text(metadata, "namespace").to_owned(),
    };
    if text(metadata, "generateName").is_empty() {
        return itself;
    }
    let owners = metadata.get("ownerReferences").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let is_controller = |owner: &&Value| owner.get("controller").and_then(Value::as_bool) == Some(true);
    let Some(controller) = owners.iter().find(is_controller) else { return itself };
    let (name, kind) = (text(controller, "name"), text(controller, "kind"));
    let (name, kind, api_version) = led_to(pod, name, kind, text(controller, "apiVersion"), is_time);
    Workload {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: if name.is_empty() { pod_name } else { name }.to_owned(),
        namespace: itself.namespace,
    }
}

/// Name, kind and version of the workload behind a controller, or the controller's own.
fn led_to<'p>(
    pod: &'p Value,
    name: &'p str,
    kind: &'p str,
    api_version: &'p str,
    is_time: impl Fn(&str) -> bool,
) -> (&'p str, &'p str, &'p str) {
    let set = |key: &str| label(pod, key).filter(|value| !value.is_empty());
    // A name that ends in the hash without a dash before it is not cut, but counts.
    let cut = |key: &str| {
        let hash = set(key)?;
        let rest = name.strip_suffix(hash)?;
        Some(rest.strip_suffix('-').unwrap_or(name))
    };
    match kind {
        "ReplicaSet" => match (cut("pod-template-hash"), cut("rollouts-pod-template-hash")) {
            (Some(name), _) => (name, "Deployment", api_version),
            (None, Some(name)) => (name, "Rollout", "v1alpha1"),
            (None, None) => (name, kind, api_version),
        },
        "ReplicationController" => match set("deploymentconfig") {
            Some(name) => (name, "DeploymentConfig", api_version),
            None => (name, kind, api_version),
        },
        "Job" => match cron_job_by(name, is_time) {
            Some(name) => (name, "CronJob", "batch/v1"),
            None => (name, kind, api_version),
        },
        _ => (name, kind, api_version),
    }
}

/// The CronJob's name in that of a Job it created: the part before a dash and eight to ten digits.
pub(crate) fn cron_job(job: &str) -> Option<&str> {
    cron_job_by(job, is_time)
}

fn cron_job_by(job: &str, is_time: impl Fn(&str) -> bool) -> Option<&str> {
    let (name, time) = job.rsplit_once('-')?;
    (is_time(time) && !name.is_empty()).then_some(name)
}

/// Whether the end of a Job's name is a time: eight to ten digits.
pub(crate) fn is_time(end: &str) -> bool {
    (8..=10).contains(&end.len()) && end.bytes().all(|digit| digit.is_ascii_digit())
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn strings<'p>(pod: &'p Value, field: &str) -> impl Iterator<Item = (&'p str, &'p str)> {
    let map = pod.get("metadata").and_then(|metadata| metadata.get(field)).and_then(Value::as_object);
    map.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

fn object<'p>(pod: &'p mut Value, field: &str) -> &'p mut Map<String, Value> {
    as_object(as_object(pod).entry(field).or_insert(Value::Null))
}

/// The value as an object; anything else is replaced by an empty one.
#[allow(clippy::unreachable, reason = "the line before makes the value an object")]
fn as_object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(object) => object,
        _ => unreachable!("the value was made an object"),
    }
}

/// The value as a list; anything else is replaced by an empty one.
#[allow(clippy::unreachable, reason = "the line before makes the value a list")]
fn as_list(value: &mut Value) -> &mut Vec<Value> {
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    match value {
        Value::Array(list) => list,
        _ => unreachable!("the value was made a list"),
    }
}

#[cfg(test)]
mod tests;
