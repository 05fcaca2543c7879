//! The diff of any two documents, and patches of any operations, against the crate json-patch.

use outrigger::patch::{self, Operation};
use serde_json::{Value, json};

use super::promises;
use crate::{Fate, generators::pods, random::Random};

pub(super) fn check(bytes: &[u8]) -> Fate {
    let mut random = Random::new(bytes);
    match random.below(3) {
        0 => operations(&mut random),
        1 => {
            let before = pods::pod(&mut random);
            let mut after = pods::mutated(&mut random, &before);
            scramble(&mut random, &mut after);
            differ(&before, &after);
        }
        _ => {
            let before = value(&mut random, 4);
            let after = if random.percent(20) {
                value(&mut random, 4)
            } else {
                let mut after = before.clone();
                scramble(&mut random, &mut after);
                after
            };
            differ(&before, &after);
        }
    }
    Fate::Keep
}

fn differ(before: &Value, after: &Value) {
    let operations = patch::diff(before, after);
    patch::verify(before, &operations, after).unwrap_or_else(|error| panic!("{error}: {operations:?}"));
    let wanted = with_managed_fields_of(before, after);
    let text = patch::to_json(&operations);
    assert_eq!(patch::from_json(&text).expect("a patch"), operations);
    assert_eq!(patch::apply(before, &operations).as_ref(), Ok(&wanted), "{text}");
    assert_eq!(promises::apply(before, text.as_bytes()), wanted, "{text}");
    assert_eq!(operations.is_empty(), *before == wanted, "{text}");
}

/// `metadata.managedFields` belongs to the API server: a patch leaves it as it is.
fn with_managed_fields_of(before: &Value, after: &Value) -> Value {
    let mut wanted = after.clone();
    if before["metadata"].is_object()
        && let Some(metadata) = wanted.get_mut("metadata").and_then(Value::as_object_mut)
    {
        match before["metadata"].get("managedFields") {
            Some(own) => metadata.insert("managedFields".to_owned(), own.clone()),
            None => metadata.remove("managedFields"),
        };
    }
    wanted
}

/// Operations at existing places, and at some missing ones.
fn operations(random: &mut Random<'_>) {
    let document = value(random, 4);
    let mut places = Vec::new();
    pointers(&document, String::new(), &mut places);
    let mut operations: Vec<Operation<'static>> = Vec::new();
    for _ in 0..=random.below(5) {
        let path = place(random, &places);
        let new = || std::borrow::Cow::Owned(json!("new"));
        operations.push(match random.below(4) {
            0 => Operation::Add { path, value: new() },
            1 => Operation::Remove { path },
            2 => Operation::Replace { path, value: new() },
            _ => Operation::Move { from: place(random, &places), path },
        });
    }
    let text = patch::to_json(&operations);
    let ours = patch::apply(&document, &operations);
    let mut theirs = document.clone();
    let parsed: Result<json_patch::Patch, _> = serde_json::from_str(&text);
    let Ok(parsed) = parsed else {
        assert!(ours.is_err(), "{text} applies, and json-patch cannot read it");
        return;
    };
    // `patch` would roll back after an error, and panics if it cannot (json-patch 5.0.0).
    let applied = json_patch::patch_unsafe(&mut theirs, &parsed);
    match (ours, applied) {
        (Ok(ours), Ok(())) => assert_eq!(ours, theirs, "{text} to {document}"),
        (Err(_), Err(_)) => {}
        // Ours only moves within a list.
        (Err(_), Ok(()))
            if operations.iter().any(|operation| matches!(operation, Operation::Move { .. })) => {}
        (ours, theirs) => panic!("{text} to {document}: ours {ours:?}, theirs {theirs:?}"),
    }
}

fn place(random: &mut Random<'_>, places: &[String]) -> String {
    let mut place = random.pick(places).clone();
    if random.percent(30) {
        place.push('/');
        const STEPS: &[&str] = &["-", "0", "1", "01", "+1", "9", "a", "", "~0", "~1", "~2", "é"];
        place.push_str(random.pick::<&str>(STEPS));
    }
    place
}

fn pointers(value: &Value, path: String, all: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let step = key.replace('~', "~0").replace('/', "~1");
                pointers(value, format!("{path}/{step}"), all);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointers(item, format!("{path}/{index}"), all);
            }
        }
        _ => {}
    }
    all.push(path);
}

/// A document with the keys and lists that a patch treats in its own way.
fn value(random: &mut Random<'_>, depth: usize) -> Value {
    const KEYS: &[&str] = &[
        "metadata",
        "spec",
        "managedFields",
        "containers",
        "volumes",
        "env",
        "ports",
        "name",
        "containerPort",
        "args",
        "labels",
        "a/b",
        "m~n",
        "",
        "0",
        "-",
        "é",
    ];
    match random.below(if depth == 0 { 5 } else { 9 }) {
        0 => Value::Null,
        1 => json!(random.percent(50)),
        2 => json!(*random.pick(&[0i64, 1, -1, 80, i64::MAX, i64::MIN])),
        3 => json!(*random.pick(&[0.0f64, -0.0, 1.0, 0.5, 1e300])),
        4 => json!(*random.pick(&["a", "b", "c", "", "~", "/"])),
        5 | 6 => (0..random.below(5)).map(|_| value(random, depth - 1)).collect(),
        _ => {
            let pairs: Vec<(String, Value)> = (0..random.below(5))
                .map(|_| ((*random.pick(KEYS)).to_owned(), value(random, depth - 1)))
                .collect();
            Value::Object(pairs.into_iter().collect())
        }
    }
}

/// Changes some places: replaces values; moves, doubles and removes elements.
fn scramble(random: &mut Random<'_>, document: &mut Value) {
    for _ in 0..=random.below(6) {
        let mut places = Vec::new();
        pointers(document, String::new(), &mut places);
        let path = random.pick(&places);
        let Some(found) = document.pointer_mut(path) else { continue };
        match found {
            Value::Array(items) if !items.is_empty() && !random.percent(20) => {
                let at = random.below(items.len());
                match random.below(4) {
                    0 => {
                        let item = items.remove(at);
                        let to = random.below(items.len() + 1);
                        items.insert(to, item);
                    }
                    1 => {
                        items.remove(at);
                    }
                    2 => {
                        let item = items[at].clone();
                        let to = random.below(items.len() + 1);
                        items.insert(to, item);
                    }
                    _ => items.insert(at, value(random, 2)),
                }
            }
            Value::Object(map) if !map.is_empty() && !random.percent(20) => {
                let keys: Vec<String> = map.keys().cloned().collect();
                let key = random.pick(&keys);
                let taken = map.remove(key);
                if random.percent(50)
                    && let Some(taken) = taken
                {
                    map.insert((*random.pick(&["name", "other", "a/b"])).to_owned(), taken);
                }
            }
            other => *other = value(random, 2),
        }
    }
}
