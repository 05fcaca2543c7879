//! When two pods are the same pod: compared as JSON, with four allowances and no more.
//!
//! 1. A string that is a JSON object or array on both sides is compared as JSON.
//! 2. An empty value and an absent key are the same where Kubernetes' own types treat them so; `emptyDir: {}` is no such
//!    place, nor are the values of labels and annotations. `metadata.creationTimestamp` and `status` do not count.
//! 3. Quantities are compared by value.
//! 4. (Denials are compared by the caller: a denial is a denial.)

use serde_json::{Map, Value};

/// The differences between two documents, each with its path; empty when they are equal.
pub(crate) fn differences(ours: &Value, theirs: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(&normal(ours, ""), &normal(theirs, ""), "", &mut found);
    found
}

fn compare(ours: &Value, theirs: &Value, path: &str, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let path = format!("{path}/{key}");
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => compare(a, b, &path, found),
                    (Some(a), None) => found.push(format!("{path}: ours {a}, theirs absent")),
                    (None, Some(b)) => found.push(format!("{path}: ours absent, theirs {b}")),
                    (None, None) => unreachable!("the key is of one of them"),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(a, b, &format!("{path}/{index}"), found);
            }
        }
        (Value::String(a), Value::String(b)) => {
            let same = a == b
                || match (embedded(a), embedded(b)) {
                    (Some(a), Some(b)) => a == b,
                    _ => false,
                };
            if !same {
                found.push(format!("{path}: ours {a:?}, theirs {b:?}"));
            }
        }
        _ if ours == theirs => {}
        _ => found.push(format!("{path}: ours {ours}, theirs {theirs}")),
    }
}

fn embedded(text: &str) -> Option<Value> {
    serde_json::from_str(text.trim()).ok().filter(|value: &Value| value.is_object() || value.is_array())
}

/// Maps whose values are the user's strings: an empty one has a meaning.
const STRING_MAPS: [&str; 4] = ["labels", "annotations", "nodeSelector", "matchLabels"];
const QUANTITIES: [&str; 2] = ["divisor", "sizeLimit"];

fn normal(value: &Value, key: &str) -> Value {
    match value {
        Value::Object(map) if STRING_MAPS.contains(&key) => Value::Object(map.clone()),
        Value::Object(map) if key == "limits" || key == "requests" => {
            Value::Object(map.iter().map(|(name, value)| (name.clone(), quantity(value))).collect())
        }
        Value::Object(map) => Value::Object(normal_map(map)),
        Value::Array(items) => items.iter().map(|item| normal(item, "")).collect(),
        other if QUANTITIES.contains(&key) => quantity(other),
        other => other.clone(),
    }
}

fn normal_map(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter()
        .filter(|(key, _)| !["creationTimestamp", "status", "managedFields"].contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), normal(value, key)))
        // A quantity is not a pointer in Go: an absent one is written as 0.
        .filter(|(key, value)| !(key == "divisor" && *value == 0.0))
        .filter(|(key, value)| !is_empty(value) || (key == "emptyDir" && value.is_object()))
        .collect()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A quantity in thousandths, so that `2000m`, `2` and `"2"` are equal.
fn quantity(value: &Value) -> Value {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let digits = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let scale = match suffix {
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        _ => return Value::String(text),
    };
    number
        .parse::<f64>()
        .map_or(Value::String(text.clone()), |number| Value::from((number * scale * 1e3).round()))
}

#[test]
fn allows_what_kubernetes_types_allow_and_nothing_else() {
    use serde_json::json;
    let same = |a: Value, b: Value| assert!(differences(&a, &b).is_empty(), "{a} {b}");
    let differ = |a: Value, b: Value| assert!(!differences(&a, &b).is_empty(), "{a} {b}");
    same(json!({"resources": {}}), json!({}));
    same(json!({"env": [{"name": "A", "value": ""}]}), json!({"env": [{"name": "A"}]}));
    same(json!({"value": "{\"a\": 1}\n"}), json!({"value": "{\"a\":1}"}));
    same(
        json!({"limits": {"cpu": "2000m", "memory": "1024Mi"}}),
        json!({"limits": {"cpu": 2, "memory": "1Gi"}}),
    );
    differ(json!({"emptyDir": {}}), json!({}));
    differ(json!({"labels": {"a": ""}}), json!({"labels": {}}));
    differ(json!({"args": ["a", "b"]}), json!({"args": ["b", "a"]}));
    differ(json!({"value": "a"}), json!({"value": "a "}));
    differ(json!({"hostNetwork": false}), json!({}));
}
