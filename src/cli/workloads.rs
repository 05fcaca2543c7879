//! Workloads and pods of a cluster, as a command line evaluates them: one document with everything that has pods and no controller of
//! its own.

use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};

use super::{
    cluster::{ApiError, Session, Target},
    failure::Failure,
};

/// Which objects are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// What users apply: objects that no controller has created.
    Workloads,
    /// Pods, whoever created them.
    Pods,
}

/// Plural, group, version and kind.
type Kind = (&'static str, &'static str, &'static str, &'static str);

const PODS: Kind = ("pods", "", "v1", "Pod");
const KINDS: [Kind; 8] = [
    ("deployments", "apps", "v1", "Deployment"),
    ("statefulsets", "apps", "v1", "StatefulSet"),
    ("daemonsets", "apps", "v1", "DaemonSet"),
    ("cronjobs", "batch", "v1", "CronJob"),
    ("jobs", "batch", "v1", "Job"),
    ("replicasets", "apps", "v1", "ReplicaSet"),
    ("replicationcontrollers", "", "v1", "ReplicationController"),
    PODS,
];

/// Reads the objects of a namespace, or of all, as a List. What may not be read is left out and named.
///
/// # Errors
/// If the API server does not answer.
pub(super) async fn read(
    session: &Session,
    which: Which,
    namespace: &str,
) -> Result<(String, Vec<String>), Failure> {
    let kinds: &[Kind] = match which {
        Which::Workloads => &KINDS,
        Which::Pods => &[PODS],
    };
    let (mut items, mut left_out): (Vec<Value>, _) = (Vec::new(), Vec::new());
    for kind in kinds {
        match list(session, *kind, namespace).await {
            Ok(objects) => items
                .extend(objects.into_iter().filter(|object| which == Which::Pods || !has_controller(object))),
            Err(error) if error.is_forbidden() || error.is_not_found() => left_out.push(error.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok((json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string(), left_out))
}

async fn list(
    session: &Session,
    (plural, group, version, kind): Kind,
    namespace: &str,
) -> Result<Vec<Value>, ApiError> {
    let types = GroupVersionKind::gvk(group, version, kind);
    let resource = ApiResource::from_gvk_with_plural(&types, plural);
    let api: Api<DynamicObject> = match namespace {
        "" => Api::all_with(session.client.clone(), &resource),
        namespace => Api::namespaced_with(session.client.clone(), namespace, &resource),
    };
    let target = Target::namespaced(plural, namespace, "");
    let objects = session.list_all(&target, &api).await?;
    let described = |mut object: DynamicObject| {
        object.metadata.managed_fields = None;
        let mut value = json!(object);
        // The items of a list have no types.
        if let Some(fields) = value.as_object_mut() {
            fields.insert("apiVersion".to_owned(), json!(resource.api_version));
            fields.insert("kind".to_owned(), json!(kind));
        }
        value
    };
    Ok(objects.into_iter().map(described).collect())
}

fn has_controller(object: &Value) -> bool {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().any(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))
}
