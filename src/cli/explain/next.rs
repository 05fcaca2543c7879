//! What a user can do next, the most urgent first.

use super::{super::source::Configured, Explained, Running};
use injector::{
    diagnose,
    explain::{Origin, Verdict, next_step},
};

/// The next steps for a pod or workload in a namespace. `requested` is the revision that its labels ask for.
pub(super) fn steps(
    configured: &Configured,
    explained: &Explained,
    namespace: &str,
    requested: Option<&str>,
) -> Vec<String> {
    let (kind, name) = (explained.object.kind.as_str(), explained.object.name.as_str());
    let is_in_cluster = explained.pods.is_some() || !matches!(explained.running, Running::No);
    let origin = Origin {
        namespace,
        workload: is_in_cluster.then_some((kind, name)),
        requested,
        served: &explained.served(),
    };
    let mut steps = Vec::new();
    steps.extend(refusal(explained, namespace));
    steps.extend(failed_calls(explained, namespace));
    if let Some(other) = &explained.other_revision {
        let command = match is_in_cluster {
            true => format!("outrigger explain {}/{name} -n {namespace}", kind.to_ascii_lowercase()),
            false => "the same command".to_owned(),
        };
        steps.push(format!(
            "{command} --revision {other} answers with the configuration of that revision; if there is none, revision {other} is not \
             installed, and the namespace needs the label of one that is"
        ));
    } else if explained.is_not_called() {
        steps.push(not_called(configured, explained, &origin));
    } else if let Some(reason) = explained.reason() {
        steps.extend(next_step(&configured.mesh, reason, &origin));
    }
    steps.extend(create_again(explained, &origin));
    if let Verdict::Denied(refusal) = &explained.explanation.verdict {
        steps.push("until this is corrected, no such pod can be created".to_owned());
        steps.push(format!("outrigger explain {}", refusal.reason()));
    } else if !explained.is_injected()
        && explained.other_revision.is_none()
        && let Some(reason) = explained.reason()
    {
        steps.push(format!("outrigger explain {reason}"));
    }
    steps
}

/// What to do about an API server that refuses to create the pods.
fn refusal(explained: &Explained, namespace: &str) -> Option<String> {
    // Without a proxy, or denied for a reason of its own, the pod needs other advice.
    if !matches!(explained.explanation.verdict, Verdict::Injected { .. }) {
        return None;
    }
    let called = explained.called.as_deref().unwrap_or_default();
    Some(diagnose::creation_fix(explained.refusal()?, namespace, |name| {
        let called = called.iter().find(|called| called.name == name)?;
        Some((called.configuration.as_str(), called.is_ours))
    }))
}

/// How to find out whether calls fail, if that may be why running pods have no proxy.
fn failed_calls(explained: &Explained, namespace: &str) -> Option<String> {
    let is_bare = !explained.bare_pods().is_empty() || matches!(explained.running, Running::Bare);
    let called = explained.called_injector().filter(|called| is_bare && called.failure_policy == "Ignore")?;
    Some(format!(
        "failurePolicy of {} is Ignore, so a call that fails leaves a pod without a proxy: outrigger doctor -n {namespace} tries one",
        called.configuration
    ))
}

/// How to get the API server to call the webhook.
fn not_called(configured: &Configured, explained: &Explained, origin: &Origin<'_>) -> String {
    let would_inject = matches!(explained.explanation.verdict, Verdict::Injected { .. });
    let by_decision = explained.reason().filter(|_| !would_inject);
    if let Some(step) = by_decision.and_then(|reason| next_step(&configured.mesh, reason, origin)) {
        step
    } else if explained.called.iter().flatten().any(|called| called.is_ours) {
        "change what the lines about the API server name: it calls no injector for this pod".to_owned()
    } else {
        "register the webhook: install the chart, or outrigger webhook apply".to_owned()
    }
}

/// How to replace running pods that have no proxy, or an outdated one.
fn create_again(explained: &Explained, origin: &Origin<'_>) -> Option<String> {
    if !explained.is_injected() {
        return None;
    }
    if let Running::Injected(differences) = &explained.running
        && !differences.is_empty()
    {
        return Some(
            "the pod was injected with another configuration; kubectl rollout restart its workload to apply today's".to_owned(),
        );
    }
    if matches!(explained.running, Running::Bare) {
        return Some(
            "this pod was created before injection was on for it, or while the webhook did not answer; create it again: kubectl \
             rollout restart its workload"
                .to_owned(),
        );
    }
    let first = explained.bare_pods().first()?;
    Some(format!(
        "pods that run without a proxy were created before injection was on for them, or while the webhook did not answer; {}; \
         outrigger explain pod/{first} -n {} gives details",
        origin.create_again(),
        origin.namespace
    ))
}
