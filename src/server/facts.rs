//! What is known of the cluster while it changes: nodes and namespaces, read by requests and written by watches.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use arc_swap::ArcSwapOption;

use crate::config::{Namespace, Nodes};

/// Nodes and namespaces as they are now.
#[derive(Debug, Default)]
pub(crate) struct LiveFacts {
    nodes: ArcSwapOption<Nodes>,
    namespaces: RwLock<HashMap<String, Arc<Namespace>>>,
}

impl LiveFacts {
    /// The nodes, once their first complete list is there.
    pub(crate) fn nodes(&self) -> Option<Arc<Nodes>> {
        self.nodes.load_full()
    }

    /// A namespace, if it is known.
    pub(crate) fn namespace(&self, name: &str) -> Option<Arc<Namespace>> {
        self.namespaces.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Replaces the nodes.
    pub(crate) fn replace_nodes(&self, nodes: Nodes) {
        self.nodes.store(Some(Arc::new(nodes)));
    }

    /// Replaces all namespaces.
    pub(crate) fn replace_namespaces(&self, namespaces: impl IntoIterator<Item = Namespace>) {
        let map =
            namespaces.into_iter().map(|namespace| (namespace.name.clone(), Arc::new(namespace))).collect();
        *self.namespaces.write().unwrap_or_else(PoisonError::into_inner) = map;
    }

    /// Adds a namespace or replaces it.
    pub(crate) fn put_namespace(&self, namespace: Namespace) {
        let mut map = self.namespaces.write().unwrap_or_else(PoisonError::into_inner);
        map.insert(namespace.name.clone(), Arc::new(namespace));
    }

    /// Forgets a namespace.
    pub(crate) fn remove_namespace(&self, name: &str) {
        self.namespaces.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}
