//! Reads and writes ProxyConfig objects (`networking.istio.io/v1beta1`) in a bundle.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::decode::{At, Decoder, join};
use super::error::{Fault, Place, quoted};
use super::violation::{violation_message, violation_path};
use istio_config::proxy::{ProxyConfigResource, ProxyConfigs};

const API_VERSION: &str = "networking.istio.io/v1beta1";
const KIND: &str = "ProxyConfig";

/// Reads a list of objects. Anything that Istio ignores in a `spec` is a warning; outside of it, unknown keys are
/// problems.
pub(super) fn read(decoder: &mut Decoder<'_>, at: &At<'_>) -> ProxyConfigs {
    let items = decoder.list(at, "a list of ProxyConfig objects");
    ProxyConfigs::new(items.iter().filter_map(|at| object(decoder, at)).collect::<Vec<_>>())
}

/// An object as it appears in a bundle.
pub(super) fn to_value(resource: &ProxyConfigResource) -> Value {
    let mut metadata = Map::new();
    for (key, text) in [
        ("name", &resource.name),
        ("namespace", &resource.namespace),
        ("creationTimestamp", &resource.created),
    ] {
        if !text.is_empty() {
            metadata.insert(key.to_owned(), json!(text));
        }
    }
    let mut spec = Map::new();
    if let Some(labels) = &resource.selector {
        spec.insert("selector".to_owned(), json!({"matchLabels": labels}));
    }
    for (own, mesh) in
        [("concurrency", "concurrency"), ("environmentVariables", "proxyMetadata"), ("image", "image")]
    {
        if let Some(value) = resource.config.get(mesh) {
            spec.insert(own.to_owned(), value.clone());
        }
    }
    json!({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec})
}

fn object(decoder: &mut Decoder<'_>, at: &At<'_>) -> Option<ProxyConfigResource> {
    let keys = ["apiVersion", "kind", "metadata", "spec", "status"];
    let mut fields = decoder.record(at, &keys)?;
    for (key, wanted) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        match fields.take(key) {
            Some(at) => {
                decoder.one_of(&at, &[(wanted, ())]);
            }
            None => decoder.problem(at, Fault::missing(key, wanted)),
        }
    }
    match fields.take("metadata") {
        Some(at) => metadata(decoder, &at),
        None => decoder.problem(at, Fault::missing("metadata", "name and namespace of the object")),
    }
    let spec = fields.take("spec");
    match ProxyConfigResource::from_object(&at.value()) {
        Ok(resource) => {
            for violation in &resource.ignored {
                let path = violation_path(&join(&at.path, "spec"), &violation.path);
                decoder.warn(&path, violation_message(&violation.fault));
            }
            if let Some(spec) = &spec {
                check(decoder, spec, &resource);
            }
            Some(resource)
        }
        Err(error) => {
            for violation in error.violations.into_iter().filter(|violation| !violation.is_tolerated()) {
                let violation = violation.located(spec.as_ref().map_or(at.node, |spec| spec.node));
                let path = violation_path(&join(&at.path, "spec"), &violation.path);
                decoder.problem_at(
                    violation.mark.map(Place::from),
                    path,
                    Fault::Proto(violation_message(&violation.fault)),
                );
            }
            None
        }
    }
}

/// Reads the relevant keys of `metadata`; the others (`uid`, `managedFields` …) come with objects copied from a
/// cluster.
fn metadata(decoder: &mut Decoder<'_>, at: &At<'_>) {
    let mut given: BTreeMap<String, At<'_>> = decoder.free_map(at).into_iter().collect();
    for key in ["name", "namespace"] {
        match given.remove(key) {
            Some(at) => {
                decoder.string(&at, "a string");
            }
            None => decoder.problem(at, Fault::missing(key, "a string")),
        }
    }
    if let Some(at) = given.remove("creationTimestamp").filter(|at| !at.is_null()) {
        decoder.string(&at, "a time such as 2026-01-02T03:04:05Z");
    }
}

/// Istio's `ValidateProxyConfig`.
fn check(decoder: &mut Decoder<'_>, spec: &At<'_>, resource: &ProxyConfigResource) {
    for (key, value) in resource.selector.iter().flatten() {
        if key.is_empty() || key.contains('*') || value.contains('*') {
            let found = format!("{}: {}", quoted(key), quoted(value));
            let path = join(&join(&spec.path, "selector"), "matchLabels");
            let node = spec.node.at(&["selector", "matchLabels", key]).unwrap_or(spec.node);
            decoder.problem_on(
                node,
                path,
                Fault::not_accepted(found, "a label and its value, without wildcards"),
            );
        }
    }
    let concurrency = resource.config.get("concurrency").and_then(Value::as_i64);
    if let Some(concurrency) = concurrency.filter(|threads| *threads < 0) {
        let node = spec.node.at(&["concurrency"]).unwrap_or(spec.node);
        let fault = Fault::not_accepted(format!("the number {concurrency}"), "a whole number from 0");
        decoder.problem_on(node, join(&spec.path, "concurrency"), fault);
    }
}
