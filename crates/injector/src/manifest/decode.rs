//! Decodes objects like Go: `sigs.k8s.io/yaml` into Kubernetes' own types, which is how Istio reads manifests.
//!
//! An unquoted `true` or `017` becomes a string where the type has one (`convertToJSONableObject`), keys may be in any
//! case (`encoding/json`), null is the empty value, and a value that does not fit its type is an error. Keys that no
//! type has are kept, because they may be newer than the tables. One peculiarity is preserved: below a field of an
//! embedded struct (a probe's handler, a volume's source) nothing is converted to a string, so that `httpGet: {path:
//! 1}` is an error.

mod scalar;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::gotypes;
use gotemplate::gotypes::{Field, Kind, Type};
use kubernetes_yaml::{self as yaml, Mark, Node, Style};
use strategic_merge::place::Place;

/// Changes made while decoding an object as its type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Corrections {
    /// Numbers and booleans that were converted to strings.
    pub unquoted: Changes,
    /// Keys that are written in a different case than the field's.
    pub respelled: Changes,
    /// Whether a null became an empty string, which makes no difference to an API server.
    pub emptied: bool,
}

/// Changes of one kind: their number, and the first one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The number of changes.
    pub count: usize,
    /// The place of the first in the object, such as `spec.containers[0].args[1]`.
    pub path: String,
    /// The result of the first change.
    pub became: String,
}

/// A value that does not fit its field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The position of the value in the text.
    pub mark: Mark,
    /// Its place in the object.
    pub path: String,
    /// The value found.
    pub found: String,
    /// The values expected.
    pub accepted: &'static str,
}

impl Corrections {
    /// Whether an API server would reject the object as it is written.
    pub fn matter(&self) -> bool {
        self.unquoted.count + self.respelled.count > 0
    }

    /// Whether the object was changed.
    pub fn any(&self) -> bool {
        self.matter() || self.emptied
    }

    pub(super) fn add(&mut self, other: Corrections) {
        self.unquoted.add(other.unquoted);
        self.respelled.add(other.respelled);
        self.emptied |= other.emptied;
    }
}

impl Changes {
    fn note(&mut self, place: &Place<'_>, became: &str) {
        if self.count == 0 {
            self.path = place.dotted();
            self.became = became.to_owned();
        }
        self.count += 1;
    }

    fn add(&mut self, other: Changes) {
        if self.count == 0 {
            *self = other;
        } else {
            self.count += other.count;
        }
    }
}

/// The type of objects of a kind that runs pods.
pub(super) fn type_of(kind: &str) -> Option<&'static Type> {
    Some(match kind {
        "Pod" => &gotypes::POD,
        "Deployment" => &gotypes::DEPLOYMENT,
        "DaemonSet" => &gotypes::DAEMON_SET,
        "ReplicaSet" => &gotypes::REPLICA_SET,
        "StatefulSet" => &gotypes::STATEFUL_SET,
        "ReplicationController" => &gotypes::REPLICATION_CONTROLLER,
        "Job" => &gotypes::JOB,
        "CronJob" => &gotypes::CRON_JOB,
        "DeploymentConfig" => &gotypes::DEPLOYMENT_CONFIG,
        _ => return None,
    })
}

/// Decodes an object as its type.
///
/// # Errors
/// The first value that does not fit its field.
pub(super) fn object(node: &mut Node, ty: &'static Type) -> Result<Corrections, Misfit> {
    let mut decoder = Decoder { strict: true, corrections: Corrections::default() };
    if !node.is_null() {
        decoder.fields(node, ty, true, &Place::ROOT)?;
    }
    Ok(decoder.corrections)
}

/// Decodes what an unknown kind keeps in the place of a pod template. Its metadata must have the type of metadata;
/// values that do not fit in its spec may be specific to the kind.
///
/// # Errors
/// The first value of the metadata that does not fit its field.
pub(super) fn foreign_template(node: &mut Node, path: &[&str]) -> Result<Corrections, Misfit> {
    let mut corrections = Corrections::default();
    for (part, ty, strict) in [("metadata", &gotypes::OBJECT_META, true), ("spec", &gotypes::POD_SPEC, false)]
    {
        let Some(node) = node.at_mut(&[part]) else { continue };
        let mut decoder = Decoder { strict, corrections: Corrections::default() };
        decoder.below(path, part, &Place::ROOT, node, ty)?;
        corrections.add(decoder.corrections);
    }
    Ok(corrections)
}

struct Decoder {
    /// Whether a misfit is an error or is left alone.
    strict: bool,
    corrections: Corrections,
}

impl Decoder {
    /// [`Decoder::fields`] of the value at the end of a path.
    fn below(
        &mut self,
        path: &[&str],
        part: &str,
        place: &Place<'_>,
        node: &mut Node,
        ty: &'static Type,
    ) -> Result<(), Misfit> {
        match path.split_first() {
            Some((step, rest)) => self.below(rest, part, &place.field(step), node, ty),
            None if node.is_null() => Ok(()),
            None => self.fields(node, ty, true, &place.field(part)),
        }
    }

    /// Decodes a struct. With `texts`, scalars become strings where the type expects strings.
    fn fields(
        &mut self,
        node: &mut Node,
        ty: &'static Type,
        texts: bool,
        place: &Place<'_>,
    ) -> Result<(), Misfit> {
        let yaml::Kind::Mapping(entries) = &mut node.kind else {
            return self.misfit(node, "a mapping", place);
        };
        let mut keys: Vec<(Key, Option<&'static Field>)> = keys(entries)
            .into_iter()
            .map(|key| {
                let field = if key.counts { field(ty, &key.name) } else { None };
                (key, field)
            })
            .collect();
        // Go decodes the keys in byte order, so the last key for a field wins.
        let mut last: HashMap<&'static str, &str> = HashMap::new();
        for (key, field) in &keys {
            if let Some(field) = field {
                let name = last.entry(field.json).or_insert(&key.name);
                *name = (*name).max(&key.name);
            }
        }
        let counts: Vec<bool> = keys
            .iter()
            .map(|(key, field)| {
                key.counts && field.is_none_or(|field| last.get(field.json) == Some(&&*key.name))
            })
            .collect();
        for (((key, value), (known, field)), counts) in entries.iter_mut().zip(&mut keys).zip(&counts) {
            let Some(field) = field.filter(|_| *counts) else { continue };
            if known.name != field.json {
                self.corrections.respelled.note(&place.field(&known.name), field.json);
                key.set_text(field.json.to_owned(), Style::Plain);
            }
            let embedded = gotypes::EMBEDDED.binary_search(&(ty.name, field.json)).is_ok();
            let narrow = !gotypes::is_wide(ty.name, field.json);
            self.value(value, &field.kind, texts && !embedded, narrow, &place.field(field.json))?;
        }
        let mut counts = counts.into_iter();
        entries.retain(|_| counts.next().unwrap_or(true));
        Ok(())
    }

    fn value(
        &mut self,
        node: &mut Node,
        kind: &'static Kind,
        texts: bool,
        narrow: bool,
        place: &Place<'_>,
    ) -> Result<(), Misfit> {
        match kind {
            Kind::Pointer(kind) => return self.value(node, kind, texts, narrow, place),
            Kind::Any => return Ok(()),
            // Equivalent to an absent field everywhere.
            _ if node.is_null() => return Ok(()),
            Kind::Struct(ty) => return self.fields(node, ty, texts, place),
            Kind::List(kind) => {
                let yaml::Kind::Sequence(items) = &mut node.kind else {
                    return self.misfit(node, "a list", place);
                };
                for (index, item) in items.iter_mut().enumerate() {
                    self.element(item, kind, texts, narrow, &place.element(index))?;
                }
                return Ok(());
            }
            Kind::Map(kind) => {
                let yaml::Kind::Mapping(entries) = &mut node.kind else {
                    return self.misfit(node, "a mapping", place);
                };
                let keys = keys(entries);
                for ((_, value), key) in entries.iter_mut().zip(&keys).filter(|(_, key)| key.counts) {
                    self.element(value, kind, texts, narrow, &place.field(&key.name))?;
                }
                return Ok(());
            }
            _ => {}
        }
        if !matches!(node.kind, yaml::Kind::Scalar { .. }) {
            return self.misfit(node, scalar::accepted(kind, narrow), place);
        }
        if texts
            && matches!(kind, Kind::String)
            && let Some(text) = node.string_of_scalar()
        {
            self.corrections.unquoted.note(place, &text);
            node.set_text(text, Style::DoubleQuoted);
            return Ok(());
        }
        match node.to_value() {
            Ok(value) if scalar::fits(&value, kind, narrow) => Ok(()),
            _ => self.misfit(node, scalar::accepted(kind, narrow), place),
        }
    }

    /// Decodes an item of a list or map, which exists even if it is null.
    fn element(
        &mut self,
        node: &mut Node,
        kind: &'static Kind,
        texts: bool,
        narrow: bool,
        place: &Place<'_>,
    ) -> Result<(), Misfit> {
        if matches!(kind, Kind::String) && node.is_null() {
            self.corrections.emptied = true;
            node.set_text(String::new(), Style::DoubleQuoted);
            return Ok(());
        }
        self.value(node, kind, texts, narrow, place)
    }

    fn misfit(&self, node: &Node, accepted: &'static str, place: &Place<'_>) -> Result<(), Misfit> {
        if !self.strict {
            return Ok(());
        }
        let found = match (&node.kind, node.to_value()) {
            (yaml::Kind::Scalar { .. }, Ok(Value::String(text))) => format!("a string, {}", excerpt(&text)),
            (yaml::Kind::Scalar { text, .. }, _) => format!("{}, {}", node.kind_name(), excerpt(text)),
            _ => node.kind_name().to_owned(),
        };
        Err(Misfit { mark: node.mark, path: place.dotted(), found, accepted })
    }
}

/// The start of a text, quoted.
fn excerpt(text: &str) -> String {
    let start: String = text.chars().take(20).collect();
    if start.len() < text.len() { format!("{:?}", format!("{start}…")) } else { format!("{start:?}") }
}

/// The field that Go decodes a key into: the one with that name, or else one that differs only in case.
fn field(ty: &'static Type, name: &str) -> Option<&'static Field> {
    ty.field_by_json(name).or_else(|| ty.fields.iter().find(|field| field.json.eq_ignore_ascii_case(name)))
}

/// A key of a mapping.
struct Key {
    name: String,
    /// Whether this is the last key of that name.
    counts: bool,
}

/// The keys of a mapping; nodes that cannot be keys were rejected before.
fn keys(entries: &[(Node, Node)]) -> Vec<Key> {
    let mut seen = HashSet::new();
    let mut keys: Vec<Key> = entries
        .iter()
        .rev()
        .map(|(key, _)| {
            let name = key.key_text().unwrap_or_default();
            Key { counts: seen.insert(name.clone()), name }
        })
        .collect();
    keys.reverse();
    keys
}
