//! `outrigger what-if`: what changes for every workload if a new configuration replaces the one in force.

use std::path::PathBuf;

use clap::Args;

use super::{
    capture::Captured,
    effects::{self, Form, Words},
    failure::Failure,
    files,
    report::{self, Color},
    source::{self, Purpose, Source},
    workloads::{self, Which},
};

/// Show what changes for workloads if a new configuration replaces the current one.
///
/// The webhook's engine runs under both configurations. Equal differences are grouped and counted. Without -f, the workloads are
/// those of the cluster. The exit code is 65 if the new configuration denies pods that the current one does not.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger what-if --new bundle.yaml
  outrigger what-if --new bundle.yaml -n shop -o json
  outrigger what-if --new bundle.yaml --capture cluster.json
  outrigger what-if --new bundle.yaml --html changes.html
  outrigger what-if --new new.yaml --old old.yaml -f manifests/ -R --exit-code")]
pub(super) struct WhatIf {
    /// Bundle to evaluate
    #[arg(long, value_name = "FILE")]
    new: PathBuf,
    /// Bundle in force; same as --bundle
    #[arg(long, value_name = "FILE", conflicts_with_all = ["bundle", "cluster"])]
    old: Option<PathBuf>,
    /// Manifest in YAML or JSON, directory of manifests, or - for stdin; may be repeated [default: the workloads of the cluster]
    #[arg(short = 'f', long = "filename", value_name = "FILE", num_args = 1..)]
    files: Vec<PathBuf>,
    /// Capture from `outrigger bundle capture`, to use instead of the cluster itself
    #[arg(long, value_name = "FILE", conflicts_with_all = ["files", "cluster"])]
    capture: Option<PathBuf>,
    /// Read directories recursively
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Namespace of manifests that specify none; of the cluster, only the workloads of this namespace
    #[arg(short, long, default_value = "", hide_default_value = true)]
    namespace: String,
    /// Output format
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    output: Form,
    /// Also write the report to this file, as one self-contained HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Exit with 1 if anything changes
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    source: Source,
}

const WORDS: Words = Words {
    title: "What a new configuration changes",
    kind: "WhatIf",
    subject: "pod template",
    sides: ["before", "after"],
};

impl WhatIf {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        let captured = self.capture.as_deref().map(Captured::read).transpose()?;
        let of_cluster = self.files.is_empty() && captured.is_none();
        let has_old = self.old.is_some() || !self.source.is_cluster_source();
        let old = match (&self.old, &captured) {
            (Some(file), _) => source::bundle(Some(file))?,
            (None, Some(captured)) if !has_old => captured.configured()?,
            (None, _) if of_cluster => self.source.load_for_cluster(Purpose::Decide)?,
            (None, _) => self.source.load(Purpose::Decide)?,
        };
        let new = source::bundle(Some(&self.new))?;
        // A bundle does not know the cluster's namespaces and nodes, which decide about pods.
        let (old, new) = if let Some(captured) = &captured {
            (if has_old { captured.complete(old)? } else { old }, captured.complete(new)?)
        } else if of_cluster || self.source.is_cluster() {
            let old = if has_old { self.source.with_facts_of_cluster(old)? } else { old };
            (old, self.source.with_facts_of_cluster(new)?)
        } else {
            (old, new)
        };
        for (which, configured) in [("current", &old), ("new", &new)] {
            report::origin(&format!("{which}: {}", configured.origin), color);
            report::configuration(&configured.warnings, color);
        }
        report::configuration(&new.check()?, color);
        let cluster = (&self.source, Which::Workloads, self.namespace.as_str());
        let texts = match &captured {
            Some(captured) => captured.texts(Which::Workloads),
            None => workloads::texts(&self.files, self.recursive, cluster, color)?,
        };
        let mut subjects = workloads::subjects(&new, &self.namespace, &texts)?;
        if captured.is_some() && !self.namespace.is_empty() {
            subjects.retain(|subject| subject.object.namespace.as_deref() == Some(&self.namespace));
        }
        let report =
            effects::evaluate(subjects, |request| injector::effects::what_if(&old.mesh, &new.mesh, request))?;
        effects::write_html(
            self.html.as_deref(),
            &report,
            &WORDS,
            &[format!("before: {}", old.origin), format!("after: {}", new.origin)],
        )?;
        files::print(&effects::render(&report, &WORDS, self.output, color))?;
        let denied: usize =
            report.groups().iter().filter(|group| group.breaks()).map(|group| group.subjects.len()).sum();
        if denied > 0 {
            let templates = effects::counted(denied, WORDS.subject);
            return Err(Failure::data(format!(
                "the new configuration denies the pods of {templates}, which the current one does not deny"
            )));
        }
        if self.exit_code && report.subjects() > report.identical {
            return Err(Failure::error("the new configuration changes pods"));
        }
        Ok(())
    }
}
