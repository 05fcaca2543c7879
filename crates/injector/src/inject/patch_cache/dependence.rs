//! Whether an answer for the pod that stands for all its siblings holds for each of them: which of its names were, or
//! may have been, compared with another text on the way to the answer.
//!
//! Names that only the pod has need no further thought: [`run`](crate::inject::run) copies them, and the patch does not
//! mention their places. A name that a template writes into the pod may equal what is there, or what another template
//! wrote, for one sibling and not for the next. This is excluded if it is part of something that is added: a field that
//! was absent, or an element of a list that is matched by names. There, nothing was compared with it.

use gotemplate::StandIns;
use serde_json::{Map, Value};

use crate::names::TOKEN_VOLUME;

/// Lists whose elements Kubernetes matches by a key that no template fills with a name.
const KEYED: [&str; 4] = ["containers", "env", "initContainers", "volumes"];

/// The names on which the operations of a patch for `pod` depend.
pub(super) fn of_patch(operations: &Value, pod: &Value) -> StandIns {
    let mut places = Vec::new();
    find_places(pod, &mut Vec::new(), &mut places);
    let operations = operations.as_array().into_iter().flatten();
    operations.fold(StandIns::NONE, |found, operation| found | of_operation(operation, pod, &places))
}

/// A place in the pod, and the names there.
type Place<'p> = (Vec<Step<'p>>, StandIns);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step<'p> {
    Key(&'p str),
    /// Elements move, so one is as good as another.
    Element,
}

fn find_places<'p>(value: &'p Value, path: &mut Vec<Step<'p>>, places: &mut Vec<Place<'p>>) {
    match value {
        Value::String(text) => {
            let names = StandIns::of(text);
            // The names of token volumes cannot equal any other text, as their prefix stands nowhere else.
            if !names.is_empty() && !text.starts_with(TOKEN_VOLUME) {
                places.push((path.clone(), names));
            }
        }
        Value::Array(items) => {
            for item in items {
                path.push(Step::Element);
                find_places(item, path, places);
                path.pop();
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                path.push(Step::Key(key));
                find_places(value, path, places);
                path.pop();
            }
        }
        _ => {}
    }
}

fn of_operation(operation: &Value, pod: &Value, places: &[Place<'_>]) -> StandIns {
    let text = |key: &str| operation.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut found = StandIns::of(text("path")) | StandIns::of(text("from"));
    let path: Vec<&str> = text("path").split('/').skip(1).collect();
    let is_element = path.last().is_some_and(|last| is_index(last));
    let is_keyed = path.iter().rev().nth(1).is_some_and(|list| KEYED.contains(list));
    let value = operation.get("value").unwrap_or(&Value::Null);
    // An empty object is replaced, but has nothing that could have been compared. Indices may have changed by then.
    let fills = || {
        let is_fixed = !path.iter().any(|step| is_index(step));
        is_fixed && pod.pointer(text("path")).and_then(Value::as_object).is_some_and(Map::is_empty)
    };
    let adds = match text("op") {
        "add" => !is_element || is_keyed && value.is_object(),
        "replace" => fills(),
        _ => false,
    };
    found = found | if adds { of_keys(value) } else { of_value(value) };
    if !(adds && is_element) {
        for pointer in [text("path"), text("from")].into_iter().filter(|pointer| !pointer.is_empty()) {
            let touched = places.iter().filter(|(place, _)| touches(pointer, place));
            found = touched.fold(found, |found, (_, names)| found | *names);
        }
    }
    found
}

/// Whether one of the two places contains the other.
fn touches(pointer: &str, place: &[Step<'_>]) -> bool {
    pointer.split('/').skip(1).zip(place).all(|(step, other)| match other {
        Step::Element => is_index(step),
        Step::Key(key) => step.replace("~1", "/").replace("~0", "~") == *key,
    })
}

fn is_index(step: &str) -> bool {
    step == "-" || !step.is_empty() && step.bytes().all(|digit| digit.is_ascii_digit())
}

fn of_value(value: &Value) -> StandIns {
    match value {
        Value::String(text) => StandIns::of(text),
        Value::Array(items) => items.iter().fold(StandIns::NONE, |found, item| found | of_value(item)),
        Value::Object(map) => {
            map.iter().fold(StandIns::NONE, |found, (key, value)| found | StandIns::of(key) | of_value(value))
        }
        _ => StandIns::NONE,
    }
}

fn of_keys(value: &Value) -> StandIns {
    match value {
        Value::Array(items) => items.iter().fold(StandIns::NONE, |found, item| found | of_keys(item)),
        Value::Object(map) => {
            map.iter().fold(StandIns::NONE, |found, (key, value)| found | StandIns::of(key) | of_keys(value))
        }
        _ => StandIns::NONE,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn on(operation: Value) -> StandIns {
        let pod = json!({
            "metadata": {"name": "\u{E0F0}0\u{E0F1}", "labels": {"a/b": "\u{E0F0}1\u{E0F1}", "c": "d"}, "annotations": {}},
            "spec": {
                "volumes": [{"name": "x", "persistentVolumeClaim": {"claimName": "\u{E0F0}2\u{E0F1}"}}],
                "containers": [{"name": "app"}],
            },
        });
        of_patch(&json!([operation]), &pod)
    }

    #[test]
    fn what_is_added_depends_on_nothing() {
        let name = "\u{E0F0}0\u{E0F1}";
        for operation in [
            json!({"op": "add", "path": "/metadata/labels/x", "value": name}),
            json!({"op": "add", "path": "/spec/containers/-", "value": {"name": "p", "env": [{"value": name}]}}),
            json!({"op": "add", "path": "/spec/volumes/0", "value": {"name": "v"}}),
            json!({"op": "replace", "path": "/metadata/labels/c", "value": "e"}),
            json!({"op": "replace", "path": "/metadata/annotations", "value": {"x": name}}),
            json!({"op": "remove", "path": "/spec/containers/0"}),
        ] {
            assert_eq!(on(operation.clone()), StandIns::NONE, "{operation}");
        }
    }

    #[test]
    fn what_was_compared_with_a_name_depends_on_it() {
        let name = "\u{E0F0}0\u{E0F1}";
        for (operation, number) in [
            (json!({"op": "replace", "path": "/metadata/labels/c", "value": name}), 0),
            (json!({"op": "replace", "path": "/metadata/labels", "value": {"c": name}}), 0),
            (json!({"op": "add", "path": "/spec/containers/0/args/0", "value": name}), 0),
            (json!({"op": "add", "path": "/metadata/finalizers/-", "value": name}), 0),
            (json!({"op": "add", "path": "/metadata/annotations", "value": {name: "x"}}), 0),
            (json!({"op": "add", "path": format!("/metadata/annotations/{name}"), "value": "x"}), 0),
            (json!({"op": "replace", "path": "/metadata/name", "value": "x"}), 0),
            (json!({"op": "remove", "path": "/metadata/labels/a~1b"}), 1),
            (json!({"op": "replace", "path": "/metadata/labels", "value": {}}), 1),
            (json!({"op": "replace", "path": "/spec/volumes/3", "value": {}}), 2),
            (json!({"op": "move", "from": "/spec/volumes/3", "path": "/spec/volumes/0"}), 2),
            (json!({"op": "add", "path": "/spec/volumes/0/persistentVolumeClaim", "value": {}}), 2),
        ] {
            assert!(on(operation.clone()).contains(StandIns::one(number)), "{operation}");
        }
    }
}
