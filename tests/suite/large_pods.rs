//! Pods that are too large: denied by a review that says so, or left alone if they need no injection.

use std::{collections::BTreeMap, sync::Arc};

use outrigger::{
    annotation,
    inject::{
        self, Facts, Outcome, PodRequest,
        limits::{self, CONTAINERS, ELEMENTS, TREE},
        reinject::PreviousInjection,
    },
    names,
    quirks::Quirks,
    server::{configuration::bundle::Bundle, options::Origin},
};
use serde_json::{Map, Value, json};

use super::{golden, support::*};

/// A server with the real engine and the embedded configuration.
async fn real() -> Harness {
    start_with(injecting(), |options| options.configuration = Origin::Source(Arc::new(Bundle::default())))
        .await
}

fn with_variables(count: usize) -> Value {
    let env: Vec<Value> = (0..count).map(|n| json!({"name": format!("E{n}"), "value": "v"})).collect();
    json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "i", "env": env}]}})
}

fn with_containers(count: usize) -> Value {
    let containers: Vec<Value> = (0..count).map(|n| json!({"name": format!("c{n}"), "image": "i"})).collect();
    json!({"metadata": {"name": "p"}, "spec": {"containers": containers}})
}

/// The response to a pod that got a review.
async fn response(harness: &Harness, pod: Value) -> Value {
    let mut sender = harness.http1().await;
    // Pods of this size take seconds on a busy machine: the limit only detects hangs.
    let answer = sender.send_request(post("/inject", review("v1", pod)));
    let answer =
        Answer::read(tokio::time::timeout(6 * PATIENCE, answer).await.expect("an answer").unwrap()).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let response = answer.json()["response"].take();
    assert_eq!(response["uid"], "uid-1");
    response
}

fn refusal(response: &Value) -> &str {
    assert_eq!(response["allowed"], false, "{response}");
    assert_eq!(response["status"]["code"], 413, "{response}");
    assert_eq!(response["status"]["reason"], "RequestEntityTooLarge", "{response}");
    response["status"]["message"].as_str().unwrap()
}

// I-08: a pod over a limit is denied by a review that names the place, the amount found and the limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_over_a_limit_is_refused_by_a_review_that_says_so() {
    let harness = real().await;
    let refused = response(&harness, with_variables(90_000)).await;
    assert_eq!(
        refusal(&refused),
        "the pod is too large to be injected: spec.containers[0].env has 90000 elements; the limit is 20000; with the \
         label sidecar.istio.io/inject: \"false\" it is created without a proxy"
    );
    let refused = response(&harness, with_containers(3_000)).await;
    assert!(refusal(&refused).contains("the pod has 3000 containers; the limit is 400"), "{refused}");
    let mut heavy = with_containers(3);
    for container in heavy["spec"]["containers"].as_array_mut().unwrap() {
        container["env"] = with_variables(15_000)["spec"]["containers"][0]["env"].take();
    }
    let refused = response(&harness, heavy).await;
    let message = refusal(&refused);
    assert!(
        message.contains("values of the pod (15000 elements in spec.containers[0].env alone) take"),
        "{message}"
    );
    assert!(message.contains(" of memory to read; the limit is 32 MiB; "), "{message}");
    harness.metric("outrigger_requests_total{outcome=\"denied\",reason=\"POD_TOO_LARGE\"}", 3.0).await;
}

// I-08: a pod within the limits is injected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_at_a_limit_is_injected() {
    let harness = real().await;
    let mut annotated = with_containers(1);
    annotated["metadata"]["annotations"] = json!({"a": "x".repeat(3 << 20)});
    let mut managed = with_containers(1);
    managed["metadata"]["managedFields"] = (0..30_000).map(|n| json!({"f": {n.to_string(): {}}})).collect();
    for (what, pod) in [
        ("variables", with_variables(ELEMENTS)),
        ("containers", with_containers(CONTAINERS)),
        ("an annotation of 3 MiB", annotated),
        ("managed fields, which nobody reads", managed),
    ] {
        let response = response(&harness, pod).await;
        assert_eq!(response["allowed"], true, "{what}: {response}");
        assert!(response["patch"].is_string(), "{what}: {response}");
    }
}

// I-06: so is a pod that is nested too deeply to be parsed, as long as the UID of the request can be determined.
#[tokio::test]
async fn a_pod_nested_too_deep_is_refused_by_a_review() {
    let harness = real().await;
    let body = String::from_utf8(review("v1", json!({"spec": "HERE"}))).unwrap();
    let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
    let answer = harness.post("/inject", body.replace("\"HERE\"", &deep)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(refusal(&answer.json()["response"]), "the JSON is nested deeper than 256 levels");
    let unknown = body.replace("\"HERE\"", &deep).replace("\"uid\"", "\"id\"");
    assert_eq!(harness.post("/inject", unknown).await.status, 400);
}

// The limits do not apply to a pod that needs no injection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_not_injected_is_left_alone_however_large_it_is() {
    let harness = real().await;
    let mut opted_out = with_variables(ELEMENTS + 1);
    opted_out["metadata"]["labels"] = json!({"sidecar.istio.io/inject": "false"});
    let mut on_host = with_variables(ELEMENTS + 1);
    on_host["spec"]["hostNetwork"] = json!(true);
    let mut ignored = with_variables(ELEMENTS + 1);
    ignored["metadata"]["namespace"] = json!("kube-system");
    let mut windows = with_containers(CONTAINERS + 1);
    windows["spec"]["containers"][7]["securityContext"] = json!({"windowsOptions": {"hostProcess": false}});
    for (reason, pod) in [
        ("POD_OPTED_OUT", opted_out),
        ("HOST_NETWORK", on_host),
        ("IGNORED_NAMESPACE", ignored),
        ("WINDOWS_POD", windows),
    ] {
        let response = response(&harness, pod).await;
        assert_eq!(response["allowed"], true, "{reason}: {response}");
        assert_eq!(response["auditAnnotations"]["reason"], reason, "{response}");
        assert!(response["patch"].is_null(), "{reason}");
    }
}

// I-16: a patch that no API server would store is written only up to its limit. The user's own proxy occurs twice in a
// patch: directly, and in the record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patch_over_its_limit_is_refused_by_a_review() {
    let harness = real().await;
    let mut pod = with_containers(1);
    let own = json!({"name": "istio-proxy", "image": "auto", "env": [{"name": "A", "value": "\"".repeat(600 << 10)}]});
    pod["spec"]["containers"].as_array_mut().unwrap().push(own);
    let refused = response(&harness, pod).await;
    assert_eq!(refused["allowed"], false, "{refused}");
    assert_eq!(refused["status"]["code"], 422);
    let wanted = "the patch would exceed the limit of 2097152 bytes";
    assert_eq!(refused["status"]["message"], wanted);
}

/// The decision for the outline of a pod equals that for the whole pod.
#[test]
fn the_outline_of_every_golden_pod_is_decided_as_the_pod() {
    let mut skipped = 0;
    for case in golden::cases().values() {
        let mesh = case.mesh_with(&Map::new());
        if mesh.guard().reads_more_than_an_outline() {
            continue;
        }
        let text = case.pod().to_string();
        let outline: Value = serde_json::from_str(&limits::outline(&text).unwrap()).unwrap();
        let request = |pod: Value| PodRequest::new("shop", pod);
        let facts = Facts::of(&mesh, "shop");
        let whole = match inject::run(&mesh, &request(case.pod().clone()), &facts) {
            Ok(Outcome::Skipped(skip)) => Some(skip.decision),
            _ => None,
        };
        let decided = inject::leaves_alone(&mesh, &request(outline), &facts).map(|skip| skip.decision);
        assert_eq!(decided, whole, "{}", case.name);
        skipped += usize::from(whole.is_some());
    }
    assert!(skipped >= 10, "{skipped} cases are skipped");
}

// I-08, I-10: lists that only a forger writes are not processed in quadratic time, which would be many minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_lists_in_annotations_are_gone_through_once() {
    const MANY: usize = 100_000;
    let annotated = |annotations: &[(&str, Value)]| {
        let annotations: Map<String, Value> =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), value.to_string().into())).collect();
        json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "a"}]}})
    };
    let each = |element: fn(usize) -> Value| (0..MANY).map(element).collect::<Value>();
    let volumes = each(|n| json!({"name": format!("v{n}"), "emptyDir": {}}));
    let mounts = each(|n| json!({"name": "v", "mountPath": format!("/{n}")}));
    let names = each(|n| json!(format!("c{n}")));
    let containers = each(|n| json!({"name": format!("c{n}")}));
    let asked =
        annotated(&[(names::ANNOTATION_USER_VOLUME, volumes), (names::ANNOTATION_USER_VOLUME_MOUNT, mounts)]);
    let record = annotated(&[
        (names::ANNOTATION_STATUS, json!({"containers": names})),
        (names::ANNOTATION_OVERRIDES, json!({"containers": containers})),
    ]);
    let judging = tokio::task::spawn_blocking(move || {
        let annotations = asked["metadata"]["annotations"].as_object().unwrap();
        assert!(annotation::check(annotations, &Map::new(), Quirks::NONE, &|_| Ok(())).is_ok());
        let earlier = PreviousInjection::of(&record, Quirks::NONE, &mut Vec::new()).unwrap();
        earlier.strip(&record, 0, Quirks::NONE).into_owned()
    });
    let done = tokio::time::timeout(6 * PATIENCE, judging).await;
    assert!(done.expect("no more than a pass over each").is_ok());
}

/// A pod as large as etcd accepts, consisting of small parts: a hundred containers with a hundred variables, mounts and
/// ports each.
#[test]
fn a_pod_as_large_as_etcd_takes_is_within_the_limits() {
    let each = |list: &str, n: usize| match list {
        "env" => {
            json!({"name": format!("SOME_VARIABLE_{n}"), "value": "http://some.service.of.a.namespace:8080/path"})
        }
        "volumeMounts" => json!({"name": format!("volume-{n}"), "mountPath": format!("/var/lib/data/{n}")}),
        _ => json!({"name": format!("port-{n}"), "containerPort": 1000 + n, "protocol": "TCP"}),
    };
    let containers: Vec<Value> = (0..100)
        .map(|n| {
            let mut container = BTreeMap::from([("name".to_owned(), json!(format!("container-{n}")))]);
            for list in ["env", "volumeMounts", "ports"] {
                container.insert(list.to_owned(), (0..100).map(|n| each(list, n)).collect());
            }
            json!(container)
        })
        .collect();
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": containers}}).to_string();
    assert!(pod.len() > 1_500_000, "more than etcd takes: {}", pod.len());
    assert!(limits::check(&pod, TREE).is_ok());
}
