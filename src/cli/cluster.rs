//! Flags for the choice of a cluster, shared by every command that contacts an API server, and the calls themselves.

mod trouble;

use std::{path::PathBuf, time::Duration};

use clap::Args;
use kube::Client;

use super::failure::Failure;
use crate::server::kube::client;
use crate::server::kube::client::Access;

pub(super) use trouble::{Asked, Kind, Trouble};

/// How to reach the API server.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct Cluster {
    /// Kubeconfig [default: $KUBECONFIG, ~/.kube/config, or the pod's ServiceAccount]
    #[arg(long, short = 'c', value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context in the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

/// A client and the address of its API server.
pub(super) struct Session {
    pub(super) client: Client,
    /// Address of the API server.
    pub(super) server: String,
}

/// Timeout of one API call.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

impl Cluster {
    pub(crate) fn access(&self) -> Access {
        Access { kubeconfig: self.kubeconfig.clone(), context: self.context.clone() }
    }

    /// Whether the command line selects a cluster.
    pub(super) fn is_given(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some()
    }

    /// Runs an action that needs the API server, on a runtime of its own.
    pub(super) fn run<T>(
        &self,
        work: impl AsyncFnOnce(&Session) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::io(error, "cannot start"))?;
        runtime.block_on(async {
            let session = self.open().await?;
            work(&session).await
        })
    }

    async fn open(&self) -> Result<Session, Failure> {
        let unavailable = |error: client::Error| Failure::unavailable(trouble::with_causes(&error));
        let mut config = client::config(&self.access()).await.map_err(unavailable)?;
        config.connect_timeout = Some(PATIENCE);
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config).map_err(|error| unavailable(error.into()))?;
        Ok(Session { client, server })
    }
}

impl Session {
    /// Awaits one response of the API server; errors name the request.
    pub(super) async fn call<T>(
        &self,
        asked: &Asked<'_>,
        answer: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Trouble> {
        self.call_within(PATIENCE, asked, answer).await
    }

    /// Like [`Session::call`], with a given timeout.
    pub(super) async fn call_within<T>(
        &self,
        patience: Duration,
        asked: &Asked<'_>,
        answer: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Trouble> {
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Trouble::of(asked, &self.server, &error)),
            Err(_) => Err(Trouble::silence(&self.server, patience)),
        }
    }
}
