//! Pods of every kind of workload: those that should have a proxy are stored as the engine computes, the others
//! unchanged.

use hyper::Version;
use outrigger::{
    config::InjectorConfig,
    inject::{self, Facts, Outcome, PodRequest},
};
use serde_json::{Value, json};

use super::{
    control_plane::{ControlPlane, Flavour, PATIENCE, eventually, settled},
    install::{Reach, Serving, Webhook},
    other_webhook::{Call, OtherWebhook},
    outrigger_process::{Outrigger, OutriggerProcess},
    pods::{dry_run, is_injected, list, token_volume, unlike},
};

/// A pod template. Each workload has its own, so that a pod shows its origin.
fn template(app: &str, restart: &str) -> Value {
    json!({
        "metadata": {
            "labels": {"app": app, "version": "v1"},
            "annotations": {"proxy.istio.io/config": "concurrency: 1", "example.com/kept": "yes"},
        },
        "spec": {
            "restartPolicy": restart,
            "containers": [{
                "name": "main", "image": "example.com/main:1", "ports": [{"containerPort": 8080, "name": "http"}],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
                "env": [{"name": "PLAIN", "value": "a: b"}],
            }],
        },
    })
}

/// One workload of each kind, each with one pod; the CronJob is scheduled for a distant day.
fn workloads(namespace: &str) -> Value {
    let object = |api: &str, kind: &str, name: &str, spec: Value| json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec});
    let selected = |app: &str, mut spec: Value| {
        spec["selector"] = json!({"matchLabels": {"app": app}});
        spec["template"] = template(app, "Always");
        spec
    };
    let job = |app: &str| json!({"template": template(app, "Never")});
    let cron = json!({"schedule": "0 0 29 2 *", "jobTemplate": {"spec": job("cron")}});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        object("apps/v1", "Deployment", "web", selected("web", json!({"replicas": 2}))),
        object("apps/v1", "StatefulSet", "db", selected("db", json!({"replicas": 1, "serviceName": "db"}))),
        object("apps/v1", "DaemonSet", "agent", selected("agent", json!({}))),
        object("batch/v1", "Job", "once", job("once")),
        object("batch/v1", "CronJob", "cron", cron),
    ]})
}

/// Bare pods: (name, labels, annotations, the rest of the spec).
fn bare(name: &str, labels: &Value, annotations: &Value, more: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": {"containers": [{"name": "main", "image": "example.com/main:1"}]},
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        pod["spec"][key] = value.clone();
    }
    pod
}

/// Reasons against a proxy: the pod, and whether the API server sends it to the webhook at all.
fn left_alone() -> Vec<(Value, bool)> {
    let (none, opted_out) = (json!({}), json!({"sidecar.istio.io/inject": "false"}));
    vec![
        (bare("label", &opted_out, &none, &none), false),
        (bare("annotation", &none, &opted_out, &none), true),
        (bare("host-network", &none, &none, &json!({"hostNetwork": true})), true),
    ]
}

/// A control plane with outrigger, and a recorder that is called before it.
struct Stage {
    control_plane: ControlPlane,
    outrigger: OutriggerProcess,
    recorder: OtherWebhook,
    mesh: InjectorConfig,
}

impl Stage {
    /// `shop` should have proxies, `plain` should not.
    async fn set(flavour: Flavour, by_service: bool) -> Stage {
        let control_plane = ControlPlane::start(flavour).await;
        control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
        control_plane.create_namespace("plain", &[]).await;
        // Always empty, so that every name is free in it.
        control_plane.create_namespace("reference", &[]).await;
        let serving = Serving::new(&control_plane);
        let outrigger = Outrigger::standalone(&serving.certificate, &serving.key).start().await;
        let recorder = OtherWebhook::recorder(&serving).await;
        let (ours, first) = if by_service {
            (Reach::service_of(&outrigger), recorder.by_service())
        } else {
            (Reach::url_of(&outrigger), recorder.by_url())
        };
        // Configurations are called in the order of their names.
        Webhook::new("a-recorder", first, &serving.authority).apply(&control_plane).await;
        Webhook::new("b-outrigger", ours, &serving.authority).install(&control_plane, "shop").await;
        let stage = Stage { control_plane, outrigger, recorder, mesh: embedded() };
        stage.recorder_is_called(by_service).await;
        stage
    }

    async fn recorder_is_called(&self, by_service: bool) {
        let client = self.control_plane.client().await;
        let call = eventually("the recorder is called", PATIENCE, async || {
            dry_run(&client, "shop", &bare("probe", &json!({}), &json!({}), &json!({})))
                .await
                .expect("a pod");
            self.recorder.calls().first().cloned()
        })
        .await;
        if by_service {
            assert_eq!(call.version, Version::HTTP_11);
            assert_eq!(call.server_name.as_deref(), Some("outrigger.outrigger-system.svc"));
        } else {
            assert_eq!(call.version, Version::HTTP_2);
        }
    }

    /// Whether a stored pod is the engine's output for what the API server sent.
    ///
    /// The engine's output lacks what the API server fills in. So the test gives it to the API server, in a namespace
    /// without a webhook, and the stored pod must then be the same, field for field.
    async fn assert_is_the_engines(&self, stored: &Value) {
        let name = &stored["metadata"]["name"];
        let volume = token_volume(stored);
        let of_this_pod = |call: &Call| token_volume(&call.request["object"]) == volume;
        let calls = self.recorder.calls();
        let call =
            calls.iter().find(|call| of_this_pod(call)).unwrap_or_else(|| panic!("{name}: never sent"));
        let request = PodRequest::new("shop", call.request["object"].clone());
        let injected = match inject::run(&self.mesh, &request, &Facts::of(&self.mesh, "shop")) {
            Ok(Outcome::Injected(injection)) => injection.pod,
            other => panic!("{name}: the engine would not inject: {other:?}"),
        };
        let client = self.control_plane.client().await;
        let wanted =
            dry_run(&client, "reference", &injected).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(is_injected(stored), "{name}");
        assert_eq!(unlike(stored, &wanted), None, "{name}");
    }

    /// Whether a pod is stored as it would be stored without any webhook.
    async fn assert_is_untouched(&self, stored: &Value, pod: &Value) {
        let name = &pod["metadata"]["name"];
        let client = self.control_plane.client().await;
        let wanted =
            dry_run(&client, "reference", pod).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!is_injected(stored), "{name}");
        assert_eq!(unlike(stored, &wanted), None, "{name}");
    }

    /// The pods of a namespace, once there are that many.
    async fn pods(&self, namespace: &str, count: usize) -> Vec<Value> {
        let client = self.control_plane.client().await;
        settled(&format!("{namespace} has {count} pods"), PATIENCE, async || {
            let found = list(&client, namespace).await;
            let names = || found.iter().map(|pod| pod["metadata"]["name"].to_string()).collect::<Vec<_>>();
            if found.len() == count { Ok(found) } else { Err(format!("{:?}", names())) }
        })
        .await
    }

    /// Everything that must be the same regardless of how the webhook is reached.
    async fn pods_of_their_own(&self) {
        let client = self.control_plane.client().await;
        let plain = bare("own", &json!({"app": "own"}), &json!({}), &json!({}));
        let stored = dry_run(&client, "shop", &plain).await.expect("a pod");
        self.assert_is_the_engines(&stored).await;
        for (pod, sent) in left_alone() {
            let before = self.recorder.calls().len();
            let stored = dry_run(&client, "shop", &pod).await.expect("a pod");
            self.assert_is_untouched(&stored, &pod).await;
            assert_eq!(self.recorder.calls().len() > before, sent, "{pod}");
        }
        let before = self.recorder.calls().len();
        let stored = dry_run(&client, "plain", &plain).await.expect("a pod");
        assert!(!is_injected(&stored));
        assert_eq!(self.recorder.calls().len(), before, "a namespace without the label is not sent");
        // Even if they are labeled: the cluster's own pods.
        self.control_plane.kubectl(&["label", "namespace", "kube-system", "istio-injection=enabled"]).await;
        let stored = eventually("pods of kube-system are sent", PATIENCE, async || {
            let stored = dry_run(&client, "kube-system", &plain).await.ok()?;
            let sent = |call: &Call| call.request["namespace"] == "kube-system";
            self.recorder.calls().iter().any(sent).then_some(stored)
        })
        .await;
        self.assert_is_untouched(&stored, &plain).await;
    }

    /// A typical user action: kubectl prints the object that would be stored.
    async fn kubectl_run(&self) {
        let run = ["run", "web", "--image=example.com/main:1", "--dry-run=server", "-o", "json", "-n"];
        let stored = self.control_plane.kubectl(&[&run[..], &["shop"]].concat()).await;
        self.assert_is_the_engines(&serde_json::from_str(&stored).expect("a pod")).await;
        let stored = self.control_plane.kubectl(&[&run[..], &["plain"]].concat()).await;
        assert!(!is_injected(&serde_json::from_str(&stored).expect("a pod")));
        assert!(self.pods("shop", 0).await.is_empty(), "a dry run stores nothing");
    }
}

fn embedded() -> InjectorConfig {
    InjectorConfig::embedded().expect("the embedded configuration")
}

async fn workloads_get_proxies(by_service: bool) {
    let stage = Stage::set(Flavour::Current, by_service).await;
    stage.kubectl_run().await;
    stage.pods_of_their_own().await;

    stage.control_plane.create_node("node-1", "v1.37.2").await;
    for namespace in ["shop", "plain"] {
        stage.control_plane.apply(&workloads(namespace).to_string()).await;
        stage.control_plane.kubectl(&["create", "job", "now", "--from=cronjob/cron", "-n", namespace]).await;
    }
    let pods = stage.pods("shop", 6).await;
    for pod in &pods {
        stage.assert_is_the_engines(pod).await;
    }
    let mut apps: Vec<_> =
        pods.iter().map(|pod| pod["metadata"]["labels"]["app"].as_str().expect("a label")).collect();
    apps.sort_unstable();
    assert_eq!(apps, ["agent", "cron", "db", "once", "web", "web"]);
    let kinds: Vec<_> = pods.iter().map(|pod| &pod["metadata"]["ownerReferences"][0]["kind"]).collect();
    for kind in ["DaemonSet", "Job", "ReplicaSet", "StatefulSet"] {
        assert!(kinds.iter().any(|found| *found == kind), "{kind}: {kinds:?}");
    }
    for pod in stage.pods("plain", 6).await {
        assert!(!is_injected(&pod), "{pod}");
    }
    let metric = "outrigger_requests_total";
    let outcome = async |outcome| stage.outrigger.metric(metric, &[&format!("outcome={outcome:?}")]).await;
    assert_eq!((outcome("denied").await, outcome("error").await), (0.0, 0.0), "{}", stage.outrigger.log());
    let failures = "apiserver_admission_webhook_rejection_count";
    assert_eq!(stage.control_plane.metric(failures, &[]).await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workloads_get_their_proxies_through_a_service() {
    workloads_get_proxies(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workloads_get_their_proxies_through_a_url() {
    workloads_get_proxies(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_get_their_proxies_from_the_oldest_api_server() {
    for by_service in [true, false] {
        let stage = Stage::set(Flavour::Oldest, by_service).await;
        let version = stage.control_plane.kubectl(&["version"]).await;
        assert!(version.contains("Server Version: v1.30."), "{version}");
        stage.kubectl_run().await;
        stage.pods_of_their_own().await;
    }
}
