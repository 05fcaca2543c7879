//! The canary, as the chart installs it: it reports whether pods get injected before anyone creates one.

use serde_json::json;

use super::{
    control_plane::{ControlPlane, Flavour},
    release::Release,
};

const WEBHOOKS: &str = "mutatingwebhookconfigurations";
const UP: &str = "outrigger_apiserver_path_up";
const FAILURES: &str = "outrigger_apiserver_path_failures_total";

// With the Role of the chart, certificates of the controller and a real API server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_breaks_is_seen_and_named_and_seen_to_work_again() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
    let values = ["canary.enabled=true", "canary.namespace=shop", "canary.interval=1s"];
    let release = Release::install(&control_plane, "outrigger", &values, 1).await;
    let replica = &release.replicas[0];
    replica.wait_metric(UP, &[], |up| up == 1.0).await;

    // The namespace is no longer injected.
    control_plane.kubectl(&["label", "namespace", "shop", "istio-injection=disabled", "--overwrite"]).await;
    replica.wait_metric(UP, &[], |up| up == 0.0).await;
    replica.wait_metric(FAILURES, &[r#"class="not-injected""#], |count| count >= 1.0).await;
    control_plane.kubectl(&["label", "namespace", "shop", "istio-injection=enabled", "--overwrite"]).await;
    replica.wait_metric(UP, &[], |up| up == 1.0).await;

    // The webhook's port is wrong, and right again.
    let name = "outrigger-sidecar-injector";
    let ports = control_plane
        .kubectl(&["get", WEBHOOKS, name, "-o", "jsonpath={.webhooks[*].clientConfig.service.port}"])
        .await;
    let set = async |port: Option<&str>| {
        let operations = ports.split_whitespace().enumerate().map(|(index, own)| {
            let port: u16 = port.unwrap_or(own).parse().unwrap();
            json!({"op": "replace", "path": format!("/webhooks/{index}/clientConfig/service/port"), "value": port})
        });
        let patch = json!(operations.collect::<Vec<_>>()).to_string();
        control_plane.kubectl(&["patch", WEBHOOKS, name, "--type=json", "-p", &patch]).await;
    };
    set(Some("1")).await;
    replica.wait_metric(UP, &[], |up| up == 0.0).await;
    replica.wait_metric(FAILURES, &[r#"class="connection-refused""#], |count| count >= 1.0).await;
    set(None).await;
    replica.wait_metric(UP, &[], |up| up == 1.0).await;
    let log = replica.log();
    let said: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("pods created through the API server are not injected"))
        .collect();
    assert!(said[0].contains("not-injected"), "{said:?}");
    assert!(said.iter().any(|line| line.contains("connection-refused")), "{said:?}");
}
