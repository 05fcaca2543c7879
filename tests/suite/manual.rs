//! Manual injection of our own manifests: every kind, its reviewed output, and general properties.
//!
//! `OUTRIGGER_BLESS=1 cargo test --test suite manual` rewrites the expected files; review the changes before you commit
//! them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use outrigger::{
    config::{InjectorConfig, NativeSidecars, Source},
    inject::{
        Rules,
        decision::Reason,
        manual::{
            self, Manifest, Options, Verdict,
            kube_inject::{self, Files},
        },
    },
    manifest::TemplatePath,
    yaml::{self, Limits},
};
use serde_json::{Value, json};

use super::headed::headed;

pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/manifests")
}

/// The names of the manifests, sorted.
pub(super) fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

pub(super) fn read(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap()
}

pub(super) fn mesh(bundle: &str) -> InjectorConfig {
    InjectorConfig::from_bundle(Source { name: "bundle", text: &headed(bundle) }).unwrap().0
}

pub(super) fn options(mesh: &InjectorConfig) -> Options<'_> {
    Options {
        mesh,
        rules: Rules::Configured,
        namespace: "",
        template_paths: vec!["spec.worker.pod".parse::<TemplatePath>().unwrap()],
    }
}

pub(super) fn inject<'t>(text: &'t str, options: &Options<'_>) -> Manifest<'t> {
    manual::inject(text, options).unwrap()
}

/// Compares texts with the files of a directory, one for one; writes them with `OUTRIGGER_BLESS`.
fn hold_against(folder: &Path, texts: &[(String, String)]) {
    if std::env::var_os("OUTRIGGER_BLESS").is_some() {
        fs::create_dir_all(folder).unwrap();
        for stale in names(folder) {
            fs::remove_file(folder.join(stale)).unwrap();
        }
        for (name, text) in texts {
            fs::write(folder.join(name), text).unwrap();
        }
        return;
    }
    let expected: BTreeSet<String> = texts.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names(folder), expected, "files in {}", folder.display());
    for (name, text) in texts {
        let wanted = fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(*text, wanted, "{name} changed; see OUTRIGGER_BLESS in this file");
    }
}

#[test]
fn injects_every_kind_as_reviewed() {
    let mesh = mesh("");
    let texts: Vec<_> = names(&folder())
        .into_iter()
        .map(|name| (name.clone(), inject(&read(&name), &options(&mesh)).to_string()))
        .collect();
    hold_against(&folder().join("expected"), &texts);
}

#[test]
fn kube_injects_as_reviewed() {
    let (mesh, warnings) = kube_inject::mesh(&Files::default(), "", NativeSidecars::Auto).unwrap();
    assert_eq!(warnings, []);
    let options = Options { rules: Rules::TemplatesOnly, template_paths: Vec::new(), ..options(&mesh) };
    // The differences from `inject`: the CronJob's level, zero fields, kinds that Istio does not know, terminators.
    let texts: Vec<_> =
        ["cronjob.yaml", "daemonset.yaml", "deploymentconfig.yaml", "list.yaml", "rollout.yaml"]
            .map(|name| (name.to_owned(), inject(&read(name), &options).terminated().to_string()))
            .to_vec();
    hold_against(&folder().join("expected/kube-inject"), &texts);
    assert_eq!(
        inject(&read("rollout.yaml"), &options).terminated().to_string(),
        read("rollout.yaml") + "---\n"
    );
}

#[test]
fn injecting_again_changes_no_byte() {
    let mesh = mesh("");
    for name in names(&folder()) {
        let text = read(&name);
        let once = inject(&text, &options(&mesh)).to_string();
        let again = inject(&once, &options(&mesh));
        assert!(!again.is_changed(), "{name}");
        assert_eq!(again.to_string(), once, "{name}");
    }
}

#[test]
fn patches_make_the_injected_objects() {
    let mesh = mesh("");
    for name in names(&folder()) {
        let text = read(&name);
        let manifest = inject(&text, &options(&mesh));
        let mut patches = manifest.patches().into_iter();
        for (original, value) in manifest.originals().zip(manifest.values()) {
            for identity in outrigger::manifest::identities(&original) {
                let before = original.pointer(&identity.object).unwrap();
                let after = value.pointer(&identity.object).unwrap();
                if before == after {
                    continue;
                }
                let patch = patches.next().unwrap();
                assert_eq!((&patch["kind"], &patch["name"]), (&before["kind"], &before["metadata"]["name"]));
                let operations: json_patch::Patch = serde_json::from_value(patch["patch"].clone()).unwrap();
                let mut patched = before.clone();
                json_patch::patch(&mut patched, &operations).unwrap();
                assert_eq!(&patched, after, "{name}");
            }
        }
        assert!(patches.next().is_none(), "{name}: a patch for an object that did not change");
    }
}

#[test]
fn written_manifests_say_what_was_computed() {
    let mesh = mesh("");
    for name in names(&folder()) {
        let text = read(&name);
        let manifest = inject(&text, &options(&mesh));
        let written = manifest.to_string();
        let again = inject(&written, &options(&mesh));
        let values = |manifest: &Manifest<'_>| -> Vec<Value> { manifest.values().collect() };
        assert_eq!(values(&again), values(&manifest), "{name}");
    }
}

#[test]
fn reports_what_came_of_every_object() {
    let mesh = mesh("");
    let options = options(&mesh);
    let rows = |name: &str| -> Vec<String> {
        let text = read(name);
        let manifest = inject(&text, &options);
        let row = |row: &manual::Row| {
            let verdict = match &row.verdict {
                Verdict::Injected { templates, .. } => templates.join(","),
                Verdict::Skipped(decision) => decision.reason.key().to_owned(),
                Verdict::NoPodTemplate => "none".to_owned(),
                Verdict::LeftAlone(why) => format!("{why:?}"),
                Verdict::Refused(refusal) => refusal.reason().to_owned(),
                other => panic!("{other:?}"),
            };
            format!("{} {}: {verdict}", row.object.kind, row.object.name)
        };
        manifest.rows().map(row).collect()
    };
    assert_eq!(
        rows("daemonset.yaml"),
        ["DaemonSet node-agent: HOST_NETWORK", "DaemonSet log-reader: sidecar"]
    );
    assert_eq!(rows("job.yaml"), ["Job import: sidecar", "Job backup: POD_OPTED_OUT"]);
    assert_eq!(
        rows("list.yaml"),
        ["ConfigMap settings: none", "Deployment front: sidecar", "Widget unknown: none"]
    );
    assert_eq!(rows("worker-pool.yaml"), ["WorkerPool encoders: sidecar"]);
}

pub(super) const DEPLOYMENT: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: app, image: i}]}}}\n";

#[test]
fn a_refused_object_stays_and_names_all_violations() {
    let mesh = mesh("");
    let text = DEPLOYMENT.replace(
        "{template: {",
        "{template: {metadata: {annotations: {traffic.sidecar.istio.io/excludeInboundPorts: x, sidecar.istio.io/interceptionMode: sideways}}, ",
    );
    let manifest = inject(&text, &options(&mesh));
    assert!(manifest.is_refused() && !manifest.is_changed());
    let Some(Verdict::Refused(refusal)) = manifest.rows().map(|row| &row.verdict).next() else { panic!() };
    assert!(refusal.to_string().contains("excludeInboundPorts"), "{refusal}");
    assert!(refusal.to_string().contains("interceptionMode"), "{refusal}");
}

#[test]
fn the_namespace_given_stands_in_and_its_labels_count() {
    let mesh = mesh("namespaces: [{name: closed, labels: {istio-injection: disabled}}]");
    let decided = |namespace: &str, text: &str| {
        let options = Options { namespace, ..options(&mesh) };
        let manifest = inject(text, &options);
        let row = manifest.rows().next().unwrap();
        let reason = match &row.verdict {
            Verdict::Skipped(decision) => Some(decision.reason),
            _ => None,
        };
        (row.object.namespace.clone(), reason)
    };
    let named = DEPLOYMENT.replace("{name: web}", "{name: web, namespace: open}");
    assert_eq!(decided("", DEPLOYMENT), (None, None));
    assert_eq!(decided("closed", DEPLOYMENT), (Some("closed".to_owned()), Some(Reason::NamespaceDisabled)));
    assert_eq!(decided("closed", &named), (Some("open".to_owned()), None), "the manifest's own wins");
}

#[test]
fn kube_inject_ignores_what_istioctl_ignores() {
    // Policy, selectors, aliases, default templates, annotations and namespaces would all change the outcome.
    let bundle = json!({
        "injector": {
            "policy": "disabled",
            "defaultTemplates": ["gateway"],
            "aliases": {"sidecar": ["grpc-simple"]},
            "neverInjectSelector": [{"matchLabels": {"app": "web"}}],
            "injectedAnnotations": {"added": "yes"},
        },
        "compat": "istio",
        "namespaces": [{"name": "closed", "labels": {"istio-injection": "disabled"}}],
    });
    let mesh = mesh(&bundle.to_string());
    let text = DEPLOYMENT.replace("{name: web}", "{name: web, namespace: closed}");
    let options = Options { rules: Rules::TemplatesOnly, template_paths: Vec::new(), ..options(&mesh) };
    let manifest = inject(&text, &options);
    let Some(Verdict::Injected { templates, .. }) = manifest.rows().map(|row| &row.verdict).next() else {
        panic!("not injected")
    };
    assert_eq!(*templates, ["sidecar"]);
    let value = manifest.values().next().unwrap();
    let pod = value.pointer("/spec/template").unwrap();
    assert_eq!(pod.pointer("/metadata/annotations/added"), None);
    let init: Vec<_> = pod["spec"]["initContainers"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
    assert_eq!(init, ["istio-init"], "nodes are not known, so the sidecar is a container");
}

#[test]
fn operator_files_and_bare_templates_configure_kube_inject() {
    let source = |name: &'static str, text: &'static str| Some(Source { name, text });
    let files = Files {
        inject_config: source(
            "inject.tmpl",
            "spec:\n  containers:\n  - name: extra\n    image: {{ .Values.global.hub }}/x:{{ .Values.global.tag }}\n",
        ),
        values: source("values.json", "{\"global\": {\"hub\": \"from-values\"}}"),
        operator: source(
            "operator.yaml",
            "kind: IstioOperator\nspec:\n  profile: demo\n  hub: from-operator\n  meshConfig: {trustDomain: example.org}\n",
        ),
        ..Files::default()
    };
    let (mesh, warnings) = kube_inject::mesh(&files, "canary", NativeSidecars::Auto).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].message.contains("demo"));
    assert_eq!(mesh.revision(), "canary");
    assert_eq!(mesh.mesh_config()["trustDomain"], "example.org");
    let options = Options { rules: Rules::TemplatesOnly, template_paths: Vec::new(), ..options(&mesh) };
    let manifest = inject(DEPLOYMENT, &options);
    let value = manifest.values().next().unwrap();
    let containers = value.pointer("/spec/template/spec/containers").unwrap();
    let image =
        containers.as_array().unwrap().iter().find(|c| c["name"] == "extra").unwrap()["image"].clone();
    assert!(image.as_str().unwrap().starts_with("from-operator/x:1."), "{image}");

    let without = Files { operator: None, ..files };
    let (mesh, _) = kube_inject::mesh(&without, "", NativeSidecars::Auto).unwrap();
    assert_eq!(mesh.values(), &json!({"global": {"hub": "from-values"}}), "a file of values is complete");

    let wrong = Files { operator: source("operator.yaml", "kind: Deployment"), ..Files::default() };
    let error = kube_inject::mesh(&wrong, "", NativeSidecars::Auto).unwrap_err().to_string();
    assert_eq!(error, "operator.yaml: kind: found \"Deployment\"; expected IstioOperator");
}

#[test]
fn values_files_leave_the_embedded_templates_in_place() {
    let values = mesh("").values().to_string();
    let files = Files { values: Some(Source { name: "values.json", text: &values }), ..Files::default() };
    let (given, _) = kube_inject::mesh(&files, "", NativeSidecars::Auto).unwrap();
    let (embedded, _) = kube_inject::mesh(&Files::default(), "", NativeSidecars::Auto).unwrap();
    let injected = |mesh: &InjectorConfig| {
        let options = Options { rules: Rules::TemplatesOnly, ..options(mesh) };
        inject(DEPLOYMENT, &options).to_string()
    };
    assert_eq!(injected(&given), injected(&embedded));
}

#[test]
fn json_documents_come_one_after_another() {
    let mesh = mesh("");
    let object = yaml::load(DEPLOYMENT, &Limits::default()).unwrap().to_string();
    let text = format!("{object}\n{{\"kind\": \"Service\"  }}\n\n");
    let manifest = inject(&text, &options(&mesh));
    assert_eq!(manifest.values().count(), 2);
    let written = manifest.to_string();
    assert!(written.ends_with("\n{\"kind\": \"Service\"  }\n\n"), "{written}");
    let mut values = serde_json::Deserializer::from_str(&written).into_iter::<Value>();
    let injected = values.next().unwrap().unwrap();
    assert_eq!(injected, manifest.values().next().unwrap());
    let list = Manifest::to_json(std::slice::from_ref(&manifest));
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&json!("List"), 2));
    let one = inject(DEPLOYMENT, &options(&mesh));
    assert_eq!(Manifest::to_json(std::slice::from_ref(&one))["kind"], "Deployment");
}

#[test]
fn separators_survive_a_change() {
    let mesh = mesh("");
    let flow = DEPLOYMENT.trim_end().replace("\n", ", ");
    let text = format!("--- {{{flow}}}\n...\n# next\nkind: Service\n--- # commented\n{DEPLOYMENT}");
    let manifest = inject(&text, &options(&mesh));
    let written = manifest.to_string();
    assert!(
        written.starts_with("--- {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: "),
        "{written}"
    );
    assert!(written.contains("}\n...\n# next\nkind: Service\n--- # commented\napiVersion"), "{written}");
    assert_eq!(inject(&written, &options(&mesh)).values().count(), 3);
}

#[test]
fn errors_are_placed_in_the_whole_text() {
    let mesh = mesh("");
    let place = |text: &str| {
        let error = manual::inject(text, &options(&mesh)).unwrap_err();
        (error.line, error.column)
    };
    assert_eq!(place("a: 1\n---\n\"b\": .inf\n"), (3, 6));
    assert_eq!(place("a: 1\n--- {b: .inf}\n"), (2, 9));
    assert_eq!(place("{b: .inf}\n"), (1, 5));
}

#[test]
fn patches_are_relative_to_the_object() {
    let mesh = mesh("");
    let text = read("list.yaml");
    let patches = inject(&text, &options(&mesh)).patches();
    assert_eq!(patches.len(), 1);
    let operations: Vec<&str> =
        patches[0]["patch"].as_array().unwrap().iter().map(|step| step["path"].as_str().unwrap()).collect();
    assert!(operations.iter().all(|path| path.starts_with("/spec/template/")), "{operations:?}");
}
