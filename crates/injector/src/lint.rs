//! Checks configuration files before they are applied: everything that the server would reject or warn about, and
//! mistakes in templates that no sample pod shows.
//!
//! Files are recognized by their shape. Every diagnostic has its place in the file as its author wrote it, even inside
//! a template inside a ConfigMap. Nothing is read here: texts are arguments.

mod chart;
mod diagnostic;
mod problems;
mod shape;
mod templates;
mod text;
mod tree;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use kubernetes_yaml::Node;

pub use self::diagnostic::{Diagnostic, RULES, Rule, Severity, TemplatePlace};
pub use self::shape::Shape;

use self::{
    problems::configuration,
    shape::Recognized,
    text::{Text, Texts},
};
use crate::config::{Absent, ConfigError, Fault, InjectorConfig, Installation, Source, Warning};

/// The result for all files.
#[derive(Debug, Default)]
pub struct Report {
    /// The recognized documents, in order.
    pub inputs: Vec<Input>,
    /// All problems and warnings, in the order of the files.
    pub diagnostics: Vec<Diagnostic>,
    /// The configurations that the files contain, those with errors left out.
    pub configurations: Vec<InjectorConfig>,
}

/// A document of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The file.
    pub file: String,
    /// What it was recognized as.
    pub shape: Shape,
}

impl Report {
    /// How many diagnostics have this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count()
    }
}

/// Checks files. Istio's injector ConfigMap and its mesh ConfigMap form one configuration, if the files contain both;
/// other documents are configurations of their own, over the embedded defaults.
pub fn files(files: &[Source<'_>]) -> Report {
    let mut report = Report::default();
    let mut documents = Vec::new();
    for file in files {
        match shape::documents(*file) {
            Ok(found) => documents.extend(found),
            Err(error) => {
                report.diagnostics.extend(configuration(&Texts::of_file(*file), &error, None));
            }
        }
    }
    for document in &documents {
        match &document.recognized {
            Ok(recognized) => {
                report.inputs.push(Input { file: document.file.name.to_owned(), shape: recognized.shape() });
            }
            Err(accepted) => report.diagnostics.push(document.unrecognized(accepted)),
        }
    }
    let meshes: BTreeMap<&str, &Recognized<'_>> = documents
        .iter()
        .filter_map(|document| document.recognized.as_ref().ok())
        .filter_map(|recognized| Some((recognized.mesh_revision()?, recognized)))
        .collect();
    let is_paired = |revision: &str| {
        let mut all = documents.iter().filter_map(|document| document.recognized.as_ref().ok());
        all.any(
            |recognized| matches!(recognized, Recognized::Injector { revision: own, .. } if own == revision),
        )
    };
    for document in &documents {
        let Ok(recognized) = &document.recognized else { continue };
        let unit = match recognized {
            Recognized::Bundle { tree, .. } => Unit::of_tree(Texts::of_file(document.file), tree),
            Recognized::BundleText { text } => Unit::of_bundle(text),
            Recognized::Injector { config, values, revision, .. } => {
                let mesh = meshes.get(revision.as_str()).and_then(|mesh| mesh.mesh_text());
                Unit::of_istio(config, values, mesh, revision)
            }
            Recognized::Mesh { revision, .. } if is_paired(revision) => continue,
            Recognized::Mesh { text, .. } => Unit::of_mesh(text),
        };
        unit.report(&mut report);
    }
    report
}

/// Checks a configuration whose texts are elsewhere, such as in a cluster.
pub fn loaded(mesh: &InjectorConfig, warnings: &[Warning], origin: &str) -> Vec<Diagnostic> {
    let texts = Texts::elsewhere(origin);
    let mut diagnostics: Vec<Diagnostic> =
        warnings.iter().map(|warning| problems::of_warning(&texts, warning, None)).collect();
    diagnostics.extend(templates::diagnostics(mesh, &texts, None));
    diagnostics
}

/// The problems of a configuration whose texts are elsewhere.
pub fn refused(error: &ConfigError, origin: &str) -> Vec<Diagnostic> {
    configuration(&Texts::elsewhere(origin), error, None)
}

/// One configuration and its texts.
struct Unit<'a> {
    texts: Texts<'a>,
    /// The tree that paths of warnings refer to, and the keys that lead to the templates in it.
    tree: Option<(Node, &'static [&'static str])>,
    result: Result<(InjectorConfig, Vec<Warning>), ConfigError>,
}

impl<'a> Unit<'a> {
    fn of_tree(texts: Texts<'a>, tree: &Node) -> Unit<'a> {
        let result = InjectorConfig::from_bundle_tree(texts.first(), tree);
        Unit { texts, tree: Some((tree.clone(), &["injector", "templates"])), result }
    }

    fn of_bundle(text: &Text<'a>) -> Unit<'a> {
        let tree = kubernetes_yaml::parse(&text.text, &kubernetes_yaml::Limits::default()).ok();
        let texts = Texts::of(vec![text.clone()]);
        let result = InjectorConfig::from_bundle(texts.first());
        Unit { texts, tree: tree.map(|tree| (tree, ["injector", "templates"].as_slice())), result }
    }

    /// Istio's texts; without a mesh ConfigMap, Istio's defaults apply.
    fn of_istio(config: &Text<'a>, values: &Text<'a>, mesh: Option<&Text<'a>>, revision: &str) -> Unit<'a> {
        let tree = kubernetes_yaml::parse(&config.text, &kubernetes_yaml::Limits::default()).ok();
        let mut all = vec![config.clone(), values.clone()];
        all.extend(mesh.cloned());
        let texts = Texts::of(all);
        let installation = Installation {
            revision: if revision.is_empty() { "default".to_owned() } else { revision.to_owned() },
            absent: Absent::AsInIstio,
            ..Installation::default()
        };
        let nothing = Source { name: "mesh", text: "{}" };
        let mesh = mesh.map_or(nothing, Text::source);
        let result = InjectorConfig::from_config_map(config.source(), values.source(), mesh, installation);
        Unit { texts, tree: tree.map(|tree| (tree, ["templates"].as_slice())), result }
    }

    /// A mesh ConfigMap without its injector: checked with the embedded defaults.
    fn of_mesh(text: &Text<'a>) -> Unit<'a> {
        let nothing = |name| Source { name, text: "{}" };
        let result = InjectorConfig::from_config_map(
            nothing("config"),
            nothing("values"),
            text.source(),
            Installation::default(),
        );
        Unit { texts: Texts::of(vec![text.clone()]), tree: None, result }
    }

    fn report(self, report: &mut Report) {
        let tree = self.tree.as_ref().map(|(tree, _)| tree);
        match self.result {
            Err(error) => report.diagnostics.extend(configuration(&self.texts, &error, tree)),
            Ok((mesh, warnings)) => {
                let told = warnings.iter().map(|warning| problems::of_warning(&self.texts, warning, tree));
                report.diagnostics.extend(told);
                let templates = self.tree.as_ref().map(|(tree, path)| (tree.at(path), tree));
                let found = templates::diagnostics(&mesh, &self.texts, templates);
                let is_usable = found.iter().all(|diagnostic| diagnostic.severity != Severity::Error);
                report.diagnostics.extend(found);
                if is_usable {
                    report.configurations.push(mesh);
                }
            }
        }
    }
}

/// The rule of a configuration's problem.
fn rule_of(fault: &Fault) -> Rule {
    match fault {
        Fault::Syntax(_) => Rule::Syntax,
        Fault::Template(_) => Rule::TemplateSyntax,
        _ => Rule::InvalidConfiguration,
    }
}
