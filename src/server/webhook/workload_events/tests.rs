use serde_json::{Value, json};

use super::*;
use crate::server::kube::scripted::{Asked, Requests, Turn, api_server};

const POD: &str = r#"{"metadata": {"namespace": "shop", "ownerReferences": [
    {"apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": "o"},
    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "rs", "controller": true}
]}}"#;

/// An API server that knows the ReplicaSet of a Deployment, or refuses to show it.
fn events(may_read: bool) -> (WorkloadEvents, Requests) {
    let (client, requests) = api_server(move |asked: &Asked| {
        if !asked.target.contains("/replicasets/") {
            return Turn::object(json!({"metadata": {"name": "x"}, "eventTime": null}));
        }
        if !may_read {
            return Turn::refused(403);
        }
        let owner = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true});
        Turn::object(json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"name": "web-1", "namespace": "shop", "ownerReferences": [owner]},
        }))
    });
    let (events, task) = WorkloadEvents::new(client, "replica-1");
    tokio::spawn(task);
    (events, requests)
}

fn record(outcome: Outcome, told: &str) -> Record {
    let (namespace, told) = ("shop".to_owned(), told.to_owned());
    Record { outcome, reason: "POLICY_ENABLED", namespace, told, ..Record::default() }
}

/// Kind, name, UID, reason and text of the Events that were written within a minute.
async fn written(requests: &Requests) -> Vec<[String; 5]> {
    tokio::time::sleep(Duration::from_secs(60)).await;
    let text = |value: &Value, pointer: &str| {
        value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let events = requests.all().into_iter().filter(|asked| asked.target.contains("/events"));
    events
        .map(|asked| {
            ["/regarding/kind", "/regarding/name", "/regarding/uid", "/reason", "/note"]
                .map(|pointer| text(&asked.body, pointer))
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_workload_of_a_pod_hears_of_it() {
    for (outcome, reason) in [
        (Outcome::Denied, "InjectionDenied"),
        (Outcome::Skipped, "InjectionSkipped"),
        (Outcome::Injected, "InjectionWarning"),
    ] {
        let (events, requests) = events(true);
        events.observe(&record(outcome, "something is odd"), || Some(POD));
        let wanted = ["Deployment", "web", "d", reason, "POLICY_ENABLED: something is odd"];
        assert_eq!(written(&requests).await, [wanted.map(str::to_owned)], "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_read_its_owner_the_controller_hears_of_it() {
    let (events, requests) = events(false);
    events.observe(&record(Outcome::Denied, "no"), || Some(POD));
    let written = written(&requests).await;
    assert_eq!(written[0][..3], ["ReplicaSet", "web-1", "rs"].map(str::to_owned));
}

#[tokio::test(start_paused = true)]
async fn the_same_is_said_once_in_ten_minutes_and_owners_are_read_once() {
    let (events, requests) = events(true);
    for _ in 0..50 {
        events.observe(&record(Outcome::Denied, "no"), || Some(POD));
    }
    assert_eq!(written(&requests).await.len(), 1);
    events.observe(&record(Outcome::Denied, "another reason"), || Some(POD));
    assert_eq!(written(&requests).await.len(), 2);
    tokio::time::sleep(INTERVAL).await;
    events.observe(&record(Outcome::Denied, "no"), || Some(POD));
    assert_eq!(written(&requests).await.len(), 3);
    let reads = requests.targets().iter().filter(|target| target.contains("/replicasets/")).count();
    assert_eq!(reads, 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_where_nobody_would_look() {
    let (events, requests) = events(true);
    let dry_run = Record { dry_run: true, ..record(Outcome::Denied, "a dry run") };
    let cached =
        Record { served: Some(CacheStatus::Hit), ..record(Outcome::Injected, "said for its sibling") };
    events.observe(&dry_run, || Some(POD));
    events.observe(&cached, || Some(POD));
    events.observe(&record(Outcome::Injected, ""), || Some(POD));
    events.observe(&record(Outcome::Error, "our own fault"), || Some(POD));
    events.observe(&record(Outcome::Denied, "a pod without a controller"), || Some("{}"));
    events.observe(&record(Outcome::Denied, "not JSON"), || Some("not JSON"));
    events.observe(&record(Outcome::Denied, "no pod"), || None);
    assert_eq!(written(&requests).await, Vec::<[String; 5]>::new());
}
