//! Reports on stderr: one line per object, warnings and errors.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;

use crate::{
    config,
    inject::manual::{DuplicateKey, Manifest, Rewritten, Row, Verdict, explained},
};

/// Whether output is colored.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless `NO_COLOR` is set or the terminal is dumb.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    fn is_on(self, is_terminal: bool) -> bool {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        match self {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                is_terminal && set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
            }
        }
    }

    fn paint(self, style: Style, text: &str) -> String {
        painted(style, text, self.is_on(io::stderr().is_terminal()))
    }

    /// A text in color, if stdout is colored.
    pub(super) fn paint_stdout(self, style: Style, text: &str) -> String {
        painted(style, text, self.is_on(io::stdout().is_terminal()))
    }
}

fn painted(style: Style, text: &str, is_on: bool) -> String {
    if is_on { format!("\u{1b}[{}m{text}\u{1b}[0m", style as u8) } else { text.to_owned() }
}

/// Colors, as ANSI codes.
#[derive(Clone, Copy)]
pub(super) enum Style {
    Bad = 31,
    Good = 32,
    Odd = 33,
    Faint = 2,
}

/// A blank line to separate output and report if both go to one terminal.
pub(super) fn set_apart() {
    if io::stdout().is_terminal() && io::stderr().is_terminal() {
        let _ = writeln!(io::stderr());
    }
}

/// One line per object of a file, and its warnings; with `quiet`, only denied objects.
pub(super) fn manifest(name: &str, manifest: &Manifest<'_>, quiet: bool, color: Color) {
    let mut stderr = io::stderr().lock();
    for row in manifest.rows() {
        if quiet && !row.verdict.is_refusal() {
            continue;
        }
        let (style, verdict) = verdict(&row.verdict);
        let verdict = plain(&verdict);
        let _ = writeln!(stderr, "{}: {}: {}", plain(name), described(row), color.paint(style, &verdict));
        for warning in row.warnings.iter().filter(|warning| warning.is_shown()) {
            let label = color.paint(Style::Odd, "warning:");
            let _ = writeln!(stderr, "  {label} {}", plain(&warning.message));
        }
        if let Verdict::Uninjected { remarks } = &row.verdict {
            for remark in remarks {
                let _ = writeln!(stderr, "  {} {}", color.paint(Style::Odd, "warning:"), plain(remark));
            }
        }
    }
}

/// Warns about keys that a file gives more than once; only the last one counts.
pub(super) fn duplicates(name: &str, manifest: &Manifest<'_>, color: Color) {
    for key in manifest.duplicates() {
        let DuplicateKey { line, column, path } = key;
        warning(&format!("{name}:{line}:{column}: duplicate key {path}; the last one is used"), color);
    }
}

/// Warns about parts of a file whose comments and layout are lost.
pub(super) fn rewrites(name: &str, manifest: &Manifest<'_>, color: Color) {
    for Rewritten { line, path, reason } in manifest.rewrites() {
        let path = if path.is_empty() { "the document" } else { path };
        warning(
            &format!("{name}:{line}: {path} is written anew, without its comments and layout: {reason}"),
            color,
        );
    }
}

/// Reports objects with pods that kube-inject does not inject, and the warnings of the others.
pub(super) fn left_alone(manifest: &Manifest<'_>, color: Color) {
    let mut stderr = io::stderr().lock();
    let label = color.paint(Style::Odd, "warning:");
    for row in manifest.rows() {
        match &row.verdict {
            Verdict::Skipped(decision) => {
                let _ = writeln!(stderr, "{label} {} is not injected: {}", described(row), decision.sentence);
            }
            Verdict::Refused(refusal) => {
                let label = color.paint(Style::Bad, "error:");
                let _ = writeln!(stderr, "{label} {}: {}", described(row), plain(&explained(refusal)));
            }
            Verdict::Injected { .. }
            | Verdict::NoPodTemplate
            | Verdict::LeftAlone(_)
            | Verdict::Uninjected { .. }
            | Verdict::NotInjected
            | Verdict::Unreadable(_) => {}
        }
        for warning in row.warnings.iter().filter(|warning| warning.is_shown()) {
            let _ = writeln!(stderr, "{label} {}: {}", described(row), plain(&warning.message));
        }
    }
}

/// Reports the origin of the configuration.
pub(super) fn origin(origin: &str, color: Color) {
    let _ =
        writeln!(io::stderr(), "{}", color.paint(Style::Faint, &format!("configuration: {}", plain(origin))));
}

/// Reports the progress of a long operation.
pub(super) fn progress(text: &str, color: Color) {
    let _ = writeln!(io::stderr(), "{}", color.paint(Style::Faint, &plain(text)));
}

/// Prints a single warning.
pub(super) fn warning(text: &str, color: Color) {
    let _ = writeln!(io::stderr(), "{} {}", color.paint(Style::Odd, "warning:"), plain(text));
}

/// Warnings about a configuration.
pub(super) fn configuration(warnings: &[config::Warning], color: Color) {
    let mut stderr = io::stderr().lock();
    for warning in warnings {
        let _ = writeln!(stderr, "{} {}", color.paint(Style::Odd, "warning:"), plain(&warning.to_string()));
    }
}

/// Prints an error that may have several lines.
pub(super) fn errors(text: &str, color: Color) {
    let mut stderr = io::stderr().lock();
    for line in text.lines() {
        let _ = writeln!(stderr, "{} {}", color.paint(Style::Bad, "error:"), plain(line));
    }
}

/// `Deployment shop/web`, plus the position if it has several templates.
fn described(row: &Row) -> String {
    let object = &row.object;
    let kind = if object.kind.is_empty() { "object without a kind" } else { &object.kind };
    let name = if object.name.is_empty() { "(no name)" } else { &object.name };
    let mut text = match &object.namespace {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    };
    if let Some(place) = &row.place {
        text.push(' ');
        text.push_str(place);
    }
    plain(&text)
}

/// A result in words.
pub(super) fn verdict_text(result: &Verdict) -> String {
    verdict(result).1
}

fn verdict(verdict: &Verdict) -> (Style, String) {
    match verdict {
        Verdict::Injected { templates, changed: true } => {
            (Style::Good, format!("injected ({})", templates.join(", ")))
        }
        Verdict::Injected { changed: false, .. } => (Style::Good, "unchanged, already injected".to_owned()),
        Verdict::Skipped(decision) => {
            (Style::Odd, format!("skipped ({}): {}", decision.reason, decision.sentence))
        }
        Verdict::NoPodTemplate => (Style::Faint, "no pod template".to_owned()),
        Verdict::LeftAlone(why) => (Style::Odd, why.to_string()),
        Verdict::Refused(refusal) => {
            (Style::Bad, format!("denied ({}): {}", refusal.reason(), explained(refusal)))
        }
        Verdict::Uninjected { .. } => (Style::Good, "uninjected".to_owned()),
        Verdict::NotInjected => (Style::Faint, "not injected".to_owned()),
        Verdict::Unreadable(why) => (Style::Bad, format!("cannot be uninjected: {why}")),
    }
}

/// A text from a file, without characters that could control the terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let hidden = c.is_control() && c != '\n';
            let escaped: String = if hidden { c.escape_default().collect() } else { c.into() };
            escaped.chars().collect::<Vec<_>>()
        })
        .collect()
}
