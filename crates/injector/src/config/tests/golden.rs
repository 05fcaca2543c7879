//! Every configuration for which Istio's answers were recorded can be expressed as a bundle.

use serde_json::{Map, json};

use super::*;
use kubernetes_yaml as yaml;

const STOCK: [&str; 4] = ["sidecar", "gateway", "grpc-agent", "grpc-simple"];

#[test]
#[allow(clippy::disallowed_methods, reason = "reads recorded data")]
fn every_recorded_setting_is_a_bundle() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/istio-golden/settings.json");
    let Ok(text) = std::fs::read_to_string(path) else {
        assert!(std::env::var_os("CI").is_none(), "{path} is absent");
        println!("skipped: {path} is absent");
        return;
    };
    let settings: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(settings.len() >= 52, "{}", settings.len());
    for (index, setting) in settings.iter().enumerate() {
        let bundle = bundle(setting);
        let (mesh, _) =
            InjectorConfig::from_bundle(Source { name: "setting", text: &yaml::to_string(&bundle) })
                .unwrap_or_else(|error| panic!("setting {index}: {error}"));
        assert_eq!(*mesh.values(), without_shadowing_nulls(&setting["values"]), "setting {index}");
        assert_eq!(*mesh.mesh_config(), setting["meshConfig"], "setting {index}");
        assert_eq!(json!(mesh.revision()), setting["revision"], "setting {index}");
        assert_eq!(json!(mesh.injector().policy.as_str()), setting["policy"], "setting {index}");
        assert_eq!(json!(mesh.injector().default_templates), setting["defaultTemplates"], "setting {index}");
        let selectors: Vec<Value> = mesh.injector().never_inject.iter().map(Selector::to_value).collect();
        assert_eq!(json!(selectors), setting["neverInjectSelector"], "setting {index}");
        let effective = mesh.effective_bundle();
        let (again, _) =
            InjectorConfig::from_bundle(Source { name: "effective", text: &yaml::to_string(&effective) })
                .unwrap();
        assert_eq!(again.hash(), mesh.hash(), "setting {index}");
    }
}

fn bundle(setting: &Value) -> Value {
    let templates: Map<String, Value> = setting["customTemplates"].as_object().unwrap().clone();
    assert!(templates.keys().all(|name| !STOCK.contains(&name.as_str())));
    json!({
        "apiVersion": "outrigger.dev/v1alpha1",
        "kind": "Bundle",
        "revision": setting["revision"],
        "injector": {
            "policy": setting["policy"],
            "defaultTemplates": setting["defaultTemplates"],
            "templates": templates,
            "aliases": setting["aliases"],
            "neverInjectSelector": setting["neverInjectSelector"],
            "alwaysInjectSelector": setting["alwaysInjectSelector"],
            "injectedAnnotations": setting["injectedAnnotations"],
        },
        "values": InjectorConfig::values_to_give(&setting["values"]),
        "mesh": InjectorConfig::mesh_config_to_give(&setting["meshConfig"]),
        "compat": "istio",
        "platform": setting["platform"],
        "nativeSidecars": setting["nativeSidecars"],
        "compliancePolicy": setting["compliancePolicy"],
    })
}

/// A null that has a default is the same as an absent value: see [`InjectorConfig::values_to_give`].
fn without_shadowing_nulls(values: &Value) -> Value {
    let defaults = mesh("");
    fn clean(value: &Value, default: &Value) -> Value {
        match (value, default) {
            (Value::Object(map), Value::Object(defaults)) => map
                .iter()
                .filter(|(key, value)| !(value.is_null() && defaults.contains_key(*key)))
                .map(|(key, value)| (key.clone(), clean(value, defaults.get(key).unwrap_or(&Value::Null))))
                .collect(),
            _ => value.clone(),
        }
    }
    clean(values, defaults.values())
}
