//! Replays the recorded webhook calls like an API server: AdmissionReviews over TLS, with the patches applied to the
//! sent pods.

use std::{fs, sync::Arc};

use hyper::StatusCode;
use outrigger::{
    config::{Compat, Platform},
    server::{configuration::bundle::Bundle, options::Origin},
};
use serde_json::{Value, json};

use super::{
    conformance::{Call, bundle, calls, namespaces, recordings, settings},
    equal::differences,
    own_recordings::RECORDINGS,
    support::{Answer, injecting, post, start_with, within},
};

/// The object that the API server would store: the sent pod with the patch applied, or a denial.
fn stored(sent: &Value, answer: &Value) -> Result<Value, String> {
    let response = &answer["response"];
    if response["allowed"] != true {
        let message = response["status"]["message"].as_str().unwrap_or_default();
        assert!(!message.is_empty(), "a denial without a text: {answer}");
        return Err(message.to_owned());
    }
    assert_eq!(
        response.get("patch").is_some(),
        response.get("patchType").is_some(),
        "both or neither: {answer}"
    );
    let mut pod = sent.clone();
    if let Some(patch) = response.get("patch") {
        use base64::Engine as _;
        let patch = base64::engine::general_purpose::STANDARD.decode(patch.as_str().unwrap()).unwrap();
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        json_patch::patch(&mut pod, &patch).unwrap();
    }
    Ok(pod)
}

fn against_recording(call: &Call, answer: &Value) -> Vec<String> {
    match (stored(&call.pod, answer), call.allowed) {
        (Err(_), false) => Vec::new(),
        (Err(message), true) => vec![format!("ours denied: {message}")],
        (Ok(_), false) => vec!["ours allowed, theirs denied".to_owned()],
        (Ok(pod), true) => differences(&pod, call.patched.as_ref().unwrap_or(&call.pod)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conformance_https_server_gives_istios_answer_to_every_call_of_this_repository() {
    let mut failed = Vec::new();
    let mut asked = 0;
    for (index, mesh) in RECORDINGS.meshes(Compat::Istio).iter().enumerate() {
        // The namespaces of a bundle are evaluated by their labels, which were not recorded.
        if mesh.platform() == Platform::OpenShift {
            continue;
        }
        let files = tempfile::tempdir().unwrap();
        let file = files.path().join("bundle.json");
        fs::write(&file, mesh.effective_bundle().to_string()).unwrap();
        let harness = start_with(injecting(), |options| {
            options.configuration = Origin::Source(Arc::new(Bundle::of(file)))
        })
        .await;
        let mut connection = harness.http1().await;
        for call in RECORDINGS.calls.iter().filter(|call| call.setting == index) {
            within(connection.ready()).await.unwrap();
            let review = review(&call.name, &call.namespace, &call.pod);
            let sent = within(connection.send_request(post(&call.path, review))).await.unwrap();
            let answer = Answer::read(sent).await;
            assert_eq!(answer.status, StatusCode::OK, "{}: {answer:?}", call.name);
            let found = match (stored(&call.pod, &answer.json()), call.allowed) {
                (Err(_), false) => Vec::new(),
                (Ok(pod), true) => differences(&pod, call.patched.as_ref().unwrap_or(&call.pod)),
                (ours, allowed) => vec![format!("theirs: allowed {allowed}; ours: {ours:?}")],
            };
            asked += 1;
            if !found.is_empty() {
                failed.push(format!("{}: {}", call.name, found.join("\n    ")));
            }
        }
        drop(connection);
        harness.server.handle().shutdown();
        assert!(within(harness.server.ended()).await);
    }
    let equal = asked - failed.len();
    println!("conformance, calls of this repository over HTTPS under `compat: istio`: {equal}/{asked} equal");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// A pod as an API server sends it.
fn review(uid: &str, namespace: &str, pod: &Value) -> String {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": uid, "operation": "CREATE", "namespace": namespace,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "object": pod,
        },
    });
    review.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the recordings in ../shared/istio-golden"]
async fn conformance_https_server_gives_istios_answer_to_every_recorded_call() {
    let folder = recordings();
    let calls = calls(&folder);
    let namespaces = namespaces(&calls);
    let mut failed = Vec::new();
    for (index, setting) in settings(&folder).iter().enumerate() {
        let files = tempfile::tempdir().unwrap();
        let file = files.path().join("bundle.json");
        fs::write(&file, bundle(setting, "istio", &namespaces)).unwrap();
        let harness = start_with(injecting(), |options| {
            options.configuration = Origin::Source(Arc::new(Bundle::of(file)))
        })
        .await;
        let mut connection = harness.http1().await;
        for call in calls.iter().filter(|call| call.setting == index) {
            let review = review(&call.name, &call.namespace, &call.pod);
            within(connection.ready()).await.unwrap();
            let sent = within(connection.send_request(post("/inject", review))).await.unwrap();
            let answer = Answer::read(sent).await;
            assert_eq!(answer.status, StatusCode::OK, "{}: {answer:?}", call.name);
            let answer = answer.json();
            assert_eq!(answer["response"]["uid"], call.name.as_str());
            let found = against_recording(call, &answer);
            if !found.is_empty() {
                failed.push(format!("{}: {}", call.name, found.join("\n    ")));
            }
        }
        drop(connection);
        harness.server.handle().shutdown();
        assert!(within(harness.server.ended()).await);
    }
    println!(
        "conformance, webhook calls over HTTPS under `compat: istio`: {}/{} equal",
        calls.len() - failed.len(),
        calls.len()
    );
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
