//! Overlays as Go's typed structs would hold them, for Istio decodes what its templates make into a `corev1.Pod`.
//!
//! Keys get the case Kubernetes writes them in: Go's JSON decoder takes `readonly` for `readOnly`, so users have such keys
//! in their annotations and templates, and an API server would drop them. And a number or boolean that Go holds by value
//! is absent when it is zero: templates write `initialDelaySeconds: 0` for "not set".

use serde_json::{Map, Value};

use crate::gotypes::{self, Kind, Type};

/// Fields that Go writes although they are zero (no `omitempty`), some of which are merge keys.
const WRITTEN_WHEN_ZERO: [&str; 4] = ["containerPort", "port", "weight", "maxSkew"];

/// Gives every key of an overlay the case of the field that Go would decode it into, and makes zeros that Go would not
/// write null, which deletes them in a merge. Unknown keys stay as they are.
pub(super) fn canonicalise(overlay: &mut Value) {
    if let Some(overlay) = overlay.as_object_mut() {
        for (key, ty) in [("metadata", &gotypes::OBJECT_META), ("spec", &gotypes::POD_SPEC)] {
            if let Some(Value::Object(map)) = overlay.get_mut(key) {
                object(map, ty);
            }
        }
    }
}

fn object(map: &mut Map<String, Value>, ty: &'static Type) {
    let misspelt: Vec<(String, &'static str)> = map
        .keys()
        .filter(|key| ty.field_by_json(key).is_none())
        .filter_map(|key| {
            let field = ty.fields.iter().find(|field| field.json.eq_ignore_ascii_case(key))?;
            Some((key.clone(), field.json))
        })
        .collect();
    for (key, field) in misspelt {
        if let Some(value) = map.remove(&key) {
            map.entry(field).or_insert(value);
        }
    }
    // What replaces an object as a whole is not merged: a null would stay there.
    let replaces = map.contains_key("$patch");
    for (key, value) in map.iter_mut() {
        let Some(field) = ty.field_by_json(key) else { continue };
        if !replaces && is_absent(value, &field.kind) && !WRITTEN_WHEN_ZERO.contains(&field.json) {
            *value = Value::Null;
        } else {
            nested(value, &field.kind);
        }
    }
}

/// Whether Go cannot tell the value from an absent one.
fn is_absent(value: &Value, kind: &Kind) -> bool {
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

    use super::*;

    #[test]
    fn gives_known_keys_their_case_and_leaves_the_others() {
        let mut overlay = json!({
            "metadata": {"labels": {"readonly": "x"}},
            "spec": {"containers": [{"volumemounts": [{"mountPath": "/a", "readonly": true, "Future": 1}]}]},
        });
        canonicalise(&mut overlay);
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
        canonicalise(&mut overlay);
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
        canonicalise(&mut overlay);
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
            "pointers know zero from absent, and merge keys are needed"
        );
    }

    #[test]
    fn zeros_of_an_object_that_replaces_another_stay() {
        let mut overlay =
            json!({"spec": {"containers": [{"$patch": "replace", "name": "a", "stdin": false}]}});
        let before = overlay.clone();
        canonicalise(&mut overlay);
        assert_eq!(overlay, before);
    }
}
