//! From ConfigMaps, in a fake API server that stores what is written to it, to the active configuration. Time is
//! paused.

use std::time::Duration;

use prometheus_client::registry::Registry;
use serde_json::json;

use super::*;
use crate::config::headed::headed;
use crate::server::configuration::{metrics::ConfigurationMetrics, slot::Slot};
use crate::server::kube::scripted::{Requests, Store, until};
use crate::server::readiness::Gate;
use crate::server::shutdown::Control;

const BUNDLE: &str = "/api/v1/namespaces/ours/configmaps/outrigger";

struct Rig {
    store: Store,
    requests: Requests,
    targets: Targets,
    gate: Gate,
    _phase: Control,
}

fn rig(store: Store) -> Rig {
    let (client, requests) = store.serve();
    let mut registry = Registry::default();
    let readiness = Readiness::default();
    let gate = readiness.gate("config", "there is none");
    let metrics = ConfigurationMetrics::register(&mut registry, Slot::default());
    let configuration = Arc::new(Configuration::new("cluster", Slot::default(), gate.clone(), metrics));
    let phase = Control::new();
    let targets = Targets {
        configuration,
        facts: Arc::default(),
        readiness,
        watches: Watches::register(&mut registry),
        supervisor: Supervisor::register(&mut registry),
        phase: phase.watch(),
    };
    let options = Options {
        config_maps: ConfigMaps::Bundle {
            namespace: "ours".to_owned(),
            name: "outrigger".to_owned(),
            revision: "default".to_owned(),
        },
        proxy_configs: false,
        nodes: false,
        selection: Selection::Trust,
        workload_events: false,
        identity: "us".to_owned(),
        timings: Timings::default(),
    };
    start(client, options, targets.clone());
    Rig { store, requests, targets, gate, _phase: phase }
}

impl Rig {
    fn write(&self, bundle: &str) {
        self.store.put(BUNDLE, config_map(bundle));
    }

    /// The hash of the active configuration.
    fn hash(&self) -> String {
        self.targets.configuration.current().map(|active| active.engine.hash().to_owned()).unwrap_or_default()
    }

    fn told(&self, reason: &str) -> usize {
        self.requests.all().iter().filter(|asked| asked.body["reason"] == reason).count()
    }
}

fn config_map(bundle: &str) -> serde_json::Value {
    json!({"metadata": {"name": "outrigger", "namespace": "ours", "uid": "u"}, "data": {"bundle": headed(bundle)}})
}

// C-01, C-03
#[tokio::test(start_paused = true)]
async fn a_configuration_is_published_and_the_last_good_one_stays() {
    let rig = rig(Store::default());
    let missing = "ConfigMap ours/outrigger does not exist";
    until("it is missed", || rig.gate.state().problem.is_some_and(|told| told.contains(missing))).await;
    rig.write("");
    until("it is published", || !rig.hash().is_empty()).await;
    let first = rig.hash();
    assert_eq!(rig.gate.state().problem, None);

    rig.write("injector: {policy: perhaps}");
    until("it is refused", || rig.gate.state().problem.is_some_and(|told| told.contains("policy"))).await;
    assert_eq!(rig.hash(), first);
    until("it is told", || rig.told("ConfigRejected") == 1).await;

    rig.write("compliancePolicy: fips-140-3");
    until("another is published", || rig.hash() != first).await;
    until("it is told", || rig.told("ConfigAccepted") == 1).await;
    assert_eq!(rig.gate.state().problem, None);
    let waits = rig.targets.readiness.states().into_iter().find(|(_, state)| !state.open);
    assert!(waits.is_none(), "{waits:?}");
}

// K-02, K-03
#[tokio::test(start_paused = true)]
async fn what_changes_while_the_api_server_is_frozen_counts_afterwards() {
    let store = Store::default();
    store.put(BUNDLE, config_map(""));
    let rig = rig(store);
    until("it is published", || !rig.hash().is_empty()).await;
    let first = rig.hash();
    rig.store.freeze(true);
    let watch = |rig: &Rig| {
        let states = rig.targets.readiness.states();
        states.into_iter().find(|(name, _)| *name == "configmap-bundle").unwrap().1
    };
    until("it is noticed", || {
        watch(&rig).problem.is_some_and(|told| told.contains("using the last known state"))
    })
    .await;
    assert!(watch(&rig).open && rig.hash() == first);
    rig.write("compliancePolicy: fips-140-3");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.hash(), first);
    rig.store.freeze(false);
    until("the change is published", || rig.hash() != first).await;
    until("all is well", || watch(&rig).problem.is_none()).await;
}
