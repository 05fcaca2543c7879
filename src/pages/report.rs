//! Reports of commands as one file that needs nothing else, for a pull request or an incident.

use maud::{Markup, html};
use serde_json::Value;

use super::{layout, visible};
use injector::diagnose::{Finding, Severity};
use injector::effects::{Group, Report};

/// The longest value that is shown, in characters.
const LONGEST: usize = 400;
/// Maximum number of differences of a group that are part of the page.
const MOST_DIFFERENCES: usize = 500;
/// Maximum number of pods of a group that are named.
const MOST_SUBJECTS: usize = 2000;

/// The words of a report about effects.
#[derive(Clone, Copy, Debug)]
pub struct Words<'w> {
    /// The heading.
    pub title: &'w str,
    /// The noun for the subjects that are counted: `pod template` or `pod`.
    pub subject: &'w str,
    /// The two sides: `before`, `after`.
    pub sides: [&'w str; 2],
    /// What was compared.
    pub origins: &'w [String],
}

/// What a configuration changes, or what runs from an old one: groups of equal differences.
pub fn effects(report: &Report<String>, words: &Words<'_>) -> String {
    let groups = report.groups();
    let all = report.subjects();
    let content = html! {
        h1 { (words.title) }
        @for origin in words.origins { p { (visible(origin)) } }
        p {
            strong { (counted(all, words.subject)) } ": " (report.identical) " identical, " (all - report.identical) " different, in "
            (counted(groups.len(), "group"))
        }
        @for group in groups { (effect(group, words)) }
    };
    layout::self_contained(words.title, &content)
}

fn effect(group: &Group<String>, words: &Words<'_>) -> Markup {
    let classes: Vec<&str> = group.classes().iter().map(|class| class.key()).collect();
    let badge = if group.breaks() {
        "denied"
    } else if group.before == group.after {
        "injected"
    } else {
        "skipped"
    };
    let [before, after] = words.sides;
    html! {
        section.card {
            h2 { (counted(group.subjects.len(), words.subject)) }
            p {
                @if group.before == group.after {
                    span.badge.(badge) { (visible(&group.before.described())) } " differently (" (classes.join(", ")) ")"
                } @else {
                    span.badge.(badge) { (visible(&group.before.described())) " → " (visible(&group.after.described())) }
                }
            }
            details {
                summary { "Names" }
                ul {
                    @for subject in group.subjects.iter().take(MOST_SUBJECTS) { li { (visible(subject)) } }
                    @if group.subjects.len() > MOST_SUBJECTS { li { "and " (group.subjects.len() - MOST_SUBJECTS) " more" } }
                }
            }
            @if !group.differences.is_empty() {
                div.scroll tabindex="0" role="region" aria-label="Differences" {
                    table {
                        thead { tr { th scope="col" { "Field" } th scope="col" { (before) } th scope="col" { (after) } } }
                        tbody {
                            @for difference in group.differences.iter().take(MOST_DIFFERENCES) {
                                tr {
                                    th scope="row" { code { (visible(&difference.path)) } }
                                    td { code { (value(difference.running.as_ref())) } }
                                    td { code { (value(difference.now.as_ref())) } }
                                }
                            }
                        }
                    }
                }
                @if group.differences.len() > MOST_DIFFERENCES {
                    p { "and " (group.differences.len() - MOST_DIFFERENCES) " more fields; " code { "-o json" } " has all" }
                }
            }
        }
    }
}

/// What `outrigger doctor` found.
pub fn diagnosis(findings: &[Finding], left_out: &[String]) -> String {
    let title = "Diagnosis";
    let content = html! {
        h1 { (title) }
        @if findings.is_empty() { p { span.badge.injected { "ok" } " No problem found." } }
        @for Finding { severity, check, subject, evidence, fix } in findings {
            section.card {
                h2 { (visible(subject)) }
                p { (badge(*severity)) " " (visible(evidence)) " " span.faint { "[" (check) "]" } }
                p { strong { "Fix: " } (visible(fix)) }
            }
        }
        @if !left_out.is_empty() {
            h2 { "Not looked at" }
            ul { @for text in left_out { li { (visible(text)) } } }
        }
    };
    layout::self_contained(title, &content)
}

fn badge(severity: Severity) -> Markup {
    match severity {
        Severity::Error => html! { span.badge.denied { "error" } },
        Severity::Warning => html! { span.badge.skipped { "warning" } },
        Severity::Info => html! { span.badge.passed { "info" } },
    }
}

fn value(value: Option<&Value>) -> String {
    let Some(value) = value else { return "(none)".to_owned() };
    let text = value.to_string();
    let shown = match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    };
    visible(&shown).into_owned()
}

/// `1 pod`, `2 pods`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnosis_is_one_file_and_its_texts_are_text() {
        let hostile = "<script>alert(1)</script>";
        let finding = Finding {
            severity: Severity::Error,
            check: "no-endpoints",
            subject: hostile.to_owned(),
            evidence: hostile.to_owned(),
            fix: hostile.to_owned(),
        };
        let page = diagnosis(&[finding], &[hostile.to_owned()]);
        assert_eq!(page.matches("&lt;script&gt;").count(), 4, "{page}");
        assert!(!page.contains("<script") && !page.contains("<link") && !page.contains("src="), "{page}");
        assert!(page.contains("default-src 'none'") && page.contains("<style>"), "{page}");
        assert!(diagnosis(&[], &[]).contains("No problem found"));
    }
}
