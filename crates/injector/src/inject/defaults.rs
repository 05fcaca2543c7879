//! Settings that a pod leaves to others: annotations that its namespace or the configuration gives it.
//!
//! A pod's own annotation always wins, even if it is empty. Nothing here becomes part of the pod: the defaults only
//! count where its annotations are read, so that a change of the namespace affects the next pod and leaves no record on
//! the last one.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde_json::{Map, Value};

use super::{Facts, Refusal, Rules, is_of_own_cluster, proxy_config_check};
use crate::{
    annotation,
    config::{DEFAULTS, InjectorConfig, ProxyResources, guard::InjectRule},
    names, pod,
    quantity::Amount,
    warning::{Warning, shown},
};

/// The source of a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultSource<'a> {
    /// The rule of this name in the configuration.
    Rule(&'a str),
    /// An annotation of the namespace of this name.
    Namespace(&'a str),
    /// `values.global.proxy.resources`, under `resources: perField`.
    Values,
}

/// A default that applies to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedDefault<'a> {
    /// The annotation that it stands for.
    pub key: &'static str,
    /// Its value.
    pub value: Cow<'a, str>,
    /// Its source.
    pub source: DefaultSource<'a>,
}

/// The defaults that apply to a pod.
#[derive(Debug)]
pub(super) struct Defaults<'a> {
    /// Those that stand for an annotation that the pod lacks.
    applied: Vec<AppliedDefault<'a>>,
    /// The ProxyConfigs below the pod's own, lowest first: unlike other annotations, they are merged by field.
    proxy_configs: Vec<(DefaultSource<'a>, &'a str)>,
    /// The pod with the defaults as annotations, for the code that reads annotations.
    pub(super) pod: Cow<'a, Value>,
}

/// The request and limit that an annotation stands for in `global.proxy.resources`.
const RESOURCES: [(&str, &str, &str); 4] = [
    (names::ANNOTATION_PROXY_CPU, "requests", "cpu"),
    (names::ANNOTATION_PROXY_MEMORY, "requests", "memory"),
    (names::ANNOTATION_PROXY_CPU_LIMIT, "limits", "cpu"),
    (names::ANNOTATION_PROXY_MEMORY_LIMIT, "limits", "memory"),
];

impl fmt::Display for DefaultSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DefaultSource::Rule(name) => write!(f, "rule {name}"),
            DefaultSource::Namespace(name) => write!(f, "namespace {}", shown(name)),
            DefaultSource::Values => f.write_str("values.global.proxy.resources"),
        }
    }
}

impl<'a> Defaults<'a> {
    /// The defaults for a pod as received.
    pub(super) fn of(
        rules: Rules,
        mesh: &'a InjectorConfig,
        received: &'a Value,
        rule: Option<&'a InjectRule>,
        path_env: &BTreeMap<String, String>,
        facts: &Facts<'a>,
    ) -> Defaults<'a> {
        let mut defaults =
            Defaults { applied: Vec::new(), proxy_configs: Vec::new(), pod: Cow::Borrowed(received) };
        if rules == Rules::TemplatesOnly {
            return defaults;
        }
        // A rule names its pods more precisely than a namespace does.
        for (key, value) in rule.map(|rule| &rule.defaults).into_iter().flatten() {
            let source = DefaultSource::Rule(rule.map(|rule| rule.name.as_str()).unwrap_or_default());
            defaults.add(received, key, value, source);
        }
        // A namespace of a remote cluster is not the local one of the same name.
        if !mesh.namespace_defaults().is_empty()
            && let Some(namespace) = facts.namespace.filter(|_| is_of_own_cluster(mesh, path_env))
        {
            for key in mesh.namespace_defaults() {
                let value = namespace.annotations.get(*key).and_then(Value::as_str);
                if let Some(value) = value {
                    defaults.add(received, key, value, DefaultSource::Namespace(&namespace.name));
                }
            }
        }
        if !defaults.applied.is_empty() {
            let annotations = pod::annotations_mut(defaults.pod.to_mut());
            for AppliedDefault { key, value, .. } in &defaults.applied {
                annotations.insert((*key).to_owned(), Value::String(value.as_ref().to_owned()));
            }
        }
        if mesh.resources() == ProxyResources::PerField {
            let filled = filled(&defaults.pod, mesh.values());
            defaults.applied.extend(filled);
        }
        defaults
    }

    fn add(&mut self, received: &Value, key: &'static str, value: &'a str, source: DefaultSource<'a>) {
        if value.is_empty() && annotation::EMPTY_IS_UNSET.contains(&key) {
            return;
        }
        if key == names::ANNOTATION_PROXY_CONFIG {
            // The first one is the highest.
            self.proxy_configs.insert(0, (source, value));
        }
        if pod::annotation(received, key).is_none() && self.source_of(key).is_none() {
            self.applied.push(AppliedDefault { key, value: Cow::Borrowed(value), source });
        }
    }

    /// Validates the defaults like a pod's annotations; returns the values that templates see in their place.
    ///
    /// # Errors
    /// Every invalid value, with its source.
    pub(super) fn check(
        &self,
        mesh: &InjectorConfig,
        warnings: &mut Vec<Warning>,
    ) -> Result<BTreeMap<&'static str, String>, Refusal> {
        let mut respelled = BTreeMap::new();
        let mut sources: Vec<DefaultSource<'_>> = self.applied.iter().map(|applied| applied.source).collect();
        sources.extend(self.proxy_configs.iter().map(|(source, _)| *source));
        sources.dedup();
        for source in sources.into_iter().filter(|source| *source != DefaultSource::Values) {
            let of_source = self.applied.iter().filter(|applied| applied.source == source);
            let mut given: Map<String, Value> = of_source
                .map(|applied| (applied.key.to_owned(), Value::String(applied.value.as_ref().to_owned())))
                .collect();
            for (_, text) in self.proxy_configs.iter().filter(|(of, _)| *of == source) {
                given.insert(names::ANNOTATION_PROXY_CONFIG.to_owned(), Value::from(*text));
            }
            let (checked, ignored) =
                proxy_config_check(|check| annotation::check(&given, &Map::new(), mesh.quirks(), check));
            let accepted = checked
                .map_err(|violations| Refusal::Defaults { source_name: source.to_string(), violations })?;
            let of_source = |warning: Warning| Warning {
                code: warning.code,
                message: format!("{source}: {}", warning.message),
            };
            warnings.extend(ignored.into_iter().chain(accepted.warnings).map(of_source));
            respelled.extend(accepted.respelled);
        }
        let applied = self.applied.iter().map(|applied| (applied.key, applied.value.as_ref().to_owned()));
        let mut seen: BTreeMap<&'static str, String> = applied.collect();
        seen.extend(respelled.into_iter().filter(|(key, _)| pod_lacks(&self.applied, key)));
        Ok(seen)
    }

    /// The ProxyConfigs below the pod's own, lowest first.
    pub(super) fn proxy_configs(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.proxy_configs.iter().map(|(_, text)| *text)
    }

    /// The source of the default for an annotation, if there is one.
    pub(super) fn source_of(&self, key: &str) -> Option<DefaultSource<'a>> {
        self.applied.iter().find(|applied| applied.key == key).map(|applied| applied.source)
    }

    /// The defaults that stand for an annotation that the pod lacks.
    pub(super) fn into_applied(self) -> Vec<AppliedDefault<'a>> {
        self.applied
    }
}

fn pod_lacks(applied: &[AppliedDefault<'_>], key: &str) -> bool {
    applied.iter().any(|applied| applied.key == key)
}

/// The requests and limits of the values for those that a pod does not set, if it sets another one. The amounts that
/// the pod asks for stay: a configured limit below its request is raised to it, and a configured request above its
/// limit is lowered to it, because an API server accepts no request above its limit.
fn filled<'a>(asked: &Value, values: &'a Value) -> Vec<AppliedDefault<'a>> {
    let own = |key: &str| pod::annotation(asked, key);
    if !RESOURCES.iter().any(|(key, ..)| own(key).is_some()) {
        return Vec::new();
    }
    let configured = |field: &str, resource: &str| -> Option<Cow<'a, str>> {
        match pod::at(values, &["global", "proxy", "resources", field, resource])? {
            Value::String(text) => Some(Cow::Borrowed(text)),
            Value::Number(number) => Some(Cow::Owned(number.to_string())),
            _ => None,
        }
    };
    let amount = |text: &str| Amount::parse(text);
    let mut filled = Vec::new();
    for (key, field, resource) in RESOURCES.into_iter().filter(|(key, ..)| own(key).is_none()) {
        let Some(mut value) = configured(field, resource) else { continue };
        let other = RESOURCES.iter().find(|(other, _, of)| *other != key && *of == resource);
        let other = other.and_then(|(other, ..)| own(other));
        if let Some((wanted, found)) = other.and_then(|other| Some((amount(other)?, amount(&value)?))) {
            let is_contradicted = if field == "limits" { found < wanted } else { found > wanted };
            if let Some(other) = other.filter(|_| is_contradicted) {
                value = Cow::Owned(other.to_owned());
            }
        }
        filled.push(AppliedDefault { key, value, source: DefaultSource::Values });
    }
    filled
}

/// Whether an annotation of a namespace affects its pods: for the patch cache.
pub(super) fn is_read(mesh: &InjectorConfig, key: &str) -> bool {
    mesh.namespace_defaults().contains(&key) || !DEFAULTS.contains(&key)
}

#[cfg(test)]
mod tests;
