//! Checks whether a configuration can inject ordinary pods, before it is applied to real ones.
//!
//! A template can be well-formed and still fail for every pod: an unknown field, a missing value, text that is not
//! YAML. Every template is run over built-in sample pods, through the whole pipeline. Samples cannot show whether the
//! result is what the administrator wanted.
//!
//! Pods get the default templates without asking, so these must work for every sample. A template that has to be
//! requested may be for certain pods only: it must not contradict the data it is given, and must work for some sample.
//! A template that calls `fail` does so deliberately.

mod blame;
mod whole;

use std::{collections::BTreeSet, fmt, sync::LazyLock};

use serde_json::Value;

use super::{Facts, Outcome, PodRequest, Refusal, Rules, run_by};
use crate::{
    config::{Injector, InjectorConfig, NativeSidecars, Nodes},
    names, pod,
    quirks::Quirk,
};
use gotemplate::{Problem, RenderError};

/// All problems of a configuration that is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct CheckError(pub Vec<Failure>);

/// A problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A reference to a template that does not exist.
    UnknownTemplate {
        /// The place of the reference, such as `injector.aliases.proxied`.
        path: String,
        /// The alias that contains it, if any.
        alias: Option<String>,
        /// The name.
        name: String,
        /// The existing templates, sorted.
        known: String,
    },
    /// Sample pods that cannot be injected.
    Samples {
        /// The templates they were given.
        asked: Asked,
        /// The samples.
        samples: Vec<&'static str>,
        /// The cause, with template, line, column and snippet if available.
        because: String,
        /// The place in a template, if it is known.
        at: Option<TemplateLine>,
        /// Whether a pod would lose content of its own, or get something twice.
        is_loss: bool,
    },
}

/// A place in a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateLine {
    /// The template.
    pub template: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

/// The templates that a pod requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// None: it gets the default templates.
    Nothing,
    /// A template, by annotation.
    Template(String),
    /// An alias, by annotation.
    Alias(String),
}

/// The name and the text of each sample.
const TEXTS: [(&str, &str); 5] = [
    ("a bare pod", include_str!("check/bare.json")),
    ("a Deployment's pod", include_str!("check/deployment.json")),
    ("a Job's pod", include_str!("check/job.json")),
    ("a pod with init containers", include_str!("check/init-containers.json")),
    ("a gateway's pod", include_str!("check/gateway.json")),
];

static SAMPLES: LazyLock<Vec<(&str, Value)>> = LazyLock::new(|| {
    TEXTS.iter().filter_map(|(name, text)| Some((*name, serde_json::from_str(text).ok()?))).collect()
});

/// Runs every template over the sample pods. Failures that may be intended are returned as remarks.
///
/// # Errors
/// If a template that does not exist is referenced (under `compat: istio`, a remark if pods have to request it), if the
/// default templates fail for a sample, or if a template that pods can request never works.
pub fn check(mesh: &InjectorConfig) -> Result<Vec<Failure>, CheckError> {
    // Istio accepts such a configuration, and rejects the pods that should get the missing template. If these are all
    // pods, keeping the last good configuration is better.
    let is_asked_for = |failure: &Failure| {
        let Failure::UnknownTemplate { alias, .. } = failure else { return false };
        alias.as_ref().is_some_and(|alias| !mesh.injector().default_templates.contains(alias))
    };
    let (mut remarks, mut refused): (Vec<Failure>, Vec<Failure>) = unknown_templates(mesh.injector())
        .into_iter()
        .partition(|failure| mesh.keeps(Quirk::AcceptAliasesOfUnknownTemplates) && is_asked_for(failure));
    if refused.is_empty() {
        for asked in askable(mesh.injector()) {
            try_samples(mesh, &asked, &mut refused, &mut remarks);
        }
    }
    if refused.is_empty() { Ok(remarks) } else { Err(CheckError(refused)) }
}

/// References to missing templates in the default list and in aliases.
fn unknown_templates(injector: &Injector) -> Vec<Failure> {
    let mut failures = Vec::new();
    let mut look = |path: String, alias: Option<&String>, name: &String| {
        if !injector.templates.contains_key(name) {
            let known = injector.templates.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let alias = alias.cloned();
            failures.push(Failure::UnknownTemplate { path, alias, name: name.clone(), known });
        }
    };
    for name in injector.default_templates.iter().filter(|name| !injector.aliases.contains_key(*name)) {
        look("injector.defaultTemplates".to_owned(), None, name);
    }
    for (alias, names) in &injector.aliases {
        for name in names {
            look(format!("injector.aliases.{alias}"), Some(alias), name);
        }
    }
    failures
}

/// Everything a pod can request, once per list of templates.
fn askable(injector: &Injector) -> Vec<Asked> {
    let expand = |name: &String| injector.aliases.get(name).cloned().unwrap_or_else(|| vec![name.clone()]);
    let mut seen: BTreeSet<Vec<String>> =
        BTreeSet::from([injector.default_templates.iter().flat_map(expand).collect()]);
    let mut all = vec![Asked::Nothing];
    // The names in the annotation are trimmed and separated by commas: other names cannot be requested.
    let can_be_asked_for = |name: &String| !name.contains(',') && name.trim() == name;
    let is_for_pods = |name: &String| !names::GATEWAY_CONTROLLER_TEMPLATES.contains(&name.as_str());
    for (alias, names) in injector.aliases.iter().filter(|(alias, _)| can_be_asked_for(alias)) {
        if names.iter().all(is_for_pods) && seen.insert(names.clone()) {
            all.push(Asked::Alias(alias.clone()));
        }
    }
    let not_hidden = |name: &&String| !injector.aliases.contains_key(*name);
    for name in injector.templates.keys().filter(not_hidden) {
        if can_be_asked_for(name) && is_for_pods(name) && seen.insert(vec![name.clone()]) {
            all.push(Asked::Template(name.clone()));
        }
    }
    all
}

/// The severity of a sample's denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// The template called `fail`.
    Deliberate,
    /// It removes something from the pod, perhaps on purpose: accepted, but an error of `outrigger check`.
    Takes,
    /// It fails for this pod.
    Fails,
    /// It contradicts its data or exceeds a limit, for any pod.
    Misfit,
}

/// Why a sample cannot be injected.
struct Unusable {
    weight: Weight,
    because: String,
    at: Option<TemplateLine>,
    is_loss: bool,
}

fn try_samples(mesh: &InjectorConfig, asked: &Asked, refused: &mut Vec<Failure>, remarks: &mut Vec<Failure>) {
    let mut found: Vec<(Unusable, Vec<&'static str>)> = Vec::new();
    let mut worked = false;
    for (name, sample) in SAMPLES.iter() {
        match try_sample(mesh, asked, sample) {
            None => worked = true,
            Some(problem) => match found.iter_mut().find(|(known, _)| known.because == problem.because) {
                Some((_, samples)) => samples.push(*name),
                None => found.push((problem, vec![*name])),
            },
        }
    }
    for (problem, samples) in found {
        let Unusable { weight, because, at, is_loss } = problem;
        let fatal = match weight {
            Weight::Misfit => true,
            Weight::Fails => *asked == Asked::Nothing || !worked,
            Weight::Deliberate | Weight::Takes => false,
        };
        let list = match (fatal, weight) {
            (true, _) => &mut *refused,
            (false, Weight::Deliberate) if worked => continue,
            (false, _) => &mut *remarks,
        };
        // Lists that share a template fail at the same place.
        let known =
            |one: &Failure| matches!(one, Failure::Samples { because: known, .. } if *known == because);
        if !list.iter().any(known) {
            list.push(Failure::Samples { asked: asked.clone(), samples, because, at, is_loss });
        }
    }
}

/// Why a sample cannot be injected, with and without native sidecars where both are possible.
fn try_sample(mesh: &InjectorConfig, asked: &Asked, sample: &Value) -> Option<Unusable> {
    static NO_OLD_NODE: LazyLock<Nodes> = LazyLock::new(Nodes::default);
    let mut sample = sample.clone();
    if let Asked::Template(name) | Asked::Alias(name) = asked {
        let annotations = pod::annotations_mut(&mut sample);
        annotations.insert(names::ANNOTATION_TEMPLATES.to_owned(), Value::String(name.clone()));
    }
    let request = PodRequest::new(pod::namespace(&sample).to_owned(), sample);
    let classic = Facts::default();
    let native = Facts { nodes: Some(&NO_OLD_NODE), ..classic };
    let all: &[Facts<'_>] = match mesh.native_sidecars() {
        NativeSidecars::Auto => &[native, classic],
        NativeSidecars::Enabled | NativeSidecars::Disabled => &[classic],
    };
    all.iter().find_map(|facts| match run_by(Rules::Configured, mesh, &request, facts) {
        Ok(Outcome::Injected(injection)) => {
            let loss = whole::loss(&request.pod, &injection.pod)?;
            let at = blame::line_of_loss(mesh, &injection.templates, &loss);
            let because = format!("{}: {}", of_templates(&injection.templates), loss.sentence);
            let weight = if loss.may_be_intended { Weight::Takes } else { Weight::Fails };
            Some(Unusable { weight, because, at, is_loss: true })
        }
        Ok(Outcome::Skipped(_)) => None,
        Err(refusal) => Some(Unusable {
            weight: weight(&refusal)?,
            because: because(&refusal),
            at: blame::line_of_refusal(&refusal),
            is_loss: false,
        }),
    })
}

/// The cause, in the same words for every pod.
fn because(refusal: &Refusal) -> String {
    match refusal {
        Refusal::PatchTooLarge { limit } => format!("the patch would exceed the limit of {limit} bytes"),
        // The samples are ours: they contain no user data.
        Refusal::Undecodable(undecodable) => undecodable.explained(),
        refusal => refusal.diagnosis().unwrap_or_else(|| refusal.to_string()),
    }
}

fn of_templates(names: &[String]) -> String {
    let noun = if names.len() == 1 { "template" } else { "templates" };
    format!("{noun} {}", names.join(", "))
}

/// The severity of a denial; `None` if the sample caused it.
fn weight(refusal: &Refusal) -> Option<Weight> {
    match refusal {
        Refusal::Annotations(_)
        | Refusal::Defaults { .. }
        // Rules and policies may apply to pods like the samples.
        | Refusal::Overrides(_)
        | Refusal::PodSecurity { .. }
        | Refusal::RuleFailed { .. }
        | Refusal::Malformed(_)
        | Refusal::ProxyConfig(_)
        | Refusal::Directive { .. }
        | Refusal::NotAPod(_)
        | Refusal::StandIn { .. }
        // Already reported, for the list that names it.
        | Refusal::UnknownTemplate { .. } => None,
        Refusal::Render { source, .. } => Some(render_weight(source)),
        Refusal::TooManyTemplates { .. } => Some(Weight::Misfit),
        Refusal::Post(_)
        | Refusal::Privileged(_)
        | Refusal::Overlay { .. }
        | Refusal::Merge { .. }
        | Refusal::Undecodable(_)
        | Refusal::PatchTooLarge { .. }
        | Refusal::Unverified(_) => Some(Weight::Fails),
    }
}

fn render_weight(error: &RenderError) -> Weight {
    match &error.problem {
        Problem::Function { name: "fail", .. } => Weight::Deliberate,
        // Go's words for a field that its type does not have; a nil pointer on the way depends on the pod.
        Problem::Evaluation(message) if message.contains("can't evaluate field") => Weight::Misfit,
        Problem::Limit(_) => Weight::Misfit,
        Problem::Evaluation(_) | Problem::Function { .. } => Weight::Fails,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::UnknownTemplate { path, name, known, .. } => {
                write!(f, "{path}: found {name:?}, which is not a template; expected {known}")
            }
            Failure::Samples { asked, samples, because, .. } if samples.len() == TEXTS.len() => {
                write!(f, "{asked} for every sample pod: {because}")
            }
            Failure::Samples { asked, samples, because, .. } => {
                write!(f, "{asked} for {}: {because}", samples.join(", "))
            }
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Asked::Nothing => f.write_str("injector.defaultTemplates fail"),
            Asked::Template(name) => write!(f, "injector.templates.{name} fails"),
            Asked::Alias(name) => write!(f, "injector.aliases.{name} fails"),
        }
    }
}

/// Enough for any reader; one misspelled value can fail in every template.
const SHOWN: usize = 20;

fn lines(failures: &[Failure]) -> String {
    let mut text = failures.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join("\n");
    if let Some(more @ 1..) = failures.len().checked_sub(SHOWN) {
        text.push_str(&format!("\nand {more} more problems"));
    }
    text
}

#[cfg(test)]
mod tests;
