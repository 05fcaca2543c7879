//! The target of a request to the API server.

use std::fmt;

/// The target of a request, as RBAC names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The resource, such as `configmaps`.
    pub(crate) resource: &'static str,
    /// Empty for cluster-scoped resources, and for all namespaces.
    pub(crate) namespace: String,
    /// Empty for all objects.
    pub(crate) name: String,
}

impl Target {
    /// All objects of a resource.
    pub(crate) fn all(resource: &'static str) -> Target {
        Target::namespaced(resource, "", "")
    }

    /// A cluster-scoped object.
    pub(crate) fn named(resource: &'static str, name: &str) -> Target {
        Target::namespaced(resource, "", name)
    }

    /// An object in a namespace.
    pub(crate) fn namespaced(resource: &'static str, namespace: &str, name: &str) -> Target {
        Target { resource, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The object, such as `shop/web`; empty for all.
    pub(crate) fn object(&self) -> String {
        match (self.namespace.as_str(), self.name.as_str()) {
            ("", name) => name.to_owned(),
            (namespace, "") => format!("in namespace {namespace}"),
            (namespace, name) => format!("{namespace}/{name}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (resource, object) = (self.resource, self.object());
        if object.is_empty() { out.write_str(resource) } else { write!(out, "{resource} {object}") }
    }
}
