//! `outrigger stale`: which running pods differ from what would be injected today.

use std::path::PathBuf;

use clap::Args;

use super::{
    capture,
    effects::{self, Form, Words},
    failure::Failure,
    files,
    report::Color,
    source::Source,
    workloads,
};

/// Show which running pods differ from what would be injected today.
///
/// Every pod is rendered again with the configuration in force and compared with the running pod, even if istiod
/// injected it. Equal differences are grouped and counted; restarting a workload applies today's configuration to its
/// pods. Without -f, the pods are those of the cluster.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger stale
  outrigger stale -n shop -o json
  outrigger stale -f pods.json --bundle bundle.yaml --exit-code")]
pub(super) struct Stale {
    /// Pods in YAML or JSON, or - for stdin; may be repeated [default: the pods of the cluster]
    #[arg(short = 'f', long = "filename", value_name = "FILE", num_args = 1..)]
    files: Vec<PathBuf>,
    /// Capture from `outrigger bundle capture`, to use instead of the cluster itself
    #[arg(long, value_name = "FILE", conflicts_with_all = ["files", "cluster"])]
    capture: Option<PathBuf>,
    /// Only the pods of this namespace
    #[arg(short, long, default_value = "", hide_default_value = true)]
    namespace: String,
    /// Output format
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    output: Form,
    /// Also write the report to this file, as one self-contained HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Exit with 1 if a pod differs
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    source: Source,
}

const WORDS: Words = Words {
    title: "Pods that differ from what would be injected today",
    kind: "StaleReport",
    subject: "pod",
    sides: ["running", "now"],
};

impl Stale {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        let (configured, texts) =
            capture::pods(&self.source, self.capture.as_deref(), &self.files, &self.namespace, color)?;
        let mut subjects = workloads::subjects(&configured, &self.namespace, &texts)?;
        subjects.retain(|pod| {
            let is_of_namespace =
                self.namespace.is_empty() || pod.object.namespace.as_deref() == Some(&self.namespace);
            is_of_namespace && pod.object.kind == "Pod"
        });
        let report =
            effects::evaluate(subjects, |request| injector::effects::stale(&configured.mesh, request))?;
        effects::write_html(
            self.html.as_deref(),
            &report,
            &WORDS,
            &[format!("configuration: {}", configured.origin)],
        )?;
        files::print(&effects::render(&report, &WORDS, self.output, color))?;
        if self.exit_code && report.subjects() > report.identical {
            return Err(Failure::error("running pods differ from what would be injected today"));
        }
        Ok(())
    }
}
