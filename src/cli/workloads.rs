//! The pods that a command evaluates: those of manifests, and the workloads or pods of a cluster.

use std::path::PathBuf;

use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};
use serde_json::{Value, json};

use super::{
    cluster::{ApiError, Session, Target},
    failure::Failure,
    files,
    report::{self, Color},
    source::{Configured, Source},
};
use crate::inject::{
    Rules,
    manual::{self, Options, Subject},
};
use injector::workload::FAILED_CREATE;

/// Which objects are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// What users apply: objects that no controller has created.
    Workloads,
    /// All pods, also those that a controller has created.
    Pods,
}

/// A kind with pods.
pub(super) struct Kind {
    /// Names on the command line, as kubectl takes them.
    pub(super) names: &'static [&'static str],
    plural: &'static str,
    group: &'static str,
    kind: &'static str,
}

impl Kind {
    const fn new(
        names: &'static [&'static str],
        plural: &'static str,
        group: &'static str,
        kind: &'static str,
    ) -> Kind {
        Kind { names, plural, group, kind }
    }

    /// Its resource in the API, whose version is v1 for all of them.
    pub(super) fn resource(&self) -> ApiResource {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(self.group, "v1", self.kind), self.plural)
    }

    /// The name of its resource.
    pub(super) fn plural(&self) -> &'static str {
        self.plural
    }
}

/// Kubernetes' kinds with pods.
pub(super) const KINDS: [Kind; 8] = [
    Kind::new(&["pod", "pods", "po"], "pods", "", "Pod"),
    Kind::new(&["deployment", "deployments", "deploy"], "deployments", "apps", "Deployment"),
    Kind::new(&["statefulset", "statefulsets", "sts"], "statefulsets", "apps", "StatefulSet"),
    Kind::new(&["daemonset", "daemonsets", "ds"], "daemonsets", "apps", "DaemonSet"),
    Kind::new(&["replicaset", "replicasets", "rs"], "replicasets", "apps", "ReplicaSet"),
    Kind::new(&["job", "jobs"], "jobs", "batch", "Job"),
    Kind::new(&["cronjob", "cronjobs", "cj"], "cronjobs", "batch", "CronJob"),
    Kind::new(
        &["replicationcontroller", "replicationcontrollers", "rc"],
        "replicationcontrollers",
        "",
        "ReplicationController",
    ),
];

/// The texts to evaluate, each with its name: files, or else the objects of the cluster that the source selects.
/// Objects in the cluster that may not be read are left out, with a warning.
///
/// # Errors
/// If a file cannot be read, or the API server does not answer.
pub(super) fn texts(
    paths: &[PathBuf],
    recursive: bool,
    (source, which, namespace): (&Source, Which, &str),
    color: Color,
) -> Result<Vec<(String, String)>, Failure> {
    if !paths.is_empty() {
        let inputs = files::read_all(paths, recursive)?;
        return Ok(inputs.into_iter().map(|input| (input.name.clone(), input.text)).collect());
    }
    let (objects, left_out) = source.cluster().run(async |session| read(session, which, namespace).await)?;
    report_left_out(&left_out, color);
    Ok(vec![("cluster".to_owned(), list_of(which, &objects).to_string())])
}

/// The pods of texts, in order.
///
/// # Errors
/// If a text is neither YAML nor JSON.
pub(super) fn subjects(
    configured: &Configured,
    namespace: &str,
    texts: &[(String, String)],
) -> Result<Vec<Subject>, Failure> {
    let options =
        Options { mesh: &configured.mesh, rules: Rules::Configured, namespace, template_paths: Vec::new() };
    let mut subjects = Vec::new();
    for (name, text) in texts {
        let found =
            manual::subjects(text, &options).map_err(|error| Failure::data(format!("{name}:{error}")))?;
        subjects.extend(found);
    }
    Ok(subjects)
}

/// Objects of a kind that may not be read.
pub(super) struct LeftOut {
    /// The plural of the kind.
    pub(super) plural: &'static str,
    told: String,
}

/// Warns about objects that could not be read.
pub(super) fn report_left_out(left_out: &[LeftOut], color: Color) {
    for LeftOut { told, .. } in left_out {
        report::warning(&format!("{told}; these objects are left out"), color);
    }
}

/// Objects as a List: all, or those that no controller has created.
pub(super) fn list_of(which: Which, objects: &[Value]) -> Value {
    let wanted = |object: &&Value| which == Which::Pods || !has_controller(object);
    let items: Vec<&Value> = objects.iter().filter(wanted).collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// Reads the pods of a namespace, or of all, or, for the workloads, the objects of every kind with pods. Objects that
/// may not be read are left out and named.
///
/// # Errors
/// If the API server does not answer.
pub(super) async fn read(
    session: &Session,
    which: Which,
    namespace: &str,
) -> Result<(Vec<Value>, Vec<LeftOut>), Failure> {
    let kinds = KINDS.iter().filter(|kind| which == Which::Workloads || kind.kind == "Pod");
    let (mut items, mut left_out): (Vec<Value>, _) = (Vec::new(), Vec::new());
    for kind in kinds {
        match list(session, kind, namespace).await {
            Ok(objects) => items.extend(objects),
            Err(error) if error.is_forbidden() || error.is_not_found() => {
                left_out.push(LeftOut { plural: kind.plural, told: error.to_string() });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok((items, left_out))
}

async fn list(session: &Session, kind: &Kind, namespace: &str) -> Result<Vec<Value>, ApiError> {
    let resource = kind.resource();
    let api: Api<DynamicObject> = match namespace {
        "" => Api::all_with(session.client.clone(), &resource),
        namespace => Api::namespaced_with(session.client.clone(), namespace, &resource),
    };
    let target = Target::namespaced(kind.plural, namespace, "");
    let objects = session.list_all(&target, &api).await?;
    let described = |mut object: DynamicObject| {
        object.metadata.managed_fields = None;
        let mut value = json!(object);
        // The items of a list have no types.
        if let Some(fields) = value.as_object_mut() {
            fields.insert("apiVersion".to_owned(), json!(resource.api_version));
            fields.insert("kind".to_owned(), json!(kind.kind));
        }
        value
    };
    Ok(objects.into_iter().map(described).collect())
}

/// Reads the Events about pods that could not be created, in a namespace or in all. Events that may not be read are named.
///
/// # Errors
/// If the API server does not answer.
pub(super) async fn failed_creations(
    session: &Session,
    namespace: &str,
) -> Result<(Vec<Value>, Option<String>), Failure> {
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", "Event"), "events");
    let api: Api<DynamicObject> = match namespace {
        "" => Api::all_with(session.client.clone(), &resource),
        namespace => Api::namespaced_with(session.client.clone(), namespace, &resource),
    };
    let selected = ListParams::default().fields(&format!("reason={FAILED_CREATE}"));
    match session.list_selected(&Target::namespaced("events", namespace, ""), &api, selected).await {
        Ok(events) => Ok((events.iter().map(|event| json!(event)).collect(), None)),
        Err(error) if error.is_forbidden() => Ok((Vec::new(), Some(error.to_string()))),
        Err(error) => Err(error.into()),
    }
}

fn has_controller(object: &Value) -> bool {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().any(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))
}
