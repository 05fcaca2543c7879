//! Pods as the API server stores them, compared field for field.

use kube::Client;
use serde_json::Value;

use crate::equal::differences;

/// Creates a pod with a server-side dry run: all of admission runs and nothing is stored. Returns the object that would
/// be stored, or the API server's error.
pub async fn dry_run(client: &Client, namespace: &str, pod: &Value) -> Result<Value, String> {
    dry_run_as(client, namespace, pod, "e2e").await
}

/// [`dry_run`] with a field manager's name, by which a webhook can distinguish this creation from others
/// (`options.fieldManager` of the request).
pub async fn dry_run_as(
    client: &Client,
    namespace: &str,
    pod: &Value,
    manager: &str,
) -> Result<Value, String> {
    let mut pod = pod.clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    if let Some(metadata) = pod["metadata"].as_object_mut() {
        metadata.insert("namespace".to_owned(), namespace.into());
        metadata.remove("resourceVersion");
    }
    let request = hyper::Request::post(format!(
        "/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldManager={manager}"
    ))
    .header("content-type", "application/json")
    .body(pod.to_string().into_bytes())
    .expect("a request");
    client.request(request).await.map_err(|error| match error {
        kube::Error::Api(status) => status.message,
        other => format!("no answer: {other}"),
    })
}

/// The pods of a namespace.
pub async fn list(client: &Client, namespace: &str) -> Vec<Value> {
    let request = hyper::Request::get(format!("/api/v1/namespaces/{namespace}/pods")).body(Vec::new());
    let list: Value = client.request(request.expect("a request")).await.expect("a list of pods");
    list["items"].as_array().cloned().unwrap_or_default()
}

/// A pod without the parts that differ between two equal pods: generated values (uid, name, time, the suffix of the
/// token's volume), the namespace, and the status.
pub fn comparable(pod: &Value) -> Value {
    let mut pod = match token_volume(pod) {
        Some(volume) => {
            let text = pod.to_string().replace(&volume, "kube-api-access-x");
            serde_json::from_str(&text).expect("the same document")
        }
        None => pod.clone(),
    };
    if let Some(object) = pod.as_object_mut() {
        for key in ["apiVersion", "kind", "status"] {
            object.remove(key);
        }
    }
    let generated = pod["metadata"]["generateName"].is_string();
    if let Some(metadata) = pod["metadata"].as_object_mut() {
        for key in ["uid", "creationTimestamp", "resourceVersion", "managedFields", "namespace", "generation"]
        {
            metadata.remove(key);
        }
        if generated {
            metadata.remove("name");
        }
    }
    pod
}

/// The differences between two pods that should be stored alike; none if they are completely [`comparable`].
pub fn unlike(stored: &Value, wanted: &Value) -> Option<String> {
    let (stored, wanted) = (comparable(stored), comparable(wanted));
    if stored == wanted {
        return None;
    }
    let found = differences(&stored, &wanted);
    // The list has allowances that equality does not.
    Some(if found.is_empty() { format!("{stored}\n    {wanted}") } else { found.join("\n    ") })
}

/// The name of the volume that mounts the ServiceAccount's token; it differs between pods.
pub fn token_volume(pod: &Value) -> Option<String> {
    let volumes = pod["spec"]["volumes"].as_array()?;
    let name = |volume: &Value| volume["name"].as_str().map(ToOwned::to_owned);
    volumes.iter().filter_map(name).find(|name| name.starts_with("kube-api-access-"))
}

/// Whether anything of a proxy is in a pod.
pub fn is_injected(pod: &Value) -> bool {
    let containers = ["containers", "initContainers"];
    let mut containers = containers.iter().filter_map(|list| pod["spec"][list].as_array()).flatten();
    containers.any(|container| container["name"].as_str().is_some_and(|name| name.starts_with("istio-")))
        || pod["metadata"]["annotations"].get("sidecar.istio.io/status").is_some()
}
