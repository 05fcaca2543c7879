//! Workloads whose running pods have no proxy although new ones would get one, and whether they may be restarted now.
//!
//! Pure: the caller lists the objects, says what happens to a new pod, and restarts. Pods are counted one by one, so that
//! not all of a cluster's pods have to be in memory; what is decided about a workload's pods is decided once.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};

use crate::{
    cel::{User, Variables},
    config::{Namespace, Selector},
    effects::Effect,
    inject::PodRequest,
    names, pod,
    webhook_config::{
        self,
        selection::{self, Creation, Selected},
    },
    workload::{Workload, controller, identity},
};

mod disruption;
#[cfg(test)]
mod tests;

/// The kinds that are restarted, in the order in which they are listed.
pub const RESTARTED_KINDS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];
/// How many pods of a workload are named.
const MOST_NAMES: usize = 3;
/// How long a restart that gave pods no proxy keeps outrigger from restarting, in seconds: something between the API server and
/// the webhook is broken, and people have to look at it.
pub const INEFFECTIVE_FOR: i64 = 24 * 3600;

/// What is known about the cluster before its pods are counted.
pub struct Selecting<'a> {
    /// All MutatingWebhookConfigurations.
    pub webhooks: &'a [Value],
    /// The revision of this injector: only its webhooks count.
    pub revision: &'a str,
    /// All namespaces.
    pub namespaces: &'a BTreeMap<String, Namespace>,
    /// What happens to a new pod that API servers send to the injector; `None` if there is no configuration.
    pub effect: &'a dyn Fn(&PodRequest, &Namespace) -> Option<Effect>,
}

/// The pods of a cluster, counted by the object that controls them.
#[derive(Debug, Default)]
pub struct PodCounts(BTreeMap<Workload, Count>);

/// The running pods of one controller, or a pod without one.
#[derive(Debug, Default)]
struct Count {
    /// Those with a proxy, and those that are not to have one.
    others: usize,
    without: usize,
    /// The first few pods without a proxy.
    names: Vec<String>,
    /// What would happen to a new pod; evaluated for the first one without a proxy.
    fate: Option<Fate>,
    /// The newest of our restarts that pods without a proxy were created after.
    restarted: Option<String>,
}

/// What would happen to a new pod.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Injected,
    LeftAlone,
    Denied(String),
}

impl PodCounts {
    /// Whether pods of this controller were counted.
    pub fn contains(&self, controller: &Workload) -> bool {
        self.0.contains_key(controller)
    }

    /// Counts a pod.
    pub fn add(&mut self, object: &Value, selecting: &Selecting<'_>) {
        if !pod::is_running(object) {
            return;
        }
        let of = controller(object).unwrap_or_else(|| {
            ("Pod".to_owned(), pod::namespace(object).to_owned(), text(object, "/metadata/name").to_owned())
        });
        let count = self.0.entry(of).or_default();
        if pod::has_proxy(object) {
            count.others += 1;
            return;
        }
        count.without += 1;
        if count.names.len() < MOST_NAMES {
            count.names.push(text(object, "/metadata/name").to_owned());
        }
        if count.fate.is_none() {
            count.fate = Some(selecting.fate(object));
        }
        let restarted = pod::annotation(object, names::ANNOTATION_RESTARTED_AT).map(str::to_owned);
        // Times in UTC sort as texts.
        count.restarted = restarted.max(count.restarted.take());
    }
}

impl Selecting<'_> {
    fn fate(&self, object: &Value) -> Fate {
        let namespace = self.namespaces.get(pod::namespace(object));
        let unknown = Namespace { name: pod::namespace(object).to_owned(), ..Namespace::default() };
        let namespace = namespace.unwrap_or(&unknown);
        let new = created_again(object);
        if !self.is_selected(&new, namespace) {
            return Fate::LeftAlone;
        }
        let user = controller(object).and_then(|(kind, ..)| creator(&kind));
        let request = PodRequest { user, ..PodRequest::new(namespace.name.clone(), new) };
        match (self.effect)(&request, namespace) {
            Some(Effect::Injected) => Fate::Injected,
            Some(Effect::Denied(_, message)) => Fate::Denied(message),
            Some(Effect::Skipped(_)) | None => Fate::LeftAlone,
        }
    }

    fn is_selected(&self, new: &Value, namespace: &Namespace) -> bool {
        let creation =
            Creation { namespace: &namespace.name, namespace_labels: Some(&namespace.labels), pod: new };
        let variables = std::cell::LazyCell::new(|| Variables::of(new, &namespace.name, None, None));
        let condition = |expression: &str| variables.evaluate(expression);
        let is_own =
            |webhooks: &&Value| webhook_config::revision_of(webhooks).is_some_and(|of| of == self.revision);
        self.webhooks
            .iter()
            .filter(is_own)
            .flat_map(webhook_config::entries)
            .any(|(_, entry)| selection::webhook(entry, creation, &condition) == Selected::Yes)
    }
}

/// The pod as its controller would create it: without what the cluster adds to a running one.
fn created_again(running: &Value) -> Value {
    let mut new = running.clone();
    if let Some(fields) = new.as_object_mut() {
        fields.remove("status");
    }
    pod::spec_mut(&mut new).remove("nodeName");
    let metadata = pod::metadata_mut(&mut new);
    for key in ["uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"] {
        metadata.remove(key);
    }
    new
}

/// Who creates the pods of a controller: its ServiceAccount (`kube-controller-manager --use-service-account-credentials`).
fn creator(kind: &str) -> Option<User> {
    let account = match kind {
        "ReplicaSet" => "replicaset-controller",
        "StatefulSet" => "statefulset-controller",
        "DaemonSet" => "daemon-set-controller",
        "Job" => "job-controller",
        "ReplicationController" => "replication-controller",
        _ => return None,
    };
    let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"];
    Some(User {
        name: format!("system:serviceaccount:kube-system:{account}"),
        groups: groups.map(str::to_owned).to_vec(),
    })
}

/// The objects around the pods.
#[derive(Clone, Copy, Debug)]
pub struct Objects<'a> {
    /// All namespaces, with their annotations.
    pub namespaces: &'a BTreeMap<String, Namespace>,
    /// Deployments, StatefulSets and DaemonSets, each with its `kind`.
    pub workloads: &'a [Value],
    /// The controllers of ReplicaSets, and of other objects between a pod and its workload.
    pub controllers: &'a BTreeMap<Workload, Workload>,
    /// All PodDisruptionBudgets.
    pub budgets: &'a [Value],
    /// Now, in seconds since 1970.
    pub now: i64,
    /// Reads a time as [`restart_patch`] was given it, in seconds since 1970.
    pub seconds: fn(&str) -> Option<i64>,
}

/// A workload with running pods that have no proxy although new ones would get one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BareWorkload {
    /// Kind, namespace and name.
    pub workload: Workload,
    /// The API's version of its kind, its UID and its version; empty if it was not read.
    pub identity: ObjectIdentity,
    /// How many running pods have no proxy.
    pub bare: usize,
    /// How many pods are running.
    pub running: usize,
    /// The names of a few pods without a proxy.
    pub pods: Vec<String>,
    /// Whether it may be restarted.
    pub state: RestartState,
}

/// What a request about an object names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectIdentity {
    /// `apps/v1`, …
    pub api_version: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
}

/// Whether a workload may be restarted so that its pods get a proxy. The texts are for people and continue a sentence
/// that begins with the workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestartState {
    /// It may be restarted now.
    Restartable,
    /// outrigger has restarted it, and its pods are being replaced.
    Restarting,
    /// It may be restarted later, without anybody doing something.
    Waiting(String),
    /// outrigger does not restart it.
    Excluded(String),
    /// outrigger has restarted it, and its new pods have no proxy either.
    Ineffective(String),
}

impl RestartState {
    /// Every key.
    pub const KEYS: [&str; 5] = ["restartable", "restarting", "waiting", "excluded", "ineffective"];

    /// A key for metrics.
    pub fn key(&self) -> &'static str {
        let [restartable, restarting, waiting, excluded, ineffective] = RestartState::KEYS;
        match self {
            RestartState::Restartable => restartable,
            RestartState::Restarting => restarting,
            RestartState::Waiting(_) => waiting,
            RestartState::Excluded(_) => excluded,
            RestartState::Ineffective(_) => ineffective,
        }
    }
}

impl fmt::Display for BareWorkload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, namespace, name) = &self.workload;
        write!(f, "{kind} {namespace}/{name}")
    }
}

/// What was found in a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assessment {
    /// By kind, namespace and name.
    pub bare: Vec<BareWorkload>,
    /// How many workloads are being restarted, including those without a pod that lacks its proxy.
    pub restarting: usize,
}

/// Which workloads are to be restarted next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// These.
    Restart(Vec<&'a BareWorkload>),
    /// None, because the last restart did not help.
    Halted(&'a BareWorkload),
}

impl Assessment {
    /// The workloads to restart next, if at most `parallel` may be in progress.
    pub fn next(&self, parallel: usize) -> Next<'_> {
        let ineffective = |found: &&BareWorkload| matches!(found.state, RestartState::Ineffective(_));
        if let Some(failed) = self.bare.iter().find(ineffective) {
            return Next::Halted(failed);
        }
        let ready = self.bare.iter().filter(|found| found.state == RestartState::Restartable);
        Next::Restart(ready.take(parallel.saturating_sub(self.restarting)).collect())
    }
}

/// Assesses every workload that has pods without a proxy which would get one today.
pub fn assess(counts: &PodCounts, objects: Objects<'_>) -> Assessment {
    let by_identity: BTreeMap<Workload, &Value> =
        objects.workloads.iter().map(|object| (identity(object), object)).collect();
    let mut totals: BTreeMap<Workload, Count> = BTreeMap::new();
    for (controller, count) in &counts.0 {
        let total = totals.entry(top(controller, objects.controllers)).or_default();
        total.others += count.others;
        match &count.fate {
            None | Some(Fate::LeftAlone) => total.others += count.without,
            Some(fate) => {
                total.without += count.without;
                let room = MOST_NAMES.saturating_sub(total.names.len());
                total.names.extend(count.names.iter().take(room).cloned());
                total.restarted = total.restarted.take().max(count.restarted.clone());
                // A denial is what people have to know.
                if !matches!(total.fate, Some(Fate::Denied(_))) {
                    total.fate = Some(fate.clone());
                }
            }
        }
    }
    let bare = totals.into_iter().filter(|(_, count)| count.without > 0).map(|(workload, count)| {
        let object = by_identity.get(&workload).copied();
        let state = state(&workload, &count, object, objects);
        let identity = object.map(object_identity).unwrap_or_default();
        BareWorkload {
            workload,
            identity,
            bare: count.without,
            running: count.without + count.others,
            pods: count.names,
            state,
        }
    });
    let is_restarting = |object: &&Value| restarted_at(object).is_some() && incomplete(object).is_some();
    Assessment { bare: bare.collect(), restarting: objects.workloads.iter().filter(is_restarting).count() }
}

fn state(workload: &Workload, count: &Count, object: Option<&Value>, objects: Objects<'_>) -> RestartState {
    let (kind, namespace, _) = workload;
    if let Some(Fate::Denied(message)) = &count.fate {
        return RestartState::Excluded(format!("new pods would be denied: {message}"));
    }
    if !RESTARTED_KINDS.contains(&kind.as_str()) {
        let kinds = RESTARTED_KINDS.join("s, ");
        return RestartState::Excluded(format!("outrigger restarts {kinds}s only"));
    }
    let Some(object) = object else {
        return RestartState::Waiting("it was created or deleted while objects were being read".to_owned());
    };
    if let Some(reason) = excluded(object, objects.namespaces.get(namespace)) {
        return RestartState::Excluded(reason);
    }
    if let Some(at) = restarted_at(object) {
        let is_recent = (objects.seconds)(at).is_none_or(|at| objects.now - at < INEFFECTIVE_FOR);
        if is_recent && count.restarted.as_deref() == Some(at) {
            return RestartState::Ineffective(format!(
                "outrigger restarted it at {at}, and its new pods have no proxy either"
            ));
        }
        if incomplete(object).is_some() {
            return RestartState::Restarting;
        }
    }
    if let Some(reason) = incomplete(object) {
        return RestartState::Waiting(reason);
    }
    match disruption::forbidden(object, objects.budgets) {
        Some(reason) => RestartState::Waiting(reason),
        None => RestartState::Restartable,
    }
}

/// Why outrigger never restarts a workload.
fn excluded(object: &Value, namespace: Option<&Namespace>) -> Option<String> {
    if let Some((kind, _, name)) = controller(object) {
        return Some(format!("{kind} {name} manages it and may revert the restart"));
    }
    let opted_out = |annotations: &Map<String, Value>| {
        annotations.get(names::ANNOTATION_RESTART).and_then(Value::as_str) == Some("false")
    };
    let own = object.pointer("/metadata/annotations").and_then(Value::as_object);
    if own.is_some_and(opted_out) {
        return Some(format!("it has the annotation {}=false", names::ANNOTATION_RESTART));
    }
    if namespace.is_some_and(|namespace| opted_out(&namespace.annotations)) {
        return Some(format!("its namespace has the annotation {}=false", names::ANNOTATION_RESTART));
    }
    if object.pointer("/spec/paused") == Some(&Value::Bool(true)) {
        return Some("it is paused".to_owned());
    }
    if text(object, "/spec/updateStrategy/type") == "OnDelete" {
        return Some(
            "its updateStrategy is OnDelete: its pods are replaced only when they are deleted".to_owned(),
        );
    }
    let partition = number(object, "/spec/updateStrategy/rollingUpdate/partition").unwrap_or(0);
    (partition > 0)
        .then(|| format!("its updateStrategy keeps the pods below ordinal {partition} as they are"))
}

/// Why the rollout of a workload is not complete, if it is not (kubectl's `StatusViewer`, and all pods available).
fn incomplete(object: &Value) -> Option<String> {
    let of = |pointer: &str| number(object, pointer).unwrap_or(0);
    if of("/status/observedGeneration") < of("/metadata/generation") {
        return Some("its controller has not seen its last change yet".to_owned());
    }
    let (wanted, updated, available, all) = if text(object, "/kind") == "DaemonSet" {
        (
            of("/status/desiredNumberScheduled"),
            of("/status/updatedNumberScheduled"),
            of("/status/numberAvailable"),
            of("/status/currentNumberScheduled"),
        )
    } else {
        let wanted = number(object, "/spec/replicas").unwrap_or(1);
        // `updatedReplicas` of a StatefulSet is no longer counted once a rollout has ended.
        let revision = |which: &str| text(object, which);
        let is_settled = text(object, "/kind") == "StatefulSet"
            && revision("/status/currentRevision") == revision("/status/updateRevision");
        let updated = if is_settled { of("/status/replicas") } else { of("/status/updatedReplicas") };
        (wanted, updated, of("/status/availableReplicas"), of("/status/replicas"))
    };
    if updated < wanted || all > wanted {
        return Some(format!("its last rollout is not complete: {updated} of {wanted} pods updated"));
    }
    (available < wanted).then(|| format!("{available} of {wanted} pods are available"))
}

/// The change that restarts a workload, as a JSON merge patch: the pod template gets the time, in RFC 3339 and UTC, as an annotation,
/// so that its controller replaces the pods as its strategy says. It fails if the object has changed meanwhile.
pub fn restart_patch(found: &BareWorkload, at: &str) -> Value {
    json!({
        "metadata": {"uid": found.identity.uid, "resourceVersion": found.identity.resource_version},
        "spec": {"template": {"metadata": {"annotations": {names::ANNOTATION_RESTARTED_AT: at}}}},
    })
}

/// When outrigger restarted a workload for the last time.
fn restarted_at(object: &Value) -> Option<&str> {
    object
        .pointer("/spec/template/metadata/annotations")
        .and_then(|annotations| annotations.get(names::ANNOTATION_RESTARTED_AT))
        .and_then(Value::as_str)
}

/// The workload at the end of a chain of controllers.
fn top(controller: &Workload, controllers: &BTreeMap<Workload, Workload>) -> Workload {
    const MOST_LEVELS: usize = 8;
    let mut top = controller;
    for _ in 0..MOST_LEVELS {
        match controllers.get(top) {
            Some(above) => top = above,
            None => break,
        }
    }
    top.clone()
}

fn object_identity(object: &Value) -> ObjectIdentity {
    let of = |pointer: &str| text(object, pointer).to_owned();
    ObjectIdentity {
        api_version: of("/apiVersion"),
        uid: of("/metadata/uid"),
        resource_version: of("/metadata/resourceVersion"),
    }
}

/// Whether a selector of an object selects these labels; one that cannot be read does.
fn selects(selector: Option<&Value>, labels: &Map<String, Value>) -> bool {
    match selector {
        None | Some(Value::Null) => false,
        Some(value) => Selector::from_value(value).is_none_or(|selector| selector.matches(labels)),
    }
}

fn number(object: &Value, pointer: &str) -> Option<u64> {
    object.pointer(pointer).and_then(Value::as_u64)
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
