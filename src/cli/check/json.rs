//! The report for programs. Fields are added, never changed, within one `apiVersion`.

#![allow(clippy::indexing_slicing, reason = "an index of serde_json adds the key to an object")]

use serde_json::{Value, json};

use super::{Findings, Severity};

pub(super) fn render(findings: &Findings) -> Value {
    let report = &findings.report;
    let inputs: Vec<Value> = report
        .inputs
        .iter()
        .map(|input| json!({"file": input.file, "shape": input.shape.to_string()}))
        .collect();
    let diagnostics: Vec<Value> = findings
        .of_configuration()
        .map(|diagnostic| {
            let mut value = json!({
                "severity": diagnostic.severity.as_str(),
                "rule": diagnostic.rule.key(),
                "message": diagnostic.message,
                "file": diagnostic.file,
            });
            let mut add = |key: &str, content: Value| {
                value[key] = content;
            };
            if let Some(place) = diagnostic.place {
                add("line", json!(place.line));
                add("column", json!(place.column));
            }
            if let Some(snippet) = &diagnostic.snippet {
                add("snippet", json!(snippet));
            }
            if let Some(at) = &diagnostic.template {
                add("template", json!({"name": at.template, "line": at.line, "column": at.column}));
            }
            value
        })
        .collect();
    let tests: Vec<Value> = findings
        .cases
        .iter()
        .map(|verdict| {
            json!({
                "name": verdict.case.name,
                "file": verdict.file,
                "line": verdict.case.place.line,
                "passed": verdict.failures.is_empty(),
                "failures": verdict.failures,
            })
        })
        .collect();
    json!({
        "apiVersion": "outrigger.dev/v1alpha1",
        "kind": "CheckReport",
        "inputs": inputs,
        "diagnostics": diagnostics,
        "tests": tests,
        "summary": {
            "errors": findings.count(Severity::Error),
            "warnings": findings.count(Severity::Warning),
            "notes": findings.count(Severity::Note),
            "testsFailed": findings.failed(),
        },
    })
}
