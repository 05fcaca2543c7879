use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use gotemplate::gotypes::Field;

/// How Kubernetes' own types decode values in fields, quantities and times.
fn fixture() -> Value {
    serde_json::from_str(include_str!("../../tests/fixtures/formats.json")).unwrap()
}

fn pod_with(path: &[Value], value: &Value) -> Value {
    path.iter().rev().fold(value.clone(), |inner, step| match step.as_str() {
        Some(key) => json!({key: inner}),
        None => json!([inner]),
    })
}

#[test]
fn every_field_of_a_pod_takes_what_its_go_type_takes() {
    let fixture = fixture();
    let values: Vec<Value> = fixture["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|text| serde_json::from_str(text.as_str().unwrap()).unwrap())
        .collect();
    let (mut checked, mut differences) = (0, Vec::new());
    for field in fixture["fields"].as_array().unwrap() {
        let path = field["path"].as_array().unwrap();
        if path[0] != "metadata" && path[0] != "spec" {
            continue;
        }
        for (value, takes) in values.iter().zip(field["takes"].as_str().unwrap().chars()) {
            checked += 1;
            let found = misfits(&pod_with(path, value));
            if found.is_empty() != (takes == '1') {
                differences.push(format!("{} {value}: {found:?}", Value::from(path.clone())));
            }
            // A patch that inserts the value there gives the same result.
            let pointer: String =
                path.iter().map(|step| format!("/{}", step.as_str().unwrap_or("0"))).collect();
            let operation = Operation::Add { path: pointer, value: std::borrow::Cow::Borrowed(value) };
            assert_eq!(is_decodable(&[operation]), takes == '1', "{path:?} {value}");
        }
    }
    assert!(checked > 20_000, "{checked}");
    assert!(differences.is_empty(), "{} of {checked}\n{}", differences.len(), differences.join("\n"));
}

/// Fails if a newer Kubernetes has a kind in its pods that is not handled here.
#[test]
fn pods_have_the_kinds_that_are_read() {
    fn kinds(
        ty: &'static Type,
        seen: &mut BTreeSet<&'static str>,
        all: &mut Vec<(&'static str, &'static str)>,
    ) {
        fn leaf(kind: &'static Kind) -> &'static Kind {
            match kind {
                Kind::Pointer(kind) | Kind::List(kind) | Kind::Map(kind) => leaf(kind),
                kind => kind,
            }
        }
        if !seen.insert(ty.name) {
            return;
        }
        for Field { json, kind, .. } in ty.fields {
            match leaf(kind) {
                Kind::Struct(below) => kinds(below, seen, all),
                kind if unreadable(&json!([]), kind, None).is_none() => all.push((ty.name, json)),
                _ => {}
            }
        }
    }
    let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
    kinds(&POD_SPEC, &mut seen, &mut all);
    kinds(&OBJECT_META, &mut seen, &mut all);
    // Any JSON.
    assert_eq!(all, [("v1.ManagedFieldsEntry", "fieldsV1")]);
}

#[test]
fn a_misfit_is_told_with_its_place() {
    for (spec, wanted) in [
        (json!({"containers": {}}), "spec.containers would be an object, but an API server expects a list"),
        (
            json!({"hostNetwork": "true"}),
            "spec.hostNetwork would be \"true\", but an API server expects true or false",
        ),
        (
            json!({"terminationGracePeriodSeconds": 1.5}),
            "spec.terminationGracePeriodSeconds would be 1.5, but an API server expects an integer of 64 bits",
        ),
        (
            json!({"nodeSelector": {"a": true}}),
            "spec.nodeSelector[\"a\"] would be true, but an API server expects a string; quote it in YAML",
        ),
        (
            json!({"containers": [{"name": "p", "env": [{"name": "A", "value": 1}]}]}),
            "spec.containers[p].env[A].value would be 1, but an API server expects a string; quote it in YAML",
        ),
        (
            json!({"containers": ["p"]}),
            "spec.containers[0] would be \"p\", but an API server expects an object",
        ),
        (
            json!({"containers": [{"name": "p", "resources": {"limits": {"cpu": "2cores"}}}]}),
            "spec.containers[p].resources.limits[\"cpu\"] would be \"2cores\", but an API server expects a quantity such as 500m, 2 or 1.5Gi",
        ),
        (
            json!({"containers": [{"name": "p", "startupProbe": {"failureThreshold": "<no value>"}}]}),
            "spec.containers[p].startupProbe.failureThreshold would be \"<no value>\", but an API server expects an integer; a template writes <no value> for an absent key",
        ),
        (
            json!({"containers": [{"name": "p", "ports": [{"containerPort": 4_000_000_000_u64}]}]}),
            "spec.containers[p].ports[0].containerPort would be 4000000000, but an API server expects an integer from -2147483648 to 2147483647",
        ),
    ] {
        let found = misfits(&json!({"spec": spec}));
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [wanted]);
    }
    let found =
        misfits(&json!({"metadata": {"creationTimestamp": "now", "annotations": {"a": 1}}, "spec": {}}));
    assert_eq!(found.len(), 2);
}

#[test]
fn what_an_api_server_takes_is_let_through() {
    let spec = json!({
        "brandNew": 1, "hostname": null, "containers": [{"name": "p", "ports": [{"containerPort": 80}],
        "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}, "livenessProbe": {"httpGet": {"port": "http"}, "tcpSocket": {"port": 1}}}],
    });
    assert_eq!(misfits(&json!({"spec": spec})), []);
}

#[test]
fn only_what_a_patch_brings_is_looked_at() {
    let add = |path: &str, value: Value| Operation::Add {
        path: path.to_owned(),
        value: std::borrow::Cow::Owned(value),
    };
    assert!(is_decodable(&[
        add("/spec/containers/-", json!({"name": "p"})),
        add("/metadata/annotations/a~1b", json!("1")),
        add("/spec/brandNew", json!({"a": 1})),
        add("/status/phase", json!(1)),
        Operation::Remove { path: "/spec/containers/0".to_owned() },
    ]));
    for (path, value) in [
        ("/spec/containers/-", json!({"env": [{"value": 1}]})),
        ("/spec/containers/0/resources/limits/memory", json!("512MB")),
        ("/spec/containers/0/resources/limits", json!({"memory": "512MB"})),
        ("/metadata/annotations/a~1b", json!(1)),
        ("/spec", json!([])),
        ("/spec/securityContext/supplementalGroups/0", json!(1.5)),
    ] {
        assert!(!is_decodable(&[add(path, value)]), "{path}");
    }
    assert!(is_decodable(&[add("/spec/securityContext/supplementalGroups/0", json!(3_000_000_000_u32))]));
}
