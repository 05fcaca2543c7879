//! Objects of a cluster, by kind and name as kubectl takes them.

use std::collections::BTreeMap;

use kube::{Api, api::DynamicObject};
use serde_json::{Value, json};

use crate::cli::{
    cluster::{Session, Target},
    failure::Failure,
    report::{self, Color},
    workloads::{self, KINDS, Which},
};
use injector::workload::{Workload, WorkloadPods, workload_pods};

/// The pods of the workloads of a namespace, or of the cluster.
pub(super) type Known = BTreeMap<Workload, WorkloadPods>;

/// Reads an object such as `deployment/web` or `deployment.apps/web`: its name for messages with its JSON, and the pods of
/// the workloads of its namespace.
pub(super) async fn read(
    session: &Session,
    what: &str,
    namespace: &str,
    color: Color,
) -> Result<((String, String), Known), Failure> {
    let (kind, name) = what.split_once('/').unwrap_or((what, ""));
    let wanted = kind.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let known = KINDS.iter().find(|kind| kind.names.contains(&wanted.as_str()));
    let Some(kind) = known.filter(|_| !name.is_empty()) else {
        let kinds: Vec<&str> = KINDS.iter().filter_map(|kind| kind.names.first().copied()).collect();
        return Err(Failure::usage(format!(
            "{what}: expected KIND/NAME with a kind of {}; other kinds: kubectl get KIND NAME -o yaml | outrigger explain -f -",
            kinds.join(", ")
        )));
    };
    let namespace = if namespace.is_empty() { session.client.default_namespace() } else { namespace };
    let api: Api<DynamicObject> = Api::namespaced_with(session.client.clone(), namespace, &kind.resource());
    let target = Target::namespaced(kind.plural(), namespace, name);
    let object = match session.call("get", &target, api.get(name)).await {
        Err(error) if error.is_not_found() => {
            return Err(Failure::data(format!("{target} does not exist in this cluster")));
        }
        object => object?,
    };
    let text = (what.to_owned(), json!(object).to_string());
    // A pod needs no other objects.
    if kind.plural() == "pods" {
        return Ok((text, Known::new()));
    }
    let (objects, left_out) = workloads::read(session, Which::Workloads, namespace).await?;
    workloads::report_left_out(&left_out, color);
    let events = failed_creations(session, namespace, color).await?;
    Ok((text, workload_pods(&objects, &events)))
}

/// The Events about pods that could not be created. If they may not be read, a warning says what is missing.
pub(super) async fn failed_creations(
    session: &Session,
    namespace: &str,
    color: Color,
) -> Result<Vec<Value>, Failure> {
    let (events, left_out) = workloads::failed_creations(session, namespace).await?;
    if let Some(left_out) = left_out {
        let text = format!(
            "{left_out}; pods of StatefulSets, DaemonSets and Jobs that could not be created are not known"
        );
        report::warning(&text, color);
    }
    Ok(events)
}
