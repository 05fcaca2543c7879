//! What a pod gains by its metadata: nothing that its creator could not write into it directly.
//!
//! Anybody who can create pods can write every label and annotation that the injector reads. For any of them, the
//! injected containers, volumes and privileges are among those that the configuration's own templates create for one of
//! the few requests documented in docs/security.md; with `privilegedProxies: refuse`, they are those created without
//! any request.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use outrigger::{
    annotation::{Group, TABLE},
    config::InjectorConfig,
    inject::{self, Facts, Outcome, PodRequest, Refusal},
    names, pod,
};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

use super::{
    pods,
    properties::{check, mesh_of},
};

/// Templates that pods can request by name.
const TEMPLATES: [&str; 4] = ["sidecar", "gateway", "grpc-agent", "grpc-simple"];
/// Prefix of our containers' images, whatever variant the pod selects.
const IMAGES: &str = "registry.istio.io/release/proxyv2:";

/// A configuration, the same one with privileges forbidden, and the permitted content of both.
struct Setting {
    name: String,
    allow: InjectorConfig,
    refuse: InjectorConfig,
    /// With every documented request.
    asked: Allowed,
    /// Without any.
    unasked: Allowed,
}

/// The permitted content of the injected parts of a pod, as JSON texts.
#[derive(Debug, Default)]
struct Allowed {
    /// Security contexts by container.
    contexts: BTreeSet<(String, String)>,
    volumes: BTreeSet<String>,
    /// Sources of variables.
    sources: BTreeSet<String>,
    pull_secrets: BTreeSet<String>,
    /// Of the pod.
    pod_contexts: BTreeSet<String>,
}

static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
    let busy = json!({
        "global": {"network": "net", "imagePullSecrets": ["pull"], "proxy": {"tracer": "datadog"}, "mountMtlsCerts": true},
        "pilot": {"cni": {"enabled": true, "provider": "multus"}},
    });
    let mut all = Vec::new();
    for (name, values) in [("plain", json!({})), ("busy", busy)] {
        for compat in ["outrigger", "istio"] {
            let mesh = |privileges: &str| {
                let mut values = values.clone();
                values["sidecarInjectorWebhook"] = json!({"privilegedProxies": privileges});
                mesh_of(&json!({
                    "apiVersion": "outrigger.dev/v1alpha1", "kind": "Bundle",
                    "compat": compat, "nativeSidecars": "disabled", "values": values,
                }))
            };
            let (allow, refuse) = (mesh("allow"), mesh("refuse"));
            let asked = Allowed::of(&allow, &requests());
            let unasked = Allowed::of(&refuse, &[json!({})]);
            all.push(Setting { name: format!("{name} {compat}"), allow, refuse, asked, unasked });
        }
    }
    all
});

/// Everything a pod can request that changes the privileges of injected containers.
fn requests() -> Vec<Value> {
    let (mode, low_ports) = (names::ANNOTATION_INTERCEPTION_MODE, names::ANNOTATION_LOW_PORTS);
    let traced = "proxyMetadata: {IPTABLES_TRACE_LOGGING: 'true'}";
    vec![
        json!({}),
        json!({mode: "TPROXY"}),
        json!({mode: "NONE"}),
        json!({low_ports: "true"}),
        json!({mode: "TPROXY", low_ports: "true"}),
        json!({names::ANNOTATION_PROXY_CONFIG: traced}),
        json!({names::ANNOTATION_PROXY_CONFIG: traced, mode: "TPROXY"}),
    ]
}

fn annotated(annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "annotations": annotations},
        "spec": {"serviceAccountName": "shop", "containers": [{"name": "app", "image": "a", "ports": [{"containerPort": 8080}]}]},
    })
}

fn run(mesh: &InjectorConfig, pod: &Value) -> Result<Outcome, Refusal> {
    inject::run(mesh, &PodRequest::new("shop", pod.clone()), &Facts::of(mesh, "shop"))
}

impl Allowed {
    /// The output of the configuration's templates for these requests, ordinary and native, for every template.
    fn of(mesh: &InjectorConfig, requests: &[Value]) -> Allowed {
        let mut allowed = Allowed::default();
        for (template, native) in TEMPLATES.iter().flat_map(|name| [(name, "true"), (name, "false")]) {
            for request in requests {
                let mut request = request.clone();
                request[names::ANNOTATION_TEMPLATES] = json!(template);
                request[names::ANNOTATION_NATIVE_SIDECAR] = json!(native);
                match run(mesh, &annotated(&request)) {
                    Ok(Outcome::Injected(injection)) => allowed.add(&injection.pod),
                    Ok(Outcome::Skipped(skip)) => panic!("{:?}", skip.decision),
                    Err(refusal) => panic!("{request}: {refusal}"),
                }
            }
        }
        allowed
    }

    fn add(&mut self, pod: &Value) {
        for container in injected(pod) {
            self.contexts.insert(context(container));
            self.sources.extend(sources(container));
        }
        self.volumes.extend(list(pod, "volumes"));
        self.pull_secrets.extend(list(pod, "imagePullSecrets"));
        self.pod_contexts.insert(pod["spec"]["securityContext"].to_string());
    }
}

/// The containers that are not the application's.
fn injected(pod: &Value) -> impl Iterator<Item = &Value> {
    let all = pod::init_containers(pod).iter().chain(pod::containers(pod));
    all.filter(|container| pod::name(container) != "app")
}

fn context(container: &Value) -> (String, String) {
    (pod::name(container).to_owned(), container["securityContext"].to_string())
}

fn sources(container: &Value) -> Vec<String> {
    let variables = container["env"].as_array().into_iter().flatten();
    variables.filter_map(|variable| variable.get("valueFrom")).map(Value::to_string).collect()
}

fn list(pod: &Value, list: &str) -> Vec<String> {
    pod::spec_list(pod, list).iter().map(Value::to_string).collect()
}

/// Meaningful values, by the prefix of their key.
const MEANINGFUL: &[(&str, &[&str])] = &[
    ("sidecar.istio.io/interceptionMode", &["TPROXY", "NONE", "REDIRECT"]),
    ("sidecar.istio.io/capNetBindService", &["true", "false"]),
    ("sidecar.istio.io/nativeSidecar", &["true", "false"]),
    ("sidecar.istio.io/inject", &["true"]),
    (
        "inject.istio.io/templates",
        &["sidecar", "gateway", "grpc-agent", "grpc-simple", "sidecar,grpc-simple"],
    ),
    ("sidecar.istio.io/proxyImageType", &["debug", "distroless"]),
    ("sidecar.istio.io/proxyImage", &["evil.example/proxy:1", "evil"]),
    ("sidecar.istio.io/proxy", &["100m", "1"]),
    ("sidecar.istio.io/bootstrapOverride", &["boot"]),
    (
        "sidecar.istio.io/userVolume",
        &[
            r#"{"evil":{"mountPath":"/evil","hostPath":{"path":"/"}}}"#,
            r#"{"evil":{"hostPath":{"path":"/"}}}"#,
            r#"{"evil":{"secret":{"secretName":"others"}}}"#,
            r#"{"istio-data":{"hostPath":{"path":"/"}}}"#,
            r#"{"istio-envoy":{"mountPath":"/"}}"#,
        ],
    ),
    ("status.sidecar.istio.io/port", &["0", "15099"]),
    ("traffic.sidecar.istio.io/", &["*", "", "80", "0.0.0.0/0", "eth0"]),
    ("prometheus", &["true", "9100", "/m", "9100:/a"]),
    ("k8s.v1.cni.cncf.io/networks", &["[{\"name\":\"n\"}]", "other/net"]),
    ("apm.datadoghq.com/env", &[r#"{"LD_PRELOAD":"/evil.so","HOST_IP":"1"}"#]),
    (
        "proxy.istio.io/config",
        &[
            "proxyMetadata: {IPTABLES_TRACE_LOGGING: 'true'}",
            "proxyMetadata: {DRY_RUN: 'true', CA_ADDR: evil}",
            "interceptionMode: TPROXY\nbinaryPath: /evil",
            "image: {imageType: debug}\nprivateKeyProvider: {cryptomb: {pollDelay: 10ms}}",
            "tracing: {lightstep: {address: a, accessToken: b}, tlsSettings: {caCertificates: /etc/x}}",
            "runtimeValues: {a: \"b\\n    privileged: true\"}",
        ],
    ),
    ("sidecar.istio.io/status", &[r#"{"containers":["istio-proxy","app"],"volumes":["istio-data"]}"#, "{}"]),
    (
        "proxy.istio.io/overrides",
        &[r#"{"containers":[{"name":"istio-proxy","image":"evil","securityContext":{"privileged":true}}]}"#],
    ),
    ("readiness.status", &["3"]),
    ("container.apparmor", &["unconfined"]),
    ("security.istio.io/tlsMode", &["disabled"]),
    ("topology.istio.io/network", &["elsewhere"]),
];

fn value(key: &'static str) -> BoxedStrategy<String> {
    let fitting = MEANINGFUL.iter().find(|(start, _)| key.starts_with(start));
    match fitting {
        Some((_, values)) => {
            prop_oneof![6 => select(*values).prop_map(str::to_owned), 1 => pods::hostile()].boxed()
        }
        None => pods::hostile().boxed(),
    }
}

/// Annotations under any key that the injector knows, and labels.
fn metadata() -> impl Strategy<Value = BTreeMap<String, String>> {
    let groups = [Group::Pod, Group::Foreign, Group::Agent, Group::Written, Group::Dead];
    let keys: Vec<&str> = TABLE.iter().filter(|row| groups.contains(&row.group)).map(|row| row.key).collect();
    let own = "container.apparmor.security.beta.kubernetes.io/istio-init";
    let keys: Vec<&'static str> = keys.into_iter().chain([own]).collect();
    let entry = select(keys).prop_flat_map(|key| (Just(key.to_owned()), value(key)));
    vec(entry, 0..5).prop_map(|entries| entries.into_iter().collect())
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let keys = select(vec![
        "app",
        "version",
        "security.istio.io/tlsMode",
        "topology.istio.io/network",
        "service.istio.io/canonical-name",
        "networking.istio.io/tunnel",
        "istio.io/dataplane-mode",
    ]);
    let entry = keys.prop_flat_map(|key| (Just(key.to_owned()), value(key)));
    vec(entry, 0..3).prop_map(|entries| entries.into_iter().collect())
}

// TM-10
#[test]
fn no_metadata_gains_a_privilege_that_is_not_documented() {
    let injected = AtomicUsize::new(0);
    let refused = AtomicUsize::new(0);
    check((metadata(), labels()), |(annotations, labels)| {
        let mut pod = annotated(&json!(annotations));
        pod["metadata"]["labels"] = json!(labels);
        for setting in SETTINGS.iter() {
            // In Istio, overrides count regardless of the status: they are the pod's own container.
            let is_own =
                setting.name.ends_with("istio") && annotations.contains_key(names::ANNOTATION_OVERRIDES);
            match run(&setting.allow, &pod) {
                Ok(Outcome::Injected(injection)) if !is_own => {
                    injected.fetch_add(1, Ordering::Relaxed);
                    within(&pod, &injection.pod, &setting.asked, &setting.name);
                }
                _ => {}
            }
            match run(&setting.refuse, &pod) {
                Ok(Outcome::Injected(injection)) => {
                    within(&pod, &injection.pod, &setting.unasked, &setting.name)
                }
                Err(Refusal::Privileged(asked)) => {
                    refused.fetch_add(1, Ordering::Relaxed);
                    assert!(
                        asked.iter().all(|privilege| privilege.container.starts_with("istio-")),
                        "{asked:?}"
                    );
                }
                _ => {}
            }
        }
    });
    let (injected, refused) = (injected.into_inner(), refused.into_inner());
    assert!(injected > 60 && refused > 10, "{injected} injected, {refused} refused: too few to say anything");
}

/// Whether all injected content is permitted.
fn within(before: &Value, after: &Value, allowed: &Allowed, setting: &str) {
    let annotation = |key: &str| pod::annotation(before, key);
    for container in injected(after) {
        let found = context(container);
        assert!(allowed.contexts.contains(&found), "{setting}: {found:?}, {before}");
        for source in sources(container) {
            assert!(allowed.sources.contains(&source), "{setting}: {source}, {before}");
        }
        let image = container["image"].as_str().unwrap_or_default();
        let is_asked = annotation(names::ANNOTATION_PROXY_IMAGE) == Some(image);
        let is_helper = pod::name(container) == "grpc-bootstrap-init";
        assert!(image.starts_with(IMAGES) || is_asked || is_helper, "{setting}: {image}, {before}");
        for port in container["ports"].as_array().into_iter().flatten() {
            assert_eq!(port.get("hostPort"), None, "{setting}: {before}");
        }
        for field in ["volumeDevices", "envFrom", "command"] {
            assert!(container.get(field).is_none() || is_helper, "{setting}: {field}, {before}");
        }
    }
    // The annotation for volumes can only express what the pod's own list could, and so can that for a ConfigMap.
    let asked: Option<Value> =
        annotation(names::ANNOTATION_USER_VOLUME).and_then(|text| serde_json::from_str(text).ok());
    for volume in pod::spec_list(after, "volumes") {
        let name = pod::name(volume);
        let bootstrap = annotation(names::ANNOTATION_BOOTSTRAP_OVERRIDE);
        let is_asked = asked.as_ref().is_some_and(|asked| asked.get(name).is_some())
            || bootstrap.is_some_and(|bootstrap| volume["configMap"]["name"] == bootstrap);
        assert!(allowed.volumes.contains(&volume.to_string()) || is_asked, "{setting}: {volume}, {before}");
    }
    for secret in list(after, "imagePullSecrets") {
        assert!(allowed.pull_secrets.contains(&secret), "{setting}: {secret}, {before}");
    }
    let of_pod = after["spec"]["securityContext"].to_string();
    assert!(allowed.pod_contexts.contains(&of_pod), "{setting}: {of_pod}, {before}");
    // The rest of the spec is the pod's: its namespaces, its account, its node.
    let lists = ["containers", "initContainers", "volumes", "imagePullSecrets", "securityContext"];
    let rest = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        lists.iter().for_each(|list| {
            spec.as_object_mut().unwrap().remove(*list);
        });
        spec
    };
    assert_eq!(rest(before), rest(after), "{setting}: {before}");
}

/// The documentation classifies every annotation that is read: a new row has to state what a pod gains by it.
#[test]
fn every_annotation_has_its_place_in_the_documentation() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/security.md");
    let page = std::fs::read_to_string(path).unwrap();
    let section = page.split("## What a pod can gain through the injector").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    for row in TABLE.iter().filter(|row| !matches!(row.group, Group::Namespace | Group::Dead)) {
        assert!(section.contains(&format!("`{}`", row.key)), "{} is not classified", row.key);
    }
}
