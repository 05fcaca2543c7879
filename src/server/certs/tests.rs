//! The controller against a fake API server that stores what is written to it. Time is paused.

use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use super::*;
use crate::server::kube::scripted::{Requests, Store, until};
use crate::server::readiness::Gate;
use crate::server::shutdown::Control;
use crate::server::tls::metrics::TlsMetrics;

const SECRET: &str = "/api/v1/namespaces/ours/secrets/certificate";
const WEBHOOKS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/injector";

struct Rig {
    store: Store,
    requests: Requests,
    certificate: Arc<CertificateStore>,
    readiness: Readiness,
    supervisor: Supervisor,
    gate: Gate,
    _phase: Control,
}

/// A running replica, and a webhook configuration whose entries have these caBundles.
fn rig(bundles: &[(&str, &str)]) -> Rig {
    let store = Store::default();
    let webhook = |(name, bundle): &(&str, &str)| {
        json!({"name": name, "clientConfig": {"caBundle": bundle, "service": {"name": "a", "namespace": "ours"}},
            "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]})
    };
    let webhooks: Vec<Value> = bundles.iter().map(webhook).collect();
    store.put(WEBHOOKS, json!({"metadata": {"name": "injector"}, "webhooks": webhooks}));
    let (client, requests) = store.serve();
    let mut registry = Registry::default();
    let supervisor = Supervisor::register(&mut registry);
    let metrics = CertificateMetrics::register(&mut registry);
    let readiness = Readiness::default();
    let gate = readiness.gate("certificate", "there is none");
    let certificate =
        Arc::new(CertificateStore::new(gate.clone(), TlsMetrics::register(&mut registry)).unwrap());
    let phase = Control::new();
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let options = Options {
        namespace: "ours".to_owned(),
        secret: "certificate".to_owned(),
        lease: "leader".to_owned(),
        identity: "us".to_owned(),
        names: vec!["a.ours.svc".to_owned()],
        webhook_configurations: vec!["injector".to_owned()],
        tag_configurations: Vec::new(),
        advice_configuration: None,
        revision: "default".to_owned(),
        webhook_suffixes: vec!["sidecar-injector.istio.io".to_owned()],
        ca_lifetime: hours(8760),
        leaf_lifetime: hours(720),
        ca_overlap: Duration::from_secs(600),
        activation_delay: Duration::from_secs(5),
    };
    let targets = Targets {
        certificate: certificate.clone(),
        readiness: readiness.clone(),
        metrics,
        supervisor: supervisor.clone(),
        phase: phase.watch(),
    };
    start(client, options, targets);
    Rig { store, requests, certificate, readiness, supervisor, gate, _phase: phase }
}

impl Rig {
    fn secret(&self, key: &str) -> String {
        let secret = self.store.get(SECRET).unwrap_or_default();
        secret["data"][key].as_str().unwrap_or_default().to_owned()
    }

    /// The caBundle of an entry.
    fn bundle(&self, name: &str) -> String {
        let webhooks = self.store.get(WEBHOOKS).unwrap();
        let entry = webhooks["webhooks"].as_array().unwrap().iter().find(|entry| entry["name"] == name);
        entry.unwrap()["clientConfig"]["caBundle"].as_str().unwrap_or_default().to_owned()
    }
}

const OURS: &str = "object.sidecar-injector.istio.io";
const THEIRS: &str = "somebody.example.com";

#[tokio::test(start_paused = true)]
async fn a_secret_is_made_served_and_trusted() {
    let rig = rig(&[(OURS, ""), (THEIRS, "")]);
    until("a certificate is served", || rig.certificate.validity().is_some()).await;
    until("the caBundle is set", || rig.bundle(OURS) == rig.secret("ca.crt") && !rig.bundle(OURS).is_empty())
        .await;
    assert_eq!(rig.bundle(THEIRS), "", "an entry that is not ours");
    until("replicas are trusted", || rig.readiness.states().iter().all(|(_, state)| state.open)).await;
    let events = |reason: &str| rig.requests.all().iter().any(|asked| asked.body["reason"] == reason);
    until("it is told", || events("CertificateIssued")).await;
    assert_eq!(rig.supervisor.panics().get(), 0);
}

// T-16
#[tokio::test(start_paused = true)]
async fn a_secret_that_is_deleted_is_made_again_with_the_same_ca() {
    let rig = rig(&[(OURS, "")]);
    until("the caBundle is set", || !rig.bundle(OURS).is_empty()).await;
    let (ca, leaf) = (rig.secret("ca.crt"), rig.secret("tls.crt"));
    rig.store.remove(SECRET);
    until("it is made again", || rig.store.get(SECRET).is_some()).await;
    assert_eq!((rig.secret("ca.crt"), rig.secret("tls.crt")), (ca, leaf));
}

// T-07
#[tokio::test(start_paused = true)]
async fn a_ca_bundle_that_is_emptied_is_set_again() {
    let rig = rig(&[(OURS, "")]);
    until("the caBundle is set", || !rig.bundle(OURS).is_empty()).await;
    let mut emptied = rig.store.get(WEBHOOKS).unwrap();
    emptied["webhooks"][0]["clientConfig"]["caBundle"] = json!("");
    rig.store.put(WEBHOOKS, emptied);
    until("it is set again", || rig.bundle(OURS) == rig.secret("ca.crt")).await;
}

// K-03
#[tokio::test(start_paused = true)]
async fn an_api_server_that_freezes_takes_no_certificate_away() {
    let rig = rig(&[(OURS, "")]);
    until("a certificate is served", || rig.certificate.validity().is_some()).await;
    let before = rig.certificate.validity();
    rig.store.freeze(true);
    until("it is told", || rig.gate.state().problem.is_some_and(|told| told.contains("did not respond")))
        .await;
    assert_eq!(rig.certificate.validity(), before);
    assert!(rig.gate.state().open);
    rig.store.freeze(false);
    until("all is well", || rig.gate.state().problem.is_none()).await;
}
