//! Advice when a workload is applied: tells the user, who can still change it, what happens to its pods. A controller
//! creates the pods, and nobody sees their warnings.

use serde_json::{Map, Value};

use super::{
    super::{Facts, InjectorConfig, Outcome, Rules, decision::Reason, is_own_revision, run_by},
    Options, advice, left_alone, likely_templates, pod_templates, request,
};
use crate::{
    codes::keys,
    manifest, names,
    warning::{Warning, shown_within},
};

/// The meaning of the labels of a workload's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceLabels {
    /// They ask for injection, by `istio-injection: enabled` or a revision.
    Selected,
    /// `istio-injection` has another value.
    Disabled,
    /// Neither label; `injected` if such namespaces are injected.
    Unlabeled {
        /// `enableNamespacesByDefault`.
        injected: bool,
    },
    /// Not known, so the namespace counts as one that asks for injection.
    Unknown,
}

/// One sentence for the user who applies a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The code of a reason or a warning.
    pub code: &'static str,
    /// The sentence, without a period.
    pub message: String,
}

impl Advice {
    /// As a warning in an AdmissionReview.
    pub fn into_warning(self) -> Warning {
        Warning { code: self.code, message: self.message }
    }
}

/// How urgent advice is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// The pods will not exist.
    Denied,
    /// The pods will run without a proxy.
    Bare,
    /// The pods will run, but not as written.
    Warned,
}

/// What the user who applies an object should know about its pods, most important first; empty if everything is as
/// intended.
///
/// `object` is an object as an API server stores it, of any kind; its pods are found as in manifests. Objects in namespaces that do
/// not ask for injection are only mentioned if they ask for it themselves.
pub fn advise(
    config: &InjectorConfig,
    object: &Value,
    namespace: &str,
    labels: NamespaceLabels,
    facts: &Facts<'_>,
) -> Vec<Advice> {
    let options = Options { mesh: config, rules: Rules::Configured, namespace, template_paths: Vec::new() };
    let found = pod_templates(object, &options);
    let mut ranked: Vec<(Rank, Advice)> = Vec::new();
    for identity in manifest::identities(object) {
        let is_own = |revision: &str| is_own_revision(config, revision);
        let elsewhere = advice::settings_elsewhere(object, &identity, &found, Rules::Configured, is_own);
        ranked.extend(elsewhere.into_iter().map(warned));
    }
    // The administrator named this kind for advice, but its templates are not recognized.
    ranked.extend(likely_templates(object, &found, Rules::Configured).into_iter().map(|(_, place)| {
        let message = format!("the pod template at {} is not recognized", manifest::dotted(&place));
        (Rank::Warned, Advice { code: keys::LIKELY_POD_TEMPLATE, message })
    }));
    let many = found.len() > 1;
    for template in &found {
        if left_alone(template, Rules::Configured).is_some() {
            continue;
        }
        let request = request(object, template, namespace, Rules::Configured);
        let place = if many { format!("{}: ", advice::place_in_object(template)) } else { String::new() };
        let said = match not_selected(&request.pod, namespace, labels) {
            Selected::No(None) => Vec::new(),
            Selected::No(Some(advice)) => vec![(Rank::Bare, advice)],
            Selected::Yes => {
                let mut said = judged(config, &request, facts);
                said.extend(advice::pod_failure_policy(object, template).into_iter().map(warned));
                said
            }
        };
        ranked.extend(said.into_iter().map(|(rank, Advice { code, message })| {
            (rank, Advice { code, message: format!("{place}{message}") })
        }));
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, advice)| advice).collect()
}

/// Whether an API server will send the pods.
enum Selected {
    Yes,
    /// With a sentence if the pods ask for a proxy in vain.
    No(Option<Advice>),
}

fn not_selected(pod: &Value, namespace: &str, labels: NamespaceLabels) -> Selected {
    let own = pod.pointer("/metadata/labels").and_then(Value::as_object);
    let label = |key: &str| own.and_then(|own: &Map<String, Value>| own.get(key)?.as_str());
    let asks = label(names::INJECT) == Some("true") || label(names::REVISION).is_some();
    match labels {
        NamespaceLabels::Selected | NamespaceLabels::Unknown => Selected::Yes,
        NamespaceLabels::Unlabeled { injected } if injected || asks => Selected::Yes,
        NamespaceLabels::Unlabeled { .. } => Selected::No(None),
        NamespaceLabels::Disabled if asks => {
            let namespace = shown_within(namespace, 63);
            let message = format!(
                "the pods ask for a proxy and get none: namespace {namespace} has {} other than \"enabled\"",
                names::LABEL_INJECTION
            );
            Selected::No(Some(Advice { code: keys::NAMESPACE_DISABLED, message }))
        }
        NamespaceLabels::Disabled => Selected::No(None),
    }
}

/// What the pipeline says about a pod.
fn judged(config: &InjectorConfig, request: &super::PodRequest, facts: &Facts<'_>) -> Vec<(Rank, Advice)> {
    match run_by(Rules::Configured, config, request, facts) {
        Err(refusal) => {
            let message = match refusal.code() {
                400..=499 => format!("the pods will be denied: {refusal}"),
                // The engine's internal errors are not for the user of kubectl.
                _ => "the pods will be denied because of an internal error; see outrigger's log".to_owned(),
            };
            vec![(Rank::Denied, Advice { code: refusal.reason(), message })]
        }
        Ok(Outcome::Skipped(skip)) => {
            let reason = skip.decision.reason;
            let mut said: Vec<_> = skip.warnings.into_iter().filter(Warning::is_shown).map(warned).collect();
            let says_so = |code: &str| code.starts_with("SKIPPED_") || code == "NAMESPACE_NOT_SELECTED";
            if !is_chosen_by_the_user(reason) && !said.iter().any(|(_, advice)| says_so(advice.code)) {
                let message =
                    format!("the pods will run without a proxy: {} ({reason})", skip.decision.sentence);
                said.insert(0, (Rank::Bare, Advice { code: reason.key(), message }));
            }
            said
        }
        Ok(Outcome::Injected(injection)) => {
            injection.warnings.into_iter().filter(Warning::is_shown).map(warned).collect()
        }
    }
}

/// Whether a pod is skipped because its author, or the author of the configuration, asked for that.
fn is_chosen_by_the_user(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::PodOptedOut
            | Reason::NeverInjectSelector
            | Reason::PolicyDisabled
            | Reason::AlreadyInjected
            | Reason::RevisionMismatch
            | Reason::IgnoredNamespace
            | Reason::RuleNever
    )
}

fn warned(warning: Warning) -> (Rank, Advice) {
    (Rank::Warned, Advice { code: warning.code, message: warning.message })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(metadata: Value, template: Value, spec: Value) -> Value {
        let mut pod = json!({"containers": [{"name": "web", "image": "web"}]});
        pod.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
            "spec": {"template": {"metadata": template, "spec": pod}}})
    }

    fn codes(object: &Value, labels: NamespaceLabels) -> Vec<&'static str> {
        let config = InjectorConfig::embedded().unwrap();
        let facts = Facts { selection: super::super::Selection::ByApiServer, ..Facts::default() };
        advise(&config, object, "shop", labels, &facts).iter().map(|advice| advice.code).collect()
    }

    #[test]
    fn users_hear_what_happens_to_the_pods_and_nothing_if_all_is_well() {
        use NamespaceLabels::{Disabled, Selected, Unknown, Unlabeled};
        let named = json!({"name": "web"});
        let inject = |wish: &str| json!({"labels": {"sidecar.istio.io/inject": wish}});
        let none = json!({});
        let bad = json!({"annotations": {"sidecar.istio.io/proxyCPU": "lots"}});
        let typo = json!({"annotations": {"sidecar.istio.io/proxyCPUU": "1"}});
        let cases: Vec<(&str, Value, NamespaceLabels, Vec<&str>)> = vec![
            ("injected", deployment(named.clone(), none.clone(), none.clone()), Selected, vec![]),
            ("unknown namespace", deployment(named.clone(), none.clone(), none.clone()), Unknown, vec![]),
            ("opted out", deployment(named.clone(), inject("false"), none.clone()), Selected, vec![]),
            (
                "denied",
                deployment(named.clone(), bad.clone(), none.clone()),
                Selected,
                vec!["INVALID_ANNOTATION"],
            ),
            (
                "misspelt",
                deployment(named.clone(), typo.clone(), none.clone()),
                Selected,
                vec!["MISSPELT_ANNOTATION"],
            ),
            (
                "host network",
                deployment(named.clone(), none.clone(), json!({"hostNetwork": true})),
                Selected,
                vec!["HOST_NETWORK"],
            ),
            (
                "host network, and a label that is none",
                deployment(
                    named.clone(),
                    json!({"labels": {"sidecar.istio.io.inject": "true"}}),
                    json!({"hostNetwork": true}),
                ),
                Selected,
                vec!["HOST_NETWORK", "MISSPELT_LABEL"],
            ),
            (
                "a misspelled label on the Deployment",
                deployment(
                    json!({"labels": {"sidecar.istio.io.inject": "false"}}),
                    none.clone(),
                    none.clone(),
                ),
                Selected,
                vec!["SETTING_NOT_ON_THE_POD"],
            ),
            (
                "label on the Deployment",
                deployment(inject("true"), none.clone(), none.clone()),
                Unlabeled { injected: false },
                vec!["SETTING_NOT_ON_THE_POD"],
            ),
            (
                "not in the mesh",
                deployment(named.clone(), bad.clone(), none.clone()),
                Unlabeled { injected: false },
                vec![],
            ),
            (
                "injected by default",
                deployment(named.clone(), bad.clone(), none.clone()),
                Unlabeled { injected: true },
                vec!["INVALID_ANNOTATION"],
            ),
            (
                "opted in",
                deployment(named.clone(), inject("true"), none.clone()),
                Unlabeled { injected: false },
                vec![],
            ),
            (
                "in vain",
                deployment(named.clone(), inject("true"), none.clone()),
                Disabled,
                vec!["NAMESPACE_DISABLED"],
            ),
            ("disabled", deployment(named.clone(), bad, none.clone()), Disabled, vec![]),
            (
                "no pods",
                json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}),
                Selected,
                vec![],
            ),
        ];
        for (name, object, labels, wanted) in cases {
            assert_eq!(codes(&object, labels), wanted, "{name}");
        }
    }

    #[test]
    fn denials_come_first_and_places_are_named_where_there_are_several() {
        let template = |metadata: Value| json!({"template": {"metadata": metadata, "spec": {"containers": [{"name": "a", "image": "b"}]}}});
        let job = |metadata: Value| json!({"name": "x", "template": {"spec": template(metadata)}});
        let typo = json!({"annotations": {"sidecar.istio.io/proxyCPUU": "1"}});
        let bad = json!({"annotations": {"sidecar.istio.io/proxyCPU": "lots"}});
        let set = json!({"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": {"name": "s"},
            "spec": {"replicatedJobs": [job(typo), job(bad)]}});
        let config = InjectorConfig::embedded().unwrap();
        let advice = advise(&config, &set, "shop", NamespaceLabels::Selected, &Facts::default());
        let said: Vec<_> = advice.iter().map(|advice| (advice.code, advice.message.as_str())).collect();
        assert_eq!(said.len(), 2, "{said:?}");
        assert_eq!(said[0].0, "INVALID_ANNOTATION");
        assert!(
            said[0].1.starts_with("spec.replicatedJobs[1].template.spec.template: the pods will be denied: "),
            "{said:?}"
        );
        assert_eq!(said[1].0, "MISSPELT_ANNOTATION");
        assert!(said[1].1.starts_with("spec.replicatedJobs[0].template.spec.template: "), "{said:?}");
    }
}
