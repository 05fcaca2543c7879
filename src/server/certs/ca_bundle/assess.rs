//! How the caBundle of our webhooks stands, and whose it is. Pure.

use std::collections::{BTreeSet, HashSet};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use rustls::pki_types::CertificateDer;
use serde_json::{Map, Value, json};

use crate::{pem::Pem, server::tls::objections::unreadable, webhook_config};

/// The field manager that owns what we write.
pub(crate) const MANAGER: &str = "outrigger-ca-bundle";

/// One of our webhooks in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) standing: Standing,
    /// Whether a private key is in it, for everybody to read who may read the configuration.
    pub(crate) holds_key: bool,
    /// Whether it has rules: without any the API server sends no pod, whatever the policy for failures is.
    pub(crate) active: bool,
    /// Whether we own the caBundle, alone or with others.
    ours: bool,
    /// Whether we own the rules, alone or with others.
    rules_ours: bool,
    /// The certificates in it.
    certificates: HashSet<CertificateDer<'static>>,
}

/// How a caBundle stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is what it should be.
    Right,
    /// It holds our CAs and more, and somebody else keeps it: it works, and is left alone.
    Extended {
        /// The field managers.
        by: String,
    },
    /// It is ours to set.
    Wrong(Wrong),
    /// It is a bundle without all of our CAs that somebody else keeps: it is left alone.
    Foreign {
        /// The field managers.
        by: String,
        /// Whether it holds some of ours: then it worked before a rotation began, and must not stop working by it.
        partly: bool,
    },
}

/// What is wrong with a caBundle that is ours to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// There is none.
    Empty,
    /// There is no certificate in it: nobody can have a use for it.
    Garbage,
    /// It is what we set, or could have set, before.
    Outdated,
}

/// Looks at every webhook whose name ends with one of `suffixes`, in the order of the configuration.
pub(crate) fn assess(
    configuration: &MutatingWebhookConfiguration,
    suffixes: &[String],
    trusted: &HashSet<CertificateDer<'static>>,
) -> Vec<Entry> {
    let webhooks = configuration.webhooks.iter().flatten();
    let ours = webhooks.filter(|webhook| suffixes.iter().any(|suffix| ends_with(&webhook.name, suffix)));
    ours.map(|webhook| {
        let bundle = webhook.client_config.ca_bundle.as_ref().map_or(&[][..], |bundle| &bundle.0);
        let pem = Pem::parse(bundle);
        let certificates = certificates(&pem);
        let (ours, others) = owners(configuration, &webhook.name, &["f:clientConfig", "f:caBundle"]);
        let (rules_ours, _) = owners(configuration, &webhook.name, &["f:rules"]);
        let active = webhook.rules.as_ref().is_some_and(|rules| !rules.is_empty());
        let by = if others.is_empty() { "nobody who is known".to_owned() } else { others.join(", ") };
        let standing = if certificates == *trusted {
            Standing::Right
        } else if certificates.is_empty() {
            let blank = bundle.iter().all(u8::is_ascii_whitespace);
            Standing::Wrong(if blank { Wrong::Empty } else { Wrong::Garbage })
        } else if ours || certificates.is_subset(trusted) {
            Standing::Wrong(Wrong::Outdated)
        } else if certificates.is_superset(trusted) {
            Standing::Extended { by }
        } else {
            Standing::Foreign { by, partly: !certificates.is_disjoint(trusted) }
        };
        let holds_key = pem.private_key().is_some();
        Entry { name: webhook.name.clone(), standing, holds_key, active, ours, rules_ours, certificates }
    })
    .collect()
}

impl Entry {
    /// Whether an API server that calls this webhook trusts a CA.
    pub(crate) fn trusts(&self, ca: &CertificateDer<'static>) -> bool {
        self.certificates.contains(ca)
    }

    /// Whether it waits for its rules: API servers trust us, or will with the next write, and send nothing yet.
    pub(crate) fn waits(&self) -> bool {
        !self.active && !matches!(self.standing, Standing::Foreign { .. })
    }

    /// Whether an API server that calls this webhook trusts all of the CAs.
    pub(crate) fn trusts_all(&self) -> bool {
        matches!(self.standing, Standing::Right | Standing::Extended { .. })
    }
}

/// What to apply on the server, as the manager of nothing but the caBundle and the rules of existing entries; `None`
/// where there is nothing to write.
///
/// An entry without rules is one that waits for a replica: it gets its rules when `serving`, together with a caBundle or
/// after it, and never where API servers would not trust us. Rules that are there are left as they are.
///
/// The resource version makes it fail when anything has changed since it was looked at; that is why it may be forced.
/// Entries are in the order of the configuration, or else applying would change that order. Entries that are right and
/// ours are in it: a field that its manager leaves out is removed.
pub(crate) fn application(
    configuration: &MutatingWebhookConfiguration,
    entries: &[Entry],
    bundle: &str,
    serving: bool,
) -> Option<Value> {
    use base64::Engine as _;
    let wrong = |entry: &Entry| matches!(entry.standing, Standing::Wrong(_));
    let activates = |entry: &Entry| serving && entry.waits();
    entries.iter().any(|entry| wrong(entry) || activates(entry)).then(|| {
        let bundle = base64::engine::general_purpose::STANDARD.encode(bundle);
        let webhooks: Vec<Value> = entries
            .iter()
            .filter_map(|entry| {
                let mut fields = Map::new();
                if wrong(entry) || (entry.ours && entry.standing == Standing::Right) {
                    fields.insert("clientConfig".to_owned(), json!({"caBundle": bundle}));
                }
                if activates(entry) || (entry.rules_ours && entry.active) {
                    fields.insert("rules".to_owned(), webhook_config::rules());
                }
                (!fields.is_empty()).then(|| {
                    fields.insert("name".to_owned(), json!(entry.name));
                    Value::Object(fields)
                })
            })
            .collect();
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {
                "name": configuration.metadata.name,
                "resourceVersion": configuration.metadata.resource_version,
            },
            "webhooks": webhooks,
        })
    })
}

/// The certificates in a bundle, as API servers read it: what is no certificate is passed over.
fn certificates(bundle: &Pem) -> HashSet<CertificateDer<'static>> {
    let readable = bundle.certificates().filter(|block| unreadable(&block.der).is_none());
    readable.map(|block| CertificateDer::from(block.der.clone())).collect()
}

/// `rev.a.example.org` ends with `example.org` and with `.example.org`, `b-example.org` with neither.
fn ends_with(name: &str, suffix: &str) -> bool {
    let suffix = suffix.strip_prefix('.').unwrap_or(suffix);
    name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether we own a field of a webhook, and which other field managers do.
fn owners(configuration: &MutatingWebhookConfiguration, webhook: &str, path: &[&str]) -> (bool, Vec<String>) {
    let key = format!("k:{}", json!({"name": webhook}));
    let owners: BTreeSet<String> = configuration
        .metadata
        .managed_fields
        .iter()
        .flatten()
        .filter(|entry| {
            let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
            let webhook = fields.and_then(|fields| fields.get("f:webhooks")?.get(&key));
            path.iter().try_fold(webhook, |fields, step| Some(fields?.get(step))).flatten().is_some()
        })
        .map(|entry| entry.manager.clone().unwrap_or_default())
        .collect();
    (owners.contains(MANAGER), owners.into_iter().filter(|owner| owner != MANAGER).collect())
}

#[cfg(test)]
mod tests;
