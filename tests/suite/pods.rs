//! Pods for the property tests: hostile strings, the same pod with harmless ones, and random realistic pods.

use std::collections::BTreeMap;

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};

/// Text with a special meaning in YAML, Go's templates, strategic merge, terminals or our own placeholders.
const FRAGMENTS: &[&str] = &[
    "\"",
    "'",
    "\\",
    "\n",
    "\r\n",
    "\t",
    "\0",
    ": ",
    ":",
    "# ",
    " #",
    "---",
    "\n---\n",
    "...",
    "- ",
    "? ",
    "| ",
    "|-\n",
    "> ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "{{",
    "}}",
    "{{ .Values }}",
    "{{/*",
    "*/}}",
    "`",
    "$patch",
    "$patch: delete",
    "$retainKeys",
    "$(POD_NAME)",
    "!!str ",
    "!!binary ",
    "!tag ",
    "&a ",
    "*a",
    "<<: ",
    "%YAML 1.2\n",
    "@",
    "~",
    "null",
    "true",
    "yes",
    "0x1F",
    "017",
    "1e3",
    ".inf",
    "-0",
    "1_000",
    "2001-01-01",
    "\u{E000}",
    "\u{E001}",
    "\u{E000}0\u{E001}",
    "\u{E000}99\u{E001}",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "\u{202e}",
    "\u{1b}[2J",
    "\u{1F980}",
    "\u{10FFFF}",
    "é",
    "\n    privileged: true",
    "\n  hostNetwork: true\n",
    "\n  - name: evil\n    image: evil\n",
    "\"\n",
    "'\n",
    "%s",
    "%!",
    "\u{7f}",
    "/",
    "~1",
    "~0",
    "..",
    " ",
    "a",
];

/// A hostile string; never empty.
pub(crate) fn hostile() -> impl Strategy<Value = String> {
    let fragments = || vec(select(FRAGMENTS), 1..6).prop_map(|all| all.concat());
    prop_oneof![
        6 => fragments(),
        2 => "\\PC{1,12}",
        1 => any::<Vec<char>>().prop_map(|all| format!("x{}", all.into_iter().take(20).collect::<String>())),
        1 => (fragments(), 200..4000usize).prop_map(|(text, times)| text.repeat(times / text.len() + 1)),
    ]
}

/// The places for strings.
const SLOTS: usize = 32;

/// The strings that [`pod_with`] needs: hostile ones, distinguished by a mark at one end or the other.
pub(crate) fn strings() -> impl Strategy<Value = Vec<String>> {
    vec((hostile(), any::<bool>()), SLOTS).prop_map(|all| {
        let marked = all.into_iter().enumerate().map(|(index, (text, first))| {
            if first { format!("q{index}q{text}") } else { format!("{text}q{index}q") }
        });
        marked.collect()
    })
}

/// The same number of harmless strings.
pub(crate) fn harmless() -> Vec<String> {
    (0..SLOTS).map(|index| format!("s{index}")).collect()
}

/// The structure of a pod besides its strings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// Whether the pod belongs to a controller.
    pub(crate) owned: bool,
    /// Which label names the application: none, `app`, `app.kubernetes.io/name`.
    pub(crate) app_label: u8,
    /// Whether the pod has a proxy container of its own.
    pub(crate) own_proxy: bool,
    /// Whether the containers have probes.
    pub(crate) probes: bool,
    /// Whether there are telemetry annotations.
    pub(crate) telemetry: bool,
}

pub(crate) fn form() -> impl Strategy<Value = Form> {
    (any::<bool>(), 0..3u8, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(owned, app_label, own_proxy, probes, telemetry)| Form {
            owned,
            app_label,
            own_proxy,
            probes,
            telemetry,
        },
    )
}

/// A pod with the strings in every possible place.
pub(crate) fn pod_with(s: &[String], form: Form) -> Value {
    let container = |from: usize, port: u16| {
        let mut container = json!({
            "name": s[from],
            "image": s[from + 1],
            "ports": [{"name": s[from + 2], "containerPort": port}, {"containerPort": port + 1, "protocol": s[from + 3]}],
            "env": [{"name": s[from + 4], "value": s[from + 5]}],
        });
        if form.probes {
            container["readinessProbe"] = json!({"httpGet": {"path": s[from + 5], "port": s[from + 2], "httpHeaders": [{"name": s[from + 4], "value": s[from + 3]}]}});
            container["livenessProbe"] = json!({"grpc": {"port": port, "service": s[from + 4]}});
            container["lifecycle"] = json!({"preStop": {"httpGet": {"host": s[from + 3], "port": port}}});
        }
        container
    };
    let mut labels = json!({s[0].clone(): s[1], "version": s[2]});
    match form.app_label {
        1 => labels["app"] = json!(s[3]),
        2 => labels["app.kubernetes.io/name"] = json!(s[3]),
        _ => {}
    }
    let mut annotations = json!({s[4].clone(): s[5], "prometheus.io/path": s[6]});
    if form.telemetry {
        annotations["resource.opentelemetry.io/service.version"] = json!(s[7]);
        annotations["resource.opentelemetry.io/service.namespace"] = json!(s[8]);
        annotations["k8s.v1.cni.cncf.io/networks"] = json!(format!("n{}", s[9]));
        annotations["apm.datadoghq.com/env"] = json!(json!({s[10].clone(): s[11]}).to_string());
        annotations["sidecar.istio.io/userVolume"] =
            json!(json!({s[12].clone(): {"secret": {"secretName": s[13]}}}).to_string());
        annotations["sidecar.istio.io/userVolumeMount"] =
            json!(json!({s[12].clone(): {"mountPath": s[13]}}).to_string());
    }
    let mut metadata = json!({"labels": labels, "annotations": annotations});
    if form.owned {
        metadata["generateName"] = json!(s[14]);
        metadata["ownerReferences"] =
            json!([{"controller": true, "name": s[15], "kind": s[16], "apiVersion": s[17], "uid": s[18]}]);
    } else {
        metadata["name"] = json!(s[15]);
    }
    let mut containers = vec![container(20, 8080), container(26, 9090)];
    if form.own_proxy {
        containers
            .push(json!({"name": "istio-proxy", "image": "auto", "env": [{"name": s[19], "value": s[18]}]}));
    }
    json!({
        "metadata": metadata,
        "spec": {"serviceAccountName": s[19], "nodeName": s[18], "containers": containers, "volumes": [{"name": s[17], "emptyDir": {}}]},
    })
}

/// Keys, list lengths and types of scalars, including those of JSON inside of a string. Strings of the pod used as keys
/// are replaced by their names in the harmless pod.
pub(crate) fn shape(value: &Value, rename: &BTreeMap<String, String>) -> Value {
    match value {
        Value::Null => json!("null"),
        Value::Bool(_) => json!("bool"),
        Value::Number(_) => json!("number"),
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(inner @ (Value::Object(_) | Value::Array(_))) => json!({"json": shape(&inner, rename)}),
            _ => json!("string"),
        },
        Value::Array(items) => items.iter().map(|item| shape(item, rename)).collect(),
        Value::Object(map) => {
            let renamed = map.iter().map(|(key, value)| (renamed(key, rename), shape(value, rename)));
            Value::Object(renamed.collect())
        }
    }
}

fn renamed(key: &str, rename: &BTreeMap<String, String>) -> String {
    if let Some(name) = rename.get(key) {
        return name.clone();
    }
    // A container's name is part of its probes' paths; a careless template turns labels into keys.
    let inside = rename.iter().filter(|(hostile, _)| {
        ["/app-", "copied/"].iter().any(|start| key.starts_with(start)) && key.contains(hostile.as_str())
    });
    match inside.max_by_key(|(hostile, _)| hostile.len()) {
        Some((hostile, harmless)) => key.replacen(hostile.as_str(), harmless, 1),
        None => key.to_owned(),
    }
}

/// A name as Kubernetes accepts it.
fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9-]{0,8}[a-z0-9]"
}

fn handler() -> impl Strategy<Value = Value> {
    let port = || {
        prop_oneof![(1..65535u16).prop_map(|port| json!(port)), Just(json!("http")), Just(json!("missing"))]
    };
    prop_oneof![
        (port(), option::of(select(vec!["HTTP", "HTTPS"]))).prop_map(|(port, scheme)| {
            let mut request = json!({"path": "/x", "port": port});
            if let Some(scheme) = scheme {
                request["scheme"] = json!(scheme);
            }
            json!({"httpGet": request})
        }),
        port().prop_map(|port| json!({"tcpSocket": {"port": port}})),
        (1..65535u16).prop_map(|port| json!({"grpc": {"port": port}})),
        Just(json!({"exec": {"command": ["true"]}})),
    ]
}

fn with_optional(mut value: Value, key: &str, inner: Option<Value>) -> Value {
    if let Some(inner) = inner {
        value[key] = inner;
    }
    value
}

/// A container of an application.
pub(crate) fn container(name: String) -> impl Strategy<Value = Value> {
    let probes = (option::of(handler()), option::of(handler()), option::of(handler()), option::of(handler()));
    let ports = vec((option::of(Just("http")), 1..60000u16), 0..3);
    let security = option::of((option::of(0..3000i64), any::<bool>()));
    (probes, ports, security, any::<bool>(), any::<bool>()).prop_map(
        move |(probes, ports, security, mounts, resources)| {
            let mut container = json!({"name": name, "image": format!("registry.example/{name}:1")});
            let mut seen = false;
            let ports: Vec<Value> = ports
                .into_iter()
                .enumerate()
                .map(|(index, (named, port))| {
                    let port = json!({"containerPort": port / 4 * 4 + index as u16, "protocol": "TCP"});
                    let named = named.filter(|_| !std::mem::replace(&mut seen, true));
                    with_optional(port, "name", named.map(|name| json!(name)))
                })
                .collect();
            if !ports.is_empty() {
                container["ports"] = json!(ports);
            }
            let (readiness, liveness, startup, stop) = probes;
            container = with_optional(container, "readinessProbe", readiness);
            container = with_optional(container, "livenessProbe", liveness);
            container = with_optional(container, "startupProbe", startup);
            container = with_optional(container, "lifecycle", stop.map(|stop| json!({"preStop": stop})));
            if let Some((user, read_only)) = security {
                let context = json!({"readOnlyRootFilesystem": read_only});
                container["securityContext"] =
                    with_optional(context, "runAsUser", user.map(|user| json!(user)));
            }
            if mounts {
                container["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
            }
            if resources {
                container["resources"] = json!({"requests": {"cpu": "10m"}});
            }
            container
        },
    )
}

const LABELS: &[(&str, &str)] = &[
    ("app", "shop"),
    ("app.kubernetes.io/name", "shop-web"),
    ("version", "v2"),
    ("security.istio.io/tlsMode", "disabled"),
    ("service.istio.io/canonical-name", "canon"),
    ("service.istio.io/canonical-revision", "7"),
    ("topology.istio.io/network", "north"),
    ("sidecar.istio.io/inject", "true"),
    ("tier", "gold"),
];

const ANNOTATIONS: &[(&str, &str)] = &[
    ("sidecar.istio.io/proxyCPU", "200m"),
    ("sidecar.istio.io/proxyMemoryLimit", "1Gi"),
    ("sidecar.istio.io/interceptionMode", "TPROXY"),
    ("sidecar.istio.io/nativeSidecar", "true"),
    ("sidecar.istio.io/nativeSidecar", "false"),
    ("sidecar.istio.io/rewriteAppHTTPProbers", "false"),
    ("sidecar.istio.io/bootstrapOverride", "boot"),
    ("sidecar.istio.io/userVolume", "{\"extra\":{\"emptyDir\":{}}}"),
    ("sidecar.istio.io/userVolumeMount", "{\"extra\":{\"mountPath\":\"/extra\"}}"),
    ("sidecar.istio.io/proxyImage", "registry.example/proxy:9"),
    ("status.sidecar.istio.io/port", "15099"),
    ("status.sidecar.istio.io/port", "0"),
    ("prometheus.io/port", "9100"),
    ("prometheus.io/path", "/m"),
    ("prometheus.io/scrape", "true"),
    ("prometheus.io/scrape", "false"),
    ("prometheus_io/port", "9101"),
    ("prometheus.istio.io/scrape-targets", "9100:/a,9101"),
    ("prometheus.istio.io/merge-metrics", "false"),
    ("proxy.istio.io/config", "holdApplicationUntilProxyStarts: true"),
    ("proxy.istio.io/config", "{\"proxyMetadata\": {\"A\": \"b\"}, \"concurrency\": 3}"),
    ("traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0/8, 172.16.0.0/12"),
    ("traffic.sidecar.istio.io/excludeInboundPorts", "22, 80"),
    ("traffic.sidecar.istio.io/excludeInterfaces", "eth1"),
    ("k8s.v1.cni.cncf.io/networks", "[{\"name\": \"n\"}]"),
    ("kubectl.kubernetes.io/default-container", "x"),
    ("example.com/note", "keep: \"me\""),
];

/// The user's own version of a container that the templates create.
fn own_container() -> impl Strategy<Value = Value> {
    let named = select(vec!["istio-proxy", "istio-init", "istio-validation"]);
    let user = option::of((prop_oneof![Just(0i64), 1..5000i64], option::of(1..5000i64)));
    let choice = option::of(0..6usize);
    let all = (named, user, any::<bool>(), any::<bool>(), any::<bool>(), choice);
    all.prop_map(|(name, user, env, args, hook, choice)| {
        let mut container =
            json!({"name": name, "image": if hook { "registry.example/own:1" } else { "auto" }});
        if let Some((user, group)) = user {
            container["securityContext"] =
                with_optional(json!({"runAsUser": user}), "runAsGroup", group.map(|group| json!(group)));
        }
        if env {
            container["env"] =
                json!([{"name": "OWN", "value": "1"}, {"name": "ISTIO_META_CLUSTER_ID", "value": "mine"}]);
        }
        if args {
            container["args"] = json!(["own", "arguments"]);
        }
        if hook {
            container["ports"] = json!([{"containerPort": 15443, "name": "own"}]);
            container["lifecycle"] = json!({"preStop": {"exec": {"command": ["sleep", "1"]}}});
        }
        // Of a different kind than any template's.
        match choice {
            Some(0) => container["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 1}}}),
            Some(1) => container["readinessProbe"] = json!({"tcpSocket": {"port": 15021}}),
            Some(2) => container["startupProbe"] = json!({"grpc": {"port": 15021}}),
            Some(3) => container["env"] = json!([{"name": "POD_NAME", "value": "mine"}]),
            Some(4) => {
                let source = json!({"secretKeyRef": {"name": "s", "key": "k"}});
                container["env"] = json!([{"name": "CA_ADDR", "valueFrom": source}, {"name": "HOST_IP", "valueFrom": source}]);
            }
            Some(5) if name == "istio-proxy" => container["restartPolicy"] = json!("Never"),
            _ => {}
        }
        container
    })
}

/// A pod as people write them.
pub(crate) fn realistic() -> impl Strategy<Value = Value> {
    let containers = vec(name(), 1..4).prop_flat_map(|names| {
        names
            .into_iter()
            .enumerate()
            .map(|(index, name)| container(format!("{name}-{index}")))
            .collect::<Vec<_>>()
    });
    let init = vec((container("i".to_owned()), any::<bool>()), 0..3);
    let pairs = |all: &'static [(&'static str, &'static str)]| vec(select(all), 0..6);
    let own = vec((own_container(), any::<bool>()), 0..2);
    let rest = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), option::of(1..3000i64));
    (containers, init, pairs(LABELS), pairs(ANNOTATIONS), own, rest).prop_map(
        |(mut containers, init, labels, annotations, own, (owned, bare, secrets, tolerations, user))| {
            let mut init: Vec<Value> = init
                .into_iter()
                .enumerate()
                .map(|(index, (mut container, native))| {
                    container["name"] = json!(format!("init-{index}"));
                    if native {
                        container["restartPolicy"] = json!("Always");
                    }
                    container
                })
                .collect();
            for (container, first) in own {
                let list = if container["name"] == "istio-proxy" { &mut containers } else { &mut init };
                let at = if first { 0 } else { list.len() };
                list.insert(at, container);
            }
            let map = |pairs: Vec<(&str, &str)>| {
                Value::Object(pairs.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect::<Map<_, _>>())
            };
            let mut metadata = json!({"namespace": "shop"});
            if !bare {
                metadata["labels"] = map(labels);
                metadata["annotations"] = map(annotations);
            }
            if owned {
                metadata["generateName"] = json!("web-6d4cf56db6-");
                metadata["labels"]["pod-template-hash"] = json!("6d4cf56db6");
                metadata["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6d4cf56db6", "uid": "u", "controller": true, "blockOwnerDeletion": true}]);
            } else if bare {
                metadata["generateName"] = json!("web-");
            } else {
                metadata["name"] = json!("web-0");
            }
            let mut spec = json!({
                "serviceAccountName": "default",
                "containers": containers,
                "volumes": [{"name": "data", "emptyDir": {}}, {"name": "kube-api-access-x", "projected": {"sources": []}}],
            });
            if !init.is_empty() {
                spec["initContainers"] = json!(init);
            }
            if secrets {
                spec["imagePullSecrets"] = json!([{"name": "pull"}, {"name": "other"}]);
            }
            if tolerations {
                spec["tolerations"] = json!([{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists", "tolerationSeconds": 300}]);
            }
            if let Some(user) = user {
                spec["securityContext"] = json!({"fsGroup": user, "sysctls": [{"name": "net.core.somaxconn", "value": "1"}]});
            }
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        },
    )
}

/// Any JSON, small.
pub(crate) fn json_value() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        select(vec![
            "name",
            "spec",
            "metadata",
            "containers",
            "annotations",
            "labels",
            "env",
            "value",
            "ports",
            "$patch",
            "httpGet",
            "port"
        ])
        .prop_map(str::to_owned),
        hostile(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        hostile().prop_map(Value::from),
        Just(json!("istio-proxy")),
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key.clone(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}
