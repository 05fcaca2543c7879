//! The Secret as an object: whether it is ours, what is in it, and what it becomes. Pure.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};

use super::content::Content;

/// Label of Secrets that are ours, with its value.
pub(crate) const OURS: (&str, &str) = ("outrigger.dev/certificate", "controller");
/// Label that says who made an object, with its value.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "outrigger");
/// The type of Secrets we make: `tls.crt` and `tls.key` cannot be left out.
const TYPE: &str = "kubernetes.io/tls";
/// Types of Secrets that are taken as ours.
const TYPES: [&str; 2] = [TYPE, "Opaque"];

/// What a Secret is to us.
#[derive(Debug)]
pub(crate) enum Reading {
    /// Somebody else's: it is neither used nor changed. Says what was found and what is accepted.
    Foreign(String),
    /// Ours.
    Ours(Box<Content>),
}

/// Reads a Secret.
pub(crate) fn read(secret: &Secret) -> Reading {
    let label = secret.metadata.labels.as_ref().and_then(|labels| labels.get(OURS.0));
    if label.map(String::as_str) != Some(OURS.1) {
        return Reading::Foreign(format!(
            "it does not carry the label {}={} and is left alone; accepted is one with the label, or none",
            OURS.0, OURS.1
        ));
    }
    let kind = secret.type_.as_deref().unwrap_or("Opaque");
    if !TYPES.contains(&kind) {
        return Reading::Foreign(format!(
            "it is of type {kind} and is left alone; accepted is {}",
            TYPES.join(" or ")
        ));
    }
    let empty = BTreeMap::new();
    let data: BTreeMap<String, Vec<u8>> =
        secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect();
    let annotations = secret.metadata.annotations.as_ref().unwrap_or(&empty);
    Reading::Ours(Box::new(Content::read(&data, annotations)))
}

/// A Secret that is made for the first time, or again.
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

/// A Secret with another content. Whatever else is in it stays, the resource version above all: whoever was faster wins.
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
