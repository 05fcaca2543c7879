//! Conformance with Istio: every recorded webhook call and every recorded manifest, field for field.
//!
//! The recordings stand outside the project (`../shared/istio-golden`). Where they are absent the tests say so and pass;
//! where `CI` is set they must be there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use outrigger::{
    config::{Mesh, Source},
    inject::{self, Facts, Outcome, PodRequest, Refusal},
};
use serde_json::{Map, Value, json};

use super::equal::differences;

/// Wanted differences under `compat: istio`: none.
const ISTIO: &[(&str, &str)] = &[];

/// The folder of the recordings, if it is there.
pub(crate) fn recordings() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/istio-golden");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "CI needs the recordings in {}", folder.display());
    eprintln!("skipped: there are no recordings in {}", folder.display());
    None
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
        "values": Mesh::values_to_give(&setting["values"]),
        "mesh": Mesh::mesh_config_to_give(&setting["meshConfig"]),
        "compat": compat,
        "platform": setting["platform"],
        // The recorded injector knew the nodes of the cluster "Kubernetes" only: for a cluster of another name its
        // detection found none and said no.
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

/// A bundle with more templates; its own of the same name stay.
fn with_templates(bundle: &str, stock: &Map<String, Value>) -> String {
    let mut bundle: Value = serde_json::from_str(bundle).unwrap();
    for (name, text) in stock {
        let template = &mut bundle["injector"]["templates"][name];
        if template.is_null() {
            *template = text.clone();
        }
    }
    bundle.to_string()
}

/// The configurations of the recordings, in their order; `stock` are templates to use in place of the embedded ones.
pub(crate) fn meshes(folder: &Path, compat: &str, calls: &[Call], stock: &Map<String, Value>) -> Vec<Mesh> {
    let namespaces = namespaces(calls);
    settings(folder)
        .iter()
        .enumerate()
        .map(|(index, setting)| {
            let text = with_templates(&bundle(setting, compat, &namespaces), stock);
            match Mesh::from_bundle(Source { name: "setting", text: &text }) {
                Ok((mesh, _)) => mesh,
                Err(error) => panic!("setting {index}: {error}"),
            }
        })
        .collect()
}

/// Our answer to a recorded call.
pub(crate) fn answer(mesh: &Mesh, call: &Call) -> Result<Outcome, Refusal> {
    let request = PodRequest::new(call.namespace.clone(), call.pod.clone());
    inject::run(mesh, &request, &Facts::of(mesh, &call.namespace))
}

/// What our answer differs in; `None` when it is the recorded one.
pub(crate) fn against_recording(mesh: &Mesh, call: &Call) -> Option<Vec<String>> {
    let differences = match (answer(mesh, call), call.allowed, &call.patched) {
        (Err(_), false, _) => return None,
        (Err(refusal), true, _) => vec![format!("ours denied: {refusal} {:?}", refusal.diagnosis())],
        (Ok(_), false, _) => vec!["ours allowed, theirs denied".to_owned()],
        (Ok(Outcome::Skipped(_)), true, None) => return None,
        (Ok(Outcome::Skipped(skip)), true, Some(_)) => vec![format!("ours skipped: {:?}", skip.decision)],
        (Ok(Outcome::Injected(injection)), true, None) => {
            vec![format!("ours injected: {:?}", injection.decision)]
        }
        (Ok(Outcome::Injected(injection)), true, Some(patched)) => differences(&injection.pod, patched),
    };
    if differences.is_empty() { None } else { Some(differences) }
}

#[test]
fn conformance_engine_gives_istios_answer_to_every_recorded_call() {
    let Some(folder) = recordings() else { return };
    let calls = calls(&folder);
    let meshes = meshes(&folder, "istio", &calls, &Map::new());
    let wanted: BTreeMap<_, _> = ISTIO.iter().copied().collect();
    let mut failed = Vec::new();
    let mut equal = 0;
    for call in &calls {
        match (against_recording(&meshes[call.setting], call), wanted.get(call.name.as_str())) {
            (None, None) => equal += 1,
            (Some(_), Some(_)) => {}
            (None, Some(reason)) => {
                failed.push(format!("{}: equal, though listed as different: {reason}", call.name))
            }
            (Some(found), None) => failed.push(format!(
                "{} (setting {}): {} differences\n    {}",
                call.name,
                call.setting,
                found.len(),
                found.iter().take(6).cloned().collect::<Vec<_>>().join("\n    ")
            )),
        }
    }
    println!("conformance, webhook calls under `compat: istio`: {equal}/{} equal", calls.len());
    assert!(failed.is_empty(), "{} of {} failed\n{}", failed.len(), calls.len(), failed.join("\n"));
}
