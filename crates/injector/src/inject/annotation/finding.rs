//! What a parser says of the value of an annotation.

/// What a parser thinks of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Nothing to say.
    Fine,
    /// Accepted, but the person should know this.
    Odd(String),
    /// Accepted in another spelling, which is the one to use.
    Respelt(String),
    /// Not accepted, with what is wrong.
    Wrong(String),
}
