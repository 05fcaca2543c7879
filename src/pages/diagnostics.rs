//! Problems of a configuration, each with the lines of the text around it.

use maud::{Markup, html};

use super::visible;
use crate::lint::{Diagnostic, Severity};

/// The lines shown before and after the line of a problem.
const AROUND: usize = 2;
/// The longest line that is shown, in characters.
const LONGEST: usize = 240;
/// Maximum number of problems that are shown.
const MOST: usize = 50;

/// Problems, each with its place in the text.
pub fn list(diagnostics: &[Diagnostic], text: &str) -> Markup {
    html! {
        ul.diagnostics {
            @for diagnostic in diagnostics.iter().take(MOST) {
                li class=(diagnostic.severity.as_str()) {
                    p {
                        span.badge { (diagnostic.severity.as_str()) } " "
                        @if let Some(place) = diagnostic.place { "line " (place.line) ", column " (place.column) ": " }
                        @if let Some(at) = diagnostic.template.as_ref().filter(|_| diagnostic.place.is_none()) {
                            "template " (at.template) ", line " (at.line) ": "
                        }
                        (visible(&diagnostic.message)) " "
                        span.faint { "[" (diagnostic.rule.key()) "]" }
                    }
                    @if let Some(place) = diagnostic.place {
                        (excerpt(text, to_usize(place.line), to_usize(place.column)))
                    } @else if let (Some(line), Some(at)) = (&diagnostic.snippet, &diagnostic.template) {
                        (excerpt_of(&[(to_usize(at.line), line)], to_usize(at.line), to_usize(at.column)))
                    }
                }
            }
        }
        @if diagnostics.len() > MOST { p { "and " (diagnostics.len() - MOST) " more" } }
    }
}

/// Whether any of them is an error.
pub fn has_error(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}

/// The lines around a place, both counted from 1.
pub fn excerpt(text: &str, line: usize, column: usize) -> Markup {
    // A place past the last line is the end of that line.
    let last = text.lines().count().max(1);
    let (line, column) = match line <= last {
        true => (line, column),
        false => (last, text.lines().last().map_or(1, |line| line.chars().count() + 1)),
    };
    let first = line.saturating_sub(AROUND + 1);
    let lines: Vec<(usize, &str)> = text
        .lines()
        .enumerate()
        .skip(first)
        .take(line + AROUND - first)
        .map(|(index, line)| (index + 1, line))
        .collect();
    excerpt_of(&lines, line, column)
}

fn excerpt_of(lines: &[(usize, &str)], at: usize, column: usize) -> Markup {
    // The part of a long line that contains the column.
    let first = column.saturating_sub(LONGEST / 2);
    let shown =
        |line: &str| visible(&line.chars().skip(first).take(LONGEST).collect::<String>()).into_owned();
    let padding = " ".repeat(column.saturating_sub(1).saturating_sub(first).min(LONGEST));
    html! {
        pre.excerpt tabindex="0" {
            @for (number, line) in lines {
                @let is_here = *number == at;
                span.number aria-hidden="true" { (format!("{number:>5} ")) }
                @if is_here { mark { (shown(line)) } } @else { (shown(line)) }
                "\n"
                @if is_here { span.caret aria-hidden="true" { "      " (padding) "^\n" } }
            }
        }
    }
}

fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_marks_its_line_and_column() {
        let html = excerpt("a\nb\nc: <x>\nd\ne\nf\n", 3, 4).into_string();
        assert!(html.contains("<mark>c: &lt;x&gt;</mark>\n"), "{html}");
        assert!(html.contains(">         ^\n<"), "{html}");
        assert!(html.contains("    1 ") && html.contains("    5 ") && !html.contains("    6 "), "{html}");
    }

    #[test]
    fn a_long_line_is_shown_around_its_column() {
        let html = excerpt(&"x".repeat(10_000_000), 1, 9_999_999).into_string();
        assert!(html.len() < 1000, "{}", html.len());
        let end = excerpt("a\nb", 3, 1).into_string();
        assert!(end.contains("<mark>b</mark>\n") && end.contains(">       ^\n<"), "{end}");
        assert!(!excerpt("", usize::MAX, usize::MAX).into_string().contains("<mark>"));
    }
}
