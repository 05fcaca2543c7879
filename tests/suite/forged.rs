//! Forged records. Anybody who can create pods can write what an injector writes; the first and the second injection
//! give the same pod regardless.

use std::sync::atomic::{AtomicUsize, Ordering};

use outrigger::{inject::Outcome, names};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

use super::{
    injections::Injected,
    pods,
    properties::{MESHES, check, injected, our_mesh, run},
};

#[test]
fn forged_records_give_the_same_pod_twice() {
    let names = || vec(any::<prop::sample::Index>(), 0..3);
    let text = || {
        prop_oneof![
            4 => Just(None),
            1 => select(vec!["", "{}", "null", "{\"containers\":null}"]).prop_map(|text| Some(text.to_owned())),
        ]
    };
    let all =
        (pods::realistic(), (names(), names(), names()), (names(), names()), (text(), text()), our_mesh());
    let injections = Injected::default();
    check(
        all,
        |(mut pod, (in_containers, in_init, in_volumes), (own, own_init), (status, overrides), mesh)| {
            let mut known = vec!["istio-proxy", "istio-init", "istio-validation", "stranger", "istio-data"];
            known.extend(
                ["containers", "initContainers", "volumes"]
                    .iter()
                    .flat_map(|list| outrigger::pod::spec_list(&pod, list).iter().map(outrigger::pod::name)),
            );
            let pick = |places: &[prop::sample::Index]| -> Vec<&str> {
                places.iter().map(|place| known[place.index(known.len())]).collect()
            };
            let record = |places: &[prop::sample::Index]| -> Vec<Value> {
                let container = |name| json!({"name": name, "image": "forged", "env": [{"name": "FORGED", "value": "1"}]});
                pick(places).into_iter().map(container).collect()
            };
            let status = status.unwrap_or_else(|| {
            json!({"containers": pick(&in_containers), "initContainers": pick(&in_init), "volumes": pick(&in_volumes)})
                .to_string()
        });
            let overrides = overrides.unwrap_or_else(|| {
                json!({"containers": record(&own), "initContainers": record(&own_init)}).to_string()
            });
            let annotations = outrigger::pod::annotations_mut(&mut pod);
            annotations.insert(names::ANNOTATION_STATUS.to_owned(), json!(status));
            annotations.insert(names::ANNOTATION_OVERRIDES.to_owned(), json!(overrides));
            let Some(once) = injections.of(mesh, &pod) else { return };
            let twice = injected(mesh, &once.pod);
            assert_eq!(twice.operations, 0, "{}: {}", MESHES[mesh].0, twice.patch_json);
        },
    );
    injections.enough();
}

/// A container in a forged record: with any name, and with fields of any type.
fn forged_container() -> impl Strategy<Value = Value> {
    let names =
        select(vec!["istio-proxy", "istio-init", "istio-validation", "a-0", "init-0", "stranger", ""]);
    let variables = || {
        let variable = (select(vec!["POD_NAME", "ISTIO_META_CLUSTER_ID", "FORGED", ""]), "[a-z]{0,3}");
        vec(variable.prop_map(|(name, value)| json!({"name": name, "value": value})), 0..4)
    };
    let field = prop_oneof![
        4 => variables().prop_map(|env| ("env", json!(env))),
        2 => Just(("args", json!(["proxy", "forged"]))),
        2 => Just(("image", json!("forged"))),
        2 => Just(("ports", json!([{"containerPort": 15090}, {"containerPort": 15090, "protocol": "UDP"}]))),
        2 => Just(("volumeMounts", json!([{"name": "istio-data", "mountPath": "/var/lib/istio/data"}]))),
        2 => (0..3i64).prop_map(|user| ("securityContext", json!({"runAsUser": user, "capabilities": {"drop": []}}))),
        1 => Just(("restartPolicy", json!("Always"))),
        1 => Just(("readinessProbe", json!({"tcpSocket": {"port": 1}}))),
        1 => Just(("lifecycle", json!({"preStop": {"sleep": {"seconds": 1}}}))),
        1 => Just(("$patch", json!("delete"))),
        1 => (select(vec!["env", "args", "ports", "name", "securityContext", "future"]), pods::json_value()),
    ];
    (names, vec(field, 0..5)).prop_map(|(name, fields)| {
        let mut container = json!({"name": name});
        container
            .as_object_mut()
            .unwrap()
            .extend(fields.into_iter().map(|(key, value)| (key.to_owned(), value)));
        container
    })
}

/// Text for an annotation in which an injector keeps its record, from genuine to absurd.
fn forged_record(lists: &'static [&'static str]) -> impl Strategy<Value = String> {
    let name =
        select(vec!["istio-proxy", "istio-init", "a-0", "init-0", "istio-data", "data", "stranger", ""]);
    let element = prop_oneof![
        3 => forged_container(),
        2 => name.prop_map(|name| json!(name)),
        1 => Just(json!({"name": "istio-data", "hostPath": {"path": "/"}})),
        1 => pods::json_value(),
    ];
    let list = prop_oneof![8 => vec(element, 0..4).prop_map(Value::from), 1 => pods::json_value()];
    let record = vec((select(lists), list), 0..4).prop_map(|entries| {
        Value::Object(entries.into_iter().map(|(key, list)| (key.to_owned(), list)).collect())
    });
    prop_oneof![
        8 => record.clone().prop_map(|record| record.to_string()),
        // A record that contains itself, as text and as a container's variable.
        1 => record.clone().prop_map(|record| {
            let own = json!({"name": "istio-proxy", "image": "auto", "env": [{"name": "FORGED", "value": record.to_string()}]});
            json!({"containers": [own, own], "initContainers": [own], names::ANNOTATION_OVERRIDES: record}).to_string()
        }),
        // One that is very large.
        1 => (record, 1..2000usize).prop_map(|(record, times)| {
            let many: Vec<Value> = (0..times).map(|index| json!({"name": format!("c{index}"), "image": "forged"})).collect();
            let long = "x".repeat(times * 50);
            let own = json!({"name": "istio-proxy", "env": [{"name": "LONG", "value": long}]});
            json!({"containers": [own], "initContainers": many, "more": record}).to_string()
        }),
        1 => select(vec!["", "null", "1", "[]", "\"x\"", "{", "{\"containers\": 1}", "{\"containers\": [1]}"]).prop_map(str::to_owned),
    ]
}

// I-10
#[test]
fn forged_records_of_any_form_give_the_same_pod_twice() {
    let lists: &[&str] = &["containers", "initContainers", "volumes", "imagePullSecrets", "revision"];
    let injected_pods = AtomicUsize::new(0);
    let all = (pods::realistic(), forged_record(lists), forged_record(lists), any::<bool>(), our_mesh());
    check(all, |(mut pod, status, overrides, after_injection, mesh)| {
        if after_injection {
            let Ok(Outcome::Injected(once)) = run(mesh, &pod) else { return };
            pod = once.pod;
        }
        let annotations = outrigger::pod::annotations_mut(&mut pod);
        annotations.insert(names::ANNOTATION_STATUS.to_owned(), json!(status));
        annotations.insert(names::ANNOTATION_OVERRIDES.to_owned(), json!(overrides));
        match run(mesh, &pod) {
            Ok(Outcome::Injected(once)) => {
                injected_pods.fetch_add(1, Ordering::Relaxed);
                let twice = injected(mesh, &once.pod);
                assert_eq!(twice.operations, 0, "{}: {} {pod}", MESHES[mesh].0, twice.patch_json);
            }
            Ok(Outcome::Skipped(skip)) => panic!("{}: {}", MESHES[mesh].0, skip.decision.sentence),
            Err(refusal) => assert_ne!(
                refusal.code(),
                500,
                "{}: {}",
                MESHES[mesh].0,
                refusal.diagnosis().unwrap_or(refusal.to_string())
            ),
        }
    });
    let injected_pods = injected_pods.into_inner();
    assert!(injected_pods > 40, "{injected_pods} were injected: too few to say anything");
}
