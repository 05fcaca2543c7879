//! Volumes and mounts of the proxy that a pod requests by annotation: JSON that is copied into the pod, so anything
//! that an API server would reject or drop is reported here, where the annotation can be named.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::finding::Finding::{self, Fine, Wrong};
use crate::gotypes::POD_SPEC;
use crate::{decode, unions, warning::shown_within};
use gotemplate::gotypes::Type;

/// The items of one of the two annotations, each with its name and, because Go ignores the case of keys, with
/// `mountPath` in its usual spelling. Empty if the text is not such a list.
pub(crate) fn user_items(value: &str) -> Vec<Value> {
    items(value).unwrap_or_default()
}

pub(super) fn volumes(value: &str) -> Finding {
    let items = match items(value) {
        Ok(items) => items,
        Err(found) => return Wrong(found),
    };
    let found = names_once(&items).or_else(|| fields(&items, volume_type(), "volume"));
    let pod = json!({"spec": {"volumes": items}});
    let found = found.or_else(|| misfit(&pod));
    let found = found.or_else(|| unions::violations(&pod).first().map(ToString::to_string));
    found.map_or(Fine, Wrong)
}

/// Every mount has a path, and no two have the same: the path is the merge key of the list.
pub(super) fn mounts(value: &str) -> Finding {
    let items = match items(value) {
        Ok(items) => items,
        Err(found) => return Wrong(found),
    };
    let mut seen = BTreeSet::new();
    for mount in &items {
        match mount.get("mountPath").and_then(Value::as_str).filter(|path| !path.is_empty()) {
            None => return Wrong("a mount has no mountPath".to_owned()),
            Some(path) if !seen.insert(path) => {
                return Wrong(format!("{} is mounted twice", shown_within(path, 24)));
            }
            Some(_) => {}
        }
    }
    let found = fields(&items, mount_type(), "mount");
    let pod = json!({"spec": {"containers": [{"volumeMounts": items}]}});
    let found = found.or_else(|| misfit(&pod));
    let found = found.or_else(|| unions::violations(&pod).first().map(ToString::to_string));
    found.map_or(Fine, Wrong)
}

fn volume_type() -> Option<&'static Type> {
    POD_SPEC.field_by_json("volumes")?.kind.elements()
}

fn mount_type() -> Option<&'static Type> {
    let container = POD_SPEC.field_by_json("containers")?.kind.elements()?;
    container.field_by_json("volumeMounts")?.kind.elements()
}

fn items(value: &str) -> Result<Vec<Value>, String> {
    match serde_json::from_str::<Value>(value) {
        Err(_) => Err("it is not JSON".to_owned()),
        Ok(Value::Object(by_name)) => by_name
            .into_iter()
            .map(|(name, item)| match item {
                Value::Object(item) if item.is_empty() => {
                    Err(format!("{} is empty", shown_within(&name, 24)))
                }
                Value::Object(item) => Ok(usual(item, Some(name))),
                _ => Err(format!("{} is not an object", shown_within(&name, 24))),
            })
            .collect(),
        Ok(Value::Array(list)) => list
            .into_iter()
            .map(|item| match item {
                Value::Object(item) if item.get("name").is_some_and(Value::is_string) => {
                    Ok(usual(item, None))
                }
                _ => Err("an item is not an object with a name".to_owned()),
            })
            .collect(),
        Ok(_) => Err("it is neither an object nor a list".to_owned()),
    }
}

/// An item with its final name: one inside overrides the key.
fn usual(item: Map<String, Value>, key: Option<String>) -> Value {
    let mut usual = Map::new();
    if let Some(key) = key {
        usual.insert("name".to_owned(), Value::String(key));
    }
    for (key, value) in item {
        let known = ["name", "mountPath"].into_iter().find(|known| key.eq_ignore_ascii_case(known));
        usual.insert(known.map_or(key, str::to_owned), value);
    }
    Value::Object(usual)
}

fn names_once(items: &[Value]) -> Option<String> {
    let mut seen = BTreeSet::new();
    for item in items {
        let Some(name) = item.get("name").and_then(Value::as_str) else {
            return Some("a name is not a string".to_owned());
        };
        if !seen.insert(name) {
            return Some(format!("{} occurs twice", shown_within(name, 24)));
        }
    }
    None
}

/// The first field unknown to Kubernetes: an API server would drop it silently.
fn fields(items: &[Value], ty: Option<&'static Type>, noun: &str) -> Option<String> {
    let ty = ty?;
    items.iter().find_map(|item| unknown_field(item, ty, noun))
}

fn unknown_field(value: &Value, ty: &'static Type, holder: &str) -> Option<String> {
    let Value::Object(object) = value else { return None };
    object.iter().find_map(|(key, value)| {
        let is_known = |known: &&gotemplate::gotypes::Field| known.json.eq_ignore_ascii_case(key);
        let Some(field) = ty.fields.iter().find(is_known) else {
            return Some(format!("{} is not a field of {holder}", shown_within(key, 24)));
        };
        match (value, field.kind.elements()) {
            (Value::Array(elements), Some(ty)) => {
                elements.iter().find_map(|element| unknown_field(element, ty, field.json))
            }
            _ => field.kind.message().and_then(|ty| unknown_field(value, ty, field.json)),
        }
    })
}

fn misfit(pod: &Value) -> Option<String> {
    let sentence = decode::misfits(pod).first()?.to_string();
    Some(sentence.strip_prefix("spec.").unwrap_or(&sentence).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(finding: Finding) -> String {
        match finding {
            Wrong(found) => found,
            Fine => String::new(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn volumes_have_known_fields_one_source_and_a_name() {
        for (value, wanted) in [
            (r#"{"a": {"emptyDir": {}}, "b": {"Secret": {"secretName": "s"}}}"#, ""),
            (r#"{"c": {}}"#, "\"c\" is empty"),
            (r#"[{"name": "a", "hostPath": {"path": "/x"}}]"#, ""),
            (r#"{"a": {"emptydirr": {}}}"#, "\"emptydirr\" is not a field of volume"),
            (r#"{"a": {"secret": {"name": "s"}}}"#, "\"name\" is not a field of secret"),
            (
                r#"{"a": {"projected": {"sources": [{"secret": {"key": "k"}}]}}}"#,
                "\"key\" is not a field of secret",
            ),
            (
                r#"{"a": {"emptyDir": {}, "hostPath": {"path": "/x"}}}"#,
                "volume \"a\": has emptyDir and hostPath; an API server accepts only one",
            ),
            (
                r#"{"a": {"emptyDir": "x"}}"#,
                "volumes[a].emptyDir would be \"x\", but an API server expects an object",
            ),
            (r#"[{"name": "a"}, {"name": "a"}]"#, "\"a\" occurs twice"),
            ("7", "it is neither an object nor a list"),
        ] {
            assert_eq!(said(volumes(value)), wanted, "{value}");
        }
    }

    #[test]
    fn mounts_have_known_fields_and_a_path_of_their_own() {
        for (value, wanted) in [
            (r#"{"a": {"mountPath": "/a", "readOnly": true}}"#, ""),
            (r#"{"a": {"MountPath": "/a"}}"#, ""),
            (r#"{"a": {"path": "/a"}}"#, "a mount has no mountPath"),
            (r#"{"a": {"mountPath": "/a", "readonlyy": true}}"#, "\"readonlyy\" is not a field of mount"),
            (
                r#"{"a": {"mountPath": "/a", "readOnly": "true"}}"#,
                "containers[0].volumeMounts[a].readOnly would be \"true\", but an API server expects true or false",
            ),
            (r#"{"a": {"mountPath": "/a"}, "b": {"mountPath": "/a"}}"#, "\"/a\" is mounted twice"),
        ] {
            assert_eq!(said(mounts(value)), wanted, "{value}");
        }
    }

    #[test]
    fn a_name_inside_wins_over_the_key() {
        assert_eq!(
            user_items(r#"{"a": {"name": "b", "MOUNTPATH": "/x"}}"#),
            [json!({"name": "b", "mountPath": "/x"})]
        );
        assert!(user_items("x").is_empty());
    }
}
