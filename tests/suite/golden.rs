//! Our own cases and the engine's answers, reviewed by people; they need nothing but this repository.
//!
//! A case is a file of `tests/fixtures/golden`: a comment that says what it is about, the bundle, the request, the pod,
//! and from the line `expected:` on the answer, which `OUTRIGGER_BLESS=1` writes anew. A case with `against` notes only
//! how its pod differs from the pod of that case, as a patch; the others note the whole pod.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use json_patch::PatchOperation;
use outrigger::{
    annotation::{Group, TABLE},
    config::{InjectorConfig, Source},
    inject::{self, Facts, Injection, Outcome, PodRequest},
    patch,
    warning::Warning,
    yaml,
};
use serde_json::{Map, Value, json};

use super::headed::headed;
use super::properties;

const KEYS: [&str; 7] = ["about", "against", "bundle", "namespace", "path", "pod", "again"];

/// Configurations by bundle: most cases share one.
static MESHES: Mutex<BTreeMap<String, Arc<InjectorConfig>>> = Mutex::new(BTreeMap::new());

/// One file, up to its line `expected:`.
pub(crate) struct Case {
    pub(crate) name: String,
    /// The hand-written text.
    head: String,
    /// The reviewed answer.
    expected: Value,
    input: Map<String, Value>,
}

#[test]
fn golden_cases_give_the_reviewed_answers() {
    let blessing = std::env::var_os("OUTRIGGER_BLESS").is_some();
    let cases = cases();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    let mut failed = Vec::new();
    for case in cases.values() {
        let answer = answer(case, &cases);
        if blessing {
            let text = format!("{}{}", case.head, yaml::to_string(&json!({"expected": answer})));
            fs::write(folder().join(format!("{}.yaml", case.name)), text).unwrap();
        } else if answer != case.expected {
            let difference = patch::diff(&case.expected, &answer);
            failed.push(format!("{}: {}", case.name, serde_json::to_string_pretty(&difference).unwrap()));
        }
    }
    assert!(failed.is_empty(), "{} of {} cases\n{}", failed.len(), cases.len(), failed.join("\n"));
}

#[test]
fn golden_pods_are_injected_once_and_for_all() {
    let cases = cases();
    for case in cases.values() {
        let mesh = case.mesh();
        let Ok(Outcome::Injected(once)) = case.run(&mesh, case.pod()) else { continue };
        let Ok(Outcome::Injected(twice)) = case.run(&mesh, &once.pod) else {
            panic!("{}: injected once and not again", case.name);
        };
        match case.input.get("again") {
            None => assert_eq!(twice.operations, 0, "{}: again, {}", case.name, twice.patch_json),
            Some(reason) => {
                assert!(twice.operations > 0, "{}: nothing changes, though {reason}", case.name)
            }
        }
    }
}

#[test]
fn golden_patches_touch_only_what_injection_needs() {
    for case in cases().values() {
        // Templates of the configuration may make any change.
        if case.input.get("bundle").is_some_and(|bundle| bundle["injector"]["templates"].is_object()) {
            continue;
        }
        let Ok(Outcome::Injected(injection)) = case.run(&case.mesh(), case.pod()) else { continue };
        let mut lost = Vec::new();
        properties::kept(case.pod(), &injection.clone().whole_pod(case.pod()), "", &mut lost);
        // Annotations from the configuration override the user's.
        let configured = case.input.get("bundle").map(|bundle| &bundle["injector"]["injectedAnnotations"]);
        let configured = configured.and_then(Value::as_object).into_iter().flatten();
        for (key, _) in configured {
            lost.retain(|lost| !lost.starts_with(&format!("/metadata/annotations/{key}:")));
        }
        assert!(lost.is_empty(), "{}: {lost:#?}", case.name);
        let patch = injection.patch();
        for operation in patch.iter() {
            assert!(properties::is_ours(case.pod(), operation), "{}: {operation:?}", case.name);
        }
        properties::minimal(case.pod(), &patch);
    }
}

/// Every annotation of docs/annotations.md occurs in a case.
#[test]
fn golden_cases_have_every_annotation() {
    let mut seen = BTreeSet::new();
    for case in cases().values() {
        let pod = case.input.get("pod").and_then(|pod| pod.pointer("/metadata/annotations"));
        seen.extend(pod.and_then(Value::as_object).into_iter().flatten().map(|(key, _)| key.clone()));
        let namespaces = case.input.get("bundle").and_then(|bundle| bundle["namespaces"].as_array());
        let annotations =
            namespaces.into_iter().flatten().filter_map(|namespace| namespace["annotations"].as_object());
        seen.extend(annotations.flatten().map(|(key, _)| key.clone()));
    }
    let missing: Vec<_> =
        TABLE.iter().map(|row| (row.group, row.key)).filter(|(_, key)| !seen.contains(*key)).collect();
    assert!(missing.is_empty(), "no case has {missing:?}");
    assert!(TABLE.iter().any(|row| row.group == Group::Namespace));
}

impl Case {
    fn mesh(&self) -> Arc<InjectorConfig> {
        self.mesh_with(&Map::new())
    }

    /// The case's configuration with other templates in place of the embedded ones.
    pub(crate) fn mesh_with(&self, stock: &Map<String, Value>) -> Arc<InjectorConfig> {
        let mut bundle = self.input.get("bundle").cloned().unwrap_or_else(|| json!({}));
        for (name, text) in stock {
            let template = &mut bundle["injector"]["templates"][name];
            if template.is_null() {
                *template = text.clone();
            }
        }
        let text = headed(&bundle.to_string());
        let mut known = MESHES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mesh) = known.get(&text) {
            return Arc::clone(mesh);
        }
        match InjectorConfig::from_bundle(Source { name: &self.name, text: &text }) {
            Ok((mesh, warnings)) => {
                assert!(warnings.is_empty(), "{}: {warnings:?}", self.name);
                let mesh = Arc::new(mesh);
                known.insert(text, Arc::clone(&mesh));
                mesh
            }
            Err(error) => panic!("{}: {error}", self.name),
        }
    }

    pub(crate) fn pod(&self) -> &Value {
        &self.input["pod"]
    }

    pub(crate) fn run(&self, mesh: &InjectorConfig, pod: &Value) -> Result<Outcome, inject::Refusal> {
        let namespace = self.input.get("namespace").and_then(Value::as_str).unwrap_or("shop");
        let mut request = PodRequest::new(namespace, pod.clone());
        let path = self.input.get("path").and_then(Value::as_object).into_iter().flatten();
        request.path_env =
            path.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
        inject::run(mesh, &request, &Facts::of(mesh, namespace))
    }

    fn injection(&self) -> Injection {
        match self.run(&self.mesh(), self.pod()) {
            Ok(Outcome::Injected(injection)) => *injection,
            _ => panic!("{}: another case is held against it, and it is not injected", self.name),
        }
    }
}

/// The answer as written in a file.
fn answer(case: &Case, cases: &BTreeMap<String, Case>) -> Value {
    let mut answer = match case.run(&case.mesh(), case.pod()) {
        Ok(Outcome::Injected(injection)) => injected(case, &injection, cases),
        Ok(Outcome::Skipped(skip)) => json!({"skipped": {
            "reason": skip.decision.reason.key(),
            "sentence": skip.decision.sentence,
            "warnings": warnings(&skip.warnings),
        }}),
        Err(refusal) => json!({"refused": {
            "code": refusal.code(),
            "reason": refusal.reason(),
            // One violation per line.
            "message": refusal.to_string().split("; annotation").collect::<Vec<_>>().join(";\nannotation"),
        }}),
    };
    for outcome in answer.as_object_mut().unwrap().values_mut() {
        outcome.as_object_mut().unwrap().retain(|_, value| value != &json!([]));
    }
    answer
}

fn injected(case: &Case, injection: &Injection, cases: &BTreeMap<String, Case>) -> Value {
    let operations: Vec<String> = injection.patch().iter().map(in_short).collect();
    let mut answer = json!({
        "reason": injection.decision.reason.key(),
        "templates": injection.templates,
        "warnings": warnings(&injection.warnings),
        "patch": operations,
    });
    match case.input.get("against").and_then(Value::as_str) {
        None => answer["pod"] = injection.clone().whole_pod(case.pod()),
        Some(other) => {
            let other = cases.get(other).unwrap_or_else(|| panic!("{}: there is no case {other}", case.name));
            answer["differences"] = json!(patch::diff(&other.injection().pod, &injection.pod));
        }
    }
    json!({"injected": answer})
}

fn in_short(operation: &PatchOperation) -> String {
    match operation {
        PatchOperation::Add(add) => format!("add {}", add.path),
        PatchOperation::Remove(remove) => format!("remove {}", remove.path),
        PatchOperation::Replace(replace) => format!("replace {}", replace.path),
        PatchOperation::Move(moved) => format!("move {} to {}", moved.from, moved.path),
        other => panic!("no patch of ours has {other:?}"),
    }
}

fn warnings(warnings: &[Warning]) -> Vec<String> {
    warnings.iter().map(|warning| format!("{}: {}", warning.code, warning.message)).collect()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden")
}

pub(crate) fn cases() -> BTreeMap<String, Case> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|file| {
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            assert_eq!(file.extension().unwrap(), "yaml", "a stray file: {}", file.display());
            let text = fs::read_to_string(&file).unwrap();
            let (head, expected) = match text.split_once("\nexpected:") {
                Some((head, expected)) => (format!("{head}\n"), format!("expected:{expected}")),
                None => (text, String::new()),
            };
            let load = |text: &str| match yaml::load(text, &yaml::Limits::default()) {
                Ok(value) => value,
                Err(error) => panic!("{name}: {error}"),
            };
            let Value::Object(input) = load(&head) else { panic!("{name}: a case is a map") };
            let unknown: Vec<_> = input.keys().filter(|key| !KEYS.contains(&key.as_str())).collect();
            assert!(unknown.is_empty(), "{name}: unknown keys {unknown:?}");
            assert!(
                input.get("about").is_some_and(Value::is_string),
                "{name}: `about` says what the case is about"
            );
            let expected = load(&expected).get("expected").cloned().unwrap_or_default();
            (name.clone(), Case { name, head, expected, input })
        })
        .collect()
}
