//! The Secret as an object: whether it is ours, what it contains, and what it becomes. Pure.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};

use super::content::Content;

/// Label of Secrets that are ours, with its value.
pub(crate) const OURS: (&str, &str) = ("outrigger.dev/certificate", "controller");
/// Label that names an object's creator, with its value.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "outrigger");
/// The type of Secrets we create, which requires `tls.crt` and `tls.key`.
const TYPE: &str = "kubernetes.io/tls";
/// Types of Secrets that count as ours.
const TYPES: [&str; 2] = [TYPE, "Opaque"];

/// Ownership of a Secret.
#[derive(Debug)]
pub(crate) enum Reading {
    /// It is not ours, and is neither used nor changed. States what was found and what was expected.
    Foreign(String),
    /// Ours.
    Ours(Box<Content>),
}

/// Reads a Secret.
pub(crate) fn read(secret: &Secret) -> Reading {
    let label = secret.metadata.labels.as_ref().and_then(|labels| labels.get(OURS.0));
    if label.map(String::as_str) != Some(OURS.1) {
        return Reading::Foreign(format!(
            "found no label {}={}, so it is left alone; expected a secret with this label, or no secret",
            OURS.0, OURS.1
        ));
    }
    let kind = secret.type_.as_deref().unwrap_or("Opaque");
    if !TYPES.contains(&kind) {
        return Reading::Foreign(format!(
            "found type {kind}, so it is left alone; expected {}",
            TYPES.join(" or ")
        ));
    }
    let empty = BTreeMap::new();
    let data: BTreeMap<String, Vec<u8>> =
        secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect();
    let annotations = secret.metadata.annotations.as_ref().unwrap_or(&empty);
    Reading::Ours(Box::new(Content::read(&data, annotations)))
}

/// A Secret that is created for the first time, or again.
pub(crate) fn fresh(namespace: &str, name: &str, content: &Content) -> Secret {
    let labels = [OURS, MANAGED_BY].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let secret = Secret {
        metadata: ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            labels: Some(labels.into()),
            ..ObjectMeta::default()
        },
        type_: Some(TYPE.to_owned()),
        ..Secret::default()
    };
    changed(&secret, content)
}

/// A Secret with new content. Everything else in it stays, above all the resource version, so that a concurrent
/// change wins.
pub(crate) fn changed(secret: &Secret, content: &Content) -> Secret {
    let mut secret = secret.clone();
    let (data, annotations) = content.write();
    let to = secret.data.get_or_insert_default();
    for (key, value) in data {
        match value {
            Some(value) => to.insert(key.to_owned(), ByteString(value)),
            None => to.remove(key),
        };
    }
    let to = secret.metadata.annotations.get_or_insert_default();
    for (key, value) in annotations {
        match value {
            Some(value) => to.insert(key.to_owned(), value),
            None => to.remove(key),
        };
    }
    secret.metadata.managed_fields = None;
    secret
}
