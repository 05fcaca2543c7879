//! What the watches have found, as far as it is part of the configuration.

use std::{collections::BTreeMap, sync::Arc};

use crate::config::ProxyConfigResource;

/// The inputs of a configuration. Cheap to clone, because the texts are shared.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Inputs {
    /// The ConfigMap with the bundle, or Istio's with the injector's configuration.
    pub(in crate::server) injector: Slot,
    /// Istio's ConfigMap with MeshConfig.
    pub(in crate::server) mesh: Slot,
    /// The ProxyConfig resources that could be decoded; `None` until the first list is complete.
    pub(in crate::server) proxy_configs: Option<Arc<Resources>>,
}

/// ProxyConfig resources by namespace and name.
pub(in crate::server) type Resources = BTreeMap<(String, String), ProxyConfigResource>;

/// The state of one ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::server) enum Slot {
    /// Not observed yet.
    #[default]
    Unknown,
    /// It does not exist.
    Absent,
    /// It exists.
    Found(Arc<Found>),
}

/// A ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Found {
    pub(in crate::server) reference: Reference,
    /// The texts of the required keys.
    pub(in crate::server) texts: BTreeMap<&'static str, String>,
    /// All its keys.
    pub(in crate::server) keys: Vec<String>,
}

/// One version of a ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct Reference {
    pub(in crate::server) namespace: String,
    pub(in crate::server) name: String,
    pub(in crate::server) uid: String,
    pub(in crate::server) resource_version: String,
}
