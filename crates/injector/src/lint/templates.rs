//! The templates of a configuration: their types, and what they do to sample pods.

use kubernetes_yaml::Node;

use super::text::{Texts, deepest, snippet};
use super::{Diagnostic, Rule, Severity, TemplatePlace};
use crate::{
    config::{InjectorConfig, KnownValues, Place, suggest},
    inject::{
        check::{self, Failure},
        context::{self, Parts},
    },
    names,
};
use gotemplate::{
    Template,
    check::{Consequence, Mistake},
};

/// All mistakes in the templates. `nodes` are the given templates, if there are any, and the tree that contains them.
pub(super) fn diagnostics(
    mesh: &InjectorConfig,
    texts: &Texts<'_>,
    nodes: Option<(Option<&Node>, &Node)>,
) -> Vec<Diagnostic> {
    let placed = Placed { mesh, texts, nodes };
    let mut found = typed(&placed);
    found.extend(unset(&placed, &found));
    for diagnostic in sampled(&placed) {
        // A sample fails at the places that the types have shown already.
        let is_known = diagnostic.template.is_some()
            && found.iter().any(|known| {
                known.severity == Severity::Error
                    && diagnostic.rule == Rule::SampleFails
                    && lines(known) == lines(&diagnostic)
            });
        if !is_known {
            found.push(diagnostic);
        }
    }
    found
}

fn lines(diagnostic: &Diagnostic) -> Option<(&str, u32)> {
    diagnostic.template.as_ref().map(|at| (at.template.as_str(), at.line))
}

/// The templates that pods get: those of Istio's Gateway controller, which Istio's ConfigMap contains, too, have other data.
fn for_pods(mesh: &InjectorConfig) -> impl Iterator<Item = (&String, &Template)> {
    let injector = mesh.injector();
    let is_for_pods = |name: &String| {
        !names::GATEWAY_CONTROLLER_TEMPLATES.contains(&name.as_str())
            || injector.default_templates.contains(name)
    };
    injector.templates.iter().filter(move |(name, _)| is_for_pods(name))
}

fn typed(placed: &Placed<'_, '_>) -> Vec<Diagnostic> {
    let mesh = placed.mesh;
    let parts = Parts::of_configuration(mesh, mesh.mesh_config().get("defaultConfig"));
    let data = context::template_data(&parts);
    let mut all = Vec::new();
    for (name, template) in for_pods(mesh) {
        for finding in template.mistakes(&data) {
            let near = nearest(&finding.mistake);
            if let Mistake::UnsetValue { consequence: Consequence::Nothing, .. } = &finding.mistake
                && near.is_none()
            {
                continue;
            }
            let near = near.map(|near| format!("; nearest: {near:?}")).unwrap_or_default();
            let severity = if finding.mistake.is_error() { Severity::Error } else { Severity::Warning };
            let at =
                TemplatePlace { template: name.clone(), line: finding.at.line, column: finding.at.column };
            let message = format!("template {name}: {}{near}", finding.mistake);
            all.push(placed.at(Some(at), severity, rule(&finding.mistake), message));
        }
    }
    all
}

/// Keys of values that a template reads and that are not set. A key that was probably meant to be another one is a
/// warning; a key that nothing knows is a note if a condition depends on it, because that condition is the same for
/// every pod.
fn unset(placed: &Placed<'_, '_>, reported: &[Diagnostic]) -> Vec<Diagnostic> {
    let mesh = placed.mesh;
    let parts = Parts::of_configuration(mesh, None);
    let data = context::template_data(&parts);
    let known = KnownValues::of(mesh.values());
    let mut all: Vec<Diagnostic> = Vec::new();
    for (name, template) in for_pods(mesh) {
        for read in template.unset_reads(&data) {
            let Some((_, path)) = read.path.split_first().filter(|(root, _)| *root == "Values") else {
                continue;
            };
            let Some(unknown) = known.unknown(path) else { continue };
            // Inside `with .Values.mine`, its keys were not set before either.
            if unknown.index + read.written < path.len() {
                continue;
            }
            let (severity, advice) = match &unknown.meant {
                Some(meant) => (Severity::Warning, format!("; did you mean .Values.{meant}?")),
                None if read.in_condition => {
                    (Severity::Note, "; neither the values nor the defaults have it".to_owned())
                }
                None => continue,
            };
            let consequence = if read.in_condition { ", but a condition depends on it" } else { "" };
            let message =
                format!("template {name}: .Values.{} is not set{consequence}{advice}", path.join("."));
            let at = TemplatePlace { template: name.clone(), line: read.at.line, column: read.at.column };
            let is_known =
                |other: &Diagnostic| other.rule == Rule::UnsetValue && other.template.as_ref() == Some(&at);
            if !reported.iter().chain(&all).any(is_known) {
                all.push(placed.at(Some(at), severity, Rule::UnsetValue, message));
            }
        }
    }
    all
}

fn rule(mistake: &Mistake) -> Rule {
    match mistake {
        Mistake::UnknownField { .. } => Rule::UnknownField,
        Mistake::Arguments(_) => Rule::WrongArguments,
        Mistake::WrongType(_) => Rule::WrongType,
        Mistake::UnknownTemplate { .. } => Rule::UndefinedTemplate,
        Mistake::DeadBranch(_) => Rule::DeadBranch,
        Mistake::UnsetValue { .. } => Rule::UnsetValue,
    }
}

fn nearest(mistake: &Mistake) -> Option<&str> {
    let (found, known) = match mistake {
        Mistake::UnknownField { name, known, .. } | Mistake::UnknownTemplate { name, known } => (name, known),
        Mistake::UnsetValue { key, known, .. } => (key, known),
        Mistake::Arguments(_) | Mistake::WrongType(_) | Mistake::DeadBranch(_) => return None,
    };
    suggest::nearest(found, known.iter().map(String::as_str)).filter(|near| near != found)
}

fn sampled(placed: &Placed<'_, '_>) -> Vec<Diagnostic> {
    let (failures, severity) = match check::check(placed.mesh) {
        Ok(remarks) => (remarks, Severity::Warning),
        Err(error) => (error.0, Severity::Error),
    };
    failures
        .into_iter()
        .map(|failure| {
            let text = failure.to_string();
            let message = text.lines().next().unwrap_or_default().to_owned();
            match failure {
                Failure::UnknownTemplate { path, .. } => {
                    placed.at_path(&path, severity, Rule::MissingTemplate, message)
                }
                // No pod may lose anything, whatever template it asks for.
                Failure::Samples { at, is_loss: true, .. } => {
                    placed.at(at, Severity::Error, Rule::SampleLoses, message)
                }
                Failure::Samples { at, .. } => placed.at(at, severity, Rule::SampleFails, message),
            }
        })
        .collect()
}

/// A configuration with the places of its templates.
struct Placed<'p, 'a> {
    mesh: &'p InjectorConfig,
    texts: &'p Texts<'a>,
    nodes: Option<(Option<&'p Node>, &'p Node)>,
}

impl Placed<'_, '_> {
    /// A diagnostic at a place in a template: in the file if the template is given there, else in the template's own
    /// lines.
    fn at(&self, at: Option<TemplatePlace>, severity: Severity, rule: Rule, message: String) -> Diagnostic {
        let mut diagnostic = self.texts.diagnostic("", None, severity, rule, message);
        diagnostic.file = self.texts.file();
        let Some(at) = at else { return diagnostic };
        let source = self.mesh.injector().templates.get(&at.template).map(gotemplate::Template::source);
        let source = source.unwrap_or_default();
        let own = Place { line: at.line, column: at.column };
        diagnostic.snippet = snippet(source, own);
        let given = self.nodes.and_then(|(templates, _)| templates?.at(&[at.template.as_str()]));
        let is_given =
            |node: &&Node| matches!(&node.kind, kubernetes_yaml::Kind::Scalar { text, .. } if text == source);
        if let (Some(node), Some(text)) = (given.filter(is_given), self.texts.first_text()) {
            let place = text.in_template(node, own);
            diagnostic.place = Some(place);
        }
        diagnostic.template = Some(at);
        diagnostic
    }

    fn at_path(&self, path: &str, severity: Severity, rule: Rule, message: String) -> Diagnostic {
        let place = self.nodes.map(|(_, tree)| {
            // Istio's text has the injector's keys at its root.
            let path = match tree.at(&["injector"]) {
                Some(_) => path,
                None => path.strip_prefix("injector.").unwrap_or(path),
            };
            Place::from(deepest(tree, path).mark)
        });
        let name = self.texts.first().name.to_owned();
        self.texts.diagnostic(&name, place, severity, rule, message)
    }
}
