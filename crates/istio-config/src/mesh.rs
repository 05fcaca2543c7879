//! The mesh-wide configuration: a user's MeshConfig over Istio's defaults.
//!
//! The result is the complete message as canonical JSON: absent fields have Go's zero value. For the meaning of a
//! single field to a proxy, see [`super::proxy`].

mod traffic;
mod validate;

use serde_json::{Map, Value};

use crate::gotypes::MESH_CONFIG;
use kubernetes_yaml as yaml;

use super::defaults;
use super::proto::{self, Decoded, Fault, Path, ProtoError, Step, Violation};
use super::proxy;

/// A MeshConfig document over Istio's defaults, strictly: fields that Istio would ignore are rejected.
///
/// # Errors
/// Every violation with its path, line and column.
pub fn mesh_config(document: &yaml::Node, source: &str) -> Result<Value, ProtoError> {
    let (mesh, ignored) = mesh_config_tolerant(document, source)?;
    if ignored.is_empty() {
        Ok(mesh)
    } else {
        Err(ProtoError { source: source.to_owned(), violations: ignored })
    }
}

/// A MeshConfig document over Istio's defaults, and the violations that Istio ignores (unknown fields).
///
/// # Errors
/// Every violation for which Istio rejects the document, with its path, line and column.
pub fn mesh_config_tolerant(
    document: &yaml::Node,
    source: &str,
) -> Result<(Value, Vec<Violation>), ProtoError> {
    let value = document.to_value().map_err(|error| proto::unreadable(source, &error))?;
    let mut decoded = apply(&value);
    decoded.violations =
        decoded.violations.into_iter().map(|violation| violation.located(document)).collect();
    decoded.tolerant(source)
}

/// A MeshConfig as JSON over Istio's defaults (`mesh.ApplyMeshConfigDefaults`), validated by Istio's rules.
///
/// Every field replaces its default as a whole, except: `defaultConfig` is merged field by field, and its
/// `proxyMetadata` by key; `defaultProviders` is merged field by field; `extensionProviders` are merged by name;
/// `trustDomainAliases` are sorted and deduplicated.
pub fn apply(document: &Value) -> Decoded {
    let defaults = defaults::mesh_config();
    let mut decoded = proto::decode_onto(&MESH_CONFIG, document, as_map(defaults));
    let unset = Value::Null;
    // The merged parts are looked up only by their JSON name, so Istio ignores the other spelling.
    for (own, merged) in [("default_config", "defaultConfig"), ("default_providers", "defaultProviders")] {
        if document.get(own).is_some_and(|part| !part.is_null()) && document.get(merged).is_none() {
            let because = format!("Istio reads only {merged:?}");
            let path = Path(vec![Step::Key(own.to_owned())]);
            decoded.violations.push(Violation { path, mark: None, fault: Fault::Ignored { because } });
        }
    }
    let message = &mut decoded.message;
    let part = document.get("defaultConfig").unwrap_or(&unset);
    let proxy_config = proxy::apply(defaults::proxy_config(), part);
    message.insert("defaultConfig".to_owned(), Value::Object(proxy_config.message));
    let providers = defaults.get("defaultProviders").map(as_map).unwrap_or_default();
    if let Some(ty) = MESH_CONFIG.field_by_json("defaultProviders").and_then(|field| field.kind.message()) {
        let part = document.get("defaultProviders").unwrap_or(&unset);
        message.insert(
            "defaultProviders".to_owned(),
            Value::Object(proto::decode_onto(ty, part, providers).message),
        );
    }
    merge_extension_providers(defaults, message);
    if decoded.violations.iter().all(Violation::is_tolerated) {
        decoded.violations.extend(validate::mesh_config(&decoded.message));
        decoded.violations.extend(traffic::policies(&decoded.message));
    }
    // Last, so that violations have the positions that the user knows.
    sort_aliases(&mut decoded.message);
    decoded
}

/// Merges by name: a given provider replaces the default of the same name, the others are appended.
fn merge_extension_providers(defaults: &Value, message: &mut Map<String, Value>) {
    let Some(Value::Array(given)) = message.remove("extensionProviders") else {
        if let Some(default) = defaults.get("extensionProviders") {
            message.insert("extensionProviders".to_owned(), default.clone());
        }
        return;
    };
    let mut merged =
        defaults.get("extensionProviders").and_then(Value::as_array).cloned().unwrap_or_default();
    for provider in given {
        match merged.iter_mut().find(|known| known.get("name") == provider.get("name")) {
            Some(known) => *known = provider,
            None => merged.push(provider),
        }
    }
    message.insert("extensionProviders".to_owned(), Value::Array(merged));
}

fn sort_aliases(message: &mut Map<String, Value>) {
    if let Some(Value::Array(aliases)) = message.get_mut("trustDomainAliases") {
        aliases.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        aliases.dedup();
    }
}

fn as_map(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests;
