//! The audit against an API server with scripted responses. Time is paused.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use prometheus_client::registry::Registry;

use super::*;
use crate::server::kube::scripted::{Requests, Turn, api_server, until};
use crate::server::observe::metrics::{self, Exposition};
use crate::server::shutdown::Control;
use crate::webhook_config::{Settings, rules};

struct Rig {
    registry: Registry,
    requests: Requests,
    phase: Control,
    /// Whether the API server refuses lists.
    refuses: Arc<AtomicBool>,
}

/// An audit every minute; each namespace is a page of its own.
fn rig(namespaces: Vec<Value>, leading: Option<watch::Receiver<bool>>) -> Rig {
    let refuses = Arc::new(AtomicBool::new(false));
    let refused = refuses.clone();
    let (client, requests) = api_server(move |asked| {
        let (path, query) = asked.target.split_once('?').unwrap_or((asked.target.as_str(), ""));
        match path.rsplit('/').next() {
            Some("events") => Turn::Answer(201, &[], asked.body.clone()),
            _ if refused.load(Ordering::SeqCst) => Turn::refused(403),
            Some("namespaces") => {
                let at = query.rsplit_once("continue=").map_or(0, |(_, token)| token.parse().unwrap());
                let next = (at + 1 < namespaces.len()).then(|| (at + 1).to_string());
                let items: Vec<_> = namespaces.get(at).into_iter().collect();
                Turn::object(json!({
                    "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                    "metadata": {"continue": next}, "items": items,
                }))
            }
            _ => Turn::object(json!({
                "kind": "MutatingWebhookConfigurationList", "apiVersion": "admissionregistration.k8s.io/v1",
                "metadata": {}, "items": registered(),
            })),
        }
    });
    let mut registry = Registry::default();
    let metrics = NamespaceAuditMetrics::register(&mut registry);
    let supervisor = Supervisor::register(&mut registry);
    let phase = Control::new();
    let options = Options { interval: Duration::from_secs(60), identity: "replica".to_owned() };
    start(client, options, metrics, leading, supervisor, phase.watch());
    Rig { registry, requests, phase, refuses }
}

/// The webhook of the default revision, with rules.
fn registered() -> Vec<Value> {
    let mut configurations = Settings::default().objects();
    for entry in configurations.iter_mut().flat_map(|one| one["webhooks"].as_array_mut().unwrap()) {
        entry["rules"] = rules();
    }
    configurations
}

fn namespace(name: &str, labels: Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"name": name, "uid": format!("uid-of-{name}"), "labels": labels},
    })
}

impl Rig {
    fn samples(&self) -> BTreeMap<String, String> {
        let text = metrics::encode(&self.registry, Exposition::Classic).unwrap();
        let samples = text.lines().filter_map(|line| {
            let (check, number) =
                line.strip_prefix("namespace_label_mistakes{check=\"")?.split_once("\"} ")?;
            Some((check.to_owned(), number.to_owned()))
        });
        samples.collect()
    }

    /// The Events: object, reason and text.
    fn events(&self) -> Vec<(String, String, String)> {
        let asked = self.requests.all();
        let events = asked.iter().filter(|asked| asked.target.contains("/events"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let shown = events.map(|asked| {
            assert!(asked.target.contains("/namespaces/default/"), "{}", asked.target);
            let regarding = &asked.body["regarding"];
            assert_eq!(regarding["kind"], "Namespace");
            (text(&regarding["name"]), text(&asked.body["reason"]), text(&asked.body["note"]))
        });
        shown.collect()
    }
}

#[tokio::test(start_paused = true)]
async fn each_mistake_is_an_event_and_counted() {
    let rig = rig(
        vec![
            namespace("plain", json!(null)),
            namespace("shop", json!({"istio-injection": "enabled"})),
            namespace("typo", json!({"istio-injection": "enable"})),
            namespace("key", json!({"istio-injecton": "enabled"})),
            namespace("both", json!({"istio-injection": "enabled", "istio.io/rev": "default"})),
            namespace("nobody", json!({"istio.io/rev": "green"})),
        ],
        None,
    );
    assert_eq!(rig.samples(), BTreeMap::new(), "nothing is known before the first audit");
    until("four Events", || rig.events().len() == 4).await;
    let mut events = rig.events();
    events.sort();
    let told: Vec<(&str, &str)> =
        events.iter().map(|(name, reason, _)| (name.as_str(), reason.as_str())).collect();
    assert_eq!(
        told,
        [
            ("both", "BothInjectionLabels"),
            ("key", "InjectionLabelMisspelled"),
            ("nobody", "RevisionNotServed"),
            ("typo", "InjectionLabelValue"),
        ]
    );
    assert!(events[3].2.contains("istio-injection=enable"), "{}", events[3].2);
    assert!(events[3].2.contains("kubectl label namespace typo"), "{}", events[3].2);
    let one_each = LABEL_MISTAKES.map(|check| (check.to_owned(), "1".to_owned()));
    assert_eq!(rig.samples(), BTreeMap::from(one_each));

    // A mistake that stays is reported again only after an hour.
    tokio::time::sleep(Duration::from_secs(3000)).await;
    assert_eq!(rig.events().len(), 4);
    tokio::time::sleep(Duration::from_secs(800)).await;
    assert_eq!(rig.events().len(), 8);

    rig.phase.advance(Phase::Draining);
    until("another replica reports", || rig.samples().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_mistakes_is_told_in_parts() {
    let many = (0..250).map(|number| namespace(&format!("n{number}"), json!({"istio-injection": "on"})));
    let rig = rig(many.collect(), None);
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert_eq!(rig.events().len(), MOST_EVENTS);
    assert_eq!(rig.samples()["label-value"], "250", "all are counted");
    tokio::time::sleep(Duration::from_secs(130)).await;
    assert_eq!(rig.events().len(), 250);
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_list_nothing_is_reported() {
    let rig = rig(vec![namespace("typo", json!({"istio-injection": "enable"}))], None);
    until("counted", || rig.samples().len() == LABEL_MISTAKES.len()).await;
    rig.refuses.store(true, Ordering::SeqCst);
    until("forgotten", || rig.samples().is_empty()).await;
    rig.refuses.store(false, Ordering::SeqCst);
    until("counted again", || rig.samples().len() == LABEL_MISTAKES.len()).await;
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_audits() {
    let (leads, leading) = watch::channel(false);
    let rig = rig(vec![namespace("typo", json!({"istio-injection": "enable"}))], Some(leading));
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(rig.requests.all().len(), 0);
    leads.send_replace(true);
    until("an Event", || rig.events().len() == 1).await;
    leads.send_replace(false);
    until("the next leader reports", || rig.samples().is_empty()).await;
}

#[test]
fn every_mistake_has_a_reason_of_its_own() {
    let reasons: std::collections::BTreeSet<&str> = LABEL_MISTAKES.into_iter().map(reason).collect();
    assert_eq!(reasons.len(), LABEL_MISTAKES.len());
}
