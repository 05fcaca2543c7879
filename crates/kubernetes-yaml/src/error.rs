//! Why a text was rejected, and where.

use super::Mark;

/// Why a text was rejected: `line 3, column 7: found a mapping as a key; expected a string, …`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {}, column {}: {found}; expected {accepted}", .mark.line, .mark.column)]
pub struct Error {
    mark: Mark,
    found: String,
    accepted: String,
}

impl Error {
    /// An error at a position: the value found there, and the values expected.
    pub fn at(mark: Mark, found: impl Into<String>, accepted: impl Into<String>) -> Error {
        Error { mark, found: found.into(), accepted: accepted.into() }
    }

    /// The position in the text.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// The value found, for a caller that adds its own position.
    pub fn found(&self) -> &str {
        &self.found
    }

    /// The values expected.
    pub fn accepted(&self) -> &str {
        &self.accepted
    }
}
