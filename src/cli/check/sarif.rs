//! The report as SARIF 2.1.0 (OASIS), which code hosts and editors show at the lines of a file.

#![allow(clippy::indexing_slicing, reason = "an index of serde_json adds the key to an object")]

use serde_json::{Value, json};

use super::{Diagnostic, Findings};
use crate::lint::RULES;

pub(super) fn render(findings: &Findings) -> Value {
    let rules: Vec<Value> =
        RULES.iter().map(|(_, key, about)| json!({"id": key, "shortDescription": {"text": about}})).collect();
    let results: Vec<Value> = findings.report.diagnostics.iter().map(result).collect();
    json!({
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [{
            "tool": {"driver": {"name": "outrigger", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(diagnostic: &Diagnostic) -> Value {
    let index = RULES.iter().position(|(rule, ..)| *rule == diagnostic.rule);
    let mut physical = json!({"artifactLocation": {"uri": uri(&diagnostic.file)}});
    if let Some(place) = diagnostic.place {
        physical["region"] = json!({"startLine": place.line, "startColumn": place.column});
        if let Some(snippet) = &diagnostic.snippet {
            physical["region"]["snippet"] = json!({"text": snippet});
        }
    }
    let mut location = json!({"physicalLocation": physical});
    if let Some(at) = &diagnostic.template {
        let name = format!("template {}, line {}, column {}", at.template, at.line, at.column);
        location["logicalLocations"] = json!([{"fullyQualifiedName": name}]);
    }
    json!({
        "ruleId": diagnostic.rule.key(),
        "ruleIndex": index,
        "level": diagnostic.severity.as_str(),
        "message": {"text": diagnostic.message},
        "locations": [location],
    })
}

/// A relative file name as a relative URI, an absolute one as `file:`; everything but plain characters is escaped.
fn uri(file: &str) -> String {
    let mut uri = String::from(if file.starts_with('/') { "file://" } else { "" });
    for byte in file.trim_start_matches("./").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                uri.push(char::from(byte))
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_become_uris() {
        for (file, wanted) in [
            ("bundle.yaml", "bundle.yaml"),
            ("./deploy/a b.yaml", "deploy/a%20b.yaml"),
            ("/etc/ä.yaml", "file:///etc/%C3%A4.yaml"),
        ] {
            assert_eq!(uri(file), wanted);
        }
    }
}
