//! Inputs that caused users trouble, run through the built binary: what it must write, print and exit with.
//!
//! A case is a folder of `tests/fixtures/cases` with its inputs and a `case.yaml`:
//!
//! ```yaml
//! about: what the case is about, in one sentence
//! runs:                                   # one after the other, in the folder of the case
//! - run: [inject, -f, input.yaml]         # arguments of outrigger
//!   exit: 0
//!   says: ["injected (sidecar)"]          # each is a part of stderr
//!   never_says: ["warning"]               # none is
//!   same_as: input.yaml                   # stdout is this file, byte for byte
//!   documents:                            # one entry for each YAML document on stdout
//!   - /spec/containers/0/name: app        # JSON pointers and the value there; null is absent
//!     /spec/containers/@istio-proxy/image: null   # @NAME is the item of that name
//! ```

use std::{collections::BTreeSet, fs, path::Path};

use outrigger::yaml;
use serde_json::{Map, Value};

use super::cli::{Run, command};

const KEYS: [&str; 6] = ["run", "exit", "says", "never_says", "same_as", "documents"];

#[test]
fn cases_give_what_their_files_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cases");
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let mut failed = Vec::new();
    let mut runs = 0;
    for case in &names {
        let name = case.file_name().unwrap().to_string_lossy();
        let text = fs::read_to_string(case.join("case.yaml")).unwrap();
        let value =
            yaml::load(&text, &yaml::Limits::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let keys: BTreeSet<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, BTreeSet::from(["about", "runs"]), "{name}");
        for run in value["runs"].as_array().unwrap() {
            runs += 1;
            if let Err(violations) = check(case, run.as_object().unwrap()) {
                failed.push(format!("{name}: {}\n{violations}", run["run"]));
            }
        }
    }
    assert!(runs > 0, "no cases");
    assert!(failed.is_empty(), "{} of {runs} runs\n{}", failed.len(), failed.join("\n\n"));
}

fn check(folder: &Path, case: &Map<String, Value>) -> Result<(), String> {
    for key in case.keys() {
        assert!(KEYS.contains(&key.as_str()), "{}: unknown key {key}", folder.display());
    }
    let arguments = strings(&case["run"]);
    let run: Run = command().args(&arguments).current_dir(folder).output().unwrap().into();
    let mut violations = Vec::new();
    if i64::from(run.code) != case["exit"].as_i64().unwrap() {
        violations.push(format!("exit {}, wanted {}", run.code, case["exit"]));
    }
    for wanted in case.get("says").map(strings).unwrap_or_default() {
        if !run.stderr.contains(&wanted) {
            violations.push(format!("stderr lacks {wanted:?}"));
        }
    }
    for unwanted in case.get("never_says").map(strings).unwrap_or_default() {
        if run.stderr.contains(&unwanted) {
            violations.push(format!("stderr has {unwanted:?}"));
        }
    }
    if let Some(file) = case.get("same_as") {
        let wanted = fs::read_to_string(folder.join(file.as_str().unwrap())).unwrap();
        if run.stdout != wanted {
            violations.push(format!("stdout is not {file}"));
        }
    }
    if let Some(wanted) = case.get("documents") {
        documents(&run.stdout, wanted.as_array().unwrap(), &mut violations);
    }
    if violations.is_empty() {
        return Ok(());
    }
    Err(format!("  {}\n  stderr:\n{}", violations.join("\n  "), run.stderr))
}

fn documents(stdout: &str, wanted: &[Value], violations: &mut Vec<String>) {
    let limits = yaml::Limits::default();
    let found: Vec<Value> = yaml::split_documents(stdout)
        .iter()
        .map(|document| yaml::load(document.text, &limits).unwrap())
        .collect();
    if found.len() != wanted.len() {
        violations.push(format!("{} documents on stdout, wanted {}", found.len(), wanted.len()));
    }
    for (index, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        for (pointer, value) in wanted.as_object().unwrap() {
            let there = at(found, pointer).unwrap_or(&Value::Null);
            if there != value {
                violations.push(format!("document {index}, {pointer}: {there}, wanted {value}"));
            }
        }
    }
}

/// What a JSON pointer leads to, where `@NAME` stands for the item of a list that has the name.
fn at<'a>(value: &'a Value, pointer: &str) -> Option<&'a Value> {
    pointer.split('/').skip(1).try_fold(value, |value, step| {
        let step = step.replace("~1", "/").replace("~0", "~");
        match (value, step.strip_prefix('@')) {
            (Value::Array(items), Some(name)) => items.iter().find(|item| item["name"] == name),
            (Value::Array(items), None) => items.get(step.parse::<usize>().ok()?),
            _ => value.get(&step),
        }
    })
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}
