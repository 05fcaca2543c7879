//! `outrigger compare` over what istiod answered: parity, and the output if there is none.

use std::{fs, path::Path, process::Output};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use injector::effects::{Answer, compare};
use outrigger::{config::Compat, inject::PodRequest, yaml};
use serde_json::{Value, json};
use strategic_merge::patch;

use super::{
    cli::command,
    own_recordings::{Call, RECORDINGS},
};

/// Calls that a bundle alone explains: other paths and labels of namespaces come from the API server.
fn is_plain(call: &Call) -> bool {
    call.path == "/inject" && RECORDINGS.settings[call.setting].namespaces.is_empty()
}

fn with_type(pod: &Value) -> Value {
    let mut pod = pod.clone();
    (pod["apiVersion"], pod["kind"]) = (json!("v1"), json!("Pod"));
    pod
}

#[test]
fn every_recorded_answer_is_the_one_given_here() {
    let meshes = RECORDINGS.meshes(Compat::Istio);
    let (mut injected, mut others, mut different) = (0, 0, Vec::new());
    for call in RECORDINGS.calls.iter().filter(|call| is_plain(call)) {
        let answer = match &call.patched {
            Some(patched) => Answer::Injected(with_type(patched)),
            None if call.allowed => Answer::Skipped,
            None => Answer::Denied(String::new()),
        };
        match answer {
            Answer::Injected(_) => injected += 1,
            Answer::Skipped | Answer::Denied(_) => others += 1,
        }
        let request = PodRequest::new(call.namespace.clone(), with_type(&call.pod));
        if let Some((before, after, differences)) = compare(&meshes[call.setting], &request, &answer) {
            different.push(format!("{}: {before:?} {after:?} {:?}", call.name, differences.first()));
        }
    }
    assert!(injected > 400 && others > 20, "{injected} {others}");
    assert!(different.is_empty(), "{} of {}:\n{}", different.len(), injected + others, different.join("\n"));
}

/// The reviews of a setting's calls, one JSON document after the other.
fn reviews(setting: usize) -> (usize, String) {
    let calls = RECORDINGS.calls.iter().filter(|call| is_plain(call) && call.setting == setting);
    let reviews: Vec<String> = calls
        .map(|call| {
            let mut response = json!({"uid": call.name, "allowed": call.allowed});
            if let Some(patched) = &call.patched {
                let patch = patch::to_json(&patch::diff(&call.pod, patched));
                response["patch"] = json!(BASE64_STANDARD.encode(patch));
                response["patchType"] = json!("JSONPatch");
            }
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                "request": {"uid": call.name, "namespace": call.namespace, "object": call.pod}, "response": response})
            .to_string()
        })
        .collect();
    (reviews.len(), reviews.join("\n"))
}

fn run(folder: &Path, bundle: &Value, more: &[&str]) -> Output {
    let file = folder.join("bundle.yaml");
    fs::write(&file, yaml::to_string(bundle)).unwrap();
    let mut command = command();
    command.args(["compare", "--bundle"]).arg(file).arg("-f").arg(folder.join("reviews.json")).args(more);
    command.output().unwrap()
}

#[test]
fn reviews_of_istiod_have_parity_and_another_image_has_not() {
    let folder = tempfile::tempdir().unwrap();
    let (count, text) = reviews(0);
    assert!(count > 20, "{count}");
    fs::write(folder.path().join("reviews.json"), &text).unwrap();
    let mesh = &RECORDINGS.meshes(Compat::Istio)[0];
    let mut bundle = mesh.effective_bundle();
    let output = run(folder.path(), &bundle, &[]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains(&format!("{count} identical, 0 different")), "{stdout}");

    bundle["values"]["global"]["tag"] = json!("other");
    let output = run(folder.path(), &bundle, &["-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["kind"], &report["total"]), (&json!("CompareReport"), &json!(count)));
    let workloads = report["workloads"].as_array().unwrap();
    let first = |workload: &Value| workload["first"].as_str().map(str::to_owned);
    let images = workloads.iter().filter_map(first).filter(|first| first.contains("].image: ")).count();
    assert!(images > 5, "{workloads:?}");
    let pods: u64 = workloads.iter().map(|workload| workload["pods"].as_u64().unwrap()).sum();
    assert_eq!(pods, count as u64);
    let output = run(folder.path(), &bundle, &[]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("].image: \""), "{stdout}");
}

#[test]
fn what_cannot_be_compared_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = RECORDINGS.meshes(Compat::Istio)[0].effective_bundle();
    for (text, wanted) in [
        ("kind: Service\napiVersion: v1\n", "found no pod to compare"),
        (
            "{\"kind\": \"AdmissionReview\", \"request\": {\"uid\": \"u\", \"object\": {\"spec\": {\"containers\": []}}}, \"response\": {\"allowed\": true, \"patch\": \"-\"}}",
            "review \"u\": response.patch",
        ),
    ] {
        fs::write(folder.path().join("reviews.json"), text).unwrap();
        let output = run(folder.path(), &bundle, &[]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(65) && stderr.contains(wanted), "{stderr}");
    }
}
