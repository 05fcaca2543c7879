//! The report for people: one line per diagnostic, with the line of the file below it.

use super::{Diagnostic, Findings, Severity, Verdict, plural};
use crate::cli::report::{Color, Style, plain};

pub(super) fn render(findings: &Findings, color: Color) -> String {
    let paint = |style, text: &str| color.paint_stdout(style, text);
    let mut out = String::new();
    for input in &findings.report.inputs {
        let line = format!("{}: {}", plain(&input.file), input.shape);
        out.push_str(&format!("{}\n", paint(Style::Faint, &line)));
    }
    for diagnostic in findings.of_configuration() {
        let style = match diagnostic.severity {
            Severity::Error => Style::Bad,
            Severity::Warning => Style::Odd,
            Severity::Note => Style::Faint,
        };
        let label = paint(style, &format!("{}:", diagnostic.severity.as_str()));
        let rule = paint(Style::Faint, &format!("[{}]", diagnostic.rule.key()));
        let (place, message) = (place(diagnostic), plain(&diagnostic.message));
        out.push_str(&format!("{label} {place}: {message} {rule}\n"));
        if let Some((line, column)) = snippet(diagnostic) {
            out.push_str(&format!("  {}\n  {}\n", plain(line), paint(style, &caret(line, column))));
        }
    }
    for case in &findings.cases {
        out.push_str(&verdict(case, &paint));
    }
    if !findings.cases.is_empty() {
        let (all, failed) = (findings.cases.len(), findings.failed());
        out.push_str(&format!("{}: {} passed, {failed} failed\n", plural(all, "test"), all - failed));
    }
    let files = findings.report.inputs.len();
    if files > 0 || findings.of_configuration().next().is_some() {
        out.push_str(&format!("{}: {}\n", plural(files, "document"), findings.summary()));
    }
    out
}

/// `file:12:5`; in a template without a place in the file, its own line.
fn place(diagnostic: &Diagnostic) -> String {
    let file = plain(&diagnostic.file);
    match (diagnostic.place, &diagnostic.template) {
        (Some(place), _) => format!("{file}:{}:{}", place.line, place.column),
        (None, Some(at)) => {
            format!("{file}: template {}, line {}, column {}", plain(&at.template), at.line, at.column)
        }
        (None, None) => file,
    }
}

/// The line and the column in it.
fn snippet(diagnostic: &Diagnostic) -> Option<(&str, u32)> {
    // JSON in one line, for example, would fill the screen.
    const LONGEST: usize = 200;
    let line = diagnostic.snippet.as_deref().filter(|line| line.len() <= LONGEST)?;
    let column = match (&diagnostic.template, diagnostic.place) {
        (Some(at), _) => at.column,
        (None, Some(place)) => place.column,
        (None, None) => return None,
    };
    Some((line, column))
}

/// Blanks up to the column, as wide as the text above them.
fn caret(line: &str, column: u32) -> String {
    let before = line.chars().take(usize::try_from(column.saturating_sub(1)).unwrap_or_default());
    let padding: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    format!("{padding}^")
}

fn verdict(verdict: &Verdict, paint: &dyn Fn(Style, &str) -> String) -> String {
    let name = plain(&verdict.case.name);
    if verdict.failures.is_empty() {
        return format!("{} {name}\n", paint(Style::Good, "ok"));
    }
    let place = format!("{}:{}", plain(&verdict.file), verdict.case.place.line);
    let mut out = format!("{} {name} ({place})\n", paint(Style::Bad, "FAILED"));
    for failure in &verdict.failures {
        out.push_str(&format!("  {}\n", plain(failure)));
    }
    out
}
