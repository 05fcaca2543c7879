//! Compares decoding with the answers of `sigs.k8s.io/yaml` for the same texts (`hack/oracle/decoding`).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::quantity;

#[derive(serde::Deserialize)]
struct Fixture {
    values: Vec<String>,
    answers: Vec<Vec<String>>,
    paths: BTreeMap<String, Vec<Path>>,
    wholes: Vec<Whole>,
}

#[derive(serde::Deserialize)]
struct Path {
    path: String,
    answers: usize,
}

#[derive(serde::Deserialize)]
struct Whole {
    kind: String,
    text: String,
    json: Option<String>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../../../tests/fixtures/decoding.json")).unwrap()
}

fn read(text: &str, kind: &str) -> Result<(Value, Corrections), String> {
    let mut node = yaml::parse(text, &yaml::Limits::default()).map_err(|error| error.to_string())?;
    let corrections = object(&mut node, type_of(kind).unwrap())
        .map_err(|misfit| format!("{}: {}", misfit.path, misfit.found))?;
    Ok((node.to_value().map_err(|error| error.to_string())?, corrections))
}

/// Whether a value is what Go leaves out, or writes for nothing.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_nothing),
        Value::Bool(true) => false,
    }
}

/// Whether the values mean the same to Go, apart from the form of quantities and times, and from keys it does not know.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            theirs.iter().all(|(key, theirs)| same(ours.get(key).unwrap_or(&Value::Null), theirs))
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }
        (ours, theirs) => {
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            ours == theirs
                || is_nothing(ours) && (is_nothing(theirs) || theirs == "0" && ours.is_null())
                || quantity::sign(text(ours).trim()).is_some()
                    && quantity::sign(&text(theirs)).is_some()
                    && ours != theirs
                    && !theirs.is_number()
        }
    }
}

#[test]
fn every_field_takes_what_go_takes() {
    let fixture = fixture();
    let mut wrong = Vec::new();
    let mut asked = 0;
    for (kind, path) in
        fixture.paths.iter().flat_map(|(kind, paths)| paths.iter().map(move |path| (kind, path)))
    {
        for (value, answer) in fixture.values.iter().zip(&fixture.answers[path.answers]) {
            let text = path.path.split(' ').rev().fold(value.clone(), |text, step| match step {
                "0" => format!("[{text}]"),
                step => format!("{{{step}: {text}}}"),
            });
            asked += 1;
            let ours = read(&text, kind);
            let at = ours.as_ref().ok().map(|(value, _)| {
                path.path.split(' ').fold(value, |value, step| match value {
                    Value::Array(items) => items.first().unwrap_or(&Value::Null),
                    value => value.get(step).unwrap_or(&Value::Null),
                })
            });
            let right = match (at, answer.as_str()) {
                (None, "") => true,
                // A value that is not empty stays here, even if Go has no field for it.
                (Some(ours), "-") => is_nothing(ours) || ours.is_object() || path.path.contains("fieldsV1"),
                (Some(ours), theirs) if !theirs.is_empty() => {
                    let theirs: Value = serde_json::from_str(theirs).unwrap();
                    same(ours, &theirs) || theirs.as_str().is_some_and(|text| text.ends_with('Z'))
                }
                _ => false,
            };
            if !right {
                wrong.push(format!("{kind} {text}: ours {ours:?}, theirs {answer:?}"));
            }
        }
    }
    assert!(asked > 50_000, "{asked}");
    assert!(wrong.is_empty(), "{} of {asked}\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n"));
}

#[test]
fn whole_objects_are_read_as_go_reads_them() {
    let mut wrong = Vec::new();
    let wholes = fixture().wholes;
    for whole in &wholes {
        let ours = read(&whole.text, &whole.kind);
        let theirs = whole.json.as_deref().map(|json| serde_json::from_str::<Value>(json).unwrap());
        let right = match (&ours, &theirs) {
            (Err(_), None) => true,
            (Ok((ours, _)), Some(theirs)) => same(ours, theirs),
            _ => false,
        };
        if !right {
            wrong.push(format!("{} {:?}: ours {ours:?}, theirs {theirs:?}", whole.kind, whole.text));
        }
    }
    assert!(wholes.len() > 750);
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), wholes.len(), wrong.join("\n"));
}

#[test]
fn corrections_are_counted_and_the_first_is_named() {
    let text = "metadata: {labels: {a.b/c: no, d: 1}, annotations: {e: ~}}\nspec: {RestartPolicy: Never}\n";
    let (value, corrections) = read(text, "Pod").unwrap();
    let wanted = json!({
        "metadata": {"labels": {"a.b/c": "false", "d": "1"}, "annotations": {"e": ""}},
        "spec": {"restartPolicy": "Never"},
    });
    assert_eq!(value, wanted);
    let changes =
        |count, path: &str, became: &str| Changes { count, path: path.into(), became: became.into() };
    assert_eq!(
        corrections,
        Corrections {
            unquoted: changes(2, "metadata.labels[\"a.b/c\"]", "false"),
            respelled: changes(1, "spec.RestartPolicy", "restartPolicy"),
            emptied: true,
        }
    );
}

#[test]
fn a_misfit_says_where_and_what() {
    let text = "metadata:\n  annotations:\n    a: {b: 1}\n";
    let mut node = yaml::parse(text, &yaml::Limits::default()).unwrap();
    let misfit = object(&mut node, type_of("Pod").unwrap()).unwrap_err();
    assert_eq!((misfit.mark.line, misfit.mark.column), (3, 8));
    assert_eq!((misfit.path.as_str(), misfit.found.as_str()), ("metadata.annotations.a", "a mapping"));
    assert!(misfit.accepted.starts_with("a string"));
    assert_eq!(
        read("spec: {hostNetwork: \"false\"}", "Pod").unwrap_err(),
        "spec.hostNetwork: a string, \"false\""
    );
}
