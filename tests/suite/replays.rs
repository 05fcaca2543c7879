//! Compares the patch cache with the full pipeline: a cached patch for a pod equals the computed one.

use std::{cell::Cell, collections::BTreeMap};

use outrigger::{
    config::Compat,
    inject::{Admission, AdmissionDecision, AdmissionRequest, CacheStatus, Facts, Injector},
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{
    conformance::{calls, meshes, recordings},
    own_recordings::RECORDINGS,
    pods,
    properties::{self, MESHES, check},
};

/// The strings that controllers and admission plugins generate for one pod.
#[derive(Clone, Debug)]
struct Names {
    hash: String,
    uid: String,
    suffix: Option<String>,
    token: String,
}

fn names() -> impl Strategy<Value = Names> {
    // Names consisting only of digits are numbers in YAML.
    let hash = prop_oneof!["[a-z0-9]{8,10}", "[0-9]{9}", "0x[0-9a-f]{6}"];
    let uid = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
    let suffix = proptest::option::of("[a-z0-9]{5}");
    (hash, uid, suffix, "[a-z0-9]{5}").prop_map(|(hash, uid, suffix, token)| Names {
        hash,
        uid,
        suffix,
        token,
    })
}

/// A pod as a ReplicaSet creates it, with the token volume; `None` if it has no place for that.
fn made(pod: &Value, names: &Names) -> Option<Value> {
    let mut pod = pod.clone();
    let metadata = pod.as_object_mut()?.entry("metadata").or_insert_with(|| json!({})).as_object_mut()?;
    metadata.insert("generateName".into(), json!(format!("made-{}-", names.hash)));
    metadata.remove("name");
    if let Some(suffix) = &names.suffix {
        metadata.insert("name".into(), json!(format!("made-{}-{suffix}", names.hash)));
    }
    let owner = format!("made-{}", names.hash);
    metadata.insert(
        "ownerReferences".into(),
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": names.uid, "controller": true}]),
    );
    let managed = json!([{"manager": names.suffix, "fieldsV1": {"f:metadata": {names.uid.as_str(): {}}}}]);
    metadata.insert("managedFields".into(), managed);
    let labels = metadata.entry("labels").or_insert_with(|| json!({})).as_object_mut()?;
    labels.insert("pod-template-hash".into(), json!(names.hash));
    let spec = pod.get_mut("spec")?.as_object_mut()?;
    let volume = format!("kube-api-access-{}", names.token);
    let mount = json!({"name": volume, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true});
    let volumes = spec.entry("volumes").or_insert_with(|| json!([])).as_array_mut()?;
    volumes.retain(|volume| !volume["name"].as_str().unwrap_or_default().starts_with("kube-api-access-"));
    volumes.push(json!({"name": volume, "projected": {}}));
    for container in spec.get_mut("containers")?.as_array_mut()? {
        let mounts = container.as_object_mut()?.entry("volumeMounts").or_insert_with(|| json!([]));
        mounts.as_array_mut()?.push(mount.clone());
    }
    Some(pod)
}

/// The result of the full pipeline, if there is one.
fn whole(injector: &Injector, namespace: &str, pod: &Value) -> Option<Admission> {
    let (text, none) = (pod.to_string(), BTreeMap::new());
    let request = AdmissionRequest::new(&text, namespace, &none);
    let admission = injector.review_uncached(request, &Facts::of(injector.config(), namespace)).unwrap();
    (!matches!(admission.decision, AdmissionDecision::Deny { .. })).then_some(admission)
}

/// Processes a pod twice and then another one: returns the cached result for it, if any.
fn cached(injector: &Injector, namespace: &str, shown: &Value, asked: &Value) -> Option<Admission> {
    let (shown, asked, none) = (shown.to_string(), asked.to_string(), BTreeMap::new());
    let review = |text: &str| {
        let request = AdmissionRequest::new(text, namespace, &none);
        injector.review(request, &Facts::of(injector.config(), namespace)).unwrap()
    };
    for _ in 0..2 {
        assert_ne!(review(&shown).served, CacheStatus::Stale, "{shown}");
    }
    let answer = review(&asked);
    assert_ne!(answer.served, CacheStatus::Stale, "{asked}");
    // Apart from that, it must equal the result computed for this pod.
    (answer.served == CacheStatus::Hit).then_some(Admission { served: CacheStatus::Miss, ..answer })
}

#[test]
fn a_cached_answer_is_what_the_whole_pipeline_says_of_any_pod() {
    let injectors: Vec<Injector> =
        properties::meshes().into_iter().map(|(_, mesh)| Injector::new(mesh)).collect();
    let (asked, given) = (Cell::new(0), Cell::new(0));
    let input = (pods::realistic(), 0..MESHES.len(), names(), names());
    check(input, |(pod, mesh, first, second)| {
        let (Some(shown), Some(sibling)) = (made(&pod, &first), made(&pod, &second)) else { return };
        asked.set(asked.get() + 1);
        let (name, injector) = (&MESHES[mesh].0, &injectors[mesh]);
        if let Some(answer) = cached(injector, "shop", &shown, &sibling) {
            given.set(given.get() + 1);
            assert_eq!(Some(answer), whole(injector, "shop", &sibling), "{name}");
        }
    });
    // About half have a name where the others have none; the careless template inspects some.
    let (asked, given) = (asked.get(), given.get());
    assert!(given * 5 > asked, "{given} of {asked} were cached");
}

#[test]
fn a_cached_answer_is_what_the_whole_pipeline_says_of_every_pod_of_this_repository() {
    for compat in [Compat::Istio, Compat::Outrigger] {
        let meshes = RECORDINGS.accepted(compat);
        let injectors: Vec<_> = meshes.into_iter().map(|mesh| mesh.map(Injector::new)).collect();
        let (first, second) = siblings();
        let (mut asked, mut given) = (0, 0);
        for call in &RECORDINGS.calls {
            let (Some(shown), Some(sibling)) = (made(&call.pod, &first), made(&call.pod, &second)) else {
                continue;
            };
            let Some(injector) = &injectors[call.setting] else { continue };
            let Some(answer) = whole(injector, &call.namespace, &sibling) else { continue };
            asked += 1;
            if let Some(cached) = cached(injector, &call.namespace, &shown, &sibling) {
                given += 1;
                assert_eq!(cached, answer, "{}", call.name);
            }
        }
        println!("cached under `compat: {}`: {given} of {asked} siblings, all equal", compat.as_str());
        // Custom templates inspect names, instead of only copying them.
        assert!(given * 10 > asked * 4, "{given} of {asked} were cached");
    }
}

/// Two replicas' names.
fn siblings() -> (Names, Names) {
    let of = |hash: &str, uid: &str, suffix: &str, token: &str| Names {
        hash: hash.into(),
        uid: uid.into(),
        suffix: Some(suffix.into()),
        token: token.into(),
    };
    let first = of("769df69587", "7913b40b-d2f5-4ceb-a681-6dfdca08f127", "x7k2p", "q8zsn");
    let second = of("123456789", "5f1d1f0e-0a4b-4c57-9d3e-2c7b8a6f9e10", "00000", "11111");
    (first, second)
}

#[test]
#[ignore = "needs the recordings in ../shared/istio-golden"]
fn a_cached_answer_is_what_the_whole_pipeline_says_of_every_recorded_pod() {
    let folder = recordings();
    let calls = calls(&folder);
    for compat in ["istio", "outrigger"] {
        let meshes = meshes(&folder, compat, &calls, &Map::new());
        let injectors: Vec<Injector> = meshes.into_iter().map(Injector::new).collect();
        let (first, second) = siblings();
        let (mut asked, mut given) = (0, 0);
        for call in &calls {
            let (Some(shown), Some(sibling)) = (made(&call.pod, &first), made(&call.pod, &second)) else {
                continue;
            };
            let injector = &injectors[call.setting];
            let Some(answer) = whole(injector, &call.namespace, &sibling) else { continue };
            asked += 1;
            if let Some(cached) = cached(injector, &call.namespace, &shown, &sibling) {
                given += 1;
                assert_eq!(cached, answer, "{}", call.name);
            }
        }
        println!("cached under `compat: {compat}`: {given} of {asked} siblings of recorded pods, all equal");
        assert!(given * 10 > asked * 8, "{given} of {asked} were cached");
    }
}
