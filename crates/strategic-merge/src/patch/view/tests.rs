//! Compares the verification with another implementation of RFC 6902, `json-patch`, on correct and corrupted patches.

use std::borrow::Cow;

use json_patch::{
    AddOperation, MoveOperation, PatchOperation, RemoveOperation, ReplaceOperation, jsonptr::PointerBuf,
};
use proptest::{prelude::*, sample::Index};
use serde_json::{Map, Value, json};

use super::super::{Operation, apply, diff, from_json, to_json, verify};

/// The result of `json-patch`; `None` if the patch does not apply.
fn others(document: &Value, operations: &[Operation<'_>]) -> Option<Value> {
    let pointer = |path: &str| PointerBuf::parse(path).ok();
    let operation = |operation: &Operation<'_>| {
        Some(match operation {
            Operation::Add { path, value } => {
                PatchOperation::Add(AddOperation { path: pointer(path)?, value: Value::clone(value) })
            }
            Operation::Remove { path } => PatchOperation::Remove(RemoveOperation { path: pointer(path)? }),
            Operation::Replace { path, value } => {
                PatchOperation::Replace(ReplaceOperation { path: pointer(path)?, value: Value::clone(value) })
            }
            Operation::Move { from, path } => {
                PatchOperation::Move(MoveOperation { from: pointer(from)?, path: pointer(path)? })
            }
        })
    };
    let steps: Vec<_> = operations.iter().map(operation).collect::<Option<_>>()?;
    let mut patched = document.clone();
    json_patch::patch_unsafe(&mut patched, &steps).ok()?;
    Some(patched)
}

/// Whether a patch with the result `patched` is one from `received` to `wanted`, computed independently of the tested
/// code.
fn proves(received: &Value, patched: &Value, wanted: &Value) -> bool {
    let managed = |document: &Value| document.pointer("/metadata/managedFields").cloned();
    let without = |document: &Value| {
        let mut document = document.clone();
        if let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        document
    };
    let keeps = received["metadata"].is_object() && wanted["metadata"].is_object();
    (!keeps || managed(received) == managed(patched)) && without(patched) == without(wanted)
}

/// Both implementations give the same result for a patch.
fn agree(received: &Value, operations: &[Operation<'_>], wanted: &Value) {
    let others = others(received, operations);
    assert_eq!(apply(received, operations).ok(), others, "{received} {operations:?}");
    let proven = others.is_some_and(|patched| proves(received, &patched, wanted));
    assert_eq!(verify(received, operations, wanted).is_ok(), proven, "{received} {operations:?} {wanted}");
}

/// A corruption of a patch.
#[derive(Clone, Debug)]
enum Fault {
    Dropped(Index),
    Twice(Index),
    Swapped(Index, Index),
    OtherKind(Index, Index),
    OtherValue(Index, Value),
    OtherPlace(Index, Place),
    Added(Index, Index, Place, Place, Value),
}

/// The new place of an operation.
#[derive(Clone, Debug)]
enum Place {
    /// The place of another operation.
    OfAnother(Index),
    /// Any place in the documents.
    Known(Index),
    Above,
    Below(String),
    Sibling(String),
    /// A text that may not be a pointer.
    Text(String),
}

fn steps() -> impl Strategy<Value = String> {
    "name|env|containers|metadata|managedFields|a|-|0|1|2|3|01|99|\\+1|~0|~1|~|"
}

fn any_place() -> impl Strategy<Value = Place> {
    prop_oneof![
        any::<Index>().prop_map(Place::OfAnother),
        any::<Index>().prop_map(Place::Known),
        Just(Place::Above),
        steps().prop_map(Place::Below),
        steps().prop_map(Place::Sibling),
        "[/~01a-]{0,4}".prop_map(Place::Text),
    ]
}

fn any_fault() -> impl Strategy<Value = Fault> {
    let at = any::<Index>;
    prop_oneof![
        at().prop_map(Fault::Dropped),
        at().prop_map(Fault::Twice),
        (at(), at()).prop_map(|(one, other)| Fault::Swapped(one, other)),
        (at(), at()).prop_map(|(at, kind)| Fault::OtherKind(at, kind)),
        (at(), any_json()).prop_map(|(at, value)| Fault::OtherValue(at, value)),
        (at(), any_place()).prop_map(|(at, place)| Fault::OtherPlace(at, place)),
        (at(), at(), any_place(), any_place(), any_json())
            .prop_map(|(at, kind, from, path, value)| Fault::Added(at, kind, from, path, value)),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3i64).prop_map(Value::from),
        Just(json!(1.0)),
        "[ab/~]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("name|env|containers|metadata|managedFields|[a/~0-]", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A pod with few different names and contents, so that two of them have much in common.
fn any_pod() -> impl Strategy<Value = Value> {
    let env = prop::collection::vec(("[A-D]", 0..3), 0..4).prop_map(|env| {
        env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect::<Value>()
    });
    let container =
        ("[a-f]", 0..3, env).prop_map(|(name, image, env)| json!({"name": name, "image": image, "env": env}));
    let containers = prop::collection::vec(container, 0..6);
    let annotations = prop::collection::btree_map("[a-c]/[a-c~]", 0..3, 0..4);
    let managed = prop::option::of(0..2);
    (containers, annotations, managed).prop_map(|(containers, annotations, managed)| {
        let mut pod = json!({"metadata": {"annotations": annotations}, "spec": {"containers": containers}});
        if let Some(managed) = managed {
            pod["metadata"]["managedFields"] = json!([{"manager": managed}]);
        }
        pod
    })
}

/// Every pointer into a document.
fn pointers(value: &Value, path: &str, all: &mut Vec<String>) {
    all.push(path.to_owned());
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let step = key.replace('~', "~0").replace('/', "~1");
                pointers(value, &format!("{path}/{step}"), all);
            }
        }
        Value::Array(list) => {
            for (at, value) in list.iter().enumerate() {
                pointers(value, &format!("{path}/{at}"), all);
            }
        }
        _ => {}
    }
}

fn of_kind(kind: usize, from: String, path: String, value: Value) -> Operation<'static> {
    let value = Cow::Owned(value);
    match kind {
        0 => Operation::Add { path, value },
        1 => Operation::Remove { path },
        2 => Operation::Replace { path, value },
        _ => Operation::Move { from, path },
    }
}

fn place(place: &Place, own: &str, operations: &[Operation<'_>], known: &[String]) -> String {
    let above = own.rsplit_once('/').map_or("", |(above, _)| above);
    match place {
        Place::OfAnother(at) if !operations.is_empty() => at.get(operations).path().to_owned(),
        Place::OfAnother(at) | Place::Known(at) => at.get(known).clone(),
        Place::Above => above.to_owned(),
        Place::Below(step) => format!("{own}/{step}"),
        Place::Sibling(step) => format!("{above}/{step}"),
        Place::Text(text) => text.clone(),
    }
}

fn spoil(operations: &mut Vec<Operation<'static>>, fault: &Fault, known: &[String]) {
    if let Fault::Added(at, kind, from, path, value) = fault {
        let from = place(from, "/spec/containers/0", operations, known);
        let path = place(path, "/spec/containers/0", operations, known);
        let added = of_kind(kind.index(4), from, path, value.clone());
        operations.insert(at.index(operations.len() + 1), added);
        return;
    }
    if operations.is_empty() {
        return;
    }
    let all = operations.clone();
    let of = |at: &Index| at.index(all.len());
    match fault {
        Fault::Dropped(at) => drop(operations.remove(of(at))),
        Fault::Twice(at) => operations.insert(of(at), all[of(at)].clone()),
        Fault::Swapped(one, other) => operations.swap(of(one), of(other)),
        Fault::OtherKind(at, kind) => {
            let path = all[of(at)].path().to_owned();
            let (from, value) = match &all[of(at)] {
                Operation::Add { value, .. } | Operation::Replace { value, .. } => {
                    (path.clone(), Value::clone(value))
                }
                Operation::Move { from, .. } => (from.clone(), Value::Null),
                Operation::Remove { .. } => (path.clone(), Value::Null),
            };
            operations[of(at)] = of_kind(kind.index(4), from, path, value);
        }
        Fault::OtherValue(at, other) => {
            if let Operation::Add { value, .. } | Operation::Replace { value, .. } = &mut operations[of(at)] {
                *value = Cow::Owned(other.clone());
            }
        }
        Fault::OtherPlace(at, other) => {
            let own = all[of(at)].path().to_owned();
            let (Operation::Add { path, .. }
            | Operation::Remove { path }
            | Operation::Replace { path, .. }
            | Operation::Move { path, .. }) = &mut operations[of(at)];
            *path = place(other, &own, &all, known);
        }
        Fault::Added(..) => {}
    }
}

/// Checks the correct patch and the corrupted one.
fn judge(received: &Value, wanted: &Value, faults: &[Fault]) {
    let operations = diff(received, wanted);
    verify(received, &operations, wanted).unwrap();
    agree(received, &operations, wanted);
    let mut known = Vec::new();
    pointers(received, "", &mut known);
    pointers(wanted, "", &mut known);
    let mut spoiled = from_json(&to_json(&operations)).unwrap();
    assert_eq!(spoiled, operations);
    for fault in faults {
        spoil(&mut spoiled, fault, &known);
        agree(received, &spoiled, wanted);
    }
}

#[test]
fn every_single_corruption_of_a_patch_is_found_out() {
    let received = json!({
        "metadata": {"name": "p", "annotations": {"a": "1"}, "managedFields": [{"manager": "m"}]},
        "spec": {"containers": [{"name": "a", "args": ["x"]}, {"name": "b"}, {"name": "c", "tty": true}]},
    });
    let wanted = json!({
        "metadata": {"name": "p", "annotations": {"a": "2", "b/c": "3"}, "managedFields": [{"manager": "m"}]},
        "spec": {
            "containers": [{"name": "c", "tty": true}, {"name": "p"}, {"name": "a", "args": ["x", "y"]}],
            "volumes": [{"name": "v"}],
        },
    });
    let right = from_json(&to_json(&diff(&received, &wanted))).unwrap();
    verify(&received, &right, &wanted).unwrap();
    let kinds: std::collections::BTreeSet<_> =
        right.iter().map(|operation| serde_json::to_value(operation).unwrap()["op"].to_string()).collect();
    assert_eq!(kinds.len(), 4, "{right:?}");
    let refused = |spoiled: &[Operation<'_>], what: &str| {
        assert!(verify(&received, spoiled, &wanted).is_err(), "{what}: {spoiled:?}");
    };
    for at in 0..right.len() {
        let mut spoiled = right.clone();
        spoiled.remove(at);
        refused(&spoiled, "dropped");
        if let Operation::Add { path, value } | Operation::Replace { path, value } = &right[at] {
            let (path, value) = (path.clone(), value.clone());
            spoiled.insert(at, Operation::Remove { path: path.clone() });
            refused(&spoiled, "turned into a removal");
            spoiled[at] = Operation::Add { path: path.clone(), value: Cow::Owned(json!({"other": value})) };
            refused(&spoiled, "another value");
            spoiled[at] = Operation::Add { path: format!("{path}x"), value: value.clone() };
            refused(&spoiled, "another name or no number");
            spoiled[at] = Operation::Add { path: format!("{path}/deeper"), value };
            refused(&spoiled, "another depth");
        } else {
            spoiled.insert(at, right[at].clone());
            spoiled.insert(at, right[at].clone());
            refused(&spoiled, "done twice");
        }
        for path in ["/metadata/managedFields", "/spec", "/metadata/name", "/spec/containers/0/name", ""] {
            let mut spoiled = right.clone();
            spoiled.insert(at, Operation::Remove { path: path.to_owned() });
            refused(&spoiled, "something else removed");
            let (path, value) = (path.to_owned(), Cow::Owned(json!("forged")));
            spoiled[at] = Operation::Replace { path, value };
            // After it, the correct operation may repair the document.
            agree(&received, &spoiled, &wanted);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn spoiled_patches_of_any_json_are_judged_as_by_json_patch(
        received in any_json(), wanted in any_json(), faults in prop::collection::vec(any_fault(), 0..4),
    ) {
        judge(&received, &wanted, &faults);
    }

    #[test]
    fn spoiled_patches_of_pods_are_judged_as_by_json_patch(
        received in any_pod(), wanted in any_pod(), faults in prop::collection::vec(any_fault(), 0..4),
    ) {
        judge(&received, &wanted, &faults);
    }

    #[test]
    fn another_document_is_never_taken_for_the_wanted_one(
        received in any_pod(), wanted in any_pod(), other in any_pod(),
    ) {
        let operations = diff(&received, &wanted);
        agree(&received, &operations, &other);
    }
}
