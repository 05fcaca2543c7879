//! The inverse of injection: a pod without what an earlier injection added, as far as the pod says what that was.
//!
//! Containers, volumes and hooks are named in `sidecar.istio.io/status`, the user's own versions of them in
//! `proxy.istio.io/overrides`; probes and scrape settings are in the proxy's environment. Labels and annotations of the
//! templates are recorded nowhere: one is removed if its value is the one that templates derive from the pod. A remark
//! names everything that the pod does not show.

use serde_json::{Map, Value, json};

use super::{
    post,
    reinject::{Malformed, PreviousInjection, Status},
    scraping,
};
use crate::{
    names, pod,
    quirks::Quirks,
    warning::{Warning, shown},
};

#[cfg(test)]
mod tests;

/// A pod without its injection.
#[derive(Clone, Debug)]
pub struct Uninjected {
    /// The pod.
    pub pod: Value,
    /// What could not be restored, or only by a guess, each with its path in the pod.
    pub remarks: Vec<String>,
}

/// The containers of Istio's templates, which Istio puts in places of their own.
const OF_ISTIO: [&str; 4] =
    [names::CONTAINER_PROXY, names::CONTAINER_INIT, names::CONTAINER_VALIDATION, names::CONTAINER_CORE_DUMP];

/// The agent's port if neither the pod nor the mesh says otherwise (ProxyConfig's `statusPort`).
const STATUS_PORT: i64 = 15020;

/// Removes an injection from a pod; `None` if it has none. `owner` is the name of the workload that creates the pod.
///
/// # Errors
/// If an annotation that records the injection is not what an injector writes.
pub fn uninject(injected: &Value, owner: &str) -> Result<Option<Uninjected>, Malformed> {
    let Some(status) = Status::of(injected)? else { return Ok(None) };
    let mut warnings: Vec<Warning> = Vec::new();
    let earlier = PreviousInjection::of(injected, Quirks::NONE, &mut warnings)?;
    let mut remarks: Vec<String> = warnings.into_iter().map(|warning| warning.message).collect();
    let proxy = pod::find_sidecar(injected);
    let port = status_port(injected);
    let scrape = proxy.and_then(|proxy| variable(proxy, names::ENV_PROMETHEUS)).map(str::to_owned);
    let probers = proxy.and_then(|proxy| variable(proxy, names::ENV_APP_PROBERS));
    let probers = probers.and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok());

    let is_merged = pod::annotations(injected)
        .any(|(key, value)| scraping::is_spelling(key, scraping::PORT) && value == port.to_string());
    let mut pod = earlier.strip(injected, port, Quirks::NONE).into_owned();
    restore_place(&mut pod, injected, &earlier, &status);
    restore_own(&mut pod, &earlier, &mut remarks);
    post::remove_pre_stop(&mut pod, &status.pre_stop);
    remove_volumes(&mut pod, &earlier, &status, &mut remarks);
    remove_pull_secrets(&mut pod, injected);
    restore_probes(&mut pod, &probers.unwrap_or_default(), &mut remarks);
    let annotations = pod::annotations_mut(&mut pod);
    annotations.remove(names::ANNOTATION_OVERRIDES);
    if is_merged {
        restore_scraping(annotations, scrape.as_deref(), &mut remarks);
    }
    remove_metadata(&mut pod, injected, owner, &mut remarks);
    remove_spec(&mut pod, injected, &mut remarks);
    remark_other_templates(injected, &earlier, &status, &mut remarks);
    remove_empty(&mut pod, injected);
    Ok(Some(Uninjected { pod, remarks }))
}

/// The agent's port, to which merged scrape annotations point.
fn status_port(pod: &Value) -> i64 {
    let own = pod::annotation(pod, names::ANNOTATION_STATUS_PORT).and_then(|text| text.parse().ok());
    own.filter(|port| *port != 0).unwrap_or(STATUS_PORT)
}

fn variable<'p>(container: &'p Value, name: &str) -> Option<&'p str> {
    let env = container.get("env")?.as_array()?;
    pod::find(env, name)?.get("value")?.as_str()
}

/// Moves the user's own proxy back to the init containers, if an injection that added an ordinary one left it there.
fn restore_place(pod: &mut Value, injected: &Value, earlier: &PreviousInjection, status: &Status) {
    let is_injected = |name: &str| status.init_containers.iter().any(|injected| injected == name);
    let proxy = names::CONTAINER_PROXY;
    let before = pod::init_containers(injected);
    let Some(place) = before.iter().position(|container| pod::name(container) == proxy) else { return };
    if is_injected(proxy) || earlier.overrides.find(proxy).is_some() {
        return;
    }
    let containers = pod::containers_mut(pod);
    let Some(at) = containers.iter().position(|container| pod::name(container) == proxy) else { return };
    let own = containers.remove(at);
    let others = before.get(..place).unwrap_or_default();
    let place = others.iter().filter(|container| !is_injected(pod::name(container))).count();
    let list = pod::init_containers_mut(pod);
    list.insert(place.min(list.len()), own);
}

/// Completes the user's own versions of the proxy's containers. Their place is recorded nowhere, and neither is an image
/// that was left to the template (Istio's `reinsertOverrides`).
fn restore_own(pod: &mut Value, earlier: &PreviousInjection, remarks: &mut Vec<String>) {
    for list in ["containers", "initContainers"] {
        let count = pod::spec_list(pod, "containers").len() + pod::spec_list(pod, "initContainers").len();
        let containers = pod.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = pod::name(container).to_owned();
            if earlier.overrides.find(&name).is_some()
                && let Some(container) = container.as_object_mut()
            {
                container.entry("image").or_insert_with(|| json!("auto"));
            }
            if OF_ISTIO.contains(&name.as_str()) && count > 1 {
                remarks.push(format!(
                    "spec.{list}: {name} may have been at another place, which is not recorded"
                ));
            }
        }
    }
}

fn remove_volumes(pod: &mut Value, earlier: &PreviousInjection, status: &Status, remarks: &mut Vec<String>) {
    let mounts = |name: &str| {
        let containers = pod::containers(pod).iter().chain(pod::init_containers(pod));
        containers
            .filter_map(|container| container.get("volumeMounts")?.as_array())
            .flatten()
            .any(|mount| pod::name(mount) == name)
    };
    let mut own = Vec::new();
    for name in &status.volumes {
        if mounts(name) && earlier.overrides.find_volume(name).is_none() {
            let name = shown(name);
            remarks.push(format!(
                "spec.volumes: {name} stays, because a container of the application mounts it"
            ));
        } else {
            own.push(name.as_str());
        }
    }
    if let Some(volumes) = pod.pointer_mut("/spec/volumes").and_then(Value::as_array_mut) {
        volumes.retain_mut(|volume| {
            let name = pod::name(volume).to_owned();
            if !own.contains(&name.as_str()) {
                return true;
            }
            if let Some(recorded) = earlier.overrides.find_volume(&name) {
                *volume = recorded.clone();
                return true;
            }
            match own_source(&name, volume) {
                Own::No => false,
                Own::Source(source) => {
                    remarks.push(format!(
                        "spec.volumes: {name} stays without {source}, because it also has another source"
                    ));
                    if let Some(volume) = volume.as_object_mut() {
                        volume.remove(source);
                    }
                    true
                }
                Own::Fields => {
                    remarks.push(format!(
                        "spec.volumes: {name} is removed, although it has fields that Istio's templates do not set"
                    ));
                    false
                }
            }
        });
    }
}

/// The user's part of a volume that an injection extended without a record, as istiod does.
enum Own {
    No,
    /// It has a source other than this one of Istio's templates.
    Source(&'static str),
    /// It has other fields in the source of the templates.
    Fields,
}

/// The volumes of Istio's templates with their source.
const VOLUMES: [(&str, &str); 9] = [
    ("workload-socket", "emptyDir"),
    ("credential-socket", "emptyDir"),
    ("workload-certs", "emptyDir"),
    ("istio-envoy", "emptyDir"),
    ("istio-data", "emptyDir"),
    ("istio-podinfo", "downwardAPI"),
    ("istio-token", "projected"),
    ("istiod-ca-cert", "configMap"),
    ("istio-ca-crl", "configMap"),
];

fn own_source(name: &str, volume: &Value) -> Own {
    let Some((_, source)) = VOLUMES.iter().find(|(known, _)| *known == name) else { return Own::No };
    let Some(volume) = volume.as_object() else { return Own::No };
    let sources = || volume.keys().filter(|key| *key != "name");
    if volume.contains_key(*source) && sources().count() > 1 {
        return Own::Source(source);
    }
    let set = volume.get(*source).and_then(Value::as_object);
    match set.is_some_and(|set| *source == "emptyDir" && set.keys().any(|key| key != "medium")) {
        true => Own::Fields,
        false => Own::No,
    }
}

/// Containers of Istio's templates, except those that a user can have a version of.
const GRPC_INIT: &str = "grpc-bootstrap-init";

/// Names the containers and volumes that only templates other than Istio's add, because those can add anything else.
fn remark_other_templates(
    injected: &Value,
    earlier: &PreviousInjection,
    status: &Status,
    remarks: &mut Vec<String>,
) {
    let is_istios = |name: &str| OF_ISTIO.contains(&name) || name == GRPC_INIT;
    let containers = status.init_containers.iter().chain(&status.containers);
    let containers = containers
        .filter(|name| !is_istios(name) && earlier.overrides.find(name).is_none())
        .map(|name| format!("container {}", shown(name)));
    let is_istios = |name: &str| VOLUMES.iter().any(|(known, _)| *known == name);
    // Volumes from the annotation are the user's.
    let has_annotation = pod::annotation(injected, names::ANNOTATION_USER_VOLUME).is_some();
    let volumes = status.volumes.iter().filter(|name| !has_annotation && !is_istios(name));
    let volumes = volumes.map(|name| format!("volume {}", shown(name)));
    let others: Vec<String> = containers.chain(volumes).take(4).collect();
    if !others.is_empty() {
        remarks.push(format!(
            "metadata, spec: anything else from templates other than Istio's stays, because it is not recorded; they added {}",
            others.join(", ")
        ));
    }
}

/// Removes the secrets that the status names; [`Status`] itself does not need them.
fn remove_pull_secrets(pod: &mut Value, injected: &Value) {
    let status = pod::annotation(injected, names::ANNOTATION_STATUS);
    let status: Value = status.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let added: Vec<&str> = status
        .get("imagePullSecrets")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if let Some(secrets) = pod.pointer_mut("/spec/imagePullSecrets").and_then(Value::as_array_mut) {
        secrets.retain(|secret| !added.contains(&pod::name(secret)));
    }
}

/// The fields with handlers, their holder in a container, and the end of the agent's path for them (Istio's
/// `FormatProberURL`).
const HANDLERS: [(&[&str], &str, &str); 5] = [
    (&["readinessProbe"], "app-health", "readyz"),
    (&["livenessProbe"], "app-health", "livez"),
    (&["startupProbe"], "app-health", "startupz"),
    (&["lifecycle", "preStop"], "app-lifecycle", "prestopz"),
    (&["lifecycle", "postStart"], "app-lifecycle", "poststartz"),
];

/// Restores the handlers that were redirected to the agent, from the agent's table.
fn restore_probes(pod: &mut Value, probers: &Map<String, Value>, remarks: &mut Vec<String>) {
    for list in ["initContainers", "containers"] {
        let containers = pod.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        for (index, container) in containers.into_iter().flatten().enumerate() {
            let name = pod::name(container).to_owned();
            let ports = container.get("ports").and_then(Value::as_array).cloned().unwrap_or_default();
            for (path, group, end) in HANDLERS {
                let url = format!("/{group}/{name}/{end}");
                let holder = path.iter().try_fold(&mut *container, |value, key| value.get_mut(*key));
                let Some(handler) = holder.and_then(Value::as_object_mut) else { continue };
                let asked = handler.get("httpGet").and_then(|request| request.get("path")?.as_str());
                if asked != Some(url.as_str()) {
                    continue;
                }
                let place = format!("spec.{list}[{index}].{}", path.join("."));
                match probers.get(&url).and_then(Value::as_object) {
                    Some(prober) => restore_handler(handler, prober, &ports, &place, remarks),
                    None => remarks.push(format!(
                        "{place} still asks the agent: {} of the proxy has no entry {url}",
                        names::ENV_APP_PROBERS
                    )),
                }
            }
        }
    }
}

fn restore_handler(
    handler: &mut Map<String, Value>,
    prober: &Map<String, Value>,
    ports: &[Value],
    place: &str,
    remarks: &mut Vec<String>,
) {
    // The agent's table contains port numbers only, so a probe of a named port gets the name of the port with that number.
    let mut port = |action: &Map<String, Value>, kind: &str| {
        let number = action.get("port").cloned().unwrap_or(json!(0));
        let mut named = ports.iter().filter(|port| port.get("containerPort") == Some(&number));
        match (named.next().map(pod::name), named.next()) {
            (Some(name), None) if !name.is_empty() => {
                remarks.push(format!(
                    "{place}.{kind}.port is {name}, the name of port {number}; the record has the number only"
                ));
                json!(name)
            }
            (Some(_), Some(_)) => {
                remarks.push(format!(
                    "{place}.{kind}.port is {number}; if it was the name of one of several ports with this number, the record \
                     has the number only"
                ));
                number
            }
            _ => number,
        }
    };
    if let Some(Value::Object(action)) = prober.get("httpGet") {
        let port = port(action, "httpGet");
        let Some(request) = handler.get_mut("httpGet").and_then(Value::as_object_mut) else { return };
        request.insert("port".to_owned(), port);
        for key in ["path", "scheme"] {
            match action.get(key) {
                Some(value) => request.insert(key.to_owned(), value.clone()),
                // A field that is not recorded was absent, but only the path is certain to have been replaced.
                None if key == "path" => request.remove(key),
                None => None,
            };
        }
        return;
    }
    handler.remove("httpGet");
    if let Some(Value::Object(action)) = prober.get("tcpSocket") {
        let mut socket = action.clone();
        socket.insert("port".to_owned(), port(action, "tcpSocket"));
        handler.insert("tcpSocket".to_owned(), Value::Object(socket));
    } else if let Some(Value::Object(action)) = prober.get("grpc") {
        let mut action = action.clone();
        action.retain(|_, value| !value.is_null());
        handler.insert("grpc".to_owned(), Value::Object(action));
    }
}

/// Restores the scrape annotations from the agent's variable (Istio's `applyPrometheusMerge`).
fn restore_scraping(annotations: &mut Map<String, Value>, recorded: Option<&str>, remarks: &mut Vec<String>) {
    let Some(Ok(Value::Object(recorded))) = recorded.map(serde_json::from_str) else { return };
    let has_targets = recorded.get("targets").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if has_targets {
        remarks.push(
            "metadata.annotations: prometheus.io/port and prometheus.io/path are the first of several scrape targets"
                .to_owned(),
        );
    }
    let text = |key: &str| recorded.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    if text("scrape").is_none() && (text("path").is_some() || text("port").is_some()) {
        remarks.push(
            "metadata.annotations: prometheus.io/port and prometheus.io/path may have been spelled differently \
             (prometheus_io_port); the record has their values only"
                .to_owned(),
        );
    }
    for key in ["scrape", "path", "port"] {
        if let Some(value) =
            recorded.get(key).filter(|value| value.as_str().is_some_and(|text| !text.is_empty()))
        {
            annotations.insert(format!("prometheus.io/{key}"), value.clone());
        }
    }
}

/// Removes labels and annotations with the values that templates derive from the pod.
fn remove_metadata(pod: &mut Value, injected: &Value, owner: &str, remarks: &mut Vec<String>) {
    let label = |key: &str| pod::label(injected, key).filter(|value| !value.is_empty());
    let status = pod::annotation(injected, names::ANNOTATION_STATUS);
    let status: Value = status.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let revision = status.get("revision").and_then(Value::as_str).unwrap_or("default");
    let has_cni = pod::find_container(injected, names::CONTAINER_VALIDATION).is_some();
    let application = pod::containers(pod).iter().map(pod::name).find(|name| *name != names::CONTAINER_PROXY);
    let application = application.unwrap_or_default().to_owned();
    let canonical = label("app.kubernetes.io/name").or(label("app")).unwrap_or(owner);
    let canonical: String = canonical.chars().take(63).collect();
    let canonical = canonical.trim_matches(['-', '_', '.']).to_owned();
    let version = label("app.kubernetes.io/version").or(label("version")).unwrap_or("latest").to_owned();
    let revision = revision.to_owned();
    let derived = [
        ("labels", "security.istio.io/tlsMode", "istio".to_owned()),
        ("labels", "networking.istio.io/tunnel", "http".to_owned()),
        ("labels", "service.istio.io/canonical-name", canonical),
        ("labels", "service.istio.io/canonical-revision", version),
        ("annotations", names::REVISION, revision),
        ("annotations", "prometheus.istio.io/secure-port", "15091".to_owned()),
        (
            "annotations",
            "container.apparmor.security.beta.kubernetes.io/istio-proxy",
            "runtime/default".to_owned(),
        ),
        ("annotations", "kubectl.kubernetes.io/default-container", application.clone()),
        ("annotations", "kubectl.kubernetes.io/default-logs-container", application),
    ];
    // Only with the CNI plugin do templates write the values in force.
    let by_cni = [
        ("annotations", "sidecar.istio.io/interceptionMode", "REDIRECT".to_owned()),
        ("annotations", "traffic.sidecar.istio.io/includeOutboundIPRanges", "*".to_owned()),
        ("annotations", "traffic.sidecar.istio.io/includeInboundPorts", "*".to_owned()),
        ("annotations", "traffic.sidecar.istio.io/excludeInboundPorts", status_port(injected).to_string()),
    ];
    let is_grpc = pod::find_sidecar(injected)
        .is_some_and(|proxy| variable(proxy, "ISTIO_META_GENERATOR") == Some("grpc"));
    let by_grpc = ("annotations", names::ANNOTATION_REWRITE_PROBES, "false".to_owned());
    if is_grpc && pod::annotation(injected, names::ANNOTATION_REWRITE_PROBES) == Some("false") {
        remarks.push(format!(
            "metadata.annotations: {} is removed, because the template for gRPC sets it; whether it was there before is not recorded",
            names::ANNOTATION_REWRITE_PROBES
        ));
    }
    let metadata = pod::metadata_mut(pod);
    let by_options = by_cni.into_iter().filter(|_| has_cni).chain(Some(by_grpc).filter(|_| is_grpc));
    for (field, key, value) in derived.into_iter().chain(by_options) {
        let Some(map) = metadata.get_mut(field).and_then(Value::as_object_mut) else { continue };
        match map.get(key).and_then(Value::as_str) {
            Some(found) if found == value => {
                map.remove(key);
            }
            Some(_) => remarks.push(format!(
                "metadata.{field}: {key} stays, because its value is not the one that injection sets"
            )),
            None => {}
        }
    }
    let labels = metadata.get("labels").and_then(Value::as_object);
    if labels.is_some_and(|labels| labels.contains_key(names::LABEL_TOPOLOGY_NETWORK)) {
        let key = names::LABEL_TOPOLOGY_NETWORK;
        remarks.push(format!("metadata.labels: {key} stays, because injection may have found it there"));
    }
}

/// Removes what templates set in the spec itself, and adds remarks about what they may have changed there.
fn remove_spec(pod: &mut Value, injected: &Value, remarks: &mut Vec<String>) {
    let spec = pod::spec_mut(pod);
    // Istio's former template, and the one for gateways.
    let by_templates = [
        json!({"fsGroup": 1337}),
        json!({"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]}),
    ];
    if spec.get("securityContext").is_some_and(|context| by_templates.contains(context)) {
        spec.remove("securityContext");
        remarks.push("spec.securityContext is removed; its value is the one that injection sets".to_owned());
    }
    // The gateway's template takes it from the values.
    let args = pod::find_sidecar(injected).and_then(|proxy| proxy.get("args")?.as_array());
    let is_gateway = args.is_some_and(|args| args.iter().any(|arg| arg == "router"));
    if is_gateway && spec.contains_key("securityContext") {
        remarks.push(
            "spec.securityContext stays; whether the template for gateways set it is not recorded".to_owned(),
        );
    }
    let is_set = |key: &str| pod::at(injected, &["spec", key]).is_some_and(|value| !value.is_null());
    for (key, part) in [("dnsConfig", "search domains"), ("resources", "the proxy's resources")] {
        if is_set(key) {
            remarks.push(format!("spec.{key} stays; whether injection added {part} to it is not recorded"));
        }
    }
}

/// Removes collections that are empty now.
fn remove_empty(pod: &mut Value, injected: &Value) {
    let is_emptied = |value: Option<&Value>, before: Option<&Value>| {
        let is_empty = |value: &Value| match value {
            Value::Object(map) => map.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        value.is_some_and(is_empty) && before != value
    };
    for (part, keys) in [
        ("metadata", ["labels", "annotations", ""]),
        ("spec", ["initContainers", "volumes", "imagePullSecrets"]),
    ] {
        let before = injected.get(part);
        let Some(map) = pod.get_mut(part).and_then(Value::as_object_mut) else { continue };
        for key in keys {
            if is_emptied(map.get(key), before.and_then(|before| before.get(key))) {
                map.remove(key);
            }
        }
        if part == "metadata"
            && map.is_empty()
            && let Some(pod) = pod.as_object_mut()
        {
            pod.remove(part);
        }
    }
}
