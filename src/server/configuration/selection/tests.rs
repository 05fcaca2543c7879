use serde_json::{Value, json};

use super::*;
use crate::server::kube::scripted::{Requests, Turn, api_server};

/// A check whose watch has seen these labels of the namespace `shop`, and an API server that responds to reads like
/// this.
fn check(watched: Option<Injection>, read: impl Fn() -> Turn + Send + 'static) -> (SelectionCheck, Requests) {
    let (client, requests) = api_server(move |_| read());
    let facts = Arc::new(LiveFacts::default());
    if let Some(injection) = watched {
        facts.put_namespace("shop", Vec::new(), Default::default(), injection);
        facts.retain_namespaces(|_| true);
    }
    (SelectionCheck::new(client, facts), requests)
}

/// A response to a read: the namespace with these labels.
fn labelled(labels: Value) -> Turn {
    let shop = json!({"metadata": {"name": "shop", "resourceVersion": "9", "labels": labels}});
    Turn::object(json!({"metadata": {"resourceVersion": "9"}, "items": [shop]}))
}

async fn asked(check: &SelectionCheck, labels: Value) -> Option<String> {
    let pod = json!({"metadata": {"name": "web", "labels": labels}, "spec": {"containers": []}}).to_string();
    let by = Instant::now() + Duration::from_secs(10);
    if !check.doubts("shop") {
        return None;
    }
    check.not_selected("shop", &pod, by).await.map(|found| found.sentence)
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_a_namespace_that_says_no_is_left_alone_once_a_read_confirms_it() {
    let (disabled, requests) = check(Some(Injection::Disabled), || {
        labelled(json!({"istio-injection": "disabled", "istio.io/rev": "a"}))
    });
    let found = asked(&disabled, json!({"sidecar.istio.io/inject": "true"})).await.unwrap();
    assert!(found.contains("namespace shop has a label istio-injection that is not \"enabled\""), "{found}");
    let target = &requests.targets()[0];
    assert!(target.starts_with("/api/v1/namespaces?") && target.contains("metadata.name%3Dshop"), "{target}");
    let (unlabeled, requests) = check(Some(Injection::Unlabeled), || labelled(json!({"team": "a"})));
    let found = asked(&unlabeled, json!({"app": "web"})).await.unwrap();
    assert!(found.contains("neither label istio-injection nor istio.io/rev"), "{found}");
    assert_eq!(requests.all().len(), 1);
}

// O-06
#[tokio::test(start_paused = true)]
async fn an_old_label_leaves_no_pod_without_its_proxy() {
    for now in [json!({"istio-injection": "enabled"}), json!({"istio.io/rev": "somebody-elses-tag"})] {
        for watched in [Injection::Disabled, Injection::Unlabeled] {
            let now = now.clone();
            let (check, requests) = check(Some(watched), move || labelled(now.clone()));
            assert_eq!(asked(&check, json!({})).await, None);
            assert_eq!(requests.all().len(), 1, "it was read");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_trusted() {
    let nothing = || Turn::object(json!({"metadata": {"resourceVersion": "9"}, "items": []}));
    let reads: [fn() -> Turn; 4] = [|| Turn::refused(403), || Turn::refused(500), || Turn::Frozen, nothing];
    for read in reads {
        let (check, requests) = check(Some(Injection::Disabled), read);
        let before = Instant::now();
        assert_eq!(asked(&check, json!({})).await, None);
        assert!(before.elapsed() <= READ && requests.all().len() == 1, "{:?}", before.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn what_asks_for_injection_costs_no_read() {
    let read = || labelled(json!({"istio-injection": "disabled"}));
    for (watched, labels) in [
        (None, json!({})),
        (Some(Injection::Selected), json!({})),
        (Some(Injection::Selected), json!({"istio.io/rev": "another"})),
        (Some(Injection::Unlabeled), json!({"sidecar.istio.io/inject": "true"})),
        (Some(Injection::Unlabeled), json!({"istio.io/rev": "canary"})),
    ] {
        let (check, requests) = check(watched, read);
        assert_eq!(asked(&check, labels.clone()).await, None, "{watched:?} {labels}");
        assert!(requests.all().is_empty(), "{watched:?} {labels}");
    }
    let (check, requests) = check(Some(Injection::Unlabeled), read);
    check.facts.enable_by_default(true);
    assert_eq!(asked(&check, json!({})).await, None);
    assert!(requests.all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_new_is_read() {
    let (check, requests) =
        check(Some(Injection::Selected), || labelled(json!({"istio-injection": "enabled"})));
    assert!(check.doubts("new"));
    let by = Instant::now() + Duration::from_secs(10);
    assert_eq!(check.not_selected("new", "{}", by).await, None);
    assert_eq!(requests.all().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn reads_are_few_at_once_and_the_rest_is_trusted() {
    let (check, requests) = check(Some(Injection::Disabled), || Turn::Frozen);
    let by = Instant::now() + Duration::from_secs(10);
    let pods = (0..READS * 3).map(|_| check.not_selected("shop", "{}", by));
    assert!(futures::future::join_all(pods).await.iter().all(Option::is_none));
    assert_eq!(requests.all().len(), READS);
}
