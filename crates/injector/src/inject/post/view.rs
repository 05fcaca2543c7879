//! The few views and conversions that only the passes need; the others are in [`crate::pod`].

use serde_json::{Map, Value, json};

use crate::pod;

/// The pod's annotations, strings or not.
pub(super) fn annotations(pod: &Value) -> Option<&Map<String, Value>> {
    pod.get("metadata")?.get("annotations")?.as_object()
}

/// The proxy's environment; empty without a proxy.
pub(super) fn env(pod: &Value) -> &[Value] {
    pod::find_sidecar(pod).and_then(|proxy| proxy.get("env")?.as_array()).map_or(&[], Vec::as_slice)
}

/// The proxy's environment, created if absent; `None` without a proxy.
pub(super) fn env_mut(pod: &mut Value) -> Option<&mut Vec<Value>> {
    let env = pod::find_sidecar_mut(pod)?.as_object_mut()?.entry("env").or_insert(Value::Null);
    if !env.is_array() {
        *env = json!([]);
    }
    env.as_array_mut()
}

/// An environment variable as Kubernetes writes it: without a value if it is empty.
pub(super) fn variable(name: &str, value: &str) -> Value {
    if value.is_empty() { json!({"name": name}) } else { json!({"name": name, "value": value}) }
}

/// A 32-bit integer of a pod.
pub(super) fn int32(value: &Value) -> Option<i32> {
    value.as_i64().and_then(|number| i32::try_from(number).ok())
}

/// An integer as Go's `strconv.Atoi` reads it.
pub(super) fn atoi(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compared with Go by `hack/oracle/annotations`.
    #[test]
    fn integers_are_gos() {
        let fixture = include_str!("../../../tests/fixtures/annotations.json");
        let fixture: Value = serde_json::from_str(fixture).unwrap();
        for (text, expected) in fixture["integer"].as_object().unwrap() {
            assert_eq!(json!(atoi(text)), *expected, "{text:?}");
        }
    }

    #[test]
    fn environment_of_a_wrong_type_is_replaced_where_it_is_written() {
        let mut pod = json!({"spec": {"containers": [{"name": "istio-proxy", "env": {"a": 1}}]}});
        assert!(env(&pod).is_empty());
        env_mut(&mut pod).unwrap().push(variable("A", ""));
        assert_eq!(env(&pod), [json!({"name": "A"})]);
        assert!(env_mut(&mut json!({"spec": {"containers": [{"name": "app"}]}})).is_none());
    }
}
