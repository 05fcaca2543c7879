//! The messages about the proxy in a namespace with LimitRanges and quotas. `tests/e2e/namespace_limits.rs` asks a real
//! API server.

use super::*;

/// The warnings for a pod in a namespace with these objects.
fn told_of(bundle: &str, namespace: &str, pod: &Value) -> Vec<String> {
    let settings = "namespaceLimits: {limitRanges: warn, resourceQuotas: warn}";
    let config = mesh(&format!(
        "{settings}\nnamespaces: [{{name: shop, labels: {{istio-injection: enabled}}, {namespace}}}]\n{bundle}"
    ));
    let outcome =
        inject::run(&config, &PodRequest::new("shop", pod.clone()), &Facts::of(&config, "shop")).unwrap();
    let is_of_limits = |code: &str| matches!(code, "LIMIT_RANGE_VIOLATED" | "QUOTA_EXCEEDED");
    let told = outcome.warnings().iter().filter(|warning| is_of_limits(warning.code));
    told.map(|warning| warning.message.clone()).collect()
}

fn pod_with(resources: Value, annotations: Value) -> Value {
    json!({
        "metadata": {"name": "web", "annotations": annotations},
        "spec": {"containers": [{"name": "web", "image": "web", "resources": resources}]},
    })
}

fn plain() -> Value {
    pod_with(json!({}), json!({}))
}

/// With the CNI plugin, `istio-validation` has resources of its own; without an init container the texts are about the proxy alone.
const ALONE: &str = "{\"sidecar.istio.io/interceptionMode\": \"NONE\"}";

fn alone(resources: Value) -> Value {
    pod_with(resources, serde_json::from_str(ALONE).unwrap())
}

#[test]
fn limit_ranges_are_compared_with_what_injection_adds() {
    let small =
        json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}});
    let proxy = |problem: &str, annotations: &str| {
        format!(
            "LimitRange \"a\" forbids container \"istio-proxy\": {problem}; avoided by {annotations} or global.proxy.resources"
        )
    };
    for (limits, pod, wanted) in [
        ("{type: Container, max: {cpu: 2, memory: 1Gi}}", alone(small.clone()), vec![]),
        (
            "{type: Container, max: {cpu: 1}}",
            alone(small.clone()),
            vec![proxy("cpu limit 2; at most 1", "sidecar.istio.io/proxyCPULimit")],
        ),
        (
            "{type: Container, min: {cpu: 101m, memory: 128Mi}}",
            alone(json!({"requests": {"cpu": "200m", "memory": "128Mi"}})),
            vec![proxy("cpu request 100m; at least 101m", "sidecar.istio.io/proxyCPU")],
        ),
        (
            "{type: Container, maxLimitRequestRatio: {cpu: 19}}",
            alone(small.clone()),
            vec![proxy(
                "cpu limit 2 for request 100m; at most 19 times",
                "sidecar.istio.io/proxyCPU, sidecar.istio.io/proxyCPULimit",
            )],
        ),
        ("{type: Container, maxLimitRequestRatio: {cpu: 20}}", alone(small.clone()), vec![]),
        (
            "{type: Pod, max: {cpu: 2}}",
            alone(small.clone()),
            vec!["LimitRange \"a\" forbids the pod: cpu limit 2100m; at most 2; avoided by sidecar.istio.io/proxyCPULimit or global.proxy.resources".to_owned()],
        ),
        ("{type: Pod, max: {cpu: 2100m}}", alone(small.clone()), vec![]),
        // The API server itself reports what the pod violates without its proxy.
        ("{type: Pod, max: {cpu: 10m}}", alone(small.clone()), vec![]),
        (
            "{type: Container, max: {cpu: 50m}}",
            alone(small.clone()),
            vec![format!("{}; the pod violates it without a proxy, too", proxy("cpu limit 2; at most 50m", "sidecar.istio.io/proxyCPULimit"))],
        ),
        // Defaults of the namespace for a proxy that has no limits of its own.
        (
            "{type: Container, default: {cpu: 200m, memory: 1Gi}}",
            pod_with(small.clone(), json!({"sidecar.istio.io/proxyCPU": "300m", "sidecar.istio.io/interceptionMode": "NONE"})),
            vec![proxy("cpu request 300m is above the default limit 200m", "sidecar.istio.io/proxyCPULimit")],
        ),
        (
            "{type: Container, default: {cpu: 300m, memory: 1Gi}, max: {memory: 1Gi}}",
            pod_with(small.clone(), json!({"sidecar.istio.io/proxyCPU": "300m", "sidecar.istio.io/interceptionMode": "NONE"})),
            vec![],
        ),
        // Other resources have no annotation.
        (
            "{type: Container, min: {ephemeral-storage: 1Gi}, defaultRequest: {ephemeral-storage: 1Mi}}",
            alone(json!({"requests": {"ephemeral-storage": "1Gi"}})),
            vec!["LimitRange \"a\" forbids container \"istio-proxy\": ephemeral-storage request 1Mi; at least 1Gi".to_owned()],
        ),
        ("{type: PersistentVolumeClaim, max: {storage: 1Gi}}", alone(small.clone()), vec![]),
    ] {
        let namespace = format!("limitRanges: [{{name: a, limits: [{limits}]}}]");
        assert_eq!(told_of("", &namespace, &pod), wanted, "{limits}");
    }
    // Every container of ours.
    let told = told_of("", "limitRanges: [{name: a, limits: [{type: Container, max: {cpu: 1}}]}]", &plain());
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().any(|told| told.contains("container \"istio-init\": cpu limit 2")), "{told:?}");
}

/// An init container needs its resources at a different time from the proxy.
#[test]
fn sums_are_those_of_the_api_server() {
    let heavy = json!({"limits": {"cpu": "5"}});
    let mut pod = alone(json!({"limits": {"cpu": "1"}}));
    pod["spec"]["initContainers"] = json!([{"name": "first", "image": "a", "resources": heavy}]);
    let of = |bundle: &str, most: &str, pod: &Value| {
        told_of(
            bundle,
            &format!("limitRanges: [{{name: a, limits: [{{type: Pod, max: {{cpu: {most}}}}}]}}]"),
            pod,
        )
        .len()
    };
    assert_eq!(of("", "5", &pod), 0, "3 run together, or 5 first");
    assert_eq!(of("", "2", &pod), 0, "as without the proxy");
    pod["metadata"]["annotations"]["sidecar.istio.io/nativeSidecar"] = json!("true");
    assert_eq!(of("", "6", &pod), 1, "a native sidecar runs before the other init container");
    assert_eq!(of("", "7", &pod), 0);
    pod["spec"]["resources"] = json!({"limits": {"cpu": "6"}, "requests": {"cpu": "6"}});
    assert_eq!(
        of("values: {sidecarInjectorWebhook: {podLevelResources: keep}}", "6", &pod),
        0,
        "what the pod has counts"
    );
}

#[test]
fn quotas_are_compared_with_the_pod_and_its_proxy() {
    let own =
        json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}});
    let limited = alone(own.clone());
    let without_limits = pod_with(
        own.clone(),
        json!({"sidecar.istio.io/proxyCPU": "100m", "sidecar.istio.io/interceptionMode": "NONE"}),
    );
    for (quota, pod, wanted) in [
        ("hard: {limits.cpu: 10}, used: {limits.cpu: 7}", &limited, vec![]),
        (
            "hard: {limits.cpu: 10}, used: {limits.cpu: 7500m}",
            &limited,
            vec![
                "ResourceQuota \"q\" has too little limits.cpu: 7500m used of 10, and the pod with its proxy needs 3; see sidecar.istio.io/proxyCPULimit, global.proxy.resources",
            ],
        ),
        // Without its proxy, it does not fit either.
        ("hard: {limits.cpu: 10}, used: {limits.cpu: 9500m}", &limited, vec![]),
        (
            "hard: {requests.cpu: 1, cpu: 2}, used: {requests.cpu: 850m, cpu: 850m}",
            &limited,
            vec![
                "ResourceQuota \"q\" has too little requests.cpu: 850m used of 1, and the pod with its proxy needs 200m; see sidecar.istio.io/proxyCPU, global.proxy.resources",
            ],
        ),
        (
            "hard: {limits.memory: 5Gi}, used: {limits.memory: 1Gi}",
            &without_limits,
            vec![
                "ResourceQuota \"q\" requires limits.memory of container \"istio-proxy\"; see sidecar.istio.io/proxyMemoryLimit, global.proxy.resources",
            ],
        ),
        ("hard: {pods: 5}, used: {pods: 5}", &limited, vec![]),
        // Nothing is known of its use.
        ("hard: {limits.cpu: 1}", &limited, vec![]),
        ("hard: {limits.cpu: 2}, used: {limits.cpu: 0}, scopes: [Terminating]", &limited, vec![]),
        (
            "hard: {limits.cpu: 2}, used: {limits.cpu: 0}, scopes: [NotTerminating, NotBestEffort]",
            &limited,
            vec![
                "ResourceQuota \"q\" has too little limits.cpu: 0 used of 2, and the pod with its proxy needs 3; see sidecar.istio.io/proxyCPULimit, global.proxy.resources",
            ],
        ),
        ("hard: {limits.cpu: 2}, used: {limits.cpu: 0}, scopes: [BestEffort]", &limited, vec![]),
        (
            "hard: {limits.cpu: 2}, used: {limits.cpu: 0}, scopes: [CrossNamespacePodAffinity]",
            &limited,
            vec![],
        ),
        // The proxy makes it a pod of another class.
        (
            "hard: {pods: 1}, used: {pods: 1}, scopes: [NotBestEffort]",
            &alone(json!({})),
            vec!["ResourceQuota \"q\" has too little pods: 1 used of 1, and the pod with its proxy needs 1"],
        ),
        (
            "hard: {limits.cpu: 2}, used: {limits.cpu: 0}, scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: In, values: [low]}]}",
            &limited,
            vec![],
        ),
        (
            "hard: {limits.cpu: 2}, used: {limits.cpu: 0}, scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: NotIn, values: [low]}]}",
            &limited,
            vec![
                "ResourceQuota \"q\" has too little limits.cpu: 0 used of 2, and the pod with its proxy needs 3; see sidecar.istio.io/proxyCPULimit, global.proxy.resources",
            ],
        ),
    ] {
        assert_eq!(told_of("", &format!("resourceQuotas: [{{name: q, {quota}}}]"), pod), wanted, "{quota}");
    }
    // The defaults of a LimitRange count.
    let both = "resourceQuotas: [{name: q, hard: {limits.memory: 5Gi}, used: {limits.memory: 1Gi}}], \
                limitRanges: [{name: a, limits: [{type: Container, default: {memory: 1Gi}}]}]";
    assert_eq!(told_of("", both, &without_limits), [""; 0]);
}

#[test]
fn nothing_is_said_unless_it_is_asked_for() {
    let namespaces = "namespaces: [{name: shop, labels: {istio-injection: enabled}, limitRanges: [{name: a, limits: [{type: Container, max: {cpu: 1}}]}], \
        resourceQuotas: [{name: q, hard: {limits.cpu: 1}, used: {limits.cpu: 0}}]}]";
    for (settings, codes) in [
        ("", &[][..]),
        ("namespaceLimits: {limitRanges: warn}", &["LIMIT_RANGE_VIOLATED"]),
        ("namespaceLimits: {resourceQuotas: warn}", &["QUOTA_EXCEEDED"]),
        ("namespaceLimits: {limitRanges: ignore, resourceQuotas: ignore}", &[]),
    ] {
        let config = mesh(&format!("{settings}\n{namespaces}"));
        let request = PodRequest::new("shop", alone(json!({"limits": {"cpu": "500m"}})));
        let outcome = inject::run(&config, &request, &Facts::of(&config, "shop")).unwrap();
        let told: Vec<&str> = outcome
            .warnings()
            .iter()
            .map(|warning| warning.code)
            .filter(|code| code.starts_with("LIMIT") || code.starts_with("QUOTA"))
            .collect();
        assert_eq!(told, codes, "{settings}");
        let again =
            InjectorConfig::from_bundle(Source { name: "b", text: &config.effective_bundle().to_string() });
        assert_eq!(again.unwrap().0.hash(), config.hash());
    }
}
