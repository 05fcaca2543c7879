//! Preflight: predicts whether the API server will accept the injected pod, from the known facts about its namespace.
//!
//! Admission webhooks come before the checks of an API server, whose message names neither the proxy's configuration nor
//! what to do about it. Only what injection adds is reported: a pod that violates the level of its namespace by itself is
//! rejected with or without a proxy. Where the configuration allows it, values are changed for the pods of such a namespace:
//! the pipeline runs with each [`Variant`](crate::config::Variant), smallest change first, until one violates nothing.

use serde_json::{Map, Value};

mod limit_ranges;
mod quotas;
mod resources;

use self::{quotas::Measured, resources::PodResources};
use super::{
    Facts, Outcome, PodRequest, Refusal, Rules, Unobserved, namespace, reinject::PreviousInjection,
    run_unadapted, template_containers::TemplateContainers,
};
use crate::{
    config::{Adaptation, InjectorConfig, Violations},
    names,
    pod_security::{Finding, Level, LevelVersion, Policy, Subject, evaluate},
    warning::{Warning, shown},
};

const VIOLATED: &str = "POD_SECURITY_VIOLATED";
/// The maximum number of fields named for a container, and of containers and volumes named.
const MOST: usize = 4;

/// The configuration that a pod gets.
#[derive(Clone, Copy)]
pub(super) struct Chosen<'m> {
    pub(super) config: &'m InjectorConfig,
    /// How it differs from the configured one.
    changes: &'m [Adaptation],
}

/// The configuration for a pod, and its result.
pub(super) fn adapted<'m>(
    rules: Rules,
    mesh: &'m InjectorConfig,
    request: &PodRequest,
    facts: &Facts<'_>,
) -> (Chosen<'m>, Result<Outcome, Refusal>) {
    let run = |config| run_unadapted(rules, config, request, facts, &mut Unobserved);
    let configured = Chosen { config: mesh, changes: &[] };
    let outcome = run(mesh);
    if is_fit(&outcome) {
        return (configured, outcome);
    }
    for variant in mesh.variants() {
        let chosen = Chosen { config: &variant.config, changes: &variant.changes };
        let changed = run(&variant.config);
        if matches!(changed, Err(Refusal::StandIn { .. })) {
            return (chosen, changed);
        }
        // Another failure says more about the change than about the pod.
        if changed.is_ok() && is_fit(&changed) {
            return (chosen, told(chosen, changed));
        }
    }
    (configured, outcome)
}

/// The configuration for a pod. In most namespaces, none but the configured one is possible.
pub(super) fn chosen<'m>(
    rules: Rules,
    mesh: &'m InjectorConfig,
    request: &PodRequest,
    facts: &Facts<'_>,
) -> Chosen<'m> {
    let is_enforced = || policy_of(mesh, namespace(request), facts).enforce.level != Level::Privileged;
    if mesh.variants().is_empty() || rules == Rules::TemplatesOnly || !is_enforced() {
        return Chosen { config: mesh, changes: &[] };
    }
    adapted(rules, mesh, request, facts).0
}

/// A result, with a record of the changes.
pub(super) fn told(chosen: Chosen<'_>, result: Result<Outcome, Refusal>) -> Result<Outcome, Refusal> {
    let mut result = result;
    if let Ok(Outcome::Injected(injection)) = &mut result
        && !chosen.changes.is_empty()
    {
        let settings: Vec<&str> = chosen.changes.iter().map(|change| change.setting()).collect();
        let message =
            format!("injected with {}, as the namespace's Pod Security level requires", settings.join(", "));
        injection.warnings.push(Warning::new("POD_SECURITY_ADAPTED", message));
    }
    result
}

/// Whether a result violates nothing that is enforced.
fn is_fit(result: &Result<Outcome, Refusal>) -> bool {
    match result {
        Ok(outcome) => outcome.warnings().iter().all(|warning| warning.code != VIOLATED),
        Err(refusal) => !matches!(refusal, Refusal::PodSecurity { .. }),
    }
}

/// The Pod Security policy that the labels of a pod's namespace set.
fn policy_of(mesh: &InjectorConfig, namespace: &str, facts: &Facts<'_>) -> Policy {
    let nothing = Map::new();
    let known = facts.namespace.filter(|known| known.name == namespace);
    let labels = known.map_or(&nothing, |namespace| &namespace.labels);
    Policy::of_labels(labels, Policy::of_level(mesh.pod_security().default))
}

/// Checks the merged pod by the levels of its namespace, and warns of what injection adds.
///
/// # Errors
/// If the enforced level forbids it, and the configuration denies such pods.
pub(super) fn check_levels(
    mesh: &InjectorConfig,
    received: &Value,
    earlier: &PreviousInjection,
    merged: &Value,
    namespace: &str,
    facts: &Facts<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<(), Refusal> {
    let settings = mesh.pod_security();
    let policy = policy_of(mesh, namespace, facts);
    if !settings.is_read() || policy.is_privileged() {
        return Ok(());
    }
    let without = earlier.strip(received, 0, mesh.quirks());
    let judged = |level: LevelVersion| {
        let own = evaluate(&without, level, settings.latest);
        let mut added = evaluate(merged, level, settings.latest);
        added.retain(|finding| !own.contains(finding));
        let is_rejected_anyway = !own.is_empty();
        (subjects(mesh, &added), is_rejected_anyway)
    };
    let (subjects, is_rejected_anyway) = judged(policy.enforce);
    if !subjects.is_empty() {
        let level = policy.enforce.to_string();
        if settings.violations == Violations::Deny {
            return Err(Refusal::PodSecurity { level, subjects });
        }
        let own = if is_rejected_anyway { "; the pod violates it without a proxy, too" } else { "" };
        warnings.extend(
            subjects.into_iter().map(|subject| {
                Warning::new(VIOLATED, format!("Pod Security {level} forbids {subject}{own}"))
            }),
        );
        return Ok(());
    }
    for (mode, level) in [("warn", policy.warn), ("audit", policy.audit)] {
        let (subjects, _) = judged(level);
        if !subjects.is_empty() {
            warnings.extend(subjects.into_iter().map(|subject| {
                Warning::new(
                    "POD_SECURITY_AUDITED",
                    format!("Pod Security {level} ({mode}) objects to {subject}"),
                )
            }));
            break;
        }
    }
    Ok(())
}

/// Compares the merged pod with the LimitRanges and quotas of its namespace, and warns of what injection adds.
pub(super) fn check_limits(
    mesh: &InjectorConfig,
    received: &Value,
    earlier: &PreviousInjection,
    merged: &Value,
    made: &TemplateContainers,
    facts: &Facts<'_>,
    warnings: &mut Vec<Warning>,
) {
    let settings = mesh.namespace_limits();
    let Some(namespace) = facts.namespace.filter(|_| settings.are_read()) else { return };
    let ranges = &namespace.limit_ranges;
    let quotas = &namespace.resource_quotas;
    if ranges.is_empty() && quotas.is_empty() {
        return;
    }
    let before = earlier.strip(received, 0, mesh.quirks());
    // The LimitRanges change what the quotas count, whether they are reported or not.
    let of = |pod| PodResources::of(pod, ranges);
    let (Some(without), Some(with)) = (of(&before), of(merged)) else { return };
    if settings.limit_ranges {
        warnings.extend(limit_ranges::warnings(ranges, &without, &with, made));
    }
    if settings.resource_quotas {
        let without = Measured { pod: &before, resources: &without };
        warnings.extend(quotas::warnings(quotas, without, Measured { pod: merged, resources: &with }));
    }
}

/// One text for each container or volume: its fields, and the setting that avoids them.
fn subjects(mesh: &InjectorConfig, findings: &[Finding]) -> Vec<String> {
    let mut subjects: Vec<&Subject> = Vec::new();
    for finding in findings {
        if !subjects.contains(&&finding.subject) {
            subjects.push(&finding.subject);
        }
    }
    subjects.truncate(MOST);
    let text = |subject: &Subject| {
        let of_subject: Vec<&Finding> =
            findings.iter().filter(|finding| finding.subject == *subject).collect();
        let mut fields: Vec<String> = Vec::new();
        let mut before = "";
        for finding in &of_subject {
            match (&finding.found, fields.last_mut()) {
                // Several values of one field.
                (Some(found), Some(last)) if before == finding.field && !found.is_empty() => {
                    last.push_str(", ");
                    last.push_str(&shown(found));
                }
                _ => fields.push(finding.problem()),
            }
            before = finding.field;
        }
        let more = fields.len().saturating_sub(MOST);
        fields.truncate(MOST);
        let mut text = format!("{subject}: {}", fields.join(", "));
        if more > 0 {
            text.push_str(&format!(" and {more} more"));
        }
        let mut remedies: Vec<&str> = Vec::new();
        for remedy in of_subject.iter().filter_map(|finding| remedy(mesh, finding)) {
            if !remedies.contains(&remedy) {
                remedies.push(remedy);
            }
        }
        // With the plugin there is no such container, so that nothing else about it matters.
        if let Some(cni) = remedies.iter().find(|remedy| **remedy == Adaptation::Cni.setting()) {
            remedies = vec![cni];
        }
        if !remedies.is_empty() {
            text.push_str(&format!("; avoided by {}", remedies.join(", ")));
        }
        text
    };
    subjects.into_iter().map(text).collect()
}

/// The setting that avoids a violation, if one of the configuration does.
fn remedy(mesh: &InjectorConfig, finding: &Finding) -> Option<&'static str> {
    let is_on = |path: &[&str]| mesh.value(path) == Some(&Value::Bool(true));
    let Subject::Container(name) = &finding.subject else {
        return matches!(finding.subject, Subject::Volume(_))
            .then_some("an annotation sidecar.istio.io/userVolume without it");
    };
    if name == names::CONTAINER_INIT && !is_on(&["pilot", "cni", "enabled"]) {
        return Some(Adaptation::Cni.setting());
    }
    match finding.check {
        "seccompProfile_restricted" | "seccompProfile_baseline" => {
            let profile = mesh.value(&["global", "proxy", "seccompProfile", "type"]).and_then(Value::as_str);
            (profile != Some("RuntimeDefault")).then(|| Adaptation::SeccompProfile.setting())
        }
        "privileged" | "allowPrivilegeEscalation" if is_on(&["global", "proxy", "privileged"]) => {
            Some("global.proxy.privileged: false")
        }
        _ => None,
    }
}

/// The text of a denial.
pub(super) fn refusal(level: &str, subjects: &[String]) -> String {
    format!("Pod Security {level} of the namespace forbids what injection adds: {}", subjects.join("; "))
}

#[cfg(test)]
mod tests;
