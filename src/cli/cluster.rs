//! Which cluster: the flags every command has that talks to an API server.

use std::path::PathBuf;

use clap::Args;

use crate::server::cluster::client::Access;

/// The way to the API server.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct Cluster {
    /// The kubeconfig; without it KUBECONFIG, ~/.kube/config or the pod's ServiceAccount
    #[arg(long, short = 'c', value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

impl Cluster {
    pub(crate) fn access(&self) -> Access {
        Access { kubeconfig: self.kubeconfig.clone(), context: self.context.clone() }
    }
}
