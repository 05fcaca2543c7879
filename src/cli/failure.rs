//! Why a command ended early, and the exit code that says so.

use std::{io, process::ExitCode};

use super::report::{self, Color};
use crate::config::ConfigError;

/// Something outside went wrong: a file cannot be read or written, or an API server refuses.
pub(super) const ERROR: u8 = 1;
/// The command line is wrong.
pub(super) const USAGE: u8 = 64;
/// What was given cannot be used: a configuration, a manifest, or a pod that is refused.
pub(super) const DATA: u8 = 65;
/// No API server can be reached.
pub(super) const UNAVAILABLE: u8 = 69;
/// The operating system has too little of something: memory, threads, descriptors (`EX_OSERR`).
pub(super) const RESOURCES: u8 = 71;

/// Why a command ended early.
#[derive(Debug)]
pub(super) enum Failure {
    /// Said with its chain of causes.
    Told { code: u8, error: anyhow::Error },
    /// Whoever reads stdout wants no more, which is nobody's fault.
    BrokenPipe,
}

impl Failure {
    pub(super) fn usage(text: impl Into<String>) -> Failure {
        Failure::Told { code: USAGE, error: anyhow::Error::msg(text.into()) }
    }

    pub(super) fn data(text: impl Into<String>) -> Failure {
        Failure::Told { code: DATA, error: anyhow::Error::msg(text.into()) }
    }

    pub(super) fn error(text: impl Into<String>) -> Failure {
        Failure::Told { code: ERROR, error: anyhow::Error::msg(text.into()) }
    }

    pub(super) fn unavailable(text: impl Into<String>) -> Failure {
        Failure::Told { code: UNAVAILABLE, error: anyhow::Error::msg(text.into()) }
    }

    /// What the operating system said, and about what.
    pub(super) fn io(error: io::Error, context: impl Into<String>) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::BrokenPipe;
        }
        Failure::Told { code: ERROR, error: anyhow::Error::new(error).context(context.into()) }
    }

    /// A configuration that cannot be read is one that cannot be used, here as in `serve`.
    pub(super) fn of_configuration(self) -> Failure {
        match self {
            Failure::Told { error, .. } => Failure::Told { code: DATA, error },
            Failure::BrokenPipe => Failure::BrokenPipe,
        }
    }

    /// Prints the failure, every line of it as an error of its own.
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

impl From<ConfigError> for Failure {
    /// The problems of a configuration, one a line.
    fn from(error: ConfigError) -> Failure {
        Failure::Told { code: DATA, error: anyhow::Error::new(error) }
    }
}
