//! The keys of every reason for a decision.

use std::fmt;

use crate::codes::keys;

/// The reason for a decision about a pod; the key is stable and safe as a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// `spec.hostNetwork: true`.
    HostNetwork,
    /// A namespace that is never injected.
    IgnoredNamespace,
    /// Neither the namespace nor the pod asks for injection.
    NamespaceNotEnabled,
    /// The namespace label `istio-injection` has a value other than `enabled`.
    NamespaceDisabled,
    /// The namespace or the pod asks for another revision.
    RevisionMismatch,
    /// A rule of the configuration says that the pod is never injected.
    RuleNever,
    /// A rule of the configuration says that the pod is always injected.
    RuleForce,
    /// The pod opts out with `false`.
    PodOptedOut,
    /// The pod opts in with `true`.
    PodOptedIn,
    /// A `neverInjectSelector` matches the pod.
    NeverInjectSelector,
    /// An `alwaysInjectSelector` matches the pod.
    AlwaysInjectSelector,
    /// No other rule applied and the policy is `enabled`.
    PolicyEnabled,
    /// No other rule applied and the policy is `disabled`.
    PolicyDisabled,
    /// The policy is neither `enabled` nor `disabled`.
    PolicyInvalid,
    /// The mirror pod of a static pod.
    MirrorPod,
    /// A pod for Windows, according to `spec.os`, its node requirements, or its options.
    WindowsPod,
    /// The pod already contains Linkerd's proxy.
    InjectedByLinkerd,
    /// The pod should be injected, but nothing has to be changed: it was injected before.
    AlreadyInjected,
}

impl Reason {
    /// Whether the rule comes after the pod's own choice, or is that choice.
    pub(super) fn heeds_wishes(self) -> bool {
        matches!(
            self,
            Reason::PodOptedIn
                | Reason::PodOptedOut
                | Reason::NeverInjectSelector
                | Reason::AlwaysInjectSelector
                | Reason::PolicyEnabled
                | Reason::PolicyDisabled
        )
    }

    /// Whether it is the reason of a step after the configuration's rules.
    pub(in crate::inject) fn comes_after_rules(self) -> bool {
        self.heeds_wishes() || self == Reason::PolicyInvalid
    }

    /// Every reason, in the order of evaluation.
    pub const ALL: [Reason; 18] = [
        Reason::NamespaceNotEnabled,
        Reason::NamespaceDisabled,
        Reason::RevisionMismatch,
        Reason::HostNetwork,
        Reason::IgnoredNamespace,
        Reason::MirrorPod,
        Reason::WindowsPod,
        Reason::InjectedByLinkerd,
        Reason::RuleNever,
        Reason::RuleForce,
        Reason::PodOptedOut,
        Reason::PodOptedIn,
        Reason::NeverInjectSelector,
        Reason::AlwaysInjectSelector,
        Reason::PolicyEnabled,
        Reason::PolicyDisabled,
        Reason::PolicyInvalid,
        Reason::AlreadyInjected,
    ];

    /// The stable machine key, such as `HOST_NETWORK`.
    pub const fn key(self) -> &'static str {
        match self {
            Reason::HostNetwork => keys::HOST_NETWORK,
            Reason::IgnoredNamespace => keys::IGNORED_NAMESPACE,
            Reason::NamespaceNotEnabled => keys::NAMESPACE_NOT_ENABLED,
            Reason::NamespaceDisabled => keys::NAMESPACE_DISABLED,
            Reason::RevisionMismatch => keys::REVISION_MISMATCH,
            Reason::RuleNever => keys::RULE_NEVER,
            Reason::RuleForce => keys::RULE_FORCE,
            Reason::PodOptedOut => keys::POD_OPTED_OUT,
            Reason::PodOptedIn => keys::POD_OPTED_IN,
            Reason::NeverInjectSelector => keys::NEVER_INJECT_SELECTOR,
            Reason::AlwaysInjectSelector => keys::ALWAYS_INJECT_SELECTOR,
            Reason::PolicyEnabled => keys::POLICY_ENABLED,
            Reason::PolicyDisabled => keys::POLICY_DISABLED,
            Reason::PolicyInvalid => keys::POLICY_INVALID,
            Reason::MirrorPod => keys::MIRROR_POD,
            Reason::WindowsPod => keys::WINDOWS_POD,
            Reason::InjectedByLinkerd => keys::INJECTED_BY_LINKERD,
            Reason::AlreadyInjected => keys::ALREADY_INJECTED,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}
