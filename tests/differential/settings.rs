//! Random configurations: values, MeshConfig, templates, selectors, ProxyConfig resources.

use outrigger::gotypes::{BETA_PROXY_CONFIG, PROXY_CONFIG};
use serde_json::{Map, Value, json};

use super::{random::Random, text, typed};
use crate::setting::Setting;

/// Keys of values that templates and the injector read, with values for them.
fn options() -> Vec<(&'static str, Vec<Value>)> {
    vec![
        ("revision", vec![json!("canary"), json!("")]),
        ("global/hub", vec![json!("example.com/istio"), json!("")]),
        ("global/tag", vec![json!("1.30.3"), json!("1.30-distroless"), json!(1.3), json!(7), json!("")]),
        ("global/variant", vec![json!("distroless"), json!("debug"), json!("default"), json!("")]),
        ("global/network", vec![json!("net-values"), json!("")]),
        ("global/meshID", vec![json!("mesh1"), json!("")]),
        ("global/multiCluster/clusterName", vec![json!("cluster-1"), json!("Kubernetes"), json!("")]),
        ("global/caAddress", vec![json!("ca.example:443")]),
        ("global/caName", vec![json!("GkeWorkloadCertificate"), json!("x")]),
        ("global/pilotCertProvider", vec![json!("kubernetes"), json!("istiod"), json!("none")]),
        ("global/trustBundleName", vec![json!("bundle"), json!("")]),
        ("global/mountMtlsCerts", vec![json!(true), json!(false)]),
        ("global/sds/token/aud", vec![json!("aud")]),
        ("global/sts/servicePort", vec![json!(8888), json!(0)]),
        ("global/istioNamespace", vec![json!("istio-other")]),
        ("global/imagePullPolicy", vec![json!("Always"), json!("Never"), json!("")]),
        ("global/imagePullSecrets", vec![json!(["pull"]), json!(["a", "b"]), json!([])]),
        ("global/logging/level", vec![json!("default:debug"), json!("")]),
        ("global/logAsJson", vec![json!(true)]),
        ("global/nativeNftables", vec![json!(true)]),
        ("global/proxy/image", vec![json!("proxyv2-x"), json!("example.com/full/proxy:9")]),
        ("global/proxy_init/image", vec![json!("init-x"), json!("example.com/full/init:9")]),
        ("global/proxy_init/forceApplyIptables", vec![json!(true)]),
        ("global/proxy/clusterDomain", vec![json!("cluster.example")]),
        ("global/proxy/logLevel", vec![json!("debug"), json!("")]),
        ("global/proxy/componentLogLevel", vec![json!("misc:debug"), json!("")]),
        ("global/proxy/outlierLogPath", vec![json!("/dev/stdout")]),
        ("global/proxy/includeIPRanges", vec![json!("10.0.0.0/8"), json!("")]),
        ("global/proxy/excludeIPRanges", vec![json!("10.1.0.0/16")]),
        ("global/proxy/includeInboundPorts", vec![json!("80,81"), json!("")]),
        ("global/proxy/excludeInboundPorts", vec![json!("22"), json!("")]),
        ("global/proxy/includeOutboundPorts", vec![json!("443")]),
        ("global/proxy/excludeOutboundPorts", vec![json!("25")]),
        ("global/proxy/statusPort", vec![json!(0), json!(15099), json!(15020)]),
        ("global/proxy/readinessInitialDelaySeconds", vec![json!(3)]),
        ("global/proxy/readinessPeriodSeconds", vec![json!(7)]),
        ("global/proxy/readinessFailureThreshold", vec![json!(9)]),
        ("global/proxy/startupProbe/enabled", vec![json!(false)]),
        ("global/proxy/startupProbe/failureThreshold", vec![json!(5)]),
        ("global/proxy/privileged", vec![json!(true)]),
        ("global/proxy/holdApplicationUntilProxyStarts", vec![json!(true), json!(false)]),
        ("global/proxy/tracer", vec![json!("datadog"), json!("lightstep"), json!("none"), json!("zipkin")]),
        ("global/proxy/seccompProfile", vec![json!({"type": "RuntimeDefault"}), json!({})]),
        ("global/proxy/lifecycle", vec![json!({"preStop": {"exec": {"command": ["sleep", "5"]}}})]),
        ("global/proxy/capNetBindService", vec![json!("true"), json!("false")]),
        (
            "global/proxy/resources",
            vec![
                json!({}),
                json!({"requests": {"cpu": "10m"}, "limits": null}),
                json!({"limits": {"memory": "2Gi"}, "requests": {"cpu": "1", "memory": null}}),
                json!(null),
            ],
        ),
        ("pilot/cni/enabled", vec![json!(true), json!(true), json!(false)]),
        ("pilot/cni/provider", vec![json!("multus"), json!("default")]),
        ("pilot/env/ENABLE_CLUSTER_TRUST_BUNDLE_API", vec![json!(true), json!("true")]),
        ("gateways/securityContext", vec![json!({"runAsUser": 5}), json!({})]),
        ("gateways/seccompProfile", vec![json!({"type": "RuntimeDefault"})]),
        ("sidecarInjectorWebhook/rewriteAppHTTPProbe", vec![json!(false), json!(true)]),
    ]
}

fn set(values: &mut Value, path: &str, value: Value) {
    let mut at = values;
    for step in path.split('/') {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[step];
    }
    *at = value;
}

/// A custom template.
const CUSTOM: &str = r#"
metadata:
  labels:
    custom: "yes"
  annotations:
    custom/owner: "{{ .DeploymentMeta.Name }}.{{ .DeploymentMeta.Namespace }}"
    custom/kind: "{{ .TypeMeta.Kind }}"
    custom/ports: "{{ range .Spec.Containers }}{{ range .Ports }}{{ .ContainerPort }},{{ end }}{{ end }}"
spec:
  initContainers:
  - name: custom-init
    image: example.com/init:{{ .Values.global.tag }}
    env:
    {{- range $key, $value := .ProxyConfig.ProxyMetadata }}
    - name: {{ $key }}
      value: {{ $value | quote }}
    {{- end }}
  containers:
  - name: istio-proxy
    env:
    - name: CUSTOM
      value: {{ valueOrDefault .Revision "none" | quote }}
    volumeMounts:
    - name: custom
      mountPath: /custom
  - name: app-0
    env:
    - name: FROM_TEMPLATE
      value: {{ printf "%d:%d %v" .ProxyUID .ProxyGID (annotation .ObjectMeta `example.com/note` `absent`) | quote }}
  volumes:
  - name: custom
    emptyDir: {}
  securityContext:
    fsGroup: 1337
  {{- if .NativeSidecars }}
  tolerations:
  - key: native
    operator: Exists
  {{- end }}
"#;

/// A template without a proxy.
const PLAIN: &str = r#"
spec:
  containers:
  - name: helper
    image: {{ .ProxyImage }}
    command: [{{ .Spec.ServiceAccountName | quote }}, {{ .ProxyConfig.ConfigPath | quote }}]
  imagePullSecrets:
  - name: plain
"#;

/// The configuration of a plain installation.
pub(crate) fn plain(values: &Value) -> Setting {
    let mut config = Map::new();
    config.insert("policy".to_owned(), json!("enabled"));
    config.insert("defaultTemplates".to_owned(), json!(["sidecar"]));
    Setting { config, values: values.clone(), mesh: chart_mesh().to_string(), ..Setting::default() }
}

/// MeshConfig as the chart writes it.
fn chart_mesh() -> Value {
    json!({
        "trustDomain": "cluster.local",
        "rootNamespace": "istio-system",
        "defaultProviders": {"metrics": ["prometheus"]},
        "defaultConfig": {"discoveryAddress": "istiod.istio-system.svc:15012"},
    })
}

/// A configuration based on complete values.
pub(crate) fn setting(random: &mut Random, values: &Value) -> Setting {
    let mut values = values.clone();
    let options = options();
    if !random.percent(15) {
        for _ in 0..random.within(1..8) {
            let (path, all) = random.pick(&options);
            let value = random.pick(all).clone();
            set(&mut values, path, value);
        }
    }
    let mut config = Map::new();
    let policy = if random.percent(12) { *random.pick(&["disabled", "off", ""]) } else { "enabled" };
    config.insert("policy".to_owned(), json!(policy));
    let templates = match random.below(16) {
        0..=7 => vec!["sidecar"],
        8 => vec!["gateway"],
        9 => vec!["grpc-agent"],
        10 => vec!["grpc-simple"],
        11 => vec!["sidecar", "custom"],
        12 => vec!["both"],
        13 => vec!["plain"],
        14 => vec!["custom", "plain"],
        _ => vec![],
    };
    config.insert("defaultTemplates".to_owned(), json!(templates));
    config.insert(
        "aliases".to_owned(),
        json!({"both": ["sidecar", "custom"], "alias": ["grpc-agent"], "empty": []}),
    );
    config.insert("templates".to_owned(), json!({"custom": CUSTOM, "plain": PLAIN}));
    if random.percent(20) {
        config.insert("neverInjectSelector".to_owned(), json!([{"matchLabels": {"tier": "never"}}]));
    }
    if random.percent(20) {
        config.insert(
            "alwaysInjectSelector".to_owned(),
            json!([{"matchExpressions": [{"key": "tier", "operator": "In", "values": ["always", "x"]}]}]),
        );
    }
    if random.percent(10) {
        config.insert("injectedAnnotations".to_owned(), json!({"container.apparmor.security.beta.kubernetes.io/istio-proxy": "runtime/default", "prometheus.io/path": "/over"}));
    }
    let openshift = random.percent(6);
    Setting {
        config,
        values,
        mesh: mesh(random),
        revision: (*random.pick(&["", "", "", "canary", "default"])).to_owned(),
        native_sidecars: random.percent(50),
        platform: if openshift { "openshift".to_owned() } else { String::new() },
        compliance_policy: (*random.pick(&["", "", "", "", "", "fips-140-2", "fips-140-3", "pqc"]))
            .to_owned(),
        namespaces: if openshift { namespaces(random) } else { Vec::new() },
        proxy_configs: if random.percent(25) { proxy_configs(random) } else { Vec::new() },
    }
}

fn namespaces(random: &mut Random) -> Vec<Value> {
    ["shop", "default", "test-ns"]
        .iter()
        .map(|name| {
            let mut annotations = Map::new();
            for (key, values) in [
                ("openshift.io/sa.scc.uid-range", &["1000620000/10000", "1000-2000", "x", "5/1", ""][..]),
                (
                    "openshift.io/sa.scc.supplemental-groups",
                    &["1000620000/10000", "1/2,3/4", "x", "10-20", ""][..],
                ),
            ] {
                if random.percent(80) {
                    annotations.insert(key.to_owned(), json!(*random.pick(values)));
                }
            }
            json!({"name": name, "labels": {}, "annotations": annotations})
        })
        .collect()
}

/// MeshConfig as the chart writes it, with a user's changes merged over it.
fn mesh(random: &mut Random) -> String {
    let mut mesh = chart_mesh();
    let options: &[(&str, &[Value])] = &[
        ("enablePrometheusMerge", &[json!(false), json!(true)]),
        ("trustDomain", &[json!("td.example"), json!("")]),
        ("rootNamespace", &[json!("shop"), json!("root")]),
        ("inboundTrafficPolicy", &[json!({"mode": "LOCALHOST"}), json!({"mode": "PASSTHROUGH"})]),
        ("proxyListenPort", &[json!(15101)]),
        ("proxyInboundListenPort", &[json!(15106), json!(0)]),
        ("accessLogFile", &[json!("/dev/stdout")]),
        ("enableTracing", &[json!(false)]),
        ("defaultConfig/holdApplicationUntilProxyStarts", &[json!(true), json!(false)]),
        ("defaultConfig/interceptionMode", &[json!("TPROXY"), json!("NONE"), json!("REDIRECT")]),
        ("defaultConfig/statusPort", &[json!(15099), json!(0), json!(15020)]),
        ("defaultConfig/concurrency", &[json!(0), json!(3)]),
        ("defaultConfig/image", &[json!({"imageType": "debug"}), json!({"imageType": "default"})]),
        (
            "defaultConfig/proxyMetadata",
            &[
                json!({"A": "b", "ISTIO_META_DNS_CAPTURE": "true"}),
                json!({"ENVOY_SECURE_MERGED_METRICS_PORT": "15091"}),
            ],
        ),
        ("defaultConfig/drainDuration", &[json!("23s"), json!("1m")]),
        (
            "defaultConfig/tracing",
            &[
                json!({}),
                json!({"zipkin": {"address": "z:9411"}}),
                json!({"tlsSettings": {"mode": "SIMPLE", "caCertificates": "/ca.pem"}}),
            ],
        ),
        ("defaultConfig/meshId", &[json!("m")]),
        (
            "extensionProviders",
            &[
                json!([{"name": "otel", "opentelemetry": {"service": "otel.example", "port": 4317, "serviceAttributeEnrichment": "OTEL_SEMANTIC_CONVENTIONS"}}]),
            ],
        ),
    ];
    if !random.percent(25) {
        for _ in 0..random.within(1..5) {
            let (path, values) = *random.pick(options);
            let value = random.pick(values).clone();
            set(&mut mesh, path, value);
        }
    }
    if random.percent(10) {
        let wish = typed::structure(random, &PROXY_CONFIG, 3);
        for (key, value) in wish.as_object().into_iter().flatten() {
            mesh["defaultConfig"][key] = value.clone();
        }
    }
    if random.percent(50) { mesh.to_string() } else { text::yaml(random, &mesh) }
}

fn proxy_configs(random: &mut Random) -> Vec<Value> {
    let count = random.within(1..4);
    (0..count)
        .map(|index| {
            let mut spec = typed::structure(random, &BETA_PROXY_CONFIG, 2);
            if let Some(map) = spec.as_object_mut() {
                map.remove("selector");
                map.remove("name");
                if random.percent(40) {
                    map.insert("selector".to_owned(), json!({"matchLabels": {"app": "web"}}));
                }
                if random.percent(60) {
                    map.insert("environmentVariables".to_owned(), json!({"FROM_RESOURCE": format!("{index}")}));
                }
                // Objects that the API server would have rejected are not resources.
                if map.get("concurrency").is_some_and(|number| number.as_i64().is_none_or(|number| number < 0)) {
                    map.insert("concurrency".to_owned(), json!(2));
                }
            }
            json!({
                "apiVersion": "networking.istio.io/v1beta1", "kind": "ProxyConfig",
                "metadata": {
                    "name": format!("pc-{index}"), "namespace": *random.pick(&["shop", "istio-system", "root", "default"]),
                    "creationTimestamp": format!("2024-01-0{}T00:00:00Z", random.within(1..9)),
                },
                "spec": spec,
            })
        })
        .collect()
}
