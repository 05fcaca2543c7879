//! `outrigger uninject`: reads injected manifests and prints them as they were before.

use std::path::PathBuf;

use clap::Args;

use super::{
    failure::Failure,
    files,
    output::{self, Form},
    report::{self, Color},
};
use crate::{
    inject::manual::{self, Manifest},
    manifest::TemplatePath,
};

/// Remove injected proxies from pod templates in manifests: the inverse of inject.
///
/// What injection added is read from the pod itself, so that no configuration is needed, and pods that istiod injected
/// work as well. What a pod does not record is reported as a warning with its path. All inputs are read before anything
/// is written; if one of them is unusable, nothing is written.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger uninject -f deployment.yaml | kubectl apply -f -
  outrigger uninject -f deploy/ -R --in-place
  outrigger uninject -f live.yaml -o patch")]
pub(super) struct Uninject {
    /// Manifest in YAML or JSON, directory of manifests, or - for stdin; may be repeated
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
    /// Read directories recursively
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Output format
    #[arg(short, long, value_name = "FORM", default_value = "yaml")]
    output: Form,
    /// Write to this file instead of stdout, atomically; it may be an input
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    /// Write every changed file back in place, atomically
    #[arg(long, conflicts_with_all = ["output", "output_file"])]
    in_place: bool,
    /// Path of a pod template in another kind, if it is not recognized by its shape; may be repeated
    #[arg(long = "pod-template-path", value_name = "PATH")]
    template_paths: Vec<TemplatePath>,
    /// Report only what cannot be uninjected
    #[arg(short, long)]
    quiet: bool,
}

impl Uninject {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        let inputs = files::read_all(&self.files, self.recursive)?;
        if self.in_place && inputs.iter().any(|input| input.path.is_none()) {
            return Err(Failure::usage("--in-place cannot be used with stdin (-)"));
        }
        let mut manifests = Vec::new();
        for input in &inputs {
            let manifest = manual::uninject(&input.text, &self.template_paths)
                .map_err(|error| Failure::data(format!("{}:{error}", input.name)))?;
            manifests.push(manifest);
        }
        let is_refused = manifests.iter().any(Manifest::is_refused);
        if !is_refused {
            output::write(self.output, self.output_file.as_deref(), self.in_place, &inputs, &manifests)?;
        }
        for (input, manifest) in inputs.iter().zip(&manifests) {
            report::manifest(&input.name, manifest, self.quiet, color);
        }
        if !self.quiet {
            for (input, manifest) in inputs.iter().zip(&manifests) {
                report::duplicates(&input.name, manifest, color);
                report::rewrites(&input.name, manifest, color);
            }
        }
        match is_refused {
            false => Ok(()),
            true => Err(Failure::data("the record of an injection cannot be read; nothing was written")),
        }
    }
}
