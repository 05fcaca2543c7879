//! ProxyConfig resources, if their CRD is installed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch::Sender;

use crate::config::ProxyConfigResource;
use crate::server::configuration::cluster::inputs::{Inputs, Resources};
use crate::server::kube::request::Target;
use crate::server::kube::slim::{self, slim_resource};
use crate::server::kube::watch::{Keeper, Watched};

/// The decoded fields of a ProxyConfig.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::server) struct ProxyConfig {
    #[serde(deserialize_with = "slim::metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
}

slim_resource!(
    ProxyConfig = "ProxyConfig",
    "proxyconfigs",
    "networking.istio.io",
    "v1beta1",
    NamespaceResourceScope
);

/// Follows the ProxyConfig resources.
pub(in crate::server) struct ProxyConfigKeeper {
    inputs: Sender<Inputs>,
    resources: Resources,
    /// The names in the list being read.
    listed: BTreeSet<(String, String)>,
    /// Resources that cannot be decoded, with the error; each is reported once.
    unreadable: BTreeMap<(String, String), String>,
    changed: bool,
    known: bool,
}

/// Selects all ProxyConfig resources.
pub(in crate::server) fn watched() -> Watched<ProxyConfig> {
    Watched { target: Target::all("proxyconfigs"), api: |client, _| Api::all(client), page: 500 }
}

impl ProxyConfigKeeper {
    pub(in crate::server) fn new(inputs: Sender<Inputs>) -> ProxyConfigKeeper {
        let (resources, listed, unreadable) = (Resources::new(), BTreeSet::new(), BTreeMap::new());
        ProxyConfigKeeper { inputs, resources, listed, unreadable, changed: false, known: false }
    }

    fn forget(&mut self, key: &(String, String)) {
        self.changed |= self.resources.remove(key).is_some();
    }

    fn publish(&mut self) {
        // An empty list is worth publishing once, too.
        if std::mem::take(&mut self.changed) || !self.known {
            self.known = true;
            let resources = Arc::new(self.resources.clone());
            self.inputs.send_modify(|inputs| inputs.proxy_configs = Some(resources));
        }
    }
}

impl Keeper for ProxyConfigKeeper {
    type Object = ProxyConfig;

    fn begin(&mut self) {
        self.listed.clear();
    }

    fn put(&mut self, ProxyConfig { metadata, spec }: ProxyConfig) {
        let ObjectMeta { name, namespace, creation_timestamp, .. } = metadata;
        let (name, namespace) = (name.unwrap_or_default(), namespace.unwrap_or_default());
        let object = json!({
            "metadata": {"name": name, "namespace": namespace, "creationTimestamp": creation_timestamp},
            "spec": spec,
        });
        let key = (namespace, name);
        self.listed.insert(key.clone());
        match ProxyConfigResource::from_object(&object) {
            Ok(resource) => {
                self.unreadable.remove(&key);
                if self.resources.get(&key) != Some(&resource) {
                    self.resources.insert(key, resource);
                    self.changed = true;
                }
            }
            Err(error) => {
                let (namespace, name) = &key;
                let error = error.to_string();
                if self.unreadable.get(&key) != Some(&error) {
                    tracing::warn!(namespace, name, error, "cannot decode a ProxyConfig; ignoring it");
                }
                self.forget(&key);
                self.unreadable.insert(key, error);
            }
        }
    }

    fn remove(&mut self, object: ProxyConfig) {
        let ObjectMeta { name, namespace, .. } = object.metadata;
        let key = (namespace.unwrap_or_default(), name.unwrap_or_default());
        self.unreadable.remove(&key);
        self.forget(&key);
    }

    fn complete(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        let before = self.resources.len();
        self.resources.retain(|key, _| listed.contains(key));
        self.unreadable.retain(|key, _| listed.contains(key));
        self.changed |= self.resources.len() != before;
        self.publish();
    }

    fn settle(&mut self) {
        self.listed.clear();
        if self.changed {
            self.publish();
        }
    }

    fn detail(&self) -> String {
        format!("{} ProxyConfig resources", self.resources.len())
    }

    fn absent(&mut self) -> bool {
        self.changed |= !self.resources.is_empty();
        self.resources.clear();
        self.unreadable.clear();
        self.publish();
        true
    }

    /// Without them, pods get the settings of MeshConfig.
    fn forbidden(&mut self) -> bool {
        self.publish();
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    fn object(name: &str, spec: Value) -> ProxyConfig {
        serde_json::from_value(json!({
            "apiVersion": "networking.istio.io/v1beta1", "kind": "ProxyConfig",
            "metadata": {"name": name, "namespace": "shop", "creationTimestamp": "2026-01-02T03:04:05Z", "uid": "x"},
            "spec": spec,
        }))
        .unwrap()
    }

    fn names(inputs: &watch::Receiver<Inputs>) -> Option<Vec<String>> {
        let inputs = inputs.borrow();
        Some(inputs.proxy_configs.as_ref()?.keys().map(|(_, name)| name.clone()).collect())
    }

    #[test]
    fn resources_follow_the_cluster() {
        let (sender, mut inputs) = watch::channel(Inputs::default());
        let mut keeper = ProxyConfigKeeper::new(sender);
        keeper.begin();
        keeper.put(object("a", json!({"concurrency": 2})));
        assert_eq!(names(&inputs), None, "not before the list is complete");
        keeper.complete();
        assert_eq!(names(&inputs).unwrap(), ["a"]);
        keeper.put(object("b", json!({})));
        keeper.settle();
        assert_eq!(names(&inputs).unwrap(), ["a", "b"]);
        inputs.borrow_and_update();
        keeper.put(object("b", json!({})));
        keeper.settle();
        assert!(!inputs.has_changed().unwrap(), "nothing that counts has changed");
        keeper.remove(object("a", json!({})));
        keeper.settle();
        assert_eq!(names(&inputs).unwrap(), ["b"]);
        keeper.begin();
        keeper.complete();
        assert_eq!(names(&inputs).unwrap(), [""; 0]);
    }

    #[test]
    fn without_the_definition_there_are_none() {
        let (sender, inputs) = watch::channel(Inputs::default());
        let mut keeper = ProxyConfigKeeper::new(sender);
        assert!(keeper.absent());
        assert_eq!(names(&inputs).unwrap(), [""; 0], "which is known");
        keeper.begin();
        keeper.put(object("a", json!({})));
        keeper.complete();
        assert!(keeper.absent());
        assert_eq!(names(&inputs).unwrap(), [""; 0]);
    }

    // C-08
    #[test]
    fn what_cannot_be_read_is_left_out() {
        let (sender, inputs) = watch::channel(Inputs::default());
        let mut keeper = ProxyConfigKeeper::new(sender);
        keeper.begin();
        keeper.put(object("good", json!({"concurrency": 2})));
        keeper.put(object("bad", json!({"concurrency": "many"})));
        keeper.complete();
        assert_eq!(names(&inputs).unwrap(), ["good"]);
        keeper.put(object("good", json!({"environmentVariables": [1]})));
        keeper.settle();
        assert_eq!(names(&inputs).unwrap(), [""; 0]);
        assert_eq!(keeper.unreadable.len(), 2);
        keeper.put(object("good", json!({})));
        keeper.remove(object("bad", json!({})));
        assert!(keeper.unreadable.is_empty(), "resources that are valid or gone are forgotten");
    }
}
