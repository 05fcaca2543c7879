//! Whose doing it is that a pod cannot be decoded: that decides who is told, and what.

use std::fmt;

use serde_json::Value;

use super::{Misfit, NO_VALUE};
use crate::{config::Mesh, inject::warning::shown};
use gotemplate::Template;

/// A pod that no API server can decode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// The first place.
    pub misfit: Misfit,
    /// How many more there are.
    pub more: usize,
    /// Where the value is from.
    pub origin: Origin,
}

/// Where a value is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The pod has it.
    Pod,
    /// It is what an annotation or a label of the pod says.
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
        /// The one place of the configuration that has this value, such as `values.global.proxy.resources.limits.cpu`.
        place: Option<String>,
    },
}

impl Undecodable {
    /// What is wrong with a pod as its author wrote it; nothing if it can be decoded.
    pub fn as_written(pod: &Value) -> Option<Undecodable> {
        let mut misfits = super::misfits(pod).into_iter();
        let misfit = misfits.next()?;
        Some(Undecodable { misfit, more: misfits.len(), origin: Origin::Pod })
    }

    /// What is wrong with an injected pod.
    pub(in crate::inject) fn injected(
        pod: &Value,
        received: &Value,
        mesh: &Mesh,
        templates: &[(&str, &Template)],
    ) -> Option<Undecodable> {
        let own = super::misfits(received);
        let misfits = super::misfits(pod);
        // The user's own proxy may have moved to another list.
        let written =
            |misfit: &Misfit| own.iter().find(|own| (&own.key, &own.value) == (&misfit.key, &misfit.value));
        // What was brought in comes first: it is the less obvious.
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

    /// For the log of whoever runs the injector, if it is for them: without the value, which may be the pod's after all.
    pub fn diagnosis(&self) -> Option<String> {
        let Origin::Configuration { templates, place } = &self.origin else { return None };
        let Misfit { place: field, accepted, .. } = &self.misfit;
        let kind = self.misfit.kind();
        Some(format!(
            "{}: {field} would be {kind}, where an API server takes {accepted}{}",
            of_templates(templates),
            as_in(place)
        ))
    }

    /// All that is known of the place, for whoever wrote both the pod and the configuration.
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
            Origin::Pod => format!("{place}: found {found}; accepted: {accepted}"),
            Origin::Metadata { kind, key } => {
                format!("{kind} {}: found {found}, which {place} cannot be; accepted: {accepted}", shown(key))
            }
            Origin::Configuration { templates, .. } => {
                format!("{} cannot be used for this pod: {}", of_templates(templates), self.misfit)
            }
        }
    }

    /// How many more there are, to be appended to what is said of the first.
    pub(in crate::inject) fn others(&self) -> String {
        match self.more {
            0 => String::new(),
            more => format!("; {more} more of the kind"),
        }
    }
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.told(), self.others())?;
        match self.origin {
            Origin::Pod | Origin::Metadata { .. } => Ok(()),
            Origin::Configuration { .. } => f.write_str("; whoever runs the injector finds this in its log"),
        }
    }
}

fn of_templates(names: &[String]) -> String {
    let noun = if names.len() == 1 { "template" } else { "templates" };
    format!("{noun} {}", names.join(", "))
}

fn as_in(place: &Option<String>) -> String {
    place.as_ref().map(|place| format!("; it is so in {place}")).unwrap_or_default()
}

/// The annotation or label that says a value: as a whole, or somewhere in it if it is JSON.
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

/// The text of a scalar, if it is long enough to be known again.
fn telling(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (text.chars().count() > 1 && !text.contains(NO_VALUE)).then_some(text)
}

/// The one place of the configuration where a value is: a key of the values or of MeshConfig, or a line of a template.
fn configured_at(mesh: &Mesh, templates: &[(&str, &Template)], misfit: &Misfit) -> Option<String> {
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

/// Where a text is in a document, and under which key.
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
