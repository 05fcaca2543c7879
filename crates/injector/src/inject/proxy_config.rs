//! The ProxyConfig of a pod, and the MeshConfig of the steps after the templates.

use std::borrow::Cow;

use serde_json::Value;

use super::{PodRequest, Refusal, Rules, namespace};
use crate::{
    config::{InjectorConfig, ProxyConfigs},
    names, pod,
};
use istio_config::proxy;

/// The pod's own ProxyConfig.
pub(super) fn annotated(pod: &Value) -> Option<&str> {
    pod::annotation(pod, names::ANNOTATION_PROXY_CONFIG)
}

/// Combines mesh default, ProxyConfig resources and annotations, lowest first, by Istio's precedence; borrowed if only the
/// mesh's applies.
pub(super) fn effective_proxy_config<'m, 't>(
    rules: Rules,
    mesh: &'m InjectorConfig,
    pod: &Value,
    namespace: &str,
    annotations: impl IntoIterator<Item = &'t str>,
) -> Result<Cow<'m, Value>, Refusal> {
    let mesh_config = mesh.mesh_config();
    let mut annotations = annotations.into_iter().peekable();
    if let (Rules::TemplatesOnly, Some(text)) = (rules, annotations.peek()) {
        return proxy::annotated_mesh_default(mesh_config, text)
            .map(Cow::Owned)
            .map_err(|error| Refusal::ProxyConfig(error.to_string()));
    }
    // Istio's kube-inject has no access to the cluster's resources.
    let none = ProxyConfigs::default();
    let resources = if rules == Rules::TemplatesOnly { &none } else { mesh.proxy_configs() };
    combined_proxy_config(mesh, pod, namespace, annotations, resources)
}

fn combined_proxy_config<'m, 't>(
    mesh: &'m InjectorConfig,
    pod: &Value,
    namespace: &str,
    annotations: impl IntoIterator<Item = &'t str>,
    resources: &ProxyConfigs,
) -> Result<Cow<'m, Value>, Refusal> {
    let mesh_config = mesh.mesh_config();
    let root = mesh_config.get("rootNamespace").and_then(Value::as_str).unwrap_or_default();
    let labels = pod::at(pod, &["metadata", "labels"]).unwrap_or(&Value::Null);
    proxy::effective_proxy_config(mesh_config, root, namespace, labels, annotations, resources)
        .map_err(|error| Refusal::ProxyConfig(error.to_string()))
}

/// The ProxyConfig that a pod would have with these defaults, without its annotation, and without the resources in the
/// cluster.
pub(crate) fn proxy_config_without<'m>(
    mesh: &'m InjectorConfig,
    request: &PodRequest,
    defaults: &[&str],
    annotation: bool,
    resources: bool,
) -> Result<Cow<'m, Value>, Refusal> {
    let (pod, namespace) = (&request.pod, namespace(request));
    let annotation = annotated(pod).filter(|_| !annotation);
    let none = ProxyConfigs::default();
    let resources = if resources { &none } else { mesh.proxy_configs() };
    combined_proxy_config(mesh, pod, namespace, defaults.iter().copied().chain(annotation), resources)
}

/// MeshConfig for the steps after the templates. Istio's kube-inject inserts the pod's ProxyConfig (`IntoObject`):
/// metrics and probes then use that one's status port.
pub(super) fn mesh_config_of<'m>(
    rules: Rules,
    mesh: &'m InjectorConfig,
    pod: &Value,
    proxy_config: &Value,
) -> Cow<'m, Value> {
    let mut mesh_config = Cow::Borrowed(mesh.mesh_config());
    if rules == Rules::TemplatesOnly
        && pod::annotation(pod, names::ANNOTATION_PROXY_CONFIG).is_some()
        && let Some(fields) = mesh_config.to_mut().as_object_mut()
    {
        fields.insert("defaultConfig".to_owned(), proxy_config.clone());
    }
    mesh_config
}
