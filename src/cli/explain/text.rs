//! Explanations as text for people.

use std::fmt::Write;

use serde_json::Value;

use super::{
    super::{
        registered::Called,
        report::{self, Color, Style},
        source::Configured,
    },
    Explained, Fields, Running,
};
use crate::{
    inject::{decision::StepOutcome, manual},
    webhook_config::selection::{Mismatch, Selected},
};
use injector::explain::{Datum, Field, Line, Verdict, Writer, is_at_or_below, moved};

/// The longest value that is shown in full, in characters.
const LONGEST: usize = 160;
/// The most differences of a running pod that are shown; JSON has all.
const MOST_DIFFERENCES: usize = 20;

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

    fn explained(&mut self, configured: &Configured, explained: &Explained, fields: &Fields<'_>) {
        self.line(&subject(explained));
        self.verdict(explained);
        if !explained.called.is_empty() {
            self.heading("API server: what it calls when the pod is created, in order");
            self.all_called(&explained.called);
        }
        let revision = configured.mesh.revision();
        let revision = if revision.is_empty() { "default" } else { revision };
        self.heading(&format!("Injector: revision {revision}, {}", configured.origin));
        self.steps(explained);
        if let Verdict::Injected { injection, fields: written } = &explained.explanation.verdict {
            self.heading("Result");
            self.line(&format!("  templates: {}", injection.templates.join(", ")));
            self.line(&format!("  fields written or removed: {}", written.len()));
            if matches!(fields, Fields::None) {
                self.line("  --all shows what wrote each of them, --field PATH one of them");
            }
            self.fields(written, fields);
        }
        self.running(&explained.running);
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
    }

    fn verdict(&mut self, explained: &Explained) {
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
        match &explained.explanation.verdict {
            Verdict::Injected { injection, .. } => {
                let decision = &injection.decision;
                let rest = format!(" ({}): {}", decision.reason, decision.sentence);
                if matches!(explained.running, Running::Bare) {
                    let rest = format!(", but a pod created now would be injected{rest}");
                    return self.styled("  ", Style::Bad, "runs without a proxy", &rest);
                }
                self.styled("  ", Style::Good, "injected", &rest);
                if explained.is_selection_unknown {
                    self.line(
                        "  This holds if the API server calls the webhook: the labels of the namespace are not known \
                         (--from-cluster, or --namespace-labels)",
                    );
                }
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

    /// Lists what the API server calls. If it calls nothing, lists everything with the reason, the closest match first.
    fn all_called(&mut self, all: &[Called]) {
        let (called, others): (Vec<&Called>, Vec<&Called>) =
            all.iter().partition(|called| called.may_be_selected());
        called.iter().for_each(|called| self.called(called));
        if called.is_empty() {
            let has_label = |called: &&Called| match &called.selected {
                Selected::No(Mismatch::Label { found: Some(_), requirement, .. }) => {
                    !requirement.ends_with("must not be set")
                }
                _ => false,
            };
            let (near, far): (Vec<&Called>, Vec<&Called>) =
                others.iter().partition(|called| has_label(called));
            near.into_iter().chain(far).for_each(|called| self.called(called));
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
                let again =
                    if called.reinvocation == "IfNeeded" { ", again after later changes" } else { "" };
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

    fn fields(&mut self, written: &[Field], fields: &Fields<'_>) {
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
                    } else if found.is_empty() {
                        self.line(&format!("\n  {path}: injection does not write this field"));
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
            self.line(&format!("    replaced {}, {}", short(value), by(writer)));
        }
    }

    fn writer(&mut self, writer: &Writer) {
        self.line(&format!("    {}", by(writer)));
        let Writer::Template(line) = writer else { return };
        for datum in line.data.iter().filter(|datum| datum.value.is_some() || line.data.len() == 1) {
            self.line(&format!("      reads {}", described(datum)));
        }
        for (number, data) in &line.conditions {
            let said: Vec<String> =
                data.iter().filter(|datum| datum.value.is_some()).map(described).collect();
            if !said.is_empty() {
                self.line(&format!(
                    "      inside the condition of line {number}, which reads {}",
                    said.join("; ")
                ));
            }
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
    let ours = explained.called.iter().filter(|called| called.is_ours).count();
    let others: Vec<&str> = explained
        .called
        .iter()
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

fn by(writer: &Writer) -> String {
    match writer {
        Writer::Pod => "as received".to_owned(),
        Writer::User => "the pod's own settings for its proxy".to_owned(),
        Writer::Pass(name) => format!("step {name} after the templates"),
        Writer::Template(line) => of_template(line),
    }
}

fn of_template(line: &Line) -> String {
    match &line.line {
        Some((number, text)) => format!("template {}, line {number}: {text}", line.template),
        None => format!("template {}", line.template),
    }
}

fn described(datum: &Datum) -> String {
    let is_whole = |value: &&Value| value.is_object() || value.is_array();
    let value = datum.value.as_ref().map(|value| match Some(value).filter(is_whole) {
        Some(_) => String::new(),
        None => format!(" = {}", short(value)),
    });
    let value = value
        .unwrap_or_else(|| if datum.set_by.is_empty() { " (not set)".to_owned() } else { String::new() });
    let set_by = if datum.set_by.is_empty() { String::new() } else { format!(" ({})", datum.set_by) };
    format!("{}{value}{set_by}", datum.place)
}

/// A value on one line.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
