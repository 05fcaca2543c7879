//! Live configuration: ConfigMaps, ProxyConfig resources, nodes and namespaces change while pods are created.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use outrigger::{
    config::{InjectorConfig, Source},
    server::configuration::cluster::Timings,
};
use serde_json::{Value, json};

use crate::headed::headed;

use super::{
    control_plane::{ControlPlane, Flavour, PATIENCE, eventually, until},
    install::{Reach, Serving, Webhook},
    outrigger_process::{Outrigger, OutriggerProcess},
    pods::{dry_run, is_injected},
    reviewer::{Answered, Load, Reviewer},
    watches::Short,
};

/// The namespace of outrigger.
pub const OWN: &str = "outrigger-system";
const ISTIO: &str = "istio-system";

/// A permission, as the chart grants it: its name here, and the rule.
const RIGHTS: [(&str, Option<&str>, &str); 6] = [
    (
        "config-maps",
        Some(OWN),
        r#"{"apiGroups":[""],"resources":["configmaps"],"resourceNames":["outrigger"],"verbs":["get","list","watch"]}"#,
    ),
    (
        "istio-config-maps",
        Some(ISTIO),
        r#"{"apiGroups":[""],"resources":["configmaps"],"resourceNames":["istio","istio-sidecar-injector"],"verbs":["get","list","watch"]}"#,
    ),
    ("nodes", None, r#"{"apiGroups":[""],"resources":["nodes"],"verbs":["list","watch"]}"#),
    ("namespaces", None, r#"{"apiGroups":[""],"resources":["namespaces"],"verbs":["get","list","watch"]}"#),
    (
        "proxy-configs",
        None,
        r#"{"apiGroups":["networking.istio.io"],"resources":["proxyconfigs"],"verbs":["get","list","watch"]}"#,
    ),
    (
        "limits",
        None,
        r#"{"apiGroups":[""],"resources":["limitranges","resourcequotas"],"verbs":["list","watch"]}"#,
    ),
];
const EVENTS: &str = r#"{"apiGroups":["events.k8s.io"],"resources":["events"],"verbs":["create","patch"]}"#;

/// The definition of ProxyConfig, as far as the API server needs it.
pub const DEFINITION: &str = r#"{
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "proxyconfigs.networking.istio.io"},
    "spec": {
        "group": "networking.istio.io", "scope": "Namespaced",
        "names": {"kind": "ProxyConfig", "plural": "proxyconfigs", "singular": "proxyconfig"},
        "versions": [{"name": "v1beta1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
            "type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}
        }}}]
    }
}"#;

/// Grants a permission to the ServiceAccount, by the name of its row.
pub async fn grant(control_plane: &ControlPlane, name: &str) {
    let (name, namespace, rule) = RIGHTS.iter().find(|(row, ..)| *row == name).expect("a row");
    let rule: Value = serde_json::from_str(rule).expect("a rule");
    let events: Value = serde_json::from_str(EVENTS).expect("a rule");
    let name = format!("outrigger-{name}");
    let (kind, metadata, rules) = match namespace {
        Some(namespace) => ("Role", json!({"name": name, "namespace": namespace}), json!([rule, events])),
        None => ("ClusterRole", json!({"name": name}), json!([rule])),
    };
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "rules": rules},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": format!("{kind}Binding"), "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
            "subjects": [{"kind": "ServiceAccount", "namespace": OWN, "name": "outrigger"}],
        },
    ]});
    control_plane.apply(&objects.to_string()).await;
}

/// Revokes a cluster-wide permission.
pub async fn revoke(control_plane: &ControlPlane, name: &str) {
    control_plane.kubectl(&["delete", "clusterrolebinding", &format!("outrigger-{name}")]).await;
}

/// A control plane with the namespaces, the ServiceAccount and all permissions but the named ones. Also returns the
/// kubeconfig of the ServiceAccount.
pub async fn prepared(without: &[&str]) -> (ControlPlane, PathBuf) {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    for namespace in [OWN, ISTIO] {
        control_plane.create_namespace(namespace, &[]).await;
    }
    control_plane.create_service_account(OWN, "outrigger").await;
    for (name, ..) in RIGHTS.iter().filter(|(name, ..)| !without.contains(name)) {
        grant(&control_plane, name).await;
    }
    let kubeconfig = control_plane.kubeconfig_for(OWN, "outrigger").await;
    (control_plane, kubeconfig)
}

/// An outrigger with the certificate of a Service.
pub fn outrigger(serving: &Serving, kubeconfig: &Path) -> Outrigger {
    Outrigger::serve()
        .flag("kubeconfig", kubeconfig.display())
        .flag("certificate", "files")
        .flag("tls-cert", serving.certificate.display())
        .flag("tls-key", serving.key.display())
}

/// One that reads our own ConfigMap.
pub fn by_bundle(serving: &Serving, kubeconfig: &Path) -> Outrigger {
    outrigger(serving, kubeconfig).flag("bundle-config-map", "outrigger")
}

/// Writes a ConfigMap.
pub async fn write(control_plane: &ControlPlane, namespace: &str, name: &str, data: Value) {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name}, "data": data,
    });
    let ran = control_plane.kubectl_with(&["replace", "-f", "-"], &object.to_string()).await;
    if !ran.success {
        control_plane.kubectl_with(&["create", "-f", "-"], &object.to_string()).await.expect("a ConfigMap");
    }
}

/// Writes our own ConfigMap.
pub async fn write_bundle(control_plane: &ControlPlane, bundle: &str) {
    write(control_plane, OWN, "outrigger", json!({"bundle": headed(bundle)})).await;
}

/// A plain pod.
pub fn pod() -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "web"}]}})
}

/// The proxy of a pod, in either list.
fn proxy(pod: &Value) -> Value {
    let lists = ["containers", "initContainers"];
    let mut containers = lists.iter().filter_map(|list| pod["spec"][list].as_array()).flatten();
    containers.find(|container| container["name"] == "istio-proxy").cloned().unwrap_or_default()
}

/// Whether the proxy of a pod is a native sidecar.
pub fn is_native(pod: &Value) -> bool {
    let init = pod["spec"]["initContainers"].as_array();
    init.is_some_and(|init| init.iter().any(|container| container["name"] == "istio-proxy"))
}

/// A template that prints its own mark and one of the values.
fn marked(mark: &str) -> String {
    format!(
        "spec:\n  containers:\n  - name: istio-proxy\n    image: \"{mark}:{{{{ .Values.global.tag }}}}\"\n"
    )
}

fn injector(mark: &str, tag: &str) -> Value {
    let config =
        json!({"policy": "enabled", "defaultTemplates": ["sidecar"], "templates": {"sidecar": marked(mark)}});
    json!({"config": config.to_string(), "values": json!({"global": {"tag": tag}}).to_string()})
}

/// The marks in a pod, and the configuration they came from.
pub fn marks(answered: &Answered, pod: &Value) -> String {
    let proxy = proxy(&answered.patched(pod));
    format!("{} by {}", proxy["image"].as_str().unwrap_or("no proxy"), answered.hash())
}

/// The errors and warnings about the configuration.
async fn remark(outrigger: &OutriggerProcess, about: &str) -> bool {
    let ready = outrigger.readyz().await.expect("the admin port");
    assert_eq!(ready.status, 200, "{}", ready.body);
    ready.body.lines().any(|line| line.starts_with("[!]config ") && line.contains(about))
}

async fn reasons(control_plane: &ControlPlane, namespace: &str) -> Vec<(String, String)> {
    let events = control_plane.kubectl(&["get", "events", "-n", namespace, "-o", "json"]).await;
    let events: Value = serde_json::from_str(&events).expect("a list");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_config_maps = events["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|event| event["involvedObject"]["kind"] == "ConfigMap");
    of_config_maps.map(|event| (text(&event["reason"]), text(&event["message"]))).collect()
}

/// C-01, C-02, C-05: whatever is written into Istio's ConfigMaps, every pod gets the complete last good configuration.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_by_one_whole_configuration() {
    let (control_plane, kubeconfig) = prepared(&[]).await;
    let serving = Serving::new(&control_plane);
    write(&control_plane, ISTIO, "istio", json!({"mesh": "{}"})).await;
    write(&control_plane, ISTIO, "istio-sidecar-injector", injector("one", "one")).await;
    let outrigger = outrigger(&serving, &kubeconfig).start().await;
    let load = Load::start(outrigger.webhook_port(), &serving.authority, 2, &pod(), marks).await;

    for (generation, mark) in [(2.0, "two"), (3.0, "three"), (4.0, "four")] {
        write(&control_plane, ISTIO, "istio-sidecar-injector", injector(mark, mark)).await;
        outrigger.wait_metric("outrigger_config_generation", &[], |value| value == generation).await;
    }
    let broken = |mut data: Value, key: &str, text: &str| {
        data[key] = json!(text);
        data
    };
    let unclosed = json!({"policy": "enabled", "defaultTemplates": ["sidecar"],
        "templates": {"sidecar": "spec: {{ if .Values }}"}})
    .to_string();
    for (data, about) in [
        (broken(injector("bad", "bad"), "config", &unclosed), "templates"),
        // A valid template together with broken values must not be applied alone.
        (broken(injector("bad", "bad"), "values", "{\"global\": "), "key values"),
        (broken(injector("bad", "bad"), "config", "policy: maybe"), "policy"),
    ] {
        write(&control_plane, ISTIO, "istio-sidecar-injector", data).await;
        until(about, PATIENCE, async || remark(&outrigger, about).await).await;
        assert_eq!(outrigger.metric("outrigger_config_last_reload_success", &[]).await, 0.0);
    }
    write(&control_plane, ISTIO, "istio", json!({"mesh": "defaultConfig: 5"})).await;
    write(&control_plane, ISTIO, "istio-sidecar-injector", injector("five", "five")).await;
    until("the mesh is to blame", PATIENCE, async || remark(&outrigger, "key mesh:1:").await).await;
    until("an Event on each ConfigMap", PATIENCE, async || {
        let reasons = reasons(&control_plane, ISTIO).await;
        let rejected = |about: &str| {
            reasons.iter().any(|(reason, said)| reason == "ConfigRejected" && said.contains(about))
        };
        rejected("istio-system/istio-sidecar-injector") && rejected("istio-system/istio key mesh")
    })
    .await;
    write(&control_plane, ISTIO, "istio", json!({"mesh": "{}"})).await;
    outrigger.wait_metric("outrigger_config_generation", &[], |value| value == 5.0).await;
    assert_eq!(outrigger.metric("outrigger_config_last_reload_success", &[]).await, 1.0);
    assert!(!remark(&outrigger, "").await, "all is well again");
    until("an Event tells that all is well", PATIENCE, async || {
        reasons(&control_plane, ISTIO).await.iter().any(|(reason, _)| reason == "ConfigAccepted")
    })
    .await;

    let tally = load.end().await;
    let answers: Vec<&str> = tally.answers.keys().map(String::as_str).collect();
    println!("{} answers, slowest {:?}: {:?}", tally.count(), tally.within(1.0), tally.answers);
    assert_eq!(answers.len(), 5, "{answers:?}");
    for mark in ["one", "two", "three", "four", "five"] {
        assert!(
            answers.iter().any(|answer| answer.starts_with(&format!("{mark}:{mark} by "))),
            "{answers:?}"
        );
    }
}

/// C-03, C-06: without the ConfigMap, the last good configuration stays; a replica that never had one is not ready, and
/// reports why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_config_map_is_missed_and_not_obeyed() {
    let (control_plane, kubeconfig) = prepared(&[]).await;
    let serving = Serving::new(&control_plane);
    write_bundle(&control_plane, "compliancePolicy: fips-140-3").await;
    let first = by_bundle(&serving, &kubeconfig).start().await;
    control_plane.kubectl(&["delete", "configmap", "outrigger", "-n", OWN]).await;
    let gone = r#"ConfigMap outrigger-system/outrigger does not exist; expected one with the key "bundle""#;
    until("that it is gone is seen", PATIENCE, async || remark(&first, gone).await).await;
    let mut reviewer = Reviewer::connect(first.webhook_port(), &serving.authority).await;
    assert!(is_injected(&reviewer.review("shop", &pod()).await.patched(&pod())));

    let mut second = by_bundle(&serving, &kubeconfig).spawn();
    until("the second says why it is not ready", PATIENCE, async || {
        second.readyz().await.is_some_and(|ready| {
            ready.status == 503 && ready.body.contains(&format!("[-]config failed: {gone}"))
        })
    })
    .await;
    write(&control_plane, OWN, "outrigger", json!({"bundel": ""})).await;
    let key = r#"lacks the key "bundle"; found the key "bundel""#;
    until("the key is missed", PATIENCE, async || {
        second.readyz().await.is_some_and(|ready| ready.status == 503 && ready.body.contains(key))
    })
    .await;
    write_bundle(&control_plane, "compliancePolicy: fips-140-3").await;
    second.wait_ready().await;
    until("the first has no remark", PATIENCE, async || !remark(&first, "").await).await;
    assert_eq!(first.metric("outrigger_config_generation", &[]).await, 1.0, "it is the same configuration");
    let hash = |metrics: &str| {
        let line = metrics.lines().find(|line| line.starts_with("outrigger_config_hash_info{"));
        line.map(ToOwned::to_owned).expect("a hash")
    };
    assert_eq!(hash(&first.metrics().await), hash(&second.metrics().await), "C-06");

    write_bundle(&control_plane, "revision: canary").await;
    until("another revision's bundle is refused", PATIENCE, async || {
        remark(&first, r#"found "canary", expected the revision of this process, "default""#).await
    })
    .await;
}

/// C-04: a hundred edits per second are combined; the last one wins, and requests are not affected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_edits_do_not_starve_requests() {
    let (control_plane, kubeconfig) = prepared(&[]).await;
    let serving = Serving::new(&control_plane);
    write_bundle(&control_plane, "").await;
    let outrigger = by_bundle(&serving, &kubeconfig).start().await;
    let client = control_plane.client().await;
    let edit = |number: usize| {
        let client = client.clone();
        async move {
            let bundle = headed(&format!("env: {{EDIT: \"{number}\"}}"));
            let patch = json!({"data": {"bundle": bundle}}).to_string();
            let request = hyper::Request::patch("/api/v1/namespaces/outrigger-system/configmaps/outrigger")
                .header("content-type", "application/merge-patch+json")
                .body(patch.into_bytes())
                .expect("a request");
            client.request::<Value>(request).await.expect("an edit");
        }
    };
    let before = cpu(outrigger.pid());
    let load = Load::start(outrigger.webhook_port(), &serving.authority, 1, &pod(), |answered, _| {
        assert_eq!(answered.response["allowed"], true);
        String::new()
    })
    .await;
    let began = Instant::now();
    let mut edits = 0;
    let mut beat = tokio::time::interval(Duration::from_millis(10));
    while began.elapsed() < Duration::from_secs(6) {
        beat.tick().await;
        edits += 1;
        edit(edits).await;
    }
    let took = began.elapsed();
    let bundle = headed(&format!("env: {{EDIT: \"{edits}\"}}"));
    let (mesh, _) = InjectorConfig::from_bundle(Source { name: "last", text: &bundle }).unwrap();
    let last = format!("hash={:?}", mesh.hash());
    outrigger.wait_metric("outrigger_config_hash_info", &[&last], |value| value == 1.0).await;
    let generations = outrigger.metric("outrigger_config_generation", &[]).await;
    let tally = load.end().await;
    let rate = f64::from(u32::try_from(edits).unwrap()) / took.as_secs_f64();
    println!(
        "{edits} edits ({rate:.0}/s), {generations} configurations; {} answers, median {:?}, 99 % {:?}, slowest {:?}; \
         {:?} of CPU",
        tally.count(),
        tally.within(0.5),
        tally.within(0.99),
        tally.within(1.0),
        cpu(outrigger.pid()) - before,
    );
    assert!(rate > 20.0, "the edits are rapid: {rate}");
    assert!(generations <= 4.0 + 2.0 * took.as_secs_f64(), "{generations} in {took:?}");
    assert!(tally.within(0.99) < Duration::from_millis(500), "{:?}", tally.within(0.99));
}

/// The CPU time of a process.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let after = stat.rsplit_once(") ").expect("a name").1;
    let ticks: u64 =
        after.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

/// K-09: ProxyConfig resources apply from the installation of their CRD until its removal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxy_configs_are_picked_up_when_their_definition_comes() {
    let (control_plane, kubeconfig) = prepared(&[]).await;
    let serving = Serving::new(&control_plane);
    write_bundle(&control_plane, "").await;
    let timings = Timings { absent: Duration::from_millis(200), ..Timings::default() };
    let short = Short::start(&serving, &kubeconfig, timings).await;
    assert!(
        short
            .admin("/readyz?verbose")
            .await
            .contains("[+]proxyconfigs ok: the API server has no proxyconfigs")
    );
    assert!(short.has_metric(r#"outrigger_watch_connected{resource="proxyconfigs"} 1"#).await);
    let mut reviewer = Reviewer::connect(short.server.webhook_address().port(), &serving.authority).await;
    let mut concurrency = async || {
        let pod = pod();
        let pod = reviewer.review("shop", &pod).await.patched(&pod);
        proxy(&pod)["env"].as_array()?.iter().find(|env| env["name"] == "PROXY_CONFIG")?["value"]
            .as_str()
            .map(|config| config.trim().to_owned())
    };
    assert_eq!(concurrency().await.as_deref(), Some("{}"));

    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
    control_plane.apply(DEFINITION).await;
    control_plane
        .kubectl(&[
            "wait",
            "--for=condition=Established",
            "crd/proxyconfigs.networking.istio.io",
            "--timeout=20s",
        ])
        .await;
    let resource = |name: &str, spec: Value| {
        json!({"apiVersion": "networking.istio.io/v1beta1", "kind": "ProxyConfig",
            "metadata": {"name": name, "namespace": "shop"}, "spec": spec})
        .to_string()
    };
    control_plane.apply(&resource("threads", json!({"concurrency": 7}))).await;
    until("it counts", PATIENCE, async || concurrency().await.as_deref() == Some(r#"{"concurrency":7}"#))
        .await;
    control_plane.apply(&resource("threads", json!({"concurrency": 5}))).await;
    until("a change counts", PATIENCE, async || {
        concurrency().await.as_deref() == Some(r#"{"concurrency":5}"#)
    })
    .await;
    // The older one wins; an invalid one is skipped, and the others still apply.
    control_plane.apply(&resource("later", json!({"concurrency": 9}))).await;
    control_plane.apply(&resource("unreadable", json!({"concurrency": "many"}))).await;
    until("all three are known", PATIENCE, async || {
        short.admin("/readyz?verbose").await.contains("[+]proxyconfigs ok: 2 ProxyConfig resources")
    })
    .await;
    assert_eq!(concurrency().await.as_deref(), Some(r#"{"concurrency":5}"#));
    control_plane.kubectl(&["delete", "crd", "proxyconfigs.networking.istio.io"]).await;
    until("it is gone", PATIENCE, async || concurrency().await.as_deref() == Some("{}")).await;
    until("that is said", PATIENCE, async || {
        short
            .admin("/readyz?verbose")
            .await
            .contains("[+]proxyconfigs ok: the API server has no proxyconfigs")
    })
    .await;
}

/// O-06, O-11: nodes are upgraded, and namespaces relabeled, while the API server calls the webhook.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_and_namespaces_count_as_they_are_now() {
    let (control_plane, kubeconfig) = prepared(&[]).await;
    let serving = Serving::new(&control_plane);
    write_bundle(&control_plane, "").await;
    control_plane.create_node("old", "v1.32.4").await;
    control_plane.create_node("new", "v1.33.0").await;
    let outrigger = by_bundle(&serving, &kubeconfig).start().await;
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
    Webhook::new("outrigger", Reach::service_of(&outrigger), &serving.authority)
        .install(&control_plane, "shop")
        .await;
    let client = control_plane.client().await;
    let stored = async || dry_run(&client, "shop", &pod()).await.expect("a pod");
    assert!(!is_native(&stored().await), "one node is too old");
    let upgrade = r#"{"status":{"nodeInfo":{"kubeletVersion":"v1.33.4"}}}"#;
    control_plane
        .kubectl(&["patch", "node", "old", "--subresource=status", "--type=merge", "-p", upgrade])
        .await;
    until("the upgrade counts", PATIENCE, async || is_native(&stored().await)).await;
    control_plane.create_node("ancient", "v1.28.0").await;
    until("an old node counts", PATIENCE, async || !is_native(&stored().await)).await;
    control_plane.kubectl(&["delete", "node", "ancient"]).await;
    until("its end counts", PATIENCE, async || is_native(&stored().await)).await;

    control_plane.kubectl(&["label", "namespace", "shop", "istio-injection-"]).await;
    until("without the label there is no proxy", PATIENCE, async || !is_injected(&stored().await)).await;
    control_plane.kubectl(&["label", "namespace", "shop", "istio-injection=enabled"]).await;
    until("with it there is", PATIENCE, async || is_injected(&stored().await)).await;
}

/// O-06: reviews as a webhook configuration that selects too much would send them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_of_a_namespace_that_is_not_selected_is_skipped_unless_the_label_is_new() {
    let (control_plane, kubeconfig) = prepared(&[]).await;
    let serving = Serving::new(&control_plane);
    write_bundle(&control_plane, "").await;
    let names = ["new-1", "new-2", "new-3"];
    for name in names.iter().chain(&["disabled"]) {
        control_plane.create_namespace(name, &[]).await;
    }
    control_plane.kubectl(&["label", "namespace", "disabled", "istio-injection=disabled"]).await;
    let outrigger = by_bundle(&serving, &kubeconfig).start().await;
    let reads = async || {
        let labels = ["verb=\"list\"", "resource=\"namespaces\"", "code=\"200\""];
        outrigger.metric("outrigger_kube_api_requests_total", &labels).await
    };
    let mut reviewer = Reviewer::connect(outrigger.webhook_port(), &serving.authority).await;
    let first = reads().await;
    for (name, because) in [
        ("disabled", "has a label istio-injection that is"),
        ("new-1", "has neither label istio-injection nor"),
    ] {
        let response = reviewer.review(name, &pod()).await.response;
        assert!(response["allowed"] == true && response["patch"].is_null(), "{response}");
        assert_eq!(response["auditAnnotations"]["reason"], "NAMESPACE_NOT_SELECTED", "{response}");
        let warning = response["warnings"][0].as_str().unwrap_or_default();
        assert!(warning.contains(&format!("namespace {name} {because}")), "{response}");
    }
    assert_eq!(reads().await - first, 2.0, "each was confirmed by a read");

    let mut opted_in = pod();
    opted_in["metadata"]["labels"] = json!({"sidecar.istio.io/inject": "true"});
    let patched = reviewer.review("new-1", &opted_in).await.patched(&opted_in);
    assert!(!proxy(&patched).is_null(), "the pod's label selects it: {patched}");

    // At once, whether or not the watch has reported the label.
    for name in names {
        control_plane.kubectl(&["label", "namespace", name, "istio-injection=enabled"]).await;
        let answered = reviewer.review(name, &pod()).await;
        assert!(!proxy(&answered.patched(&pod())).is_null(), "{name}: {}", answered.response);
    }
    let trusting = by_bundle(&serving, &kubeconfig).flag("selection", "trust").start().await;
    let mut reviewer = Reviewer::connect(trusting.webhook_port(), &serving.authority).await;
    let answered = reviewer.review("disabled", &pod()).await;
    assert!(!proxy(&answered.patched(&pod())).is_null(), "{}", answered.response);
}

/// On OpenShift the proxy's user comes from the namespace, as soon as the configuration says that it is OpenShift.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_are_watched_where_the_platform_needs_them() {
    let (control_plane, kubeconfig) = prepared(&["namespaces"]).await;
    let serving = Serving::new(&control_plane);
    write_bundle(&control_plane, "").await;
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
    let annotate = async |range: &str| {
        let annotation = format!("openshift.io/sa.scc.uid-range={range}");
        control_plane.kubectl(&["annotate", "namespace", "shop", "--overwrite", &annotation]).await;
    };
    annotate("1000650000/10000").await;
    let outrigger = by_bundle(&serving, &kubeconfig).start().await;
    let ready = outrigger.readyz().await.expect("the admin port").body;
    assert!(
        ready.contains(r#"[!]namespaces may not list namespaces: the role lacks "list" on "namespaces""#),
        "{ready}"
    );

    write_bundle(&control_plane, "platform: openshift").await;
    let second = by_bundle(&serving, &kubeconfig).spawn();
    let refused = r#"may not list namespaces: the role lacks "list" on "namespaces""#;
    until("the right is missed", PATIENCE, async || {
        second.readyz().await.is_some_and(|ready| {
            ready.status == 503 && ready.body.contains(&format!("[-]namespaces failed: {refused}"))
        })
    })
    .await;
    grant(&control_plane, "namespaces").await;
    for process in [&outrigger, &second] {
        eventually("namespaces are known", PATIENCE, async || {
            let ready = process.readyz().await?;
            (ready.status == 200
                && ready.body.contains("[+]namespaces ok: 1 namespaces with relevant annotations"))
            .then_some(())
        })
        .await;
    }
    let mut reviewer = Reviewer::connect(second.webhook_port(), &serving.authority).await;
    let mut user = async || {
        let pod = pod();
        let pod = reviewer.review("shop", &pod).await.patched(&pod);
        proxy(&pod)["securityContext"]["runAsUser"].as_i64()
    };
    assert_eq!(user().await, Some(1_000_659_999));
    annotate("2000000000/10000").await;
    until("the new range counts", PATIENCE, async || user().await == Some(2_000_009_999)).await;
}
