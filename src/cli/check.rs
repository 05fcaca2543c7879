//! `outrigger check`: finds mistakes in configurations and templates before they are applied, and runs template tests.

mod json;
mod sarif;
mod text;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{
    failure::{DATA, ERROR, Failure},
    files::{self, Input},
    report::Color,
    source::{Purpose, Source},
};
use crate::{
    config::{ConfigError, InjectorConfig, Source as Text},
    inject::check as samples,
    lint::{self, Diagnostic, Report, Rule, Severity},
    template_tests::{self, Case},
};

/// Check configurations and templates, and run template tests.
///
/// Files are recognized by their shape: a bundle, a ConfigMap of outrigger or Istio, MeshConfig, values of the chart or
/// for templates. Templates are checked against the types of their data and run on sample pods.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger check -f bundle.yaml
  outrigger check -f injector.yaml -f mesh.yaml --strict
  outrigger check -f bundle.yaml -o sarif
  outrigger check --from-cluster --revision canary
  outrigger check --bundle bundle.yaml --tests cases.yaml")]
pub(super) struct Check {
    /// Configuration to check: a file, a directory of files, or - for stdin; may be repeated [default: the configuration
    /// of the flags below]
    #[arg(short = 'f', long = "filename", value_name = "FILE", num_args = 1.., conflicts_with_all = ["bundle", "cluster"])]
    files: Vec<PathBuf>,
    /// Template tests to run with the configuration; may be repeated
    #[arg(long, value_name = "FILE")]
    tests: Vec<PathBuf>,
    /// Count warnings as errors
    #[arg(long)]
    strict: bool,
    /// Output format
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    output: Form,
    #[command(flatten)]
    source: Source,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// Text for people, with the lines of the files
    Text,
    /// JSON, a versioned CheckReport
    Json,
    /// SARIF 2.1.0, for code hosts and editors
    Sarif,
}

/// Everything that a run found.
struct Findings {
    report: Report,
    cases: Vec<Verdict>,
}

/// The result of a case.
struct Verdict {
    file: String,
    case: Case,
    failures: Vec<String>,
}

impl Check {
    /// Runs tests with a configuration.
    pub(super) fn of_tests(tests: Vec<PathBuf>, source: Source) -> Check {
        Check { files: Vec::new(), tests, strict: false, output: Form::Text, source }
    }

    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        let mut report = self.check()?;
        let cases = self.run_tests(&mut report)?;
        let findings = Findings { report, cases };
        files::print(&match self.output {
            Form::Text => text::render(&findings, color),
            Form::Json => format!("{:#}\n", json::render(&findings)),
            Form::Sarif => format!("{:#}\n", sarif::render(&findings)),
        })?;
        findings.verdict(self.strict)
    }

    fn check(&self) -> Result<Report, Failure> {
        let inputs = match self.source.bundle_file() {
            _ if !self.files.is_empty() => files::read_all(&self.files, false)?,
            Some(file) => vec![files::read(&file)?],
            None => return self.check_elsewhere(),
        };
        let sources: Vec<Text<'_>> =
            inputs.iter().map(|Input { name, text, .. }| Text { name, text }).collect();
        Ok(lint::files(&sources))
    }

    /// Checks a configuration that is not in a file: a cluster's, or the embedded defaults.
    fn check_elsewhere(&self) -> Result<Report, Failure> {
        let configured = match self.source.load(Purpose::Show) {
            Ok(configured) => configured,
            Err(Failure::Told { code: DATA, error }) => {
                let refused =
                    error.downcast_ref::<ConfigError>().map(|error| lint::refused(error, "cluster"));
                return match refused {
                    Some(diagnostics) => Ok(Report { diagnostics, ..Report::default() }),
                    None => Err(Failure::Told { code: DATA, error }),
                };
            }
            Err(failure) => return Err(failure),
        };
        let diagnostics = lint::loaded(&configured.mesh, &configured.warnings, &configured.origin);
        Ok(Report { diagnostics, configurations: vec![configured.mesh], ..Report::default() })
    }

    fn run_tests(&self, report: &mut Report) -> Result<Vec<Verdict>, Failure> {
        let mut read = Vec::new();
        for path in &self.tests {
            let input = files::read(path)?;
            let folder = path.parent().unwrap_or(Path::new(""));
            let pod = |name: &str| {
                let input = files::read(&folder.join(name)).map_err(|failure| match failure {
                    Failure::Told { error, .. } => format!("{error:#}"),
                    Failure::BrokenPipe => "cannot be read".to_owned(),
                });
                input.map(|input| input.text)
            };
            match template_tests::read(Text { name: &input.name, text: &input.text }, &pod) {
                Ok(cases) => read.push((input, cases)),
                Err(problems) => report.diagnostics.extend(problems.into_iter().map(|problem| {
                    let message = problem.to_string();
                    at(&input, problem.place, Rule::InvalidTest, message)
                })),
            }
        }
        let mesh = match (read.is_empty(), report.configurations.as_slice()) {
            (true, _) => return Ok(Vec::new()),
            (false, [mesh]) => mesh,
            // Already reported.
            (false, []) => return Ok(Vec::new()),
            (false, several) => {
                let found = several.len();
                return Err(Failure::usage(format!(
                    "found {found} configurations; --tests expects one: a bundle, or Istio's two ConfigMaps"
                )));
            }
        };
        Ok(run_all(mesh, &read, &mut report.diagnostics))
    }
}

fn run_all(
    mesh: &InjectorConfig,
    files: &[(Input, Vec<Case>)],
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (input, cases) in files {
        for case in cases {
            let failures = case.run(mesh);
            diagnostics.extend(
                failures.iter().map(|failure| {
                    at(input, case.place, Rule::TestFails, format!("{}: {failure}", case.name))
                }),
            );
            verdicts.push(Verdict { file: input.name.clone(), case: case.clone(), failures });
        }
    }
    verdicts
}

/// An error at a place in a test file.
fn at(input: &Input, place: crate::config::Place, rule: Rule, message: String) -> Diagnostic {
    let line = usize::try_from(place.line).ok().and_then(|line| input.text.lines().nth(line.checked_sub(1)?));
    Diagnostic {
        severity: Severity::Error,
        rule,
        message,
        file: input.name.clone(),
        place: Some(place),
        snippet: line.map(|line| line.trim_end().to_owned()),
        template: None::<samples::TemplateLine>,
    }
}

impl Findings {
    /// Diagnostics of the configuration, without those of cases that fail.
    fn of_configuration(&self) -> impl Iterator<Item = &Diagnostic> {
        self.report.diagnostics.iter().filter(|diagnostic| diagnostic.rule != Rule::TestFails)
    }

    fn failed(&self) -> usize {
        self.cases.iter().filter(|case| !case.failures.is_empty()).count()
    }

    fn count(&self, severity: Severity) -> usize {
        self.of_configuration().filter(|diagnostic| diagnostic.severity == severity).count()
    }

    /// `2 errors, 1 warning`, and the notes, if there are any.
    fn summary(&self) -> String {
        let errors = plural(self.count(Severity::Error), "error");
        let notes = match self.count(Severity::Note) {
            0 => String::new(),
            notes => format!(", {}", plural(notes, "note")),
        };
        format!("{errors}, {}{notes}", plural(self.count(Severity::Warning), "warning"))
    }

    fn verdict(&self, strict: bool) -> Result<(), Failure> {
        let (errors, warnings, failed) =
            (self.count(Severity::Error), self.count(Severity::Warning), self.failed());
        if errors > 0 {
            return Err(Failure::data(format!("the check found {}", self.summary())));
        }
        if strict && warnings > 0 {
            let warnings = plural(warnings, "warning");
            return Err(Failure::data(format!(
                "the check found {warnings}, which count as errors with --strict"
            )));
        }
        if failed > 0 {
            let text = format!("{failed} of {} failed", plural(self.cases.len(), "test"));
            return Err(Failure::Told { code: ERROR, error: anyhow::Error::msg(text) });
        }
        Ok(())
    }
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
