//! The webhook for advice, as the chart installs it: `kubectl apply` of a workload says what will happen to its pods.

use serde_json::{Value, json};

use super::{
    control_plane::{ControlPlane, Flavour, PATIENCE, eventually},
    release::Release,
};

fn deployment(namespace: &str, template: &Value, spec: &Value) -> Value {
    let mut pod = json!({"containers": [{"name": "main", "image": "example.com/main:1"}]});
    pod.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let mut metadata = template.clone();
    metadata["labels"]["app"] = json!("web");
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": metadata, "spec": pod},
        },
    })
}

// The whole way: selectors, match conditions in CEL, caBundle, TLS, kubectl.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_says_what_will_happen_to_the_pods_of_a_workload() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
    control_plane.create_namespace("typo", &[("istio-injection", "enable")]).await;
    control_plane.create_namespace("bare", &[]).await;
    let values = ["webhook.advice.enabled=true"];
    let mut release = Release::install(&control_plane, "outrigger", &values, 1).await;
    release.wait_injecting(&control_plane, "shop").await;

    let apply = async |object: &Value| {
        let ran = control_plane.kubectl_with(&["apply", "-f", "-"], &object.to_string()).await;
        assert!(ran.success, "{}", ran.stderr);
        let warnings = ran.stderr.lines().filter_map(|line| line.strip_prefix("Warning: "));
        warnings.map(str::to_owned).collect::<Vec<_>>()
    };
    let bad = json!({"annotations": {"sidecar.istio.io/proxyCPU": "lots"}});
    let none = json!({});
    // The first answer shows that the caBundle is set and that the conditions are valid.
    let warnings = eventually("advice is given", PATIENCE, async || {
        let ran = control_plane
            .kubectl_with(
                &["apply", "--dry-run=server", "-f", "-"],
                &deployment("shop", &bad, &none).to_string(),
            )
            .await;
        assert!(ran.success, "{}", ran.stderr);
        ran.stderr.lines().find_map(|line| line.strip_prefix("Warning: ").map(str::to_owned))
    })
    .await;
    assert!(warnings.starts_with("the pods will be denied: "), "{warnings}");
    assert!(warnings.contains("sidecar.istio.io/proxyCPU"), "{warnings}");

    assert_eq!(apply(&deployment("shop", &none, &none)).await, Vec::<String>::new(), "all is well");
    let host = apply(&deployment("shop", &none, &json!({"hostNetwork": true}))).await;
    assert_eq!(host.len(), 1, "{host:?}");
    assert!(host[0].starts_with("the pods will run without a proxy: "), "{host:?}");
    let opted_in = json!({"labels": {"sidecar.istio.io/inject": "true"}});
    let typo = apply(&deployment("typo", &opted_in, &none)).await;
    assert!(typo[0].starts_with("the pods ask for a proxy and get none: namespace \"typo\""), "{typo:?}");
    let mut misplaced = deployment("bare", &none, &none);
    misplaced["metadata"]["labels"] = json!({"sidecar.istio.io/inject": "true"});
    let misplaced = apply(&misplaced).await;
    assert_eq!(
        misplaced,
        [
            r#"label sidecar.istio.io/inject: "true" on the Deployment has no effect; it belongs on spec.template.metadata"#
        ]
    );
    // Scaling with the Scale subresource and labels of the Deployment change no pod.
    let ran = control_plane.kubectl_with(&["label", "deployment", "web", "-n", "typo", "team=a"], "").await;
    assert!(ran.success && !ran.stderr.contains("Warning"), "{}", ran.stderr);

    // The injector goes: workloads are applied as before, after at most the timeout.
    for replica in &mut release.replicas {
        replica.terminate().await;
    }
    assert_eq!(apply(&deployment("bare", &bad, &none)).await, Vec::<String>::new());
}
