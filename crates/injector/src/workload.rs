//! Workloads of a cluster: which of their running pods have a proxy, and why an API server refuses to create others.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::pod;

/// A workload: kind, namespace and name.
pub type Workload = (String, String, String);

/// The pods of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadPods {
    /// The names of the running pods with a proxy.
    pub injected: Vec<String>,
    /// The names of the running pods without one.
    pub bare: Vec<String>,
    /// How many pods the workload asks for; `None` for Jobs, and for other kinds without such a number.
    pub wanted: Option<u64>,
    /// The API server's message if it refused to create the next pod.
    pub refusal: Option<String>,
}

impl WorkloadPods {
    /// How many pods are running.
    pub fn total(&self) -> usize {
        self.injected.len() + self.bare.len()
    }
}

/// The maximum number of controllers followed from a pod upwards: a CronJob's Job, a Deployment's ReplicaSet, and some
/// in reserve.
const MOST_LEVELS: usize = 8;

/// The pods of each workload among objects of a cluster: of every controller that the objects name, or of the pod itself.
/// `events` are the objects' Events with reason `FailedCreate`.
pub fn workload_pods(objects: &[Value], events: &[Value]) -> BTreeMap<Workload, WorkloadPods> {
    let owners = Owners::of(objects.iter());
    let mut found: BTreeMap<Workload, WorkloadPods> = BTreeMap::new();
    for object in objects {
        if text(object, "/kind") == "Pod" {
            // A controlled pod counts for its controllers alone.
            let chain = owners.chain(object);
            let workloads = if chain.len() > 1 { chain.get(1..).unwrap_or_default() } else { &chain };
            for workload in workloads.iter().filter(|_| pod::is_running(object)) {
                let pods = found.entry(workload.clone()).or_default();
                let of_its_kind = if pod::has_proxy(object) { &mut pods.injected } else { &mut pods.bare };
                of_its_kind.push(text(object, "/metadata/name").to_owned());
            }
        } else if let Some(wanted) = wanted(object) {
            found.entry(identity(object)).or_default().wanted = Some(wanted);
        }
    }
    let owners = &owners;
    for (object, message) in refused(&objects.iter().collect::<Vec<_>>(), events) {
        for workload in owners.chain(object) {
            found.entry(workload).or_default().refusal = Some(message.clone());
        }
    }
    found
}

/// The topmost workloads of which an API server refuses to create a pod, each with the API server's message.
///
/// ReplicaSets and ReplicationControllers report a refusal in the condition `ReplicaFailure`, which they remove after a pass
/// without an error; its message is that of the first error, so a later Event wins. StatefulSets, DaemonSets and Jobs only write an
/// Event (`FailedCreate`): it counts as long as pods are missing.
pub fn refusals<'o>(
    objects: impl IntoIterator<Item = &'o Value>,
    events: &[Value],
) -> BTreeMap<Workload, String> {
    let objects: Vec<&Value> = objects.into_iter().collect();
    let owners = Owners::of(objects.iter().copied());
    let refused = refused(&objects, events).into_iter();
    refused.filter_map(|(object, message)| Some((owners.chain(object).pop()?, message))).collect()
}

/// The objects of which an API server refuses to create a pod, the oldest first.
fn refused<'o>(objects: &[&'o Value], events: &[Value]) -> Vec<(&'o Value, String)> {
    let mut newest: BTreeMap<Workload, &Value> = BTreeMap::new();
    for event in events.iter().filter(|event| text(event, "/reason") == FAILED_CREATE) {
        let of = |pointer: &str| text(event, pointer).to_owned();
        // StatefulSets also write it about their PersistentVolumeClaims.
        if of("/message").to_ascii_lowercase().starts_with("create claim ") {
            continue;
        }
        let about = (of("/involvedObject/kind"), of("/involvedObject/namespace"), of("/involvedObject/name"));
        let latest = newest.entry(about).or_insert(event);
        if time(event) > time(latest) {
            *latest = event;
        }
    }
    let exists = |namespace: &str, name: &str| {
        objects.iter().any(|object| {
            text(object, "/kind") == "Pod"
                && text(object, "/metadata/namespace") == namespace
                && text(object, "/metadata/name") == name
        })
    };
    // An Event may be about an earlier object of the same name.
    let event_of = |object: &Value| {
        let (event, uid) = (newest.get(&identity(object)).copied()?, text(object, "/metadata/uid"));
        let about = text(event, "/involvedObject/uid");
        (uid.is_empty() || about.is_empty() || about == uid).then_some(event)
    };
    let refusal = |object: &Value| -> Option<String> {
        let message = match text(object, "/kind") {
            "ReplicaSet" | "ReplicationController" => {
                let (message, since) = replica_failure(object)?;
                let later = event_of(object).filter(|event| time(event) > since);
                later.map_or(message, |event| text(event, "/message"))
            }
            "StatefulSet" | "DaemonSet" | "Job" if lacks_pods(object) => {
                let message = text(event_of(object)?, "/message");
                // A StatefulSet names the pod; the next one may only be waiting for it.
                let pod = of_stateful_set(message).map(|(pod, _)| pod);
                if pod.is_some_and(|pod| exists(text(object, "/metadata/namespace"), pod)) {
                    return None;
                }
                message
            }
            _ => return None,
        };
        Some(shortened(message))
    };
    let mut refused: Vec<(&Value, String)> =
        objects.iter().filter_map(|object| Some((*object, refusal(object)?))).collect();
    refused.sort_by_key(|(object, _)| text(object, "/metadata/creationTimestamp"));
    refused
}

/// The reason of the Events that controllers write if a pod cannot be created (`FailedCreatePodReason`).
pub const FAILED_CREATE: &str = "FailedCreate";

/// The controllers of objects.
struct Owners(BTreeMap<Workload, Workload>);

impl Owners {
    fn of<'o>(objects: impl Iterator<Item = &'o Value>) -> Owners {
        Owners(objects.filter_map(|object| Some((identity(object), controller(object)?))).collect())
    }

    /// An object and its controllers, as far as the objects name them, the topmost last.
    fn chain(&self, object: &Value) -> Vec<Workload> {
        let mut chain = vec![identity(object)];
        while let Some(owner) = chain.last().and_then(|last| self.0.get(last)) {
            // A circle, or deeper than anything that exists.
            if chain.contains(owner) || chain.len() > MOST_LEVELS {
                break;
            }
            chain.push(owner.clone());
        }
        chain
    }
}

/// How many pods a workload asks for.
fn wanted(object: &Value) -> Option<u64> {
    match text(object, "/kind") {
        "Deployment" | "StatefulSet" | "ReplicaSet" | "ReplicationController" => {
            Some(number(object, "/spec/replicas").unwrap_or(1))
        }
        "DaemonSet" => number(object, "/status/desiredNumberScheduled"),
        _ => None,
    }
}

/// The message of the condition `ReplicaFailure` about a creation, and since when it is true.
fn replica_failure(object: &Value) -> Option<(&str, &str)> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array)?;
    let failing = conditions.iter().find(|condition| {
        text(condition, "/type") == "ReplicaFailure"
            && text(condition, "/status") == "True"
            && text(condition, "/reason") == FAILED_CREATE
    })?;
    Some((text(failing, "/message"), text(failing, "/lastTransitionTime")))
}

/// Whether a controller has fewer pods than it asks for. For a Job: none at all, finished ones included.
fn lacks_pods(object: &Value) -> bool {
    let number = |pointer: &str| number(object, pointer).unwrap_or(0);
    match text(object, "/kind") {
        "StatefulSet" => wanted(object).unwrap_or(0) > number("/status/replicas"),
        "DaemonSet" => number("/status/desiredNumberScheduled") > number("/status/currentNumberScheduled"),
        "Job" => {
            let counts = ["/status/active", "/status/succeeded", "/status/failed"];
            let is_suspended = object.pointer("/spec/suspend") == Some(&Value::Bool(true));
            let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
            let has_ended = conditions.into_iter().flatten().any(|condition| {
                matches!(text(condition, "/type"), "Complete" | "Failed")
                    && text(condition, "/status") == "True"
            });
            !is_suspended && !has_ended && counts.iter().all(|pointer| number(pointer) == 0)
        }
        _ => false,
    }
}

/// The message in one line, without the controller's words before it.
fn shortened(message: &str) -> String {
    let message = message.strip_prefix("Error creating: ").unwrap_or(message);
    let message = of_stateful_set(message).map_or(message, |(_, rest)| rest);
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The pod and the error of a StatefulSet's message (`recordPodEvent`; Kubernetes 1.37 begins it with a capital letter).
fn of_stateful_set(message: &str) -> Option<(&str, &str)> {
    let rest = message.strip_prefix("create Pod ").or_else(|| message.strip_prefix("Create Pod "))?;
    let (before, error) = rest.split_once(" failed error: ")?;
    Some((before.split(' ').next()?, error))
}

/// When an Event was last seen, in RFC 3339, whose texts sort by time within a second.
fn time(event: &Value) -> &str {
    let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    times.iter().map(|pointer| text(event, pointer)).find(|time| !time.is_empty()).unwrap_or_default()
}

fn number(object: &Value, pointer: &str) -> Option<u64> {
    object.pointer(pointer).and_then(Value::as_u64)
}

/// Kind, namespace and name of an object.
pub fn identity(object: &Value) -> Workload {
    let of = |pointer: &str| text(object, pointer).to_owned();
    (of("/kind"), of("/metadata/namespace"), of("/metadata/name"))
}

/// The controller that an object names.
pub fn controller(object: &Value) -> Option<Workload> {
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
    fn pods_count_for_every_controller_that_is_known() {
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
        let found: Vec<(String, String, WorkloadPods)> = workload_pods(&objects, &[])
            .into_iter()
            .map(|((kind, _, name), pods)| (kind, name, pods))
            .collect();
        let expected = |kind: &str, name: &str, injected: &[&str], bare: &[&str]| {
            let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            (
                kind.to_owned(),
                name.to_owned(),
                WorkloadPods { injected: names(injected), bare: names(bare), wanted: None, refusal: None },
            )
        };
        assert_eq!(
            found,
            [
                {
                    let (kind, name, pods) = expected("Deployment", "web", &["web-1-a"], &["web-1-b"]);
                    (kind, name, WorkloadPods { wanted: Some(1), ..pods })
                },
                expected("Pod", "alone", &[], &["alone"]),
                {
                    let (kind, name, pods) = expected("ReplicaSet", "canary-1", &["canary-1-a"], &[]);
                    (kind, name, WorkloadPods { wanted: Some(1), ..pods })
                },
                {
                    let (kind, name, pods) = expected("ReplicaSet", "web-1", &["web-1-a"], &["web-1-b"]);
                    (kind, name, WorkloadPods { wanted: Some(1), ..pods })
                },
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
        let counted: Vec<usize> = workload_pods(&objects, &[]).values().map(WorkloadPods::total).collect();
        assert_eq!(counted, [1, 1]);
    }

    fn event(kind: &str, name: &str, message: &str, at: &str) -> Value {
        json!({
            "kind": "Event", "reason": "FailedCreate", "message": message, "lastTimestamp": at,
            "involvedObject": {"kind": kind, "namespace": "shop", "name": name},
        })
    }

    fn with(mut object: Value, spec: Value, status: Value) -> Value {
        object["spec"] = spec;
        object["status"] = status;
        object
    }

    #[test]
    fn a_replica_set_reports_a_refusal_in_its_condition() {
        let failing = |status: &str| {
            let condition = json!({"type": "ReplicaFailure", "status": status, "reason": "FailedCreate", "lastTransitionTime": "2026-01-01T00:00:00Z",
                "message": "pods \"a\" is forbidden:\n no"});
            with(
                object("ReplicaSet", "web-1", Some(("Deployment", "web"))),
                json!({}),
                json!({"conditions": [condition]}),
            )
        };
        let web = ("Deployment".to_owned(), "shop".to_owned(), "web".to_owned());
        let found = refusals(&[failing("True")], &[]);
        assert_eq!(found, [(web.clone(), "pods \"a\" is forbidden: no".to_owned())].into());
        // The condition keeps the message of the first failure.
        let later = |at| [event("ReplicaSet", "web-1", "Error creating: exceeded quota", at)];
        assert_eq!(
            refusals(&[failing("True")], &later("2026-01-01T00:01:00Z")),
            [(web.clone(), "exceeded quota".to_owned())].into()
        );
        assert_eq!(refusals(&[failing("True")], &later("2025-12-31T00:00:00Z")), found);
        let mut deleting = failing("True");
        deleting["status"]["conditions"][0]["reason"] = json!("FailedDelete");
        assert_eq!(refusals(&[deleting], &[]), BTreeMap::new());
        let of_replica_set = ("ReplicaSet".to_owned(), "shop".to_owned(), "web-1".to_owned());
        let pods = workload_pods(&[failing("True")], &[]);
        assert!(pods[&web].refusal.is_some() && pods[&of_replica_set].refusal.is_some());
        assert_eq!(refusals(&[failing("False")], &[]), BTreeMap::new());
    }

    #[test]
    fn other_controllers_report_it_in_events_which_count_while_pods_are_missing() {
        let events = [
            event(
                "DaemonSet",
                "agent",
                "Error creating: pods \"agent-\" is forbidden: old",
                "2026-01-01T00:00:00Z",
            ),
            event(
                "DaemonSet",
                "agent",
                "Error creating: pods \"agent-\" is forbidden: new",
                "2026-01-01T00:00:01Z",
            ),
            event(
                "StatefulSet",
                "db",
                "Create Pod db-0 in StatefulSet db failed error: no",
                "2026-01-01T00:00:00Z",
            ),
            event("Job", "nightly-1", "Error creating: denied", "2026-01-01T00:00:00Z"),
        ];
        let scheduled =
            |current: u64| json!({"desiredNumberScheduled": 2, "currentNumberScheduled": current});
        let agent = |current| with(object("DaemonSet", "agent", None), json!({}), scheduled(current));
        let db = |replicas: u64| {
            with(object("StatefulSet", "db", None), json!({"replicas": 2}), json!({"replicas": replicas}))
        };
        let job = |spec: Value, status: Value| {
            with(object("Job", "nightly-1", Some(("CronJob", "nightly"))), spec, status)
        };
        let messages = |objects: &[Value]| -> Vec<(String, String)> {
            refusals(objects, &events).into_iter().map(|((kind, ..), message)| (kind, message)).collect()
        };
        let one = |kind: &str, message: &str| vec![(kind.to_owned(), message.to_owned())];
        assert_eq!(messages(&[agent(1)]), one("DaemonSet", "pods \"agent-\" is forbidden: new"));
        assert_eq!(messages(&[agent(2)]), []);
        assert_eq!(messages(&[db(0)]), one("StatefulSet", "no"));
        assert_eq!(messages(&[db(2)]), []);
        // The pod exists by now, and the next one waits for it.
        assert_eq!(messages(&[db(1), pod("db-0", Some(("StatefulSet", "db")), true, "Pending")]), []);
        assert_eq!(messages(&[job(json!({}), json!({}))]), one("CronJob", "denied"));
        assert_eq!(messages(&[job(json!({"suspend": true}), json!({}))]), []);
        assert_eq!(messages(&[job(json!({}), json!({"failed": 1}))]), []);
        let failed =
            json!({"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]});
        assert_eq!(messages(&[job(json!({}), failed)]), []);
        let claim = [event(
            "StatefulSet",
            "db",
            "create Claim data-db-0 for Pod db-0 in StatefulSet db failed error: no",
            "2026-01-01T00:00:00Z",
        )];
        assert_eq!(refusals(&[db(0)], &claim), BTreeMap::new());
        let mut earlier = events[2].clone();
        earlier["involvedObject"]["uid"] = json!("1");
        let mut again = db(0);
        again["metadata"]["uid"] = json!("2");
        assert_eq!(refusals(&[again], &[earlier]), BTreeMap::new());
        let pods = workload_pods(&[agent(1)], &events).remove(&identity(&agent(1))).unwrap();
        assert_eq!((pods.total(), pods.wanted, pods.refusal.is_some()), (0, Some(2), true));
    }
}
