//! What wrote each field of an injected pod: a template's line and the data it reads, the user, or a later step.
//!
//! The pipeline itself runs; an observer keeps the pod after every stage. The last stage that changed a field wrote it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::data::{Datum, Sources};
use super::{fields, is_at_or_below};
use crate::{
    config::InjectorConfig,
    inject::{AppliedDefault, Observer, PodRequest, Stage, render},
};
use gotemplate::{Read, Template, Traced};
use kubernetes_yaml::{self as yaml, Limits};

/// A field of the pod that injection wrote or removed.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its path, such as `spec.initContainers[istio-init].args[6]`.
    pub path: String,
    /// Its value; `None` if it was removed.
    pub value: Option<Value>,
    /// What wrote it last.
    pub writer: Writer,
    /// Its earlier values, the first one first, each with its writer.
    pub replaced: Vec<(Writer, Value)>,
}

/// What wrote a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Writer {
    /// The pod as received.
    Pod,
    /// A template.
    Template(Box<Line>),
    /// The user's own settings for the proxy: its container in the pod, or the override annotation.
    User,
    /// A post-processing pass of this name.
    Pass(&'static str),
}

/// A line of a template.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The name of the template.
    pub template: String,
    /// The line, from 1, and its text; `None` if the value cannot be traced to a line.
    pub line: Option<(u32, String)>,
    /// The data that it reads.
    pub data: Vec<Datum>,
    /// The lines of the conditions around it, outermost first, with the data that they read.
    pub conditions: Vec<(u32, Vec<Datum>)>,
}

/// Where a field of an overlay comes from, before its data is looked up.
#[derive(Clone, Debug)]
struct Origin {
    line: u32,
    text: String,
    reads: Vec<Read>,
    conditions: Vec<(u32, Vec<Read>)>,
}

/// Records the pipeline's stages.
pub(super) struct Recorder<'a> {
    request: &'a PodRequest,
    defaults: (Vec<AppliedDefault<'a>>, Vec<&'a str>),
    stages: Vec<(Name, BTreeMap<String, Value>)>,
    /// By template, by field.
    origins: BTreeMap<String, BTreeMap<String, Vec<Origin>>>,
    /// The pod and the ProxyConfig that the templates see.
    seen: Option<(Value, Value)>,
}

/// A stage.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Received,
    Template(String),
    Overrides,
    Pass(&'static str),
}

impl<'a> Recorder<'a> {
    pub(super) fn new(
        request: &'a PodRequest,
        defaults: (Vec<AppliedDefault<'a>>, Vec<&'a str>),
    ) -> Recorder<'a> {
        Recorder { request, defaults, stages: Vec::new(), origins: BTreeMap::new(), seen: None }
    }

    /// Every field that injection wrote or removed, by path.
    pub(super) fn fields(&self, mesh: &InjectorConfig, pod: &Value) -> Vec<Field> {
        let nothing = (Value::Null, Value::Null);
        let (seen, proxy_config) = self.seen.as_ref().unwrap_or(&nothing);
        let (defaults, proxy_configs) = &self.defaults;
        let sources =
            Sources { mesh, request: self.request, defaults, proxy_configs, pod: seen, proxy_config };
        let last = fields::of(pod);
        let received = fields::of(&self.request.pod);
        // A container that moved to the other list does not count as removed from this one, nor does an empty map that
        // was filled.
        let is_removed = |path: &str| {
            !moved(path).is_some_and(|moved| last.contains_key(&moved))
                && !last.keys().any(|other| other.len() > path.len() && is_at_or_below(other, path))
        };
        // A setting of the pod's own that wins over a template's is written, too: it replaces that one.
        let is_written = |path: &&String| {
            let own = value_at(&received, path);
            own != last.get(*path) || own.is_some() && self.is_contested(path)
        };
        let written = last.keys().filter(is_written);
        let removed = received.keys().filter(|path| !last.contains_key(*path) && is_removed(path));
        let mut all: Vec<&String> = written.chain(removed).collect();
        all.retain(|path| !path.starts_with("metadata.managedFields"));
        all.sort_by_cached_key(|path| fields::order(path));
        all.into_iter().map(|path| self.field(&sources, path, last.get(path))).collect()
    }

    /// Whether any stage had a value other than that of the pod as received.
    fn is_contested(&self, path: &str) -> bool {
        let mut values = self.stages.iter().map(|(_, fields)| value_at(fields, path));
        let received = values.next();
        values.any(|value| value.is_some() && Some(value) != received)
    }

    fn field(&self, sources: &Sources<'_>, path: &str, value: Option<&Value>) -> Field {
        let mut history: Vec<(&Name, Option<&Value>)> = Vec::new();
        for (name, fields) in &self.stages {
            let value = value_at(fields, path);
            if history.last().map_or(value.is_some(), |(_, earlier)| *earlier != value) {
                history.push((name, value));
            }
        }
        let writer = |name: &Name, value: Option<&Value>| self.writer(sources, name, path, value);
        let last = history.pop();
        Field {
            path: path.to_owned(),
            value: value.cloned(),
            writer: last.map_or(Writer::Pod, |(name, value)| writer(name, value)),
            replaced: history
                .into_iter()
                .filter_map(|(name, value)| Some((writer(name, value), value?.clone())))
                .collect(),
        }
    }

    fn writer(&self, sources: &Sources<'_>, name: &Name, path: &str, value: Option<&Value>) -> Writer {
        match name {
            Name::Received => Writer::Pod,
            Name::Overrides => Writer::User,
            Name::Pass(name) => Writer::Pass(name),
            Name::Template(name) => Writer::Template(Box::new(self.line(sources, name, path, value))),
        }
    }

    fn line(&self, sources: &Sources<'_>, template: &str, path: &str, value: Option<&Value>) -> Line {
        let origins = self.origins.get(template).and_then(|fields| value_at(fields, path));
        let origins = origins.map(Vec::as_slice).unwrap_or_default();
        let steps = fields::split(path);
        let mut data: Vec<Datum> = Vec::new();
        for read in origins.iter().flat_map(|origin| &origin.reads) {
            data.extend(sources.datum(read, &steps, value).filter(|datum| !data.contains(datum)));
        }
        let conditions = origins.first().map(|origin| origin.conditions.as_slice()).unwrap_or_default();
        Line {
            template: template.to_owned(),
            line: origins.first().map(|origin| (origin.line, origin.text.clone())),
            data,
            conditions: conditions
                .iter()
                .map(|(line, reads)| {
                    (*line, reads.iter().filter_map(|read| sources.datum(read, &[], None)).collect())
                })
                .collect(),
        }
    }
}

/// The known facts about a field, or about the same field of a container in the other list: a proxy that is a native
/// sidecar is moved there.
fn value_at<'f, T>(fields: &'f BTreeMap<String, T>, path: &str) -> Option<&'f T> {
    fields.get(path).or_else(|| fields.get(&moved(path)?))
}

/// The same field of a container in the other list.
pub fn moved(path: &str) -> Option<String> {
    Some(match path.strip_prefix("spec.initContainers[") {
        Some(rest) => format!("spec.containers[{rest}"),
        None => format!("spec.initContainers[{}", path.strip_prefix("spec.containers[")?),
    })
}

impl Observer for Recorder<'_> {
    fn after(&mut self, stage: Stage<'_>, pod: &Value) {
        let name = match stage {
            Stage::Received => Name::Received,
            Stage::Template(name) => Name::Template(name.to_owned()),
            Stage::Overrides => Name::Overrides,
            Stage::Pass(name) => Name::Pass(name),
        };
        self.stages.push((name, fields::of(pod)));
    }

    fn renders(&mut self, mesh: &InjectorConfig, view: &render::View<'_>, templates: &[(&str, &Template)]) {
        self.origins.clear();
        self.seen = Some((view.pod.clone(), view.proxy_config.as_ref().clone()));
        let origins = &mut self.origins;
        render::trace(mesh, view, templates, |name, traced| {
            origins.insert(name.to_owned(), origins_of(traced));
        });
    }
}

/// The origins of every field of an overlay.
fn origins_of(traced: &Traced<'_>) -> BTreeMap<String, Vec<Origin>> {
    let text = &traced.rendered.text;
    let Ok(node) = yaml::parse(text, &Limits::rendered()) else { return BTreeMap::new() };
    fields::of_rendered(&node, text, &traced.rendered.placeholders)
        .into_iter()
        .map(|(path, part)| {
            let origins = traced.sources(part).into_iter().map(|source| Origin {
                line: source.line,
                text: source.text.to_owned(),
                reads: source.reads,
                conditions: source.conditions,
            });
            (path, origins.collect())
        })
        .collect()
}
