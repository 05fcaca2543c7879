//! Writes the effective configuration as a bundle, and hashes it.
//!
//! The bundle means the same under any later version's defaults: removed defaults are explicit nulls or zero values.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::injector;
use super::{Guard, Installation, Namespace, ProxyConfigs, bundle as format, proxy_objects, values};
use gotemplate::gotypes::{Kind, Type};
use istio_config::defaults;
use istio_config::gotypes::{MESH_CONFIG, PROXY_CONFIG};

/// The bundle for `installation`, `injector`, `values` and `mesh_config` (both complete).
pub(super) fn bundle(
    installation: &Installation,
    guard: &Guard,
    injector: &injector::Read,
    values: &Value,
    mesh_config: &Value,
) -> Value {
    json!({
        "apiVersion": format::API_VERSION,
        "kind": format::KIND,
        "revision": installation.revision,
        "injector": injector.to_value(),
        "values": values::under(values::defaults(), values),
        "mesh": mesh_under_defaults(mesh_config),
        "compat": installation.compat.as_str(),
        "platform": installation.platform.as_str(),
        "nativeSidecars": installation.native_sidecars.as_str(),
        "compliancePolicy": installation.compliance_policy,
        "nodes": installation.nodes.iter().map(|node| node.to_value()).collect::<Vec<_>>(),
        "proxyConfigs": proxy_configs(&installation.proxy_configs),
        "namespaces": installation.namespaces.values().map(Namespace::to_value).collect::<Vec<_>>(),
        "env": installation.env,
        "namespaceDefaults": installation.namespace_defaults,
        "resources": installation.resources.as_str(),
        "rules": guard.written[0],
        "overridePolicy": guard.written[1],
        "podSecurity": installation.pod_security.to_value(),
        "namespaceLimits": installation.namespace_limits.to_value(),
    })
}

/// Replaces the ProxyConfig resources in an effective bundle.
pub(super) fn set_proxy_configs(bundle: &mut Value, resources: &ProxyConfigs) {
    if let Some(bundle) = bundle.as_object_mut() {
        bundle.insert("proxyConfigs".to_owned(), proxy_configs(resources));
    }
}

fn proxy_configs(resources: &ProxyConfigs) -> Value {
    resources.iter().map(proxy_objects::to_value).collect()
}

/// The first 16 hexadecimal digits of the SHA-256 of an effective bundle.
pub(super) fn hash(bundle: &Value) -> String {
    // Maps are sorted, so equal configurations have equal texts.
    let digest = Sha256::digest(bundle.to_string().as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A complete MeshConfig in the form that yields itself over Istio's defaults: canonical protojson omits zero values,
/// which would let the default show through.
pub(super) fn mesh_under_defaults(complete: &Value) -> Value {
    let mut given = with_zeros(complete, defaults::mesh_config(), &MESH_CONFIG);
    if let Some(config) = given.get_mut("defaultConfig") {
        *config = with_zeros(config, defaults::proxy_config(), &PROXY_CONFIG);
    }
    given
}

fn with_zeros(complete: &Value, defaults: &Value, ty: &Type) -> Value {
    let mut given: Map<String, Value> = complete.as_object().cloned().unwrap_or_default();
    for key in defaults.as_object().into_iter().flatten().map(|(key, _)| key) {
        if given.contains_key(key) {
            continue;
        }
        if let Some(zero) = ty.field_by_json(key).and_then(|field| zero(&field.kind)) {
            given.insert(key.clone(), zero);
        }
    }
    Value::Object(given)
}

/// The zero value of a field without presence; the others cannot be reset by a text over the defaults.
fn zero(kind: &Kind) -> Option<Value> {
    match kind {
        Kind::Bool => Some(json!(false)),
        Kind::Int | Kind::Uint | Kind::Float => Some(json!(0)),
        Kind::String | Kind::Bytes => Some(json!("")),
        Kind::List(_) => Some(json!([])),
        Kind::Map(_) => Some(json!({})),
        Kind::Enum(names) => names.values.first().map(|(name, _)| json!(name)),
        _ => None,
    }
}
