//! Conformance with `istioctl kube-inject`: every recorded manifest, document for document and field for field.

use std::{collections::BTreeMap, fs, path::Path};

use outrigger::{
    config::{Compat, InjectorConfig, Source},
    inject::{
        Refusal, Rules,
        manual::{self, Manifest, Options, Verdict},
    },
    yaml::{self, Limits},
};
use serde_json::Value;

use super::{
    conformance::{bundle, recordings, settings},
    equal::differences,
    own_recordings::RECORDINGS,
    zeros,
};

/// Intended differences under `compat: istio`: none.
const ISTIO: &[(&str, &str)] = &[];

struct Case {
    name: String,
    setting: usize,
    input: String,
    /// The manifest that was written, or a part of Istio's error.
    expected: Result<String, String>,
}

fn cases(folder: &Path) -> Vec<Case> {
    let mut folders: Vec<_> =
        fs::read_dir(folder.join("manifests")).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
        .iter()
        .map(|folder| {
            let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
            let case: Value = serde_json::from_str(&read("case.json")).unwrap();
            assert_eq!(case["revision"], "", "{}: only the default revision was recorded", folder.display());
            let error = case["expectedError"].as_str().unwrap_or_default();
            Case {
                name: folder.file_name().unwrap().to_str().unwrap().to_owned(),
                setting: case["setting"].as_u64().unwrap() as usize,
                input: read("input.yaml"),
                expected: if error.is_empty() { Ok(read("expected.yaml")) } else { Err(error.to_owned()) },
            }
        })
        .collect()
}

/// The non-empty documents of a text.
fn documents(text: &str) -> Vec<Value> {
    yaml::split_documents(text)
        .iter()
        .map(|document| yaml::load(document.text, &Limits::default()).unwrap())
        .filter(|value| !value.is_null())
        .collect()
}

fn first_refusal<'m>(manifest: &'m Manifest<'_>) -> Option<&'m Refusal> {
    manifest.rows().find_map(|row| match &row.verdict {
        Verdict::Refused(refusal) => Some(refusal),
        _ => None,
    })
}

#[test]
fn conformance_kube_inject_gives_istios_answer_to_every_manifest_of_this_repository() {
    let recordings = &*RECORDINGS;
    let meshes = recordings.meshes(Compat::Istio);
    let mut failed = Vec::new();
    for manifest in &recordings.manifests {
        let expected = match (&manifest.injected, &manifest.refused) {
            (Some(injected), None) => Ok(injected.clone()),
            (None, Some(refused)) => Err(refused.clone()),
            _ => panic!("{}: neither or both", manifest.name),
        };
        let case = Case {
            name: manifest.name.clone(),
            setting: manifest.setting,
            input: manifest.input.clone(),
            expected,
        };
        let found = against_own_recording(&meshes[case.setting], &case);
        if !found.is_empty() {
            let found: Vec<_> = found.into_iter().take(6).collect();
            failed.push(format!("{} (setting {}): {}", case.name, case.setting, found.join("\n    ")));
        }
    }
    let all = recordings.manifests.len();
    println!(
        "conformance, manifests of this repository under compat: istio: {}/{all} equal",
        all - failed.len()
    );
    assert!(failed.is_empty(), "{} of {all} failed\n{}", failed.len(), failed.join("\n"));
}

/// The differences in our answer; a rejected manifest need not be rejected because of an annotation, and zeros without
/// a meaning in Go are ignored.
fn against_own_recording(mesh: &InjectorConfig, case: &Case) -> Vec<String> {
    let options = Options { mesh, rules: Rules::TemplatesOnly, namespace: "", template_paths: Vec::new() };
    let ours = match manual::inject(&case.input, &options) {
        Ok(manifest) => match first_refusal(&manifest).map(manual::explained) {
            Some(refusal) => Err(refusal),
            None => Ok(manifest.terminated().to_string()),
        },
        Err(error) => Err(error.to_string()),
    };
    match (ours, &case.expected) {
        (Err(_), Err(_)) => Vec::new(),
        (Err(ours), Ok(_)) => vec![format!("ours refused: {ours}")],
        (Ok(_), Err(theirs)) => vec![format!("ours allowed, theirs refused: {theirs}")],
        (Ok(ours), Ok(theirs)) => zeros::document_differences(documents(&ours), documents(theirs)),
    }
}

/// The differences in our answer; none if it equals the recorded one.
fn against_recording(mesh: &InjectorConfig, case: &Case) -> Vec<String> {
    let options = Options { mesh, rules: Rules::TemplatesOnly, namespace: "", template_paths: Vec::new() };
    let manifest = match manual::inject(&case.input, &options) {
        Ok(manifest) => manifest,
        Err(error) => return vec![format!("ours is an error: {error}")],
    };
    match (first_refusal(&manifest), &case.expected) {
        (Some(refusal), Ok(_)) => vec![format!("ours refused: {}", manual::explained(refusal))],
        (None, Err(part)) => vec![format!("ours allowed, theirs refused: {part}")],
        // The text is ours; it has to name an annotation of the manifest.
        (Some(refusal), Err(_)) => {
            let text = manual::explained(refusal);
            let names_annotation = text.split_whitespace().any(|word| {
                let word = word.trim_end_matches(':');
                word.contains(".istio.io/") && case.input.contains(word)
            });
            if names_annotation { Vec::new() } else { vec![format!("names no annotation: {text}")] }
        }
        (None, Ok(expected)) => {
            let (ours, theirs) = (documents(&manifest.terminated().to_string()), documents(expected));
            if ours.len() != theirs.len() {
                return vec![format!("ours has {} documents, theirs {}", ours.len(), theirs.len())];
            }
            let each = ours.iter().zip(&theirs).enumerate();
            each.flat_map(|(index, (ours, theirs))| {
                differences(ours, theirs).into_iter().map(move |found| format!("{index}{found}"))
            })
            .collect()
        }
    }
}

#[test]
#[ignore = "needs the recordings in ../shared/istio-golden"]
fn conformance_kube_inject_gives_istios_answer_to_every_recorded_manifest() {
    let folder = recordings();
    let meshes: Vec<InjectorConfig> = settings(&folder)
        .iter()
        .map(|setting| {
            let text = bundle(setting, "istio", &[]);
            InjectorConfig::from_bundle(Source { name: "setting", text: &text }).unwrap().0
        })
        .collect();
    let wanted: BTreeMap<_, _> = ISTIO.iter().copied().collect();
    let cases = cases(&folder);
    let mut failed = Vec::new();
    let mut equal = 0;
    for case in &cases {
        let found = against_recording(&meshes[case.setting], case);
        match (found.is_empty(), wanted.get(case.name.as_str())) {
            (true, None) => equal += 1,
            (false, Some(_)) => {}
            (true, Some(reason)) => {
                failed.push(format!("{}: equal, though listed as different: {reason}", case.name));
            }
            (false, None) => failed.push(format!(
                "{} (setting {}): {} differences\n    {}",
                case.name,
                case.setting,
                found.len(),
                found.iter().take(6).cloned().collect::<Vec<_>>().join("\n    ")
            )),
        }
    }
    println!("conformance, manifests under compat: istio: {equal}/{} equal", cases.len());
    assert!(failed.is_empty(), "{} of {} failed\n{}", failed.len(), cases.len(), failed.join("\n"));
}
