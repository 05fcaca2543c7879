//! Tests the form of patches, and that they are correct for any documents.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Error, Operation, apply, diff, to_json, to_json_within, verify};

/// The serialized patch, verified.
fn wire(received: &Value, wanted: &Value) -> Value {
    let operations = diff(received, wanted);
    verify(received, &operations, wanted).unwrap();
    serde_json::to_value(operations).unwrap()
}

fn pod(containers: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"containers": containers}})
}

#[test]
fn equal_documents_need_nothing() {
    let pod = pod(json!([{"name": "a", "args": ["x", "x"], "env": []}]));
    assert_eq!(diff(&pod, &pod), []);
}

#[test]
fn a_container_in_front_is_one_add() {
    let received = pod(json!([{"name": "a", "image": "i"}, {"name": "b"}]));
    let wanted = pod(json!([{"name": "p"}, {"name": "a", "image": "i"}, {"name": "b"}]));
    let expected = json!([{"op": "add", "path": "/spec/containers/0", "value": {"name": "p"}}]);
    assert_eq!(wire(&received, &wanted), expected);
}

#[test]
fn a_container_at_the_end_is_one_add() {
    let received = pod(json!([{"name": "a"}]));
    let wanted = pod(json!([{"name": "a"}, {"name": "p"}]));
    let expected = json!([{"op": "add", "path": "/spec/containers/-", "value": {"name": "p"}}]);
    assert_eq!(wire(&received, &wanted), expected);
}

#[test]
fn a_container_in_front_of_one_that_changes_leaves_the_rest_alone() {
    let received =
        pod(json!([{"name": "a", "image": "i", "env": [{"name": "A", "value": "1"}, {"name": "B"}]}]));
    let wanted = pod(json!([
        {"name": "p"},
        {"name": "a", "image": "i", "env": [{"name": "A", "value": "2"}, {"name": "B"}]},
    ]));
    let expected = json!([
        {"op": "add", "path": "/spec/containers/0", "value": {"name": "p"}},
        {"op": "replace", "path": "/spec/containers/1/env/0/value", "value": "2"},
    ]);
    assert_eq!(wire(&received, &wanted), expected);
}

#[test]
fn several_changes_in_one_list_are_counted_as_they_apply() {
    let names = |names: &str| pod(names.chars().map(|name| json!({"name": name, "image": "i"})).collect());
    assert_eq!(
        wire(&names("abcd"), &names("xacy")),
        json!([
            {"op": "remove", "path": "/spec/containers/1"},
            {"op": "add", "path": "/spec/containers/0", "value": {"name": "x", "image": "i"}},
            {"op": "replace", "path": "/spec/containers/3", "value": {"name": "y", "image": "i"}},
        ])
    );
}

#[test]
fn a_container_that_goes_first_is_moved() {
    let names = |names: &str| pod(names.chars().map(|name| json!({"name": name, "image": "i"})).collect());
    let expected = json!([{"op": "move", "from": "/spec/containers/2", "path": "/spec/containers/0"}]);
    assert_eq!(wire(&names("abc"), &names("cab")), expected);
    let expected = json!([{"op": "move", "from": "/spec/containers/0", "path": "/spec/containers/2"}]);
    assert_eq!(wire(&names("abc"), &names("bca")), expected);
}

#[test]
fn a_container_that_moves_and_changes_is_moved_and_changed() {
    let received = pod(json!([{"name": "a"}, {"name": "b"}, {"name": "c", "image": "i", "tty": true}]));
    let wanted = pod(json!([{"name": "c", "image": "j", "tty": true}, {"name": "a"}, {"name": "b"}]));
    let expected = json!([
        {"op": "move", "from": "/spec/containers/2", "path": "/spec/containers/0"},
        {"op": "replace", "path": "/spec/containers/0/image", "value": "j"},
    ]);
    assert_eq!(wire(&received, &wanted), expected);
}

#[test]
fn a_container_renamed_is_another_container() {
    let received = pod(json!([{"name": "a", "image": "i"}, {"name": "z"}]));
    let wanted = pod(json!([{"name": "b", "image": "i"}, {"name": "z"}]));
    let expected =
        json!([{"op": "replace", "path": "/spec/containers/0", "value": {"name": "b", "image": "i"}}]);
    assert_eq!(wire(&received, &wanted), expected);
}

#[test]
fn lists_of_pods_inside_other_kinds_are_keyed_too() {
    let deployment = |containers: Value| json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let received = deployment(json!([{"name": "a", "image": "i"}]));
    let wanted = deployment(json!([{"name": "p"}, {"name": "a", "image": "j"}]));
    let paths: Vec<_> =
        diff(&received, &wanted).iter().map(|operation| operation.path().to_owned()).collect();
    assert_eq!(paths, ["/spec/template/spec/containers/0", "/spec/template/spec/containers/1/image"]);
}

#[test]
fn an_element_without_a_key_is_changed_where_it_differs() {
    let received = json!({"spec": {"tolerations": [{"key": "a", "operator": "Exists"}, {"key": "b"}]}});
    let wanted = json!({"spec": {"tolerations": [{"key": "a", "operator": "Equal"}, {"key": "b"}]}});
    let expected = json!([{"op": "replace", "path": "/spec/tolerations/0/operator", "value": "Equal"}]);
    assert_eq!(wire(&received, &wanted), expected);
}

#[test]
fn an_object_of_which_nothing_stays_is_replaced_at_once() {
    let received = json!({"metadata": {"name": "p", "labels": {"a": "1", "b": "2"}}});
    let wanted = json!({"metadata": {"name": "p", "labels": {"c": "1"}}});
    let expected = json!([{"op": "replace", "path": "/metadata/labels", "value": {"c": "1"}}]);
    assert_eq!(wire(&received, &wanted), expected);
}

#[test]
fn an_absent_parent_is_added_with_its_children() {
    let received = json!({"spec": {"containers": [{"name": "a"}]}});
    let wanted = json!({"spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": "1"}}}]}});
    let expected =
        json!([{"op": "add", "path": "/spec/containers/0/resources", "value": {"limits": {"cpu": "1"}}}]);
    assert_eq!(wire(&received, &wanted), expected);
}

#[test]
fn names_with_slashes_and_tildes_are_escaped() {
    let received = json!({"metadata": {"annotations": {"x": "1"}}});
    let wanted = json!({"metadata": {"annotations": {"x": "1", "a/b~c": "2", "": "3", "~1": "4"}}});
    let operations = diff(&received, &wanted);
    let paths: Vec<_> = operations.iter().map(Operation::path).collect();
    assert_eq!(
        paths,
        ["/metadata/annotations/", "/metadata/annotations/a~1b~0c", "/metadata/annotations/~01"]
    );
    verify(&received, &operations, &wanted).unwrap();
}

#[test]
fn managed_fields_are_never_touched() {
    let with = json!({"metadata": {"name": "a", "managedFields": [{"manager": "m"}]}});
    let without = json!({"metadata": {"name": "b", "labels": {"a": "1"}}});
    let other = json!({"metadata": {"name": "b", "managedFields": []}});
    for (received, wanted) in [(&with, &without), (&without, &with), (&with, &other)] {
        let operations = diff(received, wanted);
        assert!(operations.iter().all(|operation| !operation.path().contains("managedFields")));
        assert!(operations.iter().all(|operation| operation.path() != "/metadata"));
        verify(received, &operations, wanted).unwrap();
    }
    let removal = [Operation::Remove { path: "/metadata/managedFields".to_owned() }];
    assert!(matches!(verify(&with, &removal, &with), Err(Error::Differs { .. })));
}

#[test]
fn a_document_of_another_type_is_replaced() {
    let expected = json!([{"op": "replace", "path": "", "value": [1]}]);
    assert_eq!(wire(&json!({"a": 1}), &json!([1])), expected);
}

// I-12
#[test]
fn a_patch_that_does_something_else_is_found_out() {
    let received = pod(json!([{"name": "a"}]));
    let wanted = pod(json!([{"name": "a", "tty": true}]));
    let refusal =
        |operations: &[Operation<'_>]| verify(&received, operations, &wanted).unwrap_err().to_string();
    assert_eq!(refusal(&[]), "the patched document differs from the expected one at /spec/containers/0/tty");
    let absent = Operation::Remove { path: "/spec/nothing".to_owned() };
    assert!(refusal(&[absent]).starts_with("operation 0 at /spec/nothing does not apply: "));
    let malformed = Operation::Remove { path: "spec".to_owned() };
    assert_eq!(refusal(&[malformed]), "operation 0 has a path that is not a JSON pointer: spec");
}

#[test]
fn long_lists_take_a_reasonable_time() {
    let env = |numbers: &mut dyn Iterator<Item = usize>| {
        pod(
            json!([{"name": "a", "env": numbers.map(|n| json!({"name": format!("V{n}")})).collect::<Value>()}]),
        )
    };
    let received = env(&mut (0..50_000));
    assert_eq!(diff(&received, &env(&mut (0..50_000).rev())).len(), 1, "every element moved");
    assert_eq!(diff(&received, &env(&mut (0..50_000).filter(|n| n % 2 == 0))).len(), 25_000);
    let moved = env(&mut (0..50_000).rev().take(60).chain(0..49_940));
    assert_eq!(diff(&received, &moved).len(), 60);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..4i64).prop_map(Value::from),
        Just(json!(1.5)),
        "[ab/~]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("name|env|containers|metadata|managedFields|[a/~-]", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A list of containers with few different names and contents, so that they recur.
fn any_containers() -> impl Strategy<Value = Value> {
    let container = ("[a-r]", 0..3, prop::collection::vec(0..3, 0..3))
        .prop_map(|(name, image, args)| json!({"name": name, "image": image, "args": args}));
    prop::collection::vec(container, 0..24).prop_map(Value::from)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 384, ..ProptestConfig::default() })]

    #[test]
    fn any_json_becomes_any_other(received in any_json(), wanted in any_json()) {
        let operations = diff(&received, &wanted);
        verify(&received, &operations, &wanted).unwrap();
    }

    #[test]
    fn any_list_of_containers_becomes_any_other(received in any_containers(), wanted in any_containers()) {
        let (received, wanted) = (pod(received), pod(wanted));
        let operations = diff(&received, &wanted);
        // Independent of the differ: the patched document is equal as a whole.
        prop_assert_eq!(&apply(&received, &operations).unwrap(), &wanted);
    }

    #[test]
    fn any_list_of_scalars_becomes_any_other(received in prop::collection::vec(0..5, 0..20), wanted in prop::collection::vec(0..5, 0..20)) {
        let (received, wanted) = (json!({"args": received}), json!({"args": wanted}));
        let operations = diff(&received, &wanted);
        prop_assert_eq!(&apply(&received, &operations).unwrap(), &wanted);
    }

    #[test]
    fn equal_documents_of_any_kind_need_nothing(document in any_json()) {
        prop_assert_eq!(diff(&document, &document), []);
    }

    #[test]
    fn one_new_element_anywhere_is_one_add(containers in any_containers(), at in any::<prop::sample::Index>()) {
        let mut longer = containers.as_array().unwrap().clone();
        prop_assume!(!longer.is_empty());
        longer.insert(at.index(longer.len() + 1), json!({"name": "new", "env": [{"name": "A"}]}));
        let (received, wanted) = (pod(containers), pod(longer.into()));
        let operations = diff(&received, &wanted);
        prop_assert_eq!(operations.len(), 1);
        let is_add = matches!(operations[0], Operation::Add { .. });
        prop_assert!(is_add);
    }

    #[test]
    fn one_element_less_is_one_remove(containers in any_containers(), at in any::<prop::sample::Index>()) {
        let mut all = containers.as_array().unwrap().clone();
        let mut names = std::collections::BTreeSet::new();
        all.retain(|container| names.insert(container["name"].to_string()));
        prop_assume!(all.len() > 1);
        let mut shorter = all.clone();
        shorter.remove(at.index(all.len()));
        let (received, wanted) = (pod(all.into()), pod(shorter.into()));
        let operations = diff(&received, &wanted);
        prop_assert_eq!(operations.len(), 1);
        let is_remove = matches!(operations[0], Operation::Remove { .. });
        prop_assert!(is_remove);
    }

    #[test]
    fn what_did_not_change_does_not_appear(same in any_json(), from in any_json(), to in any_json()) {
        let received = json!({"metadata": {"same": same, "changed": from}, "same": same});
        let wanted = json!({"metadata": {"same": same, "changed": to}, "same": same});
        for operation in diff(&received, &wanted) {
            let path = operation.path();
            prop_assert!(path.starts_with("/metadata/changed"), "{}", path);
        }
    }
}

// I-16
#[test]
fn a_patch_is_written_no_further_than_up_to_its_limit() {
    let (received, wanted) = (json!({"a": 1}), json!({"a": 1, "b": "x".repeat(100)}));
    let operations = diff(&received, &wanted);
    let whole = to_json(&operations);
    assert_eq!(to_json_within(&operations, whole.len()).as_ref(), Some(&whole));
    assert_eq!(to_json_within(&operations, whole.len() - 1), None);
    assert_eq!(to_json_within(&[], 2).as_deref(), Some("[]"));
}
