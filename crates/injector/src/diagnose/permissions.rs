//! The rights of outrigger's ServiceAccounts, as the API server grants them.

use std::collections::BTreeMap;

use super::{Facts, Finding, Severity, some};

/// A right that a ServiceAccount needs, and whether it has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The namespace of the ServiceAccount.
    pub namespace: String,
    /// The name of the ServiceAccount.
    pub service_account: String,
    /// The feature that needs it, such as `the configuration`.
    pub purpose: &'static str,
    /// Whether pods are not injected, or certificates not renewed, without it.
    pub is_essential: bool,
    /// The verb and the object, such as `list configmaps/outrigger -n outrigger-system`, as `kubectl auth can-i` takes them.
    pub action: String,
    /// Whether the API server allows it.
    pub is_allowed: bool,
}

/// Rights that are missing, by the feature that needs them.
pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut missing: BTreeMap<(&str, &str, &str), Vec<&Access>> = BTreeMap::new();
    for access in facts.permissions.iter().flatten().filter(|access| !access.is_allowed) {
        let key = (access.namespace.as_str(), access.service_account.as_str(), access.purpose);
        missing.entry(key).or_default().push(access);
    }
    let finding = |((namespace, name, purpose), missing): ((&str, &str, &str), Vec<&Access>)| {
        let is_essential = missing.iter().any(|access| access.is_essential);
        let actions: Vec<&str> = missing.iter().map(|access| access.action.as_str()).collect();
        let first = actions.first().copied().unwrap_or_default();
        Finding::new(
            if is_essential { Severity::Error } else { Severity::Warning },
            "permission-missing",
            format!("ServiceAccount {namespace}/{name}"),
            format!("may not, for {purpose}: {}", some(&actions)),
            format!(
                "helm upgrade with rbac.create=true restores the chart's roles; then kubectl auth can-i {first} --as \
                 system:serviceaccount:{namespace}:{name}"
            ),
        )
    };
    missing.into_iter().map(finding).collect()
}
