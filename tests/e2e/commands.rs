//! Commands that talk to an API server: webhook apply and wait, and configurations that come from the cluster.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use outrigger::{
    config::InjectorConfig,
    webhook_config::{ca_bundle, entries},
    yaml::{self, Limits},
};
use serde_json::{Value, json};

use crate::headed::headed;

use super::{
    control_plane::{ControlPlane, Flavour, Ran, identity::Authority},
    install::{NAMESPACE, SERVICE, Serving, service},
    outrigger_process::{Outrigger, OutriggerProcess},
    pods::{dry_run, is_injected},
};

/// The command on a control plane, as administrator.
pub struct Shell<'a> {
    control_plane: &'a ControlPlane,
    kubeconfig: PathBuf,
}

/// The result of a run of the command.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Shell<'_> {
    pub fn of(control_plane: &ControlPlane) -> Shell<'_> {
        Shell { control_plane, kubeconfig: control_plane.kubeconfig().to_owned() }
    }

    pub async fn run(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
        command.args(arguments).env("KUBECONFIG", &self.kubeconfig).env_remove("OUTRIGGER_BUNDLE");
        command.stdin(Stdio::null());
        let output =
            tokio::task::spawn_blocking(move || command.output()).await.expect("a run").expect("outrigger");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Its output; the run has to succeed.
    pub async fn done(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments).await;
        assert_eq!(run.code, 0, "{arguments:?}: {}{}", run.stdout, run.stderr);
        run.stdout
    }

    /// Its errors; the run has to fail with the given code.
    pub async fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let run = self.run(arguments).await;
        assert_eq!(run.code, code, "{arguments:?}: {}{}", run.stdout, run.stderr);
        run.stderr
    }

    pub async fn configuration(&self, name: &str) -> Value {
        let text =
            self.control_plane.kubectl(&["get", "mutatingwebhookconfiguration", name, "-o", "json"]).await;
        serde_json::from_str(&text).expect("JSON")
    }

    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.control_plane.folder().join(name);
        fs::write(&path, text).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    }
}

/// A server behind the Service, and the flag for its port: the API server reaches it on loopback.
pub async fn serving(control_plane: &ControlPlane) -> (Serving, OutriggerProcess, String) {
    let serving = Serving::new(control_plane);
    let process = Outrigger::standalone(&serving.certificate, &serving.key).start().await;
    control_plane.create_namespace(NAMESPACE, &[]).await;
    control_plane.apply(&service(process.webhook_port()).to_string()).await;
    let port = format!("--port={}", process.webhook_port());
    (serving, process, port)
}

fn bundles(configuration: &Value) -> Vec<Option<String>> {
    entries(configuration).map(|(_, entry)| ca_bundle(entry).map(str::to_owned)).collect()
}

fn pod(labels: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": labels},
        "spec": {"containers": [{"name": "main", "image": "example.com/main:1"}]},
    })
}

// GP-04, GP-08, GP-09, GP-12, GP-19, DA-14, O-01
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_is_applied_waited_for_and_calls() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    let shell = Shell::of(&control_plane);
    let told = shell.fails(1, &["webhook", "wait", "--timeout=1s"]).await;
    assert!(told.contains("waiting (0s): MutatingWebhookConfiguration "), "{told}");

    let (serving, mut process, port) = serving(&control_plane).await;
    let apply = ["webhook", "apply", &port, "--tag=prod", "--enable-namespaces-by-default"];
    let wait = ["webhook", "wait", "--tag=prod", "--enable-namespaces-by-default", "--timeout=20s"];
    for (dry_run, told) in [("client", "(client dry run)"), ("server", "(server dry run)")] {
        let dry_run = format!("--dry-run={dry_run}");
        let stdout = shell.done(&[&apply[..], &[dry_run.as_str()]].concat()).await;
        assert_eq!(stdout.matches(told).count(), 3, "{stdout}");
        assert_eq!(control_plane.kubectl(&["get", "mutatingwebhookconfigurations", "-o", "name"]).await, "");
    }
    let run = shell.run(&apply).await;
    assert_eq!(run.stdout.matches(": created\n").count(), 3, "{}", run.stdout);
    assert!(run.stderr.contains("no caBundle in rev.namespace."), "{}", run.stderr);
    assert_eq!(shell.done(&apply).await.matches(": unchanged\n").count(), 3);
    let told = shell.fails(1, &["webhook", "wait", "--timeout=0"]).await;
    assert!(told.contains("rev.namespace.sidecar-injector.istio.io has no caBundle yet"), "{told}");

    // Another CA: the API server says why it does not call.
    let other = shell.file("other.pem", Authority::new("webhook").pem());
    shell.done(&[&apply[..], &["--ca-bundle", &other]].concat()).await;
    let told = shell.fails(1, &["webhook", "wait", "--timeout=0"]).await;
    assert!(told.contains("failed calling webhook") && told.contains("x509"), "{told}");

    let ca = shell.file("ca.pem", serving.authority.pem());
    let stdout = shell.done(&[&apply[..], &["--ca-bundle", &ca]].concat()).await;
    assert_eq!(stdout.matches("clientConfig.caBundle: <").count(), 7, "{stdout}");
    let stdout = shell.done(&wait).await;
    for entry in ["calls object.", "calls rev.object.", "calls auto."] {
        assert!(stdout.contains(entry), "{stdout}");
    }
    assert!(process.metric("outrigger_requests_total", &[r#"outcome="injected""#]).await >= 3.0);
    assert_eq!(control_plane.kubectl(&["get", "pods", "-A", "-o", "name"]).await, "", "nothing was created");

    // The labels have the intended meaning for this API server.
    let client = control_plane.client().await;
    for (name, labels) in [
        ("shop", &[("istio-injection", "enabled")][..]),
        ("tagged", &[("istio.io/rev", "prod")]),
        ("shut", &[("istio-injection", "disabled")]),
        ("typo", &[("istio-injection", "enable")]),
        ("elsewhere", &[("istio.io/rev", "other")]),
        ("plain", &[]),
    ] {
        control_plane.create_namespace(name, labels).await;
    }
    control_plane.kubectl(&["label", "namespace", "kube-public", NAMESPACE, "istio-injection=enabled"]).await;
    let out = json!({"sidecar.istio.io/inject": "false"});
    for (namespace, labels, wanted) in [
        ("shop", json!({}), true),
        ("shop", out.clone(), false),
        ("tagged", json!({}), true),
        ("plain", json!({}), true),
        ("plain", json!({"istio.io/rev": "prod"}), true),
        ("plain", json!({"istio.io/rev": "other"}), false),
        ("plain", out, false),
        ("shut", json!({"sidecar.istio.io/inject": "true"}), false),
        ("typo", json!({}), false),
        ("elsewhere", json!({}), false),
        ("kube-public", json!({}), false),
        (NAMESPACE, json!({}), false),
    ] {
        // Service accounts of new namespaces take a moment.
        let stored =
            super::control_plane::settled("the pod is taken", super::control_plane::PATIENCE, async || {
                dry_run(&client, namespace, &pod(&labels)).await
            })
            .await;
        assert_eq!(is_injected(&stored), wanted, "{namespace} {labels}");
    }
    let told = shell.fails(1, &["webhook", "wait", "--timeout=0", "--probe-namespace=shut"]).await;
    assert!(
        told.contains("no entry selects a pod in namespace shut (it has istio-injection=disabled)"),
        "{told}"
    );
    shell.done(&["webhook", "wait", "--timeout=20s", "--probe-namespace=shop"]).await;

    // Without a server: our own pods can be created, host-network pods too, and the others get an explanation (GP-19,
    // GP-08).
    process.kill();
    let told = shell.fails(1, &["webhook", "wait", "--timeout=0"]).await;
    assert!(told.contains("failed calling webhook \"object.sidecar-injector.istio.io\""), "{told}");
    dry_run(&client, NAMESPACE, &pod(&json!({}))).await.expect("our own namespace waits for nobody");
    let mut host = pod(&json!({}));
    host["spec"]["hostNetwork"] = json!(true);
    dry_run(&client, "shop", &host).await.expect("a pod on the host's network waits for nobody");
    dry_run(&client, "shop", &pod(&json!({}))).await.expect_err("fail means fail");
    shell.done(&[&apply[..], &["--failure-policy=Ignore"]].concat()).await;
    let told = shell.fails(1, &["webhook", "wait", "--timeout=0"]).await;
    assert!(told.contains("came back without a proxy"), "{told}");
}

// O-03
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_leaves_what_others_own() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    let shell = Shell::of(&control_plane);
    let authority = Serving::new(&control_plane).authority;
    let ca = shell.file("ca.pem", authority.pem());
    let name = "outrigger-sidecar-injector";

    // Its own caBundle survives an apply without one.
    shell.done(&["webhook", "apply", "--ca-bundle", &ca]).await;
    let stdout = shell.done(&["webhook", "apply", "--timeout=4s"]).await;
    assert!(stdout.contains("timeoutSeconds: 10 -> 4") && !stdout.contains("caBundle"), "{stdout}");
    assert_eq!(bundles(&shell.configuration(name).await), vec![Some(authority.ca_bundle()); 4]);

    // So does that of another manager, which takes it over.
    let theirs = |field: Value| {
        let entry = |way| json!({"name": format!("{way}sidecar-injector.istio.io"), "clientConfig": field});
        let webhooks = ["rev.namespace.", "rev.object.", "namespace.", "object."].map(entry);
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name}, "webhooks": webhooks,
        })
        .to_string()
    };
    let take = async |manager: &str, object: &str| -> Ran {
        let manager = format!("--field-manager={manager}");
        let arguments = ["apply", "--server-side", "--force-conflicts", manager.as_str(), "-f", "-"];
        control_plane.kubectl_with(&arguments, object).await
    };
    let foreign = Serving::new(&control_plane).authority.ca_bundle();
    take("certificates", &theirs(json!({"caBundle": foreign}))).await.expect("taken");
    let stdout = shell.done(&["webhook", "apply", "--failure-policy=Ignore"]).await;
    assert!(stdout.contains("\"Fail\" -> \"Ignore\"") && !stdout.contains("caBundle"), "{stdout}");
    assert_eq!(bundles(&shell.configuration(name).await), vec![Some(foreign); 4]);
    let preview = shell.done(&["webhook", "apply", "--dry-run=client"]).await;
    assert_eq!(
        preview.replace("(client", "(server"),
        shell.done(&["webhook", "apply", "--dry-run=server"]).await,
        "what is expected is what would happen"
    );
    let told = shell.fails(1, &["webhook", "apply", "--ca-bundle", &ca]).await;
    assert!(
        told.contains("conflict with \"certificates\"") || told.contains("conflicts with \"certificates\""),
        "{told}"
    );
    assert!(
        told.contains("either let the other manager give up the fields, or use --force-conflicts"),
        "{told}"
    );
    let told = shell.fails(1, &["webhook", "apply", "--name-suffix=inject.example.com"]).await;
    assert!(told.contains("entries that exist and are no longer wanted: rev.namespace."), "{told}");

    // A service set by another manager.
    take("gitops", &theirs(json!({"service": {"name": "x", "namespace": "other"}}))).await.expect("taken");
    let told = shell.fails(1, &["webhook", "apply"]).await;
    assert!(told.contains("\"gitops\""), "{told}");
    let stdout = shell.done(&["webhook", "apply", "--force-conflicts"]).await;
    assert!(stdout.contains("service.name: \"x\" -> \"outrigger\""), "{stdout}");

    // The configuration for namespaces without labels is reported.
    shell.done(&["webhook", "apply", "--force-conflicts", "--enable-namespaces-by-default"]).await;
    let run = shell.run(&["webhook", "apply", "--force-conflicts"]).await;
    assert!(
        run.stderr.contains("warning: outrigger-auto-injector exists and is not deleted"),
        "{}",
        run.stderr
    );
}

/// Istio's ConfigMaps for a revision, as its chart writes them: complete values, and a template of the test's own.
async fn install_istio(control_plane: &ControlPlane, suffix: &str, mark: &str) {
    let mesh = InjectorConfig::embedded().expect("the defaults");
    let template = format!(
        "metadata:\n  labels:\n    mark: {mark}-{{{{ .Values.global.hub }}}}\nspec:\n  containers:\n  - name: \
         istio-proxy\n    image: proxy\n    env:\n    - name: THREADS\n      value: \"{{{{ .ProxyConfig.Concurrency.GetValue }}}}\"\n"
    );
    let config =
        json!({"policy": "enabled", "defaultTemplates": ["sidecar"], "templates": {"sidecar": template}});
    let values = json!({"global": {"hub": "hub"}});
    let config_map = |name: String, data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "istio-system"}, "data": data});
    let mesh_text = mesh.mesh_config().to_string();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        config_map(
            format!("istio-sidecar-injector{suffix}"),
            json!({"config": config.to_string(), "values": values.to_string()}),
        ),
        config_map(format!("istio{suffix}"), json!({"mesh": mesh_text})),
    ]});
    control_plane.apply(&list.to_string()).await;
}

const PROXY_CONFIG_DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: proxyconfigs.networking.istio.io}
spec:
  group: networking.istio.io
  scope: Namespaced
  names: {kind: ProxyConfig, plural: proxyconfigs, singular: proxyconfig}
  versions:
  - name: v1beta1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

fn manifest() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/manifests/pod.yaml");
    file.to_str().expect("UTF-8").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configurations_come_from_the_cluster() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    let shell = Shell::of(&control_plane);
    let manifest = manifest();
    let inject = ["inject", "-f", manifest.as_str()];
    let with = |arguments: &[&'static str]| [&inject[..], arguments].concat();

    let told = shell.fails(65, &with(&["--from-cluster"])).await;
    assert!(
        told.contains(
            "neither ConfigMap outrigger-system/outrigger nor istio-system/istio-sidecar-injector exists"
        ),
        "{told}"
    );
    control_plane.create_namespace("istio-system", &[]).await;
    control_plane.create_namespace(NAMESPACE, &[]).await;
    install_istio(&control_plane, "", "plain").await;
    install_istio(&control_plane, "-canary", "canary").await;

    for (arguments, mark) in [
        (with(&["--from-cluster"]), "plain"),
        (with(&["--revision=canary"]), "canary"),
        (with(&["--mesh-config-map=istio-canary"]), "plain"),
        (with(&["--injector-config-map=istio-sidecar-injector-canary"]), "canary"),
        (vec!["kube-inject", "-f", &manifest], "plain"),
        (vec!["kube-inject", "-f", &manifest, "-r", "default"], "plain"),
        (vec!["kube-inject", "-f", &manifest, "-r", "canary", "-i", "istio-system"], "canary"),
        (
            vec!["kube-inject", "-f", &manifest, "--injectConfigMapName", "istio-sidecar-injector-canary"],
            "canary",
        ),
    ] {
        let run = shell.run(&arguments).await;
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
        assert!(run.stdout.contains(&format!("mark: {mark}-hub")), "{arguments:?}: {}", run.stdout);
        assert!(
            run.stderr.contains("configuration: ConfigMap") && run.stderr.contains(&control_plane.url()),
            "{}",
            run.stderr
        );
    }
    for (arguments, missing) in [
        (with(&["--revision=other"]), "istio-system/istio-sidecar-injector-other"),
        (with(&["--istio-namespace=mesh"]), "mesh/istio-sidecar-injector"),
        (with(&["--mesh-config-map=x"]), "istio-system/x"),
        (vec!["kube-inject", "-f", &manifest, "-r", "other"], "istio-system/istio-other"),
    ] {
        let told = shell.fails(65, &arguments).await;
        assert!(told.contains(missing) && told.contains("expected "), "{arguments:?}: {told}");
    }
    control_plane
        .kubectl(&["-n", "istio-system", "create", "configmap", "half", "--from-literal=config=x"])
        .await;
    let told = shell.fails(65, &with(&["--injector-config-map=half"])).await;
    assert!(
        told.contains("ConfigMap istio-system/half: found keys config; expected key \"values\""),
        "{told}"
    );

    // ProxyConfigs, once there are any; the one that is not valid is left out.
    let embedded = shell.done(&with(&["--from-cluster"])).await;
    control_plane.apply(PROXY_CONFIG_DEFINITION).await;
    control_plane
        .kubectl(&["wait", "--for=condition=Established", "crd/proxyconfigs.networking.istio.io"])
        .await;
    let proxy_config = |name: &str, spec: Value| json!({"apiVersion": "networking.istio.io/v1beta1", "kind": "ProxyConfig", "metadata": {"name": name, "namespace": "istio-system"}, "spec": spec});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        proxy_config("good", json!({"concurrency": 7})),
        proxy_config("wrong", json!({"concurrency": "many"})),
    ]});
    control_plane.apply(&list.to_string()).await;
    control_plane.create_node("n-1", "v1.28.1").await;
    let run = shell.run(&with(&["--from-cluster"])).await;
    assert!(run.stdout.contains("value: \"7\"") && !embedded.contains("value: \"7\""), "{}", run.stdout);
    assert!(run.stderr.contains("warning: ProxyConfig istio-system/wrong: is left out: "), "{}", run.stderr);

    // The snapshot is complete.
    let snapshot = shell.done(&["bundle", "print", "--from-cluster"]).await;
    let value = yaml::load(&snapshot, &Limits::default()).expect("YAML");
    assert_eq!(value["nodes"], json!([{"name": "n-1", "kubeletVersion": "v1.28.1"}]));
    assert_eq!(value["proxyConfigs"].as_array().map(Vec::len), Some(1));
    let file = shell.file("snapshot.yaml", &snapshot);
    assert_eq!(shell.done(&["inject", "-f", &manifest, "--bundle", &file]).await, run.stdout);

    // A namespace that the webhook does not select is skipped for the same reason.
    control_plane.create_namespace("closed", &[("istio-injection", "disabled")]).await;
    let bare = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: a, image: a}]}\n";
    let bare = shell.file("bare.yaml", bare);
    let run = shell.run(&["inject", "-f", &bare, "-n", "closed", "--from-cluster"]).await;
    assert!(run.stderr.contains("Pod closed/p: skipped (NAMESPACE_DISABLED)"), "{}", run.stderr);

    // Our own ConfigMap goes first, for its revision only.
    let own = headed("{injector: {templates: {sidecar: \"metadata: {labels: {mark: own}}\"}}}");
    let literal = format!("--from-literal=bundle={own}");
    control_plane.kubectl(&["-n", NAMESPACE, "create", "configmap", SERVICE, &literal]).await;
    for arguments in [with(&["--from-cluster"]), with(&["--bundle-config-map=outrigger-system/outrigger"])] {
        assert!(shell.done(&arguments).await.contains("mark: own"));
    }
    assert!(shell.done(&with(&["--istio-namespace=istio-system"])).await.contains("mark: plain-hub"));
    let told = shell.fails(65, &with(&["--bundle-config-map=outrigger", "--revision=canary"])).await;
    assert!(
        told.contains("found revision \"default\"; expected \"canary\", as given by --revision"),
        "{told}"
    );

    // With permission to read only ConfigMaps, the command reports what is missing; without that, the reason.
    let reader = control_plane.kubeconfig_for("istio-system", "default").await;
    let mut limited = Shell::of(&control_plane);
    limited.kubeconfig = reader;
    let told = limited.fails(1, &with(&["--from-cluster"])).await;
    assert!(
        told.contains("may not get configmaps outrigger-system/outrigger: the role lacks \"get\""),
        "{told}"
    );
    let told = limited.fails(1, &["webhook", "apply"]).await;
    assert!(told.contains("the role lacks \"get\" on \"mutatingwebhookconfigurations\""), "{told}");
    let told = limited.fails(1, &["webhook", "wait"]).await;
    assert!(told.contains("the role lacks \"get\" on \"mutatingwebhookconfigurations\""), "{told}");
    control_plane
        .kubectl(&["-n", "istio-system", "create", "role", "r", "--verb=get", "--resource=configmaps"])
        .await;
    let subject = "--serviceaccount=istio-system:default";
    control_plane.kubectl(&["-n", "istio-system", "create", "rolebinding", "r", "--role=r", subject]).await;
    let run = limited.run(&with(&["--istio-namespace=istio-system"])).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    for lacking in [
        "may not list nodes: the role lacks \"list\" on \"nodes\"",
        "may not list proxyconfigs: ",
        "every namespace is assumed to be injected",
    ] {
        assert!(run.stderr.contains(lacking), "{}", run.stderr);
    }
}

// K-02
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_api_server_is_waited_for_and_then_named() {
    let mut control_plane = ControlPlane::start(Flavour::Oldest).await;
    control_plane.freeze(super::control_plane::Component::ApiServer);
    let told = Shell::of(&control_plane).fails(69, &["webhook", "wait", "--timeout=2s"]).await;
    assert!(told.contains("gave up after"), "{told}");
    assert!(
        told.contains("did not respond within") || told.contains("cannot reach the API server"),
        "{told}"
    );
    control_plane.thaw(super::control_plane::Component::ApiServer);
    // The oldest release accepts every field of a configuration.
    let shell = Shell::of(&control_plane);
    let (serving, _process, port) = serving(&control_plane).await;
    let ca = shell.file("ca.pem", serving.authority.pem());
    shell
        .done(&[
            "webhook",
            "apply",
            &port,
            "--tag=prod",
            "--enable-namespaces-by-default",
            "--ca-bundle",
            &ca,
        ])
        .await;
    shell.done(&["webhook", "wait", "--tag=prod", "--enable-namespaces-by-default", "--timeout=30s"]).await;
}

/// The configurations in a stream of manifests, by name, with only their labels about Istio or outrigger and without
/// annotations.
fn configurations(stream: &str) -> std::collections::BTreeMap<String, Value> {
    let documents = yaml::split_documents(stream);
    let objects =
        documents.iter().map(|document| yaml::load(document.text, &Limits::default()).expect("YAML"));
    let ours = objects.filter(|object| object["kind"] == "MutatingWebhookConfiguration");
    ours.map(|object| {
        let mut labels = object["metadata"]["labels"].clone();
        let domains = ["istio.io/", "outrigger.dev/"];
        labels
            .as_object_mut()
            .expect("labels")
            .retain(|label, _| domains.iter().any(|domain| label.starts_with(domain)));
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        (name, json!({"labels": labels, "webhooks": object["webhooks"]}))
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chart_and_the_command_make_the_same_configurations() {
    let control_plane = ControlPlane::start(Flavour::Oldest).await;
    let shell = Shell::of(&control_plane);
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/outrigger");
    let chart = chart.to_str().expect("UTF-8");
    const AUTO: &str = "sidecarInjectorWebhook.enableNamespacesByDefault=true";
    for (namespace, values, flags) in [
        (NAMESPACE, &[][..], &[][..]),
        ("mesh", &["revision=canary"], &["--revision=canary"]),
        (
            "mesh",
            &["revision=canary", "revisionTags={prod,stage}"],
            &["--revision=canary", "--tag=prod,stage"],
        ),
        (
            "mesh",
            &["revision=canary", "defaultRevision=canary", AUTO],
            &["--revision=canary", "--default-revision", "--enable-namespaces-by-default"],
        ),
        (
            NAMESPACE,
            &[AUTO, "revisionTags={prod}", "sidecarInjectorWebhook.reinvocationPolicy=IfNeeded"],
            &["--enable-namespaces-by-default", "--tag=prod", "--reinvocation-policy=IfNeeded"],
        ),
        (
            NAMESPACE,
            &["webhook.failurePolicy=Ignore", "webhook.timeoutSeconds=3", "webhook.excludedNamespaces={a,b}"],
            &["--failure-policy=Ignore", "--timeout=3s", "--exclude-namespace=a,b"],
        ),
        (
            NAMESPACE,
            &["webhook.matchConditions.preset=false", "webhook.nameSuffix=inject.example.com"],
            &["--match-conditions=none", "--name-suffix=inject.example.com"],
        ),
        (NAMESPACE, &["configuration.compat=istio"], &["--match-conditions=host-network"]),
        (
            NAMESPACE,
            &["istiodRemote.enabled=true", "istiodRemote.injectionURL=https://in.example/inject"],
            &["--url=https://in.example/inject"],
        ),
        (NAMESPACE, &["istiodRemote.injectionPath=/inject/cluster/east"], &["--path=/inject/cluster/east"]),
    ] {
        let mut arguments = vec!["template", "outrigger", chart, "--namespace", namespace];
        // Certificates that are not the server's: with its own, the server adds the rules, and the chart omits them.
        let more = ["image.repository=a", "certificates.mode=files", "certificates.files.secretName=a"];
        arguments.extend(more.iter().chain(values).flat_map(|value| ["--set", value]));
        let rendered = configurations(&control_plane.helm(&arguments).await.expect("helm template"));
        let printed =
            shell.done(&[&["webhook", "print", "--namespace", namespace][..], flags].concat()).await;
        assert!(!rendered.is_empty());
        assert_eq!(configurations(&printed), rendered, "{values:?}");
    }
}
