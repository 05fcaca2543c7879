//! What people read on stderr: a line for every object, warnings and errors.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;

use crate::{
    config,
    inject::manual::{DuplicateKey, Manifest, Row, Verdict, explained},
};

/// Whether stderr is coloured.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless `NO_COLOR` is set or the terminal is dumb.
    Auto,
    /// Yes.
    Always,
    /// No.
    Never,
}

impl Color {
    fn is_on(self) -> bool {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        match self {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                io::stderr().is_terminal()
                    && set("NO_COLOR").is_none()
                    && set("TERM").is_none_or(|term| term != "dumb")
            }
        }
    }

    fn paint(self, style: Style, text: &str) -> String {
        if self.is_on() { format!("\u{1b}[{}m{text}\u{1b}[0m", style as u8) } else { text.to_owned() }
    }
}

/// Colours by their number in the terminal's language.
#[derive(Clone, Copy)]
enum Style {
    Bad = 31,
    Good = 32,
    Odd = 33,
    Faint = 2,
}

/// A blank line where product and report meet on one terminal.
pub(super) fn set_apart() {
    if io::stdout().is_terminal() && io::stderr().is_terminal() {
        let _ = writeln!(io::stderr());
    }
}

/// A line for every object of a file, and its warnings; with `quiet` only those that are refused.
pub(super) fn manifest(name: &str, manifest: &Manifest<'_>, quiet: bool, color: Color) {
    let mut stderr = io::stderr().lock();
    for row in manifest.rows() {
        if quiet && !matches!(row.verdict, Verdict::Refused(_)) {
            continue;
        }
        let (style, verdict) = verdict(&row.verdict);
        let verdict = plain(&verdict);
        let _ = writeln!(stderr, "{}: {}: {}", plain(name), described(row), color.paint(style, &verdict));
        for warning in row.warnings.iter().filter(|warning| warning.is_shown()) {
            let label = color.paint(Style::Odd, "warning:");
            let _ = writeln!(stderr, "  {label} {}", plain(&warning.message));
        }
    }
}

/// Keys of a file that are given more than once, of which only the last one counts.
pub(super) fn duplicates(name: &str, manifest: &Manifest<'_>, color: Color) {
    for key in manifest.duplicates() {
        let DuplicateKey { line, column, path } = key;
        warning(&format!("{name}:{line}:{column}: {path} is given again; only the last one counts"), color);
    }
}

/// The objects that kube-inject leaves alone although they have pods, and the warnings of the others.
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
            Verdict::Injected { .. } | Verdict::NoPodTemplate | Verdict::LeftAlone(_) => {}
        }
        for warning in row.warnings.iter().filter(|warning| warning.is_shown()) {
            let _ = writeln!(stderr, "{label} {}: {}", described(row), plain(&warning.message));
        }
    }
}

/// Which configuration is used.
pub(super) fn origin(origin: &str, color: Color) {
    let _ =
        writeln!(io::stderr(), "{}", color.paint(Style::Faint, &format!("configuration: {}", plain(origin))));
}

/// How far something that takes time has come.
pub(super) fn progress(text: &str, color: Color) {
    let _ = writeln!(io::stderr(), "{}", color.paint(Style::Faint, &plain(text)));
}

/// A warning of its own.
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

/// An error that may have several lines.
pub(super) fn errors(text: &str, color: Color) {
    let mut stderr = io::stderr().lock();
    for line in text.lines() {
        let _ = writeln!(stderr, "{} {}", color.paint(Style::Bad, "error:"), plain(line));
    }
}

/// `Deployment shop/web`, and the place of one of several templates.
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

fn verdict(verdict: &Verdict) -> (Style, String) {
    match verdict {
        Verdict::Injected { templates, changed: true } => {
            (Style::Good, format!("injected ({})", templates.join(", ")))
        }
        Verdict::Injected { changed: false, .. } => (Style::Good, "unchanged, injected before".to_owned()),
        Verdict::Skipped(decision) => {
            (Style::Odd, format!("skipped ({}): {}", decision.reason, decision.sentence))
        }
        Verdict::NoPodTemplate => (Style::Faint, "no pod template".to_owned()),
        Verdict::LeftAlone(why) => (Style::Odd, why.to_string()),
        Verdict::Refused(refusal) => {
            (Style::Bad, format!("refused ({}): {}", refusal.reason(), explained(refusal)))
        }
    }
}

/// A text from a file, without what could move a terminal's cursor.
fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let hidden = c.is_control() && c != '\n';
            let escaped: String = if hidden { c.escape_default().collect() } else { c.into() };
            escaped.chars().collect::<Vec<_>>()
        })
        .collect()
}
