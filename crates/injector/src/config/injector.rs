//! The injector's own configuration: the content of the key `config` in Istio's injector ConfigMap.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::decode::{At, Decoder, RESERVED, Unknown, join};
use super::error::{Fault, Place, quoted};
use super::selector::{self, Selector};
use super::{Absent, suggest};
use crate::functions::FUNCTIONS;
use crate::quirks::{Quirk, Quirks};
use gotemplate::{ParseError, Template};

/// Which pods are injected, and with which templates.
#[derive(Debug)]
pub struct Injector {
    /// The default for pods that neither ask for injection nor opt out.
    pub policy: Policy,
    /// The templates for pods that name none, in order.
    pub default_templates: Vec<String>,
    /// The templates by name, compiled.
    pub templates: BTreeMap<String, Template>,
    /// Names that stand for lists of templates, expanded once, not recursively.
    pub aliases: BTreeMap<String, Vec<String>>,
    /// Pods that match any of these selectors are not injected by default.
    pub never_inject: Vec<Selector>,
    /// Pods that match any of these selectors, and none of `never_inject`, are injected by default.
    pub always_inject: Vec<Selector>,
    /// Annotations added to every injected pod.
    pub injected_annotations: BTreeMap<String, String>,
}

/// The default for pods that neither ask for injection nor opt out (`InjectionPolicy`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Inject.
    Enabled,
    /// Do not inject.
    Disabled,
    /// With [`Quirk::AcceptInvalidPolicy`] only: the configuration says something else, and no pod at all is injected.
    Invalid(String),
}

/// Names and sources of the embedded templates.
pub(super) const EMBEDDED: [(&str, &str); 4] = [
    (
        "gateway",
        concat!(include_str!("../../templates/agent.tpl"), include_str!("../../templates/gateway.yaml")),
    ),
    (
        "grpc-agent",
        concat!(include_str!("../../templates/agent.tpl"), include_str!("../../templates/grpc-agent.yaml")),
    ),
    ("grpc-simple", include_str!("../../templates/grpc-simple.yaml")),
    (
        "sidecar",
        concat!(include_str!("../../templates/agent.tpl"), include_str!("../../templates/sidecar.yaml")),
    ),
];

/// Keys of the injector's configuration (Istio's key `config`).
pub(crate) const KEYS: [&str; 8] = [
    "policy",
    "defaultTemplates",
    "templates",
    "aliases",
    "neverInjectSelector",
    "alwaysInjectSelector",
    "injectedAnnotations",
    // A guard in Istio's chart against old readers; never rendered.
    "template",
];

/// The injector's configuration as read, with the sources of its templates.
pub(super) struct Read {
    pub(super) injector: Injector,
    pub(super) sources: BTreeMap<String, String>,
    /// The given keys, for hints about values that have an effect only in Istio's chart.
    pub(super) given: BTreeSet<&'static str>,
}

impl Policy {
    /// Its value in a configuration.
    pub fn as_str(&self) -> &str {
        match self {
            Policy::Enabled => "enabled",
            Policy::Disabled => "disabled",
            Policy::Invalid(text) => text,
        }
    }
}

impl Read {
    /// The configuration as it appears in a bundle.
    pub(super) fn to_value(&self) -> Value {
        let selectors = |all: &[Selector]| all.iter().map(Selector::to_value).collect::<Vec<_>>();
        let mut templates: Map<String, Value> =
            EMBEDDED.iter().map(|(name, _)| ((*name).to_owned(), Value::Null)).collect();
        templates.extend(self.sources.iter().map(|(name, source)| (name.clone(), json!(source))));
        json!({
            "policy": self.injector.policy.as_str(),
            "defaultTemplates": self.injector.default_templates,
            "templates": templates,
            "aliases": self.injector.aliases,
            "neverInjectSelector": selectors(&self.injector.never_inject),
            "alwaysInjectSelector": selectors(&self.injector.always_inject),
            "injectedAnnotations": self.injector.injected_annotations,
        })
    }
}

/// Reads the injector's configuration. Types are as loose as in Go's decoder (`UnmarshalConfig`).
pub(super) fn read(decoder: &mut Decoder<'_>, at: &At<'_>, quirks: Quirks, absent: Absent) -> Read {
    let mut fields = decoder.fields(at, &KEYS, Unknown::Warn);
    let mut given = BTreeSet::new();
    let mut take = |key: &'static str| {
        let at = fields.take(key);
        if at.is_some() {
            given.insert(key);
        }
        at
    };
    let policy_at = take("policy");
    let default_templates_at = take("defaultTemplates");
    let templates_at = take("templates");
    let aliases_at = take("aliases");
    let never_at = take("neverInjectSelector");
    let always_at = take("alwaysInjectSelector");
    let annotations_at = take("injectedAnnotations");

    let policy = policy(decoder, policy_at.as_ref(), quirks, absent);
    let (templates, sources) = templates(decoder, templates_at.as_ref(), quirks, absent);
    let aliases = aliases(decoder, aliases_at.as_ref(), &sources);
    let default_templates =
        default_templates(decoder, default_templates_at.as_ref(), quirks, &sources, &aliases);
    let never_inject = selectors(decoder, never_at.as_ref(), quirks);
    let always_inject = selectors(decoder, always_at.as_ref(), quirks);
    let injected_annotations = go_string_map(decoder, annotations_at.as_ref(), "a string");

    let injector = Injector {
        policy,
        default_templates,
        templates,
        aliases,
        never_inject,
        always_inject,
        injected_annotations,
    };
    Read { injector, sources, given }
}

fn policy(decoder: &mut Decoder<'_>, at: Option<&At<'_>>, quirks: Quirks, absent: Absent) -> Policy {
    let accepts_any = quirks.contains(Quirk::AcceptInvalidPolicy);
    let Some(at) = at else {
        return match (accepts_any, absent) {
            // `injectRequired` does not know Go's zero value as a policy.
            (true, Absent::AsInIstio) => invalid_policy(decoder, "policy", String::new()),
            _ => Policy::Enabled,
        };
    };
    match (at.value().as_str(), accepts_any) {
        (Some("enabled"), _) => Policy::Enabled,
        (Some("disabled"), _) => Policy::Disabled,
        (_, true) => {
            let text = decoder.go_string(at, "a string").unwrap_or_default();
            invalid_policy(decoder, &at.path, text)
        }
        (_, false) => {
            decoder.one_of(at, &[("enabled", ()), ("disabled", ())]);
            Policy::Enabled
        }
    }
}

fn invalid_policy(decoder: &mut Decoder<'_>, path: &str, text: String) -> Policy {
    decoder.warn(
        path,
        format!("found {}; expected enabled, disabled; as in Istio, no pod is injected", quoted(&text)),
    );
    Policy::Invalid(text)
}

fn templates(
    decoder: &mut Decoder<'_>,
    at: Option<&At<'_>>,
    quirks: Quirks,
    absent: Absent,
) -> (BTreeMap<String, Template>, BTreeMap<String, String>) {
    let mut sources = BTreeMap::new();
    let mut places = BTreeMap::new();
    if absent == Absent::Embedded {
        sources.extend(EMBEDDED.map(|(name, source)| (name.to_owned(), embedded(name, source, quirks))));
    }
    for (name, at) in at.map(|at| decoder.free_map(at)).unwrap_or_default() {
        if at.is_null() && absent == Absent::Embedded {
            sources.remove(&name);
        } else if let Some(source) = decoder.go_string(&at, "the text of a template") {
            sources.insert(name.clone(), source);
            places.insert(name, at);
        }
    }
    let mut compiled = BTreeMap::new();
    for (name, source) in &sources {
        match Template::parse(name, source, &FUNCTIONS) {
            Ok(template) => {
                compiled.insert(name.clone(), template);
            }
            // `inspect` has reported reserved characters.
            Err(_) if source.contains(RESERVED) => {}
            Err(error) => unusable(decoder, name, places.get(name), &error),
        }
    }
    (compiled, sources)
}

/// The source of an embedded template, with the faults of Istio's that are kept.
fn embedded(name: &str, source: &str, quirks: Quirks) -> String {
    let namespace = "value: {{ quote .Values.global.istioNamespace }}\n";
    if name == "grpc-simple" && quirks.contains(Quirk::EndNamespaceInNewline) {
        return source.replace(namespace, "value: |\n        {{ .Values.global.istioNamespace }}\n");
    }
    source.to_owned()
}

/// Reports a template that does not parse, with the exact position if it is in a `|` block.
fn unusable(decoder: &mut Decoder<'_>, name: &str, at: Option<&At<'_>>, error: &ParseError) {
    let fault = Fault::Template(error.to_string());
    let Some(at) = at else {
        // An embedded one: tests parse them all.
        return decoder.problem_at(None, join("injector.templates", name), fault);
    };
    let text = error.at.snippet.lines().next().unwrap_or_default();
    let place = decoder.place_in_block(at.node, error.at.line, error.at.column, text);
    decoder.problem_at(Some(place.unwrap_or(Place::from(at.node.mark))), at.path.clone(), fault);
}

fn aliases(
    decoder: &mut Decoder<'_>,
    at: Option<&At<'_>>,
    templates: &BTreeMap<String, String>,
) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for (name, at) in at.map(|at| decoder.free_map(at)).unwrap_or_default() {
        let names = names(decoder, Some(&at));
        for (template, at) in &names {
            if !templates.contains_key(template) {
                let known = known(template, templates.keys().map(String::as_str));
                let message = format!("found {}, which is not a template; {known}", quoted(template));
                decoder.warn(&at.path, message);
            }
        }
        all.insert(name, names.into_iter().map(|(template, _)| template).collect());
    }
    all
}

fn default_templates(
    decoder: &mut Decoder<'_>,
    at: Option<&At<'_>>,
    quirks: Quirks,
    templates: &BTreeMap<String, String>,
    aliases: &BTreeMap<String, Vec<String>>,
) -> Vec<String> {
    let names = names(decoder, at);
    if names.is_empty() {
        return vec!["sidecar".to_owned()];
    }
    for (name, at) in &names {
        if templates.contains_key(name) || aliases.contains_key(name) {
            continue;
        }
        let candidates = || templates.keys().chain(aliases.keys()).map(String::as_str);
        if quirks.contains(Quirk::AcceptUnknownDefaultTemplates) {
            let known = known(name, candidates());
            let message = format!("found {}; {known}; pods that name no template are denied", quoted(name));
            decoder.warn(&at.path, message);
        } else {
            let nearest = suggest::nearest(name, candidates()).map(str::to_owned);
            let accepted = candidates().collect::<Vec<_>>().join(", ");
            decoder.problem(at, Fault::NotAccepted { found: quoted(name), accepted, nearest });
        }
    }
    names.into_iter().map(|(name, _)| name).collect()
}

fn known<'a>(name: &str, candidates: impl Iterator<Item = &'a str> + Clone) -> String {
    let near = suggest::nearest(name, candidates.clone())
        .map(|near| format!("; nearest: {}", quoted(near)))
        .unwrap_or_default();
    format!("known: {}{near}", candidates.collect::<Vec<_>>().join(", "))
}

fn names<'n>(decoder: &mut Decoder<'_>, at: Option<&At<'n>>) -> Vec<(String, At<'n>)> {
    let items = at.map(|at| decoder.list(at, "a list of template names")).unwrap_or_default();
    items.into_iter().filter_map(|at| Some((decoder.go_string(&at, "a template name")?, at))).collect()
}

fn selectors(decoder: &mut Decoder<'_>, at: Option<&At<'_>>, quirks: Quirks) -> Vec<Selector> {
    let ignores_invalid = quirks.contains(Quirk::IgnoreInvalidSelectors);
    let mut all = Vec::new();
    for at in at.map(|at| decoder.list(at, "a list of label selectors")).unwrap_or_default() {
        match (selector::read(decoder, &at), ignores_invalid) {
            (selector::Read::Valid(selector), _) => {
                if selector.is_empty() {
                    decoder.warn(&at.path, "an empty selector is ignored");
                }
                all.push(selector);
            }
            (selector::Read::Undecodable, _) => {}
            (selector::Read::Invalid(problems), false) => decoder.problems.extend(problems),
            (selector::Read::Invalid(problems), true) => {
                let reasons = selector::reasons(&problems);
                decoder.warn(&at.path, format!("this selector is ignored, as in Istio: {reasons}"));
            }
        }
    }
    all
}

fn go_string_map(decoder: &mut Decoder<'_>, at: Option<&At<'_>>, accepted: &str) -> BTreeMap<String, String> {
    let entries = at.map(|at| decoder.free_map(at)).unwrap_or_default();
    entries.into_iter().filter_map(|(key, at)| Some((key, decoder.go_string(&at, accepted)?))).collect()
}
