//! `outrigger kube-inject`: replaces istioctl's command of that name in existing scripts.

mod configuration;
mod tolerated;

use std::path::PathBuf;

use clap::Args;

use self::{configuration::Configuration, tolerated::Tolerated};
use super::{
    failure::Failure,
    files,
    report::{self, Color},
};
use crate::inject::{
    Rules,
    manual::{self, Options, Row, Verdict},
};

/// Inject a manifest with the flags and rules of `istioctl kube-inject`.
///
/// Only the templates of the injection configuration are used; the label or annotation sidecar.istio.io/inject on pods
/// counts, labels on namespaces do not. Every document is followed by `---`. Without files or a bundle, the
/// configuration comes from the cluster; with some files, the rest comes from the embedded defaults, or from the
/// cluster if one is named.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger kube-inject -f deployment.yaml | kubectl apply -f -
  outrigger kube-inject -f deployment.yaml --bundle bundle.yaml -o injected.yaml
  outrigger kube-inject -f deployment.yaml --injectConfigFile config.yaml \\
    --meshConfigFile mesh.yaml --valuesFile values.yaml")]
pub(super) struct KubeInject {
    /// Manifest, or - for stdin
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    filename: PathBuf,
    /// Write to this file instead of stdout, atomically; it may be the input
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    configuration: Configuration,
    #[command(flatten)]
    tolerated: Tolerated,
}

impl KubeInject {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        if let Some(warning) = self.tolerated.warning() {
            report::warning(&warning, color);
        }
        let input = files::read(&self.filename)?;
        let configured = self.configuration.load()?;
        configured.report(color);
        let options = Options {
            mesh: &configured.mesh,
            rules: Rules::TemplatesOnly,
            namespace: "",
            template_paths: Vec::new(),
        };
        let manifest = manual::inject(&input.text, &options)
            .map_err(|error| Failure::data(format!("{}:{error}", input.name)))?;
        if !manifest.is_refused() {
            let text = manifest.terminated();
            match &self.output {
                Some(path) => files::replace(path, &text)?,
                None => files::print(&text).inspect(|()| report::set_apart())?,
            }
        }
        report::duplicates(&input.name, &manifest, color);
        report::left_alone(&manifest, color);
        if manifest.is_refused() {
            // Values are not to blame for what the user wrote into the pod.
            let is_of_values = |row: &Row| matches!(&row.verdict, Verdict::Refused(why) if why.code() != 400);
            let lacking = self.configuration.lacking_values(&configured.mesh);
            if let Some(lacking) = lacking.filter(|_| manifest.rows().any(is_of_values)) {
                report::errors(&lacking, color);
            }
            return Err(Failure::data("an object was denied; nothing was written"));
        }
        Ok(())
    }
}
