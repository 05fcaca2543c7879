//! Unit tests of templates: a pod goes in, assertions about the outcome come out.
//!
//! The format is a document of its own (`kind: TemplateTests`). A case runs the pipeline of the webhook; nothing here
//! decides about pods. Pods in files are read by the caller.

mod assertion;
mod read;

#[cfg(test)]
mod tests;

use serde_json::Value;

pub use self::assertion::{Assertion, Check};
pub use self::read::{InvalidTest, read};

use crate::{
    cel::User,
    config::{ConfigError, InjectorConfig, Namespace, Place, Source},
    inject::{self, Facts, Outcome, PodRequest, Selection},
};

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// The start of the case in its file.
    pub place: Place,
    pod: Value,
    namespace: Namespace,
    /// Whether the labels of the namespace are given, so that they decide.
    is_labeled: bool,
    /// Who creates the pod.
    user: Option<User>,
    /// Merged over the configuration.
    values: Option<Value>,
    mesh: Option<Value>,
    expected: Expected,
}

/// The expected outcome.
#[derive(Clone, Debug, Default)]
struct Expected {
    injected: Option<bool>,
    reason: Option<String>,
    /// The name of the rule that applies; empty for none.
    rule: Option<String>,
    warnings: Option<Vec<String>>,
    denied: Option<String>,
    fields: Vec<Assertion>,
}

impl Case {
    /// Runs the case and returns every expectation that it does not meet, one line each.
    pub fn run(&self, mesh: &InjectorConfig) -> Vec<String> {
        let changed = match self.configuration(mesh) {
            Ok(changed) => changed,
            Err(error) => {
                return error.to_string().lines().map(|line| format!("configuration: {line}")).collect();
            }
        };
        let mesh = changed.as_ref().unwrap_or(mesh);
        let known = mesh.namespace(&self.namespace.name);
        // With annotations alone, the namespace counts as selected, as with its name alone.
        let is_annotated = !self.is_labeled && !self.namespace.annotations.is_empty();
        let facts = Facts {
            namespace: if self.is_labeled || is_annotated { Some(&self.namespace) } else { known },
            selection: if is_annotated { Selection::ByApiServer } else { Selection::ByLabels },
            nodes: Some(mesh.nodes()),
        };
        let request = PodRequest {
            user: self.user.clone(),
            ..PodRequest::new(self.namespace.name.clone(), self.pod.clone())
        };
        let mut failures = Vec::new();
        let outcome = inject::run(mesh, &request, &facts);
        self.compare(&outcome, &mut failures);
        let pod = match &outcome {
            Ok(Outcome::Injected(injection)) => Some(&injection.pod),
            Ok(Outcome::Skipped(_)) => Some(&request.pod),
            Err(_) => None,
        };
        for assertion in &self.expected.fields {
            match pod {
                Some(pod) => failures.extend(assertion.failure(pod)),
                None => failures.push(format!("{}: found no pod, because it is denied", assertion.path)),
            }
        }
        failures
    }

    fn compare(&self, outcome: &Result<Outcome, inject::Refusal>, failures: &mut Vec<String>) {
        let Expected { injected, reason, rule, warnings, denied, .. } = &self.expected;
        let found = match outcome {
            Ok(Outcome::Injected(_)) => "injected".to_owned(),
            Ok(Outcome::Skipped(skip)) => format!("skipped ({})", skip.decision.reason),
            Err(refusal) => {
                let cause = refusal.diagnosis().unwrap_or_else(|| refusal.to_string());
                format!("denied ({}): {}", refusal.reason(), cause.lines().next().unwrap_or_default())
            }
        };
        let is_injected = matches!(outcome, Ok(Outcome::Injected(_)));
        match (denied, outcome) {
            (Some(part), Err(refusal)) => {
                let messages = [Some(refusal.to_string()), refusal.diagnosis()];
                if !messages.iter().flatten().any(|message| message.contains(part.as_str())) {
                    failures.push(format!("denied: found {found}; expected a message with {part:?}"));
                }
            }
            (Some(part), Ok(_)) => {
                failures.push(format!("denied: found {found}; expected a denial with {part:?}"));
            }
            (None, Err(_)) if injected.is_none() => {
                failures.push(format!("found {found}; expected the pod to be allowed"));
            }
            _ => {}
        }
        if let Some(wanted) = injected.filter(|wanted| *wanted != is_injected) {
            failures.push(format!("injected: found {found}; expected {wanted}"));
        }
        if let Some(wanted) = reason {
            let key = match outcome {
                Ok(outcome) => outcome.decision().reason.key(),
                Err(refusal) => refusal.reason(),
            };
            if key != wanted {
                failures.push(format!("reason: found {key}; expected {wanted}"));
            }
        }
        if let (Some(wanted), Ok(outcome)) = (rule, outcome) {
            let applied = outcome.decision().rule_name().unwrap_or_default();
            if applied != wanted {
                let name = |name: &str| if name.is_empty() { "none".to_owned() } else { name.to_owned() };
                failures.push(format!("rule: found {}; expected {}", name(applied), name(wanted)));
            }
        }
        if let (Some(wanted), Ok(outcome)) = (warnings, outcome) {
            let shown = outcome.warnings().iter().filter(|warning| warning.is_shown());
            let mut codes: Vec<&str> = shown.map(|warning| warning.code).collect();
            codes.sort_unstable();
            codes.dedup();
            let mut wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
            wanted.sort_unstable();
            wanted.dedup();
            if codes != wanted {
                let list = |codes: &[&str]| {
                    if codes.is_empty() { "none".to_owned() } else { codes.join(", ") }
                };
                failures.push(format!("warnings: found {}; expected {}", list(&codes), list(&wanted)));
            }
        }
    }

    /// The configuration with the case's own values and MeshConfig over it; `None` if it has none.
    fn configuration(&self, mesh: &InjectorConfig) -> Result<Option<InjectorConfig>, ConfigError> {
        if self.values.is_none() && self.mesh.is_none() {
            return Ok(None);
        }
        let mut bundle = mesh.effective_bundle();
        for (key, top) in [("values", &self.values), ("mesh", &self.mesh)] {
            if let (Some(top), Some(base)) = (top, bundle.get_mut(key)) {
                lay_over(base, top);
            }
        }
        // JSON is YAML, and has the same meaning in one line.
        let text = bundle.to_string();
        InjectorConfig::from_bundle(Source { name: "the case's configuration", text: &text })
            .map(|(mesh, _)| Some(mesh))
    }
}

/// Merges maps key by key; everything else replaces, and null stays for the bundle to interpret.
fn lay_over(base: &mut Value, top: &Value) {
    match (base, top) {
        (Value::Object(base), Value::Object(top)) => {
            for (key, value) in top {
                lay_over(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, top) => *base = top.clone(),
    }
}
