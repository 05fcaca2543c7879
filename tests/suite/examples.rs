//! The examples do what they show.

use std::{fs, path::Path};

use super::cli::command;

#[test]
fn the_custom_template_gives_the_pod_that_is_shown() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/custom-template");
    let mut inject = command();
    inject.args(["inject", "--quiet", "--bundle"]).arg(folder.join("bundle.yaml"));
    let output = inject.arg("-f").arg(folder.join("pod.yaml")).output().unwrap();
    let injected = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = folder.join("injected.yaml");
    if std::env::var_os("OUTRIGGER_BLESS").is_some() {
        fs::write(&file, &injected).unwrap();
    }
    assert_eq!(injected, fs::read_to_string(&file).unwrap(), "OUTRIGGER_BLESS=1 writes {}", file.display());
}

#[test]
fn the_tests_of_the_custom_template_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/custom-template");
    let mut check = command();
    check.args(["check", "--strict", "--bundle"]).arg(folder.join("bundle.yaml"));
    let output = check.arg("--tests").arg(folder.join("cases.yaml")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("6 tests: 6 passed, 0 failed\n"), "{said}");
}

/// The YAML blocks of the page about guard rails, in order.
fn guard_rails() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guard-rails.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks = page.split("```yaml\n").skip(1);
    blocks.map(|block| block.split_once("```").unwrap().0.to_owned()).collect()
}

#[test]
fn the_settings_and_the_cases_of_the_page_about_guard_rails_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let (cases, settings): (Vec<String>, Vec<String>) =
        guard_rails().into_iter().partition(|block| block.contains("kind: TemplateTests"));
    assert_eq!((cases.len(), settings.len()), (1, 7));
    // The page names a template of the reader's own.
    let head = "apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\ninjector: {templates: {batch: 'metadata: {labels: {a: b}}'}}\n";
    let mut rules = None;
    for block in settings {
        let bundle = file("bundle.yaml", &format!("{head}{block}"));
        let output = command().args(["check", "--strict", "-f"]).arg(&bundle).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{block}{said}{}", String::from_utf8_lossy(&output.stderr));
        if block.starts_with("rules:") {
            rules = Some(file("rules.yaml", &format!("{head}{block}")));
        }
    }
    let cases = file("cases.yaml", &cases[0]);
    let output = command()
        .args(["rules", "test", "--bundle"])
        .arg(rules.expect("the page shows rules"))
        .arg(cases)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("2 tests: 2 passed, 0 failed\n"), "{said}");
}
