//! Reasons for an early end of a command, and their exit codes.

use std::{io, process::ExitCode};

use super::report::{self, Color};
use crate::config::ConfigError;

/// A file cannot be read or written, or the API server rejected a request.
pub(super) const ERROR: u8 = 1;
/// A result that `--fail-on` does not accept.
pub(super) const NOT_ACCEPTED: u8 = 2;
/// Invalid command line.
pub(super) const USAGE: u8 = 64;
/// Unusable input: a configuration, a manifest, or a pod that is denied.
pub(super) const DATA: u8 = 65;
/// No API server can be reached.
pub(super) const UNAVAILABLE: u8 = 69;
/// Not enough of a system resource: memory, threads, descriptors (`EX_OSERR`).
pub(super) const RESOURCES: u8 = 71;

/// Why a command ended early.
#[derive(Debug)]
pub(super) enum Failure {
    /// Reported with its chain of causes.
    Told { code: u8, error: anyhow::Error },
    /// The reader of stdout closed the pipe; this is not an error.
    BrokenPipe,
}

impl Failure {
    pub(super) fn usage(text: impl Into<String>) -> Failure {
        Failure::Told { code: USAGE, error: anyhow::Error::msg(text.into()) }
    }

    pub(super) fn data(text: impl Into<String>) -> Failure {
        Failure::Told { code: DATA, error: anyhow::Error::msg(text.into()) }
    }

    pub(super) fn not_accepted(text: impl Into<String>) -> Failure {
        Failure::Told { code: NOT_ACCEPTED, error: anyhow::Error::msg(text.into()) }
    }

    pub(super) fn error(text: impl Into<String>) -> Failure {
        Failure::Told { code: ERROR, error: anyhow::Error::msg(text.into()) }
    }

    pub(super) fn unavailable(text: impl Into<String>) -> Failure {
        Failure::Told { code: UNAVAILABLE, error: anyhow::Error::msg(text.into()) }
    }

    /// An error of the operating system, with its context.
    pub(super) fn io(error: io::Error, context: impl Into<String>) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::BrokenPipe;
        }
        Failure::Told { code: ERROR, error: anyhow::Error::new(error).context(context.into()) }
    }

    /// Whether the input is unusable.
    pub(super) fn is_data(&self) -> bool {
        matches!(self, Failure::Told { code: DATA, .. })
    }

    /// Whether no API server can be reached.
    pub(super) fn is_unavailable(&self) -> bool {
        matches!(self, Failure::Told { code: UNAVAILABLE, .. })
    }

    /// An unreadable configuration counts as unusable, as in `serve`.
    pub(super) fn of_configuration(self) -> Failure {
        match self {
            Failure::Told { error, .. } => Failure::Told { code: DATA, error },
            Failure::BrokenPipe => Failure::BrokenPipe,
        }
    }

    /// Prints the failure, each line as a separate error.
    pub(super) fn report(&self, color: Color) -> ExitCode {
        match self {
            Failure::BrokenPipe => ExitCode::SUCCESS,
            Failure::Told { code, error } => {
                report::errors(&format!("{error:#}"), color);
                ExitCode::from(*code)
            }
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Told { error, .. } => write!(f, "{error:#}"),
            Failure::BrokenPipe => f.write_str("the reader of stdout closed the pipe"),
        }
    }
}

impl From<ConfigError> for Failure {
    /// The problems of a configuration, one per line.
    fn from(error: ConfigError) -> Failure {
        Failure::Told { code: DATA, error: anyhow::Error::new(error) }
    }
}
