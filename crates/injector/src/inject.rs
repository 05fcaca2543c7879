//! The injection pipeline: from a pod to the patch that adds a proxy, or to the reason for skipping it.
//!
//! [`run`] is the whole pipeline, one line per step; the webhook, manual injection, tests and benchmarks all call it.
//! It is pure: the same configuration, request and facts give the same result, and nothing else is read.

use std::{borrow::Cow, cell::RefCell, collections::BTreeMap};

use serde_json::{Map, Value};

use self::{
    decide::{applied_rule, candidate, decide, is_bare_anyway},
    decision::Reason,
    defaults::Defaults,
    openshift::ProxyIds,
    post::PostContext,
    proxy_config::{annotated, effective_proxy_config, mesh_config_of},
    reinject::PreviousInjection,
    undecodable::Undecodable,
};
use crate::{
    annotation,
    config::{InjectorConfig, Nodes, Platform},
    decode, names, pod,
    quirks::{Quirk, Quirks},
    unions,
    warning::Warning,
};
use istio_config::proxy;
use strategic_merge::patch;

mod admission;
mod aggregate;
mod bypass;
pub mod check;
mod conflict;
pub mod context;
mod contribution;
mod decide;
pub mod decision;
mod defaults;
pub mod image;
mod injector;
pub mod limits;
pub mod manual;
pub mod native;
mod observer;
pub mod openshift;
mod outcome;
mod overlay;
pub mod overrides;
mod patch_cache;
mod pitfalls;
mod policy;
pub mod post;
mod preflight;
mod privileges;
mod proxy_config;
pub mod reinject;
pub mod render;
mod request;
mod same_name;
pub mod scan;
mod scraping;
pub mod template_containers;
pub mod undecodable;
pub mod uninject;
mod user_volumes;
mod zeros;

pub use admission::{Admission, AdmissionDecision, CacheStatus, NOT_A_POD, Patch, Subject};
pub use decide::{decision_steps, leaves_alone};
pub use defaults::{AppliedDefault, DefaultSource};
pub use injector::{AdmissionRequest, Injector, Unreadable};
pub use observer::{Observer, Stage, Unobserved};
pub use outcome::{Injection, Outcome, PolicyViolation, Privilege, Refusal, Skip};
pub(crate) use proxy_config::proxy_config_without;
pub use request::{Facts, PodRequest, Rules, Selection};

/// The largest patch that is sent, in bytes: a larger object does not fit into etcd anyway (reliability I-16).
const PATCH_LIMIT: usize = 2 << 20;

/// Istio's name for a cluster without a name.
const DEFAULT_CLUSTER: &str = "Kubernetes";

static NO_ANNOTATIONS: BTreeMap<String, String> = BTreeMap::new();

/// A path, a predicate for its value if present, and the message if the predicate fails.
type Shape = (&'static [&'static str], fn(&Value) -> bool, &'static str);

/// The shape that the pipeline relies on: an API server has checked it, but a manifest may contain anything.
const SHAPES: [Shape; 7] = [
    (&["metadata"], Value::is_object, "metadata is not an object"),
    (&["metadata", "labels"], Value::is_object, "metadata.labels is not an object"),
    (&["metadata", "annotations"], Value::is_object, "metadata.annotations is not an object"),
    (&["spec"], Value::is_object, "spec is not an object"),
    (&["spec", "containers"], Value::is_array, "spec.containers is not a list"),
    (&["spec", "initContainers"], Value::is_array, "spec.initContainers is not a list"),
    (&["spec", "volumes"], Value::is_array, "spec.volumes is not a list"),
];

/// Injects one pod, or returns the reason for skipping it.
///
/// # Errors
/// If the pod may not be created as it is: see [`Refusal`].
pub fn run(mesh: &InjectorConfig, request: &PodRequest, facts: &Facts<'_>) -> Result<Outcome, Refusal> {
    run_by(Rules::Configured, mesh, request, facts)
}

/// [`run`], with rules that may be a subset of the configured ones.
///
/// # Errors
/// As [`run`].
pub fn run_by(
    rules: Rules,
    mesh: &InjectorConfig,
    request: &PodRequest,
    facts: &Facts<'_>,
) -> Result<Outcome, Refusal> {
    preflight::adapted(rules, mesh, request, facts).1
}

/// [`run_by`], while an observer watches.
///
/// # Errors
/// As [`run`].
pub fn run_observed(
    rules: Rules,
    mesh: &InjectorConfig,
    request: &PodRequest,
    facts: &Facts<'_>,
    observer: &mut impl Observer,
) -> Result<Outcome, Refusal> {
    let chosen = preflight::chosen(rules, mesh, request, facts);
    preflight::told(chosen, run_unadapted(rules, chosen.config, request, facts, observer))
}

/// The pipeline with exactly this configuration.
fn run_unadapted(
    rules: Rules,
    mesh: &InjectorConfig,
    request: &PodRequest,
    facts: &Facts<'_>,
    observer: &mut impl Observer,
) -> Result<Outcome, Refusal> {
    let received = &request.pod;
    check_shape(received)?;
    let namespace = namespace(request);
    let candidate = candidate(mesh, request, namespace, facts);
    let (mut decision, rule) = decide(rules, mesh, received, namespace, facts, &candidate)?;
    let mut warnings = std::mem::take(&mut decision.warnings);
    warnings.extend(annotation::without_effect(received, |revision| is_own_revision(mesh, revision)));
    if !decision.inject {
        warnings.extend(conflict::images_left_auto(received, "the pod is not injected"));
        // Istio's kube-inject reads the ProxyConfig of every pod except those on the host's network (`IntoObject`).
        if rules == Rules::TemplatesOnly && decision.reason != Reason::HostNetwork {
            effective_proxy_config(rules, mesh, received, namespace, annotated(received))?;
        }
        if rules == Rules::Configured {
            let is_bare = || is_bare_anyway(mesh, received, namespace, facts);
            policy::check_skipped(mesh, &candidate, received, &decision, is_bare, &mut warnings)?;
        }
        return Ok(Outcome::Skipped(Skip { decision, warnings }));
    }
    if facts.selection == Selection::ByApiServer {
        let is_own = |revision: &str| is_own_revision(mesh, revision);
        warnings.extend(pitfalls::unknown_revision(received, facts.namespace, is_own));
    }
    let mut respelled = check_annotations(mesh, received, &mut warnings)?;
    let defaults = Defaults::of(rules, mesh, received, rule, &request.path_env, facts);
    respelled.extend(defaults.check(mesh, &mut warnings)?);
    let asked = defaults.pod.as_ref();
    let proxy_configs: Vec<&str> = defaults.proxy_configs().collect();
    let own_proxy_config = annotated(received);
    let proxy_config = effective_proxy_config(
        rules,
        mesh,
        received,
        namespace,
        proxy_configs.iter().copied().chain(own_proxy_config),
    )?;
    let mesh_config = mesh_config_of(rules, mesh, received, &proxy_config);

    let mut pod = working_copy(received, namespace);
    observer.after(Stage::Received, &pod);
    let in_openshift = mesh.platform() == Platform::OpenShift && rules == Rules::Configured;
    let mut earlier =
        PreviousInjection::of(received, mesh.quirks(), &mut warnings).map_err(Refusal::Malformed)?;
    let mut changed = in_openshift && openshift::drop_application_user(&mut pod);
    if !mesh.keeps(Quirk::LeavePreStopToUsers)
        && let Some(status) = &earlier.status
    {
        changed |= post::remove_pre_stop(&mut pod, &status.pre_stop);
    }
    // The working copy becomes the merged pod; the user's own settings are looked up in the pod as received.
    let before = changed.then(|| pod.clone());
    let before = before.as_ref().unwrap_or(received);
    let status_port = post::status_port(received, &mesh_config, mesh.quirks());
    let native_by_default = native::detected(
        mesh.native_sidecars(),
        known_nodes(rules, mesh, &request.path_env, facts),
        node_name(received),
    );
    let templates = render::select(rules, mesh, asked)?;
    let mut render = |earlier: &PreviousInjection| {
        let mut stripped = earlier.strip(&pod, status_port, mesh.quirks());
        respell(&mut stripped, &respelled);
        let view = render::View {
            pod: &stripped,
            workload: request.workload.as_ref(),
            proxy_config: &proxy_config,
            native_sidecars: native_by_default,
            ids: proxy_ids(mesh, &request.path_env, facts),
            stand_ins: request.stand_ins,
        };
        observer.renders(mesh, &view, &templates);
        render::overlays(mesh, &view, &templates)
    };
    let mut overlays = render(&earlier)?;
    if !mesh.keeps(Quirk::HideContainersOfStatus)
        && earlier.forget_others(|list, name| overlay::makes(&overlays, list, name))
    {
        overlays = render(&earlier)?;
    }
    if !mesh.keeps(Quirk::DuplicateProxyOfTemplates) {
        overlay::keep_one_proxy(&mut overlays);
    }
    if !mesh.keeps(Quirk::AcceptDuplicateContainers) {
        same_name::check_received(received, &overlays).map_err(Refusal::Post)?;
    }
    accept_volumes(mesh, user_volumes::check_names(received, &overlays), &mut warnings)?;

    let native = native::for_pod(native_by_default, pod::annotation(asked, names::ANNOTATION_NATIVE_SIDECAR));
    let own = overlay::Own { pod: before, earlier: &earlier, quirks: mesh.quirks() };
    // What the same templates make of a pod without the containers that the status names: see `contribution`.
    let alone = contribution::without_injected(&pod, &earlier, &overlays);
    let laid = overlay::apply_overlays(pod, overlays, native, Some(own), &mut warnings, observer)?;
    let made = laid.made;
    let mode = proxy_config.get("interceptionMode").and_then(Value::as_str).unwrap_or_default();
    let input = overrides::Input {
        received: before,
        made: &made,
        earlier: &earlier,
        volumes: &laid.volumes,
        interception_mode: mode,
        quirks: mesh.quirks(),
    };
    let mut merged = overrides::reapply(laid.pod, input, &mut warnings)
        .map_err(|source| Refusal::Merge { what: "the user's own proxy container".to_owned(), source })?;
    observer.after(Stage::Overrides, &merged);
    let alone = alone.map(|alone| alone.merged(native, input)).transpose()?;
    let is_set_later = |name: &str| post::sets_variable(name) || request.path_env.contains_key(name);
    let contributions = contribution::contributions(input, &merged, alone.as_ref(), &is_set_later);
    if let Some(alone) = &alone {
        let forged = contribution::unexplained_volumes(&earlier, &merged, alone);
        warnings.extend(forged.map(bypass::forged_volume));
    }
    if !mesh.keeps(Quirk::AcceptDuplicateContainers) {
        same_name::check_merged(received, &merged, &made).map_err(Refusal::Post)?;
    }
    accept_volumes(mesh, user_volumes::check_mounts(received, &merged), &mut warnings)?;
    warnings.extend(unions::new_violations(received, &merged));
    let context = PostContext {
        received: before,
        asked,
        made: &made,
        earlier: &earlier,
        mesh_config: &mesh_config,
        proxy_config: &proxy_config,
        values: mesh.values(),
        path_env: &request.path_env,
        revision: mesh.revision(),
        injected_annotations: match rules {
            Rules::Configured => &mesh.injector().injected_annotations,
            Rules::TemplatesOnly => &NO_ANNOTATIONS,
        },
        quirks: mesh.quirks(),
    };
    warnings.extend(post::apply(&mut merged, &context, observer).map_err(Refusal::Post)?);
    warnings.extend(conflict::images_left_auto(&merged, "none of the templates used creates it"));
    let proxy = conflict::Proxy {
        made: &made,
        interception_mode: mode,
        status_port: post::status_port(received, mesh.mesh_config(), Quirks::NONE),
        ids: proxy_ids(mesh, &request.path_env, facts),
    };
    warnings.extend(conflict::with_proxy(&merged, &proxy));
    let pitfalls = pitfalls::Subject {
        received,
        asked,
        merged: &merged,
        made: &made,
        values: mesh.values(),
        proxy_config: &proxy_config,
        user: proxy.ids.user,
    };
    warnings.extend(pitfalls::warnings(&pitfalls, &|key| {
        defaults.source_of(key).map(|source| source.to_string()).unwrap_or_default()
    }));
    // The ProxyConfig that the pod would have without its annotation, to detect what it changes.
    let configured = match own_proxy_config {
        Some(_) => &effective_proxy_config(rules, mesh, received, namespace, proxy_configs.iter().copied())?,
        None => &proxy_config,
    };
    let view = render::View {
        pod: asked,
        workload: None,
        proxy_config: configured,
        native_sidecars: native_by_default,
        ids: proxy.ids,
        stand_ins: false,
    };
    let subject = bypass::Subject {
        received,
        merged: &merged,
        earlier: &earlier,
        own: &contributions,
        made: &made,
        values: mesh.values(),
        proxy_config: &proxy_config,
        configured,
        loses_redirection: bypass::loses_redirection(received, &made, rules, mesh, &view, namespace),
    };
    bypass::warnings(&subject, &mut warnings);
    if rules == Rules::Configured && is_of_own_cluster(mesh, &request.path_env) {
        preflight::check_levels(mesh, received, &earlier, &merged, namespace, facts, &mut warnings)?;
        preflight::check_limits(mesh, received, &earlier, &merged, &made, facts, &mut warnings);
    }
    let asked_privileges = privileges::asked(rules, mesh, &merged, &made, &view, namespace, &templates)?;
    if rules == Rules::Configured && !mesh.guard().policy.is_empty() {
        let names: Vec<&str> = templates.iter().map(|(name, _)| *name).collect();
        let default_templates = render::select(rules, mesh, &Value::Null)?;
        let default_templates: Vec<&str> = default_templates.iter().map(|(name, _)| *name).collect();
        let injected = policy::Injected {
            subject,
            templates: &names,
            default_templates: &default_templates,
            privileges: &asked_privileges,
            written: &|| privileges::unasked(mesh, &view, namespace, &templates).ok(),
        };
        policy::check_injected(mesh, &candidate, &injected, &decision, &mut warnings)?;
    }
    if privileges::are_refused(mesh) && rules == Rules::Configured && !asked_privileges.is_empty() {
        return Err(Refusal::Privileged(asked_privileges));
    }
    warnings.extend(privileges::warnings(&asked_privileges));

    let (operations, patch_json) =
        finish(&mut merged, received, |pod| Undecodable::injected(pod, received, mesh, &templates))?;
    let templates = templates.into_iter().map(|(name, _)| name.to_owned()).collect();
    let injection = Injection { operations, patch_json, pod: merged, templates, decision, warnings };
    Ok(Outcome::Injected(Box::new(injection)))
}

/// Validates every annotation that is read; returns the values that templates see in a different spelling.
fn check_annotations(
    mesh: &InjectorConfig,
    pod: &Value,
    warnings: &mut Vec<Warning>,
) -> Result<BTreeMap<&'static str, String>, Refusal> {
    let nothing = Map::new();
    let map = |field: &str| {
        pod.get("metadata")
            .and_then(|metadata| metadata.get(field))
            .and_then(Value::as_object)
            .unwrap_or(&nothing)
    };
    let (accepted, ignored) = proxy_config_check(|check| {
        annotation::check(map("annotations"), map("labels"), mesh.quirks(), check)
    });
    let accepted = accepted.map_err(Refusal::Annotations)?;
    warnings.extend(ignored);
    warnings.extend(accepted.warnings);
    Ok(accepted.respelled)
}

/// Calls a function with the check of a ProxyConfig in an annotation; also returns the warnings about its unknown fields.
fn proxy_config_check<T>(work: impl FnOnce(annotation::ProxyConfigCheck<'_>) -> T) -> (T, Vec<Warning>) {
    let ignored = RefCell::new(Vec::new());
    let check = |text: &str| match proxy::proxy_config_annotation(text) {
        Ok(annotation) => {
            ignored.replace(annotation.ignored);
            Ok(())
        }
        // The violation already names the annotation.
        Err(error) => {
            Err(error.violations.iter().map(ToString::to_string).collect::<Vec<_>>().join(", and "))
        }
    };
    let result = work(&check);
    let warning = |violation: &istio_config::proto::Violation| {
        // Kubernetes recommends at most 120 characters, so nothing is repeated.
        let message = format!("{}: {violation}", names::ANNOTATION_PROXY_CONFIG);
        Warning::new("IGNORED_PROXY_CONFIG_FIELD", message)
    };
    let warnings = ignored.take().iter().map(warning).collect();
    (result, warnings)
}

/// The defaults that apply to a pod, and the ProxyConfigs below its own, lowest first: see [`AppliedDefault`].
pub(crate) fn applied_defaults<'a>(
    mesh: &'a InjectorConfig,
    request: &'a PodRequest,
    facts: &Facts<'a>,
) -> (Vec<AppliedDefault<'a>>, Vec<&'a str>) {
    let defaults = Defaults::of(
        Rules::Configured,
        mesh,
        &request.pod,
        applied_rule(mesh, request, facts),
        &request.path_env,
        facts,
    );
    let proxy_configs = defaults.proxy_configs().collect();
    (defaults.into_applied(), proxy_configs)
}

/// An injected pod as it was before, as far as that can be known, and the names of the injected containers; `None` if it
/// was not injected. Labels and annotations that templates added remain.
pub(crate) fn without_injection(mesh: &InjectorConfig, received: &Value) -> Option<(Value, Vec<String>)> {
    let earlier = PreviousInjection::of(received, mesh.quirks(), &mut Vec::new()).ok()?;
    let status = earlier.status.as_ref()?;
    let status_port = post::status_port(received, mesh.mesh_config(), mesh.quirks());
    let mut pod = earlier.strip(received, status_port, mesh.quirks()).into_owned();
    if !mesh.keeps(Quirk::LeavePreStopToUsers) {
        post::remove_pre_stop(&mut pod, &status.pre_stop);
    }
    if let Some(volumes) = pod.pointer_mut("/spec/volumes").and_then(Value::as_array_mut) {
        volumes.retain(|volume| !status.volumes.iter().any(|name| name == pod::name(volume)));
    }
    let containers = status.containers.iter().chain(&status.init_containers).cloned().collect();
    Some((pod, containers))
}

/// Gives the templates the normalized spelling of a value (such as a list without blanks); values that count as unset
/// are removed.
fn respell(pod: &mut Cow<'_, Value>, respelled: &BTreeMap<&'static str, String>) {
    if !respelled.is_empty() {
        let annotations = pod::annotations_mut(pod.to_mut());
        for (key, value) in respelled {
            match value.as_str() {
                "" => annotations.remove(*key),
                value => annotations.insert((*key).to_owned(), Value::String(value.to_owned())),
            };
        }
    }
}

/// Denies volumes and mounts of the annotations that do not fit, or warns of them if Istio's behavior is wanted.
fn accept_volumes(
    mesh: &InjectorConfig,
    checked: Result<(), Vec<annotation::Violation>>,
    warnings: &mut Vec<Warning>,
) -> Result<(), Refusal> {
    match checked {
        Err(violations) if mesh.keeps(Quirk::AcceptInvalidUserVolumes) => {
            warnings.extend(violations.iter().map(doubtful));
            Ok(())
        }
        checked => checked.map_err(Refusal::Annotations),
    }
}

/// A warning for a value that denies the pod except under Istio's rules.
fn doubtful(violation: &annotation::Violation) -> Warning {
    Warning::new("DOUBTFUL_ANNOTATION", violation.doubt())
}

/// The nodes on which a pod can run, if they are known. Those of a remote cluster, which the URL path names, are not
/// (Istio's `nodes.ForCluster`).
fn known_nodes<'a>(
    rules: Rules,
    mesh: &InjectorConfig,
    path_env: &BTreeMap<String, String>,
    facts: &Facts<'a>,
) -> Option<&'a Nodes> {
    if rules == Rules::TemplatesOnly {
        return None;
    }
    facts.nodes.filter(|_| is_of_own_cluster(mesh, path_env))
}

/// Whether a pod belongs to the injector's own cluster: the URL path may name another one.
fn is_of_own_cluster(mesh: &InjectorConfig, path_env: &BTreeMap<String, String>) -> bool {
    let own = mesh.value(&["global", "multiCluster", "clusterName"]).and_then(Value::as_str);
    let own = own.filter(|name| !name.is_empty()).unwrap_or(DEFAULT_CLUSTER);
    let asked = path_env.get(names::ENV_CLUSTER_ID).filter(|name| !name.is_empty());
    asked.is_none_or(|asked| asked == own)
}

/// Whether this injector handles a revision or tag.
fn is_own_revision(mesh: &InjectorConfig, revision: &str) -> bool {
    let own = if mesh.revision().is_empty() { "default" } else { mesh.revision() };
    revision == own || mesh.revision_tags().iter().any(|tag| tag == revision)
}

fn node_name(pod: &Value) -> Option<&str> {
    pod.get("spec")?.get("nodeName")?.as_str()
}

/// The proxy's IDs: OpenShift assigns every namespace its own range. A namespace of a remote cluster is not the local
/// one of the same name (Istio's `namespaces.ForCluster`).
fn proxy_ids(mesh: &InjectorConfig, path_env: &BTreeMap<String, String>, facts: &Facts<'_>) -> ProxyIds {
    let namespace = facts.namespace.filter(|_| mesh.platform() == Platform::OpenShift);
    let namespace = namespace.filter(|_| is_of_own_cluster(mesh, path_env));
    openshift::proxy_ids(namespace.map(|namespace| &namespace.annotations))
}

/// Checks the pod's shape: see [`SHAPES`].
fn check_shape(pod: &Value) -> Result<(), Refusal> {
    if !pod.is_object() {
        return Err(Refusal::NotAPod("it is not a JSON object"));
    }
    let of_another = |(place, is_wanted, sentence): &Shape| {
        pod::at(pod, place).is_some_and(|value| !value.is_null() && !is_wanted(value)).then_some(*sentence)
    };
    SHAPES.iter().find_map(of_another).map_or(Ok(()), |sentence| Err(Refusal::NotAPod(sentence)))
}

/// The namespace in the pod's metadata, else the request's.
fn namespace(request: &PodRequest) -> &str {
    match pod::namespace(&request.pod) {
        "" => &request.namespace,
        namespace => namespace,
    }
}

/// The working copy of a pod: with the namespace filled in, and without `managedFields`, which are large and irrelevant
/// here.
fn working_copy(received: &Value, namespace: &str) -> Value {
    let mut pod = Map::new();
    for (key, value) in received.as_object().into_iter().flatten().filter(|(key, _)| *key != METADATA) {
        pod.insert(key.clone(), value.clone());
    }
    let mut metadata = Map::new();
    for (key, value) in received.get(METADATA).and_then(Value::as_object).into_iter().flatten() {
        if key == NAMESPACE && !namespace.is_empty() {
            continue;
        }
        if key != MANAGED_FIELDS {
            metadata.insert(key.clone(), value.clone());
        }
    }
    if !namespace.is_empty() {
        metadata.insert(NAMESPACE.to_owned(), Value::String(namespace.to_owned()));
    }
    pod.insert(METADATA.to_owned(), Value::Object(metadata));
    Value::Object(pod)
}

const METADATA: &str = "metadata";
const NAMESPACE: &str = "namespace";
const MANAGED_FIELDS: &str = "managedFields";

/// The number of operations and the text of the patch from the received pod to the wanted one, verified by applying it
/// and by checking that an API server can decode it. The namespace stays as received, because the API server fills it
/// in.
fn finish(
    wanted: &mut Value,
    received: &Value,
    undecodable: impl FnOnce(&Value) -> Option<Undecodable>,
) -> Result<(usize, String), Refusal> {
    if let Some(metadata) = wanted.get_mut(METADATA).and_then(Value::as_object_mut) {
        metadata.remove(MANAGED_FIELDS);
        match received.get(METADATA).and_then(|metadata| metadata.get(NAMESPACE)) {
            Some(namespace) if metadata.get(NAMESPACE) == Some(namespace) => {}
            Some(namespace) => {
                metadata.insert(NAMESPACE.to_owned(), namespace.clone());
            }
            None => {
                metadata.remove(NAMESPACE);
            }
        }
    }
    let operations = patch::diff(received, wanted);
    patch::verify(received, &operations, wanted).map_err(Refusal::Unverified)?;
    if !decode::is_decodable(&operations)
        && let Some(undecodable) = undecodable(wanted)
    {
        return Err(Refusal::Undecodable(Box::new(undecodable)));
    }
    match patch::to_json_within(&operations, PATCH_LIMIT) {
        Some(json) => Ok((operations.len(), json)),
        None => Err(Refusal::PatchTooLarge { limit: PATCH_LIMIT }),
    }
}
