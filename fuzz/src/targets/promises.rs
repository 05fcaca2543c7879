//! Promises that hold for every pod under every configuration.

use outrigger::{
    inject::{Injection, Outcome, Refusal},
    names, patch,
    pod::annotation,
};
use serde_json::Value;

use crate::{meshes::Configuration, oracle};

/// Injects a pod. A refusal is never our own fault; the same pod gets the same patch; the patch applies and gives the pod
/// that was promised.
pub(super) fn injected(configuration: &Configuration, pod: &Value) -> Option<Box<Injection>> {
    let outcome = configuration.run(pod);
    let again = configuration.run(pod);
    let name = &configuration.name;
    match (outcome, again) {
        (Ok(Outcome::Injected(injection)), Ok(Outcome::Injected(again))) => {
            assert_eq!(injection.patch_json, again.patch_json, "{name}: patches of the same pod differ");
            assert_eq!(injection.warnings, again.warnings, "{name}: warnings of the same pod differ");
            applies(pod, &injection);
            Some(injection)
        }
        (Ok(Outcome::Skipped(skip)), Ok(Outcome::Skipped(again))) => {
            assert_eq!(skip.decision.reason, again.decision.reason, "{name}");
            assert_eq!(skip.warnings, again.warnings, "{name}");
            None
        }
        (Err(refusal), Err(again)) => {
            assert_eq!(refusal.to_string(), again.to_string(), "{name}: refusals of the same pod differ");
            not_our_fault(name, &refusal);
            None
        }
        (outcome, again) => panic!("{name}: first {outcome:?}, then {again:?}"),
    }
}

/// A refusal says what is wrong with the pod.
pub(super) fn not_our_fault(name: &str, refusal: &Refusal) {
    assert_ne!(refusal.code(), 500, "{name}: {}", said(refusal));
    assert!(!refusal.to_string().is_empty());
    let _ = refusal.diagnosis();
}

pub(super) fn said(refusal: &Refusal) -> String {
    refusal.diagnosis().unwrap_or_else(|| refusal.to_string())
}

/// A patch applies, to us and to another implementation of RFC 6902, and gives what was promised.
fn applies(pod: &Value, injection: &Injection) {
    let wanted = injection.clone().whole_pod(pod);
    assert_eq!(apply(pod, injection.patch_json.as_bytes()), wanted, "{}", injection.patch_json);
    let operations = patch::from_json(&injection.patch_json).expect("a patch");
    let ours = patch::apply(pod, &operations).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(ours, wanted, "{}", injection.patch_json);
    assert_eq!(injection.patch().len(), injection.operations);
}

/// Applies a serialized patch with the crate json-patch.
pub(super) fn apply(document: &Value, patch: &[u8]) -> Value {
    let patch: json_patch::Patch =
        serde_json::from_slice(patch).unwrap_or_else(|error| panic!("no patch: {error}"));
    let mut document = document.clone();
    json_patch::patch(&mut document, &patch).unwrap_or_else(|error| panic!("{error}: {patch}"));
    document
}

/// Injecting again changes nothing. A pod that no API server creates never comes back, and may then be refused or changed: for
/// lists without their merge keys or with one of them twice, for example.
pub(super) fn once_is_enough(configuration: &Configuration, injection: &Injection) {
    match configuration.run(&injection.pod) {
        Ok(Outcome::Injected(twice)) => {
            let is_unchanged = twice.operations == 0 || admitted(&injection.pod).is_none();
            assert!(is_unchanged, "{}: {} for {}", configuration.name, twice.patch_json, injection.pod);
        }
        Ok(Outcome::Skipped(skip)) => {
            panic!("{}: skipped the second time, {}", configuration.name, skip.decision.sentence)
        }
        Err(_) if admitted(&injection.pod).is_none() => {}
        Err(refusal) => panic!("{}: refused the second time, {}", configuration.name, said(&refusal)),
    }
}

/// The pod as an API server sends it to webhooks, if it would create it; nothing if Go has no answer.
pub(super) fn admitted(pod: &Value) -> Option<Value> {
    let answer = oracle::pod(pod)?;
    if !answer.invalid.is_empty() {
        return None;
    }
    let text = answer.text?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

/// A pod that an API server creates without injection is also created with it, unless a warning reports that it is not: the
/// pod asks to keep resources that are too small for the proxy, or to have a request for the proxy above its limit.
pub(super) fn stays_valid(configuration: &Configuration, pod: &Value, injection: &Injection) {
    let keeps = annotation(pod, names::ANNOTATION_POD_LEVEL_RESOURCES) == Some("keep");
    let warns = |code| injection.warnings.iter().any(|warning| warning.code == code);
    if keeps && warns("POD_RESOURCES_TOO_SMALL") {
        return;
    }
    let Some(mut answer) = oracle::pod(&injection.pod) else { return };
    if warns("REQUEST_ABOVE_LIMIT") {
        answer.invalid.retain(|error| !error.contains(".resources.requests: "));
    }
    assert!(
        answer.error.is_empty() && answer.invalid.is_empty(),
        "{}: an API server accepts the pod but not the injected one: {}{:#?}\n{pod}\n{}",
        configuration.name,
        answer.error,
        answer.invalid,
        injection.patch_json
    );
}
