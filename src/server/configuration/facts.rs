//! What is known of the cluster while it changes: nodes and namespaces, read by requests and written by watches.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use arc_swap::ArcSwapOption;
use serde_json::{Map, Value};

use crate::config::{Namespace, Nodes};

/// Nodes and namespaces as they are now.
#[derive(Debug, Default)]
pub(crate) struct LiveFacts {
    nodes: ArcSwapOption<Nodes>,
    namespaces: RwLock<HashMap<Box<str>, Annotations>>,
}

/// A few annotations whose keys are known. A map for each of 20,000 namespaces would be most of the memory there is.
type Annotations = Box<[(&'static str, Box<str>)]>;

impl LiveFacts {
    /// The nodes, once their first complete list is there.
    pub(crate) fn nodes(&self) -> Option<Arc<Nodes>> {
        self.nodes.load_full()
    }

    /// A namespace, if something is known of it.
    pub(crate) fn namespace(&self, name: &str) -> Option<Arc<Namespace>> {
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        let annotations = namespaces.get(name)?.iter();
        let annotations =
            annotations.map(|(key, value)| ((*key).to_owned(), Value::from(&**value))).collect();
        Some(Arc::new(Namespace { name: name.to_owned(), labels: Map::new(), annotations }))
    }

    /// Replaces the nodes.
    pub(crate) fn replace_nodes(&self, nodes: Nodes) {
        self.nodes.store(Some(Arc::new(nodes)));
    }

    /// How many namespaces are known.
    pub(crate) fn namespaces(&self) -> usize {
        self.namespaces.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Forgets all namespaces but those whose name is wanted.
    pub(crate) fn retain_namespaces(&self, wanted: impl Fn(&str) -> bool) {
        self.namespaces.write().unwrap_or_else(PoisonError::into_inner).retain(|name, _| wanted(name));
    }

    /// Notes the annotations of a namespace; without any there is nothing to know of it.
    pub(crate) fn put_namespace(&self, name: &str, annotations: Vec<(&'static str, Box<str>)>) {
        let mut namespaces = self.namespaces.write().unwrap_or_else(PoisonError::into_inner);
        if annotations.is_empty() {
            namespaces.remove(name);
        } else {
            namespaces.insert(name.into(), annotations.into());
        }
    }

    /// Forgets a namespace.
    pub(crate) fn remove_namespace(&self, name: &str) {
        self.namespaces.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}
