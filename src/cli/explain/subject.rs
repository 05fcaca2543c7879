//! Objects of a cluster, by kind and name as kubectl takes them.

use kube::{Api, api::DynamicObject};
use serde_json::{Value, json};

use crate::cli::{
    cluster::{Session, Target},
    failure::Failure,
    report::Color,
    workloads::{self, KINDS, Which},
};

/// Reads an object such as `deployment/web` or `deployment.apps/web`: its name for messages with its JSON, and the
/// objects of its namespace, among them its running pods.
pub(super) async fn read(
    session: &Session,
    what: &str,
    namespace: &str,
    color: Color,
) -> Result<((String, String), Vec<Value>), Failure> {
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
    let object = session.call("get", &target, api.get(name)).await?;
    // A pod needs no other objects.
    let (objects, left_out) = match kind.plural() {
        "pods" => (Vec::new(), Vec::new()),
        _ => workloads::read(session, Which::Workloads, namespace).await?,
    };
    workloads::report_left_out(&left_out, color);
    Ok(((what.to_owned(), json!(object).to_string()), objects))
}
