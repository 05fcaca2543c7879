//! Requests to the API server, each bounded in time.

use std::{fmt, time::Duration};

use kube::{Api, api::ListParams};
use serde::de::DeserializeOwned;

use crate::server::kube::error::{ApiError, Reason};

/// What a request is for, as RBAC names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The resource, such as `configmaps`.
    pub(crate) resource: &'static str,
    /// Empty for resources without a namespace, and for all namespaces.
    pub(crate) namespace: String,
    /// Empty for all objects.
    pub(crate) name: String,
}

/// No single request takes longer.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

impl Target {
    /// All objects of a resource.
    pub(crate) fn all(resource: &'static str) -> Target {
        Target::namespaced(resource, "", "")
    }

    /// An object that is in no namespace.
    pub(crate) fn named(resource: &'static str, name: &str) -> Target {
        Target::namespaced(resource, "", name)
    }

    /// An object in a namespace.
    pub(crate) fn namespaced(resource: &'static str, namespace: &str, name: &str) -> Target {
        Target { resource, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The object, such as `shop/web`; empty for all.
    pub(crate) fn object(&self) -> String {
        match (self.namespace.as_str(), self.name.as_str()) {
            ("", name) => name.to_owned(),
            (namespace, "") => format!("in namespace {namespace}"),
            (namespace, name) => format!("{namespace}/{name}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (resource, object) = (self.resource, self.object());
        if object.is_empty() { out.write_str(resource) } else { write!(out, "{resource} {object}") }
    }
}

/// Sends one request.
///
/// # Errors
/// When it fails, or takes longer than `within`.
pub(crate) async fn call<T>(
    verb: &'static str,
    target: &Target,
    within: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, ApiError> {
    match tokio::time::timeout(within, request).await {
        Ok(answer) => answer.map_err(|error| ApiError::new(verb, target, &error)),
        Err(_) => Err(ApiError::because(verb, target, Reason::Unanswered(within))),
    }
}

/// Lists all objects, page by page.
///
/// # Errors
/// When a page cannot be had within `within`.
pub(crate) async fn list_all<K>(
    api: &Api<K>,
    target: &Target,
    page: u32,
    within: Duration,
) -> Result<Vec<K>, ApiError>
where
    K: Clone + fmt::Debug + DeserializeOwned,
{
    let mut all = Vec::new();
    let mut parameters = ListParams::default().limit(page);
    loop {
        let page = call("list", target, within, api.list(&parameters)).await?;
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(all),
        }
    }
}
