//! The client of the API server, from a kubeconfig or from the pod's ServiceAccount.

use std::path::PathBuf;

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// Which cluster, and as whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// A kubeconfig; without it `KUBECONFIG`, `~/.kube/config` or the pod's ServiceAccount.
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; without it the current one.
    pub context: Option<String>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig.
    #[error("kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// Neither a kubeconfig nor a pod.
    #[error("there is neither a kubeconfig nor a ServiceAccount of a pod: {0}")]
    Neither(#[from] kube::config::InferConfigError),
    /// The client.
    #[error("cannot make a client for the API server: {0}")]
    Client(#[from] kube::Error),
}

/// Makes a client. It does not connect yet.
///
/// # Errors
/// When there is no usable kubeconfig or ServiceAccount.
pub async fn connect(access: &Access) -> Result<Client, Error> {
    let choice = KubeConfigOptions { context: access.context.clone(), ..KubeConfigOptions::default() };
    let config = match &access.kubeconfig {
        Some(file) => Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &choice).await?,
        None if access.context.is_some() => Config::from_kubeconfig(&choice).await?,
        None => Config::infer().await?,
    };
    Ok(Client::try_from(config)?)
}
