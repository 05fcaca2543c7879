//! How the fields of a pod merge, as a table with one row per field.
//!
//! It contains the `patchStrategy` and `patchMergeKey` tags of the Go types; a test compares it with all of them, in
//! both directions. A field without a row merges by the default: maps by key, lists as a whole. So only lists that are
//! merged have rows, and the objects on the way to them; fields that Kubernetes adds later, and unknown ones, need
//! none. (The strategy `retainKeys` only matters when a patch is created, and does not appear here.)

use Merge::{Keyed, Object, Set};

/// An object whose fields have rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Pod,
    ObjectMeta,
    PodSpec,
    PodStatus,
    Container,
    Volume,
    EphemeralVolumeSource,
    PersistentVolumeClaimTemplate,
    NodeAllocatableResourceClaimStatus,
    /// An object without rows for its fields.
    Plain,
}

/// How a field merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merge {
    /// An object, merged by key.
    Object(Type),
    /// A list of objects, matched by the value of the named field.
    Keyed(&'static str, Type),
    /// A list of unique strings.
    Set,
}

/// One row: how a field of an object merges.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) of: Type,
    pub(crate) field: &'static str,
    pub(crate) merge: Merge,
}

const fn row(of: Type, field: &'static str, merge: Merge) -> Row {
    Row { of, field, merge }
}

/// The table.
pub(crate) const ROWS: &[Row] = &[
    row(Type::Pod, "metadata", Object(Type::ObjectMeta)),
    row(Type::Pod, "spec", Object(Type::PodSpec)),
    row(Type::Pod, "status", Object(Type::PodStatus)),
    row(Type::ObjectMeta, "finalizers", Set),
    row(Type::ObjectMeta, "ownerReferences", Keyed("uid", Type::Plain)),
    row(Type::PodSpec, "containers", Keyed("name", Type::Container)),
    row(Type::PodSpec, "initContainers", Keyed("name", Type::Container)),
    row(Type::PodSpec, "ephemeralContainers", Keyed("name", Type::Container)),
    row(Type::PodSpec, "volumes", Keyed("name", Type::Volume)),
    row(Type::PodSpec, "imagePullSecrets", Keyed("name", Type::Plain)),
    row(Type::PodSpec, "hostAliases", Keyed("ip", Type::Plain)),
    row(Type::PodSpec, "topologySpreadConstraints", Keyed("topologyKey", Type::Plain)),
    row(Type::PodSpec, "schedulingGates", Keyed("name", Type::Plain)),
    row(Type::PodSpec, "resourceClaims", Keyed("name", Type::Plain)),
    row(Type::PodSpec, "evictionResponders", Keyed("name", Type::Plain)),
    row(Type::Container, "env", Keyed("name", Type::Plain)),
    row(Type::Container, "ports", Keyed("containerPort", Type::Plain)),
    row(Type::Container, "volumeMounts", Keyed("mountPath", Type::Plain)),
    row(Type::Container, "volumeDevices", Keyed("devicePath", Type::Plain)),
    row(Type::Volume, "ephemeral", Object(Type::EphemeralVolumeSource)),
    row(Type::EphemeralVolumeSource, "volumeClaimTemplate", Object(Type::PersistentVolumeClaimTemplate)),
    row(Type::PersistentVolumeClaimTemplate, "metadata", Object(Type::ObjectMeta)),
    row(Type::PodStatus, "conditions", Keyed("type", Type::Plain)),
    row(Type::PodStatus, "hostIPs", Keyed("ip", Type::Plain)),
    row(Type::PodStatus, "podIPs", Keyed("ip", Type::Plain)),
    row(Type::PodStatus, "resourceClaimStatuses", Keyed("name", Type::Plain)),
    row(
        Type::PodStatus,
        "nodeAllocatableResourceClaimStatuses",
        Keyed("resourceClaimName", Type::NodeAllocatableResourceClaimStatus),
    ),
    row(Type::NodeAllocatableResourceClaimStatus, "mapping", Keyed("name", Type::Plain)),
    row(Type::NodeAllocatableResourceClaimStatus, "overhead", Keyed("name", Type::Plain)),
];

impl Type {
    /// How the named field merges; `None` means by the default.
    pub(crate) fn field(self, name: &str) -> Option<Merge> {
        if self == Type::Plain {
            return None;
        }
        ROWS.iter().find(|row| row.of == self && row.field == name).map(|row| row.merge)
    }
}

/// The merge key of a list, determined only by the field's name: for documents of any kind that contain a pod.
pub fn key_of_list(field: &str) -> Option<&'static str> {
    ROWS.iter().find_map(|row| match row.merge {
        Keyed(key, _) if row.field == field => Some(key),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
