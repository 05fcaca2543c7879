//! `outrigger stale`: which running pods differ from what would be injected today.

use std::path::PathBuf;

use clap::Args;

use super::{
    effects::{self, Form, Words},
    failure::Failure,
    files,
    report::{self, Color},
    source::{Configured, Purpose, Source},
    workloads::{self, Which},
};
use crate::inject::{
    Rules,
    manual::{self, Options},
};

/// Show which running pods differ from what would be injected today.
///
/// Every pod is rendered again with the configuration in force and compared with what runs, whoever injected it. Equal differences
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
        let subjects = self.subjects(&configured, color)?;
        let report =
            effects::evaluate(subjects, |request| injector::effects::stale(&configured.mesh, request))?;
        files::print(&effects::render(&report, &WORDS, self.output, color))?;
        if self.exit_code && report.subjects() > report.identical {
            return Err(Failure::error("running pods differ from what would be injected today"));
        }
        Ok(())
    }

    fn subjects(&self, configured: &Configured, color: Color) -> Result<Vec<manual::Subject>, Failure> {
        let options = Options {
            mesh: &configured.mesh,
            rules: Rules::Configured,
            namespace: &self.namespace,
            template_paths: Vec::new(),
        };
        let mut texts = Vec::new();
        if self.files.is_empty() {
            let (text, left_out) = self
                .source
                .cluster()
                .run(async |session| workloads::read(session, Which::Pods, &self.namespace).await)?;
            for one in left_out {
                report::warning(&format!("{one}; these objects are left out"), color);
            }
            texts.push(("cluster".to_owned(), text));
        } else {
            let inputs = files::read_all(&self.files, false)?;
            texts.extend(inputs.into_iter().map(|input| (input.name.clone(), input.text)));
        }
        let mut subjects = Vec::new();
        for (name, text) in &texts {
            let found =
                manual::subjects(text, &options).map_err(|error| Failure::data(format!("{name}:{error}")))?;
            let of_namespace = |subject: &manual::Subject| {
                self.namespace.is_empty() || subject.object.namespace.as_deref() == Some(&self.namespace)
            };
            subjects.extend(found.into_iter().filter(of_namespace).filter(|pod| pod.object.kind == "Pod"));
        }
        Ok(subjects)
    }
}
