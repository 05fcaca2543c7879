//! Nodes: their names and kubelet versions, which decide about native sidecars.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use serde::Deserialize;

use crate::config;
use crate::config::Nodes;
use crate::server::configuration::facts::LiveFacts;
use crate::server::kube::request::Target;
use crate::server::kube::slim::{self, slim_resource};
use crate::server::kube::watch::{Keeper, Watched};

/// The decoded fields of a node. Images, conditions and the rest are skipped during decoding.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::server) struct Node {
    #[serde(deserialize_with = "slim::metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    status: Option<Status>,
}

slim_resource!(Node = "Node", "nodes", "", "v1", ClusterResourceScope);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    node_info: Option<NodeInfo>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeInfo {
    kubelet_version: String,
}

/// Follows the nodes.
pub(in crate::server) struct NodeKeeper {
    facts: Arc<LiveFacts>,
    nodes: Nodes,
    /// The names in the list being read.
    listed: Option<BTreeSet<String>>,
    changed: bool,
    known: bool,
}

/// Selects all nodes. A node with many images can take 20 KB, and a page of them is in memory as text.
pub(in crate::server) fn watched() -> Watched<Node> {
    Watched { target: Target::all("nodes"), api: |client, _| Api::all(client), page: 20 }
}

impl NodeKeeper {
    pub(in crate::server) fn new(facts: Arc<LiveFacts>) -> NodeKeeper {
        NodeKeeper { facts, nodes: Nodes::default(), listed: None, changed: false, known: false }
    }
}

impl Keeper for NodeKeeper {
    type Object = Node;

    fn begin(&mut self) {
        self.listed = Some(BTreeSet::new());
    }

    fn put(&mut self, node: Node) {
        let name = node.metadata.name.unwrap_or_default();
        let kubelet_version =
            node.status.and_then(|status| status.node_info).unwrap_or_default().kubelet_version;
        if let Some(listed) = &mut self.listed {
            listed.insert(name.clone());
        }
        self.changed |= self.nodes.put(config::Node { name, kubelet_version });
    }

    fn remove(&mut self, node: Node) {
        self.changed |= self.nodes.remove(&node.metadata.name.unwrap_or_default());
    }

    fn complete(&mut self) {
        if let Some(listed) = self.listed.take() {
            let gone: Vec<String> =
                self.nodes.iter().map(|node| node.name).filter(|name| !listed.contains(name)).collect();
            for name in gone {
                self.changed |= self.nodes.remove(&name);
            }
        }
        // An empty list is a change too: from unknown to known to be empty.
        self.changed |= !self.known;
        self.known = true;
        self.settle();
    }

    fn settle(&mut self) {
        // Heartbeats change nothing that is kept, and cost no copy.
        if std::mem::take(&mut self.changed) && self.known {
            tracing::debug!(nodes = self.nodes.len(), versions = ?self.nodes.versions().collect::<Vec<_>>(), "nodes changed");
            self.facts.replace_nodes(self.nodes.clone());
        }
    }

    fn detail(&self) -> String {
        format!("{} nodes, {} kubelet versions", self.nodes.len(), self.nodes.versions().count())
    }

    /// Without them, native sidecars are used only if the configuration or the pod requests them.
    fn forbidden(&mut self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, version: &str) -> Node {
        let status = serde_json::json!({
            "metadata": {"name": name, "resourceVersion": "5", "managedFields": [{"manager": "kubelet"}]},
            "spec": {"podCIDR": "10.0.0.0/24"},
            "status": {"images": [{"names": ["a"]}], "nodeInfo": {"kubeletVersion": version, "osImage": "x"}},
        });
        serde_json::from_str(&status.to_string()).unwrap()
    }

    // O-12
    #[test]
    fn nodes_are_not_known_before_the_list_is_complete() {
        let facts = Arc::new(LiveFacts::default());
        let mut keeper = NodeKeeper::new(facts.clone());
        keeper.begin();
        keeper.put(node("a", "v1.33.0"));
        keeper.settle();
        assert!(facts.nodes().is_none());
        keeper.complete();
        assert_eq!(facts.nodes().unwrap().kubelet_version("a"), Some("v1.33.0"));
    }

    #[test]
    fn an_empty_list_is_known_to_be_empty() {
        let facts = Arc::new(LiveFacts::default());
        let mut keeper = NodeKeeper::new(facts.clone());
        keeper.begin();
        keeper.complete();
        assert!(facts.nodes().unwrap().is_empty());
    }

    #[test]
    fn heartbeats_change_nothing() {
        let facts = Arc::new(LiveFacts::default());
        let mut keeper = NodeKeeper::new(facts.clone());
        keeper.begin();
        keeper.put(node("a", "v1.33.0"));
        keeper.complete();
        let before = facts.nodes().unwrap();
        keeper.put(node("a", "v1.33.0"));
        keeper.settle();
        assert!(Arc::ptr_eq(&before, &facts.nodes().unwrap()));
        keeper.put(node("a", "v1.34.0"));
        keeper.settle();
        assert!(!Arc::ptr_eq(&before, &facts.nodes().unwrap()));
    }

    #[test]
    fn a_second_list_forgets_what_is_gone() {
        let facts = Arc::new(LiveFacts::default());
        let mut keeper = NodeKeeper::new(facts.clone());
        keeper.begin();
        keeper.put(node("a", "v1.32.0"));
        keeper.put(node("b", "v1.33.0"));
        keeper.complete();
        keeper.begin();
        keeper.put(node("b", "v1.33.0"));
        keeper.complete();
        let nodes = facts.nodes().unwrap();
        assert_eq!(nodes.iter().map(|node| node.name).collect::<Vec<_>>(), ["b"]);
        keeper.remove(node("b", "v1.33.0"));
        keeper.settle();
        assert!(facts.nodes().unwrap().is_empty());
    }

    #[test]
    fn a_node_without_a_status_has_no_version() {
        let facts = Arc::new(LiveFacts::default());
        let mut keeper = NodeKeeper::new(facts.clone());
        keeper.begin();
        keeper.put(serde_json::from_str(r#"{"metadata":{"name":"new"}}"#).unwrap());
        keeper.put(serde_json::from_str(r#"{"metadata":{"name":"null"},"status":null}"#).unwrap());
        keeper.complete();
        assert_eq!(facts.nodes().unwrap().kubelet_version("new"), Some(""));
        assert_eq!(facts.nodes().unwrap().kubelet_version("null"), Some(""));
    }
}
