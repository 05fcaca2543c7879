//! LimitRanges and quotas, judged by a real API server: a pod without a warning is created, and one with a warning is rejected.

use serde_json::{Value, json};

use super::{
    configuration::{by_bundle, grant, prepared, revoke, write_bundle},
    control_plane::{ControlPlane, PATIENCE, settled},
    install::{Reach, Serving, Webhook},
    pod_security::{Created, created},
    pods::is_injected,
};

const LIMIT_RANGES: [(&str, &str); 15] = [
    ("none", "[]"),
    ("max-below", r#"[{"type": "Container", "max": {"cpu": "1", "memory": "512Mi"}}]"#),
    ("max-above", r#"[{"type": "Container", "max": {"cpu": "4", "memory": "4Gi"}}]"#),
    ("max-memory", r#"[{"type": "Container", "max": {"memory": "1Gi"}}]"#),
    ("min-above", r#"[{"type": "Container", "min": {"cpu": "200m", "memory": "256Mi"}}]"#),
    ("min-below", r#"[{"type": "Container", "min": {"cpu": "1m"}, "defaultRequest": {"cpu": "150m"}}]"#),
    (
        "ratio",
        r#"[{"type": "Container", "maxLimitRequestRatio": {"cpu": "4"}, "default": {"cpu": "300m"}, "defaultRequest": {"cpu": "100m"}}]"#,
    ),
    (
        "ratio-above",
        r#"[{"type": "Container", "maxLimitRequestRatio": {"cpu": "20"}, "default": {"cpu": "300m"}}]"#,
    ),
    (
        "default-below",
        r#"[{"type": "Container", "default": {"cpu": "50m"}, "defaultRequest": {"cpu": "10m"}}]"#,
    ),
    ("defaults", r#"[{"type": "Container", "default": {"cpu": "500m", "memory": "512Mi"}}]"#),
    ("pod-max", r#"[{"type": "Pod", "max": {"cpu": "2", "memory": "1Gi"}}]"#),
    (
        "pod-max-above",
        r#"[{"type": "Pod", "max": {"cpu": "3"}}, {"type": "Container", "default": {"cpu": "500m"}}]"#,
    ),
    ("pod-min", r#"[{"type": "Pod", "min": {"cpu": "250m"}}]"#),
    ("pod-ratio", r#"[{"type": "Pod", "maxLimitRequestRatio": {"cpu": "3"}}]"#),
    (
        "both",
        r#"[{"type": "Container", "default": {"cpu": "200m"}, "max": {"cpu": "2"}}, {"type": "Pod", "max": {"cpu": "2300m"}}]"#,
    ),
];

const QUOTAS: [(&str, &str); 12] = [
    ("limits-cpu", r#"{"hard": {"limits.cpu": "2200m", "limits.memory": "8Gi"}}"#),
    ("limits-room", r#"{"hard": {"limits.cpu": "20", "limits.memory": "80Gi"}}"#),
    ("requests-cpu", r#"{"hard": {"requests.cpu": "150m"}}"#),
    ("cpu", r#"{"hard": {"cpu": "250m", "memory": "1Gi"}}"#),
    ("requests-memory", r#"{"hard": {"requests.memory": "150Mi"}}"#),
    ("no-pods", r#"{"hard": {"pods": "0"}}"#),
    ("pods", r#"{"hard": {"pods": "1", "count/pods": "1"}}"#),
    ("best-effort", r#"{"hard": {"pods": "0"}, "scopes": ["BestEffort"]}"#),
    ("not-best-effort", r#"{"hard": {"pods": "0"}, "scopes": ["NotBestEffort"]}"#),
    ("terminating", r#"{"hard": {"limits.cpu": "1"}, "scopes": ["Terminating"]}"#),
    ("not-terminating", r#"{"hard": {"limits.cpu": "1"}, "scopes": ["NotTerminating"]}"#),
    (
        "class",
        r#"{"hard": {"limits.cpu": "1"}, "scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "DoesNotExist"}]}}"#,
    ),
];

/// Pods by name: resources of the application and of the pod, an init container, requests to the injector.
fn pods() -> Vec<(&'static str, Value)> {
    let pod = |resources: Value, annotations: Value, spec: Value| {
        let mut pod = json!({
            "metadata": {"name": "web", "annotations": annotations},
            "spec": {"containers": [{"name": "web", "image": "web.example.com/a", "resources": resources}]},
        });
        pod["spec"].as_object_mut().expect("an object").extend(spec.as_object().expect("an object").clone());
        pod
    };
    let small =
        json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}});
    let large =
        json!({"requests": {"cpu": "300m", "memory": "300Mi"}, "limits": {"cpu": "600m", "memory": "600Mi"}});
    let none = json!({});
    let init = json!({"initContainers": [{"name": "first", "image": "web.example.com/a", "resources": {"limits": {"cpu": "2900m", "memory": "64Mi"}}}]});
    let limits = json!({"sidecar.istio.io/proxyCPU": "100m", "sidecar.istio.io/proxyCPULimit": "200m", "sidecar.istio.io/proxyMemory": "64Mi", "sidecar.istio.io/proxyMemoryLimit": "64Mi"});
    vec![
        ("bare", pod(none.clone(), none.clone(), none.clone())),
        ("small", pod(small.clone(), none.clone(), none.clone())),
        ("large", pod(large.clone(), none.clone(), none.clone())),
        ("requests only", pod(json!({"requests": {"cpu": "100m"}}), none.clone(), none.clone())),
        (
            "limits only",
            pod(json!({"limits": {"cpu": "400m", "memory": "300Mi"}}), none.clone(), none.clone()),
        ),
        ("small proxy", pod(small.clone(), limits.clone(), none.clone())),
        ("large with a small proxy", pod(large, limits, none.clone())),
        (
            "proxy without limits",
            pod(small.clone(), json!({"sidecar.istio.io/proxyCPU": "260m"}), none.clone()),
        ),
        (
            "proxy without requests",
            pod(small.clone(), json!({"sidecar.istio.io/proxyMemoryLimit": "200Mi"}), none.clone()),
        ),
        ("an init container", pod(small.clone(), none.clone(), init)),
        ("a deadline", pod(small.clone(), none.clone(), json!({"activeDeadlineSeconds": 60}))),
        (
            "its own resources",
            pod(
                small,
                none,
                json!({"resources": {"requests": {"cpu": "200m"}, "limits": {"cpu": "900m", "memory": "900Mi"}}}),
            ),
        ),
    ]
}

fn namespace(name: &str, injection: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"istio-injection": injection}}})
}

/// An object in a namespace.
fn limits(namespace: &str, object: &Value) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = "v1".into();
    object["metadata"] = json!({"name": "limits", "namespace": namespace});
    object
}

async fn apply(control_plane: &ControlPlane, items: Vec<Value>) {
    control_plane.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()).await;
}

fn objects() -> Vec<(String, Value)> {
    let json = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let ranges = LIMIT_RANGES.iter().map(|(name, limits)| {
        (format!("range-{name}"), json!({"kind": "LimitRange", "spec": {"limits": json(limits)}}))
    });
    let quotas = QUOTAS
        .iter()
        .map(|(name, spec)| (format!("quota-{name}"), json!({"kind": "ResourceQuota", "spec": json(spec)})));
    ranges.chain(quotas).collect()
}

const BUNDLE: &str = "nativeSidecars: disabled\nnamespaceLimits: {limitRanges: warn, resourceQuotas: warn}\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preflight_agrees_with_the_api_server_about_limits() {
    let (control_plane, kubeconfig) = prepared(&[]).await;
    write_bundle(&control_plane, BUNDLE).await;
    let serving = Serving::new(&control_plane);
    let mut process = by_bundle(&serving, &kubeconfig).spawn();
    process.wait_ready().await;
    let (mut injected, mut namespaces, mut items) = (Vec::new(), Vec::new(), Vec::new());
    for (name, object) in objects() {
        let plain = format!("plain-{name}");
        namespaces.extend([namespace(&plain, "disabled"), namespace(&name, "enabled")]);
        items.extend([limits(&plain, &object), limits(&name, &object)]);
        injected.push(name);
    }
    apply(&control_plane, namespaces).await;
    apply(&control_plane, items).await;
    let webhook = Webhook::new("outrigger", Reach::url_of(&process), &serving.authority);
    Webhook { namespaces: injected.clone(), ..webhook }.install(&control_plane, "range-none").await;
    // The controller has counted, and the server knows.
    let quotas = QUOTAS.len() * 2;
    settled("every quota has a status", PATIENCE, async || {
        let text = control_plane.kubectl(&["get", "resourcequotas", "-A", "-o", "json"]).await;
        let list: Value = serde_json::from_str(&text).expect("JSON");
        let counted = list["items"].as_array().expect("a list").iter();
        let counted = counted.filter(|quota| quota["status"]["used"].is_object()).count();
        if counted == quotas { Ok(()) } else { Err(format!("{counted} of {quotas}")) }
    })
    .await;
    let client = control_plane.client().await;
    let all = pods();
    let small = &all.iter().find(|(name, _)| *name == "small").expect("a pod").1;
    for (namespace, wanted) in [
        ("range-max-below", "LimitRange"),
        ("range-both", ""),
        ("quota-not-terminating", "ResourceQuota"),
        ("quota-class", "ResourceQuota"),
    ] {
        settled("the server knows the limits", PATIENCE, async || {
            let told = created(&client, namespace, small).await.warnings;
            let is_known = wanted.is_empty() || told.iter().any(|told| told.contains(wanted));
            if is_known { Ok(()) } else { Err(format!("{namespace}: {told:?}")) }
        })
        .await;
    }
    let (mut told, mut fine, mut own_fault) = (0, 0, 0);
    let mut wrong = Vec::new();
    for (what, pod) in &all {
        for namespace in &injected {
            let own = created(&client, &format!("plain-{namespace}"), pod).await.result;
            for native in ["true", "false"] {
                let mut pod = pod.clone();
                pod["metadata"]["annotations"]["sidecar.istio.io/nativeSidecar"] = native.into();
                let context = format!("{what}, {namespace}, native {native}");
                let Created { result, warnings } = created(&client, namespace, &pod).await;
                let is_told = warnings
                    .iter()
                    .any(|warning| warning.contains("LimitRange") || warning.contains("ResourceQuota"));
                match &result {
                    Ok(stored) if !is_injected(stored) => wrong.push(format!("{context}: no proxy")),
                    Ok(_) if is_told => wrong.push(format!("{context}: created, but {warnings:?}")),
                    Ok(_) => fine += 1,
                    Err(error) => match (is_told, own.is_err()) {
                        (false, false) => wrong.push(format!("{context}: {error}; {warnings:?}")),
                        (true, _) => told += 1,
                        (false, true) => own_fault += 1,
                    },
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(
        told > 60 && fine > 150 && own_fault > 20,
        "{told} told, {fine} fine, {own_fault} rejected anyway"
    );
    eprintln!(
        "{told} pods told to be rejected, {fine} created, {own_fault} rejected with or without a proxy"
    );
}

/// The watches start with the configuration that asks for them, and pods do not wait for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_followed_in_the_cluster() {
    let (control_plane, kubeconfig) = prepared(&["limits"]).await;
    write_bundle(&control_plane, "nativeSidecars: disabled\n").await;
    let serving = Serving::new(&control_plane);
    let mut process = by_bundle(&serving, &kubeconfig).spawn();
    process.wait_ready().await;
    let range =
        json!({"kind": "LimitRange", "spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}});
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
    let webhook = Webhook::new("outrigger", Reach::url_of(&process), &serving.authority);
    webhook.install(&control_plane, "shop").await;
    apply(&control_plane, vec![limits("shop", &range)]).await;
    let client = control_plane.client().await;
    let (_, pod) = pods().swap_remove(1);
    let told =
        async || created(&client, "shop", &pod).await.warnings.iter().any(|it| it.contains("LimitRange"));
    let followed = async |wanted: bool| {
        settled("the warning follows", PATIENCE, async || {
            if told().await == wanted { Ok(()) } else { Err(format!("{wanted}")) }
        })
        .await;
    };
    assert!(!told().await, "nobody asked");
    // Without permission, pods are injected as before, and readiness has a note.
    write_bundle(&control_plane, BUNDLE).await;
    settled("a note", PATIENCE, async || {
        let ready = process.readyz().await.map(|answer| (answer.status, answer.body)).unwrap_or_default();
        if ready.1.contains("limitranges") { Ok(()) } else { Err(format!("{ready:?}")) }
    })
    .await;
    assert!(!told().await);
    grant(&control_plane, "limits").await;
    followed(true).await;
    let wider =
        json!({"kind": "LimitRange", "spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}}]}});
    apply(&control_plane, vec![limits("shop", &wider)]).await;
    followed(false).await;
    revoke(&control_plane, "limits").await;
    assert!(created(&client, "shop", &pod).await.result.is_ok(), "the last known state counts");
}
