use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::config::ProxyConfigResource;
use crate::config::headed::headed;
use crate::server::configuration::cluster::Installation;

const CONFIG: &str = "policy: enabled\ndefaultTemplates: [sidecar]\ntemplates:\n  sidecar: |\n    spec: {}\n";

fn bundle_source(revision: &str) -> ConfigMaps {
    ConfigMaps::Bundle {
        namespace: "outrigger-system".to_owned(),
        name: "outrigger".to_owned(),
        revision: revision.to_owned(),
    }
}

fn istio_source() -> ConfigMaps {
    ConfigMaps::Istio {
        namespace: "istio-system".to_owned(),
        injector: "istio-sidecar-injector".to_owned(),
        mesh: "istio".to_owned(),
        installation: Installation { revision: "default".to_owned(), ..Installation::default() },
    }
}

fn slot(name: &str, texts: &[(&'static str, &str)]) -> Slot {
    let reference = Reference {
        namespace: if name == "outrigger" { "outrigger-system" } else { "istio-system" }.to_owned(),
        name: name.to_owned(),
        ..Reference::default()
    };
    let keys = texts.iter().map(|(key, _)| (*key).to_owned()).collect();
    let texts = texts.iter().map(|(key, text)| (*key, (*text).to_owned())).collect();
    Slot::Found(Arc::new(Found { reference, texts, keys }))
}

fn inputs(injector: Slot, mesh: Slot) -> Inputs {
    Inputs { injector, mesh, proxy_configs: Some(Arc::default()) }
}

fn missing(source: &ConfigMaps, inputs: &Inputs) -> String {
    match gather(source, inputs) {
        Gathered::Missing(sentence) => sentence,
        other => panic!("{other:?}"),
    }
}

fn made(source: &ConfigMaps, inputs: &Inputs) -> Result<InjectorConfig, Refused> {
    match gather(source, inputs) {
        Gathered::Texts(texts) => mesh(&texts).map(|(mesh, _)| mesh),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_made_before_everything_is_known() {
    let (source, found) =
        (istio_source(), slot("istio-sidecar-injector", &[("config", CONFIG), ("values", "{}")]));
    let mesh = slot("istio", &[("mesh", "{}")]);
    for unknown in [
        inputs(Slot::Unknown, mesh.clone()),
        inputs(found.clone(), Slot::Unknown),
        Inputs { proxy_configs: None, ..inputs(found.clone(), mesh.clone()) },
    ] {
        assert!(matches!(gather(&source, &unknown), Gathered::Waiting), "{unknown:?}");
    }
    assert!(matches!(gather(&source, &inputs(found, mesh)), Gathered::Texts(_)));
}

#[test]
fn what_is_missing_is_named() {
    let source = bundle_source("default");
    assert_eq!(
        missing(&source, &inputs(Slot::Absent, Slot::Unknown)),
        r#"ConfigMap outrigger-system/outrigger does not exist; expected one with the key "bundle""#
    );
    let found = slot("outrigger", &[("bundel", "")]);
    assert_eq!(
        missing(&source, &inputs(found, Slot::Unknown)),
        r#"ConfigMap outrigger-system/outrigger lacks the key "bundle"; found the key "bundel""#
    );
    let (source, empty) = (istio_source(), slot("istio-sidecar-injector", &[]));
    assert_eq!(
        missing(&source, &inputs(empty, Slot::Absent)),
        r#"ConfigMap istio-system/istio-sidecar-injector lacks the keys "config" and "values"; it is empty"#
    );
    let found = slot("istio-sidecar-injector", &[("config", CONFIG), ("values", "{}")]);
    assert_eq!(
        missing(&source, &inputs(found, Slot::Absent)),
        r#"ConfigMap istio-system/istio does not exist; expected one with the key "mesh""#
    );
}

// C-11
#[test]
fn a_bundle_for_another_revision_is_refused() {
    let text = &headed("revision: canary\n");
    let inputs = inputs(slot("outrigger", &[("bundle", text)]), Slot::Unknown);
    let refused = made(&bundle_source("default"), &inputs).unwrap_err();
    assert!(refused.sentence.contains(r#"found "canary""#), "{}", refused.sentence);
    assert!(
        refused.sentence.contains(r#"expected the revision of this process, "default""#),
        "{}",
        refused.sentence
    );
    assert_eq!(refused.about.name, "outrigger");
    assert_eq!(made(&bundle_source("canary"), &inputs).unwrap().revision(), "canary");
}

// C-02
#[test]
fn the_config_map_with_the_problem_is_to_blame() {
    let good = slot("istio-sidecar-injector", &[("config", CONFIG), ("values", "{}")]);
    let bad_mesh = slot("istio", &[("mesh", "defaultConfig: 5")]);
    let refused = made(&istio_source(), &inputs(good, bad_mesh)).unwrap_err();
    assert_eq!(refused.about.name, "istio");
    assert!(refused.sentence.starts_with("ConfigMap istio-system/istio key mesh:1:"), "{}", refused.sentence);
    let bad = slot("istio-sidecar-injector", &[("config", "policy: maybe"), ("values", "[")]);
    let refused = made(&istio_source(), &inputs(bad, slot("istio", &[("mesh", "{}")]))).unwrap_err();
    assert_eq!(refused.about.name, "istio-sidecar-injector");
    assert!(refused.sentence.contains("key config:1:") && refused.sentence.contains("key values:"));
}

#[test]
fn resources_of_the_cluster_count_and_change_the_hash() {
    let resource = |concurrency: i64| {
        let object =
            json!({"metadata": {"namespace": "shop", "name": "a"}, "spec": {"concurrency": concurrency}});
        ProxyConfigResource::from_object(&object).unwrap()
    };
    let text = json!({"proxyConfigs": [
        {"apiVersion": "networking.istio.io/v1beta1", "kind": "ProxyConfig",
         "metadata": {"namespace": "shop", "name": "a"}, "spec": {"concurrency": 1}},
        {"apiVersion": "networking.istio.io/v1beta1", "kind": "ProxyConfig",
         "metadata": {"namespace": "shop", "name": "b"}, "spec": {"concurrency": 3}},
    ]});
    let text = headed(&text.to_string());
    let mut inputs = inputs(slot("outrigger", &[("bundle", &text)]), Slot::Unknown);
    let source = bundle_source("default");
    let alone = made(&source, &inputs).unwrap();
    let resources = BTreeMap::from([(("shop".to_owned(), "a".to_owned()), resource(2))]);
    inputs.proxy_configs = Some(Arc::new(resources));
    let with = made(&source, &inputs).unwrap();
    let concurrency: Vec<_> =
        with.proxy_configs().iter().map(|config| config.config["concurrency"].clone()).collect();
    assert_eq!(concurrency, [json!(2), json!(3)], "the one of the cluster stands for the one of the bundle");
    assert_ne!(with.hash(), alone.hash());
    let again = InjectorConfig::from_bundle(Source { name: "x", text: &with.effective_bundle().to_string() })
        .unwrap()
        .0;
    assert_eq!(again.hash(), with.hash(), "the effective bundle says so too");
}
