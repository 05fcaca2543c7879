//! Other policies of a namespace that check pods: Pod Security, LimitRange and ResourceQuota. A pod with its proxy is
//! accepted, or the API server gives a clear reason.

use serde_json::{Value, json};

use super::{
    control_plane::{PATIENCE, settled},
    install::{Reach, Webhook},
    neighbours::{Stage, application, proxy, start},
    pods::is_injected,
};

/// The expected result for a pod: stored with its proxy, or rejected with an error that contains this text.
type Expected = Result<(), &'static [&'static str]>;

/// Waits until a pod gets the expected result: a new object of a namespace takes effect some time later.
async fn judged(stage: &Stage, namespace: &str, what: &str, pod: &Value, expected: Expected) -> Value {
    let what = format!("{namespace}, {what}: {expected:?}");
    settled(&what, PATIENCE, async || match (stage.create(namespace, pod).await, expected) {
        (Ok(pod), Ok(())) if is_injected(&pod) => Ok(pod),
        (Err(error), Err(parts)) if parts.iter().all(|part| error.contains(part)) => Ok(Value::Null),
        (Ok(pod), _) => Err(format!("stored: {}", pod["spec"])),
        (Err(error), _) => Err(error),
    })
    .await
}

/// An application that satisfies `restricted`; its seccomp profile is set on the pod or on its container.
fn restricted(of_pod: bool) -> Value {
    let mut pod = application("app");
    let seccomp = json!({"type": "RuntimeDefault"});
    let container = &mut pod["spec"]["containers"][0];
    container["securityContext"] = json!({
        "allowPrivilegeEscalation": false, "runAsNonRoot": true, "capabilities": {"drop": ["ALL"]},
    });
    if of_pod {
        pod["spec"]["securityContext"] = json!({"seccompProfile": seccomp});
    } else {
        container["securityContext"]["seccompProfile"] = seccomp;
    }
    pod
}

/// O-16, GP-28
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pod_security_takes_proxies_that_redirect_nothing_themselves() {
    const NO_CAPABILITIES: Expected =
        Err(&["violates PodSecurity", r#""istio-init" must not include "NET_ADMIN""#]);
    const NO_SECCOMP: Expected =
        Err(&["violates PodSecurity", r#"(pod or containers "istio-validation", "istio-proxy" must set"#]);
    const CNI: &str = "values: {pilot: {cni: {enabled: true}}}\n";
    const CNI_SECCOMP: &str = "values: {pilot: {cni: {enabled: true}}, global: {proxy: {seccompProfile: {type: RuntimeDefault}}}}\n";
    /// Configuration, bundle, and for each level the result for a pod with seccomp for all of it, and for its container
    /// alone.
    type Row = (&'static str, &'static str, [(&'static str, Expected, Expected); 3]);
    const ROWS: [Row; 3] = [
        (
            "classic",
            "",
            [
                ("privileged", Ok(()), Ok(())),
                ("baseline", NO_CAPABILITIES, NO_CAPABILITIES),
                ("restricted", NO_CAPABILITIES, NO_CAPABILITIES),
            ],
        ),
        (
            "cni",
            CNI,
            [
                ("privileged", Ok(()), Ok(())),
                ("baseline", Ok(()), Ok(())),
                ("restricted", Ok(()), NO_SECCOMP),
            ],
        ),
        (
            "cni-seccomp",
            CNI_SECCOMP,
            [("privileged", Ok(()), Ok(())), ("baseline", Ok(()), Ok(())), ("restricted", Ok(()), Ok(()))],
        ),
    ];
    let stage = Stage::set("").await;
    let mut running = Vec::new();
    for (name, bundle, levels) in ROWS {
        let process = start(&stage.control_plane, &stage.serving, name, bundle).await;
        let namespaces: Vec<_> = levels.iter().map(|(level, ..)| format!("{name}-{level}")).collect();
        for ((level, ..), namespace) in levels.iter().zip(&namespaces) {
            stage.namespace(namespace, &[("pod-security.kubernetes.io/enforce", level)]).await;
        }
        let webhook = stage.webhook(name, Reach::url_of(&process));
        let webhook = Webhook { namespaces: namespaces.clone(), ..webhook };
        webhook.install(&stage.control_plane, &namespaces[0]).await;
        for ((level, of_pod, of_container), namespace) in levels.into_iter().zip(&namespaces) {
            if level != "privileged" {
                let mut host = restricted(true);
                host["spec"]["hostPID"] = json!(true);
                judged(&stage, namespace, "no host", &host, Err(&["host namespaces (hostPID=true)"])).await;
            }
            judged(&stage, namespace, "seccomp of the pod", &restricted(true), of_pod).await;
            judged(&stage, namespace, "seccomp of the container", &restricted(false), of_container).await;
        }
        running.push(process);
    }
}

/// An application with resource requests, with annotations for its proxy.
fn measured(annotations: &Value) -> Value {
    let mut pod = application("app");
    pod["spec"]["containers"][0]["resources"] =
        json!({"limits": {"cpu": "100m", "memory": "64Mi"}, "requests": {"cpu": "50m", "memory": "32Mi"}});
    pod["metadata"]["annotations"] = annotations.clone();
    pod
}

/// O-16, GP-28: a pod that does not fit is rejected with the reason, and annotations on the pod make it fit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_and_quotas_are_met_or_say_what_is_not() {
    let stage = Stage::set("").await;
    let (plain, requests, all) = (
        json!({}),
        json!({
            "sidecar.istio.io/proxyCPU": "80m", "sidecar.istio.io/proxyMemory": "100Mi",
        }),
        json!({
            "sidecar.istio.io/proxyCPU": "80m", "sidecar.istio.io/proxyMemory": "100Mi",
            "sidecar.istio.io/proxyCPULimit": "400m", "sidecar.istio.io/proxyMemoryLimit": "200Mi",
        }),
    );
    let range = |limit: Value| ("LimitRange", json!({"limits": [limit]}));
    let quota = |hard: Value| ("ResourceQuota", json!({"hard": hard}));
    // For a proxy without annotations, with only requests, and with requests and limits. The first result is a
    // rejection, or shows that the object is effective.
    type Row<'a> = (&'a str, (&'a str, Value), [Expected; 3]);
    let rows: [Row<'_>; 6] = [
        (
            "defaults",
            range(json!({"type": "Container", "default": {"cpu": "50m"}, "defaultRequest": {"cpu": "10m"}})),
            // A request without a limit gets the namespace's, which may be lower.
            [
                Ok(()),
                Err(&["initContainers[1].resources.requests", "less than or equal to cpu limit of 50m"]),
                Ok(()),
            ],
        ),
        (
            "max",
            range(json!({"type": "Container", "max": {"cpu": "1", "memory": "4Gi"}})),
            [Err(&["maximum cpu usage per Container is 1, but limit is 2"]), Ok(()), Ok(())],
        ),
        (
            "ratio",
            range(json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "10"}})),
            [
                Err(&["cpu max limit to request ratio per Container is 10, but provided ratio is 20"]),
                Err(&["cpu max limit to request ratio per Container is 10, but no limit is specified"]),
                Ok(()),
            ],
        ),
        (
            "whole",
            range(json!({"type": "Pod", "max": {"cpu": "1"}})),
            [Err(&["maximum cpu usage per Pod is 1, but limit is 2100m"]), Ok(()), Ok(())],
        ),
        (
            "quota",
            quota(
                json!({"limits.cpu": "3", "requests.cpu": "1", "requests.memory": "1Gi", "limits.memory": "4Gi"}),
            ),
            [Ok(()), Err(&["must specify limits.cpu for: istio-init,istio-proxy"]), Ok(())],
        ),
        (
            "small",
            quota(json!({"limits.cpu": "1"})),
            [
                Err(&[
                    "exceeded quota: limit, requested: limits.cpu=2100m, used: limits.cpu=0, limited: limits.cpu=1",
                ]),
                Err(&["must specify limits.cpu for: istio-init,istio-proxy"]),
                Ok(()),
            ],
        ),
    ];
    for (namespace, (kind, spec), _) in &rows {
        stage.namespace(namespace, &[]).await;
        let metadata = json!({"name": "limit", "namespace": namespace});
        let object = json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec});
        stage.control_plane.apply(&object.to_string()).await;
    }
    stage
        .webhook("outrigger", Reach::url_of(&stage.outrigger))
        .install(&stage.control_plane, "defaults")
        .await;
    for (namespace, _, expected) in rows {
        let pods = [("plain", &plain), ("requests", &requests), ("all", &all)];
        // Rejections first, because they show that the object is effective.
        let mut expected: Vec<_> = pods.into_iter().zip(expected).collect();
        expected.sort_by_key(|(_, expected)| expected.is_ok());
        for ((what, annotations), expected) in expected {
            judged(&stage, namespace, what, &measured(annotations), expected).await;
        }
    }
    // The API server's error concerns only the application: the proxy has its own requests.
    let silent =
        Err(&["must specify limits.cpu for: main; limits.memory for: main; requests.cpu for: main"][..]);
    judged(&stage, "quota", "an application that says nothing", &application("silent"), silent).await;
    // The application gets the defaults of the namespace, its proxy does not.
    let stored =
        judged(&stage, "defaults", "an application that says nothing", &application("app"), Ok(())).await;
    assert_eq!(stored["spec"]["containers"][0]["resources"]["limits"]["cpu"], "50m");
    assert_eq!(proxy(&stored)["resources"]["limits"]["cpu"], "2");
}

/// I-08: a pod that is too large for the injector is denied with a message that names the place and the remedy, and is
/// stored once it applies the remedy. Pods that an API server and etcd accept are stored as usual.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_are_too_large_are_refused_with_the_place_or_left_alone() {
    let stage = Stage::set("").await;
    stage.namespace("shop", &[]).await;
    stage.webhook("outrigger", Reach::url_of(&stage.outrigger)).install(&stage.control_plane, "shop").await;
    let with = |variables: usize, containers: usize| {
        let mut pod = application("large");
        let spec = &mut pod["spec"]["containers"];
        spec[0]["env"] = (0..variables).map(|n| json!({"name": format!("V{n}"), "value": "x"})).collect();
        let more = (0..containers).map(|n| json!({"name": format!("c{n}"), "image": "example.com/c:1"}));
        spec.as_array_mut().expect("a list").extend(more);
        pod
    };
    let many =
        Err(&["the pod is too large", "spec.containers[0].env has 20001 elements; the limit is 20000"][..]);
    judged(&stage, "shop", "variables", &with(20_001, 0), many).await;
    let many =
        Err(&["the pod has 601 containers; the limit is 400", "sidecar.istio.io/inject: \"false\""][..]);
    judged(&stage, "shop", "containers", &with(1, 600), many).await;
    judged(&stage, "shop", "variables", &with(20_000, 0), Ok(())).await;
    judged(&stage, "shop", "containers", &with(1, 399), Ok(())).await;
    // The remedy that the message names.
    let mut opted_out = with(20_001, 0);
    opted_out["metadata"]["labels"]["sidecar.istio.io/inject"] = json!("false");
    let stored = stage.create("shop", &opted_out).await.expect("a pod without a proxy");
    assert!(!is_injected(&stored));
}
