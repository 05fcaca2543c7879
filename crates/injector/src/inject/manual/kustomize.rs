//! Changes as a kustomize component: for overlays that keep their manifests as they are.
//!
//! Kinds of Kubernetes get a strategic merge patch, which survives other changes of the object. kustomize gives the
//! elements of a keyed list the order of the patch, followed by the others (kyaml's `MergeOptionsListPrepend`), so such a
//! list names all of its elements. It knows the lists of no other kinds; those get a JSON patch (RFC 6902).

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{Manifest, patch};
use crate::manifest::{self, Identity};
use kubernetes_yaml as yaml;

/// Lists whose elements kustomize merges by a key.
const KEYED: [(&str, &str); 6] = [
    ("containers", "name"),
    ("initContainers", "name"),
    ("volumes", "name"),
    ("imagePullSecrets", "name"),
    ("env", "name"),
    ("volumeMounts", "mountPath"),
];

/// The changes of manifests as a component, the content of a `kustomization.yaml`.
///
/// # Errors
/// The first changed object without a name: kustomize cannot select it.
pub fn component(manifests: &[Manifest<'_>]) -> Result<Value, Box<Identity>> {
    let mut patches = Vec::new();
    let mut nameless = None;
    for manifest in manifests {
        manifest.each_change(&mut |original, injected| {
            for identity in manifest::identities(original) {
                let before = original.pointer(&identity.object).unwrap_or(&Value::Null);
                let after = injected.pointer(&identity.object).unwrap_or(&Value::Null);
                if before == after {
                    continue;
                }
                match before.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default() {
                    "" => nameless = nameless.take().or(Some(Box::new(identity))),
                    name => patches.push(entry(&identity, name, before, after)),
                }
            }
        });
    }
    if let Some(nameless) = nameless {
        return Err(nameless);
    }
    Ok(json!({
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "patches": patches,
    }))
}

fn entry(identity: &Identity, name: &str, before: &Value, after: &Value) -> Value {
    let Identity { kind, api_version, namespace, .. } = identity;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    // kustomize reads it as a regular expression.
    let pattern = name.replace('.', "\\.");
    let mut target = json!({"version": version, "kind": kind, "name": pattern});
    for (key, value) in [("group", Some(group)), ("namespace", namespace.as_deref())] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            put(&mut target, &[key], value);
        }
    }
    let merged = Some(()).filter(|()| manifest::is_of_kubernetes(api_version, kind));
    let merged = merged.and_then(|()| strategic(before, after, ""));
    let text = match merged {
        Some(mut merged) => {
            put(&mut merged, &["apiVersion"], api_version);
            put(&mut merged, &["kind"], kind);
            put(&mut merged, &["metadata", "name"], name);
            if let Some(namespace) = namespace {
                put(&mut merged, &["metadata", "namespace"], namespace);
            }
            yaml::to_string(&merged)
        }
        None => yaml::to_string(&json!(patch::diff(before, after))),
    };
    json!({"target": target, "patch": text})
}

/// Sets a text below an object.
fn put(value: &mut Value, path: &[&str], text: &str) {
    let (Some(map), Some((key, below))) = (value.as_object_mut(), path.split_first()) else { return };
    match below {
        [] => {
            map.insert((*key).to_owned(), json!(text));
        }
        below => put(map.entry(*key).or_insert_with(|| json!({})), below, text),
    }
}

/// The strategic merge patch between two values; `None` if there is none.
fn strategic(before: &Value, after: &Value, field: &str) -> Option<Value> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let mut patch = Map::new();
            for (key, value) in after {
                match before.get(key) {
                    Some(same) if same == value => {}
                    Some(earlier) => {
                        patch.insert(key.clone(), strategic(earlier, value, key)?);
                    }
                    None => {
                        patch.insert(key.clone(), without_nulls(value, key));
                    }
                }
            }
            let removed = before.keys().filter(|key| !after.contains_key(*key));
            patch.extend(removed.map(|key| (key.clone(), Value::Null)));
            Some(Value::Object(patch))
        }
        (Value::Array(before), Value::Array(after)) => list(before, after, field),
        (_, after) => Some(without_nulls(after, field)),
    }
}

fn list(before: &[Value], after: &[Value], field: &str) -> Option<Value> {
    let Some((_, key)) = KEYED.iter().find(|(name, _)| *name == field) else {
        let is_atomic = after.iter().all(|item| !item.is_object() && !item.is_array());
        return is_atomic.then(|| Value::Array(after.to_vec()));
    };
    let key_of = |item: &'_ Value| item.get(*key).and_then(Value::as_str).map(str::to_owned);
    let keys = |items: &[Value]| {
        let keys: Option<HashSet<String>> = items.iter().map(key_of).collect();
        keys.filter(|keys| keys.len() == items.len())
    };
    let (_, kept) = (keys(before)?, keys(after)?);
    let element = |item: &Value| {
        let own = key_of(item)?;
        match before.iter().find(|earlier| key_of(earlier).as_ref() == Some(&own)) {
            None => Some(without_nulls(item, "")),
            Some(earlier) => {
                let mut patch = strategic(earlier, item, "")?;
                put(&mut patch, &[key], &own);
                Some(patch)
            }
        }
    };
    let mut elements: Vec<Value> = after.iter().map(element).collect::<Option<_>>()?;
    let removed = before.iter().filter_map(key_of).filter(|own| !kept.contains(own));
    elements.extend(removed.map(|own| json!({"$patch": "delete", *key: own})));
    Some(Value::Array(elements))
}

/// In a patch null means removal; `emptyDir: null` of a volume is the same as an empty one.
fn without_nulls(value: &Value, field: &str) -> Value {
    match value {
        Value::Null if field == "emptyDir" => json!({}),
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| (key.clone(), without_nulls(value, key)));
            Value::Object(entries.filter(|(_, value)| !value.is_null()).collect())
        }
        Value::Array(items) => items.iter().map(|item| without_nulls(item, "")).collect(),
        other => other.clone(),
    }
}
