//! Requests to the API server: each with an end, and with failures that name verb and resource.

use std::{fmt, future::Future, time::Duration};

/// What is asked for, for the person who has to grant it.
#[derive(Clone, Debug)]
pub(crate) struct What {
    /// Such as `secrets`.
    pub(crate) resource: &'static str,
    /// Such as `secret outrigger-certificate in namespace outrigger-system`.
    pub(crate) object: String,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The role does not grant it.
    Forbidden(String),
    /// It was changed in between, or is there already.
    Conflict,
    /// It is not there.
    NotFound,
    /// Anything else.
    Other(String),
}

/// No single request takes longer.
pub(crate) const LONGEST: Duration = Duration::from_secs(10);

/// Sends one request.
///
/// # Errors
/// When it fails, or takes longer than `within`.
pub(crate) async fn call<T>(
    verb: &'static str,
    what: &What,
    within: Duration,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(within, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Failure::of(verb, what, &error)),
        Err(_) => {
            let within = within.as_secs_f64();
            Err(Failure::Other(format!("cannot {verb} {}: no answer within {within:.1} s", what.object)))
        }
    }
}

impl Failure {
    /// Why a request failed.
    pub(crate) fn of(verb: &str, what: &What, error: &kube::Error) -> Failure {
        let kube::Error::Api(status) = error else {
            return Failure::Other(format!("cannot {verb} {}: {}", what.object, chain(error)));
        };
        // `AlreadyExists` is 409 too.
        match status.code {
            403 if status.message.contains("cannot") => Failure::Forbidden(format!(
                "may not {verb} {}: the role lacks {verb:?} on {:?}",
                what.object, what.resource
            )),
            404 => Failure::NotFound,
            409 => Failure::Conflict,
            code => Failure::Other(format!("cannot {verb} {}: {} ({code})", what.object, status.message)),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Forbidden(text) | Failure::Other(text) => out.write_str(text),
            Failure::Conflict => out.write_str("somebody else was faster"),
            Failure::NotFound => out.write_str("it is not there"),
        }
    }
}

/// An error with its causes: what a connection died of is at the end.
fn chain(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
