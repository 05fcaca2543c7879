//! Compares merging with Kubernetes' own answers (`hack/oracle/strategicmerge`), and tests our own rules.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::directive::Key;
use super::{Directives, Error, has_directives, is_directed, pod};

fn honor(original: Value, patch: Value) -> Result<Value, Error> {
    pod(original, &patch, Directives::Honor)
}

fn literal(original: Value, patch: Value) -> Result<Value, Error> {
    pod(original, &patch, Directives::Literal)
}

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    original: Value,
    patch: Value,
    result: Option<Value>,
    error: Option<String>,
}

/// Cases with intended differences from Go.
const DIFFERENT: &[(&str, &str)] = &[
    (
        "a field in the wrong case",
        "Go finds the merge key of `containers` for `Containers`; the API server does not know the field",
    ),
    (
        "generated 083",
        "an element with `$patch: delete` in a container that is new goes to the end in Go when the patch names the \
         container twice; here it lost the directive when it was copied and stays where it was",
    ),
];

/// Go's answer without the nulls and directives of the patch that remained in it.
fn stripped(value: &Value) -> Value {
    match value {
        Value::Object(object) => object
            .iter()
            .filter(|(key, value)| !value.is_null() && matches!(Key::of(key), Key::Field(_)))
            .map(|(key, value)| (key.clone(), stripped(value)))
            .collect(),
        Value::Array(list) => list.iter().map(stripped).collect(),
        scalar => scalar.clone(),
    }
}

#[test]
fn agrees_with_apimachinery() {
    let fixture: Fixture =
        serde_json::from_str(include_str!("../../tests/fixtures/strategicmerge.json")).unwrap();
    let different: BTreeMap<&str, &str> = DIFFERENT.iter().copied().collect();
    let (mut agreed, mut cleaner, mut tolerant, mut listed) = (0, 0, 0, 0);
    let mut wrong = Vec::new();
    for case in &fixture.cases {
        let ours = pod(case.original.clone(), &case.patch, Directives::Honor);
        // Go's words for a field that its types do not have, or have with a different type.
        let unknown = case.error.as_ref().is_some_and(|error| {
            ["unable to find api field", "data type is not struct", "expected slice or array type"]
                .iter()
                .any(|words| error.contains(words))
        });
        let same = ours.as_ref().ok() == case.result.as_ref();
        if different.contains_key(case.name.as_str()) {
            assert!(!same, "{} is listed as different and is not", case.name);
            listed += 1;
        } else if same {
            agreed += 1;
        } else if ours.is_ok() && ours.as_ref().ok() == case.result.as_ref().map(stripped).as_ref() {
            cleaner += 1;
        } else if ours.is_ok() && unknown {
            tolerant += 1;
        } else {
            wrong.push(format!(
                "{}\n  original {}\n  patch    {}\n  go       {}\n  ours     {}",
                case.name,
                case.original,
                case.patch,
                case.result.as_ref().map_or_else(|| format!("{:?}", case.error), Value::to_string),
                ours.map_or_else(|error| error.to_string(), |pod| pod.to_string()),
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases\n{}", wrong.len(), fixture.cases.len(), wrong.join("\n"));
    assert_eq!(listed, DIFFERENT.len(), "a case is listed as different and is not in the fixture");
    // Exact, so that a case that changes its category is noticed.
    assert_eq!((agreed, cleaner, tolerant), (493, 153, 7));
}

#[test]
fn directives_in_user_data_are_ordinary_keys() {
    let merged = literal(
        json!({"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [{"name": "a", "tty": true}]}}),
        json!({
            "metadata": {"labels": {"$patch": "delete", "$retainKeys": "x"}},
            "spec": {
                "containers": [{"name": "a", "$patch": "replace"}],
                "$setElementOrder/containers": 1,
                "$deleteFromPrimitiveList": [],
            },
        }),
    );
    assert_eq!(
        merged,
        Ok(json!({
            "metadata": {"labels": {"a": "1", "$patch": "delete", "$retainKeys": "x"}},
            "spec": {
                "containers": [{"name": "a", "tty": true, "$patch": "replace"}],
                "$setElementOrder/containers": 1,
                "$deleteFromPrimitiveList": [],
            },
        }))
    );
}

#[test]
fn nulls_in_user_data_say_nothing() {
    let merged = literal(
        json!({"spec": {"hostname": "a", "containers": [{"name": "a", "image": "i"}]}}),
        json!({"spec": {"hostname": null, "dns": null, "containers": [{"name": "a", "image": null}, {"name": "b", "tty": null}]}}),
    );
    assert_eq!(
        merged,
        Ok(json!({"spec": {"hostname": "a", "containers": [{"name": "a", "image": "i"}, {"name": "b"}]}}))
    );
}

#[test]
fn user_data_merges_and_orders_as_any_patch() {
    let merged = literal(
        json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}}),
        json!({"spec": {"containers": [{"name": "n"}, {"name": "b", "image": "i"}]}}),
    );
    assert_eq!(
        merged,
        Ok(json!({"spec": {"containers": [{"name": "n"}, {"name": "a"}, {"name": "b", "image": "i"}]}}))
    );
}

#[test]
fn what_looks_like_a_directive_in_the_pod_is_data() {
    let original = json!({"metadata": {"annotations": {"$patch": "delete", "$retainKeys": "[]"}}});
    let merged = honor(original, json!({"metadata": {"annotations": {"a": "b"}}}));
    let expected = json!({"metadata": {"annotations": {"$patch": "delete", "$retainKeys": "[]", "a": "b"}}});
    assert_eq!(merged, Ok(expected));
}

#[test]
fn future_fields_survive_on_both_sides() {
    let merged = honor(
        json!({"spec": {"future": {"a": 1, "list": [1, 2]}, "containers": [{"name": "a", "knobs": [{"x": 1}]}]}}),
        json!({"spec": {"future": {"b": 2, "list": [3]}, "containers": [{"name": "a", "knobs": [{"y": 1}]}]}}),
    );
    assert_eq!(
        merged,
        Ok(
            json!({"spec": {"future": {"a": 1, "b": 2, "list": [3]}, "containers": [{"name": "a", "knobs": [{"y": 1}]}]}})
        )
    );
}

#[test]
fn errors_name_the_place() {
    let spec = |containers: Value| json!({"spec": {"containers": containers}});
    let refused = [
        (
            honor(
                spec(json!([{"name": "a", "env": [{"name": "A"}]}])),
                spec(json!([{"name": "a", "env": [{"value": "1"}]}])),
            ),
            "spec.containers[0].env: an element of the patch has no `name`, by which the elements of this list are matched",
        ),
        (
            honor(
                spec(json!([{"name": "a", "env": [{"value": "A"}]}])),
                spec(json!([{"name": "a", "env": [{"name": "1"}]}])),
            ),
            "spec.containers[0].env: an element of the pod has no `name`, by which the elements of this list are matched",
        ),
        (
            honor(spec(json!([{"name": "a"}])), spec(json!(["a"]))),
            "spec.containers: found a string as an element, expected an object",
        ),
        (
            honor(spec(json!([{"name": "a"}])), spec(json!([{"name": ["a"]}]))),
            "spec.containers: the `name` of an element is a list, expected a string or a number",
        ),
        (
            honor(spec(json!([{"name": "a"}])), spec(json!([{"name": "a", "$patch": "remove"}]))),
            "spec.containers[0]: `$patch` is `remove`, expected `replace` or `delete`",
        ),
        (
            honor(
                json!({"metadata": {"labels": {"x.y/z": {"a": 1}}}}),
                json!({"metadata": {"labels": {"x.y/z": {"$patch": 1}}}}),
            ),
            "metadata.labels[\"x.y/z\"]: `$patch` is an integer, expected `replace` or `delete`",
        ),
        (
            honor(json!({"spec": {}}), json!({"spec": {"$retainKeys": ["a"], "hostname": "b"}})),
            "spec: `hostname` is set, but `$retainKeys` does not name it",
        ),
        (
            honor(json!({"spec": {}}), json!({"$setElementOrder": []})),
            "pod: `$setElementOrder` is without a list's name, expected a list's name after a slash",
        ),
        (
            honor(spec(json!("a")), json!({"spec": {"$setElementOrder/containers": [{"name": "a"}]}})),
            "spec.containers: `$setElementOrder/containers` is for a field that is a string, expected for a list",
        ),
        (honor(json!([]), json!({})), "the pod is a list, expected an object"),
        (honor(json!({}), json!("x")), "the patch is a string, expected an object"),
    ];
    for (result, message) in refused {
        assert_eq!(result.map_err(|error| error.to_string()), Err(message.to_owned()));
    }
}

#[test]
fn merging_the_same_patch_again_changes_nothing() {
    let patch = json!({"spec": {
        "containers": [{"name": "p", "env": [{"name": "A", "value": "1"}], "args": ["x"]}, {"name": "b", "tty": true}],
        "volumes": [{"name": "v", "emptyDir": {}}],
    }});
    let original = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
    let once = honor(original, patch.clone()).unwrap();
    assert_eq!(honor(once.clone(), patch), Ok(once));
}

#[test]
fn a_long_list_is_merged_in_reasonable_time() {
    let env = |from: usize| {
        (from..from + 50_000).map(|n| json!({"name": format!("V{n}"), "value": "x"})).collect::<Value>()
    };
    let spec = |env: Value| json!({"spec": {"containers": [{"name": "a", "env": env}]}});
    let merged = honor(spec(env(0)), spec(env(25_000))).unwrap();
    assert_eq!(merged["spec"]["containers"][0]["env"].as_array().map(Vec::len), Some(75_000));
}

/// Arbitrary JSON, with the relevant names mixed in.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        (0..3i64).prop_map(Value::from),
        Just(json!(1.5)),
        "a|b|replace|delete|merge|name".prop_map(Value::from),
    ];
    let keys = "spec|metadata|containers|name|env|finalizers|ports|containerPort|labels|future|args|\\$patch|\\$retainKeys|\\$deleteFromPrimitiveList/finalizers|\\$setElementOrder/containers|\\$setElementOrder/args";
    leaf.prop_recursive(6, 48, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Whether any key in it is a directive.
fn has_directive(value: &Value) -> bool {
    match value {
        Value::Object(object) => {
            object.iter().any(|(key, value)| !matches!(Key::of(key), Key::Field(_)) || has_directive(value))
        }
        Value::Array(list) => list.iter().any(has_directive),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_and_no_directive_gets_through(original in anything(), patch in anything()) {
        let original = stripped(&original);
        if let Ok(merged) = pod(original.clone(), &patch, Directives::Honor) {
            prop_assert!(!has_directive(&merged), "{}", merged);
        }
        let _ = pod(original, &patch, Directives::Literal);
    }

    #[test]
    fn an_empty_patch_changes_nothing(original in anything()) {
        prop_assume!(original.is_object());
        for directives in [Directives::Honor, Directives::Literal] {
            prop_assert_eq!(pod(original.clone(), &json!({}), directives), Ok(original.clone()));
        }
    }

    #[test]
    fn user_data_says_what_a_patch_without_directives_says(original in anything(), patch in anything()) {
        let (original, patch) = (stripped(&original), stripped(&patch));
        prop_assert_eq!(
            pod(original.clone(), &patch, Directives::Honor),
            pod(original, &patch, Directives::Literal)
        );
    }
}

#[test]
fn directives_are_recognized_in_one_object() {
    for (patch, has, directed) in [
        (json!({"$patch": "replace"}), true, true),
        (json!({"$retainKeys": ["a"]}), true, true),
        (json!({"$setElementOrder/containers": []}), true, false),
        (json!({"$deleteFromPrimitiveList/finalizers": []}), true, false),
        (json!({"a": {"$patch": "delete"}}), false, false),
        (json!({"patch": "replace"}), false, false),
    ] {
        let object = patch.as_object().unwrap();
        assert_eq!((has_directives(object), is_directed(object)), (has, directed), "{patch}");
    }
}
