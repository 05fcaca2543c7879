//! Reads the facts that a diagnosis is based on.

use std::collections::BTreeSet;

use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::permissions;

use crate::{
    cli::{
        cluster::{ApiError, Reason, Session, Target},
        failure::Failure,
        webhook::probe,
    },
    names,
    webhook_config::{entries, revision_of},
};
use injector::diagnose::{Facts, Probe, ProbeOutcome};

/// The most namespaces whose pods are looked at.
const MOST_NAMESPACES: usize = 200;

/// Reads the facts, and names those that it may not read.
///
/// # Errors
/// If the API server does not answer, or the webhook configurations may not be read.
pub(super) async fn read(
    session: &Session,
    probe_namespace: Option<&str>,
    with_probe: bool,
) -> Result<(Facts, Vec<String>), Failure> {
    let mut reader = Reader { session, left_out: Vec::new() };
    let webhooks = reader.list(&WEBHOOKS, "").await?;
    let mut facts = Facts { webhooks, ..Facts::default() };
    let places = services(&facts.webhooks);
    facts.services = Some(Vec::new());
    for (namespace, name) in &places {
        let object = reader.get(&SERVICES, namespace, name).await?;
        match (object, &mut facts.services) {
            (Some(object), Some(services)) => services.extend(object),
            _ => facts.services = None,
        }
    }
    let own: BTreeSet<&str> = places.iter().map(|(namespace, _)| namespace.as_str()).collect();
    facts.endpoint_slices = reader.of_namespaces(&ENDPOINT_SLICES, &own).await?;
    facts.deployments = reader.of_namespaces(&DEPLOYMENTS, &own).await?;
    let deployments = facts.deployments.as_deref().unwrap_or_default();
    let asked = permissions::read(session, deployments).await;
    if let Some((access, left_out)) = reader.permitted(asked)? {
        facts.permissions = Some(access);
        reader.left_out.extend(left_out);
    }
    facts.own_pods = reader.of_namespaces(&PODS, &own).await?;
    facts.namespaces = reader.try_list(&NAMESPACES, "").await?;
    facts.nodes = reader.try_list(&NODES, "").await?;
    let asking = asking(&facts);
    if asking.len() > MOST_NAMESPACES {
        reader.left_out.push(format!(
            "pods of {} namespaces that ask for injection were not checked: only the first {MOST_NAMESPACES} were",
            asking.len() - MOST_NAMESPACES
        ));
    }
    let asking: BTreeSet<&str> = asking.iter().map(String::as_str).take(MOST_NAMESPACES).collect();
    facts.pods = reader.of_namespaces(&PODS, &asking).await?;
    facts.controllers = reader.of_namespaces(&REPLICA_SETS, &asking).await?;
    if with_probe {
        let namespace = probe_namespace.or_else(|| asking.first().copied()).unwrap_or("default").to_owned();
        facts.probe = reader.probe(&facts, &namespace).await?;
    }
    Ok((facts, reader.left_out))
}

/// The Services of our webhooks: namespace and name.
fn services(webhooks: &[Value]) -> BTreeSet<(String, String)> {
    let own = webhooks.iter().filter(|configuration| revision_of(configuration).is_some());
    let entries = own.flat_map(|configuration| entries(configuration).map(|(_, entry)| entry));
    entries
        .filter_map(|entry| {
            let service = entry.pointer("/clientConfig/service")?;
            let text = |key: &str| service.get(key)?.as_str().map(str::to_owned);
            Some((text("namespace")?, text("name")?))
        })
        .collect()
}

/// The namespaces with a label that asks for injection.
fn asking(facts: &Facts) -> Vec<String> {
    let asks = |namespace: &&Value| {
        let label =
            |key: &str| namespace.pointer("/metadata/labels").and_then(|labels| labels.get(key)?.as_str());
        match label(names::LABEL_INJECTION) {
            Some(value) => value == "enabled",
            None => label(names::REVISION).is_some(),
        }
    };
    let all = facts.namespaces.iter().flatten().filter(asks);
    all.filter_map(|namespace| namespace.pointer("/metadata/name")?.as_str().map(str::to_owned)).collect()
}

/// A resource: its plural, group, version and kind.
struct Resource(&'static str, &'static str, &'static str, &'static str);

const WEBHOOKS: Resource = Resource(
    "mutatingwebhookconfigurations",
    "admissionregistration.k8s.io",
    "v1",
    "MutatingWebhookConfiguration",
);
const SERVICES: Resource = Resource("services", "", "v1", "Service");
const ENDPOINT_SLICES: Resource = Resource("endpointslices", "discovery.k8s.io", "v1", "EndpointSlice");
const DEPLOYMENTS: Resource = Resource("deployments", "apps", "v1", "Deployment");
const REPLICA_SETS: Resource = Resource("replicasets", "apps", "v1", "ReplicaSet");
const PODS: Resource = Resource("pods", "", "v1", "Pod");
const NAMESPACES: Resource = Resource("namespaces", "", "v1", "Namespace");
const NODES: Resource = Resource("nodes", "", "v1", "Node");

impl Resource {
    fn api(&self, session: &Session, namespace: &str) -> Api<DynamicObject> {
        let Resource(plural, group, version, kind) = self;
        let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        match namespace {
            "" => Api::all_with(session.client.clone(), &kind),
            namespace => Api::namespaced_with(session.client.clone(), namespace, &kind),
        }
    }
}

struct Reader<'s> {
    session: &'s Session,
    left_out: Vec<String>,
}

impl Reader<'_> {
    async fn list(&self, resource: &Resource, namespace: &str) -> Result<Vec<Value>, ApiError> {
        let target = Target::namespaced(resource.0, namespace, "");
        let objects = self.session.list_all(&target, &resource.api(self.session, namespace)).await?;
        Ok(objects.iter().map(|object| json!(object)).collect())
    }

    /// `None` if it is not permitted.
    async fn try_list(
        &mut self,
        resource: &Resource,
        namespace: &str,
    ) -> Result<Option<Vec<Value>>, Failure> {
        let read = self.list(resource, namespace).await;
        self.permitted(read)
    }

    async fn of_namespaces(
        &mut self,
        resource: &Resource,
        namespaces: &BTreeSet<&str>,
    ) -> Result<Option<Vec<Value>>, Failure> {
        let mut all = Vec::new();
        for namespace in namespaces {
            match self.try_list(resource, namespace).await? {
                Some(objects) => all.extend(objects),
                None => return Ok(None),
            }
        }
        Ok(Some(all))
    }

    /// `None` if it is not permitted; an empty list if the object does not exist.
    async fn get(
        &mut self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Vec<Value>>, Failure> {
        let target = Target::namespaced(resource.0, namespace, name);
        let api = resource.api(self.session, namespace);
        let read = match self.session.call("get", &target, api.get(name)).await {
            Ok(object) => Ok(vec![json!(object)]),
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        self.permitted(read)
    }

    fn permitted<T>(&mut self, read: Result<T, ApiError>) -> Result<Option<T>, Failure> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(error) if error.is_forbidden() => {
                self.left_out.push(error.to_string());
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Creates a pod that a webhook of ours selects, as a dry run.
    async fn probe(&mut self, facts: &Facts, namespace: &str) -> Result<Option<Probe>, Failure> {
        let is_known =
            |object: &Value| object.pointer("/metadata/name").and_then(Value::as_str) == Some(namespace);
        if facts.namespaces.as_ref().is_some_and(|all| !all.iter().any(is_known)) {
            return Err(Failure::usage(format!("--probe-namespace {namespace}: there is no such namespace")));
        }
        let labels = facts
            .namespaces
            .iter()
            .flatten()
            .find(|object| object.pointer("/metadata/name").and_then(Value::as_str) == Some(namespace))
            .and_then(|object| object.pointer("/metadata/labels")?.as_object().cloned())
            .unwrap_or_default();
        let own = facts.webhooks.iter().filter(|configuration| revision_of(configuration).is_some());
        let chosen = own.filter_map(|configuration| {
            let revision = revision_of(configuration).unwrap_or_default();
            let chosen = probe::choose(configuration, &labels, revision)?;
            let entry = entries(configuration).find(|(name, _)| *name == chosen.entry)?.1;
            // API servers never call an entry without rules.
            let has_rules =
                entry.get("rules").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
            let policy = entry.get("failurePolicy").and_then(Value::as_str).unwrap_or("Fail").to_owned();
            has_rules.then_some((chosen, policy))
        });
        let Some((chosen, failure_policy)) = chosen.into_iter().next() else {
            self.left_out.push(format!(
                "no pod was tried in namespace {namespace}: no webhook of outrigger selects one there"
            ));
            return Ok(None);
        };
        let began = Instant::now();
        let created = probe::dry_run(self.session, namespace, &chosen.labels, chosen.patience).await;
        let took = began.elapsed();
        let outcome = match created {
            Ok(pod) => probe::injected_by(&pod).map_or(ProbeOutcome::Bare, ProbeOutcome::Injected),
            Err(ApiError { reason: Reason::Unanswered(_), .. }) => ProbeOutcome::Unanswered,
            Err(error)
                if matches!(error.reason, Reason::Forbidden(_))
                    && error.to_string().contains("the role lacks") =>
            {
                self.left_out.push(error.to_string());
                return Ok(None);
            }
            Err(error) if matches!(error.reason, Reason::Unreachable(_)) => return Err(error.into()),
            Err(error) => ProbeOutcome::Refused(error.to_string()),
        };
        let namespace = namespace.to_owned();
        Ok(Some(Probe { namespace, entry: chosen.entry, failure_policy, took, outcome }))
    }
}
