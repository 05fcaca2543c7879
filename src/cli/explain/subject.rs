//! Objects of a cluster, by kind and name as kubectl takes them.

use std::collections::BTreeMap;

use kube::{Api, api::DynamicObject};
use serde_json::{Value, json};

use crate::cli::{
    cluster::{Session, Target},
    failure::Failure,
    registered,
    report::{self, Color},
    workloads::{self, KINDS, LeftOut, Which},
};
use injector::{
    codes::edits,
    workload::{Workload, WorkloadPods, workload_pods},
};

/// The pods of the workloads of a namespace, or of the cluster.
pub(super) type Known = BTreeMap<Workload, WorkloadPods>;

/// Reads an object such as `deployment/web` or `deployment.apps/web`: its name for messages with its JSON, and the pods of
/// the workloads of its namespace.
pub(super) async fn read(
    session: &Session,
    what: &str,
    namespace: &str,
    color: Color,
) -> Result<((String, String), Option<Known>), Failure> {
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
            registered::namespace_exists(session, namespace).await?;
            let (objects, _) = workloads::read(session, Which::Workloads, namespace).await?;
            let similar = similar(&objects, kind.names.first().unwrap_or(&""), name);
            let similar = match similar.as_slice() {
                [] => String::new(),
                some => format!("; there is {}", some.join(", ")),
            };
            return Err(Failure::data(format!("{target} does not exist in this cluster{similar}")));
        }
        object => object?,
    };
    let text = (what.to_owned(), json!(object).to_string());
    // A pod needs no other objects.
    if kind.plural() == "pods" {
        return Ok((text, Some(Known::new())));
    }
    let (objects, left_out) = workloads::read(session, Which::Workloads, namespace).await?;
    workloads::report_left_out(&left_out, color);
    Ok((text, pods_of_workloads(session, namespace, &objects, &left_out, color).await?))
}

/// The pods of the workloads among objects; `None` if pods, or what leads from them to their workloads, may not be read.
pub(super) async fn pods_of_workloads(
    session: &Session,
    namespace: &str,
    objects: &[Value],
    left_out: &[LeftOut],
    color: Color,
) -> Result<Option<Known>, Failure> {
    if left_out.iter().any(|one| matches!(one.plural, "pods" | "replicasets" | "jobs")) {
        return Ok(None);
    }
    let events = failed_creations(session, namespace, color).await?;
    Ok(Some(workload_pods(objects, &events)))
}

/// Suggests objects in place of one that does not exist: of any kind with the same name, or of this kind with a similar one; at most
/// three.
fn similar(objects: &[Value], kind: &str, name: &str) -> Vec<String> {
    const MOST: usize = 3;
    const MOST_TYPOS: usize = 2;
    let text = |object: &Value, pointer: &str| {
        object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let named = objects
        .iter()
        .map(|object| (text(object, "/kind").to_ascii_lowercase(), text(object, "/metadata/name")));
    let mut near: Vec<(usize, String)> = named
        .filter_map(|(its_kind, its_name)| {
            let typos = edits(name, &its_name);
            let is_near = typos == 0 || typos <= MOST_TYPOS && its_kind == kind;
            is_near.then(|| (typos, format!("{its_kind}/{its_name}")))
        })
        .collect();
    near.sort();
    near.into_iter().take(MOST).map(|(_, object)| object).collect()
}

/// The Events about pods that could not be created. If they may not be read, a warning says what is missing.
async fn failed_creations(session: &Session, namespace: &str, color: Color) -> Result<Vec<Value>, Failure> {
    let (events, left_out) = workloads::failed_creations(session, namespace).await?;
    if let Some(left_out) = left_out {
        let text = format!(
            "{left_out}; pods of StatefulSets, DaemonSets and Jobs that could not be created are not known"
        );
        report::warning(&text, color);
    }
    Ok(events)
}
