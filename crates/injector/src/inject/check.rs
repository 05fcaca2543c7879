//! Whether a configuration can inject plain pods, found out before any real one is judged by it.
//!
//! A template can be well written and still fail for every pod: a field that does not exist, a value that is not
//! there, text that is no YAML. Every template is run over built-in sample pods, through the whole pipeline. What no
//! sample can show is whether the result is what the administrator wanted.
//!
//! Pods get the default templates without asking, so those must do for every sample. A template that is asked for may
//! be for certain pods only: it must not contradict the data it is given, and must do for some sample. A template that
//! says no by `fail` does what it is there for.

mod whole;

use std::{collections::BTreeSet, fmt, sync::LazyLock};

use serde_json::Value;

use super::{Facts, Outcome, PodRequest, Refusal, Rules, run_by};
use crate::{
    config::{Injector, Mesh, NativeSidecars, Nodes},
    names, pod,
    quirks::Quirk,
};
use gotemplate::{Problem, RenderError};

/// Why a configuration is not taken into use: everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct CheckError(pub Vec<Failure>);

/// Something that does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A template is named that does not exist.
    UnknownTemplate {
        /// Where it is named, such as `injector.aliases.proxied`.
        path: String,
        /// The alias that names it, if one does.
        alias: Option<String>,
        /// The name.
        name: String,
        /// The templates there are, sorted.
        known: String,
    },
    /// Sample pods cannot be injected.
    Samples {
        /// Which templates they were given.
        asked: Asked,
        /// The samples.
        samples: Vec<&'static str>,
        /// What failed, with template, line, column and snippet where there are.
        because: String,
    },
}

/// What a pod asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing: it gets the default templates.
    Nothing,
    /// A template, by annotation.
    Template(String),
    /// An alias, by annotation.
    Alias(String),
}

/// What a sample is called, and its text.
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

/// Runs every template over the sample pods. What is odd but may be wanted is returned, one line each.
///
/// # Errors
/// When a template is named that does not exist (under `compat: istio` that is a remark where pods ask for it), when the default templates fail for a sample, or when a template that
/// pods can ask for never works.
pub fn check(mesh: &Mesh) -> Result<Vec<Failure>, CheckError> {
    // Istio takes such a configuration, and refuses the pods that are to get what is not there. Where that is all pods,
    // the last good configuration is better for everybody.
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

/// Names of templates in the default list and behind aliases that no template has.
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

/// Everything a pod can ask for, once per list of templates.
fn askable(injector: &Injector) -> Vec<Asked> {
    let expand = |name: &String| injector.aliases.get(name).cloned().unwrap_or_else(|| vec![name.clone()]);
    let mut seen: BTreeSet<Vec<String>> =
        BTreeSet::from([injector.default_templates.iter().flat_map(expand).collect()]);
    let mut all = vec![Asked::Nothing];
    // The names in the annotation are trimmed and separated by commas: nobody can ask for others.
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

/// How bad it is that a sample is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// The template says no by `fail`.
    Deliberate,
    /// It fails for this pod.
    Fails,
    /// It contradicts its data or exceeds a limit, whatever pod it is.
    Misfit,
}

fn try_samples(mesh: &Mesh, asked: &Asked, refused: &mut Vec<Failure>, remarks: &mut Vec<Failure>) {
    let mut found: Vec<(Weight, Vec<&'static str>, String)> = Vec::new();
    let mut worked = false;
    for (name, sample) in SAMPLES.iter() {
        match try_sample(mesh, asked, sample) {
            None => worked = true,
            Some((weight, because)) => match found.iter_mut().find(|group| group.2 == because) {
                Some((_, samples, _)) => samples.push(*name),
                None => found.push((weight, vec![*name], because)),
            },
        }
    }
    for (weight, samples, because) in found {
        let fatal = match weight {
            Weight::Misfit => true,
            Weight::Fails => *asked == Asked::Nothing || !worked,
            Weight::Deliberate => false,
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
            list.push(Failure::Samples { asked: asked.clone(), samples, because });
        }
    }
}

/// Why a sample cannot be injected, with and without native sidecars where both can come up.
fn try_sample(mesh: &Mesh, asked: &Asked, sample: &Value) -> Option<(Weight, String)> {
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
            Some((Weight::Fails, format!("{}: {loss}", of_templates(&injection.templates))))
        }
        Ok(Outcome::Skipped(_)) => None,
        Err(refusal) => Some((weight(&refusal)?, because(&refusal))),
    })
}

/// What failed, in the same words for every pod.
fn because(refusal: &Refusal) -> String {
    match refusal {
        Refusal::PatchTooLarge { limit } => format!("the patch would have more than {limit} bytes"),
        // The samples are ours: nothing of a user's is in it.
        Refusal::Undecodable(undecodable) => undecodable.explained(),
        refusal => refusal.diagnosis().unwrap_or_else(|| refusal.to_string()),
    }
}

fn of_templates(names: &[String]) -> String {
    let noun = if names.len() == 1 { "template" } else { "templates" };
    format!("{noun} {}", names.join(", "))
}

/// How bad a refusal is; nothing where it is the sample's doing.
fn weight(refusal: &Refusal) -> Option<Weight> {
    match refusal {
        Refusal::Annotations(_)
        | Refusal::Malformed(_)
        | Refusal::ProxyConfig(_)
        | Refusal::Directive { .. }
        | Refusal::NotAPod(_)
        | Refusal::StandIn { .. }
        // Said already, for the list that names it.
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
        // Go's words for a field its type does not have; a nil pointer on the way depends on the pod.
        Problem::Evaluation(message) if message.contains("can't evaluate field") => Weight::Misfit,
        Problem::Limit(_) => Weight::Misfit,
        Problem::Evaluation(_) | Problem::Function { .. } => Weight::Fails,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::UnknownTemplate { path, name, known, .. } => {
                write!(f, "{path}: found {name:?}, which is no template; accepted: {known}")
            }
            Failure::Samples { asked, samples, because } if samples.len() == TEXTS.len() => {
                write!(f, "{asked} for every sample pod: {because}")
            }
            Failure::Samples { asked, samples, because } => {
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

/// More than anyone reads; one misspelt value can fail in every template.
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
