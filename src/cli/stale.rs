//! `outrigger stale`: which running pods differ from what would be injected today.

use std::path::PathBuf;

use clap::Args;

use super::{
    effects::{self, Form, Words},
    failure::Failure,
    files,
    report::Color,
    source::{Purpose, Source},
    workloads::{self, Which},
};

/// Show which running pods differ from what would be injected today.
///
/// Every pod is rendered again with the configuration in force and compared with what runs, also if istiod injected it. Equal differences
/// are grouped and counted; restarting a workload applies today's configuration to its pods. Without -f, the pods are those of the
/// cluster.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger stale
  outrigger stale -n shop -o json
  outrigger stale -f pods.json --bundle bundle.yaml --exit-code")]
pub(super) struct Stale {
    /// Pods in YAML or JSON, or - for stdin; may be repeated [default: the pods of the cluster]
    #[arg(short = 'f', long = "filename", value_name = "FILE", num_args = 1..)]
    files: Vec<PathBuf>,
    /// Only the pods of this namespace
    #[arg(short, long, default_value = "", hide_default_value = true)]
    namespace: String,
    /// Output format
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    output: Form,
    /// Exit with 1 if a pod differs
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    source: Source,
}

const WORDS: Words = Words { kind: "StaleReport", subject: "pod", sides: ["running", "now"] };

impl Stale {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        let of_cluster = self.files.is_empty();
        let mut configured = if of_cluster {
            self.source.load_for_cluster(Purpose::Decide)?
        } else {
            self.source.load(Purpose::Decide)?
        };
        if of_cluster && !self.source.is_cluster_source() {
            configured = self.source.with_facts_of_cluster(configured)?;
        }
        configured.report(color);
        let cluster = (&self.source, Which::Pods, self.namespace.as_str());
        let texts = workloads::texts(&self.files, false, cluster, color)?;
        let mut subjects = workloads::subjects(&configured, &self.namespace, &texts)?;
        subjects.retain(|pod| {
            let is_of_namespace =
                self.namespace.is_empty() || pod.object.namespace.as_deref() == Some(&self.namespace);
            is_of_namespace && pod.object.kind == "Pod"
        });
        let report =
            effects::evaluate(subjects, |request| injector::effects::stale(&configured.mesh, request))?;
        files::print(&effects::render(&report, &WORDS, self.output, color))?;
        if self.exit_code && report.subjects() > report.identical {
            return Err(Failure::error("running pods differ from what would be injected today"));
        }
        Ok(())
    }
}
