//! `outrigger inject -o kustomize`: what kubectl builds with the component is what `inject` writes.

use std::{fs, path::Path, process::Command};

use outrigger::yaml::{self, Limits};
use serde_json::{Value, json};

use super::control_plane::programs::Programs;

/// What a program prints.
fn output(command: &mut Command) -> String {
    let output = command.env_remove("OUTRIGGER_BUNDLE").output().expect("a run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn documents(text: &str) -> Vec<Value> {
    let documents = yaml::split_documents(text);
    let values = documents.iter().map(|one| yaml::load(one.text, &Limits::default()).expect("YAML"));
    values.filter(|value| !value.is_null()).collect()
}

/// A value without nulls and with an absent source of a volume in place of an empty one, as kustomize writes it.
fn normalized(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(key, value)| !(value.is_null() || *key == "emptyDir" && **value == json!({})))
            .map(|(key, value)| (key.clone(), normalized(value)))
            .collect(),
        Value::Array(items) => items.iter().map(normalized).collect(),
        other => other.clone(),
    }
}

#[test]
fn kubectl_builds_the_injected_objects_from_the_component() {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/manifests");
    let outrigger = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
        command.args(["inject", "-q"]);
        command
    };
    let mut compared = 0;
    for name in ["cronjob", "daemonset", "deployment", "job", "pod", "replicaset", "rollout", "statefulset"] {
        let manifest = manifests.join(format!("{name}.yaml"));
        let folder = tempfile::tempdir().expect("a folder");
        let component = output(outrigger().args(["-o", "kustomize", "-f"]).arg(&manifest));
        for (path, text) in [
            ("base/manifest.yaml", fs::read_to_string(&manifest).expect("a manifest")),
            ("base/kustomization.yaml", "resources: [manifest.yaml]\n".to_owned()),
            ("component/kustomization.yaml", component),
            ("overlay/kustomization.yaml", "resources: [../base]\ncomponents: [../component]\n".to_owned()),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        let mut kubectl = Command::new(Programs::find().kubectl());
        let built = documents(&output(kubectl.arg("kustomize").arg(folder.path().join("overlay"))));
        let key = |value: &Value| format!("{} {}", value["kind"], value["metadata"]["name"]);
        for wanted in documents(&output(outrigger().arg("-f").arg(&manifest))) {
            let built = built.iter().find(|built| key(built) == key(&wanted));
            assert_eq!(built.map(normalized), Some(normalized(&wanted)), "{name}");
            compared += 1;
        }
    }
    assert!(compared >= 8, "{compared}");
}
