//! Determines why a pod cannot be decoded: because of the pod or of the configuration. This decides who gets a message,
//! and what it says.

use std::fmt;

use serde_json::Value;

use crate::{
    config::InjectorConfig,
    decode::{self, Misfit, NO_VALUE},
    warning::shown,
};
use gotemplate::Template;

/// A pod that no API server can decode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// The first value that does not fit.
    pub misfit: Misfit,
    /// How many more there are.
    pub more: usize,
    /// The origin of the value.
    pub origin: Origin,
}

/// The origin of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The pod contains it.
    Pod,
    /// An annotation or label of the pod contains it.
    Metadata {
        /// `annotation` or `label`.
        kind: &'static str,
        /// Its key.
        key: String,
    },
    /// The configuration.
    Configuration {
        /// The templates that were rendered, in order.
        templates: Vec<String>,
        /// The only place in the configuration with this value, such as `values.global.proxy.resources.limits.cpu`.
        place: Option<String>,
    },
}

impl Undecodable {
    /// The problem of a pod as its author wrote it; `None` if it can be decoded.
    pub fn as_written(pod: &Value) -> Option<Undecodable> {
        let mut misfits = decode::misfits(pod).into_iter();
        let misfit = misfits.next()?;
        Some(Undecodable { misfit, more: misfits.len(), origin: Origin::Pod })
    }

    /// The problem of an injected pod.
    pub(super) fn injected(
        pod: &Value,
        received: &Value,
        mesh: &InjectorConfig,
        templates: &[(&str, &Template)],
    ) -> Option<Undecodable> {
        let own = decode::misfits(received);
        let misfits = decode::misfits(pod);
        // The user's own proxy may have moved to another list.
        let written =
            |misfit: &Misfit| own.iter().find(|own| (&own.key, &own.value) == (&misfit.key, &misfit.value));
        // Injected values come first: they are less obvious.
        let misfit = misfits.iter().find(|misfit| written(misfit).is_none()).or(misfits.first())?.clone();
        let more = misfits.len() - 1;
        if let Some(own) = written(&misfit) {
            return Some(Undecodable { misfit: own.clone(), more, origin: Origin::Pod });
        }
        let origin = if let Some((kind, key)) = saying(received, &misfit.value) {
            Origin::Metadata { kind, key }
        } else {
            let names = templates.iter().map(|(name, _)| (*name).to_owned()).collect();
            Origin::Configuration { templates: names, place: configured_at(mesh, templates, &misfit) }
        };
        Some(Undecodable { misfit, more, origin })
    }

    /// The message for the injector's log, if the configuration is to blame: without the value, which may come from the
    /// pod after all.
    pub fn diagnosis(&self) -> Option<String> {
        let Origin::Configuration { templates, place } = &self.origin else { return None };
        let Misfit { place: field, accepted, .. } = &self.misfit;
        let kind = self.misfit.kind();
        Some(format!(
            "{}: {field} would be {kind}, but an API server expects {accepted}{}",
            of_templates(templates),
            as_in(place)
        ))
    }

    /// The complete explanation, for a user who wrote both the pod and the configuration.
    pub fn explained(&self) -> String {
        match &self.origin {
            Origin::Configuration { templates, place } => {
                format!("{}: {}{}", of_templates(templates), self.misfit, as_in(place))
            }
            _ => self.told(),
        }
    }

    fn told(&self) -> String {
        let Misfit { place, accepted, .. } = &self.misfit;
        let found = self.misfit.found();
        match &self.origin {
            Origin::Pod => format!("{place}: found {found}; expected {accepted}"),
            Origin::Metadata { kind, key } => {
                format!(
                    "{kind} {}: found {found}, which is invalid for {place}; expected {accepted}",
                    shown(key)
                )
            }
            Origin::Configuration { templates, .. } => {
                format!("{} cannot be used for this pod: {}", of_templates(templates), self.misfit)
            }
        }
    }

    /// The number of further problems, as a suffix for the first one's message.
    pub(super) fn others(&self) -> String {
        match self.more {
            0 => String::new(),
            more => format!("; {more} more like it"),
        }
    }
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.told(), self.others())?;
        match self.origin {
            Origin::Pod | Origin::Metadata { .. } => Ok(()),
            Origin::Configuration { .. } => f.write_str("; see the injector's log"),
        }
    }
}

fn of_templates(names: &[String]) -> String {
    let noun = if names.len() == 1 { "template" } else { "templates" };
    format!("{noun} {}", names.join(", "))
}

fn as_in(place: &Option<String>) -> String {
    place.as_ref().map(|place| format!("; the value comes from {place}")).unwrap_or_default()
}

/// The annotation or label that contains a value: as a whole, or anywhere in it if it is JSON.
fn saying(pod: &Value, value: &Value) -> Option<(&'static str, String)> {
    let wanted = telling(value);
    [("annotation", "annotations"), ("label", "labels")].into_iter().find_map(|(kind, field)| {
        let entries = pod.get("metadata")?.get(field)?.as_object()?;
        let says = |text: &str| {
            let is_json = text.trim_start().starts_with(['{', '[']);
            wanted.as_deref().is_some_and(|wanted| text.trim() == wanted.trim())
                || is_json && serde_json::from_str(text).is_ok_and(|json| holds(&json, value))
        };
        let (key, _) = entries.iter().find(|(_, text)| text.as_str().is_some_and(says))?;
        Some((kind, key.clone()))
    })
}

fn holds(json: &Value, value: &Value) -> bool {
    json == value
        || match json {
            Value::Array(items) => items.iter().any(|item| holds(item, value)),
            Value::Object(map) => map.values().any(|item| holds(item, value)),
            _ => false,
        }
}

/// The text of a scalar, if it is long enough to be recognized.
fn telling(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (text.chars().count() > 1 && !text.contains(NO_VALUE)).then_some(text)
}

/// The only place in the configuration that contains a value: a key of the values or of MeshConfig, or a line of a
/// template.
fn configured_at(mesh: &InjectorConfig, templates: &[(&str, &Template)], misfit: &Misfit) -> Option<String> {
    let wanted = telling(&misfit.value)?;
    let mut places = Vec::new();
    collect(mesh.values(), "values", &wanted, &mut places);
    collect(mesh.mesh_config(), "mesh", &wanted, &mut places);
    let alike: Vec<_> = places.iter().filter(|(_, key)| *key == misfit.key).collect();
    if let [(place, _)] = alike.as_slice() {
        return Some(place.clone());
    }
    for (name, template) in templates {
        for (index, line) in template.source().lines().enumerate() {
            if line.contains(&wanted) {
                places.push((format!("template {name}, line {}", index + 1), ""));
            }
        }
    }
    match places.as_slice() {
        [(place, _)] => Some(place.clone()),
        _ => None,
    }
}

/// Collects the places of a text in a document, with their keys.
fn collect<'v>(value: &'v Value, place: &str, wanted: &str, places: &mut Vec<(String, &'v str)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let below = format!("{place}.{key}");
                if telling(value).is_some_and(|text| text == wanted) {
                    places.push((below, key));
                } else {
                    collect(value, &below, wanted, places);
                }
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                let below = format!("{place}[{index}]");
                if telling(value).is_some_and(|text| text == wanted) {
                    places.push((below, ""));
                } else {
                    collect(value, &below, wanted, places);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
