//! Istio's recorded answers: webhook calls with their configurations.
//!
//! The recordings are outside of the project (`../shared/istio-golden`, or the directory in `OUTRIGGER_GOLDEN`). Tests
//! that need them are ignored, and fail without them; `.ci/run` runs them if they exist.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use outrigger::config::InjectorConfig;
use serde_json::{Value, json};

/// The folder of the recordings.
pub(crate) fn recordings() -> PathBuf {
    let folder = match std::env::var_os("OUTRIGGER_GOLDEN") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/istio-golden"),
    };
    assert!(
        folder.is_dir(),
        "there are no recordings in {}; OUTRIGGER_GOLDEN names another folder",
        folder.display()
    );
    folder
}

/// One configuration of the recordings as a bundle.
pub(crate) fn bundle(setting: &Value, compat: &str, namespaces: &[String]) -> String {
    let cluster =
        setting.pointer("/values/global/multiCluster/clusterName").and_then(Value::as_str).unwrap_or("");
    let is_default_cluster = ["", "Kubernetes"].contains(&cluster);
    let openshift = setting["platform"] == "openshift";
    let namespaces: Vec<Value> = namespaces
        .iter()
        .filter(|_| openshift)
        .map(|name| {
            json!({
                "name": name,
                "labels": {"istio-injection": "enabled"},
                "annotations": {
                    "openshift.io/sa.scc.uid-range": "1000620000/10000",
                    "openshift.io/sa.scc.supplemental-groups": "1000620000/10000",
                },
            })
        })
        .collect();
    json!({
        "apiVersion": "outrigger.dev/v1alpha1",
        "kind": "Bundle",
        "revision": setting["revision"],
        "injector": {
            "policy": setting["policy"],
            "defaultTemplates": setting["defaultTemplates"],
            "aliases": setting["aliases"],
            "templates": setting["customTemplates"],
            "neverInjectSelector": setting["neverInjectSelector"],
            "alwaysInjectSelector": setting["alwaysInjectSelector"],
            "injectedAnnotations": setting["injectedAnnotations"],
        },
        "values": InjectorConfig::values_to_give(&setting["values"]),
        "mesh": InjectorConfig::mesh_config_to_give(&setting["meshConfig"]),
        "compat": compat,
        "platform": setting["platform"],
        // The recorded injector only knew the nodes of the cluster "Kubernetes": for a cluster with another name, its
        // detection found none and disabled native sidecars.
        "nativeSidecars": if setting["nativeSidecars"] == true && is_default_cluster { "enabled" } else { "disabled" },
        "compliancePolicy": setting["compliancePolicy"],
        "namespaces": namespaces,
    })
    .to_string()
}

/// One recorded webhook call.
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) setting: usize,
    pub(crate) namespace: String,
    pub(crate) pod: Value,
    pub(crate) allowed: bool,
    pub(crate) patched: Option<Value>,
}

pub(crate) fn calls(folder: &Path) -> Vec<Call> {
    let text = fs::read_to_string(folder.join("webhook.jsonl")).unwrap();
    text.lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            Call {
                name: line["name"].as_str().unwrap().to_owned(),
                setting: line["setting"].as_u64().unwrap() as usize,
                namespace: line["namespace"].as_str().unwrap().to_owned(),
                pod: line["pod"].clone(),
                allowed: line["allowed"].as_bool().unwrap(),
                patched: line.get("patched").cloned(),
            }
        })
        .collect()
}

pub(crate) fn settings(folder: &Path) -> Vec<Value> {
    serde_json::from_str(&fs::read_to_string(folder.join("settings.json")).unwrap()).unwrap()
}

/// Every namespace of the calls that has a name.
pub(crate) fn namespaces(calls: &[Call]) -> Vec<String> {
    let names: BTreeSet<_> = calls.iter().map(|call| call.namespace.clone()).collect();
    names.into_iter().filter(|name| !name.is_empty()).collect()
}
