//! Explains what happens to a pod: the decision rule by rule, the outcome, and what wrote each field.
//!
//! Nothing is decided here. The pipeline of the webhook runs with an observer, so an explanation cannot disagree with
//! the injection.

use crate::{
    config::InjectorConfig,
    inject::{self, Facts, Injection, Outcome, PodRequest, Refusal, Rules, decision},
    warning::Warning,
};

mod blame;
mod data;
pub(crate) mod fields;
mod next;
mod running;
mod side_by_side;
mod words;

#[cfg(test)]
mod tests;

pub use blame::{Field, Line, Writer, moved};
pub use data::Datum;
pub use next::{Origin, next_step};
pub use running::Difference;
pub use side_by_side::{FieldIndex, Side, SideLine, side_by_side};
pub use words::short;

/// What happens to a pod, and why.
#[derive(Debug)]
pub struct Explanation {
    /// The rules of the decision, in order.
    pub steps: Vec<decision::Step>,
    /// The outcome.
    pub verdict: Verdict,
    /// Warnings for the user.
    pub warnings: Vec<Warning>,
}

/// The outcome for a pod.
#[derive(Debug)]
pub enum Verdict {
    /// It gets a proxy.
    Injected {
        /// The injection.
        injection: Box<Injection>,
        /// Every field that injection wrote or removed, by path.
        fields: Vec<Field>,
    },
    /// It is left unchanged.
    Skipped(decision::Decision),
    /// It is denied.
    Denied(Refusal),
}

/// Explains what happens to a pod that is created now.
pub fn explain(mesh: &InjectorConfig, request: &PodRequest, facts: &Facts<'_>) -> Explanation {
    let steps = inject::decision_steps(mesh, request, facts);
    let mut recorder = blame::Recorder::new(request, inject::applied_defaults(mesh, request, facts));
    let outcome = inject::run_observed(Rules::Configured, mesh, request, facts, &mut recorder);
    let (verdict, warnings) = match outcome {
        Ok(Outcome::Injected(injection)) => {
            let fields = recorder.fields(mesh, &injection.pod);
            let warnings = injection.warnings.clone();
            (Verdict::Injected { injection, fields }, warnings)
        }
        Ok(Outcome::Skipped(skip)) => (Verdict::Skipped(skip.decision), skip.warnings),
        Err(refusal) => (Verdict::Denied(refusal), Vec::new()),
    };
    Explanation { steps, verdict, warnings }
}

/// Explains a running pod: what happens to it if it is created again now, and the fields in which the running one differs
/// from that; `None` in place of the differences if it was not injected.
pub fn explain_running(
    mesh: &InjectorConfig,
    request: &PodRequest,
    facts: &Facts<'_>,
) -> (Explanation, Option<Vec<Difference>>) {
    let Some((original, containers)) = inject::without_injection(mesh, &request.pod) else {
        return (explain(mesh, request, facts), None);
    };
    let created_again = PodRequest { pod: original, ..request.clone() };
    let explanation = explain(mesh, &created_again, facts);
    let differences = match &explanation.verdict {
        Verdict::Injected { injection, fields } => {
            let written = fields.iter().map(|field| (field.path.as_str(), field.value.as_ref()));
            running::differences(&request.pod, &injection.pod, written, &containers)
        }
        Verdict::Skipped(_) | Verdict::Denied(_) => Vec::new(),
    };
    (explanation, Some(differences))
}

/// The fields in which a running pod differs from one created now: `original` is the running pod without its injection, `now`
/// the result of injecting that, and `containers` are the names of the containers that were injected.
pub(crate) fn running_differences(
    running: &serde_json::Value,
    original: &serde_json::Value,
    now: &serde_json::Value,
    containers: &[String],
) -> Vec<Difference> {
    let (before, after) = (fields::of(original), fields::of(now));
    let written = after.iter().filter(|(path, value)| before.get(*path) != Some(value));
    let written = written.map(|(path, value)| (path.as_str(), Some(value)));
    running::differences(running, now, written, containers)
}

/// Whether a pod has a field, in any spelling: at this path, or below it.
pub fn has_field(pod: &serde_json::Value, wanted: &str) -> bool {
    fields::of(pod).keys().any(|path| is_at_or_below(path, wanted))
}

/// Whether a field is the wanted one or below it; both in any spelling.
pub fn is_at_or_below(path: &str, wanted: &str) -> bool {
    fields::split(path).starts_with(&fields::split(wanted))
}
