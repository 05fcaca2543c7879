//! Requests to the API server, each with a timeout.

use std::{fmt, time::Duration};

use kube::{Api, api::ListParams};
use serde::de::DeserializeOwned;

use crate::server::kube::error::{ApiError, Reason};
pub(crate) use crate::server::kube::target::Target;

/// Default timeout of a request.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

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

/// Lists all objects that `parameters` select, in pages of its limit.
///
/// # Errors
/// When a page does not arrive within `within`.
pub(crate) async fn list_all<K>(
    api: &Api<K>,
    target: &Target,
    parameters: &ListParams,
    within: Duration,
) -> Result<Vec<K>, ApiError>
where
    K: Clone + fmt::Debug + DeserializeOwned,
{
    let mut all = Vec::new();
    let mut parameters = parameters.clone();
    loop {
        let page = call("list", target, within, api.list(&parameters)).await?;
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(all),
        }
    }
}
