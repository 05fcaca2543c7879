//! The objects that the controller reads: pages of lists, without what it does not need.

use std::collections::BTreeMap;

use injector::workload::{Workload, controller, identity};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};
use serde_json::{Map, Value, json};

use crate::config::Namespace;
use crate::server::kube::error::ApiError;
use crate::server::kube::request::{TIMEOUT, Target, call};

/// Objects in one response of the API server: whole ones take some twenty times the memory of their metadata.
const PAGE: u32 = 100;
const PAGE_OF_METADATA: u32 = 500;

/// A kind of objects.
pub(super) struct Kind {
    group: &'static str,
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
}

const fn kind(group: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    Kind { group, kind, plural }
}

pub(super) const PODS: Kind = kind("", "Pod", "pods");
pub(super) const NAMESPACES: Kind = kind("", "Namespace", "namespaces");
pub(super) const REPLICA_SETS: Kind = kind("apps", "ReplicaSet", "replicasets");
pub(super) const BUDGETS: Kind = kind("policy", "PodDisruptionBudget", "poddisruptionbudgets");
pub(super) const WEBHOOKS: Kind =
    kind("admissionregistration.k8s.io", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations");
/// What is restarted.
pub(super) const WORKLOADS: [Kind; 3] = [
    kind("apps", "Deployment", "deployments"),
    kind("apps", "StatefulSet", "statefulsets"),
    kind("apps", "DaemonSet", "daemonsets"),
];

impl Kind {
    /// Its resource in the API, whose version is v1 for all of them.
    pub(super) fn resource(&self) -> ApiResource {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(self.group, "v1", self.kind), self.plural)
    }
}

/// The pages of a list of all objects of a kind.
pub(super) struct Pages {
    api: Api<DynamicObject>,
    kind: &'static Kind,
    only_metadata: bool,
    parameters: Option<ListParams>,
}

impl Pages {
    /// Whole objects.
    pub(super) fn of(client: &Client, kind: &'static Kind) -> Pages {
        let api = Api::all_with(client.clone(), &kind.resource());
        Pages { api, kind, only_metadata: false, parameters: Some(ListParams::default().limit(PAGE)) }
    }

    /// Only their metadata.
    pub(super) fn of_metadata(client: &Client, kind: &'static Kind) -> Pages {
        let parameters = Some(ListParams::default().limit(PAGE_OF_METADATA));
        Pages { only_metadata: true, parameters, ..Pages::of(client, kind) }
    }

    /// The next page; `None` after the last one.
    ///
    /// # Errors
    /// When it does not arrive in time, or the API server refuses it.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Value>>, ApiError> {
        let Some(parameters) = self.parameters.take() else { return Ok(None) };
        let target = Target::all(self.kind.plural);
        let (page, token): (Vec<Value>, _) = if self.only_metadata {
            let page = call("list", &target, TIMEOUT, self.api.list_metadata(&parameters)).await?;
            (page.items.into_iter().map(|object| json!(object)).collect(), page.metadata.continue_)
        } else {
            let page = call("list", &target, TIMEOUT, self.api.list(&parameters)).await?;
            (page.items.into_iter().map(|object| json!(object)).collect(), page.metadata.continue_)
        };
        self.parameters =
            token.filter(|token| !token.is_empty()).map(|token| parameters.continue_token(&token));
        Ok(Some(page.into_iter().map(|object| self.described(object)).collect()))
    }

    /// The object with its type, which the items of a list do not have, and without `managedFields`.
    fn described(&self, mut object: Value) -> Value {
        if let Some(fields) = object.as_object_mut() {
            fields.insert("apiVersion".to_owned(), json!(self.kind.resource().api_version));
            fields.insert("kind".to_owned(), json!(self.kind.kind));
        }
        remove(&mut object, "/metadata", "managedFields");
        object
    }

    /// Everything.
    ///
    /// # Errors
    /// When a page does not arrive in time, or the API server refuses it.
    pub(super) async fn all(mut self) -> Result<Vec<Value>, ApiError> {
        let mut all = Vec::new();
        while let Some(page) = self.next().await? {
            all.extend(page);
        }
        Ok(all)
    }
}

/// All namespaces, with labels and annotations.
///
/// # Errors
/// When they cannot be listed.
pub(super) async fn namespaces(client: &Client) -> Result<BTreeMap<String, Namespace>, ApiError> {
    let objects = Pages::of_metadata(client, &NAMESPACES).all().await?;
    let of = |object: Value| {
        let map = |pointer: &str| -> Map<String, Value> {
            object.pointer(pointer).and_then(Value::as_object).cloned().unwrap_or_default()
        };
        let name = identity(&object).2;
        let (labels, annotations) = (map("/metadata/labels"), map("/metadata/annotations"));
        (name.clone(), Namespace { name, labels, annotations, ..Namespace::default() })
    };
    Ok(objects.into_iter().map(of).collect())
}

/// Deployments, StatefulSets and DaemonSets without the specs of their pods.
///
/// # Errors
/// When they cannot be listed.
pub(super) async fn workloads(client: &Client) -> Result<Vec<Value>, ApiError> {
    let mut workloads = Vec::new();
    for kind in &WORKLOADS {
        let mut pages = Pages::of(client, kind);
        while let Some(page) = pages.next().await? {
            workloads.extend(page.into_iter().map(|mut object| {
                remove(&mut object, "/spec/template", "spec");
                object
            }));
        }
    }
    Ok(workloads)
}

/// The Deployments, or whatever else controls them, of the ReplicaSets that are wanted.
///
/// # Errors
/// When they cannot be listed.
pub(super) async fn controllers(
    client: &Client,
    wanted: impl Fn(&Workload) -> bool,
) -> Result<BTreeMap<Workload, Workload>, ApiError> {
    let mut controllers = BTreeMap::new();
    let mut pages = Pages::of_metadata(client, &REPLICA_SETS);
    while let Some(page) = pages.next().await? {
        let pairs = page.iter().map(|set| (identity(set), controller(set)));
        controllers
            .extend(pairs.filter(|(set, _)| wanted(set)).filter_map(|(set, above)| Some((set, above?))));
    }
    Ok(controllers)
}

fn remove(object: &mut Value, pointer: &str, key: &str) {
    if let Some(fields) = object.pointer_mut(pointer).and_then(Value::as_object_mut) {
        fields.remove(key);
    }
}
