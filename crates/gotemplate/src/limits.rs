//! Limits on the resources of one render, so that no template can hang or exhaust the process.

/// The limits of a render.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nodes evaluated; work that grows with its input (long strings, lists) counts extra.
    pub steps: usize,
    /// Bytes of output, and of any string created by a function.
    pub bytes: usize,
    /// Depth of template invocations.
    pub recursion: usize,
    /// Bytes that `repeat` may produce.
    pub repeat: usize,
    /// Items that functions such as `until` may produce.
    pub items: usize,
    /// Bytes of a regular expression.
    pub pattern: usize,
}

/// A limit that was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// See [`Limits::steps`].
    #[error("the template took more than {0} steps")]
    Steps(usize),
    /// See [`Limits::bytes`].
    #[error("the template created a text longer than {0} bytes")]
    Bytes(usize),
    /// See [`Limits::recursion`].
    #[error("exceeded maximum template depth ({0})")]
    Recursion(usize),
    /// Nesting of control structures, parentheses and invoked templates.
    #[error("the template nests more than {0} levels deep")]
    Nesting(usize),
    /// See [`Limits::repeat`].
    #[error("repeating a text may give at most {0} bytes")]
    Repeat(usize),
    /// See [`Limits::items`].
    #[error("a list may be created with at most {0} items")]
    Items(usize),
    /// See [`Limits::pattern`].
    #[error("a regular expression may have at most {0} bytes")]
    Pattern(usize),
}

impl Limits {
    /// The default limits.
    pub const DEFAULT: Limits = Limits {
        steps: 200_000,
        bytes: 1 << 20,
        recursion: 32,
        repeat: 64 << 10,
        items: 10_000,
        pattern: 1 << 10,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Limits::DEFAULT
    }
}
