//! Views of complete, partial and malformed pods.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn owned(owner: Value, labels: Value) -> Workload {
    owner_of(json!({
        "metadata": {"generateName": "web-", "namespace": "shop", "labels": labels, "ownerReferences": [owner]},
    }))
}

fn owner_of(pod: Value) -> Workload {
    owner(&pod)
}

fn workload(api_version: &str, kind: &str, name: &str) -> Workload {
    Workload {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        namespace: "shop".to_owned(),
    }
}

#[test]
fn finds_containers_before_init_containers() {
    let pod = json!({"spec": {
        "containers": [{"name": "a", "image": "1"}],
        "initContainers": [{"name": "a", "image": "2"}, {"name": "b"}],
    }});
    assert_eq!(find_container(&pod, "a"), Some(&json!({"name": "a", "image": "1"})));
    assert_eq!(find_container(&pod, "b"), Some(&json!({"name": "b"})));
    assert_eq!(find_container(&pod, "c"), None);
}

#[test]
fn finds_a_sidecar_of_either_sort() {
    let sidecar = json!({"name": "istio-proxy"});
    let plain = json!({"spec": {"containers": [{"name": "a"}, sidecar]}});
    let native = json!({"spec": {"containers": [{"name": "a"}], "initContainers": [sidecar]}});
    for mut pod in [plain, native] {
        assert_eq!(find_sidecar(&pod), Some(&sidecar));
        find_sidecar_mut(&mut pod).unwrap()["image"] = "i".into();
        assert_eq!(find_sidecar(&pod).unwrap()["image"], "i");
    }
}

#[test]
fn reads_labels_and_annotations_that_are_strings() {
    let pod = json!({"metadata": {"labels": {"a": "1", "b": 2}, "annotations": {"c": "", "d": null}}});
    assert_eq!(labels(&pod).collect::<Vec<_>>(), [("a", "1")]);
    assert_eq!(annotations(&pod).collect::<Vec<_>>(), [("c", "")]);
    assert_eq!((label(&pod, "a"), label(&pod, "b"), label(&pod, "c")), (Some("1"), None, None));
    assert_eq!((annotation(&pod, "c"), annotation(&pod, "d")), (Some(""), None));
}

#[test]
fn makes_what_it_is_to_change() {
    let mut pod = json!({"metadata": {"labels": "none"}, "spec": null});
    containers_mut(&mut pod).push(json!({"name": "a"}));
    init_containers_mut(&mut pod).push(json!({"name": "b"}));
    labels_mut(&mut pod).insert("x".to_owned(), "1".into());
    annotations_mut(&mut pod).insert("y".to_owned(), "2".into());
    assert_eq!(
        pod,
        json!({
            "metadata": {"labels": {"x": "1"}, "annotations": {"y": "2"}},
            "spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "b"}]},
        })
    );
}

#[test]
fn names_a_pod_before_it_has_a_name() {
    assert_eq!(potential_name(&json!({"metadata": {"name": "a", "generateName": "b-"}})), "a");
    let generated = json!({"metadata": {"generateName": "b-"}});
    assert_eq!(potential_name(&generated), "b-***** (actual name not yet known)");
    assert_eq!(potential_name(&json!({})), "");
}

// O-08
#[test]
fn a_replica_set_leads_to_its_deployment() {
    let set =
        |name: &str| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "controller": true});
    let hash = json!({"pod-template-hash": "6d5"});
    assert_eq!(owned(set("web-6d5"), hash.clone()), workload("apps/v1", "Deployment", "web"));
    assert_eq!(owned(set("web6d5"), hash.clone()), workload("apps/v1", "Deployment", "web6d5"));
    assert_eq!(owned(set("web-7e6"), hash), workload("apps/v1", "ReplicaSet", "web-7e6"));
    assert_eq!(
        owned(set("web-6d5"), json!({"pod-template-hash": ""})),
        workload("apps/v1", "ReplicaSet", "web-6d5")
    );
}

#[test]
fn a_replica_set_leads_to_its_rollout() {
    let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6d5", "controller": true});
    let labels = json!({"rollouts-pod-template-hash": "6d5"});
    assert_eq!(owned(set.clone(), labels), workload("v1alpha1", "Rollout", "web"));
    let both = json!({"rollouts-pod-template-hash": "6d5", "pod-template-hash": "6d5"});
    assert_eq!(owned(set, both), workload("apps/v1", "Deployment", "web"));
}

#[test]
fn a_replication_controller_leads_to_its_deployment_config() {
    let controller =
        json!({"apiVersion": "v1", "kind": "ReplicationController", "name": "web-1", "controller": true});
    let labels = json!({"deploymentconfig": "web"});
    assert_eq!(owned(controller.clone(), labels), workload("v1", "DeploymentConfig", "web"));
    assert_eq!(owned(controller, json!({})), workload("v1", "ReplicationController", "web-1"));
}

#[test]
fn a_job_leads_to_its_cron_job() {
    let job = |name: &str| {
        let owner = json!({"apiVersion": "batch/v1", "kind": "Job", "name": name, "controller": true});
        owned(owner, json!({}))
    };
    for (name, cron_job) in [("sync-12345678", "sync"), ("sync-1234567890", "sync"), ("a-b-123456789", "a-b")]
    {
        assert_eq!(job(name), workload("batch/v1", "CronJob", cron_job));
    }
    for name in ["sync-1234567", "sync-12345678901", "sync-1234567x", "-12345678", "sync", ""] {
        let kept = job(name);
        assert_eq!((kept.kind.as_str(), kept.name.as_str()), ("Job", name));
    }
}

// O-08
#[test]
fn other_owners_are_taken_as_they_are() {
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "controller": true});
    assert_eq!(owned(set, json!({"pod-template-hash": "db"})), workload("apps/v1", "StatefulSet", "db"));
}

// O-08
#[test]
fn a_pod_without_a_controller_belongs_to_itself() {
    let itself = workload("v1", "Pod", "solo");
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6d5", "controller": true});
    let metadata = |generate: &str, owners: Value| {
        owner_of(json!({"metadata": {
            "name": "solo", "namespace": "shop", "generateName": generate, "ownerReferences": owners,
        }}))
    };
    assert_eq!(metadata("", json!([owner])), itself, "its name was not generated");
    assert_eq!(metadata("web-", json!([{"kind": "Job", "name": "x"}])), itself, "no owner controls it");
    assert_eq!(metadata("web-", json!([{"kind": "Job", "name": "x", "controller": false}])), itself);
    assert_eq!(metadata("web-", Value::Null), itself);
}

#[test]
fn the_first_controller_counts() {
    let pod = json!({"metadata": {"generateName": "x-", "namespace": "shop", "ownerReferences": [
        {"kind": "Job", "name": "no"},
        {"apiVersion": "a/v1", "kind": "A", "name": "first", "controller": true},
        {"apiVersion": "b/v1", "kind": "B", "name": "second", "controller": true},
    ]}});
    assert_eq!(owner(&pod), workload("a/v1", "A", "first"));
}

// O-08
#[test]
fn a_controller_without_a_name_leaves_the_pods() {
    let pod = json!({"metadata": {
        "name": "solo", "generateName": "x-", "namespace": "shop",
        "ownerReferences": [{"apiVersion": "a/v1", "kind": "A", "controller": true}],
    }});
    assert_eq!(owner(&pod), workload("a/v1", "A", "solo"));
}

fn garbage() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        "[a-]{0,3}".prop_map(Value::from)
    ];
    leaf.prop_recursive(5, 32, 4, |inner| {
        let keys = "metadata|spec|containers|initContainers|labels|annotations|ownerReferences|generateName|name|controller|kind";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys, inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_on_garbage(mut pod in garbage()) {
        let _ = (containers(&pod).len(), init_containers(&pod).len(), find_sidecar(&pod), potential_name(&pod));
        let _ = (labels(&pod).count(), annotations(&pod).count(), annotation(&pod, "a"), owner(&pod), namespace(&pod));
        let untouched = pod.clone();
        find_sidecar_mut(&mut pod);
        prop_assert_eq!(&pod, &untouched);
        labels_mut(&mut pod);
        annotations_mut(&mut pod);
        containers_mut(&mut pod);
        init_containers_mut(&mut pod).push(Value::Null);
        prop_assert_eq!(init_containers(&pod).last(), Some(&Value::Null));
    }
}
