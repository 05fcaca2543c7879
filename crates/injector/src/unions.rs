//! Fields of which an API server accepts only one: handlers of probes and hooks, sources of volumes and variables.
//!
//! A strategic merge keeps the fields of both sides, so a template's `exec` and a user's `sleep` end up next to each
//! other and the pod is rejected. Here, one side gives way before the two are merged. The mutually exclusive fields are
//! listed in [`UNIONS`](crate::gotypes::UNIONS); the caller decides which side wins.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{
    gotypes::{OBJECT_META, POD_SPEC, Union, union_of},
    pod,
    warning::{Warning, shown_within},
};
use gotemplate::gotypes::{Kind, Type};
use strategic_merge::merge;

/// The lists of a spec whose elements are handled individually during injection.
pub(crate) const LISTS: [&str; 4] = ["containers", "initContainers", "ephemeralContainers", "volumes"];

/// The maximum number named: an API server passes on only a few warnings.
const MOST_UNION_WARNINGS: usize = 8;

/// Warnings about unions with two members set by the merge, which an API server rejects: one by the user and one by a template, as Istio leaves it;
/// both by a template, for pods that no sample resembles; or both in a container that the record of an earlier
/// injection restores.
pub(crate) fn new_violations(received: &Value, merged: &Value) -> Vec<Warning> {
    let merged = violations(merged);
    if merged.is_empty() {
        return Vec::new();
    }
    let own = violations(received);
    let new = merged.iter().filter(|violation| !own.contains(violation)).take(MOST_UNION_WARNINGS);
    new.map(|violation| Warning::new("SEVERAL_OF_ONE", violation.to_string())).collect()
}

/// Removes fields from the loser that the winner's choices exclude; both are pods, or parts of one.
pub(crate) fn give_way(loser: &mut Value, winner: &Value) {
    for (key, ty) in [("spec", &POD_SPEC), ("metadata", &OBJECT_META)] {
        if let (Some(loser), Some(winner)) = (loser.get_mut(key), winner.get(key)) {
            in_struct(loser, winner, ty);
        }
    }
}

/// [`give_way`] for fields directly in the spec, without the lists in [`LISTS`].
pub(crate) fn give_way_outside_lists(loser: &mut Value, winner: &Value) {
    let (Some(Value::Object(loser)), Some(Value::Object(winner))) =
        (loser.get_mut("spec"), winner.get("spec"))
    else {
        return;
    };
    for (key, value) in winner.iter().filter(|(key, _)| !LISTS.contains(&key.as_str())) {
        if let (Some(loser), Some(field)) = (loser.get_mut(key), POD_SPEC.field_by_json(key)) {
            in_kind(loser, value, key, &field.kind);
        }
    }
}

/// [`give_way`] for two volumes with the same name; returns the source that was removed and the one that stays, if any.
pub(crate) fn volume_gives_way(loser: &mut Value, winner: &Value) -> Option<(&'static str, &'static str)> {
    let ty = volume_type()?;
    let union = union_of(ty)?;
    let chosen = |volume: &Value| named(union, volume.as_object()?).next();
    let (given, kept) = (chosen(loser), chosen(winner));
    in_struct(loser, winner, ty);
    Some((given.filter(|given| loser.get(*given).is_none())?, kept?))
}

/// The source that a volume names, if any.
pub(crate) fn volume_source(volume: &Value) -> Option<&'static str> {
    named(volume_type().and_then(union_of)?, volume.as_object()?).next()
}

/// Removes the nulls from a volume without a source: it requests some volume with that name, not the removal of the
/// existing source.
pub(crate) fn forget_null_sources(volume: &mut Value) {
    let (Some(union), Value::Object(volume)) = (volume_type().and_then(union_of), volume) else { return };
    if !merge::is_directed(volume) && named(union, volume).next().is_none() {
        volume.retain(|key, value| !value.is_null() || !union.members.contains(&key.as_str()));
    }
}

fn volume_type() -> Option<&'static Type> {
    POD_SPEC.field_by_json("volumes")?.kind.elements()
}

fn in_struct(loser: &mut Value, winner: &Value, ty: &'static Type) {
    let (Value::Object(loser), Value::Object(winner)) = (loser, winner) else { return };
    // A directive already determines what happens to the rest.
    if merge::is_directed(loser) || merge::is_directed(winner) {
        return;
    }
    if let Some(union) = union_of(ty) {
        settle(union, loser, winner);
    }
    for (key, value) in winner {
        if let Some(loser) = loser.get_mut(key)
            && (loser.is_object() || loser.is_array())
            && let Some(field) = ty.field_by_json(key)
        {
            in_kind(loser, value, key, &field.kind);
        }
    }
}

fn in_kind(loser: &mut Value, winner: &Value, key: &str, kind: &'static Kind) {
    match (loser, winner) {
        (Value::Array(losers), Value::Array(winners)) => {
            if let (Some(ty), Some(key)) = (kind.elements(), merge::key_of_list(key)) {
                in_list(losers, winners, key, ty);
            }
        }
        (loser, winner) => {
            if let Some(ty) = kind.message() {
                in_struct(loser, winner, ty);
            }
        }
    }
}

/// Longer lists are searched through an index.
const FEW: usize = 16;

fn in_list(losers: &mut [Value], winners: &[Value], key: &str, ty: &'static Type) {
    let text = |element: &Value| Some(element.get(key)?.as_str()?.to_owned());
    let index: Option<BTreeMap<String, usize>> = (losers.len() > FEW && winners.len() > FEW).then(|| {
        let places = losers.iter().enumerate().rev();
        places.filter_map(|(place, element)| Some((text(element)?, place))).collect()
    });
    for winner in winners {
        let Some(wanted) = winner.get(key).and_then(Value::as_str) else { continue };
        let is_wanted = |element: &Value| element.get(key).and_then(Value::as_str) == Some(wanted);
        let place = match &index {
            Some(index) => index.get(wanted).copied(),
            None => losers.iter().position(is_wanted),
        };
        if let Some(loser) = place.and_then(|place| losers.get_mut(place)) {
            in_struct(loser, winner, ty);
        }
    }
}

fn settle(union: &'static Union, loser: &mut Map<String, Value>, winner: &Map<String, Value>) {
    match union.discriminator {
        Some(kind) => {
            let differs = matches!((loser.get(kind), winner.get(kind)), (Some(loser), Some(winner))
                if !loser.is_null() && !winner.is_null() && loser != winner);
            if differs {
                loser.retain(|key, _| key != kind && !union.members.contains(&key.as_str()));
            }
        }
        None => {
            let kept: Vec<&str> = named(union, winner).collect();
            if kept.is_empty() {
                return;
            }
            // A null would delete the winner's value.
            loser.retain(|key, value| {
                !union.members.contains(&key.as_str()) || kept.contains(&key.as_str()) && !value.is_null()
            });
        }
    }
}

/// The members of a union that an object has. Go omits an empty text, so it does not count as a choice.
fn named<'o>(
    union: &'static Union,
    object: &'o Map<String, Value>,
) -> impl Iterator<Item = &'static str> + use<'o> {
    let is_set = |value: &Value| !value.is_null() && value.as_str() != Some("");
    union.members.iter().copied().filter(move |member| object.get(*member).is_some_and(is_set))
}

/// A part of a pod with several fields of which an API server accepts only one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The container or volume, such as `container istio-proxy`, or `spec`.
    pub(super) holder: String,
    /// The path from the holder, such as `lifecycle.preStop`; empty for the holder itself.
    pub(super) field: String,
    /// The fields present.
    pub(super) members: Vec<&'static str>,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (last, others) = self.members.split_last().unwrap_or((&"", &[]));
        write!(f, "{}: ", self.holder)?;
        if !self.field.is_empty() {
            write!(f, "{} ", self.field)?;
        }
        write!(f, "has {} and {last}; an API server accepts only one", others.join(", "))
    }
}

/// Every part of a pod that has several members of one union.
pub(crate) fn violations(pod: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    let Some(Value::Object(spec)) = pod.get("spec") else { return found };
    for (key, value) in spec {
        let Some(field) = POD_SPEC.field_by_json(key) else { continue };
        match (value, field.kind.elements(), LISTS.contains(&key.as_str())) {
            (Value::Array(elements), Some(ty), true) => {
                let noun = key.strip_suffix('s').unwrap_or(key);
                for element in elements {
                    let holder = format!("{noun} {}", shown_within(pod::name(element), 63));
                    look(element, ty, &holder, "", &mut found);
                }
            }
            _ => look_in_kind(value, &field.kind, "spec", key, &mut found),
        }
    }
    found
}

fn look(value: &Value, ty: &'static Type, holder: &str, path: &str, found: &mut Vec<Violation>) {
    let Value::Object(object) = value else { return };
    if let Some(union) = union_of(ty).filter(|union| union.discriminator.is_none()) {
        let members: Vec<&str> = named(union, object).collect();
        if members.len() > 1 {
            found.push(Violation { holder: holder.to_owned(), field: path.to_owned(), members });
        }
    }
    for (key, value) in object.iter().filter(|(_, value)| value.is_object() || value.is_array()) {
        if let Some(field) = ty.field_by_json(key) {
            let dot = if path.is_empty() { "" } else { "." };
            look_in_kind(value, &field.kind, holder, &format!("{path}{dot}{key}"), found);
        }
    }
}

fn look_in_kind(value: &Value, kind: &'static Kind, holder: &str, path: &str, found: &mut Vec<Violation>) {
    if let (Value::Array(elements), Some(ty)) = (value, kind.elements()) {
        for (index, element) in elements.iter().enumerate() {
            let position = match pod::name(element) {
                "" => index.to_string(),
                name => shown_within(name, 63),
            };
            look(element, ty, holder, &format!("{path}[{position}]"), found);
        }
    } else if let Some(ty) = kind.message() {
        look(value, ty, holder, path, found);
    }
}

#[cfg(test)]
mod tests;
