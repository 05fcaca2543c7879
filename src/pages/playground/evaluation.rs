//! Evaluates the playground's input with the engine of the webhook.

use serde_json::{Map, Value};

use super::Input;
use crate::{
    config::{InjectorConfig, Namespace, Source},
    inject::{
        Facts, Rules, Selection,
        manual::{self, LeftAlone, Options, SyntaxError},
    },
    lint::{self, Diagnostic},
    manifest::Identity,
};
use injector::explain::{self, Explanation, SideLine, Verdict};

/// Maximum number of pods of a manifest that are shown.
const MOST_PODS: usize = 20;
/// The name of the configuration in messages.
const BUNDLE: &str = "bundle";

/// What happens to the pods of an input.
#[derive(Debug, Default)]
pub struct Evaluation {
    /// The configuration's text, for excerpts.
    pub(super) bundle: String,
    /// What `outrigger check` finds in the configuration.
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Why nothing was evaluated, if it was not.
    pub(super) failure: Option<Failure>,
    pub(super) pods: Vec<Pod>,
    /// How many more pods the manifest has.
    pub(super) left_out: usize,
}

/// Why nothing was evaluated.
#[derive(Debug)]
pub(super) enum Failure {
    /// The configuration is rejected; the diagnostics say why.
    Configuration,
    /// The labels of the namespace are not labels.
    Labels(String),
    /// The manifest is neither YAML nor JSON, with its text.
    Syntax(SyntaxError, String),
    /// No object has a pod.
    NoPods,
    /// Anything else.
    Other(String),
}

/// What happens to a pod.
#[derive(Debug)]
pub(super) struct Pod {
    pub(super) object: Identity,
    /// The path of the pod template if the object has several.
    pub(super) place: Option<String>,
    /// Why the pod template is left unchanged, regardless of the configuration.
    pub(super) left_alone: Option<LeftAlone>,
    pub(super) is_selection_unknown: bool,
    pub(super) explanation: Explanation,
    /// The pod before and after.
    pub(super) lines: Vec<SideLine>,
    pub(super) next: Option<String>,
}

impl Evaluation {
    /// An evaluation that failed for a reason other than its input.
    pub fn failed(message: impl Into<String>) -> Evaluation {
        Evaluation { failure: Some(Failure::Other(message.into())), ..Evaluation::default() }
    }

    /// Whether the configuration has anything to look at.
    pub fn has_configuration_problem(&self) -> bool {
        !self.diagnostics.is_empty()
    }

    /// The result in one line, for those who cannot see it change.
    pub fn summary(&self) -> String {
        match &self.failure {
            Some(Failure::Configuration) => "The configuration has errors".to_owned(),
            Some(Failure::Labels(_)) => "The labels of the namespace cannot be read".to_owned(),
            Some(Failure::Syntax(..)) => "The manifest cannot be read".to_owned(),
            Some(Failure::NoPods) => "The manifest has no pods".to_owned(),
            Some(Failure::Other(message)) => message.clone(),
            None => {
                let injected = self.pods.iter().filter(|pod| pod.is_injected()).count();
                format!("{injected} of {} pods injected", self.pods.len() + self.left_out)
            }
        }
    }
}

impl Pod {
    pub(super) fn is_injected(&self) -> bool {
        self.left_alone.is_none() && matches!(self.explanation.verdict, Verdict::Injected { .. })
    }
}

/// Evaluates an input.
pub fn evaluate(input: &Input) -> Evaluation {
    let report = lint::files(&[Source { name: BUNDLE, text: &input.bundle }]);
    let mut evaluation =
        Evaluation { bundle: input.bundle.clone(), diagnostics: report.diagnostics, ..Evaluation::default() };
    let failure = match report.configurations.as_slice() {
        [mesh] => evaluate_with(mesh, input, &mut evaluation).err(),
        _ => Some(Failure::Configuration),
    };
    evaluation.failure = failure;
    evaluation
}

fn evaluate_with(mesh: &InjectorConfig, input: &Input, evaluation: &mut Evaluation) -> Result<(), Failure> {
    let labels = if input.labels_known { Some(labels(&input.labels)?) } else { None };
    let options =
        Options { mesh, rules: Rules::Configured, namespace: &input.namespace, template_paths: Vec::new() };
    let subjects = manual::subjects(&input.manifest, &options)
        .map_err(|error| Failure::Syntax(error, input.manifest.clone()))?;
    if subjects.is_empty() {
        return Err(Failure::NoPods);
    }
    evaluation.left_out = subjects.len().saturating_sub(MOST_PODS);
    evaluation.pods =
        subjects.into_iter().take(MOST_PODS).map(|subject| pod(mesh, subject, labels.as_ref())).collect();
    Ok(())
}

fn pod(mesh: &InjectorConfig, subject: manual::Subject, labels: Option<&Map<String, Value>>) -> Pod {
    let manual::Subject { object, place, request, left_alone, warnings } = subject;
    let name = request.namespace.clone();
    let given = labels.map(|labels| Namespace {
        name: name.clone(),
        labels: labels.clone(),
        ..mesh.namespace(&name).cloned().unwrap_or_default()
    });
    let namespace = given.as_ref().or(mesh.namespace(&name));
    let selection = if namespace.is_some() { Selection::ByLabels } else { Selection::ByPodAlone };
    let facts = Facts { namespace, selection, nodes: Some(mesh.nodes()) };
    let mut explanation = explain::explain(mesh, &request, &facts);
    explanation.warnings.splice(0..0, warnings);
    let (lines, reason) = match &explanation.verdict {
        Verdict::Injected { injection, .. } => {
            (explain::side_by_side(&request.pod, &injection.pod), Some(injection.decision.reason))
        }
        Verdict::Skipped(decision) => (Vec::new(), Some(decision.reason)),
        Verdict::Denied(_) => (Vec::new(), None),
    };
    let origin = explain::Origin {
        namespace: &name,
        workload: Some((&object.kind, &object.name)),
        ..explain::Origin::default()
    };
    let next = reason.and_then(|reason| explain::next_step(mesh, reason, &origin));
    Pod { object, place, left_alone, is_selection_unknown: namespace.is_none(), explanation, lines, next }
}

/// Reads `KEY=VALUE` lines; blank ones do not count.
fn labels(text: &str) -> Result<Map<String, Value>, Failure> {
    let lines = text.split(['\n', ',']).map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| match line.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok((key.trim().to_owned(), Value::String(value.trim().to_owned())))
            }
            _ => Err(Failure::Labels(line.chars().take(100).collect())),
        })
        .collect()
}
