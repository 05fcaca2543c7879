//! `outrigger kube-inject`: istioctl's command of that name, for scripts that have it.

use std::path::PathBuf;

use clap::Args;

use super::{
    failure::Failure,
    files::{self, Input},
    report::{self, Color},
};
use crate::{
    config::{NativeSidecars, Source},
    inject::{
        Rules,
        manual::{
            self, Options,
            kube_inject::{self, Files},
        },
    },
};

/// Inject a manifest with the flags and the rules of `istioctl kube-inject`.
///
/// Of the injection configuration only the templates count; what pods say with their label or annotation
/// sidecar.istio.io/inject counts, what namespaces say does not. Every document is followed by `---`. Files that are not
/// given are replaced by the embedded defaults; flags that need a cluster are not there.
#[derive(Debug, Args)]
pub(super) struct KubeInject {
    /// The manifest, or - for stdin
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    filename: PathBuf,
    /// Write to this file instead of stdout, in one step; it may be the input
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    output: Option<PathBuf>,
    /// The injection configuration, or the text of one template
    #[arg(long = "injectConfigFile", value_name = "FILE")]
    inject_config_file: Option<PathBuf>,
    /// MeshConfig
    #[arg(long = "meshConfigFile", value_name = "FILE")]
    mesh_config_file: Option<PathBuf>,
    /// The values of the injection templates
    #[arg(long = "valuesFile", value_name = "FILE")]
    values_file: Option<PathBuf>,
    /// An IstioOperator, whose values and meshConfig win over the other files
    #[arg(long = "operatorFileName", value_name = "FILE")]
    operator_file: Option<PathBuf>,
    /// The control plane's revision
    #[arg(short, long, default_value = "", hide_default_value = true)]
    revision: String,
}

impl KubeInject {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        let read = |path: &Option<PathBuf>| path.as_deref().map(files::read).transpose();
        let inject_config = read(&self.inject_config_file)?;
        let mesh_config = read(&self.mesh_config_file)?;
        let values = read(&self.values_file)?;
        let operator = read(&self.operator_file)?;
        let files = Files {
            inject_config: source(&inject_config),
            mesh_config: source(&mesh_config),
            values: source(&values),
            operator: source(&operator),
        };
        let (mesh, warnings) = kube_inject::mesh(&files, &self.revision, native_sidecars())?;
        report::configuration(&warnings, color);

        let input = files::read(&self.filename)?;
        let options =
            Options { mesh: &mesh, rules: Rules::TemplatesOnly, namespace: "", template_paths: Vec::new() };
        let manifest = manual::inject(&input.text, &options)
            .map_err(|error| Failure::data(format!("{}:{error}", input.name)))?;
        if !manifest.is_refused() {
            let text = manifest.to_terminated_text();
            match &self.output {
                Some(path) => files::replace(path, &text)?,
                None => files::print(&text).inspect(|()| report::set_apart())?,
            }
        }
        report::left_alone(&manifest, color);
        if manifest.is_refused() {
            return Err(Failure::data("an object is refused, so nothing was written"));
        }
        Ok(())
    }
}

fn source(input: &Option<Input>) -> Option<Source<'_>> {
    input.as_ref().map(|input| Source { name: &input.name, text: &input.text })
}

/// istioctl reads the switch of Istio's control plane; its `auto` asks nodes, of which there are none here.
fn native_sidecars() -> NativeSidecars {
    match std::env::var("ENABLE_NATIVE_SIDECARS").as_deref() {
        Ok("true") => NativeSidecars::Enabled,
        _ => NativeSidecars::Disabled,
    }
}
