//! The proxy configuration of one pod: precedence, annotations, and ProxyConfig objects.
//!
//! From lowest to highest precedence: Istio's built-in default, `defaultConfig` of the mesh, the ProxyConfig object of
//! the root namespace, that of the pod's namespace, the pod's annotation `proxy.istio.io/config`, the ProxyConfig
//! object whose selector matches the pod (Istio's `ProxyConfigs.EffectiveProxyConfig`).

pub(crate) mod validate;

mod resource;

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::gotypes::PROXY_CONFIG;
use kubernetes_yaml as yaml;

use super::defaults;
use super::proto::{self, Decoded, Path, ProtoError, Violation};

pub use resource::{ProxyConfigResource, ProxyConfigs};

/// The annotation with a pod's own ProxyConfig, in YAML or JSON.
pub const ANNOTATION: &str = "proxy.istio.io/config";

/// A proxy configuration from a pod's annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// The annotation's content, canonical; zero values are absent.
    pub config: Value,
    /// What Istio ignores in it: unknown fields, and fields that another one overrides.
    pub ignored: Vec<Violation>,
}

/// Parses the annotation `proxy.istio.io/config` and validates it like Istio, over the built-in default
/// (`validateProxyConfig`).
///
/// # Errors
/// All violations for which Istio rejects the pod.
pub fn proxy_config_annotation(text: &str) -> Result<Annotation, ProtoError> {
    let source = ANNOTATION;
    let (document, value) = read(text, source)?;
    let mut decoded = proto::decode(&PROXY_CONFIG, &value);
    if decoded.violations.iter().all(Violation::is_tolerated) {
        let complete = apply(defaults::proxy_config(), &value);
        decoded.violations.extend(validate::proxy_config(&complete.message, Path::default()));
    }
    decoded.violations =
        decoded.violations.into_iter().map(|violation| violation.located(&document)).collect();
    let (config, ignored) = decoded.tolerant(source)?;
    Ok(Annotation { config, ignored })
}

/// The proxy configuration of a pod (`ProxyConfigs.EffectiveProxyConfig`): a reference to the mesh default if nothing
/// overrides it. The annotation is not validated by Istio's rules here, see [`proxy_config_annotation`].
///
/// `mesh` is a complete MeshConfig, `labels` the pod's `metadata.labels` or null.
///
/// # Errors
/// If the annotation cannot be decoded.
pub fn effective_proxy_config<'a, 't>(
    mesh: &'a Value,
    root_namespace: &str,
    namespace: &str,
    labels: &Value,
    annotations: impl IntoIterator<Item = &'t str>,
    resources: &ProxyConfigs,
) -> Result<Cow<'a, Value>, ProtoError> {
    let mut effective = mesh_default(mesh);
    let mut apply = |upper: &Value| {
        if let (Some(upper), Some(lower)) = (upper.as_object(), effective.to_mut().as_object_mut()) {
            overlay(upper, lower);
        }
    };
    if !root_namespace.is_empty() {
        resources.of_namespace(root_namespace).map(&mut apply);
    }
    if namespace != root_namespace {
        resources.of_namespace(namespace).map(&mut apply);
    }
    for text in annotations {
        let (document, value) = read(text, ANNOTATION)?;
        let mut decoded = proto::decode(&PROXY_CONFIG, &value);
        decoded.violations =
            decoded.violations.into_iter().map(|violation| violation.located(&document)).collect();
        apply(&decoded.tolerant(ANNOTATION)?.0);
    }
    resources.of_workload(namespace, labels).map(&mut apply);
    Ok(effective)
}

/// The mesh default over the built-in one, which shows through where the mesh sets a zero value.
fn mesh_default(mesh: &Value) -> Cow<'_, Value> {
    let built_in = defaults::proxy_config();
    let Some(config) = mesh.get("defaultConfig").filter(|config| config.is_object()) else {
        return Cow::Borrowed(built_in);
    };
    if fields(built_in).all(|(key, _)| has_field_or_sibling(config, key)) {
        return Cow::Borrowed(config);
    }
    let mut filled = built_in.as_object().cloned().unwrap_or_default();
    if let Some(upper) = config.as_object() {
        overlay(upper, &mut filled);
    }
    Cow::Owned(Value::Object(filled))
}

fn has_field_or_sibling(config: &Value, key: &str) -> bool {
    config.get(key).is_some()
        || proto::siblings(&PROXY_CONFIG, key)
            .is_some_and(|all| all.iter().any(|one| config.get(one).is_some()))
}

fn fields(config: &Value) -> impl Iterator<Item = (&String, &Value)> {
    config.as_object().into_iter().flatten()
}

/// A document over a configuration (`mesh.MergeProxyConfig`): every field replaces the lower one as a whole, even by a
/// zero value, except that `proxyMetadata` is merged by key and `proxyHeaders` keeps fields that are not set.
pub fn apply(lower: &Value, document: &Value) -> Decoded {
    let lower = lower.as_object().cloned().unwrap_or_default();
    let (metadata, headers) = (lower.get("proxyMetadata").cloned(), lower.get("proxyHeaders").cloned());
    let mut decoded = proto::decode_onto(&PROXY_CONFIG, document, lower);
    keep_metadata_and_headers(metadata, headers, &mut decoded.message);
    decoded
}

/// The annotation over the mesh default, as in manual injection (`mesh.ApplyProxyConfig`): unlike in
/// [`effective_proxy_config`], a zero value in the annotation counts.
///
/// # Errors
/// If the annotation cannot be decoded.
pub fn annotated_mesh_default(mesh: &Value, text: &str) -> Result<Value, ProtoError> {
    let (document, value) = read(text, ANNOTATION)?;
    let mut decoded = apply(mesh.get("defaultConfig").unwrap_or(&Value::Null), &value);
    decoded.violations =
        decoded.violations.into_iter().map(|violation| violation.located(&document)).collect();
    Ok(decoded.tolerant(ANNOTATION)?.0)
}

/// A proxy configuration as the template function `protoToJSON` prints it: fields equal to the built-in default are
/// omitted (`cleanProxyConfig`).
pub fn proto_json_diff_from_default(proxy_config: &Value) -> Value {
    let built_in = defaults::proxy_config();
    let differs = |(key, value): &(&String, &Value)| built_in.get(key.as_str()) != Some(*value);
    let kept = fields(proxy_config).filter(differs);
    Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// `mergeWithPrecedence` of two canonical configurations.
fn overlay(upper: &Map<String, Value>, lower: &mut Map<String, Value>) {
    let (metadata, headers) = (lower.get("proxyMetadata").cloned(), lower.get("proxyHeaders").cloned());
    proto::overlay(&PROXY_CONFIG, upper, lower);
    keep_metadata_and_headers(metadata, headers, lower);
}

/// The exceptions that are merged more deeply: `mergeMap` for the metadata, `correctProxyHeaders`.
fn keep_metadata_and_headers(
    metadata: Option<Value>,
    headers: Option<Value>,
    message: &mut Map<String, Value>,
) {
    if let Some(Value::Object(mut merged)) = metadata {
        if let Some(Value::Object(upper)) = message.remove("proxyMetadata") {
            merged.extend(upper);
        }
        message.insert("proxyMetadata".to_owned(), Value::Object(merged));
    }
    let Some(Value::Object(lower)) = headers else { return };
    let Some(Value::Object(upper)) = message.get_mut("proxyHeaders") else { return };
    for key in ["forwardedClientCert", "requestId", "attemptCount", "server", "envoyDebugHeaders"] {
        if let Some(value) = lower.get(key)
            && !upper.contains_key(key)
        {
            upper.insert(key.to_owned(), value.clone());
        }
    }
}

/// Limits on the text of a ProxyConfig, which the creator of a pod controls. Kubernetes accepts 256 KiB of annotations;
/// all fields together are about 200 nodes.
const LIMITS: yaml::Limits = yaml::Limits {
    depth: 100,
    nodes: 10_000,
    alias_nodes: 1_000,
    bytes: 256 << 10,
    syntax: yaml::Syntax::Full,
};

/// Parses a text as YAML, with the positions of its nodes.
fn read(text: &str, source: &str) -> Result<(yaml::Node, Value), ProtoError> {
    let document = yaml::parse(text, &LIMITS).map_err(|error| proto::unreadable(source, &error))?;
    let value = document.to_value().map_err(|error| proto::unreadable(source, &error))?;
    Ok((document, value))
}

#[cfg(test)]
mod tests;
