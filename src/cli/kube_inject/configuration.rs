//! The sources of kube-inject's configuration: files, a bundle, or the cluster that istioctl would use.

use std::path::PathBuf;

use clap::Args;

use super::super::{
    cluster::{Cluster, Session},
    failure::Failure,
    files::{self, Input},
    source::{self, ConfigMapText, Configured, IstioTexts, istio_name, istio_texts},
};
use crate::{
    config::{InjectorConfig, NativeSidecars, Source},
    inject::manual::kube_inject::{self, Files},
    names::DEFAULT_REVISION,
};

const INJECTOR: &str = "istio-sidecar-injector";
const MESH: &str = "istio";

/// Flags with istioctl's names.
#[derive(Debug, Args)]
pub(super) struct Configuration {
    /// Injection configuration, or the text of one template
    #[arg(long = "injectConfigFile", value_name = "FILE")]
    inject_config_file: Option<PathBuf>,
    /// MeshConfig
    #[arg(long = "meshConfigFile", value_name = "FILE")]
    mesh_config_file: Option<PathBuf>,
    /// Values for the injection templates
    #[arg(long = "valuesFile", value_name = "FILE")]
    values_file: Option<PathBuf>,
    /// IstioOperator; its values and meshConfig override the other files
    #[arg(long = "operatorFileName", value_name = "FILE")]
    operator_file: Option<PathBuf>,
    /// Bundle to use instead of these files [default, without any of them or a cluster: $OUTRIGGER_BUNDLE]
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "inject_config_file", "mesh_config_file", "values_file", "operator_file", "kubeconfig", "context",
        "mesh_config_map", "inject_config_map", "istio_namespace",
    ])]
    bundle: Option<PathBuf>,
    /// Control plane revision, part of the ConfigMaps' names
    #[arg(short, long, default_value = "", hide_default_value = true)]
    revision: String,
    #[command(flatten)]
    cluster: Cluster,
    /// ConfigMap with the key `mesh` [default: istio[-REVISION]]
    #[arg(long = "meshConfigMapName", value_name = "NAME")]
    mesh_config_map: Option<String>,
    /// ConfigMap with the keys `config` and `values` [default: istio-sidecar-injector[-REVISION]]
    #[arg(long = "injectConfigMapName", value_name = "NAME")]
    inject_config_map: Option<String>,
    /// Namespace of these ConfigMaps [default: istio-system]
    #[arg(short = 'i', long = "istioNamespace", value_name = "NAMESPACE")]
    istio_namespace: Option<String>,
    /// Ignored, as in istioctl
    #[arg(long = "webhookConfig", value_name = "NAME", hide = true)]
    webhook_config: Option<String>,
}

/// Texts from files and ConfigMaps; `None` where the embedded defaults apply.
#[derive(Default)]
struct Texts {
    inject_config: Option<Input>,
    mesh_config: Option<Input>,
    values: Option<Input>,
    operator: Option<Input>,
}

impl Configuration {
    pub(super) fn load(&self) -> Result<Configured, Failure> {
        let names_cluster = self.cluster.is_given()
            || self.mesh_config_map.is_some()
            || self.inject_config_map.is_some()
            || self.istio_namespace.is_some();
        let has_files = self.inject_config_file.is_some()
            || self.mesh_config_file.is_some()
            || self.values_file.is_some()
            || self.operator_file.is_some();
        let environment = || source::from_environment().filter(|_| !names_cluster && !has_files);
        if let Some(file) = self.bundle.clone().or_else(environment) {
            return self.bundle(files::read(&file).map_err(Failure::of_configuration)?);
        }
        let mut texts = self.files()?;
        let mut origin = if has_files { "files".to_owned() } else { String::new() };
        if names_cluster || !has_files {
            let from = self.cluster.run(async |session| self.fill(session, &mut texts).await)?;
            origin =
                [origin, from].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
        } else if !texts.is_complete() {
            origin.push_str(", embedded defaults");
        }
        let native_sidecars = native_sidecars().unwrap_or(NativeSidecars::Disabled);
        let (mesh, warnings) = kube_inject::mesh(&texts.sources(), self.revision(), native_sidecars)?;
        Ok(Configured { mesh, warnings, origin })
    }

    fn bundle(&self, input: Input) -> Result<Configured, Failure> {
        let (mesh, warnings) =
            kube_inject::mesh_of_bundle(source(&input), self.revision(), native_sidecars())?;
        let origin = format!("bundle {}", input.name);
        Ok(Configured { mesh, warnings, origin })
    }

    fn files(&self) -> Result<Texts, Failure> {
        let read = |path: &Option<PathBuf>| {
            path.as_deref().map(files::read).transpose().map_err(Failure::of_configuration)
        };
        Ok(Texts {
            inject_config: read(&self.inject_config_file)?,
            mesh_config: read(&self.mesh_config_file)?,
            values: read(&self.values_file)?,
            operator: read(&self.operator_file)?,
        })
    }

    /// Reads texts that no file provides from the cluster, under the names that istioctl would use. Returns their
    /// origin.
    async fn fill(&self, session: &Session, texts: &mut Texts) -> Result<String, Failure> {
        let namespace = self.istio_namespace.as_deref().unwrap_or("istio-system");
        let injector =
            istio_name(self.inject_config_map.as_deref().unwrap_or(INJECTOR), INJECTOR, self.revision());
        let mesh = istio_name(self.mesh_config_map.as_deref().unwrap_or(MESH), MESH, self.revision());
        let mut read = Vec::new();
        let mut fill =
            async |text: &mut Option<Input>, name: &str, which: IstioTexts| -> Result<(), Failure> {
                if text.is_none() {
                    *text = Some(input(istio_texts(session, namespace, name, which).await?));
                    let name = format!("ConfigMap {namespace}/{name}");
                    if !read.contains(&name) {
                        read.push(name);
                    }
                }
                Ok(())
            };
        if texts.operator.is_none() {
            fill(&mut texts.mesh_config, &mesh, IstioTexts::InjectorConfig).await?;
        }
        fill(&mut texts.inject_config, &injector, IstioTexts::Config).await?;
        if texts.operator.is_none() {
            fill(&mut texts.values, &injector, IstioTexts::Values).await?;
        }
        Ok(if read.is_empty() { String::new() } else { format!("{} of {}", read.join(", "), session.server) })
    }

    /// A warning about values that the template reads and a values file lacks.
    pub(super) fn lacking_values(&self, mesh: &InjectorConfig) -> Option<String> {
        let is_complete = self.values_file.is_some() && self.operator_file.is_none();
        is_complete.then(|| kube_inject::lacking_values(mesh)).flatten()
    }

    /// The revision as a part of names; empty for the default one.
    fn revision(&self) -> &str {
        if self.revision == DEFAULT_REVISION { "" } else { &self.revision }
    }
}

impl Texts {
    /// Whether the embedded defaults are not needed; an operator's omissions do not count.
    fn is_complete(&self) -> bool {
        let values = self.mesh_config.is_some() && self.values.is_some() || self.operator.is_some();
        self.inject_config.is_some() && values
    }

    fn sources(&self) -> Files<'_> {
        Files {
            inject_config: self.inject_config.as_ref().map(source),
            mesh_config: self.mesh_config.as_ref().map(source),
            values: self.values.as_ref().map(source),
            operator: self.operator.as_ref().map(source),
        }
    }
}

fn source(input: &Input) -> Source<'_> {
    Source { name: &input.name, text: &input.text }
}

fn input(text: ConfigMapText) -> Input {
    Input { name: text.name, path: None, text: text.text }
}

/// istioctl reads the switch of Istio's control plane; its `auto` depends on nodes, which are not known here.
fn native_sidecars() -> Option<NativeSidecars> {
    match std::env::var("ENABLE_NATIVE_SIDECARS").as_deref() {
        Ok("true") => Some(NativeSidecars::Enabled),
        Ok("false") => Some(NativeSidecars::Disabled),
        _ => None,
    }
}
