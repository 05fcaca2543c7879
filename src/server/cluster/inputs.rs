//! What the watches have found, as far as the configuration is made of it.

use std::{collections::BTreeMap, sync::Arc};

use crate::config::ProxyConfigResource;

/// What a configuration is made of. Cheap to copy: the texts are shared.
#[derive(Clone, Debug, Default)]
pub(super) struct Inputs {
    /// The ConfigMap with the bundle, or Istio's with the injector's configuration.
    pub(super) injector: Slot,
    /// Istio's ConfigMap with MeshConfig.
    pub(super) mesh: Slot,
    /// The ProxyConfig resources that can be read; nothing before it is known which there are.
    pub(super) proxy_configs: Option<Arc<Resources>>,
}

/// ProxyConfig resources by namespace and name.
pub(super) type Resources = BTreeMap<(String, String), ProxyConfigResource>;

/// A place for a ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Slot {
    /// It is not known yet whether there is one.
    #[default]
    Unknown,
    /// There is none.
    Absent,
    /// There is one.
    Found(Arc<Found>),
}

/// A ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) reference: Reference,
    /// The texts of the keys that are wanted.
    pub(super) texts: BTreeMap<&'static str, String>,
    /// All its keys.
    pub(super) keys: Vec<String>,
}

/// One version of a ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
}
