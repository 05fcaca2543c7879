//! Whether a pod has the JSON types its fields must have.
//!
//! An unquoted `value: {{ .Values.port }}` renders to fine YAML and to a pod no API server can decode, which is an
//! error even where the webhook's failure policy is `Ignore`. Fields the table does not have are let through: they may
//! be newer than it.

use serde_json::Value;

use crate::{
    gotypes::{Kind, OBJECT_META, POD_SPEC, Type},
    pod,
};

/// The first field of a pod with a value of another type, in a sentence.
pub(in crate::inject) fn misfit(pod: &Value) -> Option<String> {
    [("metadata", &OBJECT_META), ("spec", &POD_SPEC)]
        .into_iter()
        .find_map(|(key, ty)| in_struct(pod.get(key)?, ty, key.to_owned()))
}

fn in_struct(value: &Value, ty: &'static Type, path: String) -> Option<String> {
    let Value::Object(fields) = value else { return other_type(value, "an object", &path) };
    fields.iter().find_map(|(key, value)| {
        let field = ty.field_by_json(key)?;
        in_kind(value, &field.kind, format!("{path}.{key}"))
    })
}

fn in_kind(value: &Value, kind: &'static Kind, path: String) -> Option<String> {
    let accepted = match (kind, value) {
        // Everywhere the same as an absent field.
        (_, Value::Null) => return None,
        (Kind::Struct(ty), _) => return in_struct(value, ty, path),
        (Kind::Pointer(kind), _) => return in_kind(value, kind, path),
        (Kind::List(kind), Value::Array(items)) => {
            return items
                .iter()
                .enumerate()
                .find_map(|(index, item)| in_kind(item, kind, format!("{path}[{}]", position(item, index))));
        }
        (Kind::Map(kind), Value::Object(entries)) => {
            return entries.iter().find_map(|(key, value)| in_kind(value, kind, format!("{path}[{key:?}]")));
        }
        (Kind::List(_), _) => "a list",
        (Kind::Map(_), _) => "an object",
        (Kind::Bool, Value::Bool(_)) => return None,
        (Kind::Bool, _) => "true or false",
        (Kind::Int | Kind::Uint, Value::Number(number)) if !number.is_f64() => return None,
        (Kind::Int | Kind::Uint, _) => "an integer",
        (Kind::IntOrString, Value::Number(number)) if !number.is_f64() => return None,
        (Kind::IntOrString | Kind::Quantity, Value::String(_)) => return None,
        (Kind::IntOrString, _) => "an integer or a string",
        (Kind::Quantity | Kind::Float, Value::Number(_)) => return None,
        (Kind::Quantity, _) => "a number or a string",
        (Kind::Float, _) => "a number",
        (Kind::String | Kind::Bytes | Kind::Time, Value::String(_)) => return None,
        (Kind::String | Kind::Bytes | Kind::Time, _) => "a string",
        // None of them is in a pod.
        (
            Kind::Any
            | Kind::Duration
            | Kind::BoolValue
            | Kind::UInt32Value
            | Kind::Int32Value
            | Kind::DoubleValue
            | Kind::StringValue
            | Kind::Enum(_),
            _,
        ) => return None,
    };
    other_type(value, accepted, &path)
}

fn other_type(value: &Value, accepted: &str, path: &str) -> Option<String> {
    let found = match value {
        Value::Null => return None,
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    let hint = if accepted == "a string" { "; quotes make a string in YAML" } else { "" };
    Some(format!("{path} would be {found}, where an API server takes {accepted}{hint}"))
}

/// Elements are known by name where they have one.
fn position(item: &Value, index: usize) -> String {
    match pod::name(item) {
        "" => index.to_string(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_of_another_type_is_found_with_its_path() {
        for (spec, wanted) in [
            (
                json!({"containers": {}}),
                "spec.containers would be an object, where an API server takes a list",
            ),
            (
                json!({"hostNetwork": "true"}),
                "spec.hostNetwork would be a string, where an API server takes true or false",
            ),
            (
                json!({"terminationGracePeriodSeconds": 1.5}),
                "spec.terminationGracePeriodSeconds would be a number, where an API server takes an integer",
            ),
            (
                json!({"nodeSelector": {"a": true}}),
                "spec.nodeSelector[\"a\"] would be true or false, where an API server takes a string; quotes make a string in YAML",
            ),
            (
                json!({"containers": [{"name": "p", "env": [{"name": "A", "value": 1}]}]}),
                "spec.containers[p].env[A].value would be a number, where an API server takes a string; quotes make a string in YAML",
            ),
            (
                json!({"containers": ["p"]}),
                "spec.containers[0] would be a string, where an API server takes an object",
            ),
        ] {
            assert_eq!(misfit(&json!({"spec": spec})).as_deref(), Some(wanted));
        }
        let text = misfit(&json!({"metadata": {"annotations": {"a": 1}}, "spec": {}})).unwrap();
        assert!(text.starts_with("metadata.annotations[\"a\"] would be a number"), "{text}");
    }

    #[test]
    fn what_an_api_server_takes_is_let_through() {
        let spec = json!({
            "brandNew": 1, "hostname": null, "containers": [{"name": "p", "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}, "livenessProbe": {"httpGet": {"port": "http"}, "tcpSocket": {"port": 1}}}],
        });
        assert_eq!(misfit(&json!({"spec": spec})), None);
    }
}
