//! A configuration as Istio's injector gets it: the texts of its ConfigMaps, its flags, and the state of the cluster.

use std::collections::BTreeMap;

use outrigger::{
    config::{
        Absent, Compat, ConfigError, InjectorConfig, Installation, Namespace, NativeSidecars, Platform,
        ProxyConfigResource, ProxyConfigs, Source,
    },
    inject::{Facts, Selection},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// One configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Setting {
    /// The injector's configuration, without the templates that come with every installation.
    pub(crate) config: Map<String, Value>,
    /// The values, complete.
    pub(crate) values: Value,
    /// The text of MeshConfig.
    pub(crate) mesh: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) revision: String,
    #[serde(default)]
    pub(crate) native_sidecars: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) platform: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) compliance_policy: String,
    /// `{name, labels, annotations}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) namespaces: Vec<Value>,
    /// ProxyConfig objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) proxy_configs: Vec<Value>,
}

/// The embedded configuration, in parts.
pub(crate) fn embedded() -> Value {
    InjectorConfig::embedded().unwrap().effective_bundle()
}

/// The embedded templates.
pub(crate) fn embedded_templates() -> Map<String, Value> {
    embedded()["injector"]["templates"].as_object().unwrap().clone()
}

impl Setting {
    /// The text of the injector's configuration; `stock` are the templates of the installation.
    pub(crate) fn config_text(&self, stock: &Map<String, Value>) -> String {
        let mut config = self.config.clone();
        let templates = config.entry("templates").or_insert_with(|| json!({})).as_object_mut().unwrap();
        for (name, text) in stock {
            templates.entry(name.clone()).or_insert_with(|| text.clone());
        }
        Value::Object(config).to_string()
    }

    /// The configuration as ours.
    pub(crate) fn mesh(
        &self,
        compat: Compat,
        stock: &Map<String, Value>,
    ) -> Result<InjectorConfig, ConfigError> {
        let config = self.config_text(stock);
        let values = self.values.to_string();
        let source = |name, text| Source { name, text };
        let installation = self.installation(compat);
        let mesh = InjectorConfig::from_config_map(
            source("config", &config),
            source("values", &values),
            source("mesh", &self.mesh),
            installation,
        );
        mesh.map(|(mesh, _)| mesh)
    }

    fn installation(&self, compat: Compat) -> Installation {
        let namespaces = self.namespaces.iter().map(|namespace| {
            let map = |key: &str| namespace[key].as_object().cloned().unwrap_or_default();
            let name = namespace["name"].as_str().unwrap_or_default().to_owned();
            let (labels, annotations) = (map("labels"), map("annotations"));
            (name.clone(), Namespace { name, labels, annotations, ..Namespace::default() })
        });
        let resources =
            self.proxy_configs.iter().map(|object| ProxyConfigResource::from_object(object).unwrap());
        Installation {
            revision: if self.revision.is_empty() { "default".to_owned() } else { self.revision.clone() },
            compat,
            platform: if self.platform == "openshift" { Platform::OpenShift } else { Platform::Kubernetes },
            native_sidecars: if self.native_sidecars {
                NativeSidecars::Enabled
            } else {
                NativeSidecars::Disabled
            },
            compliance_policy: self.compliance_policy.clone(),
            proxy_configs: ProxyConfigs::new(resources.collect::<Vec<_>>()),
            namespaces: namespaces.collect::<BTreeMap<_, _>>(),
            absent: Absent::AsInIstio,
            ..Installation::default()
        }
    }

    /// The configuration as the oracle takes it.
    pub(crate) fn to_request(&self, name: &str, stock: &Map<String, Value>) -> Value {
        json!({"as": name, "setting": {
            "config": self.config_text(stock),
            "values": self.values.to_string(),
            "mesh": self.mesh,
            "revision": if self.revision.is_empty() { "default" } else { &self.revision },
            "nativeSidecars": self.native_sidecars,
            "platform": self.platform,
            "compliancePolicy": self.compliance_policy,
            "namespaces": self.namespaces,
            "proxyConfigs": self.proxy_configs.iter().map(|object| format!("{object}\n")).collect::<Vec<_>>().join("---\n"),
        }})
    }
}

/// The cluster state; the API server has evaluated the labels of namespaces, as for Istio.
pub(crate) fn facts<'m>(mesh: &'m InjectorConfig, namespace: &str) -> Facts<'m> {
    Facts { selection: Selection::ByApiServer, ..Facts::of(mesh, namespace) }
}
