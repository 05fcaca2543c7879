//! Concurrent events: a namespace and its first pod.

use kube::api::{Api, PostParams};
use serde_json::json;

use super::{
    control_plane::{PATIENCE, settled},
    install::Reach,
    neighbours::{Stage, application},
    pods::is_injected,
};

/// Namespaces that come with their pod.
const TIMES: usize = 30;

/// O-05: the pod is sent as soon as it can be created, with the namespace's labels at its creation, and the decision
/// depends only on the request: nothing waits for a namespace to become known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o_05_the_first_pod_of_a_namespace_is_injected() {
    let stage = Stage::set("platform: openshift").await;
    stage.namespace("first", &[]).await;
    stage.webhook("outrigger", Reach::url_of(&stage.outrigger)).install(&stage.control_plane, "first").await;
    let client = stage.control_plane.client().await;
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client);
    for time in 0..TIMES {
        let name = format!("sudden-{time}");
        let labels = json!({"istio-injection": "enabled"});
        let range = json!({"openshift.io/sa.scc.uid-range": "1000650000/10000"});
        let namespace = json!({"metadata": {"name": name, "labels": labels, "annotations": range}});
        let namespace = serde_json::from_value(namespace).expect("a namespace");
        namespaces.create(&PostParams::default(), &namespace).await.expect("a namespace");
        // Until its ServiceAccount exists, the API server accepts no pod; the first accepted one has a proxy.
        let stored = settled("the API server takes a pod", PATIENCE, async || {
            match stage.create(&name, &application("web")).await {
                Err(error) if error.contains("serviceaccount") => Err(error),
                Err(error) => panic!("{name}: {error}"),
                Ok(stored) => Ok(stored),
            }
        })
        .await;
        assert!(is_injected(&stored), "{name}: {stored}");
    }
}
