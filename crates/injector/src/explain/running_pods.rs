//! The running pods of workloads, and which of them have a proxy.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::pod;

/// A workload: kind, namespace and name.
pub type Workload = (String, String, String);

/// The running pods of a workload, by whether they have a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunningPods {
    /// The names of those with a proxy.
    pub injected: Vec<String>,
    /// The names of those without one.
    pub bare: Vec<String>,
}

impl RunningPods {
    /// How many there are.
    pub fn total(&self) -> usize {
        self.injected.len() + self.bare.len()
    }
}

/// The maximum number of controllers followed from a pod upwards: a CronJob's Job, a Deployment's ReplicaSet, and some
/// in reserve.
const MOST_LEVELS: usize = 8;

/// The running pods among objects of a cluster, by workload: the topmost controller that the objects name, or the pod
/// itself.
pub fn running_pods(objects: &[Value]) -> BTreeMap<Workload, RunningPods> {
    let owners: BTreeMap<Workload, Workload> =
        objects.iter().filter_map(|object| Some((identity(object), controller(object)?))).collect();
    let mut found: BTreeMap<Workload, RunningPods> = BTreeMap::new();
    for object in objects.iter().filter(|object| text(object, "/kind") == "Pod" && pod::is_running(object)) {
        let mut workload = identity(object);
        for _ in 0..MOST_LEVELS {
            let Some(owner) = owners.get(&workload) else { break };
            workload = owner.clone();
        }
        let pods = found.entry(workload).or_default();
        let of_its_kind = if pod::has_proxy(object) { &mut pods.injected } else { &mut pods.bare };
        of_its_kind.push(text(object, "/metadata/name").to_owned());
    }
    found
}

fn identity(object: &Value) -> Workload {
    let of = |pointer: &str| text(object, pointer).to_owned();
    (of("/kind"), of("/metadata/namespace"), of("/metadata/name"))
}

fn controller(object: &Value) -> Option<Workload> {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array)?;
    let controls = |owner: &&Value| owner.get("controller").and_then(Value::as_bool) == Some(true);
    let owner = owners.iter().find(controls)?;
    let namespace = text(object, "/metadata/namespace");
    Some((text(owner, "/kind").to_owned(), namespace.to_owned(), text(owner, "/name").to_owned()))
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: &str, name: &str, owner: Option<(&str, &str)>) -> Value {
        let owners: Vec<Value> = owner
            .iter()
            .map(|(kind, name)| json!({"kind": kind, "name": name, "controller": true}))
            .collect();
        json!({"kind": kind, "metadata": {"name": name, "namespace": "shop", "ownerReferences": owners}})
    }

    fn pod(name: &str, owner: Option<(&str, &str)>, proxy: bool, phase: &str) -> Value {
        let mut pod = object("Pod", name, owner);
        let containers = if proxy { json!([{"name": "istio-proxy"}]) } else { json!([{"name": "main"}]) };
        pod["spec"] = json!({"containers": containers});
        pod["status"] = json!({"phase": phase});
        pod
    }

    #[test]
    fn pods_count_for_the_topmost_controller_that_is_known() {
        let mut deleted = pod("leaving", Some(("ReplicaSet", "web-1")), false, "Running");
        deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let objects = [
            object("Deployment", "web", None),
            object("ReplicaSet", "web-1", Some(("Deployment", "web"))),
            object("ReplicaSet", "canary-1", Some(("Rollout", "canary"))),
            pod("web-1-a", Some(("ReplicaSet", "web-1")), true, "Running"),
            pod("web-1-b", Some(("ReplicaSet", "web-1")), false, "Pending"),
            deleted,
            pod("done", Some(("Job", "gone")), false, "Succeeded"),
            pod("canary-1-a", Some(("ReplicaSet", "canary-1")), true, "Running"),
            pod("alone", None, false, "Running"),
        ];
        let found: Vec<(String, String, RunningPods)> =
            running_pods(&objects).into_iter().map(|((kind, _, name), pods)| (kind, name, pods)).collect();
        let expected = |kind: &str, name: &str, injected: &[&str], bare: &[&str]| {
            let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            (kind.to_owned(), name.to_owned(), RunningPods { injected: names(injected), bare: names(bare) })
        };
        assert_eq!(
            found,
            [
                expected("Deployment", "web", &["web-1-a"], &["web-1-b"]),
                expected("Pod", "alone", &[], &["alone"]),
                expected("Rollout", "canary", &["canary-1-a"], &[]),
            ]
        );
    }

    #[test]
    fn controllers_in_a_circle_are_left_after_some_steps() {
        let objects = [
            object("A", "a", Some(("B", "b"))),
            object("B", "b", Some(("A", "a"))),
            pod("p", Some(("A", "a")), false, "Running"),
        ];
        assert_eq!(running_pods(&objects).len(), 1);
    }
}
