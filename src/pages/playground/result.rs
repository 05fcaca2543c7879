//! The result of the playground.

use maud::{Markup, html};

use super::evaluation::{Evaluation, Failure, Pod};
use crate::{
    inject::{decision::StepOutcome, manual},
    pages::{diagnostics, diff, reason, visible},
    warning::Warning,
};
use injector::explain::{Explanation, Verdict};

/// The longest JSON patch that is part of the page, in bytes.
const LONGEST_PATCH: usize = 256 << 10;

/// What happens to the pods, and what is wrong with the configuration.
pub fn result(evaluation: &Evaluation) -> Markup {
    html! {
        p.sr-only #summary { (evaluation.summary()) }
        @if !evaluation.diagnostics.is_empty() {
            section.card aria-labelledby="configuration-title" {
                h2 #configuration-title { "Configuration" }
                (diagnostics::list(&evaluation.diagnostics, &evaluation.bundle))
            }
        }
        @if let Some(failure) = &evaluation.failure { (not_evaluated(failure)) }
        @for (number, pod) in evaluation.pods.iter().enumerate() { (card(pod, number)) }
        @if evaluation.left_out > 0 { p { "and " (evaluation.left_out) " more pods, which are not shown" } }
    }
}

fn not_evaluated(failure: &Failure) -> Markup {
    html! {
        section.card aria-labelledby="failure-title" {
            h2 #failure-title { "Not evaluated" }
            @match failure {
                Failure::Configuration => {
                    p { "No pod is evaluated with a configuration that would be rejected; correct the errors above." }
                }
                Failure::Labels(line) => {
                    p { "Labels of the namespace: found " code { (visible(line)) } "; expected " code { "KEY=VALUE" } "." }
                }
                Failure::Syntax(error, text) => {
                    p { "Manifest, line " (error.line) ", column " (error.column) ": " (error.message) }
                    (diagnostics::excerpt(text, error.line, error.column))
                }
                Failure::NoPods => { p { "No pod template found; expected an object with a pod template." } }
                Failure::Other(message) => { p { (message) } }
            }
        }
    }
}

fn card(pod: &Pod, number: usize) -> Markup {
    let title = format!("pod-{number}");
    html! {
        section.card aria-labelledby=(title) {
            h2 id=(title) { (visible(&name(pod))) }
            (verdict(pod))
            @if let Some(next) = &pod.next { p { strong { "Next: " } (next) } }
            @if !pod.explanation.warnings.is_empty() {
                h3 { "Warnings" }
                ul.warnings { @for warning in &pod.explanation.warnings { (warned(warning)) } }
            }
            h3 { "Decision" }
            (trace(&pod.explanation))
            @if let Verdict::Injected { injection, fields } = &pod.explanation.verdict {
                h3 { "Pod" }
                p { "Templates: " (injection.templates.join(", ")) }
                (diff::side_by_side(&pod.lines, fields, &format!("why-{number}")))
                details {
                    summary { "JSON patch" }
                    @if injection.patch_json.len() > LONGEST_PATCH {
                        p { "The patch has " (injection.patch_json.len()) " bytes and is not shown; " code { "outrigger inject -o patch" } " prints it." }
                    } @else {
                        pre tabindex="0" { (visible(&pretty(&injection.patch_json))) }
                    }
                }
            }
        }
    }
}

/// `Deployment shop/web`, plus the place of the pod template if the object has several.
fn name(pod: &Pod) -> String {
    let object = &pod.object;
    let kind = if object.kind.is_empty() { "object without a kind" } else { &object.kind };
    let name = if object.name.is_empty() { "(no name)" } else { &object.name };
    let namespace = object.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    let place = pod.place.as_ref().map(|place| format!(" {place}")).unwrap_or_default();
    format!("{kind} {namespace}{name}{place}")
}

fn verdict(pod: &Pod) -> Markup {
    if let Some(left_alone) = &pod.left_alone {
        return html! { p { span.badge.skipped { "left unchanged" } " " (left_alone) } };
    }
    match &pod.explanation.verdict {
        Verdict::Injected { injection, .. } => html! {
            p {
                span.badge.injected { "injected" } " " (injection.decision.sentence) " "
                (reason::link(injection.decision.reason.key()))
            }
            @if pod.is_selection_unknown {
                p { "This holds if the API server calls the webhook: the labels of the namespace are not known." }
            }
        },
        Verdict::Skipped(decision) => html! {
            p { span.badge.skipped { "not injected" } " " (decision.sentence) " " (reason::link(decision.reason.key())) }
        },
        Verdict::Denied(refusal) => html! {
            p { span.badge.denied { "denied" } " " (visible(&refusal.to_string())) " " (reason::link(refusal.reason())) }
            @let explained = manual::explained(refusal);
            @if explained != refusal.to_string() { pre tabindex="0" { (visible(&explained)) } }
        },
    }
}

fn warned(warning: &Warning) -> Markup {
    html! { li { (warning.message) " " (reason::link(warning.code)) } }
}

fn trace(explanation: &Explanation) -> Markup {
    let reached = explanation.steps.iter().take_while(|step| step.outcome != StepOutcome::NotReached);
    let skipped = explanation.steps.iter().filter(|step| step.outcome == StepOutcome::NotReached).count();
    html! {
        ol.trace {
            @for step in reached {
                @let (class, word) = match &step.outcome {
                    StepOutcome::Decided(decision) if decision.inject => ("injected", "injects"),
                    StepOutcome::Decided(_) => ("skipped", "skips"),
                    StepOutcome::Passed | StepOutcome::NotReached => ("passed", "passed"),
                };
                li { span.badge.(class) { (word) } " " strong { (step.rule.title()) } ": " (step.looked_at) }
            }
        }
        @if skipped > 0 { p.faint { "The other " (skipped) " rules are not reached." } }
    }
}

/// One operation per line.
fn pretty(patch: &str) -> String {
    match serde_json::from_str::<Vec<serde_json::Value>>(patch) {
        Ok(operations) => {
            let lines: Vec<String> = operations.iter().map(ToString::to_string).collect();
            format!("[{}]", lines.join(",\n "))
        }
        Err(_) => patch.to_owned(),
    }
}
