use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use serde_json::json;

use super::*;
use crate::server::kube::scripted::{Asked, Requests, Turn, api_server};

fn note(reason: &'static str, text: &str, name: &str) -> Note {
    let about = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("ConfigMap".to_owned()),
        namespace: Some("mesh".to_owned()),
        name: Some(name.to_owned()),
        uid: Some("u".to_owned()),
        ..ObjectReference::default()
    };
    Note { about, kind: EventType::Warning, reason, text: text.to_owned(), at_once: false }
}

/// A sender, and an API server that answers a patch with a status.
fn sender(patched: u16) -> (EventSender, Requests, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(patched));
    let patches = status.clone();
    let (client, requests) = api_server(move |asked: &Asked| match patches.load(Ordering::Relaxed) {
        refused if refused >= 400 && asked.method == hyper::Method::PATCH => Turn::refused(refused),
        _ => Turn::object(json!({"metadata": {"name": "x"}, "eventTime": null})),
    });
    let (sender, task) = EventSender::new(client, "replica-1");
    tokio::spawn(task);
    (sender, requests, status)
}

/// Method, reason, text and series count of each Event that was written.
fn written(requests: &Requests) -> Vec<(String, String, String, i64)> {
    let told = |asked: Asked| {
        let text = |key: &str| asked.body[key].as_str().unwrap_or_default().to_owned();
        let count = asked.body["series"]["count"].as_i64().unwrap_or_default();
        (asked.method.to_string(), text("reason"), text("note"), count)
    };
    requests.all().into_iter().map(told).collect()
}

fn row(method: &str, reason: &str, text: &str, count: i64) -> (String, String, String, i64) {
    (method.to_owned(), reason.to_owned(), text.to_owned(), count)
}

#[tokio::test(start_paused = true)]
async fn a_flapping_configuration_does_not_flood() {
    let (sender, requests, _) = sender(200);
    for flap in 0..100 {
        sender.send(note("ConfigRejected", &format!("{flap}"), "istio"));
        sender.send(note("ConfigAccepted", "fine", "istio"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(INTERVAL).await;
    let mut written = written(&requests);
    written.sort();
    let wanted = [
        row("PATCH", "ConfigAccepted", "fine", 2),
        row("POST", "ConfigAccepted", "fine", 0),
        row("POST", "ConfigRejected", "0", 0),
        row("POST", "ConfigRejected", "99", 0),
    ];
    assert_eq!(written, wanted, "the first and the last");
}

#[tokio::test(start_paused = true)]
async fn what_is_said_again_is_a_series_and_another_object_has_its_own_event() {
    let (sender, requests, _) = sender(200);
    for name in ["a", "b", "a"] {
        sender.send(note("ConfigRejected", "bad", name));
        tokio::time::sleep(INTERVAL).await;
    }
    let wanted = [
        row("POST", "ConfigRejected", "bad", 0),
        row("POST", "ConfigRejected", "bad", 0),
        row("PATCH", "ConfigRejected", "bad", 2),
    ];
    assert_eq!(written(&requests), wanted);
    let target = &requests.targets()[0];
    assert!(target.starts_with("/apis/events.k8s.io/v1/namespaces/mesh/events"), "{target}");
    let event = &requests.all()[0].body;
    assert_eq!(event["regarding"]["uid"], "u");
    assert_eq!(
        (&event["reportingController"], &event["reportingInstance"], &event["type"]),
        (&json!("outrigger"), &json!("replica-1"), &json!("Warning"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_series_whose_event_was_deleted_begins_anew() {
    let (sender, requests, _) = sender(404);
    for _ in 0..2 {
        sender.send(note("ConfigRejected", "bad", "istio"));
        tokio::time::sleep(INTERVAL * 2).await;
    }
    let methods: Vec<String> = written(&requests).into_iter().map(|(method, ..)| method).collect();
    assert_eq!(methods, ["POST", "PATCH", "POST"]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_keeps_nothing_from_being_written_later() {
    let (sender, requests, status) = sender(403);
    for expected in [1, 2, 3] {
        sender.send(note("ConfigRejected", "bad", "istio"));
        tokio::time::sleep(INTERVAL * 2).await;
        assert_eq!(requests.all().len(), expected);
        if expected == 2 {
            status.store(200, Ordering::Relaxed);
        }
    }
}

#[test]
fn texts_are_cut_between_characters() {
    let text = "ä".repeat(2000);
    assert_eq!(cut(&text).len(), LONGEST_TEXT);
    assert_eq!(cut(&format!("x{text}")).len(), LONGEST_TEXT - 1);
    assert_eq!(cut("short"), "short");
}

#[tokio::test(start_paused = true)]
async fn what_is_to_be_written_at_once_does_not_wait_for_the_interval() {
    let (sender, requests, _) = sender(200);
    for text in ["one", "two", "three"] {
        sender.send(Note { at_once: true, ..note("CertificateIssued", text, "certificate") });
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let row = |text| row("POST", "CertificateIssued", text, 0);
    assert_eq!(written(&requests), [row("one"), row("two"), row("three")]);
}
