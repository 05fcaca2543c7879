//! Zero and empty values in a user's container, as Go's types treat them: a field that Go omits when it writes the
//! object counts as absent. At the webhook, the API server has already removed them; in a manifest, they would override
//! the template.

use serde_json::{Map, Value};

use crate::gotypes;
use gotemplate::gotypes::{Kind, Type};

/// Removes fields from a container that Go cannot distinguish from absent ones (`omitempty`).
pub(super) fn drop_from_container(container: &mut Value) {
    let Some(Kind::List(Kind::Struct(ty))) =
        gotypes::POD_SPEC.field_by_json("containers").map(|field| &field.kind)
    else {
        return;
    };
    if let Value::Object(map) = container {
        drop_from(map, ty);
    }
}

fn drop_from(map: &mut Map<String, Value>, ty: &'static Type) {
    map.retain(|key, value| {
        let Some(field) = ty.field_by_json(key) else { return true };
        drop_below(value, &field.kind);
        !is_zero(value, &field.kind) || gotypes::ALWAYS_WRITTEN.binary_search(&(ty.name, field.json)).is_ok()
    });
}

fn drop_below(value: &mut Value, kind: &'static Kind) {
    match (value, kind) {
        (Value::Object(map), Kind::Struct(ty)) => drop_from(map, ty),
        (value, Kind::Pointer(kind)) => drop_below(value, kind),
        (Value::Array(items), Kind::List(kind)) => items.iter_mut().for_each(|item| drop_below(item, kind)),
        _ => {}
    }
}

fn is_zero(value: &Value, kind: &Kind) -> bool {
    match (kind, value) {
        (_, Value::Null) => true,
        (Kind::Bool, value) => value == &Value::Bool(false),
        (Kind::Int | Kind::Uint | Kind::Float, value) => value.as_f64() == Some(0.0),
        (Kind::String | Kind::Bytes, Value::String(text)) => text.is_empty(),
        (Kind::List(_), Value::Array(items)) => items.is_empty(),
        (Kind::Map(_), Value::Object(map)) => map.is_empty(),
        // A pointer distinguishes zero from absent.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_go_leaves_out_was_not_said() {
        let mut container = json!({
            "name": "istio-proxy", "image": "", "args": [], "command": null, "tty": false, "stdin": true,
            "env": [{"name": "A", "value": ""}],
            "ports": [{"containerPort": 0, "hostPort": 0}],
            "readinessProbe": {"timeoutSeconds": 0, "periodSeconds": 5, "terminationGracePeriodSeconds": 0},
            "securityContext": {"runAsUser": 0, "privileged": false},
            "resources": {"limits": {}},
            "future": "",
        });
        drop_from_container(&mut container);
        assert_eq!(
            container,
            json!({
                "name": "istio-proxy", "stdin": true,
                "env": [{"name": "A"}],
                "ports": [{"containerPort": 0}],
                "readinessProbe": {"periodSeconds": 5, "terminationGracePeriodSeconds": 0},
                "securityContext": {"runAsUser": 0, "privileged": false},
                "resources": {},
                "future": "",
            })
        );
    }
}
