//! The report as SARIF 2.1.0 (OASIS), which code hosts and editors show at the lines of a file.

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
    let artifact = json!({"uri": uri(&diagnostic.file)});
    let snippet = diagnostic.snippet.as_ref().map(|snippet| json!({"text": snippet}));
    let physical = match (diagnostic.place, snippet) {
        (Some(place), Some(snippet)) => json!({
            "artifactLocation": artifact,
            "region": {"startLine": place.line, "startColumn": place.column, "snippet": snippet},
        }),
        (Some(place), None) => json!({
            "artifactLocation": artifact,
            "region": {"startLine": place.line, "startColumn": place.column},
        }),
        (None, _) => json!({"artifactLocation": artifact}),
    };
    let location = match &diagnostic.template {
        Some(at) => {
            let name = format!("template {}, line {}, column {}", at.template, at.line, at.column);
            json!({"physicalLocation": physical, "logicalLocations": [{"fullyQualifiedName": name}]})
        }
        None => json!({"physicalLocation": physical}),
    };
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
