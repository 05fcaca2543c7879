//! `outrigger what-if` and `outrigger stale`, through the binary: what a new configuration changes, and what runs from an old one.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    cli::{Run, fixture, outrigger, text},
    headed::headed,
};

/// A folder with bundles.
struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(TempDir::new().unwrap())
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path: PathBuf = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        text(&path).to_owned()
    }

    fn bundle(&self, name: &str, content: &str) -> String {
        self.file(name, &headed(content))
    }
}

fn document(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", run.stdout, run.stderr))
}

const NEWER: &str = "values: {global: {tag: 1.99.0}}\n";

#[test]
fn a_new_configuration_shows_its_changes_once_with_their_number() {
    let folder = Folder::new();
    let (old, new) = (folder.bundle("old.yaml", ""), folder.bundle("new.yaml", NEWER));
    let manifests = fixture("");
    let what_if = |more: &[&str]| {
        outrigger(&[&["what-if", "--old", &old, "--new", &new, "-f", text(&manifests)][..], more].concat())
    };
    let run = what_if(&[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines[0], "12 pod templates injected differently (image)");
    let image = |container: &str, side: &str| {
        format!("spec.initContainers[{container}].image: \"registry.istio.io/release/proxyv2:{side}")
    };
    assert!(
        lines[2].contains(&image("istio-init", "1.32.0\" -> ")) && lines[2].ends_with("proxyv2:1.99.0\""),
        "{}",
        lines[2]
    );
    assert_eq!(lines.last(), Some(&"14 pod templates: 2 identical, 12 different, in 1 group"));
    assert_eq!(what_if(&["--exit-code"]).code, 1);
    let report = document(&what_if(&["-o", "json"]));
    assert_eq!(
        (&report["kind"], &report["total"], &report["identical"]),
        (&json!("WhatIf"), &json!(14), &json!(2))
    );
    let group = &report["groups"][0];
    assert_eq!((&group["count"], &group["classes"]), (&json!(12), &json!(["image"])));
    assert_eq!(group["before"], json!({"outcome": "injected"}));
    assert_eq!(group["subjects"].as_array().unwrap().len(), 12);

    let page = folder.0.path().join("changes.html");
    let run = what_if(&["--html", text(&page)]);
    assert!(run.code == 0 && run.stdout.starts_with("12 pod templates"), "{}", run.stderr);
    let page = fs::read_to_string(page).unwrap();
    for part in [
        "<h2>12 pod templates</h2>",
        "14 pod templates</strong>: 2 identical, 12 different, in 1 group",
        "injected</span> differently (image)",
        "<li>shop/Deployment/storefront</li>",
        "<code>spec.initContainers[istio-init].image</code>",
        "proxyv2:1.99.0",
        "default-src 'none'",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("<script") && !page.contains("<link") && !page.contains(" src="), "one file");
    let nowhere = what_if(&["--html", "/nowhere/changes.html"]);
    assert!(nowhere.code == 1 && nowhere.stdout.is_empty(), "{}", nowhere.stderr);

    let same = outrigger(&["what-if", "--old", &old, "--new", &old, "-f", text(&manifests), "--exit-code"]);
    assert_eq!(
        (same.code, same.stdout.as_str()),
        (0, "14 pod templates: 14 identical, 0 different, in 0 groups\n")
    );
}

#[test]
fn a_new_configuration_that_denies_pods_fails_in_ci() {
    let folder = Folder::new();
    let old = folder.bundle("old.yaml", "");
    let new = folder.bundle(
        "new.yaml",
        "injector: {defaultTemplates: [sidecar, strict], templates: {strict: '{{ if eq .TypeMeta.Kind \"Job\" }}{{ fail \"no\" }}{{ end }}{{ if eq .DeploymentMeta.Name \"checkout\" }}{{ fail \"no checkout\" }}{{ end }}{}'}}\n",
    );
    let deployment = fixture("deployment.json");
    let run = outrigger(&["what-if", "--old", &old, "--new", &new, "-f", text(&deployment)]);
    assert_eq!(run.code, 65, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.starts_with("1 pod template injected -> denied ("), "{}", run.stdout);
    assert!(run.stderr.contains("denies the pods of 1 pod template, which"), "{}", run.stderr);
    // The other way round nothing breaks.
    let back = outrigger(&["what-if", "--old", &new, "--new", &old, "-f", text(&deployment)]);
    assert_eq!(back.code, 0, "{}", back.stderr);
    assert!(back.stdout.starts_with("1 pod template denied ("), "{}", back.stdout);
}

#[test]
fn pods_that_run_from_an_old_configuration_are_grouped() {
    let folder = Folder::new();
    let (old, new) = (folder.bundle("old.yaml", ""), folder.bundle("new.yaml", NEWER));
    let pod = |name: &str, wish: Value| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop", "labels": wish},
            "spec": {"containers": [{"name": "web", "image": "web"}]}})
    };
    let list = |pods: &[Value]| json!({"apiVersion": "v1", "kind": "List", "items": pods}).to_string();
    let fresh =
        [pod("a", json!({})), pod("b", json!({})), pod("out", json!({"sidecar.istio.io/inject": "false"}))];
    let fresh = folder.file("fresh.json", &list(&fresh));
    let injected = outrigger(&["inject", "-f", &fresh, "--bundle", &old, "-o", "json"]);
    assert_eq!(injected.code, 0, "{}", injected.stderr);
    let mut running: Value = serde_json::from_str(&injected.stdout).unwrap();
    running["items"].as_array_mut().unwrap().push(pod("bare", json!({})));
    let running = folder.file("pods.json", &running.to_string());

    let stale = |bundle: &str, more: &[&str]| {
        outrigger(&[&["stale", "-f", &running, "--bundle", bundle][..], more].concat())
    };
    let today = document(&stale(&old, &["-o", "json"]));
    assert_eq!((&today["total"], &today["identical"]), (&json!(4), &json!(3)), "{today}");
    assert_eq!(today["groups"][0]["running"], json!({"outcome": "skipped", "reason": "RUNS_WITHOUT_PROXY"}));
    assert_eq!(today["groups"][0]["subjects"], json!(["shop/Pod/bare"]));

    let run = stale(&new, &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.starts_with("1 pod running without a proxy -> injected\n  shop/Pod/bare\n2 pods injected differently (image)\n  shop/Pod/a, shop/Pod/b\n"), "{}", run.stdout);
    assert!(run.stdout.ends_with("4 pods: 1 identical, 3 different, in 2 groups\n"), "{}", run.stdout);
    let page = folder.0.path().join("stale.html");
    assert_eq!(stale(&new, &["--exit-code", "--html", text(&page)]).code, 1);
    let page = fs::read_to_string(page).unwrap();
    assert!(
        page.contains("running without a proxy → injected") && page.contains("<li>shop/Pod/bare</li>"),
        "{page}"
    );
    assert!(stale(&new, &["-n", "elsewhere"]).stdout.starts_with("0 pods: "));
}
