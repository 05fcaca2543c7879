//! The next step for a user whose pod was not treated as expected.

use crate::{config::InjectorConfig, inject::decision::Reason, names};

/// The command or change that leads to an injection; `None` if the pod is injected, or if nothing should be done.
///
/// `namespace` is where the pod is, or empty if that is not known.
pub fn next_step(mesh: &InjectorConfig, reason: Reason, namespace: &str) -> Option<String> {
    let namespace = if namespace.is_empty() { "NAMESPACE" } else { namespace };
    let revision = if mesh.revision().is_empty() { names::DEFAULT_REVISION } else { mesh.revision() };
    let label = match revision {
        names::DEFAULT_REVISION => format!("{}=enabled", names::LABEL_INJECTION),
        revision => format!("{}={revision}", names::REVISION),
    };
    // Pods that exist keep what they have.
    let restart = format!("then create the pods again: kubectl -n {namespace} rollout restart KIND/NAME");
    Some(match reason {
        Reason::NamespaceNotEnabled => format!(
            "label the namespace: kubectl label namespace {namespace} {label}; or only this pod template: {}: \"true\"; {restart}",
            names::INJECT
        ),
        Reason::NamespaceDisabled => format!(
            "if the namespace should be injected: kubectl label namespace {namespace} --overwrite {}=enabled; {restart}",
            names::LABEL_INJECTION
        ),
        Reason::RevisionMismatch => format!(
            "ask for this revision: kubectl label namespace {namespace} --overwrite {}- {}={revision}; or let the name in the \
             label stand for it: outrigger tag set NAME --revision {revision}; {restart}. If another revision is meant, explain \
             with its configuration (--revision)",
            names::LABEL_INJECTION,
            names::REVISION,
        ),
        Reason::HostNetwork => {
            "remove spec.hostNetwork if the pod does not need the node's network; a pod that needs it cannot have a proxy"
                .to_owned()
        }
        Reason::IgnoredNamespace => "run the workload in another namespace".to_owned(),
        Reason::PodOptedOut => {
            format!("remove the label or annotation {} from the pod template if this is unintended", names::INJECT)
        }
        Reason::NeverInjectSelector => {
            "change the labels of the pod template, or neverInjectSelector of the configuration".to_owned()
        }
        Reason::PolicyDisabled => {
            format!("set the label {}: \"true\" on the pod template, or policy: enabled", names::INJECT)
        }
        Reason::PolicyInvalid => "set policy of the configuration to enabled or disabled".to_owned(),
        Reason::WindowsPod => "remove what marks the pod as one for Windows if it runs on Linux".to_owned(),
        Reason::InjectedByLinkerd => {
            "remove Linkerd's injection (annotation linkerd.io/inject) from the workload first".to_owned()
        }
        Reason::MirrorPod => "a static pod cannot be injected: create it through the API server".to_owned(),
        Reason::RuleNever => {
            "change the match of the rule, or put a rule with inject: force before it".to_owned()
        }
        Reason::RuleForce
        | Reason::PodOptedIn
        | Reason::AlwaysInjectSelector | Reason::PolicyEnabled | Reason::AlreadyInjected => {
            return None;
        }
    })
}
