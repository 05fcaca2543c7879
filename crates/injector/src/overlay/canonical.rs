//! Normalizes overlays to what Go's typed structs would hold, because Istio decodes the output of its templates into a
//! `corev1.Pod`.
//!
//! Keys get Kubernetes' spelling: Go's JSON decoder accepts `readonly` for `readOnly`, so users have such keys in their
//! annotations and templates, and an API server would drop them. A number or boolean that Go holds by value is absent
//! when it is zero: templates write `initialDelaySeconds: 0` for "not set".

use serde_json::{Map, Value};

use super::Part;
use crate::gotypes;
use gotemplate::gotypes::{Kind, Type};

/// Fields that Go writes even if they are zero (no `omitempty`), some of which are merge keys.
const WRITTEN_WHEN_ZERO: [&str; 4] = ["containerPort", "port", "weight", "maxSkew"];

/// The parts of an overlay that have a Go type.
const ROOTS: [(&str, &Type); 2] = [("metadata", &gotypes::OBJECT_META), ("spec", &gotypes::POD_SPEC)];

/// Gives every key of an overlay the case of the field that Go would decode it into, and replaces zeros that Go would
/// not write by null, which deletes them in a merge. Unknown keys stay as they are.
pub(super) fn overlay(overlay: &mut Value) {
    if let Some(overlay) = overlay.as_object_mut() {
        for (key, ty) in ROOTS {
            if let Some(Value::Object(map)) = overlay.get_mut(key) {
                object(map, ty);
            }
        }
    }
}

/// [`overlay`] for an overlay that is not filled yet: everything that does not depend on a string of the pod is done
/// here, once.
pub(super) fn unfilled(root: &mut Part) {
    match root {
        Part::Literal(value) => overlay(value),
        Part::Map(_, parts) if parts.iter().any(|(key, _)| key.literal().is_none()) => later(root, None),
        Part::Map(literals, parts) => {
            for (key, ty) in ROOTS {
                if let Some(Value::Object(map)) = literals.get_mut(key) {
                    object(map, ty);
                }
                for (_, part) in parts.iter_mut().filter(|(known, _)| known.literal() == Some(key)) {
                    object_part(part, ty);
                }
            }
        }
        Part::Text(_) | Part::List(..) | Part::Later(..) => {}
    }
}

/// Defers a part until it is filled.
fn later(part: &mut Part, ty: Option<&'static Type>) {
    let undone = std::mem::replace(part, Part::Literal(Value::Null));
    *part = Part::Later(Box::new(undone), ty);
}

fn object_part(part: &mut Part, ty: &'static Type) {
    if let Part::Literal(Value::Object(map)) = part {
        return object(map, ty);
    }
    let Part::Map(literals, parts) = part else { return };
    let is_plain = |key: &str| ty.field_by_json(key).is_some() || respelled(key, ty).is_none();
    let keys = parts.iter().map(|(key, _)| key.literal());
    if !keys.chain(literals.keys().map(|key| Some(key.as_str()))).all(|key| key.is_some_and(is_plain)) {
        return later(part, Some(ty));
    }
    let replaces =
        literals.contains_key("$patch") || parts.iter().any(|(key, _)| key.literal() == Some("$patch"));
    fields(literals, ty, replaces);
    for (key, part) in parts {
        let Some(field) = key.literal().and_then(|key| ty.field_by_json(key)) else { continue };
        let may_be_absent = !replaces && !WRITTEN_WHEN_ZERO.contains(&field.json);
        match part {
            Part::Literal(value) if may_be_absent && is_absent(value, &field.kind) => *value = Value::Null,
            Part::Text(text) if may_be_absent => text.unless_absent = Some(&field.kind),
            part => nested_part(part, &field.kind),
        }
    }
}

fn nested_part(part: &mut Part, kind: &'static Kind) {
    match (part, kind) {
        (Part::Literal(value), kind) => nested(value, kind),
        (part, Kind::Pointer(kind)) => nested_part(part, kind),
        (part @ Part::Map(..), Kind::Struct(ty)) => object_part(part, ty),
        (Part::List(literals, parts), Kind::List(kind)) => {
            literals.iter_mut().for_each(|item| nested(item, kind));
            parts.iter_mut().for_each(|item| nested_part(item, kind));
        }
        (Part::Map(literals, parts), Kind::Map(kind)) => {
            literals.values_mut().for_each(|value| nested(value, kind));
            parts.iter_mut().for_each(|(_, part)| nested_part(part, kind));
        }
        _ => {}
    }
}

/// The field that Go decodes a key into, if it has a different spelling.
fn respelled(key: &str, ty: &'static Type) -> Option<&'static str> {
    Some(ty.fields.iter().find(|field| field.json.eq_ignore_ascii_case(key))?.json)
}

pub(super) fn object(map: &mut Map<String, Value>, ty: &'static Type) {
    // An object that is replaced as a whole is not merged: a null would remain there.
    let replaces = map.contains_key("$patch");
    if fields(map, ty, replaces) {
        return;
    }
    let misspelled: Vec<(String, &'static str)> = map
        .keys()
        .filter(|key| ty.field_by_json(key).is_none())
        .filter_map(|key| Some((key.clone(), respelled(key, ty)?)))
        .collect();
    for (key, field) in misspelled {
        if let Some(value) = map.remove(&key) {
            map.entry(field).or_insert(value);
        }
    }
    fields(map, ty, replaces);
}

/// Normalizes the values of known fields; returns whether all others are certainly unknown.
fn fields(map: &mut Map<String, Value>, ty: &'static Type, replaces: bool) -> bool {
    let mut is_spelled = true;
    for (key, value) in map.iter_mut() {
        let Some(field) = ty.field_by_json(key) else {
            is_spelled &= respelled(key, ty).is_none();
            continue;
        };
        if !replaces && is_absent(value, &field.kind) && !WRITTEN_WHEN_ZERO.contains(&field.json) {
            *value = Value::Null;
        } else {
            nested(value, &field.kind);
        }
    }
    is_spelled
}

/// Whether Go cannot distinguish the value from an absent one.
pub(super) fn is_absent(value: &Value, kind: &Kind) -> bool {
    match kind {
        Kind::Bool => value == &Value::Bool(false),
        Kind::Int | Kind::Uint | Kind::Float => value.as_f64() == Some(0.0),
        _ => false,
    }
}

fn nested(value: &mut Value, kind: &'static Kind) {
    match (value, kind) {
        (Value::Object(map), Kind::Struct(ty)) => object(map, ty),
        (value, Kind::Pointer(kind)) => nested(value, kind),
        (Value::Array(items), Kind::List(kind)) => items.iter_mut().for_each(|item| nested(item, kind)),
        (Value::Object(map), Kind::Map(kind)) => map.values_mut().for_each(|value| nested(value, kind)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Limits, Overlay, Part, Placeholder, yaml};

    #[test]
    fn gives_known_keys_their_case_and_leaves_the_others() {
        let mut overlay = json!({
            "metadata": {"labels": {"readonly": "x"}},
            "spec": {"containers": [{"volumemounts": [{"mountPath": "/a", "readonly": true, "Future": 1}]}]},
        });
        super::overlay(&mut overlay);
        assert_eq!(
            overlay,
            json!({
                "metadata": {"labels": {"readonly": "x"}},
                "spec": {"containers": [{"volumeMounts": [{"mountPath": "/a", "readOnly": true, "Future": 1}]}]},
            })
        );
    }

    #[test]
    fn the_right_case_wins_over_a_wrong_one() {
        let mut overlay = json!({"spec": {"hostnetwork": false, "hostNetwork": true}});
        super::overlay(&mut overlay);
        assert_eq!(overlay, json!({"spec": {"hostNetwork": true}}));
    }

    #[test]
    fn zeros_that_go_would_not_write_are_deleted() {
        let probe = json!({"initialDelaySeconds": 0, "periodSeconds": 1});
        let mut overlay = json!({"spec": {
            "hostIPC": false,
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "a",
                "ports": [{"containerPort": 0, "hostPort": 0}],
                "readinessProbe": probe,
                "securityContext": {"privileged": false, "runAsUser": 0},
                "future": 0,
            }],
        }});
        super::overlay(&mut overlay);
        assert_eq!(
            overlay,
            json!({"spec": {
                "hostIPC": null,
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "a",
                    "ports": [{"containerPort": 0, "hostPort": null}],
                    "readinessProbe": {"initialDelaySeconds": null, "periodSeconds": 1},
                    "securityContext": {"privileged": false, "runAsUser": 0},
                    "future": 0,
                }],
            }}),
            "pointers distinguish zero from absent, and merge keys are needed"
        );
    }

    #[test]
    fn zeros_of_an_object_that_replaces_another_stay() {
        let mut overlay =
            json!({"spec": {"containers": [{"$patch": "replace", "name": "a", "stdin": false}]}});
        let before = overlay.clone();
        super::overlay(&mut overlay);
        assert_eq!(overlay, before);
    }

    #[test]
    fn an_overlay_is_the_same_whether_it_is_filled_before_or_after() {
        let hole = |text: &str| text.replace('<', "\u{E000}").replace('>', "\u{E001}");
        for text in [
            "spec: {containers: [{name: \"<1>\", stdin: <0>, readinessProbe: {periodSeconds: <0>, x: <0>}}]}",
            "spec: {containers: [{name: a, readinessprobe: {periodSeconds: <0>, httpget: {PATH: <1>}}}]}",
            "spec: {containers: [{name: a, stdin: <0>, $patch: replace}]}",
            "spec: {containers: [{$patch: <1>, name: a, stdin: <0>, tty: false}]}",
            "spec: {containers: [{<1>: x, stdin: <0>, TTY: true, ports: [{containerport: <0>, hostPort: <0>}]}]}",
            "metadata: {annotations: {<1>: <0>, a: 0}, generation: <0>}\n<1>: {a: b}\nspec: {hostipc: false}",
            "<1>: {hostIPC: <0>}\nspec: {hostIPC: <0>, hostnetwork: <0>, hostNetwork: true}",
            "spec: {hostIPC: \"<0>\", hostPID: x<0>, securityContext: {runAsUser: <0>}, volumes: [<0>, {name: <1>}]}",
            "spec: <0>\nmetadata: [<1>]",
        ] {
            let text = hole(text);
            for raw in
                [["0", "tty"], ["false", "hostPort"], ["1", "spec"], ["true", "metadata"], ["0.0", "x"]]
            {
                let placeholders = raw.map(|raw| Placeholder { raw: raw.to_owned(), escaped: false });
                let late: Part = yaml::read_rendered(&text, &Limits::rendered()).expect(&text);
                let mut late = late.fill(&placeholders).unwrap();
                super::overlay(&mut late);
                assert_eq!(Overlay::parse(&text).unwrap().fill(&placeholders).unwrap(), late, "{text}");
            }
        }
    }
}
