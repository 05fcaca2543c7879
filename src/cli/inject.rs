//! `outrigger inject`: manifests in, injected manifests out.

use std::path::PathBuf;

use clap::Args;

use super::{
    failure::Failure,
    files::{self, Input},
    output::{self, Form},
    report::{self, Color},
    source::{Configured, Purpose, Source},
};
use crate::{
    inject::{
        Rules,
        manual::{self, Manifest, Options},
    },
    manifest::TemplatePath,
};

/// Inject pod templates in manifests, as the webhook would inject their pods.
///
/// The result goes to stdout, a line for every object to stderr. All inputs are read and injected before anything is
/// written, and nothing is written if one cannot be used.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger inject -f deployment.yaml | kubectl apply -f -
  outrigger inject -f deploy/ -R --bundle bundle.yaml --in-place
  outrigger inject -f deployment.yaml --from-cluster -o diff
  outrigger inject -f pool.yaml --pod-template-path spec.groups.*.template")]
pub(super) struct Inject {
    /// A manifest in YAML or JSON, a folder of them, or - for stdin; may be repeated
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
    /// Read the folders in folders too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// The namespace of objects that say none
    #[arg(short, long, default_value = "", hide_default_value = true)]
    namespace: String,
    /// The form of the output
    #[arg(short, long, value_name = "FORM", default_value = "yaml")]
    output: Form,
    /// Write to this file instead of stdout, in one step; it may be an input
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    /// Write every file that changes back to its place, in one step
    #[arg(long, conflicts_with_all = ["output", "output_file"])]
    in_place: bool,
    /// Where another kind keeps a pod template that is not found by its shape, such as spec.worker.template; `*` is every
    /// element of a list or entry of a map; may be repeated
    #[arg(long = "pod-template-path", value_name = "PATH")]
    template_paths: Vec<TemplatePath>,
    /// Report only what is refused
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    source: Source,
}

impl Inject {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        let inputs = files::read_all(&self.files, self.recursive)?;
        if self.in_place && inputs.iter().any(|input| input.path.is_none()) {
            return Err(Failure::usage("--in-place: stdin (-) has no place to write to; leave it out"));
        }
        let configured = self.source.load(Purpose::Decide)?;
        if !self.quiet {
            configured.report(color);
        }
        let remarks = configured.check()?;
        if !self.quiet {
            report::configuration(&remarks, color);
        }
        let manifests = self.inject_all(&configured, &inputs)?;
        let refused =
            manifests.iter().flat_map(Manifest::rows).filter(|row| row.verdict.is_refusal()).count();
        if refused == 0 {
            self.write(&inputs, &manifests)?;
        }
        for (input, manifest) in inputs.iter().zip(&manifests) {
            report::manifest(&input.name, manifest, self.quiet, color);
        }
        if !self.quiet {
            self.report_oddities(&inputs, &manifests, color);
        }
        match refused {
            0 => Ok(()),
            1 => Err(Failure::data("1 object is refused, so nothing was written")),
            _ => Err(Failure::data(format!("{refused} objects are refused, so nothing was written"))),
        }
    }

    fn inject_all<'i>(
        &self,
        configured: &Configured,
        inputs: &'i [Input],
    ) -> Result<Vec<Manifest<'i>>, Failure> {
        let options = Options {
            mesh: &configured.mesh,
            rules: Rules::Configured,
            namespace: &self.namespace,
            template_paths: self.template_paths.clone(),
        };
        let inject = |input: &'i Input| {
            manual::inject(&input.text, &options)
                .map_err(|error| Failure::data(format!("{}:{error}", input.name)))
        };
        inputs.iter().map(inject).collect()
    }

    /// What the author of a manifest or of the command line did not mean.
    fn report_oddities(&self, inputs: &[Input], manifests: &[Manifest<'_>], color: Color) {
        for (input, manifest) in inputs.iter().zip(manifests) {
            report::duplicates(&input.name, manifest, color);
        }
        for path in &self.template_paths {
            if !manifests.iter().any(|manifest| manifest.has_template_at(path)) {
                let text = format!(
                    "--pod-template-path {path} leads to no pod template in any object; accepted: the keys from an object \
                     down to what holds `spec.containers`"
                );
                report::warning(&text, color);
            }
        }
    }

    fn write(&self, inputs: &[Input], manifests: &[Manifest<'_>]) -> Result<(), Failure> {
        if self.in_place {
            for (input, manifest) in
                inputs.iter().zip(manifests).filter(|(_, manifest)| manifest.is_changed())
            {
                if let Some(path) = &input.path {
                    files::replace(path, &manifest.to_text())?;
                }
            }
            return Ok(());
        }
        let text = output::render(self.output, inputs, manifests);
        match &self.output_file {
            Some(path) => files::replace(path, &text),
            None => files::print(&text).inspect(|()| report::set_apart()),
        }
    }
}
