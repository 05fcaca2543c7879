//! Assesses the caBundle of our webhooks: its state and its owner. Pure.
//!
//! A foreign CA is not removed from a bundle too early, because replicas may still serve certificates issued by it. A
//! bundle that is taken over, or that was emptied, becomes the union of its former CAs and ours.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use rustls::pki_types::CertificateDer;
use serde_json::{Map, Value, json};

use super::super::issue;
use crate::{
    pem::{self, Pem},
    server::tls::objections::unreadable,
    webhook_config::{self, COMMAND_MANAGER, injection_annotation, is_injector},
};

/// The field manager that owns what we write.
pub(crate) const MANAGER: &str = webhook_config::CA_BUNDLE_MANAGER;

/// The foreign CAs that each entry last held, by the name of the entry.
pub(crate) type Remembered = BTreeMap<String, Vec<CertificateDer<'static>>>;

/// One of our webhooks in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) standing: Standing,
    /// Whether it contains a private key, which everyone who may read the configuration can then read.
    pub(crate) holds_key: bool,
    /// Whether it has rules. Without any the API server sends no pod, whatever the failure policy is.
    pub(crate) active: bool,
    /// Whether we own the caBundle, alone or with others.
    ours: bool,
    /// Whether we own the rules, alone or with others.
    rules_ours: bool,
    /// The certificates in it.
    certificates: HashSet<CertificateDer<'static>>,
    /// Foreign CAs that stay in it, or come back, when we set it, in their order.
    kept: Vec<CertificateDer<'static>>,
}

/// The state of a caBundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is as desired.
    Right,
    /// We maintain it, and it also holds the CAs of its previous owner.
    Inherited,
    /// It holds our CAs and more, and another field manager maintains it. It works and is left alone.
    Extended {
        /// The field managers.
        by: String,
    },
    /// It is ours to set.
    Wrong(Wrong),
    /// Another field manager maintains it, and it lacks at least one of our CAs. It is left alone.
    Foreign {
        /// The field managers.
        by: String,
        /// Whether it holds some of our CAs: then it worked before a rotation began and must not stop working because
        /// of it.
        partly: bool,
    },
}

/// The problem with a caBundle that is ours to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It is absent.
    Empty,
    /// It contains no certificate, so it is of no use to anyone.
    Garbage,
    /// It is a value that we set, or could have set, before.
    Outdated,
    /// Its owner no longer maintains it: a cainjector without its annotation, or nobody at all.
    Abandoned,
    /// A cainjector has left our CAs out of it. Current versions add theirs to the existing CAs, so our write lasts.
    Injected,
}

/// The owner of a caBundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maintainer {
    /// Us, alone or with others.
    Us,
    /// A cainjector, requested by an annotation.
    Injector,
    /// Nobody: at most a cainjector that is no longer requested by an annotation, or a command that handed it over to
    /// us.
    Nobody,
    /// Another field manager.
    Somebody,
}

/// What the webhooks of a configuration are compared with.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    /// What the names of our webhooks end with.
    pub(crate) suffixes: &'a [String],
    /// Our CAs.
    pub(crate) trusted: &'a HashSet<CertificateDer<'static>>,
    pub(crate) remembered: &'a Remembered,
    /// Whether it belongs to a tag, whose caBundle `outrigger tag set` copies and hands over to us.
    pub(crate) tag: bool,
}

/// Assesses every webhook of ours, in the order of the configuration.
pub(crate) fn assess(configuration: &MutatingWebhookConfiguration, view: View<'_>) -> Vec<Entry> {
    let View { suffixes, trusted, remembered, tag } = view;
    let is_injected = injection(configuration).is_some();
    let leaves_it = |other: &String| is_injector(other) || (tag && other == COMMAND_MANAGER);
    let webhooks = configuration.webhooks.iter().flatten();
    let ours = webhooks.filter(|webhook| suffixes.iter().any(|suffix| ends_with(&webhook.name, suffix)));
    ours.map(|webhook| {
        let bundle = webhook.client_config.ca_bundle.as_ref().map_or(&[][..], |bundle| &bundle.0);
        let pem = Pem::parse(bundle);
        let found = certificates(&pem);
        let (ours, others) = owners(configuration, &webhook.name, &["f:clientConfig", "f:caBundle"]);
        let (rules_ours, _) = owners(configuration, &webhook.name, &["f:rules"]);
        let keeper = if ours {
            Maintainer::Us
        } else if !others.iter().all(leaves_it) {
            Maintainer::Somebody
        } else if is_injected && others.iter().any(|other| is_injector(other)) {
            Maintainer::Injector
        } else {
            Maintainer::Nobody
        };
        let by = if others.is_empty() { "an unknown field manager".to_owned() } else { others.join(", ") };
        let blank = bundle.iter().all(u8::is_ascii_whitespace);
        let standing = stands(&found, trusted, keeper, by, blank);
        let foreign = match &standing {
            Standing::Wrong(Wrong::Empty | Wrong::Garbage) => {
                remembered.get(&webhook.name).cloned().unwrap_or_default()
            }
            // When a rotation ends, the CAs of a previous owner are removed together with our old one.
            Standing::Wrong(Wrong::Outdated) if !is_injected && holds_retired(&found, trusted) => Vec::new(),
            _ => found.clone(),
        };
        let kept = foreign.into_iter().filter(|ca| is_of_others(ca, trusted)).collect();
        Entry {
            name: webhook.name.clone(),
            standing,
            holds_key: pem.private_key().is_some(),
            active: webhook.rules.as_ref().is_some_and(|rules| !rules.is_empty()),
            ours,
            rules_ours,
            certificates: found.into_iter().collect(),
            kept,
        }
    })
    .collect()
}

/// The annotation that requests a cainjector to write the caBundles of a configuration.
pub(crate) fn injection(configuration: &MutatingWebhookConfiguration) -> Option<&str> {
    let annotations = configuration.metadata.annotations.iter().flatten();
    injection_annotation(annotations.map(|(key, _)| key.as_str()))
}

fn stands(
    found: &[CertificateDer<'static>],
    trusted: &HashSet<CertificateDer<'static>>,
    keeper: Maintainer,
    by: String,
    blank: bool,
) -> Standing {
    let holds_all = trusted.iter().all(|ca| found.contains(ca));
    let holds_ours_only = found.iter().all(|ca| trusted.contains(ca));
    if found.is_empty() {
        return Standing::Wrong(if blank { Wrong::Empty } else { Wrong::Garbage });
    }
    match keeper {
        _ if holds_all && holds_ours_only => Standing::Right,
        Maintainer::Us if holds_all && !holds_retired(found, trusted) => Standing::Inherited,
        Maintainer::Us => Standing::Wrong(Wrong::Outdated),
        _ if holds_ours_only => Standing::Wrong(Wrong::Outdated),
        Maintainer::Nobody => Standing::Wrong(Wrong::Abandoned),
        _ if holds_all => Standing::Extended { by },
        Maintainer::Injector => Standing::Wrong(Wrong::Injected),
        Maintainer::Somebody => Standing::Foreign { by, partly: found.iter().any(|ca| trusted.contains(ca)) },
    }
}

/// Whether it contains a CA of ours that is no longer trusted.
fn holds_retired(found: &[CertificateDer<'static>], trusted: &HashSet<CertificateDer<'static>>) -> bool {
    found.iter().any(|ca| !trusted.contains(ca) && issue::is_authority(ca))
}

fn is_of_others(ca: &CertificateDer<'static>, trusted: &HashSet<CertificateDer<'static>>) -> bool {
    !trusted.contains(ca) && !issue::is_authority(ca)
}

impl Entry {
    /// Whether an API server that calls this webhook trusts a CA.
    pub(crate) fn trusts(&self, ca: &CertificateDer<'static>) -> bool {
        self.certificates.contains(ca)
    }

    /// Whether it waits for its rules: API servers trust us, or will with the next write, but send nothing yet.
    pub(crate) fn waits(&self) -> bool {
        !self.active && !matches!(self.standing, Standing::Foreign { .. })
    }

    /// Whether an API server that calls this webhook trusts all of the CAs.
    pub(crate) fn trusts_all(&self) -> bool {
        matches!(self.standing, Standing::Right | Standing::Inherited | Standing::Extended { .. })
    }

    /// Whether an API server that calls this webhook trusts any CA at all.
    pub(crate) fn trusts_somebody(&self) -> bool {
        !self.certificates.is_empty()
    }

    /// What to restore if the caBundle is emptied: foreign CAs, unless they are in a bundle of ours already. Emptying
    /// one of ours is a request to remove them.
    pub(crate) fn remembers(&self) -> Option<Vec<CertificateDer<'static>>> {
        match self.standing {
            Standing::Wrong(Wrong::Empty | Wrong::Garbage) => None,
            _ if self.ours => Some(Vec::new()),
            _ => Some(self.kept.clone()),
        }
    }
}

/// The object to apply on the server, as the manager of only the caBundle and the rules of existing entries; `None`
/// if there is nothing to write.
///
/// An entry without rules waits for a ready replica. It gets its rules when `serving`, together with a caBundle or
/// after it, and never where API servers would not trust us. Existing rules are left alone.
///
/// The resource version makes the write fail if anything has changed since the assessment, which is why it may be
/// forced. Entries follow the order of the configuration, because applying would otherwise change that order. Correct
/// entries of ours are included, because a field that its manager leaves out is removed.
pub(crate) fn application(
    configuration: &MutatingWebhookConfiguration,
    entries: &[Entry],
    bundle: &str,
    serving: bool,
) -> Option<Value> {
    let wrong = |entry: &Entry| matches!(entry.standing, Standing::Wrong(_));
    let right = |entry: &Entry| matches!(entry.standing, Standing::Right | Standing::Inherited);
    let activates = |entry: &Entry| serving && entry.waits();
    entries.iter().any(|entry| wrong(entry) || activates(entry)).then(|| {
        let webhooks: Vec<Value> = entries
            .iter()
            .filter_map(|entry| {
                let mut fields = Map::new();
                if wrong(entry) || (entry.ours && right(entry)) {
                    fields.insert("clientConfig".to_owned(), json!({"caBundle": union(bundle, &entry.kept)}));
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

/// Our CAs and foreign ones, in base64.
fn union(bundle: &str, others: &[CertificateDer<'static>]) -> String {
    use base64::Engine as _;
    let others = others.iter().map(|ca| pem::encode(pem::CERTIFICATE, ca));
    let all: String = std::iter::once(bundle.to_owned()).chain(others).collect();
    base64::engine::general_purpose::STANDARD.encode(all)
}

/// The certificates in a bundle, as API servers read it: anything that is not a certificate is skipped.
fn certificates(bundle: &Pem) -> Vec<CertificateDer<'static>> {
    let mut seen = HashSet::new();
    let readable = bundle.certificates().filter(|block| unreadable(&block.der).is_none());
    readable
        .filter(|block| seen.insert(&block.der))
        .map(|block| CertificateDer::from(block.der.clone()))
        .collect()
}

/// `rev.a.example.org` ends with `example.org` and with `.example.org`, `b-example.org` with neither.
pub(super) fn ends_with(name: &str, suffix: &str) -> bool {
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
pub(super) mod tests;
