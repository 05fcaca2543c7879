//! Objects of a cluster, by kind and name as kubectl takes them.

use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::json;

use crate::cli::{
    cluster::{Session, Target},
    failure::Failure,
};

/// A kind with pods: names on the command line, resource, group, version, kind.
type Kind = (&'static [&'static str], &'static str, &'static str, &'static str, &'static str);

const KINDS: [Kind; 8] = [
    (&["pod", "pods", "po"], "pods", "", "v1", "Pod"),
    (&["deployment", "deployments", "deploy"], "deployments", "apps", "v1", "Deployment"),
    (&["statefulset", "statefulsets", "sts"], "statefulsets", "apps", "v1", "StatefulSet"),
    (&["daemonset", "daemonsets", "ds"], "daemonsets", "apps", "v1", "DaemonSet"),
    (&["replicaset", "replicasets", "rs"], "replicasets", "apps", "v1", "ReplicaSet"),
    (&["job", "jobs"], "jobs", "batch", "v1", "Job"),
    (&["cronjob", "cronjobs", "cj"], "cronjobs", "batch", "v1", "CronJob"),
    (
        &["replicationcontroller", "replicationcontrollers", "rc"],
        "replicationcontrollers",
        "",
        "v1",
        "ReplicationController",
    ),
];

/// Reads an object such as `deployment/web` or `deployment.apps/web`: its name for messages, and its JSON.
pub(super) async fn read(
    session: &Session,
    what: &str,
    namespace: &str,
) -> Result<(String, String), Failure> {
    let (kind, name) = what.split_once('/').unwrap_or((what, ""));
    let wanted = kind.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let known = KINDS.iter().find(|(names, ..)| names.contains(&wanted.as_str()));
    let Some((_, resource, group, version, kind)) = known.filter(|_| !name.is_empty()) else {
        let kinds: Vec<&str> = KINDS.iter().filter_map(|(names, ..)| names.first().copied()).collect();
        return Err(Failure::usage(format!(
            "{what}: expected KIND/NAME with a kind of {}; other kinds: kubectl get KIND NAME -o yaml | outrigger explain -f -",
            kinds.join(", ")
        )));
    };
    let kind = GroupVersionKind::gvk(group, version, kind);
    let resource_type = ApiResource::from_gvk_with_plural(&kind, resource);
    let namespace = if namespace.is_empty() { session.client.default_namespace() } else { namespace };
    let api: Api<DynamicObject> = Api::namespaced_with(session.client.clone(), namespace, &resource_type);
    let target = Target::namespaced(resource, namespace, name);
    let object = session.call("get", &target, api.get(name)).await?;
    Ok((what.to_owned(), json!(object).to_string()))
}
