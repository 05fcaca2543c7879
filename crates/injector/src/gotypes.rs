//! The shapes of Kubernetes' Go structs, as data; see [`gotemplate::gotypes`] for the definition of a shape.
//!
//! Nothing here reads a value; the meaning of a kind is defined where it is evaluated or decoded.

use gotemplate::gotypes::Type;

mod decoding;
mod kubernetes;
mod unions;

pub(crate) use decoding::{ALWAYS_WRITTEN, EMBEDDED};
pub use kubernetes::{
    CRON_JOB, DAEMON_SET, DEPLOYMENT, DEPLOYMENT_CONFIG, JOB, NAMESPACED_NAME, OBJECT_META, POD, POD_SPEC,
    POD_TEMPLATE_SPEC, REPLICA_SET, REPLICATION_CONTROLLER, STATEFUL_SET, TYPE_META,
};
pub use unions::UNIONS;

/// Whether an integer field of a Kubernetes struct has 64 bits, alone or in a list; all others have 32.
pub(crate) fn is_wide(ty: &str, json: &str) -> bool {
    kubernetes::KUBERNETES_WIDE.contains(&(ty, json))
}

/// Fields of a struct of which a document may have only one.
#[derive(Debug)]
pub struct Union {
    /// The struct's Go name with its package, such as `v1.Volume`.
    pub of: &'static str,
    /// The key of the field that names the chosen member, if there is one.
    pub discriminator: Option<&'static str>,
    /// The keys of the members, sorted.
    pub members: &'static [&'static str],
}

/// The union among the fields of a struct, if any.
pub fn union_of(ty: &Type) -> Option<&'static Union> {
    UNIONS.iter().find(|union| union.of == ty.name)
}

#[cfg(test)]
mod tests;
