//! Reproduces the effects of Go's types on an object, as visible in the output of `istioctl kube-inject`.
//!
//! istioctl decodes an object and encodes it again, so every container has `resources`, quantities are in their
//! canonical form, and zero fields of OpenShift's types appear and disappear. The annotation that records a user's own
//! container contains the same, so this is more than cosmetic. Unknown fields, which Go drops, are kept.

use serde_json::{Map, Value, json};

use crate::{gotypes, quantity};
use gotemplate::gotypes::{Kind, Type};

/// A pod as Go writes it.
pub(super) fn pod(pod: &mut Value) {
    if let Some(Value::Object(spec)) = pod.get_mut("spec") {
        object(spec, &gotypes::POD_SPEC);
    }
}

/// A workload as Go writes it: `minReadySeconds` and `paused` are omitted if they are zero, `test` never is.
///
/// Returns whether that changed it.
pub(super) fn workload(workload: &mut Value) -> bool {
    let mut changed = false;
    let is_deployment_config = workload.get("kind").and_then(Value::as_str) == Some("DeploymentConfig");
    if let Some(Value::Object(spec)) = workload.get_mut("spec").filter(|_| is_deployment_config) {
        for (key, zero) in [("minReadySeconds", json!(0)), ("paused", json!(false))] {
            if spec.get(key) == Some(&zero) {
                spec.remove(key);
                changed = true;
            }
        }
        changed |= !spec.contains_key("test");
        spec.entry("test").or_insert(Value::Bool(false));
    }
    changed
}

fn object(map: &mut Map<String, Value>, ty: &'static Type) {
    if ty.name == "v1.Container" {
        map.entry("resources").or_insert_with(|| json!({}));
    }
    for (key, value) in map.iter_mut() {
        if let Some(field) = ty.field_by_json(key) {
            nested(value, &field.kind);
        }
    }
}

fn nested(value: &mut Value, kind: &'static Kind) {
    match (value, kind) {
        (Value::Object(map), Kind::Struct(ty)) => object(map, ty),
        (value, Kind::Pointer(kind)) => nested(value, kind),
        (Value::Array(items), Kind::List(kind)) => items.iter_mut().for_each(|item| nested(item, kind)),
        (Value::Object(map), Kind::Map(kind)) => map.values_mut().for_each(|value| nested(value, kind)),
        (value, Kind::Quantity) => {
            let text = match &*value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            if let Some(canonical) = quantity::canonical(text.trim()) {
                *value = Value::String(canonical);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_containers_resources_and_nothing_else() {
        let mut value = json!({"spec": {
            "containers": [{"name": "a", "resources": {"limits": {"cpu": 2, "memory": "1024Mi"}}, "Future": 1}],
            "initContainers": [{"name": "b"}],
            "volumes": [{"name": "c", "emptyDir": {"sizeLimit": "2048Ki"}}],
        }});
        pod(&mut value);
        assert_eq!(
            value,
            json!({"spec": {
                "containers": [{"name": "a", "resources": {"limits": {"cpu": "2", "memory": "1Gi"}}, "Future": 1}],
                "initContainers": [{"name": "b", "resources": {}}],
                "volumes": [{"name": "c", "emptyDir": {"sizeLimit": "2Mi"}}],
            }})
        );
    }
}
