//! Request bytes to response bytes: anything that a peer sends, and the webhook's answer.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use outrigger::{
    config::{InjectorConfig, Source},
    server::{
        configuration::{build, engine::Engine},
        webhook::verdict::{self, Reply},
    },
};
use serde_json::Value;

use super::promises;
use crate::Fate;

const BUNDLES: &[&str] = &[
    "{nativeSidecars: disabled}",
    "{nativeSidecars: enabled, values: {pilot: {cni: {enabled: true}}}}",
    "{compat: istio, injector: {defaultTemplates: [sidecar]}}",
    "{injector: {defaultTemplates: [gateway]}, values: {global: {network: net}}}",
];

static ENGINES: LazyLock<Vec<Arc<dyn Engine>>> = LazyLock::new(|| {
    let engine = |bundle: &&str| {
        let text = format!("{{apiVersion: outrigger.dev/v1alpha1, kind: Bundle, {}", &bundle[1..]);
        let (mesh, _) =
            InjectorConfig::from_bundle(Source { name: "bundle", text: &text }).expect("a bundle");
        build::engine(mesh).expect("a configuration that injects")
    };
    BUNDLES.iter().map(engine).collect()
});

pub(super) fn check(bytes: &[u8]) -> Fate {
    let Some((first, body)) = bytes.split_first() else { return Fate::Keep };
    let engine = ENGINES[usize::from(*first) % ENGINES.len()].as_ref();
    let reply = || verdict::reply(engine, body, BTreeMap::new());
    let answer = match reply() {
        Reply::Review(answer) => answer,
        Reply::Malformed(error) => {
            assert!(!error.to_string().is_empty() && !error.reason().is_empty());
            let Reply::Malformed(again) = reply() else { panic!("malformed, and answered the second time") };
            assert_eq!(error, again);
            return Fate::Keep;
        }
        Reply::Fault => panic!("our own fault"),
    };
    // The second time such a pod becomes known; from the third time on, its answer may be cached.
    for time in ["second", "third", "fourth"] {
        match reply() {
            Reply::Review(again) => assert!(
                answer == again,
                "a different answer the {time} time:\n{}\n{}",
                String::from_utf8_lossy(&answer),
                String::from_utf8_lossy(&again)
            ),
            Reply::Malformed(error) => panic!("malformed the {time} time: {error}"),
            Reply::Fault => panic!("our own fault the {time} time"),
        }
    }
    is_sound(body, &answer);
    Fate::Keep
}

/// The answer is a review of its question, and its patch applies.
fn is_sound(body: &[u8], answer: &[u8]) {
    let answer: Value = serde_json::from_slice(answer).expect("an answer in JSON");
    // An answered request was read, but fields that no decision needs were skipped: a number there may be too large.
    let mut json = serde_json::Deserializer::from_slice(body);
    json.disable_recursion_limit();
    let Ok(review) = <Value as serde::Deserialize>::deserialize(&mut json) else { return };
    let (request, response) = (&review["request"], &answer["response"]);
    assert_eq!(answer["kind"], "AdmissionReview");
    assert_eq!(answer["apiVersion"], review["apiVersion"]);
    assert_eq!(response["uid"], request["uid"]);
    if let Some(warnings) = response["warnings"].as_array() {
        assert!(warnings.iter().all(|warning| warning.as_str().is_some_and(|text| !text.is_empty())));
    }
    match (response["allowed"].as_bool(), response.get("patch")) {
        (Some(true), Some(patch)) => {
            assert_eq!(response["patchType"], "JSONPatch");
            let patch = STANDARD.decode(patch.as_str().expect("text")).expect("base64");
            let patched = promises::apply(&request["object"], &patch);
            assert_ne!(patched, request["object"], "a patch that changes nothing");
        }
        (Some(true), None) => assert!(response.get("patchType").is_none()),
        (Some(false), None) => {
            let status = &response["status"];
            assert!(matches!(status["code"].as_u64(), Some(400 | 403 | 422)), "{status}");
        }
        (allowed, patch) => panic!("allowed {allowed:?} with {patch:?}"),
    }
}
