//! Events on workloads: denials and warnings about pods that a controller creates, written where people look
//! (`kubectl describe deployment`), because the controller shows warnings to nobody.
//!
//! Requests only hand over what happened and never wait. A task resolves the workload (the Deployment of a ReplicaSet, the
//! CronJob of a Job) and limits how often the same text is written. Dry runs and answers from the patch cache write
//! nothing: the first pod of a series caused the same Event.

use std::{collections::HashMap, time::Duration};

use k8s_openapi::{
    api::{apps::v1::ReplicaSet, batch::v1::Job, core::v1::ObjectReference},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Api, Client, Resource};
use serde::Deserialize;
use tokio::{sync::mpsc, time::Instant};

use super::record::{Outcome, Record};
use crate::inject::CacheStatus;
use crate::server::kube::events::{EventSender, EventType, Note};
use crate::server::kube::request::{TIMEOUT, Target, call};

/// Hands over what happened to pods of workloads.
#[derive(Clone, Debug)]
pub(crate) struct WorkloadEvents(mpsc::Sender<Occurrence>);

/// What happened to a pod of a workload.
#[derive(Debug)]
struct Occurrence {
    namespace: String,
    /// The controller of the pod.
    owner: OwnerReference,
    reason: &'static str,
    text: String,
}

/// Occurrences that wait for the task; more are dropped.
const WAITING: usize = 64;
/// Minimum interval between two Events with the same text about one controller.
const INTERVAL: Duration = Duration::from_secs(600);
/// Maximum number of remembered controllers.
const REMEMBERED: usize = 1024;
/// Reasons of Events.
const DENIED: &str = "InjectionDenied";
const SKIPPED: &str = "InjectionSkipped";
const WARNED: &str = "InjectionWarning";

/// The part of a pod that names its controller.
#[derive(Deserialize)]
struct Owned {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    owner_references: Vec<OwnerReference>,
}

impl WorkloadEvents {
    /// Makes the handle and the task that writes, as the replica `identity`.
    pub(in crate::server) fn new(
        client: Client,
        identity: &str,
    ) -> (WorkloadEvents, impl Future<Output = ()> + use<>) {
        let (sender, queue) = mpsc::channel(WAITING);
        let (events, write_events) = EventSender::new(client.clone(), identity);
        let task = Task { client, events, said: HashMap::new(), workloads: HashMap::new() };
        (WorkloadEvents(sender), async move {
            tokio::join!(write_events, task.run(queue));
        })
    }

    /// Hands over what happened to a pod, if its workload should get an Event. Only then is `pod` called.
    pub(super) fn observe<'b>(&self, record: &Record, pod: impl FnOnce() -> Option<&'b str>) {
        let reason = match record.outcome {
            Outcome::Denied => DENIED,
            Outcome::Skipped => SKIPPED,
            Outcome::Injected => WARNED,
            Outcome::Error => return,
        };
        if record.told.is_empty() || record.dry_run || record.served == Some(CacheStatus::Hit) {
            return;
        }
        let Some(pod) = pod() else { return };
        let Ok(owned) = serde_json::from_str::<Owned>(pod) else { return };
        let controller =
            owned.metadata.owner_references.into_iter().find(|owner| owner.controller == Some(true));
        let Some(owner) = controller else { return };
        let (namespace, text) = (record.namespace.clone(), format!("{}: {}", record.reason, record.told));
        // A full queue means that more happens than anyone would read.
        let _ = self.0.try_send(Occurrence { namespace, owner, reason, text });
    }
}

/// Writes the Events.
struct Task {
    client: Client,
    events: EventSender,
    /// When each text was last written about a controller, by its UID and the text.
    said: HashMap<(String, String), Instant>,
    /// The workloads of controllers, by UID.
    workloads: HashMap<String, ObjectReference>,
}

impl Task {
    async fn run(mut self, mut queue: mpsc::Receiver<Occurrence>) {
        while let Some(occurrence) = queue.recv().await {
            self.write(occurrence).await;
        }
    }

    async fn write(&mut self, Occurrence { namespace, owner, reason, text }: Occurrence) {
        let key = (owner.uid.clone(), text.clone());
        self.said.retain(|_, when| when.elapsed() < INTERVAL);
        if self.said.contains_key(&key) || self.said.len() >= REMEMBERED {
            return;
        }
        self.said.insert(key, Instant::now());
        let about = match self.workloads.get(&owner.uid) {
            Some(workload) => workload.clone(),
            None => self.resolved(&namespace, owner).await,
        };
        self.events.send(Note { about, kind: EventType::Warning, reason, text, at_once: false });
    }

    /// The workload of a controller; the controller itself if it has none, or if it may not be read.
    async fn resolved(&mut self, namespace: &str, owner: OwnerReference) -> ObjectReference {
        let above = match (owner.api_version.as_str(), owner.kind.as_str()) {
            ("apps/v1", "ReplicaSet") => self.above::<ReplicaSet>("replicasets", namespace, &owner).await,
            ("batch/v1", "Job") => self.above::<Job>("jobs", namespace, &owner).await,
            _ => None,
        };
        let uid = owner.uid.clone();
        let workload = above.unwrap_or(owner);
        let reference = ObjectReference {
            api_version: Some(workload.api_version),
            kind: Some(workload.kind),
            name: Some(workload.name),
            namespace: Some(namespace.to_owned()),
            uid: Some(workload.uid),
            ..ObjectReference::default()
        };
        if self.workloads.len() >= REMEMBERED {
            self.workloads.clear();
        }
        self.workloads.insert(uid, reference.clone());
        reference
    }

    /// The controller of a controller.
    async fn above<K>(
        &self,
        resource: &'static str,
        namespace: &str,
        owner: &OwnerReference,
    ) -> Option<OwnerReference>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let target = Target::namespaced(resource, namespace, &owner.name);
        let read = call("get", &target, TIMEOUT, api.get_metadata(&owner.name)).await;
        match read {
            Ok(object) => {
                let owners = object.metadata.owner_references.unwrap_or_default();
                owners.into_iter().find(|owner| owner.controller == Some(true))
            }
            Err(error) => {
                tracing::debug!(%error, "workload of the pod is unknown");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
