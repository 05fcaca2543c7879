//! `outrigger doctor` against a real API server: one thing is broken at a time, found by its name, and repaired.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    commands::{Shell, serving},
    control_plane::{ControlPlane, Flavour, PATIENCE, identity::Authority, settled},
    explain::{bundle, judged},
    install::NAMESPACE,
    outrigger_process::OutriggerProcess,
    release::Release,
};

const WEBHOOKS: &str = "mutatingwebhookconfigurations";
/// The configuration of the default revision.
const CONFIGURATION: &str = "outrigger-sidecar-injector";

/// An installation that can be broken: a process behind the Service, and a namespace that asks for injection.
struct Scene<'c> {
    control_plane: &'c ControlPlane,
    shell: Shell<'c>,
    process: OutriggerProcess,
    /// `outrigger webhook apply` as it was done.
    apply: Vec<String>,
}

impl<'c> Scene<'c> {
    async fn set(control_plane: &'c ControlPlane) -> Scene<'c> {
        let shell = Shell::of(control_plane);
        let (serving, process, port) = serving(control_plane).await;
        control_plane.apply(&bundle("100m").to_string()).await;
        let ca = shell.file("ca.pem", serving.authority.pem());
        let apply = ["webhook", "apply", &port, "--ca-bundle", &ca].map(str::to_owned).to_vec();
        let scene = Scene { control_plane, shell, process, apply };
        scene.repair_webhook().await;
        scene
    }

    /// The findings: evidence by check.
    async fn findings(&self) -> BTreeMap<String, String> {
        let run = self.shell.run(&["doctor", "-o", "json", "--probe-namespace", "shop"]).await;
        let report: Value = serde_json::from_str(&run.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", run.stdout, run.stderr));
        assert_eq!(report["kind"], "Diagnosis");
        let findings = report["findings"].as_array().expect("a list");
        let errors = findings.iter().filter(|finding| finding["severity"] == "error").count();
        assert_eq!(run.code, i32::from(errors > 0), "{report:#}");
        let text = |finding: &Value, key: &str| finding[key].as_str().expect("text").to_owned();
        findings
            .iter()
            .map(|one| (text(one, "check"), format!("{}: {}", text(one, "subject"), text(one, "evidence"))))
            .collect()
    }

    /// Waits until these checks and no others are reported: API servers follow a change of a webhook within a second or so.
    async fn finds(&self, about: &str, checks: &[&str]) -> BTreeMap<String, String> {
        settled(about, PATIENCE, async || {
            let found = self.findings().await;
            if found.keys().eq(checks) { Ok(found) } else { Err(format!("{found:#?}")) }
        })
        .await
    }

    async fn repair_webhook(&self) {
        // kubectl owns the fields that it has patched.
        let force = ["--force-conflicts"];
        let apply: Vec<&str> = self.apply.iter().map(String::as_str).chain(force).collect();
        self.shell.done(&apply).await;
        self.shell.done(&["webhook", "wait", "--timeout=30s", "--probe-namespace=shop"]).await;
    }

    /// Sets, or with null removes, a field of every entry of the webhook.
    async fn patch_entries(&self, pointer: &str, value: &Value) {
        let entries =
            self.shell.configuration(CONFIGURATION).await["webhooks"].as_array().expect("entries").len();
        let operation = |index: usize| {
            let path = format!("/webhooks/{index}{pointer}");
            match value {
                Value::Null => json!({"op": "remove", "path": path}),
                value => json!({"op": "add", "path": path, "value": value}),
            }
        };
        let patch = json!((0..entries).map(operation).collect::<Vec<_>>()).to_string();
        self.control_plane.kubectl(&["patch", WEBHOOKS, CONFIGURATION, "--type=json", "-p", &patch]).await;
    }

    async fn apply(&self, object: &Value) {
        self.control_plane.apply(&object.to_string()).await;
    }
}

/// An EndpointSlice of our Service. No endpoint controller makes one for a process on loopback.
fn endpoints(addresses: &[&str], port: u16) -> Value {
    let endpoints: Vec<Value> = addresses.iter().map(|address| json!({"addresses": [address]})).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "both", "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": "outrigger"}},
        "ports": [{"name": "https", "port": port}], "endpoints": endpoints,
    })
}

/// An ordinary workload of two pods.
fn workload(kind: &str, namespace: &str, name: &str, labels: &Value, container: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_broken_in_a_real_cluster_is_found_by_its_name() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
    control_plane.create_service_account("shop", "default").await;
    let bare = Shell::of(&control_plane).run(&["doctor", "-o", "json", "--probe-namespace", "shop"]).await;
    assert_eq!(bare.code, 1, "{}", bare.stderr);
    assert!(bare.stdout.contains("no-webhook"), "{}", bare.stdout);

    let mut scene = Scene::set(&control_plane).await;
    let port = scene.process.webhook_port();
    scene.finds("no EndpointSlice", &["no-endpoints"]).await;
    scene.apply(&endpoints(&["10.1.2.3"], port)).await;
    scene.finds("a single replica under Fail", &["fail-closed-alone"]).await;
    scene.apply(&endpoints(&["10.1.2.3", "10.1.2.4"], port)).await;
    scene.finds("nothing is wrong", &[]).await;
    let text = scene.shell.done(&["doctor", "--probe-namespace", "shop", "--wait", "5s"]).await;
    assert_eq!(text, "no problem found\n");

    of_namespaces(&scene).await;
    of_webhooks(&scene).await;
    of_the_installation(&scene).await;

    // The process is gone; then its failures are also ignored.
    scene.process.terminate().await;
    scene.finds("nothing listens", &["connection-refused"]).await;
    scene.patch_entries("/failurePolicy", &json!("Ignore")).await;
    let found = scene.finds("failures are ignored", &["ignored-failures"]).await;
    let evidence = &found["ignored-failures"];
    assert!(
        evidence.contains("shop") && evidence.contains("cannot call Service outrigger-system/outrigger"),
        "{found:?}"
    );

    little_may_be_read(&scene).await;
}

/// Labels, and pods that were created before or without injection.
async fn of_namespaces(scene: &Scene<'_>) {
    let control_plane = scene.control_plane;
    let mistakes = [
        ("typo", "label-value", vec![("istio-injection", "enable")]),
        ("key", "label-misspelled", vec![("istio-injecton", "enabled")]),
        ("nobody", "revision-not-served", vec![("istio.io/rev", "canary")]),
        ("both", "both-labels", vec![("istio-injection", "enabled"), ("istio.io/rev", "default")]),
    ];
    for (name, check, labels) in mistakes {
        control_plane.create_namespace(name, &labels).await;
        let found = scene.finds(check, &[check]).await;
        assert!(found[check].contains(&format!("Namespace {name}")), "{found:?}");
        for (label, _) in labels {
            control_plane.kubectl(&["label", "namespace", name, &format!("{label}-")]).await;
        }
    }

    control_plane.create_namespace("late", &[]).await;
    control_plane.create_service_account("late", "default").await;
    let mut pod = judged();
    pod["metadata"]["namespace"] = json!("late");
    scene.apply(&pod).await;
    control_plane.kubectl(&["label", "namespace", "late", "istio-injection=enabled"]).await;
    scene.finds("a pod that was created before its label", &["uninjected-pods"]).await;
    control_plane.kubectl(&["delete", "pod", "judged", "-n", "late", "--now"]).await;

    let container = json!({"name": "web", "image": "example.com/web:1"});
    let mut denied = workload("Deployment", "shop", "web", &json!({}), &container);
    denied["spec"]["template"]["metadata"]["annotations"] = json!({"sidecar.istio.io/proxyCPU": "much"});
    scene.apply(&denied).await;
    let found = scene.finds("a workload whose pods are denied", &["creation-refused"]).await;
    assert!(found["creation-refused"].contains("Deployment shop/web"), "{found:?}");
    assert!(found["creation-refused"].contains("sidecar.istio.io/proxyCPU"), "{found:?}");
    control_plane.kubectl(&["delete", "deployment", "web", "-n", "shop"]).await;
}

/// Entries of the webhook, and other webhooks and policies.
async fn of_webhooks(scene: &Scene<'_>) {
    let control_plane = scene.control_plane;
    scene.patch_entries("/rules", &json!([])).await;
    scene.finds("entries without rules", &["no-rules", "revision-not-served"]).await;
    scene.repair_webhook().await;

    scene.patch_entries("/clientConfig/caBundle", &Value::Null).await;
    scene.finds("no caBundle", &["ca-bundle-missing", "certificate-untrusted"]).await;
    scene.repair_webhook().await;

    let mut other = scene.apply.clone();
    *other.last_mut().expect("a file") = scene.shell.file("other.pem", Authority::new("other").pem());
    let other: Vec<&str> = other.iter().map(String::as_str).collect();
    scene.shell.done(&other).await;
    scene.finds("the CA is another one", &["certificate-untrusted"]).await;
    scene.repair_webhook().await;

    scene.patch_entries("/clientConfig/service/path", &json!("/nothing")).await;
    scene.finds("a path that nothing serves", &["webhook-error"]).await;
    scene.repair_webhook().await;

    let service =
        control_plane.kubectl(&["get", "service", "outrigger", "-n", NAMESPACE, "-o", "json"]).await;
    let service: Value = serde_json::from_str(&service).expect("JSON");
    let again = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": service["spec"],
        })
    };
    scene.apply(&again("renamed")).await;
    let mut slice = endpoints(&["10.1.2.3", "10.1.2.4"], scene.process.webhook_port());
    slice["metadata"]["name"] = json!("renamed");
    slice["metadata"]["labels"]["kubernetes.io/service-name"] = json!("renamed");
    scene.apply(&slice).await;
    scene.patch_entries("/clientConfig/service/name", &json!("renamed")).await;
    let found = scene.finds("a certificate for another name", &["certificate-name"]).await;
    assert!(found["certificate-name"].contains("renamed"), "{found:?}");
    control_plane.kubectl(&["delete", "service", "renamed", "-n", NAMESPACE]).await;
    scene.finds("the Service is gone", &["service-missing"]).await;
    scene.repair_webhook().await;

    let mut istiod = scene.shell.configuration(CONFIGURATION).await;
    istiod["metadata"] = json!({"name": "istio-sidecar-injector", "labels": {"app": "sidecar-injector"}});
    for entry in istiod["webhooks"].as_array_mut().expect("entries") {
        entry["clientConfig"] = json!({"url": "https://127.0.0.1:1/inject"});
        entry["failurePolicy"] = json!("Ignore");
    }
    scene.apply(&istiod).await;
    scene.finds("istiod injects, too", &["another-injector"]).await;
    control_plane.kubectl(&["delete", WEBHOOKS, "istio-sidecar-injector"]).await;

    let level = "pod-security.kubernetes.io/enforce";
    control_plane.kubectl(&["label", "namespace", "shop", &format!("{level}=restricted")]).await;
    let found = scene.finds("Pod Security refuses the pod", &["other-refusal"]).await;
    assert!(found["other-refusal"].contains("restricted"), "{found:?}");
    control_plane.kubectl(&["label", "namespace", "shop", &format!("{level}-")]).await;
    scene.finds("all is repaired", &[]).await;
}

/// The Deployment, its rights and its configuration.
async fn of_the_installation(scene: &Scene<'_>) {
    let control_plane = scene.control_plane;
    let name = json!({"app.kubernetes.io/name": "outrigger"});
    let container = json!({
        "name": "outrigger", "image": "example.com/outrigger:1",
        "args": ["serve", "--bundle-config-map=outrigger", "--namespace-audit"],
    });
    scene.apply(&workload("Deployment", NAMESPACE, "outrigger", &name, &container)).await;
    let found = scene.finds("no replica, no rights", &["permission-missing", "replicas-not-ready"]).await;
    assert!(found["permission-missing"].contains("ServiceAccount outrigger-system/default"), "{found:?}");
    control_plane.kubectl(&["delete", "deployment", "outrigger", "-n", NAMESPACE]).await;

    let mut invalid = bundle("100m");
    invalid["data"]["bundle"] = json!("apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\nvalues: [a]\n");
    scene.apply(&invalid).await;
    scene.finds("a configuration that cannot be used", &["configuration-invalid"]).await;
    scene.apply(&bundle("100m")).await;
    scene.finds("all is repaired", &[]).await;
}

/// Without the right to read anything but the webhooks, doctor leaves out the rest and says so.
async fn little_may_be_read(scene: &Scene<'_>) {
    let control_plane = scene.control_plane;
    let rules = json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "few"},
            "rules": [{"apiGroups": ["admissionregistration.k8s.io"], "resources": [WEBHOOKS], "verbs": ["list"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "few"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "few"},
            "subjects": [{"kind": "ServiceAccount", "name": "few", "namespace": "shop"}],
        },
    ]});
    control_plane.create_service_account("shop", "few").await;
    scene.apply(&rules).await;
    let kubeconfig = control_plane.kubeconfig_for("shop", "few").await;
    let kubeconfig = kubeconfig.to_str().expect("UTF-8");
    let run = scene.shell.run(&["doctor", "--kubeconfig", kubeconfig, "-o", "json", "--no-probe"]).await;
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert!(report["leftOut"].as_array().expect("a list").len() >= 4, "{report:#}");
    assert_eq!(report["findings"], json!([]));
}

// The chart grants what the flags it sets ask for, and no rule of it is missed in silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chart_grants_every_right_that_its_server_needs() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
    let values = [
        "canary.enabled=true",
        "canary.namespace=shop",
        "namespaceAudit.enabled=true",
        "bareWorkloads.mode=restart",
        "server.adminAuth=token",
        "webhook.advice.enabled=true",
        "clientAuth.mode=request",
        "clientAuth.configMap.name=extension-apiserver-authentication",
        "clientAuth.configMap.namespace=kube-system",
        "clientAuth.configMap.key=requestheader-client-ca-file",
        "clientAuth.allowedNames={front-proxy-client}",
        "revisionTags={prod}",
    ];
    let _release = Release::without_replicas(&control_plane, "outrigger", NAMESPACE, &values).await;
    let shell = Shell::of(&control_plane);
    let missing = async || -> Vec<(String, String)> {
        let run = shell.run(&["doctor", "--no-probe", "-o", "json"]).await;
        let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
        assert_eq!(report["leftOut"], json!([]), "{report:#}");
        let findings = report["findings"].as_array().expect("a list").iter();
        let of = findings.filter(|finding| finding["check"] == "permission-missing");
        let text = |finding: &Value, key: &str| finding[key].as_str().expect("text").to_owned();
        of.map(|finding| (text(finding, "severity"), text(finding, "evidence"))).collect()
    };
    assert_eq!(missing().await, []);

    for (kind, name, namespace, severity, wanted) in [
        ("rolebinding", "outrigger-canary", "shop", "warning", "for the canary: create pods -n shop"),
        ("rolebinding", "outrigger-callers", "kube-system", "error", "for the CA of callers: "),
        ("rolebinding", "outrigger", NAMESPACE, "error", "for the configuration: "),
        ("clusterrolebinding", "outrigger", "", "error", "for webhooks: "),
        // Until now, the right to write Events on workloads contained that of the audit.
        (
            "rolebinding",
            "outrigger-namespace-audit",
            "default",
            "warning",
            "create events.events.k8s.io -n default",
        ),
    ] {
        control_plane.kubectl(&["delete", kind, name, "--namespace", namespace]).await;
        let found = settled(wanted, PATIENCE, async || {
            let found = missing().await;
            let is_it = |(_, evidence): &&(String, String)| evidence.contains(wanted);
            found.iter().find(is_it).cloned().ok_or_else(|| format!("{found:?}"))
        })
        .await;
        assert_eq!(found.0, severity, "{found:?}");
    }
}
