//! ConfigMaps: each is watched by name, because RBAC grants access only by name.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use serde::Deserialize;
use tokio::sync::watch::Sender;

use crate::server::configuration::cluster::inputs::{Found, Inputs, Reference, Slot};
use crate::server::kube::request::Target;
use crate::server::kube::slim::{self, slim_resource};
use crate::server::kube::watch::{Keeper, Watched};

/// The decoded fields of a ConfigMap.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::server) struct ConfigMap {
    #[serde(deserialize_with = "slim::metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    data: Option<BTreeMap<String, String>>,
}

slim_resource!(ConfigMap = "ConfigMap", "configmaps", "", "v1", NamespaceResourceScope);

/// The role of a ConfigMap in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Role {
    /// Our own.
    Bundle,
    /// Istio's with the injector's configuration.
    Injector,
    /// Istio's with MeshConfig.
    InjectorConfig,
}

/// Follows one ConfigMap.
pub(in crate::server) struct ConfigMapKeeper {
    role: Role,
    inputs: Sender<Inputs>,
    found: Option<Arc<Found>>,
    /// Whether the list being read contains it.
    listed: bool,
}

impl Role {
    /// The required keys.
    pub(in crate::server) fn keys(self) -> &'static [&'static str] {
        match self {
            Role::Bundle => &["bundle"],
            Role::Injector => &["config", "values"],
            Role::InjectorConfig => &["mesh"],
        }
    }

    /// Key of the watch, and name of its gate.
    pub(in crate::server) fn key(self) -> &'static str {
        match self {
            Role::Bundle => "configmap-bundle",
            Role::Injector => "configmap-injector",
            Role::InjectorConfig => "configmap-mesh",
        }
    }
}

/// Selects one ConfigMap.
pub(in crate::server) fn watched(namespace: &str, name: &str) -> Watched<ConfigMap> {
    Watched { target: Target::namespaced("configmaps", namespace, name), api: Api::namespaced, page: 1 }
}

impl ConfigMap {
    /// The resource version, and the text of a key.
    pub(in crate::server) fn take(mut self, key: &str) -> (String, Option<String>) {
        (
            self.metadata.resource_version.unwrap_or_default(),
            self.data.as_mut().and_then(|data| data.remove(key)),
        )
    }
}

impl ConfigMapKeeper {
    pub(in crate::server) fn new(role: Role, inputs: Sender<Inputs>) -> ConfigMapKeeper {
        ConfigMapKeeper { role, inputs, found: None, listed: false }
    }
}

impl Keeper for ConfigMapKeeper {
    type Object = ConfigMap;

    fn begin(&mut self) {
        self.listed = false;
    }

    fn put(&mut self, ConfigMap { metadata, data }: ConfigMap) {
        let mut data = data.unwrap_or_default();
        let keys = data.keys().cloned().collect();
        let texts = self.role.keys().iter().filter_map(|key| Some((*key, data.remove(*key)?))).collect();
        let ObjectMeta { name, namespace, uid, resource_version, .. } = metadata;
        let reference = Reference {
            namespace: namespace.unwrap_or_default(),
            name: name.unwrap_or_default(),
            uid: uid.unwrap_or_default(),
            resource_version: resource_version.unwrap_or_default(),
        };
        self.found = Some(Arc::new(Found { reference, texts, keys }));
        self.listed = true;
    }

    fn remove(&mut self, _: ConfigMap) {
        self.found = None;
    }

    fn complete(&mut self) {
        if !self.listed {
            self.found = None;
        }
        self.settle();
    }

    fn settle(&mut self) {
        let now = self.found.clone().map_or(Slot::Absent, Slot::Found);
        self.inputs.send_if_modified(|inputs| {
            let slot = match self.role {
                Role::Bundle | Role::Injector => &mut inputs.injector,
                Role::InjectorConfig => &mut inputs.mesh,
            };
            let changed = *slot != now;
            *slot = now;
            changed
        });
    }

    fn detail(&self) -> String {
        match &self.found {
            Some(found) => format!("resource version {}", found.reference.resource_version),
            None => String::new(),
        }
    }

    /// Without it there is no configuration, or one that could not be loaded again, so this is reported as a problem.
    fn remark(&self) -> Option<String> {
        self.found.is_none().then(|| "the ConfigMap does not exist".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    fn config_map(version: &str, bundle: &str) -> ConfigMap {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "outrigger", "namespace": "outrigger-system", "uid": "u", "resourceVersion": version},
            "data": {"bundle": bundle, "notes": "are not kept"},
        }))
        .unwrap()
    }

    #[test]
    fn a_config_map_comes_changes_and_goes() {
        let (sender, mut inputs) = watch::channel(Inputs::default());
        let mut keeper = ConfigMapKeeper::new(Role::Bundle, sender);
        keeper.begin();
        keeper.complete();
        assert_eq!(inputs.borrow_and_update().injector, Slot::Absent, "known to be absent");
        assert_eq!(keeper.remark().as_deref(), Some("the ConfigMap does not exist"));
        keeper.put(config_map("1", "revision: a"));
        keeper.settle();
        let Slot::Found(found) = inputs.borrow_and_update().injector.clone() else { panic!("it is there") };
        assert_eq!(found.texts, BTreeMap::from([("bundle", "revision: a".to_owned())]));
        assert_eq!(found.keys, ["bundle", "notes"]);
        assert_eq!((keeper.detail().as_str(), keeper.remark()), ("resource version 1", None));
        keeper.remove(config_map("2", ""));
        keeper.settle();
        assert_eq!(inputs.borrow_and_update().injector, Slot::Absent);
    }

    #[test]
    fn the_same_list_again_is_no_change() {
        let (sender, mut inputs) = watch::channel(Inputs::default());
        let mut keeper = ConfigMapKeeper::new(Role::Bundle, sender);
        for _ in 0..2 {
            keeper.begin();
            keeper.put(config_map("1", "revision: a"));
            keeper.complete();
        }
        inputs.borrow_and_update();
        keeper.begin();
        keeper.put(config_map("1", "revision: a"));
        keeper.complete();
        assert!(!inputs.has_changed().unwrap());
        keeper.begin();
        keeper.complete();
        assert!(inputs.has_changed().unwrap(), "a list without it");
    }
}
