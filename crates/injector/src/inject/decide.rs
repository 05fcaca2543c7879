//! The decision about a pod with everything that it depends on: configuration, facts, and the configuration's rules.

use gotemplate::StandIns;
use serde_json::{Value, json};

use super::{
    Facts, PodRequest, Refusal, Rules, Selection, Skip, check_shape,
    decision::{self, Decision, DecisionInput},
    namespace, policy,
};
use crate::{
    config::{
        InjectorConfig, Policy, Selector,
        guard::{Candidate, InjectRule, MatchError},
    },
    names,
    warning::Warning,
};

/// Whether a pod is skipped regardless of the templates, and why: the first part of [`run`](super::run), for a pod of which only
/// the [`outline`](super::limits::outline) is known.
pub fn leaves_alone(mesh: &InjectorConfig, request: &PodRequest, facts: &Facts<'_>) -> Option<Skip> {
    check_shape(&request.pod).ok()?;
    // A rule or an entry of the policy may apply because of something that the outline lacks.
    if mesh.guard().reads_more_than_an_outline() {
        return None;
    }
    let (pod, namespace) = (&request.pod, namespace(request));
    let candidate = candidate(mesh, request, namespace, facts);
    let (mut decision, _) = decide(Rules::Configured, mesh, pod, namespace, facts, &candidate).ok()?;
    let mut warnings = std::mem::take(&mut decision.warnings);
    if decision.inject {
        return None;
    }
    let is_bare = || is_bare_anyway(mesh, pod, namespace, facts);
    policy::check_skipped(mesh, &candidate, pod, &decision, is_bare, &mut warnings).ok()?;
    Some(Skip { decision, warnings })
}

/// The decision about a pod, rule by rule.
pub fn decision_steps(mesh: &InjectorConfig, request: &PodRequest, facts: &Facts<'_>) -> Vec<decision::Step> {
    let namespace = namespace(request);
    let rule = applied_rule(mesh, request, facts);
    let input = DecisionInput { rule, ..decision_input(Rules::Configured, mesh, facts) };
    decision::steps(&request.pod, namespace, &input)
}

/// The rule of the configuration that applies to a pod.
pub(super) fn applied_rule<'m>(
    mesh: &'m InjectorConfig,
    request: &PodRequest,
    facts: &Facts<'_>,
) -> Option<&'m InjectRule> {
    let namespace = namespace(request);
    let candidate = candidate(mesh, request, namespace, facts);
    decide(Rules::Configured, mesh, &request.pod, namespace, facts, &candidate).ok()?.1
}

/// What rules and policy look at.
pub(super) fn candidate<'a>(
    mesh: &'a InjectorConfig,
    request: &'a PodRequest,
    namespace: &'a str,
    facts: &Facts<'a>,
) -> Candidate<'a> {
    let own = facts.namespace.filter(|known| known.name == namespace);
    let labels = own.map(|namespace| &namespace.labels);
    let (pod, workload, user) = (&request.pod, request.workload.as_ref(), request.user.as_ref());
    Candidate::new(pod, workload, namespace, labels, user, request.stand_ins).reading(mesh.guard().reads())
}

/// The decision, and the rule of the configuration that applies to the pod. Rules are evaluated only for pods about which
/// nothing before them decides.
pub(super) fn decide<'m>(
    rules: Rules,
    mesh: &'m InjectorConfig,
    pod: &Value,
    namespace: &str,
    facts: &Facts<'_>,
    candidate: &Candidate<'_>,
) -> Result<(Decision, Option<&'m InjectRule>), Refusal> {
    let input = decision_input(rules, mesh, facts);
    let decision = decision::decide(pod, namespace, &input);
    if rules == Rules::TemplatesOnly || mesh.guard().rules.is_empty() || !decision.reason.comes_after_rules()
    {
        return Ok((decision, None));
    }
    let rule = InjectRule::first(&mesh.guard().rules, candidate).map_err(|(rule, error)| match error {
        MatchError::StandIn => Refusal::StandIn { name: rule.name.clone(), stand_ins: StandIns::ALL },
        MatchError::Cel(reason) => Refusal::RuleFailed { rule: rule.name.clone(), reason },
    })?;
    let Some(rule) = rule else { return Ok((decision, None)) };
    let mut decision = decision::decide(pod, namespace, &DecisionInput { rule: Some(rule), ..input });
    decision.warnings.push(Warning::new("RULE_APPLIED", rule.describe()));
    Ok((decision, Some(rule)))
}

/// Whether a pod that opts out would be left unchanged if it did not, by the selectors or the policy.
pub(super) fn is_bare_anyway(mesh: &InjectorConfig, pod: &Value, namespace: &str, facts: &Facts<'_>) -> bool {
    let mut silent = json!({"metadata": pod.get("metadata"), "spec": {}});
    for map in ["labels", "annotations"] {
        if let Some(map) = silent.pointer_mut(&format!("/metadata/{map}")).and_then(Value::as_object_mut) {
            map.remove(names::INJECT);
        }
    }
    !decision::decide(&silent, namespace, &decision_input(Rules::Configured, mesh, facts)).inject
}

fn decision_input<'a>(
    rules: Rules,
    mesh: &'a InjectorConfig,
    facts: &Facts<'a>,
) -> DecisionInput<'a, Selector> {
    let injector = mesh.injector();
    let mut input = DecisionInput {
        policy: injector.policy.as_str(),
        never: &injector.never_inject,
        always: &injector.always_inject,
        namespace_labels: facts
            .namespace
            .filter(|_| facts.selection == Selection::ByLabels)
            .map(|namespace| &namespace.labels),
        by_pod_alone: facts.selection == Selection::ByPodAlone,
        revision: mesh.revision(),
        tags: mesh.revision_tags(),
        enable_namespaces_by_default: mesh.value(&["sidecarInjectorWebhook", "enableNamespacesByDefault"])
            == Some(&Value::Bool(true)),
        rule: None,
        quirks: mesh.quirks(),
    };
    if rules == Rules::TemplatesOnly {
        input = DecisionInput {
            policy: Policy::Enabled.as_str(),
            never: &[],
            always: &[],
            namespace_labels: None,
            by_pod_alone: false,
            ..input
        };
    }
    input
}

#[cfg(test)]
mod tests;
