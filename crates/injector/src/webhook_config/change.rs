//! Describes the differences between two states of a configuration for people: entries by name, certificates by digest.

use std::{collections::BTreeSet, fmt};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{decode_ca_bundle, entries};

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The field, such as `webhooks[namespace.sidecar-injector.istio.io].failurePolicy`.
    pub path: String,
    /// The old value; `None` if it was absent.
    pub before: Option<Value>,
    /// The new value; `None` if it is absent.
    pub after: Option<Value>,
}

/// The fields that differ; entries of the same name are compared regardless of their order. The API server's own fields
/// (`managedFields`, versions, times) are ignored.
pub fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare(&mut found, "metadata", &metadata(before), &metadata(after));
    for name in ordered_names(before, after) {
        let entry = |configuration| {
            entries(configuration).find(|(other, _)| *other == name).map(|(_, entry)| entry.clone())
        };
        let path = format!("webhooks[{name}]");
        match (entry(before), entry(after)) {
            (Some(before), Some(after)) => compare(&mut found, &path, &before, &after),
            (before, after) => found.push(Change { path, before, after }),
        }
    }
    found
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Value| shown(&self.path, value);
        match (&self.before, &self.after) {
            (None, None) => write!(f, "{}", self.path),
            (None, Some(after)) => write!(f, "{}: new: {}", self.path, shown(after)),
            (Some(before), None) => write!(f, "{}: removed: {}", self.path, shown(before)),
            (Some(before), Some(after)) => write!(f, "{}: {} -> {}", self.path, shown(before), shown(after)),
        }
    }
}

/// The metadata without the API server's own fields.
fn metadata(configuration: &Value) -> Value {
    let written = |key: &&str| Some(((*key).to_owned(), configuration.get("metadata")?.get(key)?.clone()));
    Value::Object(["name", "labels", "annotations"].iter().filter_map(written).collect::<Map<_, _>>())
}

/// The names of all entries: the new ones in their order, then those that were removed.
fn ordered_names<'a>(before: &'a Value, after: &'a Value) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    entries(after).chain(entries(before)).map(|(name, _)| name).filter(|name| seen.insert(*name)).collect()
}

fn compare(found: &mut Vec<Change>, path: &str, before: &Value, after: &Value) {
    if before == after {
        return;
    }
    let (Some(old), Some(new)) = (before.as_object(), after.as_object()) else {
        found.push(Change {
            path: path.to_owned(),
            before: Some(before.clone()),
            after: Some(after.clone()),
        });
        return;
    };
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let path = if key.contains(['.', '/']) { format!("{path}[{key}]") } else { format!("{path}.{key}") };
        match (old.get(key), new.get(key)) {
            (Some(old), Some(new)) => compare(found, &path, old, new),
            (old, new) => found.push(Change { path, before: old.cloned(), after: new.cloned() }),
        }
    }
}

/// A value on one line; certificates by their digest, whole entries by a description.
fn shown(path: &str, value: &Value) -> String {
    match value {
        Value::String(text) if path.ends_with(".caBundle") => digest(text),
        Value::Object(entry) if path.ends_with(']') && entry.contains_key("clientConfig") => {
            "an entry".to_owned()
        }
        other => other.to_string(),
    }
}

/// As `sha256sum` prints it for the file with the certificates.
fn digest(bundle: &str) -> String {
    let pem = decode_ca_bundle(bundle).unwrap_or_else(|| bundle.to_owned());
    if pem.is_empty() {
        return "\"\"".to_owned();
    }
    let hash: String =
        Sha256::digest(pem.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("<{} bytes, sha256 {hash}>", pem.len())
}
