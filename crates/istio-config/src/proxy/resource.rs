//! ProxyConfig objects (`networking.istio.io/v1beta1`), and which of them apply to a pod.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::gotypes::BETA_PROXY_CONFIG;
use crate::proto::{self, ProtoError, Violation};

/// A ProxyConfig object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyConfigResource {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// When it was created, RFC 3339 in UTC; empty if unknown, which counts as oldest.
    pub created: String,
    /// The labels that a pod must have; `None` without a selector, in which case it applies to its namespace.
    pub selector: Option<BTreeMap<String, String>>,
    /// Its content, as a mesh/v1alpha1 ProxyConfig.
    pub config: Value,
    /// Unknown fields in it, which Istio ignores.
    pub ignored: Vec<Violation>,
}

/// All ProxyConfig objects of a cluster, by namespace, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyConfigs {
    by_namespace: BTreeMap<String, Vec<ProxyConfigResource>>,
}

impl ProxyConfigResource {
    /// Reads an object of kind ProxyConfig.
    ///
    /// # Errors
    /// All violations in its `spec`.
    pub fn from_object(object: &Value) -> Result<ProxyConfigResource, ProtoError> {
        let text = |key: &str| {
            object
                .pointer("/metadata")
                .and_then(|meta| meta.get(key))
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (namespace, name) = (text("namespace").to_owned(), text("name").to_owned());
        let source = format!("ProxyConfig {namespace}/{name}");
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let (spec, ignored) = proto::decode(&BETA_PROXY_CONFIG, spec).tolerant(&source)?;
        let selector = spec.get("selector").map(|selector| {
            let labels = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
            labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
        });
        let created = text("creationTimestamp").to_owned();
        Ok(ProxyConfigResource { namespace, name, created, selector, config: as_mesh_config(&spec), ignored })
    }
}

impl ProxyConfigs {
    /// Sorts objects like Istio: oldest first, equally old ones by name.
    pub fn new(resources: impl IntoIterator<Item = ProxyConfigResource>) -> ProxyConfigs {
        let mut by_namespace: BTreeMap<String, Vec<ProxyConfigResource>> = BTreeMap::new();
        for resource in resources {
            by_namespace.entry(resource.namespace.clone()).or_default().push(resource);
        }
        for resources in by_namespace.values_mut() {
            resources.sort_by(|a, b| (&a.created, &a.name).cmp(&(&b.created, &b.name)));
        }
        ProxyConfigs { by_namespace }
    }

    /// All objects, by namespace and age.
    pub fn iter(&self) -> impl Iterator<Item = &ProxyConfigResource> {
        self.by_namespace.values().flatten()
    }

    /// The configuration of the oldest object without a selector (`mergedNamespaceConfig`).
    pub(super) fn of_namespace(&self, namespace: &str) -> Option<&Value> {
        let resources = self.by_namespace.get(namespace)?;
        resources.iter().find(|resource| resource.selector.is_none()).map(|resource| &resource.config)
    }

    /// The configuration of the oldest object with a matching selector (`mergedWorkloadConfig`); an empty selector
    /// matches nothing.
    pub(super) fn of_workload(&self, namespace: &str, labels: &Value) -> Option<&Value> {
        let matches = |selector: &BTreeMap<String, String>| {
            let has = |(key, value): (&String, &String)| {
                labels.get(key).and_then(Value::as_str).is_some_and(|label| label == value)
            };
            !selector.is_empty() && selector.iter().all(has)
        };
        let resources = self.by_namespace.get(namespace)?;
        let found = resources.iter().find(|resource| resource.selector.as_ref().is_some_and(matches));
        found.map(|resource| &resource.config)
    }
}

/// The fields that a ProxyConfig object can set, under their names in the mesh's ProxyConfig.
fn as_mesh_config(spec: &Value) -> Value {
    let mut config = Map::new();
    for (own, mesh) in
        [("concurrency", "concurrency"), ("environmentVariables", "proxyMetadata"), ("image", "image")]
    {
        if let Some(value) = spec.get(own) {
            config.insert(mesh.to_owned(), value.clone());
        }
    }
    Value::Object(config)
}
