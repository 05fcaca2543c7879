//! Namespaces: the two annotations in which OpenShift gives each its IDs.
//!
//! A namespace without them is the same to requests as one that is not known, and is not kept. Nor are labels: whether a
//! namespace wants injection is the API server's to select, which knows sooner than any watch.

use std::{collections::HashSet, sync::Arc};

use serde::Deserialize;

use crate::names;
use crate::server::configuration::facts::LiveFacts;
use crate::server::kube::request::Selected;
use crate::server::kube::watch::{Keeper, Versioned};

/// All of a namespace that is decoded.
#[derive(Debug, Deserialize)]
pub(in crate::server) struct Namespace {
    metadata: Meta,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    name: String,
    #[serde(default)]
    resource_version: String,
    #[serde(default, deserialize_with = "or_null")]
    annotations: Annotations,
}

/// The annotations that count.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "openshift.io/sa.scc.uid-range")]
    uid_range: Option<String>,
    #[serde(rename = "openshift.io/sa.scc.supplemental-groups")]
    groups: Option<String>,
}

/// What may be null instead of absent.
fn or_null<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Annotations, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Keeps the namespaces.
pub(in crate::server) struct NamespaceKeeper {
    facts: Arc<LiveFacts>,
    /// Whether a list is being read, and the names in it.
    listing: bool,
    listed: HashSet<String>,
    /// How many there are that are kept.
    kept: usize,
}

/// The metadata of all namespaces.
pub(in crate::server) fn selected() -> Selected {
    Selected {
        path: "/api/v1/namespaces".to_owned(),
        resource: "namespaces",
        only: None,
        metadata: true,
        page: 500,
    }
}

impl NamespaceKeeper {
    pub(in crate::server) fn new(facts: Arc<LiveFacts>) -> NamespaceKeeper {
        NamespaceKeeper { facts, listing: false, listed: HashSet::new(), kept: 0 }
    }
}

impl Versioned for Namespace {
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

impl Keeper for NamespaceKeeper {
    type Object = Namespace;

    fn begin(&mut self) {
        self.listing = true;
        self.listed.clear();
    }

    fn put(&mut self, namespace: Namespace) {
        let Meta { name, annotations: Annotations { uid_range, groups }, .. } = namespace.metadata;
        let annotations = [
            (names::ANNOTATION_OPENSHIFT_UID_RANGE, uid_range),
            (names::ANNOTATION_OPENSHIFT_GROUPS, groups),
        ];
        let annotations = annotations.into_iter().filter_map(|(key, value)| Some((key, value?.into())));
        self.facts.put_namespace(&name, annotations.collect());
        if self.listing {
            self.listed.insert(name);
        }
    }

    fn remove(&mut self, namespace: Namespace) {
        self.facts.remove_namespace(&namespace.metadata.name);
    }

    fn complete(&mut self) {
        self.listing = false;
        let listed = std::mem::take(&mut self.listed);
        self.facts.retain_namespaces(|name| listed.contains(name));
        self.settle();
    }

    fn settle(&mut self) {
        self.kept = self.facts.namespaces();
    }

    fn detail(&self) -> String {
        format!("{} namespaces with IDs of their own", self.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str, range: Option<&str>) -> Namespace {
        let annotations = match range {
            Some(range) => serde_json::json!({names::ANNOTATION_OPENSHIFT_UID_RANGE: range, "other": "x"}),
            None => serde_json::json!({"other": "x"}),
        };
        serde_json::from_value(serde_json::json!({
            "kind": "PartialObjectMetadata",
            "metadata": {"name": name, "labels": {"a": "b"}, "annotations": annotations},
        }))
        .unwrap()
    }

    #[test]
    fn keeps_what_openshift_says_and_nothing_else() {
        let facts = Arc::new(LiveFacts::default());
        let mut keeper = NamespaceKeeper::new(facts.clone());
        keeper.begin();
        keeper.put(namespace("shop", Some("1000650000/10000")));
        keeper.put(namespace("plain", None));
        keeper.put(serde_json::from_str(r#"{"metadata":{"name":"bare"}}"#).unwrap());
        keeper.put(serde_json::from_str(r#"{"metadata":{"name":"null","annotations":null}}"#).unwrap());
        keeper.complete();
        assert_eq!(facts.namespaces(), 1);
        let shop = facts.namespace("shop").unwrap();
        assert_eq!(shop.annotations.len(), 1);
        assert!(shop.labels.is_empty());
        assert_eq!(keeper.detail(), "1 namespaces with IDs of their own");
    }

    #[test]
    fn follows_changes_and_forgets_what_is_gone() {
        let facts = Arc::new(LiveFacts::default());
        let mut keeper = NamespaceKeeper::new(facts.clone());
        keeper.begin();
        for name in ["a", "b", "c"] {
            keeper.put(namespace(name, Some("1/1")));
        }
        keeper.complete();
        keeper.put(namespace("a", Some("2/1")));
        keeper.put(namespace("b", None));
        keeper.remove(namespace("c", None));
        keeper.settle();
        assert_eq!(facts.namespace("a").unwrap().annotations[names::ANNOTATION_OPENSHIFT_UID_RANGE], "2/1");
        assert_eq!(facts.namespaces(), 1);
        keeper.begin();
        keeper.put(namespace("d", Some("1/1")));
        keeper.complete();
        assert!(facts.namespace("a").is_none() && facts.namespace("d").is_some());
    }
}
