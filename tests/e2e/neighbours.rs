//! Coexistence: other webhooks before and after ours, two revisions, conditions; and what others see of us.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::headed::headed;

use super::{
    control_plane::{Component, ControlPlane, Flavour, PATIENCE, eventually, settled},
    install::{Reach, Serving, Webhook},
    other_webhook::OtherWebhook,
    outrigger_process::{Outrigger, OutriggerProcess},
    pods::{comparable, dry_run, is_injected},
};

/// A control plane with outrigger.
pub struct Stage {
    pub control_plane: ControlPlane,
    pub serving: Serving,
    pub outrigger: OutriggerProcess,
}

impl Stage {
    pub async fn set(bundle: &str) -> Stage {
        let control_plane = ControlPlane::start(Flavour::Current).await;
        let serving = Serving::new(&control_plane);
        let outrigger = start(&control_plane, &serving, "bundle", bundle).await;
        Stage { control_plane, serving, outrigger }
    }

    pub async fn namespace(&self, name: &str, more: &[(&str, &str)]) {
        let labels = [&[("istio-injection", "enabled")], more].concat();
        self.control_plane.create_namespace(name, &labels).await;
    }

    pub fn webhook(&self, name: &str, reach: Reach) -> Webhook {
        Webhook::new(name, reach, &self.serving.authority)
    }

    pub async fn create(&self, namespace: &str, pod: &Value) -> Result<Value, String> {
        dry_run(&self.control_plane.client().await, namespace, pod).await
    }
}

/// Outrigger with a bundle of its own.
pub async fn start(
    control_plane: &ControlPlane,
    serving: &Serving,
    name: &str,
    bundle: &str,
) -> OutriggerProcess {
    let file = control_plane.folder().join(format!("{name}.yaml"));
    std::fs::write(&file, headed(bundle)).expect("a file in a temporary folder");
    Outrigger::standalone(&serving.certificate, &serving.key).flag("bundle", file.display()).start().await
}

pub fn application(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{
            "name": "main", "image": "example.com/main:1", "ports": [{"containerPort": 8080, "name": "http"}],
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
            "env": [{"name": "PLAIN", "value": "a: b"}],
        }]},
    })
}

/// A mutating webhook of another project, which gets a pod and returns the wanted one.
struct Neighbour {
    name: &'static str,
    mutate: fn(&mut Value),
}

const NEIGHBOURS: [Neighbour; 5] = [
    Neighbour { name: "vault", mutate: add_agent },
    Neighbour { name: "defaults", mutate: set_defaults },
    Neighbour { name: "order", mutate: sort_backwards },
    Neighbour { name: "env", mutate: change_env },
    Neighbour { name: "amnesia", mutate: forget },
];

/// Like injectors of secrets: a container with ports and probes, an init container at the front, a volume for all
/// containers.
fn add_agent(pod: &mut Value) {
    if names(pod, "containers").contains(&"agent".to_owned()) {
        return;
    }
    let agent = json!({
        "name": "agent", "image": "example.com/agent:1", "ports": [{"containerPort": 8200, "name": "agent"}],
        "readinessProbe": {"httpGet": {"path": "/agent", "port": "agent"}},
        "livenessProbe": {"httpGet": {"path": "/agent/live", "port": 8200}},
    });
    let init = json!({"name": "agent-init", "image": "example.com/agent:1"});
    insert(pod, "containers", 1, agent);
    insert(pod, "initContainers", 0, init);
    insert(pod, "volumes", 0, json!({"name": "agent-secrets", "emptyDir": {"medium": "Memory"}}));
    for container in containers(pod) {
        insert_into(
            container,
            "volumeMounts",
            json!({"name": "agent-secrets", "mountPath": "/agent/secrets"}),
        );
    }
}

/// Like clusters in which every container must have resource requests.
fn set_defaults(pod: &mut Value) {
    for container in containers(pod) {
        for (list, cpu) in [("limits", "3"), ("requests", "10m")] {
            if container["resources"][list].is_null() {
                container["resources"][list] =
                    json!({"cpu": cpu, "memory": "2Gi", "ephemeral-storage": "1Gi"});
            }
        }
        container["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
        container["imagePullPolicy"] = json!("Always");
    }
    pod["spec"]["dnsConfig"] = json!({"options": [{"name": "ndots", "value": "2"}]});
}

/// The order of containers is not significant.
fn sort_backwards(pod: &mut Value) {
    for list in ["containers", "initContainers", "volumes"] {
        if let Some(items) = pod["spec"][list].as_array_mut() {
            items.sort_by_key(|item| std::cmp::Reverse(item["name"].to_string()));
        }
    }
}

/// Variables at the front, and a different value of one of the application's own.
fn change_env(pod: &mut Value) {
    for container in containers(pod) {
        let env = container["env"].as_array().into_iter().flatten();
        if env.into_iter().all(|variable| variable["name"] != "TRACED") {
            insert_into(container, "env", json!({"name": "TRACED", "value": "yes"}));
        }
        for variable in container["env"].as_array_mut().into_iter().flatten() {
            if variable["name"] == "PLAIN" {
                variable["value"] = json!("c: d");
            }
        }
    }
}

/// Removes the annotations that show the proxy, and adds a label.
fn forget(pod: &mut Value) {
    pod["metadata"]["labels"]["forgotten"] = json!("yes");
    if let Some(annotations) = pod["metadata"]["annotations"].as_object_mut() {
        annotations.remove("sidecar.istio.io/status");
    }
}

fn containers(pod: &mut Value) -> impl Iterator<Item = &mut Value> {
    let spec = pod["spec"].as_object_mut().expect("a spec");
    spec.iter_mut()
        .filter(|(key, _)| ["containers", "initContainers"].contains(&key.as_str()))
        .filter_map(|(_, list)| list.as_array_mut())
        .flatten()
}

fn names(pod: &Value, list: &str) -> Vec<String> {
    let items = pod["spec"][list].as_array().into_iter().flatten();
    items.map(|item| item["name"].as_str().expect("a name").to_owned()).collect()
}

fn insert(pod: &mut Value, list: &str, at: usize, item: Value) {
    let items = pod["spec"].as_object_mut().expect("a spec").entry(list).or_insert_with(|| json!([]));
    let items = items.as_array_mut().expect("a list");
    items.insert(at.min(items.len()), item);
}

fn insert_into(container: &mut Value, list: &str, item: Value) {
    let items = container.as_object_mut().expect("a container").entry(list).or_insert_with(|| json!([]));
    items.as_array_mut().expect("a list").insert(0, item);
}

pub fn proxy(pod: &Value) -> &Value {
    let lists = ["containers", "initContainers"];
    let mut all = lists.iter().filter_map(|list| pod["spec"][list].as_array()).flatten();
    all.find(|container| container["name"] == "istio-proxy").unwrap_or_else(|| panic!("no proxy: {pod}"))
}

/// The value of a variable, read as JSON if it is that.
fn variable(container: &Value, name: &str) -> Value {
    let mut env = container["env"].as_array().into_iter().flatten();
    let found =
        env.find(|variable| variable["name"] == name).map_or(&Value::Null, |variable| &variable["value"]);
    found.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| found.clone())
}

/// A webhook that replaces the entire metadata and spec, like simple ones do.
async fn neighbour(serving: &Serving, mutate: fn(&mut Value)) -> OtherWebhook {
    OtherWebhook::start(serving, move |request| {
        let mut pod = request["object"].clone();
        mutate(&mut pod);
        ["metadata", "spec"]
            .iter()
            .filter(|part| pod[**part] != request["object"][**part])
            .map(|part| json!({"op": "replace", "path": format!("/{part}"), "value": pod[*part]}))
            .collect()
    })
    .await
}

/// Whether all probes of a container go through the proxy.
fn probed_by_proxy(pod: &Value, container: &str) -> bool {
    let list = pod["spec"]["containers"].as_array().expect("containers");
    let found = list.iter().find(|item| item["name"] == container);
    let found = found.unwrap_or_else(|| panic!("no {container}: {pod}"));
    let probes = ["readinessProbe", "livenessProbe", "startupProbe"];
    probes.iter().filter_map(|probe| found[*probe]["httpGet"]["port"].as_i64()).all(|port| port == 15020)
}

/// The ports and probes passed to the proxy.
fn known_to_proxy(pod: &Value) -> (BTreeSet<i64>, BTreeSet<String>) {
    let ports = variable(proxy(pod), "ISTIO_META_POD_PORTS");
    let ports = ports.as_array().into_iter().flatten().filter_map(|port| port["containerPort"].as_i64());
    let probes = variable(proxy(pod), "ISTIO_KUBE_APP_PROBERS");
    let probes = probes.as_object().into_iter().flatten().map(|(path, _)| path.clone());
    (ports.collect(), probes.collect())
}

/// One proxy, one of each container that precedes it, and nothing twice.
fn assert_injected_once(what: &str, pod: &Value) {
    let all = [names(pod, "containers"), names(pod, "initContainers")].concat();
    for name in ["istio-proxy", "istio-init"] {
        assert_eq!(all.iter().filter(|found| *found == name).count(), 1, "{what}: {all:?}");
    }
    let lists = [
        ("containers", "env"),
        ("initContainers", "env"),
        ("containers", "ports"),
        ("initContainers", "ports"),
    ];
    for (list, inner) in lists {
        for container in pod["spec"][list].as_array().into_iter().flatten() {
            let items: Vec<_> = container[inner].as_array().into_iter().flatten().collect();
            let distinct: BTreeSet<_> = items.iter().map(|item| item["name"].to_string()).collect();
            assert_eq!(distinct.len(), items.len(), "{what}: {inner} of {}", container["name"]);
        }
    }
}

/// GP-25, GP-26, O-15, I-13
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_webhooks_before_and_after_ours_converge() {
    let stage = Stage::set("").await;
    let mut running = Vec::new();
    for (place, first) in [("before", "a"), ("after", "c")] {
        for policy in ["IfNeeded", "Never"] {
            let mut namespaces = Vec::new();
            for theirs in &NEIGHBOURS {
                let namespace = format!("{}-{place}-{}", theirs.name, policy.to_lowercase());
                stage.namespace(&namespace, &[]).await;
                let other = neighbour(&stage.serving, theirs.mutate).await;
                let webhook = Webhook {
                    namespaces: vec![namespace.clone()],
                    reinvocation_policy: policy,
                    ..stage.webhook(&format!("{first}-{namespace}"), other.by_url())
                };
                webhook.apply(&stage.control_plane).await;
                running.push((theirs, place, policy, namespace.clone(), other));
                namespaces.push(namespace);
            }
            let name = format!("b-outrigger-{place}-{}", policy.to_lowercase());
            let ours = stage.webhook(&name, Reach::url_of(&stage.outrigger));
            let ours = Webhook { namespaces, reinvocation_policy: policy, ..ours };
            ours.apply(&stage.control_plane).await;
        }
    }
    for (theirs, place, policy, namespace, other) in &running {
        let what = format!("{} {place} {policy}", theirs.name);
        eventually("both are called", PATIENCE, async || {
            let pod = stage.create(namespace, &application("probe")).await.expect("a pod");
            (is_injected(&pod) && !other.calls().is_empty()).then_some(())
        })
        .await;
        let before = stage.outrigger.metric("outrigger_requests_total", &[]).await;
        let stored = stage.create(namespace, &application("app")).await.expect(&what);
        let calls = stage.outrigger.metric("outrigger_requests_total", &[]).await - before;
        assert_injected_once(&what, &stored);
        assert!(probed_by_proxy(&stored, "main"), "{what}: {stored}");
        let seen = *place == "before" || *policy == "IfNeeded";
        if theirs.name == "vault" {
            let told = known_to_proxy(&stored);
            assert_eq!(told.0.contains(&8200), seen, "{what}: {told:?}");
            assert_eq!(told.1.contains("/app-health/agent/readyz"), seen, "{what}: {told:?}");
            assert_eq!(probed_by_proxy(&stored, "agent"), seen, "{what}: {stored}");
        }
        if theirs.name == "env" {
            assert_eq!(variable(&stored["spec"]["containers"][0], "PLAIN"), "c: d", "{what}");
        }
        if *policy == "Never" {
            assert_eq!(calls, 1.0, "{what}");
            continue;
        }
        // Nothing changes the pod after us if an earlier webhook does not react to our additions.
        let is_content = theirs.name == "vault" && *place == "before";
        assert_eq!(calls, if is_content { 1.0 } else { 2.0 }, "{what}");
        // Creating the stored pod again gives the same: the webhooks do not disagree endlessly.
        let again = stage.create(namespace, &stored).await.expect(&what);
        assert_eq!(comparable(&again), comparable(&stored), "{what}");
    }
}

/// DA-18: also with `IfNeeded`, only webhooks that were called before are called again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_opted_in_by_another_webhook_is_injected_only_if_that_comes_first() {
    let stage = Stage::set("").await;
    let opt_in = |pod: &mut Value| {
        if let Some(labels) = pod["metadata"]["labels"].as_object_mut() {
            labels.remove("sidecar.istio.io/inject");
        }
    };
    let mut opted_out = application("app");
    opted_out["metadata"]["labels"]["sidecar.istio.io/inject"] = json!("false");
    let other = neighbour(&stage.serving, opt_in).await;
    let ours = Webhook {
        reinvocation_policy: "IfNeeded",
        ..stage.webhook("b-outrigger", Reach::url_of(&stage.outrigger))
    };
    stage.namespace("before", &[]).await;
    ours.install(&stage.control_plane, "before").await;
    for (namespace, name) in [("before", "a-other"), ("after", "c-other")] {
        if namespace == "after" {
            stage.namespace(namespace, &[]).await;
        }
        let webhook = stage.webhook(name, other.by_url());
        let mut configuration = Webhook { namespaces: vec![namespace.to_owned()], ..webhook }.configuration();
        // Ours excludes pods with the label; this one selects them.
        configuration["webhooks"][0]["objectSelector"] = json!({});
        stage.control_plane.apply(&configuration.to_string()).await;
        let stored = eventually("the other one is called", PATIENCE, async || {
            let pod = stage.create(namespace, &opted_out).await.expect("a pod");
            pod["metadata"]["labels"]["sidecar.istio.io/inject"].is_null().then_some(pod)
        })
        .await;
        assert_eq!(is_injected(&stored), namespace == "before", "{stored}");
    }
}

/// O-13: the webhook that is called last wins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_revisions_that_match_the_same_pod_inject_it_once() {
    let stage = Stage::set("revision: stable\n").await;
    let canary = start(&stage.control_plane, &stage.serving, "canary", "revision: canary\n").await;
    for policy in ["Never", "IfNeeded"] {
        let namespace = format!("shared-{}", policy.to_lowercase());
        stage.namespace(&namespace, &[]).await;
        for (first, process) in [("a-canary", &canary), ("b-stable", &stage.outrigger)] {
            let webhook = stage.webhook(&format!("{first}-{namespace}"), Reach::url_of(process));
            Webhook { namespaces: vec![namespace.clone()], reinvocation_policy: policy, ..webhook }
                .apply(&stage.control_plane)
                .await;
        }
        let answered = async || {
            let metric = "outrigger_requests_total";
            (stage.outrigger.metric(metric, &[]).await, canary.metric(metric, &[]).await)
        };
        let stored = eventually("both are called", PATIENCE, async || {
            let before = answered().await;
            let pod = stage.create(&namespace, &application("app")).await.expect("a pod");
            let after = answered().await;
            (after.0 > before.0 && after.1 > before.1).then_some(pod)
        })
        .await;
        assert_injected_once(policy, &stored);
        let annotations = &stored["metadata"]["annotations"];
        assert_eq!(annotations["istio.io/rev"], "stable", "{policy}");
        let status = annotations["sidecar.istio.io/status"].as_str().expect("a status");
        assert!(status.contains(r#""revision":"stable""#), "{policy}: {status}");
        let again = stage.create(&namespace, &stored).await.expect("a pod");
        assert_eq!(comparable(&again), comparable(&stored), "{policy}");
    }
}

/// DA-07, DA-08
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn warnings_reach_kubectl_and_annotations_the_audit_log() {
    let stage = Stage::set("").await;
    stage.namespace("shop", &[]).await;
    stage.webhook("outrigger", Reach::url_of(&stage.outrigger)).install(&stage.control_plane, "shop").await;
    let mut pod = application("warned");
    pod["metadata"]["annotations"] = json!({"sidecar.istio.io/interceptionmode": "TPROXY"});
    (pod["apiVersion"], pod["kind"]) = (json!("v1"), json!("Pod"));
    let ran = stage.control_plane.kubectl_with(&["create", "-n", "shop", "-f", "-"], &pod.to_string()).await;
    assert!(ran.success, "{}", ran.stderr);
    let warnings: Vec<_> = ran.stderr.lines().collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let said = r#"Warning: annotation "sidecar.istio.io/interceptionmode" has no effect; did you mean sidecar.istio.io/interceptionMode?"#;
    assert!(warnings[0].starts_with(said), "{warnings:?}");

    let event = eventually("the creation is in the audit log", PATIENCE, async || {
        let mut events = stage.control_plane.audit().into_iter();
        events.find(|event| event["objectRef"]["name"] == "warned" && event["verb"] == "create")
    })
    .await;
    let prefix = "namespace.sidecar-injector.istio.io/";
    let annotations = event["annotations"].as_object().expect("annotations");
    let ours: Vec<_> =
        annotations.iter().filter_map(|(key, value)| Some((key.strip_prefix(prefix)?, value))).collect();
    let keys: Vec<_> = ours.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys, ["config-hash", "decision", "reason", "revision", "warnings"]);
    assert_eq!(*ours[1].1, json!("injected"));
    assert_eq!(*ours[3].1, json!("default"));
    assert_eq!(*ours[4].1, json!("MISSPELT_ANNOTATION"));
    let mutated = annotations["mutation.webhook.admission.k8s.io/round_0_index_0"].as_str().expect("text");
    assert!(mutated.contains(r#""mutated":true"#), "{mutated}");
    let log = stage.control_plane.log(Component::ApiServer, 10_000);
    let complaint =
        log.lines().find(|line| line.contains("audit annotation") && line.contains("ailed to set"));
    assert_eq!(complaint, None);
}

/// DA-14: a condition that cannot be evaluated is a failure by policy, and we are not called.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_match_condition_that_fails_is_judged_by_the_failure_policy() {
    let stage = Stage::set("").await;
    for policy in ["Fail", "Ignore"] {
        let namespace = policy.to_lowercase();
        stage.namespace(&namespace, &[]).await;
        let webhook = stage.webhook(&namespace, Reach::url_of(&stage.outrigger));
        let webhook = Webhook { namespaces: vec![namespace.clone()], failure_policy: policy, ..webhook };
        webhook.install(&stage.control_plane, &namespace).await;
        let mut configuration = webhook.configuration();
        configuration["webhooks"][0]["matchConditions"] =
            json!([{"name": "broken", "expression": "object.metadata.annotations['no-such'] == 'yes'"}]);
        stage.control_plane.apply(&configuration.to_string()).await;
        settled("the condition is heeded", PATIENCE, async || {
            match (policy, stage.create(&namespace, &application("app")).await) {
                ("Fail", Err(error)) if error.contains("resulted in error: no such key") => Ok(()),
                ("Ignore", Ok(pod)) if !is_injected(&pod) => Ok(()),
                (_, other) => Err(format!("{other:?}")),
            }
        })
        .await;
        let before = stage.outrigger.metric("outrigger_requests_total", &[]).await;
        for _ in 0..5 {
            let stored = stage.create(&namespace, &application("app")).await;
            assert_eq!(stored.is_err(), policy == "Fail", "{stored:?}");
        }
        assert_eq!(stage.outrigger.metric("outrigger_requests_total", &[]).await, before);
    }
}
