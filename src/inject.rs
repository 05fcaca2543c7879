//! The engine: from a pod to the patch that gives it a proxy, or to the reason why not.
//!
//! [`run`] is the whole pipeline, one line a step; webhook, manual injection, tests and benches all call it. It is pure:
//! the same configuration, request and facts give the same answer, and nothing is read from anywhere else.

use std::{borrow::Cow, cell::RefCell, collections::BTreeMap};

use serde_json::{Value, json};

use self::{
    decision::{Decision, DecisionInput},
    openshift::ProxyIds,
    post::PostContext,
    reinject::Earlier,
    warning::Warning,
};
use crate::{
    config::{Compat, Mesh, Nodes, Platform, Policy},
    merge::{self, Directives},
    meshconfig::proxy,
    names, patch, pod,
};

pub mod annotation;
mod canonical;
pub mod check;
pub mod context;
pub mod decision;
pub mod image;
pub mod manual;
pub mod native;
pub mod openshift;
mod outcome;
pub mod overrides;
pub mod post;
pub mod reinject;
pub mod render;
pub mod replay;
mod request;
pub mod warning;

pub use outcome::{Injection, Outcome, Refusal, Skip};
pub use request::{Facts, PodRequest, Rules, Selection};

/// The largest patch that is sent, in bytes: an object that large does not fit into etcd anyway (reliability I-16).
const PATCH_LIMIT: usize = 2 << 20;

/// What Istio calls a cluster without a name.
const DEFAULT_CLUSTER: &str = "Kubernetes";

static NO_ANNOTATIONS: BTreeMap<String, String> = BTreeMap::new();

/// A JSON pointer, what must be there if anything is, and the sentence if it is not.
type Shape = (&'static str, fn(&Value) -> bool, &'static str);

/// What every pod is before anything else is: an API server has seen to it, a manifest may be anything.
const SHAPES: [Shape; 7] = [
    ("/metadata", Value::is_object, "metadata is not an object"),
    ("/metadata/labels", Value::is_object, "metadata.labels is not an object"),
    ("/metadata/annotations", Value::is_object, "metadata.annotations is not an object"),
    ("/spec", Value::is_object, "spec is not an object"),
    ("/spec/containers", Value::is_array, "spec.containers is not a list"),
    ("/spec/initContainers", Value::is_array, "spec.initContainers is not a list"),
    ("/spec/volumes", Value::is_array, "spec.volumes is not a list"),
];

/// Injects one pod, or says why not.
///
/// # Errors
/// When the pod may not be created as it is: see [`Refusal`].
pub fn run(mesh: &Mesh, request: &PodRequest, facts: &Facts<'_>) -> Result<Outcome, Refusal> {
    run_by(Rules::Configured, mesh, request, facts)
}

/// [`run`], by rules that need not be all the configured ones.
///
/// # Errors
/// As [`run`].
pub fn run_by(
    rules: Rules,
    mesh: &Mesh,
    request: &PodRequest,
    facts: &Facts<'_>,
) -> Result<Outcome, Refusal> {
    let mut pod = working_copy(request)?;
    let mut decision = decide(rules, mesh, &pod, facts);
    let mut warnings = std::mem::take(&mut decision.warnings);
    if !decision.inject {
        return Ok(Outcome::Skipped(Skip { decision, warnings }));
    }
    let respelt = check_annotations(mesh, &pod, &mut warnings)?;
    let proxy_config = effective_proxy_config(rules, mesh, &pod)?;
    if mesh.platform() == Platform::OpenShift {
        openshift::drop_application_user(&mut pod);
    }

    let earlier = Earlier::of(&pod, &mut warnings).map_err(Refusal::Malformed)?;
    let status_port = post::status_port(&pod, mesh.mesh_config(), mesh.compat());
    let mut stripped = earlier.strip(&pod, status_port, mesh.compat());
    respell(&mut stripped, respelt);
    let native = native::detected(
        mesh.native_sidecars(),
        known_nodes(rules, mesh, &request.path_env, facts),
        node_name(&pod),
    );
    let templates = render::select(rules, mesh, &pod)?;
    let view = render::View {
        pod: &stripped,
        workload: request.workload.as_ref(),
        proxy_config: &proxy_config,
        native_sidecars: native,
        ids: proxy_ids(mesh, facts),
        stand_ins: request.stand_ins,
    };
    let mut overlays = render::overlays(mesh, &view, &templates)?;
    if mesh.compat() == Compat::Outrigger {
        keep_one_proxy(&mut overlays);
    }

    let native = native::for_pod(native, pod::annotation(&pod, names::ANNOTATION_NATIVE_SIDECAR));
    let room = (mesh.compat() == Compat::Outrigger).then_some(&earlier);
    let (template_pod, merged) = lay_over(&pod, &overlays, native, room)?;
    let mode = proxy_config.get("interceptionMode").and_then(Value::as_str).unwrap_or_default();
    let mut merged = overrides::reapply(
        merged,
        overrides::Input {
            received: &pod,
            template_pod: &template_pod,
            earlier: &earlier,
            interception_mode: mode,
            compat: mesh.compat(),
        },
    )
    .map_err(|source| Refusal::Merge { what: "the user's own proxy container".to_owned(), source })?;
    let context = PostContext {
        received: &pod,
        template_pod: &template_pod,
        mesh_config: mesh.mesh_config(),
        proxy_config: &proxy_config,
        values: mesh.values(),
        path_env: &request.path_env,
        revision: mesh.revision(),
        injected_annotations: match rules {
            Rules::Configured => &mesh.injector().injected_annotations,
            Rules::TemplatesOnly => &NO_ANNOTATIONS,
        },
        compat: mesh.compat(),
    };
    warnings.extend(post::apply(&mut merged, &context).map_err(Refusal::Post)?);

    let (patch, patch_json, pod) = finish(merged, &request.pod)?;
    let templates = templates.into_iter().map(|(name, _)| name.to_owned()).collect();
    Ok(Outcome::Injected(Box::new(Injection { patch, patch_json, pod, templates, decision, warnings })))
}

fn decide(rules: Rules, mesh: &Mesh, pod: &Value, facts: &Facts<'_>) -> Decision {
    let injector = mesh.injector();
    let tags: Vec<String> = mesh
        .value(&["revisionTags"])
        .and_then(Value::as_array)
        .map(|tags| tags.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    let mut input = DecisionInput {
        policy: injector.policy.as_str(),
        never: &injector.never_inject,
        always: &injector.always_inject,
        namespace_labels: facts
            .namespace
            .filter(|_| facts.selection == Selection::ByLabels)
            .map(|namespace| &namespace.labels),
        revision: mesh.revision(),
        tags: &tags,
        enable_namespaces_by_default: mesh.value(&["sidecarInjectorWebhook", "enableNamespacesByDefault"])
            == Some(&Value::Bool(true)),
        compat: mesh.compat(),
    };
    if rules == Rules::TemplatesOnly {
        input = DecisionInput {
            policy: Policy::Enabled.as_str(),
            never: &[],
            always: &[],
            namespace_labels: None,
            ..input
        };
    }
    decision::decide(pod, pod::namespace(pod), &input)
}

/// Checks every annotation that is read; gives the values that templates are to see in another spelling.
fn check_annotations(
    mesh: &Mesh,
    pod: &Value,
    warnings: &mut Vec<Warning>,
) -> Result<BTreeMap<&'static str, String>, Refusal> {
    let nothing = serde_json::Map::new();
    let map = |field: &str| {
        pod.get("metadata")
            .and_then(|metadata| metadata.get(field))
            .and_then(Value::as_object)
            .unwrap_or(&nothing)
    };
    let ignored = RefCell::new(Vec::new());
    let proxy_config = |text: &str| match proxy::proxy_config_annotation(text) {
        Ok(annotation) => {
            ignored.replace(annotation.ignored);
            Ok(())
        }
        // The offence names the annotation already.
        Err(error) => Err(error.offences.iter().map(ToString::to_string).collect::<Vec<_>>().join(", and ")),
    };
    let accepted = annotation::check(map("annotations"), map("labels"), mesh.compat(), &proxy_config)
        .map_err(Refusal::Annotations)?;
    warnings.extend(ignored.take().iter().map(|offence| {
        // Kubernetes advises 120 characters, so nothing is said twice.
        let message = format!("{}: {offence}", names::ANNOTATION_PROXY_CONFIG);
        Warning::new("IGNORED_PROXY_CONFIG_FIELD", message)
    }));
    warnings.extend(accepted.warnings);
    Ok(accepted.respelt)
}

/// Mesh default, ProxyConfig resources and the pod's annotation, by Istio's precedence; borrowed when only the mesh speaks.
fn effective_proxy_config<'m>(rules: Rules, mesh: &'m Mesh, pod: &Value) -> Result<Cow<'m, Value>, Refusal> {
    let mesh_config = mesh.mesh_config();
    let annotation = pod::annotation(pod, names::ANNOTATION_PROXY_CONFIG);
    if let (Rules::TemplatesOnly, Some(text)) = (rules, annotation) {
        return proxy::annotated_mesh_default(mesh_config, text)
            .map(Cow::Owned)
            .map_err(|error| Refusal::ProxyConfig(error.to_string()));
    }
    let root = mesh_config.get("rootNamespace").and_then(Value::as_str).unwrap_or_default();
    let labels = pod.pointer("/metadata/labels").unwrap_or(&Value::Null);
    let resources = mesh.proxy_configs();
    proxy::effective_proxy_config(mesh_config, root, pod::namespace(pod), labels, annotation, resources)
        .map_err(|error| Refusal::ProxyConfig(error.to_string()))
}

/// Gives the templates the accepted spelling of a value (a list without blanks, say).
fn respell(pod: &mut Cow<'_, Value>, respelt: BTreeMap<&'static str, String>) {
    if !respelt.is_empty() {
        let annotations = pod::annotations_mut(pod.to_mut());
        annotations.extend(respelt.into_iter().map(|(key, value)| (key.to_owned(), Value::String(value))));
    }
}

/// The nodes a pod can come to, if they are known: those of a remote cluster, which the URL path names, are not
/// (Istio's `nodes.ForCluster`).
fn known_nodes<'a>(
    rules: Rules,
    mesh: &Mesh,
    path_env: &BTreeMap<String, String>,
    facts: &Facts<'a>,
) -> Option<&'a Nodes> {
    if rules == Rules::TemplatesOnly {
        return None;
    }
    let own = mesh.value(&["global", "multiCluster", "clusterName"]).and_then(Value::as_str);
    let own = own.filter(|name| !name.is_empty()).unwrap_or(DEFAULT_CLUSTER);
    let asked = path_env.get(names::ENV_CLUSTER_ID).filter(|name| !name.is_empty());
    facts.nodes.filter(|_| asked.is_none_or(|asked| asked == own))
}

fn node_name(pod: &Value) -> Option<&str> {
    pod.get("spec")?.get("nodeName")?.as_str()
}

/// The proxy's IDs: OpenShift gives every namespace its own.
fn proxy_ids(mesh: &Mesh, facts: &Facts<'_>) -> ProxyIds {
    let namespace = facts.namespace.filter(|_| mesh.platform() == Platform::OpenShift);
    openshift::proxy_ids(namespace.map(|namespace| &namespace.annotations))
}

/// The pod to work on: its namespace filled in, `managedFields` left aside (they are large, and nobody's business here).
fn working_copy(request: &PodRequest) -> Result<Value, Refusal> {
    let Value::Object(received) = &request.pod else { return Err(Refusal::NotAPod("it is no JSON object")) };
    for (place, is_wanted, sentence) in SHAPES {
        if request.pod.pointer(place).is_some_and(|value| !value.is_null() && !is_wanted(value)) {
            return Err(Refusal::NotAPod(sentence));
        }
    }
    let mut pod = serde_json::Map::new();
    for (key, value) in received {
        let copy = match (key.as_str(), value) {
            ("metadata", Value::Object(metadata)) => {
                let kept = metadata.iter().filter(|(key, _)| *key != "managedFields");
                Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
            }
            ("metadata", Value::Null) => json!({}),
            _ => value.clone(),
        };
        pod.insert(key.clone(), copy);
    }
    let metadata = pod.entry("metadata").or_insert_with(|| json!({}));
    let unnamed = metadata.get("namespace").and_then(Value::as_str).is_none_or(str::is_empty);
    if let (true, Some(metadata)) = (unnamed && !request.namespace.is_empty(), metadata.as_object_mut()) {
        metadata.insert("namespace".to_owned(), Value::String(request.namespace.clone()));
    }
    Ok(Value::Object(pod))
}

/// The pod to answer with, and the patch that makes it of the received one, proved by applying it.
fn finish(mut wanted: Value, received: &Value) -> Result<(Vec<patch::Operation>, String, Value), Refusal> {
    if let Some(metadata) = wanted.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in ["managedFields", "namespace"] {
            match received.get("metadata").and_then(|metadata| metadata.get(key)) {
                Some(value) => metadata.insert(key.to_owned(), value.clone()),
                None => metadata.remove(key),
            };
        }
    }
    let operations = patch::diff(received, &wanted);
    patch::verify(received, &operations, &wanted).map_err(Refusal::Unverified)?;
    let json = patch::to_json(&operations);
    if json.len() > PATCH_LIMIT {
        return Err(Refusal::PatchTooLarge { bytes: json.len(), limit: PATCH_LIMIT });
    }
    Ok((operations, json, wanted))
}

/// Lays the overlays over an empty pod (what the templates alone make) and over the pod.
///
/// With native sidecars the template has the proxy among the init containers, but a user's customisation of it may stand
/// in `containers`: it moves first, so that the two meet. So does what an earlier injection put elsewhere.
fn lay_over(
    pod: &Value,
    overlays: &[(&str, Value)],
    native: bool,
    earlier: Option<&Earlier>,
) -> Result<(Value, Value), Refusal> {
    let mut template_pod = json!({});
    let mut merged = pod.clone();
    if let Some(earlier) = earlier {
        earlier.make_room(&mut merged, |list, name| {
            overlays.iter().any(|(_, overlay)| pod::find(pod::spec_list(overlay, list), name).is_some())
        });
    }
    for (name, overlay) in overlays {
        let refused = |source| Refusal::Merge { what: format!("template {name:?}"), source };
        template_pod = merge::pod(template_pod, overlay, Directives::Honour).map_err(refused)?;
        if native && pod::find(pod::init_containers(&template_pod), names::CONTAINER_PROXY).is_some() {
            make_native(&mut merged);
        }
        merged = merge::pod(merged, overlay, Directives::Honour).map_err(refused)?;
    }
    Ok((template_pod, merged))
}

/// Gives every overlay the proxy in the list where the first of them has it. A template that tunes the proxy need not know
/// whether it is a native sidecar; in Istio the pod gets a second container of that name.
fn keep_one_proxy(overlays: &mut [(&str, Value)]) {
    const LISTS: [&str; 2] = ["containers", "initContainers"];
    let has = |overlay: &Value, list: &str| {
        pod::find(pod::spec_list(overlay, list), names::CONTAINER_PROXY).is_some()
    };
    let first = overlays.iter().find_map(|(_, overlay)| LISTS.into_iter().find(|list| has(overlay, list)));
    let Some(home) = first else { return };
    for (_, overlay) in overlays {
        for away in LISTS.into_iter().filter(|list| *list != home) {
            if !has(overlay, away) || has(overlay, home) {
                continue;
            }
            let list = pod::spec_list_mut(overlay, away);
            let Some(index) = list.iter().position(|item| pod::name(item) == names::CONTAINER_PROXY) else {
                continue;
            };
            let mut proxy = list.remove(index);
            if let Some(proxy) = proxy.as_object_mut() {
                // What makes an init container a sidecar; an ordinary container may not have it, a sidecar has it already.
                proxy.remove("restartPolicy");
            }
            pod::spec_list_mut(overlay, home).push(proxy);
        }
    }
}

/// Moves the first proxy of `containers` to the end of `initContainers`.
fn make_native(pod: &mut Value) {
    let proxy =
        pod::containers(pod).iter().position(|container| pod::name(container) == names::CONTAINER_PROXY);
    if let Some(index) = proxy {
        let proxy = pod::containers_mut(pod).remove(index);
        pod::init_containers_mut(pod).push(proxy);
    }
}
