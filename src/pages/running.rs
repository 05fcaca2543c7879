//! The page of a running server, on its admin port; read-only.

use maud::{Markup, html};
use serde_json::Value;

use super::{layout, visible};

/// What the page shows. Times are texts, because the server formats them.
#[derive(Debug, Default)]
pub struct Running<'r> {
    /// The version of the server.
    pub version: &'r str,
    /// The active configuration.
    pub configuration: Option<Configuration>,
    /// The certificate that is served.
    pub certificate: Option<Certificate>,
    /// The conditions for serving requests.
    pub checks: Vec<Check>,
    /// The last decisions, newest first; `None` if they are not kept.
    pub decisions: Option<Vec<Value>>,
}

/// The active configuration.
#[derive(Debug)]
pub struct Configuration {
    /// Where it comes from.
    pub source: &'static str,
    /// Its revision.
    pub revision: String,
    /// Its hash.
    pub hash: String,
    /// How many configurations were applied.
    pub generation: u64,
    /// When it was applied, and how long ago.
    pub applied: String,
}

/// The certificate that is served.
#[derive(Debug)]
pub struct Certificate {
    /// How much of its lifetime is over, in percent.
    pub elapsed: u8,
    /// Its times in order, each with what happens then.
    pub timeline: Vec<(&'static str, String)>,
    /// Why API servers would reject it.
    pub problems: Vec<String>,
}

/// A condition for serving requests.
#[derive(Debug)]
pub struct Check {
    /// Its name, as in `/readyz?verbose`.
    pub name: &'static str,
    /// Whether it keeps the server from being ready.
    pub is_failed: bool,
    /// Details about it, the problem first.
    pub texts: Vec<String>,
}

/// The page.
pub fn page(running: &Running<'_>) -> String {
    let content = html! {
        h1 { "Running server" }
        p.lead { "outrigger " (running.version) ", this replica. The page is read-only; reload it for the current state." }
        section.card aria-labelledby="configuration-title" {
            h2 #configuration-title { "Configuration" }
            @match &running.configuration {
                Some(configuration) => (active(configuration)),
                None => p { span.badge.denied { "none" } " No configuration has been applied yet." },
            }
        }
        section.card aria-labelledby="certificate-title" {
            h2 #certificate-title { "Certificate" }
            @match &running.certificate {
                Some(certificate) => (served(certificate)),
                None => p { span.badge.denied { "none" } " No certificate has been loaded yet." },
            }
        }
        section.card aria-labelledby="checks-title" {
            h2 #checks-title { "Checks" }
            ul.cases { @for check in &running.checks { (checked(check)) } }
        }
        section.card aria-labelledby="decisions-title" {
            h2 #decisions-title { "Recent decisions" }
            @match &running.decisions {
                Some(decisions) => (decided(decisions)),
                None => p { "None are kept; " code { "--debug-decisions N" } " keeps the last N." },
            }
        }
    };
    layout::notice("Running server", &content)
}

fn active(configuration: &Configuration) -> Markup {
    let rows = [
        ("Source", configuration.source.to_owned()),
        ("Revision", configuration.revision.clone()),
        ("Hash", configuration.hash.clone()),
        ("Generation", configuration.generation.to_string()),
        ("Applied", configuration.applied.clone()),
    ];
    html! { table { tbody { @for (name, value) in rows { tr { th scope="row" { (name) } td { (visible(&value)) } } } } } }
}

fn served(certificate: &Certificate) -> Markup {
    html! {
        label for="lifetime" { (certificate.elapsed) "% of its lifetime is over" }
        progress #lifetime max="100" value=(certificate.elapsed) {}
        table { tbody { @for (name, time) in &certificate.timeline { tr { th scope="row" { (name) } td { (time) } } } } }
        @for problem in &certificate.problems { p { span.badge.denied { "rejected" } " " (visible(problem)) } }
    }
}

fn checked(check: &Check) -> Markup {
    html! {
        li {
            @if check.is_failed { span.badge.denied { "failed" } } @else { span.badge.injected { "ok" } }
            " " strong { (check.name) }
            @for text in &check.texts { " " (visible(text)) }
        }
    }
}

/// Columns of a decision, by their keys in `/debug/decisions`.
const COLUMNS: [(&str, &str); 8] = [
    ("outcome", "Outcome"),
    ("reason", "Reason"),
    ("namespace", "Namespace"),
    ("name", "Name"),
    ("owner", "Owner"),
    ("warnings", "Warnings"),
    ("durationMs", "Time in ms"),
    ("cache", "Cache"),
];

fn decided(decisions: &[Value]) -> Markup {
    html! {
        @if decisions.is_empty() { p { "None yet." } } @else {
            div.scroll tabindex="0" role="region" aria-label="Recent decisions, newest first" {
                table {
                    thead { tr { @for (_, title) in COLUMNS { th scope="col" { (title) } } } }
                    tbody {
                        @for decision in decisions {
                            tr { @for (key, _) in COLUMNS { td { (visible(&cell(decision.get(key)))) } } }
                        }
                    }
                }
            }
        }
    }
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(", "),
        Some(other) => other.to_string(),
    }
}
