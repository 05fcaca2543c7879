//! Flags that choose a cluster, shared by every command that contacts an API server, and the calls themselves.

use std::{error::Error, fmt::Debug, path::PathBuf, time::Duration};

use clap::Args;
use kube::{Api, Client, api::ListParams};
use serde::de::DeserializeOwned;

use super::failure::Failure;
use crate::server::kube::client::{self, Access};
use crate::server::kube::request;

pub(super) use crate::server::kube::{
    error::{ApiError, Reason},
    request::Target,
};

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

/// Page size of list requests.
const PAGE: u32 = 500;
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
        let unavailable = |error: client::Error| Failure::unavailable(with_causes(&error));
        let mut config = client::config(&self.access()).await.map_err(unavailable)?;
        config.connect_timeout = Some(PATIENCE);
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config).map_err(|error| unavailable(error.into()))?;
        Ok(Session { client, server })
    }
}

impl Session {
    /// Awaits one response of the API server.
    ///
    /// # Errors
    /// If there is none, or it is an error.
    pub(super) async fn call<T>(
        &self,
        verb: &'static str,
        target: &Target,
        answer: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, ApiError> {
        self.call_within(PATIENCE, verb, target, answer).await
    }

    /// Like [`Session::call`], with a given timeout.
    pub(super) async fn call_within<T>(
        &self,
        patience: Duration,
        verb: &'static str,
        target: &Target,
        answer: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, ApiError> {
        request::call(verb, target, patience, answer).await.map_err(|error| self.named(error))
    }

    /// Lists all objects, page by page.
    ///
    /// # Errors
    /// When a page cannot be read.
    pub(super) async fn list_all<K>(&self, target: &Target, api: &Api<K>) -> Result<Vec<K>, ApiError>
    where
        K: Clone + Debug + DeserializeOwned,
    {
        self.list_selected(target, api, ListParams::default()).await
    }

    /// Lists the objects that label and field selectors select, page by page.
    ///
    /// # Errors
    /// When a page cannot be read.
    pub(super) async fn list_selected<K>(
        &self,
        target: &Target,
        api: &Api<K>,
        selected: ListParams,
    ) -> Result<Vec<K>, ApiError>
    where
        K: Clone + Debug + DeserializeOwned,
    {
        let parameters = selected.limit(PAGE);
        request::list_all(api, target, &parameters, PATIENCE).await.map_err(|error| self.named(error))
    }

    /// An error that names its API server.
    fn named(&self, error: ApiError) -> ApiError {
        ApiError { server: Some(self.server.clone()), ..error }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Failure {
        match error.reason {
            Reason::Unanswered(_) | Reason::Unreachable(_) => Failure::unavailable(error.to_string()),
            _ => Failure::error(error.to_string()),
        }
    }
}

/// An error with its causes, each of which may already be part of the previous one's text.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
