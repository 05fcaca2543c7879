//! Why a text was refused, and where.

use super::Mark;

/// Why a text was refused: `line 3, column 7: found a mapping as a key; accepted: a string, …`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {}, column {}: {found}; accepted: {accepted}", .mark.line, .mark.column)]
pub struct Error {
    mark: Mark,
    found: String,
    accepted: String,
}

impl Error {
    /// An error at a place: what was found there, and what is accepted.
    pub fn at(mark: Mark, found: impl Into<String>, accepted: impl Into<String>) -> Error {
        Error { mark, found: found.into(), accepted: accepted.into() }
    }

    /// Where in the text.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// What was found, for a caller that adds its own place.
    pub fn found(&self) -> &str {
        &self.found
    }

    /// What is accepted there.
    pub fn accepted(&self) -> &str {
        &self.accepted
    }
}
