//! Reads the facts that a diagnosis is based on.

use std::collections::BTreeSet;

use futures::{AsyncBufReadExt, AsyncReadExt, StreamExt};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::permissions;

use crate::{
    cli::{
        cluster::{ApiError, PATIENCE, Reason, Session, Target},
        effects::counted,
        failure::Failure,
        registered,
        webhook::probe,
        workloads,
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
pub(super) async fn read(session: &Session, wanted: &Wanted<'_>) -> Result<(Facts, Vec<String>), Failure> {
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
    facts.namespaces = match wanted.namespace {
        Some(only) => reader.get(&NAMESPACES, "", only).await?,
        None => reader.try_list(&NAMESPACES, "").await?,
    };
    for name in [wanted.namespace, wanted.probe_namespace].into_iter().flatten() {
        if facts.namespaces.as_ref().is_some_and(|all| !all.iter().any(|object| is_named(object, name))) {
            return Err(Failure::data(format!("namespace {name} does not exist in this cluster")));
        }
    }
    facts.nodes = reader.try_list(&NODES, "").await?;
    let asking = match (&facts.namespaces, wanted.namespace) {
        // It was asked about, and its labels may not be read.
        (None, Some(only)) => vec![only.to_owned()],
        _ => asking(&facts),
    };
    if asking.len() > MOST_NAMESPACES {
        reader.left_out.push(format!(
            "pods of {} namespaces that ask for injection were not checked: only the first {MOST_NAMESPACES} were",
            asking.len() - MOST_NAMESPACES
        ));
    }
    let asking: BTreeSet<&str> = asking.iter().map(String::as_str).take(MOST_NAMESPACES).collect();
    facts.pods = reader.of_readable_namespaces(&PODS, &asking).await?;
    facts.controllers = reader.of_readable_namespaces(&REPLICA_SETS, &asking).await?;
    facts.events = reader.failed_creations(&asking).await?;
    // These controllers report a refusal in an Event alone.
    let about = |kind: &str| -> BTreeSet<&str> {
        let events = facts.events.iter().flatten();
        let at =
            |event: &Value, pointer: &str| event.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let of_kind = events.filter(|event| at(event, "/involvedObject/kind").as_deref() == Some(kind));
        let namespaces: BTreeSet<String> =
            of_kind.filter_map(|event| at(event, "/involvedObject/namespace")).collect();
        asking.iter().filter(|namespace| namespaces.contains(**namespace)).copied().collect()
    };
    let mut others = Vec::new();
    for resource in [&STATEFUL_SETS, &DAEMON_SETS, &JOBS] {
        let found = reader.of_readable_namespaces(resource, &about(resource.3)).await?;
        others.extend(found.unwrap_or_default());
    }
    if !others.is_empty() {
        facts.controllers.get_or_insert_default().extend(others);
    }
    if wanted.with_probe {
        facts.probes = reader.probes(&facts, wanted, &asking).await?;
    }
    Ok((facts, reader.left_out))
}

/// What a diagnosis is about.
pub(super) struct Wanted<'w> {
    /// The only namespace to look at; `None` for all.
    pub(super) namespace: Option<&'w str>,
    /// The namespace of the dry-run pods.
    pub(super) probe_namespace: Option<&'w str>,
    /// Whether pods are created as dry runs.
    pub(super) with_probe: bool,
}

/// The most bytes of an API server's metrics that are read.
const MOST_METRICS: u64 = 64 << 20;
/// The most webhook configurations for which a pod is created as a dry run.
const MOST_PROBES: usize = 10;
/// The most namespaces in which that is tried for one of them.
const MOST_NAMESPACES_PROBED: usize = 4;

fn is_named(object: &Value, name: &str) -> bool {
    object.pointer("/metadata/name").and_then(Value::as_str) == Some(name)
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
const STATEFUL_SETS: Resource = Resource("statefulsets", "apps", "v1", "StatefulSet");
const DAEMON_SETS: Resource = Resource("daemonsets", "apps", "v1", "DaemonSet");
const JOBS: Resource = Resource("jobs", "batch", "v1", "Job");
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
        let described = |object: &DynamicObject| {
            let mut value = json!(object);
            // The items of a list have no types.
            if let Some(fields) = value.as_object_mut() {
                fields.insert("kind".to_owned(), json!(resource.3));
            }
            value
        };
        Ok(objects.iter().map(described).collect())
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

    /// The objects of all namespaces; `None` if one of them may not be read: absence is only concluded from everything.
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

    /// The objects of the namespaces that may be read; `None` if that is none of them.
    async fn of_readable_namespaces(
        &mut self,
        resource: &Resource,
        namespaces: &BTreeSet<&str>,
    ) -> Result<Option<Vec<Value>>, Failure> {
        let (mut all, mut denied) = (Vec::new(), Vec::new());
        for namespace in namespaces {
            match self.list(resource, namespace).await {
                Ok(objects) => all.extend(objects),
                Err(error) if error.is_forbidden() => denied.push(error.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        let readable = namespaces.len() - denied.len();
        self.note_denied(denied);
        Ok((readable > 0 || namespaces.is_empty()).then_some(all))
    }

    /// Names the first of several refusals, and how many there are.
    fn note_denied(&mut self, denied: Vec<String>) {
        let more = denied.len().saturating_sub(1);
        if let Some(first) = denied.into_iter().next() {
            let more = if more == 0 {
                String::new()
            } else {
                format!("; and in {}", counted(more, "more namespace"))
            };
            self.left_out.push(format!("{first}{more}"));
        }
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

    /// The Events about pods that could not be created; `None` if no namespace may be read.
    async fn failed_creations(&mut self, namespaces: &BTreeSet<&str>) -> Result<Option<Vec<Value>>, Failure> {
        let (mut all, mut denied) = (Vec::new(), Vec::new());
        for namespace in namespaces {
            let (events, left_out) = workloads::failed_creations(self.session, namespace).await?;
            all.extend(events);
            denied.extend(left_out);
        }
        let readable = namespaces.len() - denied.len();
        self.note_denied(denied);
        Ok((readable > 0 || namespaces.is_empty()).then_some(all))
    }

    /// Creates a pod as a dry run for each of our configurations: in the given namespace, else in the first that asks for
    /// injection and whose pods the configuration selects, else in `default`.
    async fn probes(
        &mut self,
        facts: &Facts,
        wanted: &Wanted<'_>,
        asking: &BTreeSet<&str>,
    ) -> Result<Vec<Probe>, Failure> {
        let given = wanted.probe_namespace.or(wanted.namespace);
        let candidates: Vec<&str> = match given {
            Some(namespace) => vec![namespace],
            None => asking.iter().copied().chain(["default"]).collect(),
        };
        let own = facts.webhooks.iter().filter(|configuration| revision_of(configuration).is_some());
        let mut all: Vec<Vec<Attempt<'_>>> = own
            .map(|configuration| {
                let attempts =
                    candidates.iter().filter_map(|namespace| attempt(facts, configuration, namespace));
                attempts.take(MOST_NAMESPACES_PROBED).collect()
            })
            .collect();
        all.retain(|attempts| !attempts.is_empty());
        if all.is_empty() {
            let namespace = candidates.first().copied().unwrap_or("default");
            self.left_out.push(format!(
                "no pod was tried in namespace {namespace}: no webhook of outrigger selects one there"
            ));
        }
        if let Some(more) = all.len().checked_sub(MOST_PROBES).filter(|more| *more > 0) {
            self.left_out.push(format!(
                "no pod was tried for {more} more webhook configurations: only for the first {MOST_PROBES}; outrigger doctor -n \
                 NAMESPACE tries those of a namespace"
            ));
        }
        let mut probes = Vec::new();
        for attempts in all.into_iter().take(MOST_PROBES) {
            // What refuses pods in one namespace, such as a quota, says nothing about the webhook.
            let mut first = None;
            for attempt in attempts {
                let Some(probe) = self.probe(attempt).await? else { break };
                if facts.namespaces.is_none() && probe.outcome == ProbeOutcome::Bare {
                    self.left_out.push(format!(
                        "the dry-run pod in namespace {} came back without a proxy, which its labels may explain: they may not be read",
                        probe.namespace
                    ));
                    break;
                }
                let is_about_namespace = is_refused_by_something_else(&probe);
                let kept = first.get_or_insert(probe.clone());
                if !is_about_namespace {
                    *kept = probe;
                    break;
                }
            }
            probes.extend(first);
        }
        Ok(probes)
    }

    /// Creates a pod as a dry run; `None` if the role does not permit it.
    async fn probe(&mut self, attempt: Attempt<'_>) -> Result<Option<Probe>, Failure> {
        let Attempt { namespace, configuration, endpoint, chosen, failure_policy } = attempt;
        let began = Instant::now();
        let created = probe::dry_run(self.session, namespace, &chosen.labels, chosen.patience).await;
        let took = began.elapsed();
        let outcome = match created {
            Ok(pod) => match probe::injected_by(&pod) {
                Some(revision) => ProbeOutcome::Injected(revision),
                None if failure_policy == "Ignore" && self.fails_open(namespace, &chosen).await => {
                    ProbeOutcome::FailedOpen
                }
                None => ProbeOutcome::Bare,
            },
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
        Ok(Some(Probe {
            namespace: namespace.to_owned(),
            configuration,
            endpoint,
            entry: chosen.entry,
            failure_policy,
            took,
            outcome,
        }))
    }
}

impl Reader<'_> {
    /// Whether the API server counts a failed call of a webhook with `failurePolicy: Ignore` for one more dry run. Without the
    /// right to read its metrics, the answer is no. A count that did not grow proves nothing, because another API server may have
    /// made the call.
    async fn fails_open(&self, namespace: &str, chosen: &probe::Probe) -> bool {
        let Some(before) = self.failed_open(&chosen.entry).await else { return false };
        let created = probe::dry_run(self.session, namespace, &chosen.labels, chosen.patience).await;
        let after = self.failed_open(&chosen.entry).await;
        created.is_ok() && after.is_some_and(|after| after > before)
    }

    /// How many calls of a webhook have failed without consequence, according to the API server's metric
    /// `apiserver_admission_webhook_fail_open_count`.
    async fn failed_open(&self, entry: &str) -> Option<f64> {
        let request = hyper::Request::get("/metrics").body(Vec::new()).ok()?;
        let name = format!("name=\"{entry}\"");
        let read = async {
            let metrics = self.session.client.request_stream(request).await.ok()?;
            let mut lines = metrics.take(MOST_METRICS).lines();
            let mut count = 0.0;
            while let Some(line) = lines.next().await {
                let line = line.ok()?;
                if line.starts_with("apiserver_admission_webhook_fail_open_count{") && line.contains(&name) {
                    count += line.rsplit(' ').next()?.parse::<f64>().ok()?;
                }
            }
            Some(count)
        };
        tokio::time::timeout(PATIENCE, read).await.ok()?
    }
}

/// Whether the API server refuses a pod, but not because of our webhook.
fn is_refused_by_something_else(probe: &Probe) -> bool {
    matches!(&probe.outcome, ProbeOutcome::Refused(message) if !message.contains(&format!("webhook \"{}\"", probe.entry)))
}

/// A dry run that may be tried.
struct Attempt<'a> {
    namespace: &'a str,
    configuration: String,
    endpoint: String,
    chosen: probe::Probe,
    failure_policy: String,
}

/// The pod of a namespace that a configuration selects, if there is one.
fn attempt<'a>(facts: &Facts, configuration: &Value, namespace: &'a str) -> Option<Attempt<'a>> {
    let known = facts.namespaces.iter().flatten().find(|object| is_named(object, namespace));
    let labels = known.and_then(|object| object.pointer("/metadata/labels")?.as_object().cloned());
    let revision = revision_of(configuration).unwrap_or_default();
    let chosen = probe::choose(configuration, &labels.unwrap_or_default(), revision)?;
    let entry = entries(configuration).find(|(name, _)| *name == chosen.entry)?.1;
    // API servers never call an entry without rules.
    let has_rules = entry.get("rules").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
    let failure_policy = entry.get("failurePolicy").and_then(Value::as_str).unwrap_or("Fail").to_owned();
    let endpoint = registered::endpoint(entry);
    let configuration = configuration.pointer("/metadata/name")?.as_str()?.to_owned();
    has_rules.then_some(Attempt { namespace, configuration, endpoint, chosen, failure_policy })
}
