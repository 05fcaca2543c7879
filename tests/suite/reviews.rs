//! AdmissionReviews as an API server sent them: their pods are injected, and the results decode as Kubernetes' own
//! types, field for field.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use k8s_openapi::api::core::v1::Pod;
use outrigger::{
    config::{InjectorConfig, Source},
    inject::{self, Facts, Outcome, PodRequest, decision::Reason},
    server::{
        configuration::build,
        webhook::verdict::{self, Reply},
    },
};
use serde_json::{Value, json};

use super::headed::headed;

const OPTED_OUT: &str = "opted-out";

/// Every template, classic and native.
const BUNDLES: [&str; 6] = [
    "nativeSidecars: disabled",
    "nativeSidecars: enabled",
    "{values: {pilot: {cni: {enabled: true}}}, compat: istio}",
    "injector: {defaultTemplates: [gateway]}",
    "injector: {defaultTemplates: [grpc-agent]}",
    "injector: {defaultTemplates: [grpc-simple]}",
];

#[test]
fn recorded_reviews_inject_and_decode_strictly() {
    let mut names = BTreeSet::new();
    for (name, review) in reviews() {
        let request = &review["request"];
        for bundle in BUNDLES {
            let (mesh, _) =
                InjectorConfig::from_bundle(Source { name: "bundle", text: &headed(bundle) }).unwrap();
            let namespace = request["namespace"].as_str().unwrap();
            let pod = PodRequest::new(namespace, request["object"].clone());
            let outcome = inject::run(&mesh, &pod, &Facts::of(&mesh, "shop"));
            match outcome.unwrap_or_else(|refusal| {
                panic!("{name}, {bundle}: {}", refusal.diagnosis().unwrap_or(refusal.to_string()))
            }) {
                Outcome::Skipped(skip) => {
                    assert_eq!((name.as_str(), skip.decision.reason), (OPTED_OUT, Reason::PodOptedOut));
                }
                Outcome::Injected(injection) => {
                    assert_ne!(name, OPTED_OUT);
                    let mut patched = pod.pod.clone();
                    json_patch::patch(&mut patched, &injection.patch()).unwrap();
                    let undecodable = undecodable(&patched);
                    assert!(undecodable.is_empty(), "{name}, {bundle}: {undecodable:#?}");
                }
            }
        }
        names.insert(name);
    }
    let known = ["big", "cronjob-job", "deployment", "job", OPTED_OUT, "pod", "statefulset"];
    assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), known);
}

/// A response may come from the cache; this is not observable.
#[test]
fn the_same_review_gets_the_same_bytes() {
    for bundle in BUNDLES {
        let (mesh, _) =
            InjectorConfig::from_bundle(Source { name: "bundle", text: &headed(bundle) }).unwrap();
        let engine = build::engine(mesh).unwrap();
        for (name, review) in reviews() {
            let body = review.to_string();
            let answers: Vec<Vec<u8>> = (0..4)
                .map(|_| match verdict::reply(engine.as_ref(), body.as_bytes(), BTreeMap::new()) {
                    Reply::Review(answer) => answer,
                    other => panic!("{name}, {bundle}: {other:?}"),
                })
                .collect();
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{name}, {bundle}");
            let answer: Value = serde_json::from_slice(&answers[0]).unwrap();
            assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
            let is_injected = answer["response"].get("patch").is_some();
            assert_eq!(is_injected, name != OPTED_OUT, "{name}, {bundle}");
        }
    }
}

#[test]
fn strict_decoding_finds_what_kubernetes_does_not_know() {
    let pod = |container: Value| json!({"spec": {"containers": [container]}});
    assert!(undecodable(&pod(json!({"name": "a", "image": "b", "env": []}))).is_empty());
    assert_eq!(
        undecodable(&pod(json!({"name": "a", "imagePolicy": "Always"}))),
        ["/spec/containers/0/imagePolicy: lost"]
    );
    assert_eq!(undecodable(&pod(json!({"name": "a", "stdin": "yes"}))).len(), 1, "a wrong type");
}

fn reviews() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reviews");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |file: &Path| {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap())
    };
    files.map(|file| read(&file)).collect()
}

/// The parts of a pod that Kubernetes' types do not contain.
fn undecodable(pod: &Value) -> Vec<String> {
    let typed: Pod = match serde_json::from_value(pod.clone()) {
        Ok(typed) => typed,
        Err(error) => return vec![error.to_string()],
    };
    let mut found = Vec::new();
    lost(pod, &serde_json::to_value(typed).unwrap(), "", &mut found);
    found
}

fn lost(before: &Value, after: &Value, path: &str, found: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before.iter().filter(|(_, value)| !value.is_null()) {
                let path = format!("{path}/{key}");
                match after.get(key) {
                    Some(after) => lost(value, after, &path, found),
                    None => found.push(format!("{path}: lost")),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                lost(before, after, &format!("{path}/{index}"), found);
            }
        }
        _ if before == after => {}
        _ => found.push(format!("{path}: {before} became {after}")),
    }
}
