//! How the check classifies a condition.

/// The known facts about a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    /// The template itself makes it constant.
    Always(bool),
    /// It is a configured value.
    Configured(bool),
    /// Pods decide.
    DependsOnPod,
    /// The configuration influences it, in a way that the check does not follow.
    DependsOnConfiguration,
}

impl Truth {
    /// Whether the condition certainly has this value for some pods.
    pub(super) fn holds_for_some_pods(self, wanted: bool) -> bool {
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
