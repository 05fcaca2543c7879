//! A privilege that a pod requests for its proxy.

use std::fmt;

use crate::warning::shown;

/// A privilege of an injected container that the pod requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privilege {
    /// The container.
    pub container: String,
    /// The field in it.
    pub field: &'static str,
    /// The value, if it says more than the field's name.
    pub found: String,
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "container {}: {}", shown(&self.container), self.field)?;
        if self.found.is_empty() { Ok(()) } else { write!(f, " {}", self.found) }
    }
}
