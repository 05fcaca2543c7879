//! Explanations as text for people.

use std::fmt::Write;

use serde_json::Value;

use super::{
    super::{
        registered::Called,
        report::{self, Color, Style},
        source::Configured,
    },
    Explained, Fields, Running, own_revision,
};
use crate::{
    inject::{decision::StepOutcome, manual},
    names,
    webhook_config::selection::{Mismatch, Selected},
};
use injector::explain::{Field, Verdict, Writer, has_field, is_at_or_below, moved, short};

/// The most differences of a running pod that are shown; JSON has all.
const MOST_DIFFERENCES: usize = 20;
/// The most pods that are named; JSON has all.
const MOST_PODS: usize = 10;
/// The most webhooks and policies that are shown if none is called; JSON has all.
const MOST_NOT_CALLED: usize = 3;

/// The explanations of all pods, one after the other.
pub(super) fn write(configured: &Configured, all: &[Explained], fields: &Fields<'_>, color: Color) -> String {
    let mut out = Page { text: String::new(), color };
    for (index, explained) in all.iter().enumerate() {
        if index > 0 {
            out.line("");
        }
        out.explained(configured, explained, fields);
    }
    out.text
}

struct Page {
    text: String,
    color: Color,
}

impl Page {
    fn line(&mut self, text: &str) {
        self.text.push_str(&report::plain(text));
        self.text.push('\n');
    }

    fn painted(&self, style: Style, text: &str) -> String {
        self.color.paint_stdout(style, text)
    }

    fn heading(&mut self, text: &str) {
        let text = report::plain(text);
        let _ = writeln!(self.text, "\n{}", self.painted(Style::Faint, &text));
    }

    /// A line whose first words are colored.
    fn styled(&mut self, indent: &str, style: Style, words: &str, rest: &str) {
        let words = self.painted(style, &report::plain(words));
        let _ = writeln!(self.text, "{indent}{words}{}", report::plain(rest));
    }

    /// What people need first comes first: the outcome, what is known about the pods, and what to do; then how it came about.
    fn explained(&mut self, configured: &Configured, explained: &Explained, fields: &Fields<'_>) {
        self.line(&subject(explained));
        self.verdict(configured, explained);
        self.basis(configured, explained);
        self.pods(explained);
        if explained.other_revision.is_none() {
            self.running(&explained.running);
        }
        if !explained.warnings().is_empty() {
            self.heading("Warnings");
            for warning in explained.warnings() {
                self.styled("  ", Style::Odd, warning.code, &format!(": {}", warning.message));
            }
        }
        if !explained.next.is_empty() {
            self.heading("Next");
            explained.next.iter().for_each(|step| self.line(&format!("  {step}")));
        }
        if let Some(called) = &explained.called {
            self.all_called(called, explained);
        }
        self.heading(&format!("Injector: revision {}, {}", own_revision(configured), configured.origin));
        self.steps(explained);
        if let Verdict::Injected { injection, fields: written } = &explained.explanation.verdict {
            self.heading("Result");
            self.line(&format!("  templates: {}", injection.templates.join(", ")));
            self.line(&format!("  fields written or removed: {}", written.len()));
            if matches!(fields, Fields::None) {
                self.line("  --all shows what wrote each of them; --field PATH shows it for one");
            }
            self.fields(written, &injection.pod, fields);
        }
    }

    fn verdict(&mut self, configured: &Configured, explained: &Explained) {
        if let Some(left_alone) = &explained.left_alone {
            return self.styled("  ", Style::Odd, "left unchanged", &format!(": {left_alone}"));
        }
        if explained.is_not_called() {
            let not_called = not_called(explained);
            let rest = match &explained.explanation.verdict {
                Verdict::Skipped(decision) => {
                    format!(" ({}): {}; {not_called}", decision.reason, decision.sentence)
                }
                Verdict::Injected { .. } | Verdict::Denied(_) => format!(": {not_called}"),
            };
            return self.styled("  ", Style::Bad, "not injected", &rest);
        }
        if let Some(other) = &explained.other_revision {
            let would = match &explained.explanation.verdict {
                Verdict::Injected { .. } => "it would be injected",
                Verdict::Skipped(_) => "it would not be injected",
                Verdict::Denied(_) => "it would be denied",
            };
            let rest = format!(
                ": the API server calls the injector of revision {other}, and the configuration that was read is that of revision {}, \
                 by which {would}",
                own_revision(configured)
            );
            return self.styled("  ", Style::Odd, "not known", &rest);
        }
        match &explained.explanation.verdict {
            Verdict::Injected { injection, .. } => {
                let decision = &injection.decision;
                let rest = format!(" ({}): {}", decision.reason, decision.sentence);
                if matches!(explained.running, Running::Bare) {
                    let rest = format!(", but a pod created now would be injected{rest}");
                    return self.styled("  ", Style::Bad, "runs without a proxy", &rest);
                }
                if explained.refusal().is_some() {
                    let rest = format!("{rest}; but the API server refuses to create its pods");
                    return self.styled("  ", Style::Bad, "would be injected", &rest);
                }
                self.styled("  ", Style::Good, "injected", &rest);
            }
            Verdict::Skipped(decision) => {
                let rest = format!(" ({}): {}", decision.reason, decision.sentence);
                self.styled("  ", Style::Odd, "not injected", &rest);
            }
            Verdict::Denied(refusal) => {
                let rest = format!(" ({}): {}", refusal.reason(), manual::explained(refusal));
                self.styled("  ", Style::Bad, "denied", &rest);
            }
        }
    }

    /// What the answer is based on, where that is not a cluster.
    fn basis(&mut self, configured: &Configured, explained: &Explained) {
        let is_injected = matches!(explained.explanation.verdict, Verdict::Injected { .. });
        if explained.is_selection_unknown && is_injected {
            let cure = if explained.called.is_some() {
                "--namespace-labels"
            } else {
                "--from-cluster, or --namespace-labels"
            };
            self.line(&format!(
                "  This holds if the API server calls the webhook: the labels of the namespace are not known ({cure})"
            ));
        }
        if explained.called.is_none() {
            self.line(&format!(
                "  No cluster was read; configuration: {} (--from-cluster reads both)",
                configured.origin
            ));
        }
    }

    /// Lists what the API server calls. If it calls nothing, lists everything with the reason, the closest match first.
    fn all_called(&mut self, all: &[Called], explained: &Explained) {
        let (called, others): (Vec<&Called>, Vec<&Called>) =
            all.iter().partition(|called| called.may_be_selected());
        self.heading(match called.as_slice() {
            [] => "API server: calls no webhook and no policy for this pod",
            _ => "API server: what it calls when the pod is created, in order",
        });
        if let Some(labels) = &explained.namespace_labels {
            let labels = [names::LABEL_INJECTION, names::REVISION]
                .iter()
                .filter_map(|key| Some(format!("{key}={}", labels.get(*key)?.as_str()?)))
                .collect::<Vec<_>>();
            let labels = if labels.is_empty() { "none for injection".to_owned() } else { labels.join(", ") };
            self.line(&format!("  labels of the namespace: {labels}"));
        }
        called.iter().for_each(|called| self.called(called));
        if all.is_empty() {
            self.line("  no webhook and no policy is registered");
        } else if called.is_empty() {
            let has_label = |called: &&Called| match &called.selected {
                Selected::No(Mismatch::Label { found: Some(_), requirement, .. }) => {
                    !requirement.ends_with("must not be set")
                }
                _ => false,
            };
            let (near, far): (Vec<&Called>, Vec<&Called>) =
                others.iter().partition(|called| has_label(called));
            near.into_iter().chain(far).take(MOST_NOT_CALLED).for_each(|called| self.called(called));
            if let Some(more) = others.len().checked_sub(MOST_NOT_CALLED).filter(|more| *more > 0) {
                self.line(&format!("  and {more} more; -o json names each with the reason"));
            }
        } else if !others.is_empty() {
            self.line(&format!("  not called: {} more; -o json names each with the reason", others.len()));
        }
    }

    fn called(&mut self, called: &Called) {
        let Called { kind, configuration, name, endpoint, failure_policy, .. } = called;
        let what = format!("{kind} {configuration} / {name}");
        match &called.selected {
            Selected::Yes => {
                let revision = called.revision.as_ref().map(|revision| format!(", revision {revision}"));
                let again = match called.reinvocation.as_str() {
                    "IfNeeded" if called.is_policy() => ", applied twice",
                    "IfNeeded" => ", again after later changes",
                    _ => "",
                };
                let rest = format!(
                    "  {what}: {endpoint}{}, failurePolicy {failure_policy}{again}",
                    revision.unwrap_or_default()
                );
                self.styled("  ", Style::Good, "yes", &rest);
            }
            Selected::No(mismatch) => {
                self.styled("  ", Style::Faint, "no ", &format!("  {what}: {mismatch}"));
            }
            Selected::Unknown(why) => self.styled("  ", Style::Odd, "?  ", &format!("  {what}: {why}")),
        }
    }

    fn steps(&mut self, explained: &Explained) {
        for (index, step) in explained.explanation.steps.iter().enumerate() {
            let number = index + 1;
            let title = step.rule.title();
            let (style, word) = match &step.outcome {
                StepOutcome::Passed => (Style::Faint, "passed "),
                StepOutcome::NotReached => {
                    let last = explained.explanation.steps.len();
                    return self.line(&format!("  {number} to {last} are not reached"));
                }
                StepOutcome::Decided(decision) if decision.inject => (Style::Good, "injects"),
                StepOutcome::Decided(_) => (Style::Odd, "skips  "),
            };
            self.styled(&format!("  {number}. "), style, word, &format!("  {title}: {}", step.looked_at));
        }
    }

    fn fields(&mut self, written: &[Field], pod: &Value, fields: &Fields<'_>) {
        let wanted: Vec<&Field> = match fields {
            Fields::None => return,
            Fields::All => written.iter().collect(),
            Fields::Below(paths) => {
                let mut wanted: Vec<&Field> = Vec::new();
                for path in *paths {
                    let below = |path: &str| -> Vec<&Field> {
                        written.iter().filter(|field| is_at_or_below(&field.path, path)).collect()
                    };
                    // A native proxy is an init container, wherever people look for it.
                    let moved = moved(path).filter(|_| below(path).is_empty());
                    let found = moved.as_deref().map_or_else(|| below(path), below);
                    if let Some(moved) = moved.filter(|_| !found.is_empty()) {
                        self.line(&format!("\n  {path} is {moved} in this pod"));
                    } else if found.is_empty() && has_field(pod, path) {
                        self.line(&format!("\n  {path}: injection does not write this field"));
                    } else if found.is_empty() {
                        self.line(&format!(
                            "\n  {path}: injection does not write this field, and the pod has nothing there; paths begin at the pod, and elements of lists have their \
                             names, such as spec.containers[istio-proxy].env[POD_NAME]"
                        ));
                    }
                    wanted.extend(found);
                }
                wanted
            }
        };
        wanted.into_iter().for_each(|field| self.field(field));
    }

    fn field(&mut self, field: &Field) {
        let value =
            field.value.as_ref().map_or_else(|| "removed".to_owned(), |value| format!("= {}", short(value)));
        self.line("");
        self.styled("  ", Style::Good, &field.path, &format!(" {value}"));
        self.writer(&field.writer);
        for (writer, value) in field.replaced.iter().rev() {
            self.line(&format!("    replaced {}, {}", short(value), writer.described()));
        }
    }

    fn writer(&mut self, writer: &Writer) {
        self.line(&format!("    {}", writer.described()));
        for read in writer.reads() {
            self.line(&format!("      {read}"));
        }
    }

    fn pods(&mut self, explained: &Explained) {
        let Some(pods) = explained.pods.as_ref().filter(|pods| pods.total() > 0 || pods.refusal.is_some())
        else {
            return;
        };
        self.heading("Running pods");
        if pods.total() > 0 {
            self.line(&format!("  {} of {} have a proxy", pods.injected.len(), pods.total()));
        }
        if let Some(message) = &pods.refusal {
            let exist = match pods.wanted {
                Some(wanted) => format!("{} of {wanted} exist", pods.total()),
                None => format!("{} exist", pods.total()),
            };
            let rest = match &explained.explanation.verdict {
                Verdict::Denied(_) => "; the API server refused to create the next one".to_owned(),
                _ => format!("; the API server refused to create the next one: {message}"),
            };
            self.styled("  ", Style::Bad, &exist, &rest);
        }
        if !pods.bare.is_empty() {
            let names: Vec<&str> = pods.bare.iter().map(String::as_str).take(MOST_PODS).collect();
            let more = match pods.bare.len().saturating_sub(MOST_PODS) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            self.styled("  ", Style::Bad, "without a proxy", &format!(": {}{more}", names.join(", ")));
        }
    }

    fn running(&mut self, running: &Running) {
        let Running::Injected(differences) = running else { return };
        self.heading("The running pod against one created now");
        if differences.is_empty() {
            self.line("  the same");
        }
        for difference in differences.iter().take(MOST_DIFFERENCES) {
            let value = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), short);
            let (running, now) = (value(&difference.running), value(&difference.now));
            self.line(&format!("  {}: {running}; now {now}", difference.path));
        }
        if let Some(more) = differences.len().checked_sub(MOST_DIFFERENCES).filter(|more| *more > 0) {
            self.line(&format!("  and {more} more; -o json has all"));
        }
    }
}

/// `Deployment shop/web`, plus the place of the pod template if the object has several.
fn subject(explained: &Explained) -> String {
    let object = &explained.object;
    let kind = if object.kind.is_empty() { "object without a kind" } else { &object.kind };
    let name = if object.name.is_empty() { "(no name)" } else { &object.name };
    let name = match &object.namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    };
    let place = explained.place.as_ref().map(|place| format!(" {place}")).unwrap_or_default();
    format!("{kind} {name}{place}")
}

fn not_called(explained: &Explained) -> String {
    let called = || explained.called.iter().flatten();
    let ours = called().filter(|called| called.is_ours).count();
    let others: Vec<&str> = called()
        .filter(|called| !called.is_ours && called.is_selected() && called.endpoint.contains("istiod"))
        .map(|called| called.configuration.as_str())
        .collect();
    let others = match others.as_slice() {
        [] => String::new(),
        others => format!("; {} is called, another injector", others.join(", ")),
    };
    match ours {
        0 => format!("no webhook of outrigger is registered in this cluster{others}"),
        _ => format!("the API server does not call outrigger for this pod{others}"),
    }
}
