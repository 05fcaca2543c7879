//! What `what-if`, `stale` and `compare` have in common: the pods, threads, and the report.

use std::{num::NonZeroUsize, path::Path};

use serde_json::{Value, json};

use super::{
    failure::Failure,
    files,
    report::{self, Color, Style},
};
use crate::inject::{PodRequest, manual};
use crate::pages::report as pages;
pub(super) use crate::pages::report::counted;
use injector::effects::{Change, Effect, Group, Report};
use injector::explain::Difference;

/// The longest value that is shown in full, in characters.
const LONGEST: usize = 100;
/// Maximum number of differences of a group that are shown as text.
const MOST_DIFFERENCES: usize = 12;
/// Maximum number of pods of a group that are named as text.
const MOST_NAMES: usize = 5;
/// The stack size of a thread, equal to that of the server's threads.
const STACK: usize = 8 << 20;

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Form {
    /// Text for people
    Text,
    /// JSON, apiVersion outrigger.dev/v1alpha1
    Json,
}

/// Writes a report as a self-contained page, if a file is named for it.
pub(super) fn write_html(
    file: Option<&Path>,
    report: &Report<String>,
    words: &Words,
    origins: &[String],
) -> Result<(), Failure> {
    let Some(file) = file else { return Ok(()) };
    let Words { title, subject, sides, .. } = *words;
    files::replace(file, &pages::effects(report, &pages::Words { title, subject, sides, origins }))
}

/// The words of a report.
pub(super) struct Words {
    /// The heading of the page.
    pub(super) title: &'static str,
    /// `kind` of the JSON document.
    pub(super) kind: &'static str,
    /// The noun for the subjects that are counted: `pod template` or `pod`.
    pub(super) subject: &'static str,
    /// The two sides: `now`, `then`.
    pub(super) sides: [&'static str; 2],
}

/// Evaluates every pod, on all cores.
pub(super) fn evaluate(
    subjects: Vec<manual::Subject>,
    change: impl Fn(&PodRequest) -> Change + Sync,
) -> Result<Report<String>, Failure> {
    let subjects = subjects
        .into_iter()
        .filter(|subject| subject.left_alone.is_none())
        .map(|subject| (name(&subject), subject.request))
        .collect();
    evaluate_named(subjects, change)
}

/// Evaluates every subject under its name, on all cores.
pub(super) fn evaluate_named<T: Sync>(
    subjects: Vec<(String, T)>,
    change: impl Fn(&T) -> Change + Sync,
) -> Result<Report<String>, Failure> {
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = subjects.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let mut workers = Vec::new();
        for part in subjects.chunks(share) {
            let change = &change;
            let work = move || {
                let mut report = Report::default();
                for (name, subject) in part {
                    report.add(name.clone(), change(subject));
                }
                report
            };
            let started = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
            workers.push(started.map_err(|error| Failure::io(error, "cannot start a thread"))?);
        }
        let mut whole = Report::default();
        for worker in workers {
            let part = worker
                .join()
                .map_err(|_| Failure::error("a bug in outrigger: a pod made the engine panic"))?;
            whole.merge(part);
        }
        Ok(whole)
    })
}

/// `shop/Deployment/web`, with the place of the pod template if there are several.
fn name(subject: &manual::Subject) -> String {
    let object = &subject.object;
    let namespace = object.namespace.as_deref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    let place = subject.place.as_deref().map(|place| format!(" {place}")).unwrap_or_default();
    format!("{namespace}{}/{}{place}", object.kind, object.name)
}

/// The report, for people or programs.
pub(super) fn render(report: &Report<String>, words: &Words, form: Form, color: Color) -> String {
    match form {
        Form::Text => text(report, words, color),
        Form::Json => format!("{:#}\n", as_json(report, words)),
    }
}

fn text(report: &Report<String>, words: &Words, color: Color) -> String {
    let mut out = String::new();
    let groups = report.groups();
    for group in &groups {
        let (style, what) = headline(group);
        let classes: Vec<&str> = group.classes().iter().map(|class| class.key()).collect();
        let classes =
            if group.differences.is_empty() { String::new() } else { format!(" ({})", classes.join(", ")) };
        let count = counted(group.subjects.len(), words.subject);
        out.push_str(&format!("{} {}{classes}\n", color.paint_stdout(style, &count), report::plain(&what)));
        let names: Vec<&str> = group.subjects.iter().take(MOST_NAMES).map(String::as_str).collect();
        let more = match group.subjects.len().saturating_sub(MOST_NAMES) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        out.push_str(&format!("  {}{more}\n", report::plain(&names.join(", "))));
        for difference in group.differences.iter().take(MOST_DIFFERENCES) {
            out.push_str(&format!("    {}\n", report::plain(&line(difference))));
        }
        let more = group.differences.len().saturating_sub(MOST_DIFFERENCES);
        if more > 0 {
            out.push_str(&format!("    and {more} more fields; -o json has all\n"));
        }
    }
    let changed = report.subjects() - report.identical;
    out.push_str(&format!(
        "{}: {} identical, {changed} different, in {}\n",
        counted(report.subjects(), words.subject),
        report.identical,
        counted(groups.len(), "group"),
    ));
    out
}

/// A field with its values on both sides.
pub(super) fn line(difference: &Difference) -> String {
    let Difference { path, running, now } = difference;
    format!("{path}: {} -> {}", shown(running.as_ref()), shown(now.as_ref()))
}

pub(super) fn headline(group: &Group<String>) -> (Style, String) {
    match (&group.before, &group.after) {
        (before, after @ Effect::Denied(..)) if group.breaks() => {
            (Style::Bad, format!("{} -> {}", before.described(), after.described()))
        }
        (before, after) if before == after => (Style::Good, "injected differently".to_owned()),
        (before, after) => (Style::Bad, format!("{} -> {}", before.described(), after.described())),
    }
}

fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else { return "(none)".to_owned() };
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// The report for programs.
pub(super) fn as_json(report: &Report<String>, words: &Words) -> Value {
    let effect = |effect: &Effect| match effect {
        Effect::Injected => json!({"outcome": "injected"}),
        Effect::Skipped(reason) => json!({"outcome": "skipped", "reason": reason}),
        Effect::Denied(reason, message) => {
            json!({"outcome": "denied", "reason": reason, "message": message})
        }
    };
    let [one, two] = words.sides;
    let groups: Vec<Value> = report
        .groups()
        .into_iter()
        .map(|group| {
            let differences: Vec<Value> = group
                .differences
                .iter()
                .map(|Difference { path, running, now }| json!({"path": path, one: running, two: now}))
                .collect();
            json!({
                one: effect(&group.before),
                two: effect(&group.after),
                "classes": group.classes().iter().map(|class| class.key()).collect::<Vec<_>>(),
                "differences": differences,
                "count": group.subjects.len(),
                "subjects": group.subjects,
            })
        })
        .collect();
    json!({
        "apiVersion": "outrigger.dev/v1alpha1",
        "kind": words.kind,
        "total": report.subjects(),
        "identical": report.identical,
        "groups": groups,
    })
}
