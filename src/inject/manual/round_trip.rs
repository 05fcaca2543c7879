//! What a way through Go's types does to an object, where `istioctl kube-inject` shows it in what it injects.
//!
//! istioctl decodes an object and encodes it again, so every container has `resources`, quantities are in their
//! canonical form, and the zero fields of OpenShift's types come and go. The annotation that remembers a user's own
//! container repeats that, so it is not only a matter of looks. Unknown fields, which Go drops, stay.

use serde_json::{Map, Value, json};

use crate::gotypes::{self, Kind, Type};

/// A pod as Go writes it.
pub(super) fn pod(pod: &mut Value) {
    if let Some(Value::Object(spec)) = pod.get_mut("spec") {
        object(spec, &gotypes::POD_SPEC);
    }
}

/// A workload as Go writes it: `minReadySeconds` and `paused` are left out where they are zero, `test` never is.
///
/// Says whether that changed it.
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
            if let Some(canonical) = quantity(&text) {
                *value = Value::String(canonical);
            }
        }
        _ => {}
    }
}

/// A quantity in its canonical form (Go: `Quantity.CanonicalizeBytes`); nothing for what is none, has an exponent, or
/// is beyond what anyone writes.
fn quantity(text: &str) -> Option<String> {
    let (sign, number) = text.strip_prefix('-').map_or(("", text), |number| ("-", number));
    let end = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
    let (number, suffix) = number.split_at_checked(end)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || number.len() > 18 {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = i32::try_from(fraction.len()).ok()?;
    let canonical = match BINARY.iter().position(|known| *known == suffix) {
        Some(power) => binary(digits, scale, power + 1)?,
        None => {
            let power = DECIMAL.iter().position(|known| *known == suffix)?;
            decimal(digits, i32::try_from(power).ok()? * 3 - 9 - scale)?
        }
    };
    Some(format!("{sign}{canonical}"))
}

const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
/// From 10⁻⁹ up, a thousandfold each.
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];

/// `digits · 10^-scale · 1024^power`
fn binary(digits: i128, scale: i32, power: usize) -> Option<String> {
    let scaled = digits.checked_mul(1024_i128.checked_pow(u32::try_from(power).ok()?)?)?;
    let divisor = 10_i128.checked_pow(u32::try_from(scale).ok()?)?;
    if scaled % divisor != 0 {
        return None;
    }
    let mut value = scaled / divisor;
    if value < 1024 {
        return decimal(value, 0);
    }
    let mut left = 0;
    while value % 1024 == 0 && left < BINARY.len() {
        value /= 1024;
        left += 1;
    }
    let suffix = left.checked_sub(1).and_then(|index| BINARY.get(index)).unwrap_or(&"");
    Some(format!("{value}{suffix}"))
}

/// `digits · 10^exponent`
fn decimal(mut digits: i128, mut exponent: i32) -> Option<String> {
    if digits == 0 {
        return Some("0".to_owned());
    }
    while digits % 10 == 0 {
        digits /= 10;
        exponent += 1;
    }
    while exponent.rem_euclid(3) != 0 {
        digits = digits.checked_mul(10)?;
        exponent -= 1;
    }
    let suffix = DECIMAL.get(usize::try_from(exponent / 3 + 3).ok()?)?;
    Some(format!("{digits}{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_quantities_in_canonical_form() {
        let rows = [
            ("3000m", "3"),
            ("123m", "123m"),
            ("0.5", "500m"),
            ("1.50", "1500m"),
            ("2", "2"),
            ("0", "0"),
            ("0Gi", "0"),
            ("1000", "1k"),
            ("1500", "1500"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("1Ki", "1Ki"),
            ("128Mi", "128Mi"),
            ("1000000k", "1G"),
            ("-2000m", "-2"),
        ];
        for (given, wanted) in rows {
            assert_eq!(quantity(given).as_deref(), Some(wanted), "{given}");
            assert_eq!(quantity(wanted).as_deref(), Some(wanted), "{wanted} is canonical already");
        }
        for other in ["", "m", "1e3", "one", "1.1n", "99999999999999999999", "1 Gi"] {
            assert_eq!(quantity(other), None, "{other:?} stays as it is");
        }
    }

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
