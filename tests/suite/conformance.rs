//! Conformance with Istio: every recorded webhook call and every recorded manifest, field for field.
//!
//! Those of this repository: see [`super::own_recordings`]. Older ones stand outside the project: see [`super::recordings`].

use std::{collections::BTreeMap, path::Path};

use outrigger::{
    config::{InjectorConfig, Source},
    inject::{self, Facts, Outcome, PodRequest, Refusal, check},
};
use serde_json::{Map, Value};

use outrigger::{config::Compat, server::webhook::path};

use super::equal::differences;
pub(crate) use super::recordings::{Call, bundle, calls, namespaces, recordings, settings};
use super::{
    own_recordings::{self, RECORDINGS},
    setting,
};

/// Intended differences under `compat: istio`: none.
const ISTIO: &[(&str, &str)] = &[];

/// A bundle with additional templates; its own of the same name take precedence.
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

/// The configurations of the recordings, in order; `stock` are templates that replace the embedded ones.
pub(crate) fn meshes(
    folder: &Path,
    compat: &str,
    calls: &[Call],
    stock: &Map<String, Value>,
) -> Vec<InjectorConfig> {
    let namespaces = namespaces(calls);
    settings(folder)
        .iter()
        .enumerate()
        .map(|(index, setting)| {
            let text = with_templates(&bundle(setting, compat, &namespaces), stock);
            match InjectorConfig::from_bundle(Source { name: "setting", text: &text }) {
                Ok((mesh, _)) => mesh,
                Err(error) => panic!("setting {index}: {error}"),
            }
        })
        .collect()
}

/// Our answer to a recorded call.
pub(crate) fn answer(mesh: &InjectorConfig, call: &Call) -> Result<Outcome, Refusal> {
    let request = PodRequest::new(call.namespace.clone(), call.pod.clone());
    inject::run(mesh, &request, &Facts::of(mesh, &call.namespace))
}

/// The difference between our answer and the recorded one, if any.
pub(crate) fn against_recording(mesh: &InjectorConfig, call: &Call) -> Option<Vec<String>> {
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

/// The difference between our answer and a call of this repository's recordings.
fn against_own_recording(mesh: &InjectorConfig, call: &own_recordings::Call) -> Vec<String> {
    let request = PodRequest {
        path_env: path::parse(&call.path).unwrap().variables,
        ..PodRequest::new(call.namespace.clone(), call.pod.clone())
    };
    let ours = inject::run(mesh, &request, &setting::facts(mesh, &call.namespace));
    match (ours, call.allowed, &call.patched) {
        (Err(_), false, _) | (Ok(Outcome::Skipped(_)), true, None) => Vec::new(),
        (Ok(Outcome::Injected(injection)), true, Some(patched)) => differences(&injection.pod, patched),
        (ours, allowed, patched) => {
            vec![format!("theirs: allowed {allowed}, a patch {}; ours: {ours:?}", patched.is_some())]
        }
    }
}

#[test]
fn conformance_engine_gives_istios_answer_to_every_call_of_this_repository() {
    let recordings = &*RECORDINGS;
    let meshes = recordings.meshes(Compat::Istio);
    for (setting, mesh) in meshes.iter().enumerate() {
        let found = check::check(mesh).map_err(|error| error.to_string());
        assert!(found.is_ok(), "setting {setting}: {found:?}");
    }
    let mut failed = Vec::new();
    for call in &recordings.calls {
        let found = against_own_recording(&meshes[call.setting], call);
        if !found.is_empty() {
            let found: Vec<_> = found.into_iter().take(6).collect();
            failed.push(format!("{} (setting {}): {}", call.name, call.setting, found.join("\n    ")));
        }
    }
    let all = recordings.calls.len();
    println!(
        "conformance, webhook calls of this repository under `compat: istio`: {}/{all} equal",
        all - failed.len()
    );
    assert!(failed.is_empty(), "{} of {all} failed\n{}", failed.len(), failed.join("\n"));
}

#[test]
#[ignore = "needs the recordings in ../shared/istio-golden"]
fn conformance_engine_gives_istios_answer_to_every_recorded_call() {
    let folder = recordings();
    let calls = calls(&folder);
    let meshes = meshes(&folder, "istio", &calls, &Map::new());
    for (setting, mesh) in meshes.iter().enumerate() {
        assert_eq!(
            check::check(mesh).map_err(|error| error.to_string()),
            Ok(Vec::new()),
            "setting {setting}"
        );
    }
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
