//! What the check knows about a condition.

/// What is known about a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    /// The template itself makes it constant.
    Always(bool),
    /// It is a configured value.
    Configured(bool),
    /// Pods decide.
    DependsOnPod,
    /// The configuration has a say, in a way that is not followed.
    DependsOnConfiguration,
}

impl Truth {
    /// Whether there are certainly pods for which the condition has this value.
    pub(super) fn may_be(self, wanted: bool) -> bool {
        match self {
            Truth::Always(value) | Truth::Configured(value) => value == wanted,
            Truth::DependsOnPod => true,
            Truth::DependsOnConfiguration => false,
        }
    }

    pub(super) fn negated(self) -> Truth {
        match self {
            Truth::Always(value) => Truth::Always(!value),
            Truth::Configured(value) => Truth::Configured(!value),
            other => other,
        }
    }
}
