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
