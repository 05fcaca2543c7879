//! The next step for a user whose pod was not treated as expected.

use crate::{config::InjectorConfig, inject::decision::Reason, names};

/// The workload of a pod and the revisions in its cluster, as commands name them. Unknown parts are empty.
#[derive(Clone, Debug, Default)]
pub struct Origin<'o> {
    /// The namespace.
    pub namespace: &'o str,
    /// The kind of the workload, such as `Deployment`, and its name; `None` if only the labels of the pod are known.
    pub workload: Option<(&'o str, &'o str)>,
    /// The revision that the namespace or the pod asks for.
    pub requested: Option<&'o str>,
    /// The revisions that webhooks in the cluster serve.
    pub served: &'o [&'o str],
}

impl Origin<'_> {
    fn namespace(&self) -> &str {
        if self.namespace.is_empty() { "NAMESPACE" } else { self.namespace }
    }

    /// The workload as kubectl takes it, such as `deployment/web`.
    fn workload(&self) -> String {
        match self.workload {
            Some((kind, name)) if !name.is_empty() => format!("{}/{name}", kind.to_ascii_lowercase()),
            _ => "KIND/NAME".to_owned(),
        }
    }

    /// How to create the pods again: those that exist keep what they have.
    pub fn create_again(&self) -> String {
        match self.workload.map(|(kind, _)| kind) {
            Some("CronJob") => "then wait for its next Job".to_owned(),
            None | Some("Deployment" | "StatefulSet" | "DaemonSet") => {
                format!(
                    "then create the pods again: kubectl -n {} rollout restart {}",
                    self.namespace(),
                    self.workload()
                )
            }
            Some(_) => "then delete it and create it again".to_owned(),
        }
    }

    /// How to see the effect of a namespace's label before it is set.
    fn try_first(&self, label: &str) -> String {
        if self.workload.is_none() || self.namespace.is_empty() {
            return String::new();
        }
        format!(
            ". To see the effect first: outrigger explain {} -n {} --namespace-labels {label}",
            self.workload(),
            self.namespace
        )
    }
}

/// The command or change that leads to an injection; `None` if the pod is injected, or if nothing should be done.
pub fn next_step(mesh: &InjectorConfig, reason: Reason, origin: &Origin<'_>) -> Option<String> {
    let namespace = origin.namespace();
    let revision = if mesh.revision().is_empty() { names::DEFAULT_REVISION } else { mesh.revision() };
    let label = match revision {
        names::DEFAULT_REVISION => format!("{}=enabled", names::LABEL_INJECTION),
        revision => format!("{}={revision}", names::REVISION),
    };
    let create_again = origin.create_again();
    Some(match reason {
        Reason::NamespaceNotEnabled => format!(
            "label the namespace: kubectl label namespace {namespace} {label}; or only this pod template: {}: \"true\"; \
             {create_again}{}",
            names::INJECT,
            origin.try_first(&label),
        ),
        Reason::NamespaceDisabled => format!(
            "if the namespace should be injected: kubectl label namespace {namespace} --overwrite {}=enabled; {create_again}{}",
            names::LABEL_INJECTION,
            origin.try_first(&format!("{}=enabled", names::LABEL_INJECTION)),
        ),
        Reason::RevisionMismatch => {
            let served = match origin.served {
                [] => String::new(),
                served => format!("this cluster serves the revisions {}; ", served.join(", ")),
            };
            format!(
                "{served}ask for this one: kubectl label namespace {namespace} --overwrite {}- {}={revision} (or change the label of the pod template, if that \
                 asks for another one); or let the requested name \
                 stand for it: outrigger tag set {} --revision {revision}; {create_again}. If another revision is meant, explain \
                 with its configuration (--revision)",
                names::LABEL_INJECTION,
                names::REVISION,
                origin.requested.unwrap_or("NAME"),
            )
        }
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
        | Reason::AlwaysInjectSelector
        | Reason::PolicyEnabled
        | Reason::AlreadyInjected => {
            return None;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(reason: Reason, origin: &Origin<'_>) -> String {
        next_step(&InjectorConfig::embedded().unwrap(), reason, origin).unwrap()
    }

    #[test]
    fn names_that_are_known_are_in_the_commands() {
        let origin = Origin {
            namespace: "shop",
            workload: Some(("Deployment", "web")),
            requested: Some("canary"),
            served: &["default", "blue"],
        };
        let labeled = step(Reason::NamespaceNotEnabled, &origin);
        for command in [
            "kubectl label namespace shop istio-injection=enabled",
            "kubectl -n shop rollout restart deployment/web",
            "outrigger explain deployment/web -n shop --namespace-labels istio-injection=enabled",
        ] {
            assert!(labeled.contains(command), "{labeled}");
        }
        let revision = step(Reason::RevisionMismatch, &origin);
        assert!(revision.starts_with("this cluster serves the revisions default, blue; "), "{revision}");
        assert!(revision.contains("outrigger tag set canary --revision default"), "{revision}");
        let unknown = step(Reason::RevisionMismatch, &Origin::default());
        assert!(unknown.contains("tag set NAME") && unknown.contains("restart KIND/NAME"), "{unknown}");
    }

    #[test]
    fn what_cannot_be_restarted_is_created_again() {
        let origin = |kind| Origin { namespace: "shop", workload: Some((kind, "a")), ..Origin::default() };
        assert!(step(Reason::NamespaceDisabled, &origin("CronJob")).contains("then wait for its next Job"));
        assert!(
            step(Reason::NamespaceDisabled, &origin("Pod")).contains("then delete it and create it again")
        );
    }
}
