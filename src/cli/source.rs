//! The source of a command's configuration: a bundle file, a cluster, or the embedded defaults.
//!
//! In order of precedence: a bundle named on the command line, a cluster named there, `OUTRIGGER_BUNDLE`, the embedded
//! defaults. Without a flag for a cluster, no network access happens.

mod config_maps;
mod configured;
mod from_cluster;
mod snapshot;

use std::path::{Path, PathBuf};

use clap::Args;

use self::from_cluster::FromCluster;
use super::{cluster::Cluster, failure::Failure, files};
use crate::config::{InjectorConfig, Source as Text};

pub(super) use config_maps::{ConfigMapText, IstioTexts, istio_name, istio_texts};
pub(super) use configured::{Configured, Purpose};

/// Flags that select a configuration.
#[derive(Debug, Args)]
pub(super) struct Source {
    /// Bundle file [default, without a cluster: $OUTRIGGER_BUNDLE, else the embedded defaults]
    #[arg(long, value_name = "FILE", conflicts_with = "cluster")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    from: FromCluster,
}

impl Source {
    /// The file with the configuration, if it is one.
    pub(super) fn bundle_file(&self) -> Option<PathBuf> {
        match &self.bundle {
            Some(file) => Some(file.clone()),
            None if self.from.is_chosen() => None,
            None => from_environment(),
        }
    }

    /// Reads the configuration from its source.
    pub(super) fn load(&self, purpose: Purpose) -> Result<Configured, Failure> {
        if let Some(file) = &self.bundle {
            return bundle(Some(file));
        }
        if self.from.is_chosen() {
            return self.from.load(purpose);
        }
        bundle(from_environment().as_deref())
    }
}

impl Source {
    /// Whether the flags select a cluster.
    pub(super) fn is_cluster(&self) -> bool {
        self.bundle.is_none() && self.from.is_chosen()
    }

    /// Whether the configuration itself comes from the cluster when a cluster's pods are evaluated.
    pub(super) fn is_cluster_source(&self) -> bool {
        self.bundle.is_none()
    }

    /// A configuration with the namespaces, nodes and ProxyConfigs of the cluster that the flags select.
    pub(super) fn with_facts_of_cluster(&self, found: Configured) -> Result<Configured, Failure> {
        self.from.complete(found)
    }

    /// The cluster that the flags select, else the default one.
    pub(super) fn cluster(&self) -> Cluster {
        self.from.cluster()
    }

    /// Reads the configuration for pods of a cluster: from the bundle, if one is named, else from the cluster.
    pub(super) fn load_for_cluster(&self, purpose: Purpose) -> Result<Configured, Failure> {
        if self.bundle.is_some() { self.load(purpose) } else { self.from.load(purpose) }
    }
}

/// The bundle named in the environment.
pub(super) fn from_environment() -> Option<PathBuf> {
    std::env::var_os("OUTRIGGER_BUNDLE").filter(|file| !file.is_empty()).map(PathBuf::from)
}

/// A bundle file, or the embedded defaults.
pub(super) fn bundle(file: Option<&Path>) -> Result<Configured, Failure> {
    let Some(file) = file else {
        let origin = "embedded defaults".to_owned();
        return Ok(Configured { mesh: InjectorConfig::embedded()?, warnings: Vec::new(), origin });
    };
    let input = files::read(file).map_err(Failure::of_configuration)?;
    let (mesh, warnings) = InjectorConfig::from_bundle(Text { name: &input.name, text: &input.text })?;
    Ok(Configured { mesh, warnings, origin: format!("bundle {}", input.name) })
}
