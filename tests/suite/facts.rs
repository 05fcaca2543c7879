//! The facts in a bundle reach the engine behind the server: nodes determine native sidecars, labels of namespaces
//! determine injection.

use std::{fs, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use outrigger::server::{configuration::bundle::Bundle, options::Origin};
use serde_json::Value;

use super::headed::headed;
use super::support::{injecting, pod, review, start_with};

/// The response of a server with this bundle to a pod of the namespace `shop`.
async fn response(bundle: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bundle.yaml");
    fs::write(&file, headed(bundle)).unwrap();
    let harness =
        start_with(injecting(), |options| options.configuration = Origin::Source(Arc::new(Bundle::of(file))))
            .await;
    harness.post("/inject", review("v1", pod())).await.json()["response"].take()
}

fn patch(response: &Value) -> String {
    String::from_utf8(STANDARD.decode(response["patch"].as_str().unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn an_old_node_of_the_bundle_forbids_native_sidecars() {
    let old =
        response("nodes: [{name: a, kubeletVersion: v1.34.0}, {name: b, kubeletVersion: v1.30.1}]").await;
    assert!(!patch(&old).contains(r#""restartPolicy":"Always""#), "{old}");
    let new = response("nodes: [{name: a, kubeletVersion: v1.34.0}]").await;
    assert!(patch(&new).contains(r#""restartPolicy":"Always""#), "{new}");
}

#[tokio::test]
async fn labels_of_a_known_namespace_count() {
    for (labels, reason) in [
        ("{}", "NAMESPACE_NOT_ENABLED"),
        ("{istio-injection: disabled}", "NAMESPACE_DISABLED"),
        ("{istio-injection: enabled}", "POLICY_ENABLED"),
    ] {
        let answer = response(&format!("namespaces: [{{name: shop, labels: {labels}}}]")).await;
        assert_eq!(answer["auditAnnotations"]["reason"], reason, "{labels}");
        assert_eq!(answer.get("patch").is_some(), reason == "POLICY_ENABLED", "{labels}");
    }
}
