//! The chart's ValidatingAdmissionPolicy, which rejects pods of injected namespaces without a proxy: which pods are
//! exempt, and why. There is no webhook: only the policy is tested.

use serde_json::{Value, json};

use super::control_plane::{ControlPlane, Flavour, PATIENCE, eventually};

/// A pod of an application with additional metadata and additional parts of its spec.
fn pod(metadata: &Value, spec: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app"},
        "spec": {"containers": [{"name": "main", "image": "example.com/main:1"}]},
    });
    for (field, more) in [("metadata", metadata), ("spec", spec)] {
        pod[field].as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    }
    pod
}

fn annotated(annotations: &Value) -> Value {
    json!({"annotations": annotations})
}

/// A control plane with the chart's policy in force in the namespace `shop`.
async fn guarded(sets: &[&str]) -> ControlPlane {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/outrigger");
    let policy = "templates/validatingadmissionpolicy.yaml";
    let always =
        ["--set", "image.repository=example.com/a", "--set", "validatingAdmissionPolicy.enabled=true"];
    let arguments = [&["template", "outrigger", chart, "--show-only", policy][..], &always, sets].concat();
    let rendered = control_plane.helm(&arguments).await.expect("helm template");
    control_plane.apply(&rendered).await;
    let plain = pod(&json!({}), &json!({}));
    eventually("the policy is heeded", PATIENCE, async || {
        let refused = created(&control_plane, &plain, &[]).await.err()?;
        refused.contains(REFUSED).then_some(())
    })
    .await;
    control_plane
}

/// The policy's message.
const REFUSED: &str = "pods in this namespace must be injected and this one was not";

/// Creates a pod in a dry run; `as_whom` are kubectl's flags of impersonation.
async fn created(control_plane: &ControlPlane, pod: &Value, as_whom: &[&str]) -> Result<String, String> {
    let create = ["create", "--dry-run=server", "-n", "shop", "-f", "-"];
    let ran = control_plane.kubectl_with(&[&create[..], as_whom].concat(), &pod.to_string()).await;
    if ran.success { Ok(ran.stdout) } else { Err(ran.stderr) }
}

async fn refused(control_plane: &ControlPlane, pod: &Value, why: &str) {
    let said = created(control_plane, pod, &[]).await.expect_err(&format!("{why}: {pod}"));
    assert!(said.contains(REFUSED), "{why}: {said}");
}

// TM-12, TM-13
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_mark_that_anybody_may_write_exempts_a_pod_from_the_policy() {
    let control_plane = guarded(&[]).await;
    let none = json!({});
    let linkerd = annotated(&json!({"linkerd.io/proxy-version": "stable-2.14"}));
    let second =
        |name: &str| json!({"containers": [{"name": "main", "image": "a"}, {"name": name, "image": "b"}]});
    let options = json!({"securityContext": {"windowsOptions": {"runAsUserName": "ContainerUser"}}});
    for (why, metadata, spec) in [
        ("nothing", none.clone(), none.clone()),
        ("Linkerd's annotation", linkerd.clone(), none.clone()),
        ("Linkerd's container", none.clone(), second("linkerd-proxy")),
        ("both marks of Linkerd", linkerd, second("linkerd-proxy")),
        ("options for Windows, with which a pod runs on Linux", none.clone(), options),
        ("a container with the proxy's name", none.clone(), second("istio-proxy")),
    ] {
        refused(&control_plane, &pod(&metadata, &spec), why).await;
    }
    // A status alone claims a proxy that does not exist, whatever templates were requested.
    let status =
        |more: &str| annotated(&json!({"sidecar.istio.io/status": "{}", "inject.istio.io/templates": more}));
    for templates in ["sidecar", "grpc-simple"] {
        let pod = pod(&status(templates), &none);
        let said = created(&control_plane, &pod, &[]).await.expect_err("no proxy");
        assert!(said.contains("has no container istio-proxy"), "{said}");
    }
    let bootstrap = json!({"initContainers": [{"name": "grpc-bootstrap-init", "image": "b"}]});
    created(&control_plane, &pod(&status("grpc-simple"), &bootstrap), &[])
        .await
        .expect("the template has no proxy");
}

/// Anybody can write the annotation of mirror pods, but the user who writes it is authenticated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mirror_pods_are_exempt_from_the_policy_when_a_node_creates_them() {
    let control_plane = guarded(&[]).await;
    let role =
        ["create", "clusterrolebinding", "nodes", "--clusterrole=cluster-admin", "--group=system:nodes"];
    control_plane.kubectl(&role).await;
    let mirror = pod(
        &annotated(&json!({"kubernetes.io/config.mirror": "abc"})),
        // What an API server wants of every mirror pod.
        &json!({"nodeName": "node-1", "automountServiceAccountToken": false}),
    );
    refused(&control_plane, &mirror, "the annotation").await;
    let node = ["--as=system:node:node-1", "--as-group=system:nodes", "--as-group=system:authenticated"];
    created(&control_plane, &mirror, &node).await.expect("the mirror pod of a node");
    let plain = pod(&json!({}), &json!({}));
    let said = created(&control_plane, &plain, &node).await.expect_err("no mirror pod");
    assert!(said.contains(REFUSED), "{said}");
}

/// A pod that a Linux node rejects gains nothing by having no proxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_policy_is_not_about_pods_that_no_linux_node_takes() {
    let control_plane = guarded(&[]).await;
    let none = json!({});
    let term =
        |operator: &str, os: &[&str]| json!({"key": "kubernetes.io/os", "operator": operator, "values": os});
    let bound = |terms: Value| {
        let required =
            json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        json!({"affinity": {"nodeAffinity": required}})
    };
    let windows = json!({"matchExpressions": [term("In", &["windows"])]});
    let either = json!({"matchExpressions": [term("In", &["windows", "linux"])]});
    for for_linux in [
        json!({"nodeSelector": {"kubernetes.io/os": "linux"}}),
        bound(json!([either])),
        bound(json!([windows, either])),
        json!({"securityContext": {"runAsNonRoot": true}}),
    ] {
        refused(&control_plane, &pod(&none, &for_linux), "for Linux").await;
    }
    for for_windows in [
        json!({"os": {"name": "windows"}}),
        json!({"nodeSelector": {"kubernetes.io/os": "windows"}}),
        json!({"nodeSelector": {"beta.kubernetes.io/os": "windows"}}),
        bound(json!([windows, windows])),
        bound(json!([{"matchExpressions": [term("NotIn", &["linux"])]}])),
    ] {
        let stored = created(&control_plane, &pod(&none, &for_windows), &[]).await;
        assert!(stored.is_ok(), "{for_windows}: {stored:?}");
    }
    // Istio lets pods opt out, by the label as well as by the annotation.
    for opted_out in [
        json!({"labels": {"sidecar.istio.io/inject": "false"}}),
        annotated(&json!({"sidecar.istio.io/inject": "false"})),
    ] {
        created(&control_plane, &pod(&opted_out, &none), &[]).await.expect("a pod that has opted out");
    }
}
