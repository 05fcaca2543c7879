//! Slim types: the few fields of an object that are kept. The rest is skipped during decoding, so that 5,000 nodes
//! with all their images are never in memory as values.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::{Deserialize, Deserializer};

/// The decoded metadata of an object.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct SlimMeta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    creation_timestamp: Option<Time>,
}

/// Decodes metadata without labels, annotations and managed fields.
pub(in crate::server) fn metadata<'de, D: Deserializer<'de>>(from: D) -> Result<ObjectMeta, D::Error> {
    let SlimMeta { name, namespace, uid, resource_version, creation_timestamp } =
        SlimMeta::deserialize(from)?;
    Ok(ObjectMeta { name, namespace, uid, resource_version, creation_timestamp, ..ObjectMeta::default() })
}

/// Implements the traits that [`kube::Api`] needs to list and watch a type with a field `metadata: ObjectMeta`.
macro_rules! slim_resource {
    ($type:ident = $kind:literal, $plural:literal, $group:literal, $version:literal, $scope:ident $(, $metadata:ident)?) => {
        impl kube::Resource for $type {
            type DynamicType = ();
            type Scope = k8s_openapi::$scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }
            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }
            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }
            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }
            $(
                /// The API server sends only the metadata.
                fn $metadata() -> bool {
                    true
                }
            )?
            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

pub(in crate::server) use slim_resource;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_not_decoded() {
        let text = serde_json::json!({
            "name": "a", "resourceVersion": "5", "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"a": "b"},
            "annotations": {"c": "d"}, "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}],
        });
        let meta = metadata(text).unwrap();
        assert_eq!((meta.name.as_deref(), meta.resource_version.as_deref()), (Some("a"), Some("5")));
        assert_eq!(serde_json::json!(meta.creation_timestamp), "2026-01-02T03:04:05Z");
        assert!(meta.labels.is_none() && meta.annotations.is_none() && meta.managed_fields.is_none());
    }
}
