//! Random pods: as people and controllers write them, including every union of the API, and the injector's own
//! containers.

use outrigger::gotypes::{POD_SPEC, Type};
use serde_json::{Map, Value, json};

use super::{annotations, random::Random, typed};

const LABELS: &[(&str, &[&str])] = &[
    (
        "app",
        &[
            "web",
            "",
            "017",
            "true",
            "a-very-long-name-that-goes-on-and-on-until-it-is-longer-than-a-label-may-be",
        ],
    ),
    ("app.kubernetes.io/name", &["web", "x"]),
    ("service.istio.io/canonical-name", &["canon", ""]),
    ("service.istio.io/canonical-revision", &["r1", ""]),
    ("version", &["v1", "2", ""]),
    ("app.kubernetes.io/version", &["1.2"]),
    ("topology.istio.io/network", &["net-label", ""]),
    ("sidecar.istio.io/inject", &["true", "false", "yes", "", "True"]),
    ("istio.io/rev", &["canary", "default"]),
    ("security.istio.io/tlsMode", &["disabled", "istio"]),
    ("pod-template-hash", &["6d4cf56db6"]),
    ("tier", &["never", "always", "x"]),
    ("istio", &["ingressgateway"]),
    ("gateway.istio.io/managed", &["istio.io-gateway-controller"]),
];

/// A namespace of a request.
pub(crate) const NAMESPACES: &[&str] =
    &["shop", "shop", "shop", "default", "istio-system", "kube-system", "test-ns", ""];

pub(crate) fn pod(random: &mut Random) -> Value {
    let mut metadata = metadata(random);
    if random.percent(60) {
        metadata.insert("namespace".to_owned(), json!(*random.pick(NAMESPACES)));
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec(random)})
}

/// A pod from a template, with random changes.
pub(crate) fn of_template(random: &mut Random, template: &Value) -> Value {
    let mut pod = mutated(random, template);
    let mut metadata = metadata(random);
    for field in ["labels", "annotations"] {
        let own = template["metadata"][field].as_object().cloned().unwrap_or_default();
        let made = metadata.entry(field).or_insert_with(|| json!({}));
        for (key, value) in own {
            made[key] = value;
        }
    }
    pod["metadata"] = Value::Object(metadata);
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod
}

/// A pod with one or two changes: annotations, a container's fields, an additional container, any field of the spec.
pub(crate) fn mutated(random: &mut Random, pod: &Value) -> Value {
    let mut pod = pod.clone();
    let ty = typed::element(&POD_SPEC, "containers");
    for _ in 0..random.below(4) {
        match random.below(4) {
            0 if pod["metadata"].is_object() => {
                for (key, value) in annotations::annotations(random) {
                    let annotations = pod["metadata"]
                        .as_object_mut()
                        .unwrap()
                        .entry("annotations")
                        .or_insert_with(|| json!({}));
                    if annotations.is_null() {
                        *annotations = json!({});
                    }
                    annotations[key] = value;
                }
            }
            1 => {
                let list = if random.percent(75) { "containers" } else { "initContainers" };
                if let Some(list) = pod["spec"][list].as_array_mut().filter(|list| !list.is_empty()) {
                    let at = random.below(list.len());
                    let fresh = container(random, ty, "fresh");
                    for (key, value) in fresh.as_object().unwrap() {
                        if key != "name" && random.percent(50) {
                            list[at][key] = value.clone();
                        }
                    }
                }
            }
            2 => {
                let own = own_container(random, ty);
                if let Some(list) = pod["spec"]["containers"].as_array_mut()
                    && !list.iter().any(|other| other["name"] == own["name"])
                {
                    list.push(own);
                }
            }
            _ => {
                let field = random.pick(POD_SPEC.fields);
                if pod["spec"].is_object()
                    && !["hostNetwork", "containers", "initContainers", "volumes", "ephemeralContainers", ""]
                        .contains(&field.json)
                {
                    pod["spec"][field.json] = typed::value(random, &field.kind, 3);
                }
            }
        }
    }
    pod
}

/// A pod template of a workload.
pub(crate) fn template(random: &mut Random) -> Value {
    let mut metadata = Map::new();
    with_labels(random, &mut metadata);
    with_annotations(random, &mut metadata);
    if random.percent(5) {
        metadata.insert("name".to_owned(), json!("named"));
    }
    if random.percent(5) {
        metadata.insert("namespace".to_owned(), json!("elsewhere"));
    }
    json!({"metadata": metadata, "spec": spec(random)})
}

fn with_labels(random: &mut Random, metadata: &mut Map<String, Value>) {
    let count = random.below(5);
    if count == 0 {
        return;
    }
    let labels = (0..count).map(|_| {
        let (key, values) = *random.pick(LABELS);
        (key.to_owned(), json!(*random.pick(values)))
    });
    let labels = labels.collect();
    metadata.insert("labels".to_owned(), Value::Object(labels));
}

fn with_annotations(random: &mut Random, metadata: &mut Map<String, Value>) {
    let annotations = annotations::annotations(random);
    if !annotations.is_empty() {
        metadata.insert("annotations".to_owned(), Value::Object(annotations));
    }
}

fn metadata(random: &mut Random) -> Map<String, Value> {
    let mut metadata = Map::new();
    with_labels(random, &mut metadata);
    with_annotations(random, &mut metadata);
    let owner = |kind: &str, api: &str, name: &str, controller: Value| {
        let mut owner = json!({"apiVersion": api, "kind": kind, "name": name, "uid": "7913b40b"});
        if !controller.is_null() {
            owner["controller"] = controller;
        }
        owner
    };
    let owned = match random.below(12) {
        0 => None,
        1 => Some(("db-", owner("StatefulSet", "apps/v1", "db", json!(true)))),
        2 => Some(("agent-", owner("DaemonSet", "apps/v1", "agent", json!(true)))),
        3 => Some(("nightly-28000000-", owner("Job", "batch/v1", "nightly-28000000", json!(true)))),
        4 => Some(("once-", owner("Job", "batch/v1", "once", json!(true)))),
        5 => Some(("config-1-", owner("ReplicationController", "v1", "config-1", json!(true)))),
        6 => Some(("web-6d4cf56db6-", owner("ReplicaSet", "apps/v1", "web-6d4cf56db6", json!(false)))),
        7 => Some(("x-", owner("Thing", "example.com/v1", "x", json!(true)))),
        8 => Some(("rollout-6d4cf56db6-", owner("ReplicaSet", "apps/v1", "rollout-6d4cf56db6", json!(true)))),
        _ => Some(("web-6d4cf56db6-", owner("ReplicaSet", "apps/v1", "web-6d4cf56db6", json!(true)))),
    };
    if let Some((prefix, owner)) = &owned {
        metadata.insert("generateName".to_owned(), json!(prefix));
        metadata.insert("ownerReferences".to_owned(), json!([owner]));
        if random.percent(30) {
            metadata.insert("name".to_owned(), json!(format!("{prefix}x7k2p")));
        }
        let label = match *prefix {
            "rollout-6d4cf56db6-" => Some(("rollouts-pod-template-hash", "6d4cf56db6")),
            "config-1-" => Some(("deploymentconfig", "config")),
            "web-6d4cf56db6-" => Some(("pod-template-hash", "6d4cf56db6")),
            _ => None,
        };
        if let (Some((key, value)), true) = (label, random.percent(80)) {
            let labels = metadata.entry("labels").or_insert_with(|| json!({}));
            labels[key] = json!(value);
        }
    } else {
        metadata.insert("name".to_owned(), json!("bare-1"));
    }
    if random.percent(5) {
        metadata.insert("managedFields".to_owned(), json!([{"manager": "x", "operation": "Update"}]));
    }
    metadata
}

fn spec(random: &mut Random) -> Map<String, Value> {
    let container_type = typed::element(&POD_SPEC, "containers");
    let count = random.within(1..4);
    let mut containers: Vec<Value> =
        (0..count).map(|index| container(random, container_type, &format!("app-{index}"))).collect();
    let mut init: Vec<Value> = Vec::new();
    for index in 0..random.below(3) {
        let mut one = container(random, container_type, &format!("init-{index}"));
        if random.percent(30) {
            one["restartPolicy"] = json!("Always");
        }
        init.push(one);
    }
    if random.percent(25) {
        let own = own_container(random, container_type);
        let name = own["name"].as_str().unwrap_or_default().to_owned();
        let list = if (name == "istio-proxy") != random.percent(15) { &mut containers } else { &mut init };
        let at = random.below(list.len() + 1);
        list.insert(at, own);
    }
    let mut spec = Map::new();
    spec.insert("containers".to_owned(), json!(containers));
    if !init.is_empty() {
        spec.insert("initContainers".to_owned(), json!(init));
    }
    let volume_type = typed::element(&POD_SPEC, "volumes");
    let names = [
        "data",
        "v-1",
        "istio-envoy",
        "istio-data",
        "istio-token",
        "istiod-ca-cert",
        "workload-socket",
        "istio-podinfo",
        "uv",
    ];
    let mut volumes: Vec<Value> = Vec::new();
    for _ in 0..random.below(4) {
        let name = if random.percent(80) { names[random.below(2)] } else { *random.pick(&names) };
        let mut volume = typed::union(random, volume_type, 3);
        volume["name"] = json!(name);
        if !volumes.iter().any(|other| other["name"] == name) {
            volumes.push(volume);
        }
    }
    if random.percent(60) {
        volumes.push(json!({"name": "kube-api-access-q8zsn", "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}]}}));
    }
    if !volumes.is_empty() {
        spec.insert("volumes".to_owned(), json!(volumes));
    }
    if random.percent(50) {
        spec.insert("serviceAccountName".to_owned(), json!(*random.pick(&["default", "sa", ""])));
    }
    if random.percent(15) {
        spec.insert("imagePullSecrets".to_owned(), json!([{"name": "pull"}, {"name": "other"}]));
    }
    if random.percent(15) {
        let user = *random.pick(&[0, 1000, 1337]);
        spec.insert(
            "securityContext".to_owned(),
            json!({"fsGroup": user, "sysctls": [{"name": "net.core.somaxconn", "value": "1"}]}),
        );
    }
    if random.percent(4) {
        spec.insert("hostNetwork".to_owned(), json!(true));
    }
    if random.percent(10) {
        spec.insert("nodeName".to_owned(), json!("node-1"));
    }
    // And any other field of a pod's spec.
    for _ in 0..random.below(3) {
        let field = random.pick(POD_SPEC.fields);
        if !["hostNetwork", "containers", "initContainers", "volumes", "ephemeralContainers"]
            .contains(&field.json)
            && !field.json.is_empty()
        {
            let value = typed::value(random, &field.kind, 3);
            spec.entry(field.json.to_owned()).or_insert(value);
        }
    }
    spec
}

const PORTS: &[u16] = &[80, 8080, 8443, 9090, 3306, 15020, 15021];

fn container(random: &mut Random, ty: &'static Type, name: &str) -> Value {
    let mut container = json!({"name": name, "image": *random.pick(&["example.com/web:1.2", "busybox", "a/b@sha256:1", "auto", "example.com:5000/web"])});
    if random.percent(60) {
        let port = json!({"containerPort": *random.pick(PORTS), "name": *random.pick(&["http", "metrics", "tcp-db"])});
        let mut ports = vec![port];
        if random.percent(30) {
            ports.push(json!({"containerPort": *random.pick(PORTS), "protocol": *random.pick(&["TCP", "UDP", "SCTP"])}));
        }
        container["ports"] = json!(ports);
    }
    for probe in ["readinessProbe", "livenessProbe", "startupProbe"] {
        if random.percent(30) {
            container[probe] = probe_of(random, typed::element(ty, probe));
        }
    }
    if random.percent(25) {
        let lifecycle = typed::element(ty, "lifecycle");
        let mut hooks = Map::new();
        for hook in ["postStart", "preStop"] {
            if random.percent(60) {
                hooks.insert(hook.to_owned(), handler(random, typed::element(lifecycle, hook)));
            }
        }
        if random.percent(10) {
            hooks.insert("stopSignal".to_owned(), json!("SIGTERM"));
        }
        container["lifecycle"] = Value::Object(hooks);
    }
    if random.percent(35) {
        container["env"] = env(random, ty);
    }
    if random.percent(30) {
        container["resources"] = resources(random);
    }
    if random.percent(25) {
        container["securityContext"] = typed::structure(random, typed::element(ty, "securityContext"), 3);
    }
    if random.percent(40) {
        container["volumeMounts"] = json!([{"name": "kube-api-access-q8zsn", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}]);
    }
    // And any other field of a container.
    for _ in 0..random.below(3) {
        let field = random.pick(ty.fields);
        if field.json != "name" && container.get(field.json).is_none() && random.percent(50) {
            container[field.json] = typed::value(random, &field.kind, 3);
        }
    }
    container
}

/// Fields that users set on containers that the templates create.
fn own_container(random: &mut Random, ty: &'static Type) -> Value {
    let name = *random.pick(&[
        "istio-proxy",
        "istio-proxy",
        "istio-proxy",
        "istio-init",
        "istio-validation",
        "enable-core-dump",
    ]);
    let mut own = json!({"name": name, "image": *random.pick(&["auto", "auto", "example.com/own:1", ""])});
    if random.percent(40) {
        let mut context = json!({"runAsUser": *random.pick(&[0, 1337, 2000])});
        if random.percent(50) {
            context["runAsGroup"] = json!(*random.pick(&[0, 1337, 2001]));
        }
        own["securityContext"] = context;
    }
    if random.percent(30) {
        own["env"] =
            json!([{"name": "OWN", "value": "1"}, {"name": "ISTIO_META_CLUSTER_ID", "value": "mine"}]);
    }
    if random.percent(20) {
        own["args"] = json!(*random.pick(&[&["own", "-u", "5"][..], &[][..]]));
    }
    if random.percent(30) {
        own["ports"] = json!([{"containerPort": *random.pick(PORTS), "name": "own"}]);
    }
    if random.percent(30) {
        own["lifecycle"] =
            json!({"preStop": handler(random, typed::element(typed::element(ty, "lifecycle"), "preStop"))});
    }
    if random.percent(30) {
        own["readinessProbe"] = probe_of(random, typed::element(ty, "readinessProbe"));
    }
    if random.percent(30) {
        own["resources"] = resources(random);
    }
    if random.percent(20) {
        let mount = json!({"name": *random.pick(&["istio-envoy", "data"]), "mountPath": *random.pick(&["/etc/istio/proxy", "/own"])});
        own["volumeMounts"] = json!([mount]);
    }
    for _ in 0..random.below(3) {
        let field = random.pick(ty.fields);
        if !["name", "image"].contains(&field.json) && own.get(field.json).is_none() {
            own[field.json] = typed::value(random, &field.kind, 3);
        }
    }
    own
}

fn env(random: &mut Random, ty: &Type) -> Value {
    let env_type = typed::element(ty, "env");
    let count = random.within(1..4);
    let list = (0..count).map(|index| {
        let mut variable = json!({"name": format!("VAR_{index}")});
        if random.percent(50) {
            variable["value"] = json!(*random.pick(annotations::ANY));
        } else {
            variable["valueFrom"] = typed::union(random, typed::element(env_type, "valueFrom"), 3);
        }
        variable
    });
    list.collect()
}

fn resources(random: &mut Random) -> Value {
    let mut resources = Map::new();
    for list in ["requests", "limits"] {
        if random.percent(70) {
            let mut amounts = Map::new();
            for (name, values) in [("cpu", &["100m", "1", "2000m"][..]), ("memory", &["128Mi", "1Gi"][..])] {
                if random.percent(60) {
                    amounts.insert(name.to_owned(), json!(*random.pick(values)));
                }
            }
            resources.insert(list.to_owned(), Value::Object(amounts));
        }
    }
    Value::Object(resources)
}

/// Each kind of handler; `httpGet` often, since injection rewrites it.
fn handler(random: &mut Random, ty: &'static Type) -> Value {
    match random.below(6) {
        0..=2 => {
            let mut get = json!({"port": port(random)});
            if random.percent(80) {
                get["path"] = json!(*random.pick(&["/ready", "ready", "/", ""]));
            }
            if random.percent(25) {
                get["scheme"] = json!(*random.pick(&["HTTP", "HTTPS", ""]));
            }
            if random.percent(15) {
                get["host"] = json!(*random.pick(&["127.0.0.1", "other.example", "localhost"]));
            }
            if random.percent(20) {
                get["httpHeaders"] = json!([{"name": "Host", "value": "x"}]);
            }
            json!({"httpGet": get})
        }
        3 if ty.field_by_json("tcpSocket").is_some() => json!({"tcpSocket": {"port": port(random)}}),
        _ => typed::union(random, ty, 3),
    }
}

fn port(random: &mut Random) -> Value {
    match random.below(6) {
        0 => json!("http"),
        1 => json!(*random.pick(&["missing", "metrics", "8080", ""])),
        _ => json!(*random.pick(PORTS)),
    }
}

fn probe_of(random: &mut Random, ty: &'static Type) -> Value {
    let mut probe = handler(random, ty);
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
        "terminationGracePeriodSeconds",
    ] {
        if random.percent(20) {
            probe[field] = json!(*random.pick(&[0, 1, 5, 60]));
        }
    }
    probe
}

/// Modifications of an injected pod before it is sent again.
pub(crate) fn changed(random: &mut Random, pod: &Value) -> Value {
    let mut pod = pod.clone();
    let container_type = typed::element(&POD_SPEC, "containers");
    match random.below(5) {
        0 => {}
        1 => {
            let late = container(random, container_type, "late");
            if let Some(list) = pod["spec"]["containers"].as_array_mut() {
                let at = random.below(list.len() + 1);
                list.insert(at, late);
            }
        }
        2 => {
            for (key, value) in annotations::annotations(random) {
                pod["metadata"]["annotations"][key] = value;
            }
        }
        3 => {
            let list = if random.percent(50) { "containers" } else { "initContainers" };
            if let Some(one) = pod["spec"][list].as_array_mut().filter(|list| !list.is_empty()) {
                let at = random.below(one.len());
                one[at]["image"] = json!("example.com/other:2");
                one[at]["resources"] = resources(random);
            }
        }
        _ => {
            let key = *random.pick(&["app", "version", "topology.istio.io/network"]);
            pod["metadata"]["labels"][key] = json!("changed");
        }
    }
    pod
}
