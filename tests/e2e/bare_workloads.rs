//! Workloads whose pods run without a proxy, as the chart installs their controller: reported and restarted one after the
//! other, with the roles of the chart and a policy that limits them to restarts.

use std::time::Duration;

use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{
    control_plane::{ControlPlane, Flavour, PATIENCE, settled},
    pods::{is_injected, list},
    release::Release,
};

const WORKLOADS: &str = "outrigger_bare_workloads";

fn workload(kind: &str, name: &str, replicas: u32) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": {"example.com/kept": "yes"}},
                "spec": {"containers": [{"name": "main", "image": "example.com/main:1"}]},
            },
        },
    });
    if kind == "StatefulSet" {
        object["spec"]["serviceName"] = json!(name);
    }
    object
}

/// In place of kubelets: all pods of `shop` run and are ready.
async fn make_ready(control_plane: &ControlPlane) {
    let client = control_plane.client().await;
    loop {
        for pod in list(&client, "shop").await {
            if pod["status"]["phase"] == "Pending" && pod["metadata"]["deletionTimestamp"].is_null() {
                let name = pod["metadata"]["name"].as_str().expect("a name");
                let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
                let patch =
                    ["patch", "pod", name, "-n", "shop", "--subresource=status", "--type=merge", "-p"];
                let patch: Vec<&str> = patch.into_iter().chain([status.to_string().leak() as &str]).collect();
                // It may be gone by now.
                control_plane.kubectl_with(&patch, "").await;
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The pods of an application: how many there are, and how many have a proxy.
async fn pods_of(control_plane: &ControlPlane, app: &str) -> (usize, usize) {
    let pods = list(&control_plane.client().await, "shop").await;
    let own: Vec<&Value> = pods
        .iter()
        .filter(|pod| {
            pod["metadata"]["labels"]["app"] == app && pod["metadata"]["deletionTimestamp"].is_null()
        })
        .collect();
    (own.len(), own.iter().filter(|pod| is_injected(pod)).count())
}

async fn wait_pods(control_plane: &ControlPlane, app: &str, wanted: (usize, usize)) {
    settled(&format!("{wanted:?} pods of {app}"), PATIENCE, async || {
        let found = pods_of(control_plane, app).await;
        if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

async fn events(control_plane: &ControlPlane, object: &str, reason: &str) -> String {
    let selector = format!("involvedObject.name={object},reason={reason}");
    let list = ["get", "events", "-n", "shop", "--field-selector", &selector, "-o", "wide"];
    settled(&format!("an Event {reason} on {object}"), PATIENCE, async || {
        let events = control_plane.kubectl(&list).await;
        if events.contains(reason) { Ok(events) } else { Err(events) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_without_a_proxy_are_reported_and_replaced() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    control_plane.create_namespace("shop", &[]).await;
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "db", "namespace": "shop"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "db"}}},
    });
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once", "namespace": "shop"},
        "spec": {"template": {"metadata": {"labels": {"app": "once"}}, "spec": {
            "restartPolicy": "Never", "containers": [{"name": "main", "image": "example.com/main:1"}],
        }}},
    });
    let mut off = workload("Deployment", "off", 1);
    off["metadata"]["annotations"] = json!({"outrigger.dev/restart": "false"});
    let all = [
        workload("Deployment", "web", 2),
        workload("Deployment", "admin", 1),
        workload("StatefulSet", "db", 1),
        off,
        job,
        budget,
    ];
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": all});
    control_plane.apply(&objects.to_string()).await;

    let test = async {
        for (app, number) in [("web", 2), ("admin", 1), ("db", 1), ("off", 1), ("once", 1)] {
            wait_pods(&control_plane, app, (number, 0)).await;
        }
        // Reported first.
        let values = ["bareWorkloads.mode=report", "bareWorkloads.interval=1s"];
        let mut release = Release::install(&control_plane, "outrigger", &values, 1).await;
        release.replicas[0].wait_metric(WORKLOADS, &[r#"state="restartable""#], |number| number == 0.0).await;
        control_plane.kubectl(&["label", "namespace", "shop", "istio-injection=enabled"]).await;
        release.wait_injecting(&control_plane, "shop").await;
        let replica = &release.replicas[0];
        replica.wait_metric(WORKLOADS, &[r#"state="restartable""#], |number| number == 2.0).await;
        replica.wait_metric(WORKLOADS, &[r#"state="waiting""#], |number| number == 1.0).await;
        replica.wait_metric(WORKLOADS, &[r#"state="excluded""#], |number| number == 2.0).await;
        replica.wait_metric("outrigger_bare_pods", &[], |number| number == 6.0).await;
        let told = events(&control_plane, "web", "RunsWithoutProxy").await;
        assert!(told.contains("2 of 2 running pods have no proxy"), "{told}");
        assert!(told.contains("kubectl -n shop rollout restart deployment/web"), "{told}");
        assert_eq!(pods_of(&control_plane, "web").await, (2, 0), "only reported");

        // Then restarted, one after the other; the budget and the annotation hold two back.
        let values = ["bareWorkloads.mode=restart", "bareWorkloads.interval=1s"];
        release.upgrade(&control_plane, &values).await;
        wait_pods(&control_plane, "web", (2, 2)).await;
        wait_pods(&control_plane, "admin", (1, 1)).await;
        events(&control_plane, "web", "RestartedForProxy").await;
        let told = events(&control_plane, "db", "RunsWithoutProxy").await;
        assert!(told.contains("PodDisruptionBudget db allows 0 disruptions now"), "{told}");
        let replica = release.replicas.last().expect("a replica");
        replica.wait_metric("outrigger_bare_pods", &[], |number| number == 3.0).await;
        assert_eq!(pods_of(&control_plane, "db").await, (1, 0));
        control_plane
            .kubectl(&[
                "patch",
                "pdb",
                "db",
                "-n",
                "shop",
                "--type=merge",
                "-p",
                r#"{"spec":{"minAvailable":0}}"#,
            ])
            .await;
        wait_pods(&control_plane, "db", (1, 1)).await;
        replica.wait_metric("outrigger_bare_pods", &[], |number| number == 2.0).await;
        assert_eq!(pods_of(&control_plane, "off").await, (1, 0));
        assert_eq!(pods_of(&control_plane, "once").await, (1, 0));
        let restarts = [r#"result="restarted""#];
        assert_eq!(replica.metric("outrigger_workload_restarts_total", &restarts).await, 3.0);
        let template = [
            "get",
            "deployment",
            "web",
            "-n",
            "shop",
            "-o",
            "jsonpath={.spec.template.metadata.annotations}",
        ];
        let annotations = control_plane.kubectl(&template).await;
        assert!(
            annotations.contains("example.com/kept") && annotations.contains("restartedAt"),
            "{annotations}"
        );
        assert!(!replica.log().contains("cannot"), "{}", replica.log());
    };
    tokio::select! {
        () = test => {}
        () = make_ready(&control_plane) => {}
    }
}

/// What somebody with the server's token can do to workloads.
async fn a_token_may_only_restart(flavour: Flavour) {
    let control_plane = ControlPlane::start(flavour).await;
    control_plane.create_namespace("shop", &[]).await;
    let mut daemon = workload("DaemonSet", "agent", 1);
    daemon["spec"].as_object_mut().expect("a spec").remove("replicas");
    let items = [workload("Deployment", "web", 1), workload("StatefulSet", "db", 1), daemon];
    control_plane.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()).await;
    let values = ["bareWorkloads.mode=restart"];
    let release = Release::without_replicas(&control_plane, "outrigger", "outrigger-system", &values).await;
    let account = release.service_account(&control_plane).await;
    let client = control_plane.client_for("outrigger-system", &account).await;
    let patch = async |kind: &str, name: &str, patch: &Value| {
        let kind = GroupVersionKind::gvk("apps", "v1", kind);
        let api: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), "shop", &ApiResource::from_gvk(&kind));
        let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.map(|_| ()).map_err(|error| error.to_string())
    };
    let template = |fields: Value| json!({"spec": {"template": fields}});
    let annotation = |key: &str, value: Value| template(json!({"metadata": {"annotations": {key: value}}}));
    for (kind, name) in [("Deployment", "web"), ("StatefulSet", "db"), ("DaemonSet", "agent")] {
        let restart = annotation("outrigger.dev/restartedAt", json!("now"));
        // The policy is in force a moment after it was created; until then, each change has to be another one.
        let mut attempt = 0;
        settled("the policy is in force", PATIENCE, async || {
            attempt += 1;
            let image = format!("example.com/other:{attempt}");
            let image = template(json!({"spec": {"containers": [{"name": "main", "image": image}]}}));
            match patch(kind, name, &image).await {
                Err(refused) if refused.contains("nothing else of a pod template") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        patch(kind, name, &restart).await.expect("a restart");
        let mut changes = vec![
            (template(json!({"metadata": {"labels": {"more": "x"}}})), "nothing else of a pod template"),
            (
                template(json!({"metadata": {"finalizers": ["example.com/x"]}})),
                "nothing else of a pod template",
            ),
            (annotation("example.com/kept", json!(null)), "only the annotation"),
            (annotation("example.com/kept", json!("no")), "only the annotation"),
            (annotation("sidecar.istio.io/inject", json!("false")), "only the annotation"),
            (json!({"metadata": {"labels": {"more": "x"}}}), "nothing else of a workload"),
            (json!({"metadata": {"annotations": {"more": "x"}}}), "nothing else of a workload"),
            (json!({"metadata": {"finalizers": ["example.com/x"]}}), "nothing else of a workload"),
            (json!({"spec": {"minReadySeconds": 9}}), "nothing else of a workload"),
        ];
        match kind {
            "Deployment" => changes.push((json!({"spec": {"paused": true}}), "nothing else of a workload")),
            _ => changes.push((
                json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}}),
                "nothing else of a workload",
            )),
        }
        if kind != "DaemonSet" {
            changes.push((json!({"spec": {"replicas": 0}}), "nothing else of a workload"));
        }
        for (change, message) in changes {
            let refused = patch(kind, name, &change).await.expect_err(&format!("{kind} {change}"));
            assert!(refused.contains(message), "{kind} {change}: {refused}");
        }
    }
    let kind = GroupVersionKind::gvk("apps", "v1", "Deployment");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "shop", &ApiResource::from_gvk(&kind));
    let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
    let scaled = api.patch_scale("web", &PatchParams::default(), &none).await;
    assert!(scaled.expect_err("a refusal").to_string().contains("forbidden"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_token_may_only_restart_workloads() {
    a_token_may_only_restart(Flavour::Current).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_token_may_only_restart_workloads_of_the_oldest_api_server() {
    a_token_may_only_restart(Flavour::Oldest).await;
}
