//! The pod of a server-side dry run, which shows whether API servers call the webhook.

use serde_json::{Map, Value, json};

use crate::names;

/// A pod that every Pod Security level admits, with the requests and limits that quotas ask for. Its name begins with
/// `outrigger-webhook-wait-`.
pub fn pod(labels: &Map<String, Value>) -> Value {
    let restricted = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": true,
        "runAsUser": 65_535,
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    let resources = json!({"cpu": "1m", "memory": "1Mi"});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "outrigger-webhook-wait-", "labels": labels},
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "none",
                "image": "registry.k8s.io/pause",
                "resources": {"requests": resources, "limits": resources},
                "securityContext": restricted,
            }],
        },
    })
}

/// The revision that injected a pod, if any.
pub fn injected_by(pod: &Value) -> Option<String> {
    let status = pod.get("metadata")?.get("annotations")?.get(names::ANNOTATION_STATUS)?.as_str()?;
    let status: Value = serde_json::from_str(status).ok()?;
    Some(status.get("revision")?.as_str()?.to_owned())
}
