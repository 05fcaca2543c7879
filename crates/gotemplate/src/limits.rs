//! What one render may use, so that no template can hang or exhaust the process.

/// The limits of a render.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nodes evaluated; work that grows with its input (long strings, lists) counts extra.
    pub steps: usize,
    /// Bytes of output, and of any string a function makes.
    pub bytes: usize,
    /// Templates that invoke each other.
    pub recursion: usize,
    /// Bytes that `repeat` may make.
    pub repeat: usize,
    /// Items that functions such as `until` may make.
    pub items: usize,
    /// Bytes of a regular expression.
    pub pattern: usize,
}

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// See [`Limits::steps`].
    #[error("the template took more than {0} steps")]
    Steps(usize),
    /// See [`Limits::bytes`].
    #[error("the template made a text longer than {0} bytes")]
    Bytes(usize),
    /// See [`Limits::recursion`].
    #[error("exceeded maximum template depth ({0})")]
    Recursion(usize),
    /// Control structures, parentheses and invoked templates inside each other.
    #[error("the template nests more than {0} levels deep")]
    Nesting(usize),
    /// See [`Limits::repeat`].
    #[error("a text may be repeated to {0} bytes at most")]
    Repeat(usize),
    /// See [`Limits::items`].
    #[error("a list may be made with {0} items at most")]
    Items(usize),
    /// See [`Limits::pattern`].
    #[error("a regular expression may be {0} bytes long at most")]
    Pattern(usize),
}

impl Limits {
    /// What a render may use unless somebody says otherwise.
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
