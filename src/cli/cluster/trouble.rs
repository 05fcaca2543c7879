//! What an API server refuses, in a sentence that names verb, resource and object.

use std::{error::Error, fmt, time::Duration};

use super::super::failure::Failure;

/// What was asked of the API server.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Asked<'a> {
    /// `get`, `list`, `create` or `patch`.
    pub(in crate::cli) verb: &'a str,
    /// The resource as a role names it, such as `configmaps`.
    pub(in crate::cli) resource: &'a str,
    /// The object; empty for all.
    pub(in crate::cli) name: &'a str,
    /// Its namespace; empty for none.
    pub(in crate::cli) namespace: &'a str,
}

/// Why something that was asked of the API server did not happen.
#[derive(Debug)]
pub(in crate::cli) struct Trouble {
    pub(in crate::cli) kind: Kind,
    /// What happened, in one sentence.
    pub(in crate::cli) sentence: String,
}

/// What sort of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Kind {
    /// The object or the kind of object is not there.
    Missing,
    /// A role does not allow it.
    Forbidden,
    /// Somebody else owns the field, or the object changed meanwhile.
    Conflict,
    /// The API server refuses for another reason.
    Refused,
    /// It did not answer in time.
    Silent,
    /// Nobody answers.
    Unreachable,
}

impl Trouble {
    pub(super) fn of(asked: &Asked<'_>, server: &str, error: &kube::Error) -> Trouble {
        let kube::Error::Api(status) = error else {
            let sentence = format!("cannot reach the API server at {server}: {}", root_cause(error));
            return Trouble { kind: Kind::Unreachable, sentence };
        };
        let (verb, resource) = (asked.verb, asked.resource);
        let (kind, sentence) = match status.code {
            401 => (
                Kind::Refused,
                format!("the API server at {server} does not accept the credentials of the kubeconfig (401)"),
            ),
            403 if status.message.contains(" cannot ") => (
                Kind::Forbidden,
                format!("may not {asked}: the role lacks {verb:?} on {resource:?} ({})", status.message),
            ),
            404 => (Kind::Missing, format!("cannot {asked}: it is not there")),
            409 => (Kind::Conflict, format!("cannot {asked}: {}", status.message)),
            _ => (Kind::Refused, format!("cannot {asked}: {}", status.message)),
        };
        Trouble { kind, sentence }
    }

    pub(super) fn silence(server: &str, patience: Duration) -> Trouble {
        let sentence = format!("the API server at {server} did not answer within {}s", patience.as_secs());
        Trouble { kind: Kind::Silent, sentence }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        match trouble.kind {
            Kind::Silent | Kind::Unreachable => Failure::unavailable(trouble.sentence),
            _ => Failure::error(trouble.sentence),
        }
    }
}

impl fmt::Display for Asked<'_> {
    /// `get configmaps istio-system/istio`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        match (self.namespace, self.name) {
            ("", "") => Ok(()),
            ("", name) => write!(f, " {name}"),
            (namespace, "") => write!(f, " in namespace {namespace}"),
            (namespace, name) => write!(f, " {namespace}/{name}"),
        }
    }
}

/// An error with its causes, each of which may have been said by the one before.
pub(super) fn with_causes(error: &dyn Error) -> String {
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

/// What is behind the errors of all layers of the client.
fn root_cause(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}
