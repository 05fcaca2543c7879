//! `outrigger doctor`: what is wrong with an installation, as the API server sees it.
//!
//! Objects are read here; the conclusions are drawn by `injector::diagnose`.

mod facts;
mod permissions;

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    effects::counted,
    failure::Failure,
    files,
    report::{self, Color, Style},
    source::{Purpose, Source},
    wrap,
};
use crate::{pages, server::duration::parse_duration};
use injector::diagnose::{Finding, Severity, diagnose};

/// Find out what is wrong with an installation: webhooks, certificates, endpoints, namespaces, pods without a proxy.
///
/// Reads objects and, for each webhook of outrigger, creates pods as server-side dry runs, which are never stored. Objects that it
/// may not read are left out, with a warning. Exits with 1 if there is an error (with --strict, also for a warning), 69 if no API server
/// answers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger doctor
  outrigger doctor -n shop
  outrigger doctor --wait 2m
  outrigger doctor --probe-namespace shop -o json
  outrigger doctor --html diagnosis.html")]
pub(super) struct Doctor {
    /// Only look at the installation and this namespace, which is also that of the dry-run pods
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Namespace of the dry-run pods [default: for each webhook, one that asks for injection, else default]
    #[arg(long, value_name = "NAMESPACE", conflicts_with = "namespace")]
    probe_namespace: Option<String>,
    /// Create no pods, not even as dry runs
    #[arg(long, conflicts_with = "probe_namespace")]
    no_probe: bool,
    /// Repeat until there is no error, for at most this long
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    wait: Option<Duration>,
    /// Exit with 1 for warnings, too
    #[arg(long)]
    strict: bool,
    /// Output format
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    output: Form,
    /// Also write the report to this file, as one self-contained HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
}

/// Output format
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// Text for people
    Text,
    /// JSON, apiVersion outrigger.dev/v1alpha1, kind Diagnosis
    Json,
}

/// The warnings of a configuration, or why it cannot be used.
type Problems = Result<Vec<String>, String>;

/// The pause between two attempts with --wait.
const INTERVAL: Duration = Duration::from_secs(2);

impl Doctor {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        let deadline = self.wait.map(|wait| Instant::now() + wait);
        let mut attempts = 0;
        let (findings, left_out) = loop {
            let (configuration, unread) = self.configuration()?;
            let (mut facts, mut left_out) = self.source.cluster().run(async |session| {
                let wanted = facts::Wanted {
                    namespace: self.namespace.as_deref(),
                    probe_namespace: self.probe_namespace.as_deref(),
                    with_probe: !self.no_probe,
                };
                facts::read(session, &wanted).await
            })?;
            facts.configuration = configuration;
            left_out.extend(unread);
            let findings = diagnose(&facts);
            attempts += 1;
            let is_bad = findings.iter().any(|finding| finding.severity == Severity::Error);
            if !is_bad || deadline.is_none_or(|deadline| Instant::now() >= deadline) {
                break (findings, left_out);
            }
            if attempts == 1 || attempts % 5 == 0 {
                let first =
                    findings.first().map(|finding| format!("{}: {}", finding.subject, finding.evidence));
                report::progress(&format!("waiting: {}", first.unwrap_or_default()), color);
            }
            std::thread::sleep(INTERVAL);
        };
        left_out.iter().for_each(|text| report::warning(text, color));
        if let Some(file) = &self.html {
            files::replace(file, &pages::report::diagnosis(&findings, &left_out))?;
        }
        files::print(&match self.output {
            Form::Text => wrap::for_stdout(text(&findings, color)),
            Form::Json => format!("{:#}\n", json(&findings, &left_out)),
        })?;
        let counts = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        let (errors, warnings) = (counts(Severity::Error), counts(Severity::Warning));
        match (errors, warnings) {
            (0, 0) => Ok(()),
            (0, _) if !self.strict => Ok(()),
            _ => {
                let (errors, warnings) = (counted(errors, "error"), counted(warnings, "warning"));
                Err(Failure::error(format!("found {errors} and {warnings}")))
            }
        }
    }

    /// The configuration's problems; `None` if it may not be read, and why.
    fn configuration(&self) -> Result<(Option<Problems>, Option<String>), Failure> {
        let loaded = self.source.load_for_cluster(Purpose::Show).and_then(|configured| {
            let remarks = configured.check()?;
            let all = configured.warnings.iter().chain(&remarks);
            Ok(all.map(ToString::to_string).collect::<Vec<_>>())
        });
        match loaded {
            Ok(warnings) => Ok((Some(Ok(warnings)), None)),
            Err(failure) if failure.is_data() => Ok((Some(Err(failure.to_string())), None)),
            Err(failure) if failure.is_unavailable() => Err(failure),
            Err(failure) => Ok((None, Some(failure.to_string()))),
        }
    }
}

fn key(severity: Severity) -> (&'static str, Style) {
    match severity {
        Severity::Error => ("error", Style::Bad),
        Severity::Warning => ("warning", Style::Odd),
        Severity::Info => ("info", Style::Faint),
    }
}

fn text(findings: &[Finding], color: Color) -> String {
    if findings.is_empty() {
        let told = color.paint_stdout(Style::Good, "no problem found");
        return format!("{told}\n");
    }
    let mut out = String::new();
    for Finding { severity, check, subject, evidence, fix } in findings {
        let (word, style) = key(*severity);
        let word = color.paint_stdout(style, word);
        out.push_str(&format!("{word} ({check}): {}: {}\n", report::plain(subject), report::plain(evidence)));
        out.push_str(&format!("  fix: {}\n", report::plain(fix)));
    }
    out.push_str("About a workload that is not listed: outrigger explain KIND/NAME -n NAMESPACE\n");
    out
}

fn json(findings: &[Finding], left_out: &[String]) -> Value {
    let findings: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "severity": key(finding.severity).0,
                "check": finding.check,
                "subject": finding.subject,
                "evidence": finding.evidence,
                "fix": finding.fix,
            })
        })
        .collect();
    json!({
        "apiVersion": "outrigger.dev/v1alpha1",
        "kind": "Diagnosis",
        "findings": findings,
        "leftOut": left_out,
    })
}
