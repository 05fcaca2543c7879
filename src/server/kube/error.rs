//! Errors of requests to the API server, as a sentence for the operator.

use std::{error::Error, fmt, time::Duration};

use kube::core::Status;

use crate::server::kube::target::Target;

/// A failed request to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    /// The verb as RBAC names it, such as `list`.
    pub(crate) verb: &'static str,
    /// The resource as RBAC names it, such as `configmaps`.
    pub(crate) resource: &'static str,
    /// The object, such as `shop/web`; empty for all objects of the resource.
    pub(crate) name: String,
    /// The reason.
    pub(crate) reason: Reason,
    /// The address of the API server, for users with more than one.
    pub(crate) server: Option<String>,
}

/// Why a request failed. The text is the message of the API server or of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// 403: RBAC does not allow it.
    Forbidden(String),
    /// 401: the API server does not accept our credentials.
    Unauthorized(String),
    /// 404: the object, the resource or the namespace does not exist.
    NotFound(String),
    /// 409: the object was changed by another client, exists already, or a field belongs to another manager.
    Conflict(String),
    /// 410: the resource version is too old to watch from.
    Expired(String),
    /// 429 or 503.
    Busy(String),
    /// Any other error response.
    Refused(String),
    /// A response that cannot be decoded.
    Unreadable(String),
    /// No response within this time.
    Unanswered(Duration),
    /// No connection to the API server, or a broken one.
    Unreachable(String),
}

/// The error of our own timeout, wrapped in the errors of the client.
#[derive(Debug, thiserror::Error)]
#[error("no response within {0:?}")]
pub(in crate::server::kube) struct Silence(pub(in crate::server::kube) Duration);

/// Maximum length of a message from the API server.
const LONGEST_MESSAGE: usize = 300;

impl ApiError {
    /// A request for `target` that failed with an error of the client.
    pub(crate) fn new(verb: &'static str, target: &Target, error: &kube::Error) -> ApiError {
        ApiError::because(verb, target, Reason::of(error))
    }

    /// A request for `target` that failed for a reason.
    pub(crate) fn because(verb: &'static str, target: &Target, reason: Reason) -> ApiError {
        ApiError { verb, resource: target.resource, name: target.object(), reason, server: None }
    }

    /// Whether RBAC does not allow the request.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self.reason, Reason::Forbidden(_))
    }

    /// Whether the object was changed by another client or exists already.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self.reason, Reason::Conflict(_))
    }

    /// Whether the object or the resource does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self.reason, Reason::NotFound(_))
    }
}

impl Reason {
    /// The reason of a client error.
    pub(crate) fn of(error: &kube::Error) -> Reason {
        if let kube::Error::Api(status) = error {
            return Reason::of_status(status);
        }
        let mut cause: Option<&dyn Error> = Some(error);
        let mut innermost = error.to_string();
        while let Some(error) = cause {
            if let Some(Silence(after)) = error.downcast_ref() {
                return Reason::Unanswered(*after);
            }
            // The outer errors only say that a request failed.
            innermost = Some(error.to_string()).filter(|text| !text.is_empty()).unwrap_or(innermost);
            cause = match error.downcast_ref::<std::io::Error>() {
                // Its source is that of the inner error, which would be skipped.
                Some(error) => error.get_ref().map(|inner| inner as &dyn Error),
                None => error.source(),
            };
        }
        match error {
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => Reason::Unreadable(innermost),
            _ => Reason::Unreachable(innermost),
        }
    }

    /// The reason of an error response.
    pub(crate) fn of_status(status: &Status) -> Reason {
        let message: String = status.message.chars().take(LONGEST_MESSAGE).collect();
        match status.code {
            401 => Reason::Unauthorized(message),
            // Admission and quotas respond with 403 as well, without the authorizer's text.
            403 if message.contains("User ") && message.contains(" cannot ") => Reason::Forbidden(message),
            404 => Reason::NotFound(message),
            409 => Reason::Conflict(message),
            410 => Reason::Expired(message),
            429 | 503 => Reason::Busy(message),
            code => Reason::Refused(format!("{message} ({code})")),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ApiError { verb, resource, name, reason, server } = self;
        let may = match reason {
            Reason::Forbidden(_) | Reason::Unauthorized(_) => "may not",
            _ => "cannot",
        };
        let space = if name.is_empty() { "" } else { " " };
        write!(out, "{may} {verb} {resource}{space}{name}: ")?;
        let at = server.as_ref().map(|server| format!(" at {server}")).unwrap_or_default();
        match reason {
            Reason::Forbidden(message) => write!(out, "the role lacks {verb:?} on {resource:?} ({message})"),
            Reason::Unauthorized(message) => {
                write!(out, "the API server{at} does not accept our credentials ({message})")
            }
            Reason::NotFound(_) if matches!(*verb, "list" | "watch") => {
                write!(out, "the API server{at} has no {resource}")
            }
            Reason::NotFound(_) if *verb != "create" => out.write_str("it does not exist"),
            Reason::Busy(message) => write!(out, "the API server{at} is busy: {message}"),
            Reason::Unreadable(message) => write!(out, "cannot decode the response: {message}"),
            Reason::Unanswered(after) => {
                write!(out, "the API server{at} did not respond within {} s", after.as_secs_f64())
            }
            Reason::Unreachable(message) => write!(out, "cannot reach the API server{at}: {message}"),
            Reason::NotFound(message)
            | Reason::Conflict(message)
            | Reason::Expired(message)
            | Reason::Refused(message) => out.write_str(message),
        }
    }
}

impl Error for ApiError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(verb: &'static str, target: &Target, code: u16, message: &str) -> String {
        let status = Status::failure(message, "").with_code(code);
        ApiError::new(verb, target, &kube::Error::Api(status.boxed())).to_string()
    }

    // O-01
    #[test]
    fn a_refusal_names_verb_resource_and_object() {
        let (nodes, map) = (Target::all("nodes"), Target::namespaced("configmaps", "mesh", "istio"));
        let message = r#"nodes is forbidden: User "us" cannot list resource "nodes""#;
        let wanted = format!(r#"may not list nodes: the role lacks "list" on "nodes" ({message})"#);
        assert_eq!(refused("list", &nodes, 403, message), wanted);
        assert_eq!(
            refused("watch", &map, 403, "User cannot watch it"),
            r#"may not watch configmaps mesh/istio: the role lacks "watch" on "configmaps" (User cannot watch it)"#
        );
        assert_eq!(
            refused("create", &map, 403, "denied: containers cannot run as root"),
            "cannot create configmaps mesh/istio: denied: containers cannot run as root (403)"
        );
        assert_eq!(
            refused("create", &map, 403, "exceeded quota"),
            "cannot create configmaps mesh/istio: exceeded quota (403)"
        );
        assert_eq!(refused("get", &map, 404, "x"), "cannot get configmaps mesh/istio: it does not exist");
        assert_eq!(refused("list", &nodes, 404, "x"), "cannot list nodes: the API server has no nodes");
        assert_eq!(
            refused("update", &map, 500, "etcd is gone"),
            "cannot update configmaps mesh/istio: etcd is gone (500)"
        );
    }

    #[test]
    fn the_innermost_cause_is_told_and_silence_is_found_in_it() {
        let broken = std::io::Error::other(std::io::Error::other("connection refused"));
        let error = ApiError::new("list", &Target::all("nodes"), &kube::Error::Service(broken.into()));
        assert_eq!(error.to_string(), "cannot list nodes: cannot reach the API server: connection refused");
        let silent = std::io::Error::other(Silence(Duration::from_millis(1500)));
        let error = ApiError::new("list", &Target::all("nodes"), &kube::Error::ReadEvents(silent));
        assert_eq!(error.to_string(), "cannot list nodes: the API server did not respond within 1.5 s");
    }
}
