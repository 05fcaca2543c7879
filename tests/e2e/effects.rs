//! `outrigger what-if` and `outrigger stale` on a cluster: its workloads, its running pods, its configuration.

use serde_json::{Value, json};

use crate::headed::headed;

use super::{
    commands::Shell,
    control_plane::{ControlPlane, Flavour, PATIENCE, until},
    pods::list,
    release::Release,
};

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "example.com/main:1"}]},
            },
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_compared_with_a_new_configuration_and_its_pods_with_the_current_one() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
    control_plane.create_namespace("bare", &[]).await;
    let mut release = Release::install(&control_plane, "outrigger", &[], 1).await;
    release.wait_injecting(&control_plane, "shop").await;
    let client = control_plane.client().await;
    control_plane.apply(&deployment("web").to_string()).await;
    control_plane.apply(&deployment("cart").to_string()).await;
    let mut elsewhere = deployment("web");
    elsewhere["metadata"]["namespace"] = json!("bare");
    control_plane.apply(&elsewhere.to_string()).await;
    until("the Deployments have their pods", PATIENCE, async || list(&client, "shop").await.len() == 4).await;

    let shell = Shell::of(&control_plane);
    let report = async |arguments: &[&str]| -> Value {
        let config_map = ["--bundle-config-map", "outrigger-system/outrigger", "-o", "json"];
        let text = shell.done(&[arguments, &config_map].concat()).await;
        serde_json::from_str(&text).expect("JSON")
    };
    // What the API server has filled in since the injection is no difference, and pods of other namespaces are as they should be.
    let stale = report(&["stale"]).await;
    assert_eq!(stale["groups"], json!([]), "{stale:#}");
    assert!(stale["total"].as_u64().is_some_and(|total| total >= 4), "{stale}");

    // The namespaces of the cluster decide under the new bundle too.
    let file = shell.file("new.yaml", &headed("values: {global: {tag: 1.99.0}}\n"));
    let what_if = report(&["what-if", "--new", &file]).await;
    let groups = what_if["groups"].as_array().expect("groups");
    assert_eq!(groups.len(), 1, "{what_if:#}");
    assert_eq!(groups[0]["subjects"], json!(["shop/Deployment/cart", "shop/Deployment/web"]));
    assert_eq!(
        groups[0]["classes"].as_array().map(Vec::as_slice).unwrap_or_default().first(),
        Some(&json!("image"))
    );

    // A capture says the same without the cluster.
    let capture = shell.file("capture.json", "");
    let config_map = ["--bundle-config-map", "outrigger-system/outrigger"];
    shell.done(&[&["bundle", "capture", "--output-file", &capture][..], &config_map].concat()).await;
    let offline = async |arguments: &[&str]| -> Value {
        let text = shell.done(&[arguments, &["--capture", &capture, "-o", "json"]].concat()).await;
        serde_json::from_str(&text).expect("JSON")
    };
    assert_eq!(offline(&["stale"]).await, stale);
    assert_eq!(offline(&["what-if", "--new", &file]).await, what_if);
    let compared = offline(&["compare", "-n", "shop"]).await;
    assert_eq!((&compared["total"], &compared["identical"]), (&json!(4), &json!(4)), "{compared:#}");

    // The configuration changes: the pods run from the old one.
    let get = ["get", "configmap", "outrigger", "-n", "outrigger-system", "-o", "json"];
    let mut map: Value = serde_json::from_str(&control_plane.kubectl(&get).await).expect("JSON");
    let bundle = map["data"]["bundle"].as_str().expect("a bundle").to_owned();
    assert!(!bundle.contains("values:"), "{bundle}");
    map["data"]["bundle"] = json!(format!("{bundle}values: {{global: {{tag: 1.99.0}}}}\n"));
    map["metadata"]["managedFields"] = Value::Null;
    control_plane.kubectl_with(&["replace", "-f", "-"], &map.to_string()).await.expect("replace");
    let stale = report(&["stale", "-n", "shop"]).await;
    assert_eq!((&stale["total"], &stale["groups"][0]["count"]), (&json!(4), &json!(4)), "{stale:#}");
    assert_eq!(stale["groups"][0]["classes"], json!(["image"]));
    for replica in &mut release.replicas {
        replica.terminate().await;
    }
}
