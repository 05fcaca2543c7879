//! The result of parsing an annotation's value.

/// The result of parsing a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Valid.
    Fine,
    /// Valid, but with a warning.
    Odd(String),
    /// Valid in a different spelling, which is the one to use.
    Respelled(String),
    /// Invalid, with the problem.
    Wrong(String),
}
