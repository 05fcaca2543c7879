//! Reads templates and runs their test cases, as `outrigger check` does.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    config::{InjectorConfig, Source},
    lint::{self, Diagnostic},
    pages::form::{Fields, InvalidForm},
    template::Template,
    template_tests::{self, InvalidTest},
};

/// The test cases that the page starts with.
const TESTS: &str = include_str!("tests.yaml");
/// The template that is shown first.
const FIRST: &str = "sidecar";
/// The longest template that is shown, in lines.
const MOST_LINES: usize = 5000;

/// The input of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The configuration.
    pub bundle: String,
    /// Test cases, or nothing.
    pub tests: String,
    /// The template that is shown.
    pub template: String,
}

impl Input {
    /// The page's first input, with the given configuration.
    pub fn start(bundle: String) -> Input {
        Input { bundle, tests: TESTS.to_owned(), template: FIRST.to_owned() }
    }

    /// Reads a form; one of the playground's has only a bundle.
    ///
    /// # Errors
    /// If there is no bundle, or the texts are too long.
    pub fn of_form(form: &[u8]) -> Result<Input, InvalidForm> {
        let mut fields = Fields::read(form)?;
        let start = Input::start(fields.take("bundle")?);
        Ok(Input {
            tests: fields.take("tests").unwrap_or(start.tests),
            template: fields.take("template").unwrap_or(start.template),
            bundle: start.bundle,
        })
    }
}

/// What a line of a template reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The pod or its workload.
    Pod,
    /// The values.
    Values,
    /// MeshConfig or ProxyConfig.
    Mesh,
    /// The revision, the image, and what else the injector computes.
    Other,
}

/// The templates of a configuration, and what is wrong with them.
#[derive(Debug, Default)]
pub struct Evaluation {
    pub(super) bundle: String,
    pub(super) tests: String,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Why nothing was evaluated, if the input is not the reason.
    pub(super) failure: Option<String>,
    pub(super) invalid_tests: Vec<InvalidTest>,
    pub(super) cases: Vec<Case>,
    names: Vec<String>,
    template: String,
    pub(super) lines: Vec<Line>,
}

/// A test case that was run.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) line: u32,
    pub(super) failures: Vec<String>,
}

/// A line of a template.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) number: u32,
    pub(super) text: String,
    pub(super) kinds: BTreeSet<Kind>,
    /// What it reads: `Values.global.hub`.
    pub(super) reads: Vec<String>,
    pub(super) problems: Vec<Diagnostic>,
}

impl Evaluation {
    /// An evaluation that failed for a reason other than its input.
    pub fn failed(message: impl Into<String>) -> Evaluation {
        Evaluation { failure: Some(message.into()), ..Evaluation::default() }
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    pub(super) fn template(&self) -> &str {
        &self.template
    }

    pub(super) fn has_tests(&self) -> bool {
        !self.cases.is_empty() || !self.invalid_tests.is_empty()
    }

    /// The result in one line.
    pub fn summary(&self) -> String {
        if let Some(failure) = &self.failure {
            return failure.clone();
        }
        let passed = self.cases.iter().filter(|case| case.failures.is_empty()).count();
        format!("{} problems, {passed} of {} test cases pass", self.diagnostics.len(), self.cases.len())
    }
}

/// Evaluates an input.
pub fn evaluate(input: &Input) -> Evaluation {
    let source = Source { name: "bundle", text: &input.bundle };
    let report = lint::files(&[source]);
    let mut evaluation = Evaluation {
        bundle: input.bundle.clone(),
        tests: input.tests.clone(),
        diagnostics: report.diagnostics,
        ..Evaluation::default()
    };
    // A configuration whose templates have mistakes is not usable, but can be shown.
    let Ok((mesh, _)) = InjectorConfig::from_bundle(source) else { return evaluation };
    let templates = &mesh.injector().templates;
    evaluation.names = templates.keys().cloned().collect();
    let shown = templates.get_key_value(&input.template).or_else(|| templates.get_key_value(FIRST));
    if let Some((name, template)) = shown.or_else(|| templates.first_key_value()) {
        evaluation.template.clone_from(name);
        evaluation.lines = lines(template, &evaluation.diagnostics);
    }
    if !input.tests.trim().is_empty() {
        let no_file = |_: &str| Err("a page reads no files; write the pod below `pod`".to_owned());
        match template_tests::read(Source { name: "tests", text: &input.tests }, &no_file) {
            Ok(cases) => {
                evaluation.cases = cases
                    .iter()
                    .map(|case| Case {
                        name: case.name.clone(),
                        line: case.place.line,
                        failures: case.run(&mesh),
                    })
                    .collect();
            }
            Err(problems) => evaluation.invalid_tests = problems,
        }
    }
    evaluation
}

fn lines(template: &Template, diagnostics: &[Diagnostic]) -> Vec<Line> {
    let reads = template.line_reads();
    let mut problems: BTreeMap<u32, Vec<Diagnostic>> = BTreeMap::new();
    for diagnostic in diagnostics {
        if let Some(at) = diagnostic.template.as_ref().filter(|at| at.template == template.name()) {
            problems.entry(at.line).or_default().push(diagnostic.clone());
        }
    }
    (1..)
        .zip(template.source().lines().take(MOST_LINES))
        .map(|(number, text)| {
            let read = reads.get(&number);
            let roots = read.into_iter().flatten().filter_map(|read| read.first());
            Line {
                number,
                text: text.to_owned(),
                kinds: roots.map(|root| kind(root)).collect(),
                reads: read.into_iter().flatten().map(|read| read.join(".")).collect(),
                problems: problems.remove(&number).unwrap_or_default(),
            }
        })
        .collect()
}

/// What a field of the templates' data belongs to: see `injector::inject::context`.
fn kind(root: &str) -> Kind {
    match root {
        "ObjectMeta" | "Spec" | "TypeMeta" | "DeploymentMeta" => Kind::Pod,
        "Values" => Kind::Values,
        "MeshConfig" | "ProxyConfig" => Kind::Mesh,
        _ => Kind::Other,
    }
}
