//! The source of a command's configuration: a bundle file, a cluster, or the embedded defaults.
//!
//! In order of precedence: a bundle named on the command line, a cluster named there, `OUTRIGGER_BUNDLE`, the embedded
//! defaults. Without a flag for a cluster, no network access happens.

mod config_maps;
mod from_cluster;
mod snapshot;

use std::path::{Path, PathBuf};

use clap::Args;

use self::from_cluster::FromCluster;
use super::{failure::Failure, files, report, report::Color};
use crate::{
    config::{Mesh, Source as Text, Warning},
    inject::check,
};

pub(super) use config_maps::{ConfigMapText, IstioTexts, istio_name, istio_texts};

/// Flags that select a configuration.
#[derive(Debug, Args)]
pub(super) struct Source {
    /// Bundle file [default, without a cluster: $OUTRIGGER_BUNDLE, else the embedded defaults]
    #[arg(long, value_name = "FILE", conflicts_with = "cluster")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    from: FromCluster,
}

/// A configuration and its origin.
pub(super) struct Configured {
    pub(super) mesh: Mesh,
    pub(super) warnings: Vec<Warning>,
    /// The origin, for people.
    pub(super) origin: String,
}

/// The purpose of reading a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To display it.
    Show,
    /// To decide about pods like the API server and the injector together, which depends on the namespaces' labels.
    Decide,
}

impl Source {
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

impl Configured {
    /// Reports the configuration's origin and its warnings on stderr.
    pub(super) fn report(&self, color: Color) {
        report::origin(&self.origin, color);
        report::configuration(&self.warnings, color);
    }

    /// Performs the check that the server performs before it applies a configuration; returns its warnings.
    pub(super) fn check(&self) -> Result<Vec<Warning>, Failure> {
        let remarks = check::check(&self.mesh).map_err(|error| Failure::data(error.to_string()))?;
        let told = |remark: &check::Failure| Warning { path: String::new(), message: remark.to_string() };
        Ok(remarks.iter().map(told).collect())
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
        return Ok(Configured { mesh: Mesh::embedded()?, warnings: Vec::new(), origin });
    };
    let input = files::read(file).map_err(Failure::of_configuration)?;
    let (mesh, warnings) = Mesh::from_bundle(Text { name: &input.name, text: &input.text })?;
    Ok(Configured { mesh, warnings, origin: format!("bundle {}", input.name) })
}
