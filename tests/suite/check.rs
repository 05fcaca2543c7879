//! `outrigger check`: what it finds, how it says it, and its exit code.

use std::{fs, path::Path};

use outrigger::{
    config::Source,
    lint::{self, RULES, Rule, Severity},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    cli::{Run, command, outrigger, text},
    headed::headed,
};

const BROKEN: &str = "injector:
  templates:
    tuned: |
      spec:
        {{- range .Spec.Containres }}
        hostname: {{ .Name }}
        {{- end }}
        {{- if false }}
        hostNetwork: true
        {{- end }}
        subdomain: {{ .Values.global.hubb }}
";

/// Runs `check` in a folder with these files.
fn check(files: &[(&str, &str)], arguments: &[&str]) -> Run {
    let folder = TempDir::new().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    command().arg("check").args(arguments).current_dir(folder.path()).output().unwrap().into()
}

fn broken(arguments: &[&str]) -> Run {
    check(&[("bundle.yaml", &headed(BROKEN))], &[&["-f", "bundle.yaml"], arguments].concat())
}

#[test]
fn mistakes_are_shown_with_their_lines() {
    let run = broken(&[]);
    assert_eq!(run.code, 65, "{}", run.stdout);
    assert_eq!(
        run.stdout,
        "bundle.yaml: bundle
error: bundle.yaml:5:25: template tuned: can't evaluate field Containres in type v1.PodSpec; nearest: \"Containers\" [UNKNOWN_FIELD]
    {{- range .Spec.Containres }}
                    ^
warning: bundle.yaml:8:16: template tuned: the condition is always false, so this branch is never rendered [DEAD_BRANCH]
    {{- if false }}
           ^
warning: bundle.yaml:11:23: template tuned: .Values.global.hubb is not set: it is rendered as <no value>; nearest: \"hub\" [UNSET_VALUE]
    subdomain: {{ .Values.global.hubb }}
                  ^
1 document: 1 error, 2 warnings
"
    );
    assert_eq!(run.stderr, "error: the check found 1 error, 2 warnings\n");
}

#[test]
fn a_clean_configuration_exits_with_0_and_strict_counts_warnings() {
    let clean = headed("");
    let run = check(&[("b.yaml", &clean)], &["-f", "b.yaml", "--strict"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "b.yaml: bundle\n1 document: 0 errors, 0 warnings\n"));
    let odd = headed("values: {global: {prox: {}}}\n");
    assert_eq!(check(&[("b.yaml", &odd)], &["-f", "b.yaml"]).code, 0);
    let strict = check(&[("b.yaml", &odd)], &["-f", "b.yaml", "--strict"]);
    assert_eq!(strict.code, 65);
    assert_eq!(strict.stderr, "error: the check found 1 warning, which count as errors with --strict\n");
}

#[test]
fn a_pod_that_loses_something_fails_the_check() {
    let bundle = headed(
        "injector:\n  templates:\n    harden: |\n      spec:\n        containers:\n        - name: web\n          $patch: delete\n",
    );
    let run = check(&[("b.yaml", &bundle)], &["-f", "b.yaml"]);
    assert_eq!(run.code, 65, "{}", run.stdout);
    assert!(run.stdout.contains("spec.containers of the pod would lose its own web"), "{}", run.stdout);
    assert!(run.stdout.contains("error: b.yaml:7:"), "{}", run.stdout);
}

#[test]
fn conditions_on_values_that_nothing_sets_are_found_and_notes_fail_nothing() {
    let bundle = |condition: &str| {
        headed(&format!(
            "injector:\n  templates:\n    own: |\n      {{{{- if {condition} }}}}\n      spec: {{hostname: x}}\n      {{{{- end }}}}\n"
        ))
    };
    let run = check(&[("b.yaml", &bundle(".Values.global.proxy.privilged"))], &["-f", "b.yaml", "--strict"]);
    assert_eq!(run.code, 65, "{}", run.stdout);
    let told = ".Values.global.proxy.privilged is not set, but a condition depends on it; did you mean .Values.global.proxy.privileged? [UNSET_VALUE]";
    assert!(
        run.stdout.contains("warning: b.yaml:4:14: template own: ") && run.stdout.contains(told),
        "{}",
        run.stdout
    );

    let run = check(&[("b.yaml", &bundle(".Values.shop.debug"))], &["-f", "b.yaml", "--strict"]);
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert!(
        run.stdout.contains("note: b.yaml:4:14: template own: .Values.shop.debug is not set"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.ends_with("1 document: 0 errors, 0 warnings, 1 note\n"), "{}", run.stdout);
}

#[test]
fn the_configuration_comes_from_the_flags_of_other_commands_too() {
    let file = [("b.yaml", headed(BROKEN))];
    let files: Vec<(&str, &str)> = file.iter().map(|(name, text)| (*name, text.as_str())).collect();
    assert_eq!(
        check(&files, &["--bundle", "b.yaml"]).stdout,
        broken(&[]).stdout.replace("bundle.yaml", "b.yaml")
    );
    assert_eq!(check(&[], &[]).code, 0, "the embedded defaults");
    assert_eq!(check(&files, &["-f", "b.yaml", "--bundle", "b.yaml"]).code, 64);
    let missing = outrigger(&["check", "-f", "/nowhere/bundle.yaml"]);
    assert_eq!(missing.code, 1, "{}", missing.stderr);
}

#[test]
fn json_is_versioned() {
    let run = broken(&["-o", "json"]);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (&report["apiVersion"], &report["kind"]),
        (&json!("outrigger.dev/v1alpha1"), &json!("CheckReport"))
    );
    assert_eq!(report["inputs"], json!([{"file": "bundle.yaml", "shape": "bundle"}]));
    assert_eq!(report["summary"], json!({"errors": 1, "warnings": 2, "notes": 0, "testsFailed": 0}));
    assert_eq!(
        report["diagnostics"][0],
        json!({
            "severity": "error",
            "rule": "UNKNOWN_FIELD",
            "message": "template tuned: can't evaluate field Containres in type v1.PodSpec; nearest: \"Containers\"",
            "file": "bundle.yaml",
            "line": 5,
            "column": 25,
            "snippet": "  {{- range .Spec.Containres }}",
            "template": {"name": "tuned", "line": 2, "column": 19},
        })
    );
}

/// The properties that the schema of SARIF 2.1.0 requires, and the values it restricts.
#[test]
fn sarif_has_what_its_schema_requires() {
    let run = broken(&["-o", "sarif"]);
    let log: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let runs = log["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1);
    let driver = &runs[0]["tool"]["driver"];
    assert_eq!(driver["name"], "outrigger");
    let rules = driver["rules"].as_array().unwrap();
    for rule in rules {
        assert!(rule["id"].is_string() && rule["shortDescription"]["text"].is_string(), "{rule}");
    }
    let mut ids: Vec<&str> = rules.iter().map(|rule| rule["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), rules.len(), "IDs of rules are unique");
    let results = runs[0]["results"].as_array().unwrap();
    assert_eq!(results.len(), 3);
    for result in results {
        assert!(result["message"]["text"].is_string(), "{result}");
        assert!(
            ["none", "note", "warning", "error"].contains(&result["level"].as_str().unwrap()),
            "{result}"
        );
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        for location in result["locations"].as_array().unwrap() {
            let physical = &location["physicalLocation"];
            assert_eq!(physical["artifactLocation"]["uri"], "bundle.yaml");
            let region = &physical["region"];
            for key in ["startLine", "startColumn"] {
                assert!(region[key].as_u64().is_some_and(|number| number >= 1), "{region}");
            }
            assert!(region["snippet"]["text"].is_string(), "{region}");
        }
    }
}

const CASES: &str = "apiVersion: outrigger.dev/v1alpha1
kind: TemplateTests
cases:
- name: passes
  pod: {metadata: {name: web}, spec: {containers: [{name: web, image: 'web:1'}]}}
  expect: {injected: true}
- name: the proxy listens elsewhere
  pod: {metadata: {name: web}, spec: {containers: [{name: web, image: 'web:1'}]}}
  expect:
    reason: POD_OPTED_IN
    fields:
    - {path: 'spec.initContainers[istio-init].args[2]', equal: '16001'}
";

#[test]
fn a_test_that_fails_says_what_was_found_and_what_was_expected() {
    let files = [("b.yaml", headed("")), ("cases.yaml", CASES.to_owned())];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let run = check(&files, &["--bundle", "b.yaml", "--tests", "cases.yaml"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert_eq!(
        run.stdout,
        "b.yaml: bundle
ok passes
FAILED the proxy listens elsewhere (cases.yaml:7)
  reason: found POLICY_ENABLED; expected POD_OPTED_IN
  spec.initContainers[istio-init].args[2]: found \"15001\"; expected \"16001\"
2 tests: 1 passed, 1 failed
1 document: 0 errors, 0 warnings
"
    );
    assert_eq!(run.stderr, "error: 1 of 2 tests failed\n");
    let json = check(&files, &["--bundle", "b.yaml", "--tests", "cases.yaml", "-o", "json"]);
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        report["tests"][0],
        json!({"name": "passes", "file": "cases.yaml", "line": 4, "passed": true, "failures": []})
    );
    assert_eq!(report["tests"][1]["failures"].as_array().unwrap().len(), 2);
    let sarif = check(&files, &["--bundle", "b.yaml", "--tests", "cases.yaml", "-o", "sarif"]);
    assert_eq!(sarif.stdout.matches("\"ruleId\": \"TEST_FAILS\"").count(), 2, "{}", sarif.stdout);
}

#[test]
fn tests_that_cannot_be_read_fail_the_check() {
    let cases = CASES.replace("expect: {injected: true}", "expect: {injectd: true}");
    let files = [("b.yaml", headed("")), ("cases.yaml", cases)];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let run = check(&files, &["-f", "b.yaml", "--tests", "cases.yaml"]);
    assert_eq!(run.code, 65, "{}", run.stderr);
    let wanted = "error: cases.yaml:6:12: cases[0].expect: found the unknown key \"injectd\"; expected injected, reason, rule, warnings, denied, fields; nearest: \"injected\" [INVALID_TEST]";
    assert!(run.stdout.contains(wanted), "{}", run.stdout);
}

/// Fixtures, examples and packs are known to work: nothing about the types of their templates may be reported.
#[test]
fn templates_that_work_have_no_mistakes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["tests/fixtures/cases", "examples", "templates/packs"].map(|folder| root.join(folder));
    let mut files = Vec::new();
    for folder in folders {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap().path();
            if entry.is_dir() {
                files.extend(fs::read_dir(entry).unwrap().map(|file| file.unwrap().path()));
            }
        }
    }
    let mut templates = 0;
    // This one is about a value that is not set.
    files.retain(|file| !file.ends_with("no-value/bundle.yaml"));
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "yaml")) {
        let Ok(content) = fs::read_to_string(file) else { continue };
        let report = lint::files(&[Source { name: text(file), text: &content }]);
        templates += report.configurations.iter().map(|mesh| mesh.injector().templates.len()).sum::<usize>();
        for found in report.diagnostics {
            let is_of_types = matches!(
                found.rule,
                Rule::UnknownField
                    | Rule::WrongArguments
                    | Rule::WrongType
                    | Rule::UndefinedTemplate
                    | Rule::DeadBranch
                    | Rule::UnsetValue
            );
            // A switch of a test's own that its values leave off.
            assert!(!is_of_types || found.severity == Severity::Note, "{found:?}");
        }
    }
    assert!(templates > 40, "{templates}");
}

#[test]
fn every_rule_is_on_the_page_about_commands() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/commands.md")).unwrap();
    for (_, key, about) in RULES {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        assert!(
            row.is_some_and(|row| row.ends_with(&format!("| {about} |"))),
            "{key} has no row with {about:?}"
        );
    }
}

#[test]
fn two_configurations_cannot_be_tested_at_once() {
    let folder = TempDir::new().unwrap();
    let [one, two, cases] = ["a.yaml", "b.yaml", "cases.yaml"].map(|name| folder.path().join(name));
    fs::write(&one, headed("")).unwrap();
    fs::write(&two, headed("")).unwrap();
    fs::write(&cases, CASES).unwrap();
    let run = outrigger(&["check", "-f", text(&one), "-f", text(&two), "--tests", text(&cases)]);
    assert_eq!(run.code, 64, "{}", run.stderr);
}
