//! The namespace audit, as the chart installs it: mistaken labels become Events and a metric.

use super::{
    control_plane::{ControlPlane, Flavour, PATIENCE, settled},
    release::Release,
};

const MISTAKES: &str = "outrigger_namespace_label_mistakes";

// With the roles of the chart, and a real API server, which accepts an Event on a Namespace only in the namespace `default`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_that_nobody_meant_become_events_on_their_namespace() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
    control_plane.create_namespace("typo", &[("istio-injection", "enable")]).await;
    control_plane.create_namespace("nobody", &[("istio.io/rev", "green")]).await;
    let values =
        ["namespaceAudit.enabled=true", "namespaceAudit.interval=1s", "configuration.workloadEvents=false"];
    let release = Release::install(&control_plane, "outrigger", &values, 1).await;
    let replica = &release.replicas[0];
    replica.wait_metric(MISTAKES, &[r#"check="label-value""#], |number| number == 1.0).await;
    replica.wait_metric(MISTAKES, &[r#"check="revision-not-served""#], |number| number == 1.0).await;
    replica.wait_metric(MISTAKES, &[r#"check="both-labels""#], |number| number == 0.0).await;

    let told = async |namespace: &str, reason: &str| {
        let object = format!("involvedObject.kind=Namespace,involvedObject.name={namespace}");
        let list = ["get", "events", "-n", "default", "--field-selector", &object, "-o", "wide"];
        settled("an Event", PATIENCE, async || {
            let events = control_plane.kubectl(&list).await;
            if events.contains(reason) { Ok(events) } else { Err(events) }
        })
        .await
    };
    let event = told("typo", "InjectionLabelValue").await;
    assert!(event.contains("kubectl label namespace typo"), "{event}");
    told("nobody", "RevisionNotServed").await;

    // Corrected, and counted no more.
    control_plane.kubectl(&["label", "namespace", "typo", "istio-injection=enabled", "--overwrite"]).await;
    replica.wait_metric(MISTAKES, &[r#"check="label-value""#], |number| number == 0.0).await;
    assert!(!replica.log().contains("cannot be"), "{}", replica.log());
}
