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

use super::{headed::headed, own_recordings::RECORDINGS};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/manifests")
}

/// The names of the manifests, sorted.
fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap()
}

fn mesh(bundle: &str) -> InjectorConfig {
    InjectorConfig::from_bundle(Source { name: "bundle", text: &headed(bundle) }).unwrap().0
}

fn options(mesh: &InjectorConfig) -> Options<'_> {
    Options {
        mesh,
        rules: Rules::Configured,
        namespace: "",
        template_paths: vec!["spec.worker.pod".parse::<TemplatePath>().unwrap()],
    }
}

fn inject<'t>(text: &'t str, options: &Options<'_>) -> Manifest<'t> {
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
        .map(|name| (name.clone(), inject(&read(&name), &options(&mesh)).to_text()))
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
            .map(|name| (name.to_owned(), inject(&read(name), &options).to_terminated_text()))
            .to_vec();
    hold_against(&folder().join("expected/kube-inject"), &texts);
    assert_eq!(inject(&read("rollout.yaml"), &options).to_terminated_text(), read("rollout.yaml") + "---\n");
}

#[test]
fn injecting_again_changes_no_byte() {
    let mesh = mesh("");
    for name in names(&folder()) {
        let text = read(&name);
        let once = inject(&text, &options(&mesh)).to_text();
        let again = inject(&once, &options(&mesh));
        assert!(!again.is_changed(), "{name}");
        assert_eq!(again.to_text(), once, "{name}");
    }
}

#[test]
fn patches_make_the_injected_objects() {
    let mesh = mesh("");
    for name in names(&folder()) {
        let text = read(&name);
        let manifest = inject(&text, &options(&mesh));
        let mut patches = manifest.patches().into_iter();
        for document in &manifest.documents {
            for identity in outrigger::manifest::identities(&document.original) {
                let before = document.original.pointer(&identity.object).unwrap();
                let after = document.value().pointer(&identity.object).unwrap();
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
        let written = manifest.to_text();
        let again = inject(&written, &options(&mesh));
        let values = |manifest: &Manifest<'_>| -> Vec<Value> {
            manifest.documents.iter().map(|document| document.value().clone()).collect()
        };
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

const DEPLOYMENT: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: app, image: i}]}}}\n";

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
    let pod = manifest.documents[0].value().pointer("/spec/template").unwrap();
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
    let containers = manifest.documents[0].value().pointer("/spec/template/spec/containers").unwrap();
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
        inject(DEPLOYMENT, &options).to_text()
    };
    assert_eq!(injected(&given), injected(&embedded));
}

#[test]
fn json_documents_come_one_after_another() {
    let mesh = mesh("");
    let object = yaml::load(DEPLOYMENT, &Limits::default()).unwrap().to_string();
    let text = format!("{object}\n{{\"kind\": \"Service\"  }}\n\n");
    let manifest = inject(&text, &options(&mesh));
    assert_eq!(manifest.documents.len(), 2);
    let written = manifest.to_text();
    assert!(written.ends_with("\n{\"kind\": \"Service\"  }\n\n"), "{written}");
    let mut values = serde_json::Deserializer::from_str(&written).into_iter::<Value>();
    let injected = values.next().unwrap().unwrap();
    assert_eq!(&injected, manifest.documents[0].value());
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
    let written = manifest.to_text();
    assert!(
        written.starts_with("--- {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: "),
        "{written}"
    );
    assert!(written.contains("}\n...\n# next\nkind: Service\n--- # commented\napiVersion"), "{written}");
    assert_eq!(inject(&written, &options(&mesh)).documents.len(), 3);
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

// ---- edits by position ----

/// The edits that undo others.
fn inverse(text: &str, edits: &[yaml::Edit]) -> Vec<yaml::Edit> {
    let mut shift = 0_isize;
    let undo = edits.iter().map(|edit| {
        let start = edit.start.checked_add_signed(shift).unwrap();
        shift += edit.text.len() as isize - (edit.end - edit.start) as isize;
        yaml::Edit { start, end: start + edit.text.len(), text: text[edit.start..edit.end].to_owned() }
    });
    undo.collect()
}

/// A manifest whose lists are indented by two more columns than their keys.
fn indented(marshaled: &str) -> String {
    // The columns of the keys of the open lists.
    let mut open: Vec<usize> = Vec::new();
    let mut written = String::new();
    let mut before = (0, false);
    for line in marshaled.lines() {
        let column = line.len() - line.trim_start_matches(' ').len();
        let is_item = line.trim_start().starts_with("- ");
        while open.last().is_some_and(|list| column < *list || column == *list && !is_item) {
            open.pop();
        }
        let (key, is_key) = before;
        if is_item && is_key && key == column && open.last() != Some(&column) {
            open.push(column);
        }
        let dashes = line.trim_start().len() - line.trim_start().trim_start_matches("- ").len();
        before = (column + dashes, line.ends_with(':'));
        written.push_str(&format!("{}{line}\n", "  ".repeat(open.len())));
    }
    written
}

/// A manifest in other layouts: what people and programs write.
fn layouts(text: &str) -> Vec<(&'static str, String)> {
    let documents = yaml::split_documents(text);
    let values: Vec<Value> = documents
        .iter()
        .map(|document| yaml::load(document.text, &Limits::default()).unwrap())
        .filter(|value| !value.is_null())
        .collect();
    let joined =
        |write: &dyn Fn(&Value) -> String| values.iter().map(write).collect::<Vec<_>>().join("---\n");
    let commented = |text: &str| -> String {
        let line = |(number, line): (usize, &str)| match line.is_empty() || line.starts_with("---") {
            true => format!("{line}\n"),
            false => format!("{line}  # line {number}\n\n  # below\n"),
        };
        text.lines().enumerate().map(line).collect()
    };
    let marshaled = joined(&yaml::to_string);
    // Four spaces per level.
    let wide: String = marshaled
        .lines()
        .map(|line| {
            let rest = line.trim_start_matches(' ');
            let (dashes, rest) = rest.split_at(rest.len() - rest.trim_start_matches("- ").len());
            let indent = line.len() - dashes.len() - rest.len();
            format!("{}{}{rest}\n", " ".repeat(indent * 2), dashes.replace("- ", "-   "))
        })
        .collect();
    // Lists indented below their key.
    let indented: String = indented(&marshaled);
    vec![
        ("as it is", text.to_owned()),
        ("CRLF", text.replace('\n', "\r\n")),
        ("no line break at the end", text.trim_end().to_owned()),
        ("marshaled", marshaled.clone()),
        ("wide", wide),
        ("indented lists", indented),
        ("JSON", joined(&|value| format!("{value:#}\n")).replace("---\n", "")),
        ("JSON on one line", joined(&|value| format!("{value}\n")).replace("---\n", "")),
        ("JSON with tabs", joined(&|value| format!("{value:#}\n").replace("  ", "\t")).replace("---\n", "")),
        ("JSON as YAML documents", joined(&|value| format!("{value:#}\n"))),
        ("comments everywhere", if text.starts_with('{') { text.to_owned() } else { commented(&marshaled) }),
    ]
}

#[test]
fn edits_keep_every_line_that_does_not_change() {
    let mesh = mesh("");
    for name in names(&folder()) {
        for (layout, text) in layouts(&read(&name)) {
            let context = format!("{name}, {layout}");
            let manifest = inject(&text, &options(&mesh));
            assert_eq!(
                manifest.rewrites().collect::<Vec<_>>(),
                Vec::<&manual::Rewritten>::new(),
                "{context}"
            );
            let edits: Vec<_> = manifest.changes().collect();
            let written = manifest.to_text();
            assert_eq!(yaml::apply(&text, &edits), written, "{context}");
            assert_eq!(yaml::apply(&written, &inverse(&text, &edits)), text, "{context}");

            // What the edits do not replace is in the result, in order.
            let mut position = 0;
            let mut kept = Vec::new();
            for line in text.split_inclusive('\n') {
                let (start, end) = (position, position + line.len());
                position = end;
                if !edits.iter().any(|edit| edit.start < end && edit.end > start) {
                    kept.push(line.trim_end_matches(['\r', '\n']));
                }
            }
            let mut lines = written.lines();
            for line in kept {
                assert!(lines.any(|other| other == line), "{context}: {line}");
            }
            for comment in text.lines().filter(|line| line.contains('#')) {
                let comment = &comment[comment.find('#').unwrap()..];
                assert!(written.contains(comment), "{context}: {comment} is lost");
            }
            let read: Vec<Value> = inject(&written, &options(&mesh))
                .documents
                .iter()
                .map(|document| document.original.clone())
                .collect();
            let computed: Vec<Value> =
                manifest.documents.iter().map(|document| document.value().clone()).collect();
            assert_eq!(read, computed, "{context}");
            assert_eq!(text.contains("\r\n"), written.contains("\r\n"), "{context}");
            assert_eq!(text.ends_with('\n'), written.ends_with('\n'), "{context}");
            assert_eq!(
                written.matches("\r\n").count(),
                if text.contains("\r\n") { written.matches('\n').count() } else { 0 },
                "{context}"
            );
        }
    }
}

/// The bundles with which the samples are injected and uninjected.
const BUNDLES: [&str; 4] = [
    "",
    "nativeSidecars: disabled",
    "values: {sidecarInjectorWebhook: {preStopSleepSeconds: 5}}",
    "injector: {defaultTemplates: [grpc-agent]}",
];

#[test]
fn uninjected_manifests_are_the_original_ones_to_the_byte() {
    for bundle in BUNDLES {
        let mesh = mesh(bundle);
        for name in names(&folder()) {
            for (layout, text) in layouts(&read(&name)) {
                let context = format!("{name}, {layout}, {bundle}");
                let options = options(&mesh);
                let injected = inject(&text, &options).to_text();
                let manifest = manual::uninject(&injected, &options.template_paths).unwrap();
                assert_eq!(manifest.to_text(), text, "{context}");
                assert_eq!(manifest.rewrites().count(), 0, "{context}");
                assert_eq!(manifest.is_changed(), injected != text, "{context}");
                let again = manifest.to_text();
                assert!(
                    !manual::uninject(&again, &options.template_paths).unwrap().is_changed(),
                    "{context}"
                );
            }
        }
    }
}

/// A value without what Go's types do not write.
fn without_zeros(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), without_zeros(value)))
            .filter(|(_, value)| {
                !(value.is_null() || *value == json!({}) || *value == json!([]) || *value == json!(""))
            })
            .collect(),
        Value::Array(items) => items.iter().map(without_zeros).collect(),
        other => other.clone(),
    }
}

#[test]
fn pods_that_istiod_injected_become_the_received_ones_or_a_warning_says_what_stays() {
    let (mut equal, mut remarked, mut silent) = (0, 0, Vec::new());
    for call in &RECORDINGS.calls {
        let Some(patched) = &call.patched else { continue };
        let with_type = |pod: &Value| {
            let mut pod = pod.clone();
            (pod["apiVersion"], pod["kind"]) = (json!("v1"), json!("Pod"));
            pod
        };
        // Of a pod that was injected before, the original is not known.
        if call.pod.to_string().contains("sidecar.istio.io/status") {
            continue;
        }
        let text = with_type(patched).to_string();
        let manifest = manual::uninject(&text, &[]).unwrap();
        let has_remarks = manifest
            .rows()
            .any(|row| matches!(&row.verdict, Verdict::Uninjected { remarks } if !remarks.is_empty()));
        let is_equal = without_zeros(manifest.documents[0].value()) == without_zeros(&with_type(&call.pod));
        match (is_equal, has_remarks) {
            (true, _) => equal += 1,
            (false, true) => remarked += 1,
            (false, false) => silent.push(&call.name),
        }
    }
    println!(
        "uninject, pods injected by istiod: {equal} equal, {remarked} with warnings, {} silent",
        silent.len()
    );
    // Silent are additions of templates that are not Istio's own, and parts of the received pod that were equal to what
    // injection adds, or named like it: the page on manual injection lists them.
    assert!(equal > 350 && silent.len() < 40, "{equal} equal, {remarked} with warnings; silent: {silent:?}");
}

#[test]
fn uninjecting_makes_patches_for_live_objects() {
    let mesh = mesh("");
    let text = read("deployment.yaml");
    let injected = inject(&text, &options(&mesh)).to_text();
    let manifest = manual::uninject(&injected, &[]).unwrap();
    let patches = manifest.patches();
    assert_eq!(patches.len(), 1);
    let operations: json_patch::Patch = serde_json::from_value(patches[0]["patch"].clone()).unwrap();
    let mut live = manifest.documents[0].original.clone();
    json_patch::patch(&mut live, &operations).unwrap();
    assert_eq!(live, yaml::load(&text, &Limits::default()).unwrap());
}

/// Builds an overlay with kubectl; `None` if there is none.
fn kustomized(text: &str, component: &Value) -> Option<Vec<Value>> {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("base/manifest.yaml", text.to_owned()),
        ("base/kustomization.yaml", "resources: [manifest.yaml]\n".to_owned()),
        ("component/kustomization.yaml", yaml::to_string(component)),
        ("overlay/kustomization.yaml", "resources: [../base]\ncomponents: [../component]\n".to_owned()),
    ] {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let overlay = folder.path().join("overlay");
    let output = std::process::Command::new("kubectl").arg("kustomize").arg(overlay).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let built = String::from_utf8(output.stdout).unwrap();
    let documents = yaml::split_documents(&built);
    Some(documents.iter().map(|document| yaml::load(document.text, &Limits::default()).unwrap()).collect())
}

/// The same value for kustomize's output and ours: it drops nulls, and an absent source of a volume is an empty one.
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

/// Keyed lists in the order of their keys: Kubernetes appends where kustomize prepends.
fn in_order(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), in_order(value))).collect(),
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(in_order).collect();
            items.sort_by_key(|item| item.get("mountPath").or(item.get("name")).map(Value::to_string));
            Value::Array(items)
        }
        other => other.clone(),
    }
}

#[test]
fn kustomize_makes_the_injected_objects() {
    let mut strategic = 0;
    for bundle in ["", "nativeSidecars: disabled"] {
        let mesh = mesh(bundle);
        for name in names(&folder()) {
            let text = read(&name);
            let manifest = inject(&text, &options(&mesh));
            let component = manual::component(std::slice::from_ref(&manifest)).unwrap();
            let patches = component["patches"].as_array().unwrap();
            assert_eq!(patches.len(), manifest.patches().len(), "{name}");
            let values = |value: for<'d> fn(&'d manual::Document<'_>) -> &'d Value| -> Vec<Value> {
                let all = manifest.documents.iter().map(value).filter(|value| !value.is_null());
                all.flat_map(|value| match value["kind"] == "List" {
                    true => value["items"].as_array().unwrap().clone(),
                    false => vec![value.clone()],
                })
                .collect()
            };
            let changed =
                values(|document| &document.original).into_iter().zip(values(|document| document.value()));
            for ((before, after), patch) in changed.filter(|(before, after)| before != after).zip(patches) {
                let patch = yaml::load(patch["patch"].as_str().unwrap(), &Limits::default()).unwrap();
                let template = match (before["kind"].as_str().unwrap(), patch.is_object()) {
                    (_, false) => continue,
                    ("Pod", _) => "",
                    ("CronJob", _) => "/spec/jobTemplate/spec/template",
                    _ => "/spec/template",
                };
                let at = |value: &Value| {
                    let template = value.pointer(template).unwrap();
                    json!({"metadata": template.get("metadata"), "spec": template["spec"]})
                };
                strategic += 1;
                let merged = strategic_merge::merge::merge_owned(
                    at(&before),
                    at(&patch),
                    strategic_merge::merge::Directives::Honor,
                );
                assert_eq!(
                    in_order(&normalized(&merged.unwrap())),
                    in_order(&normalized(&at(&after))),
                    "{name}, {bundle}"
                );
            }
            // kubectl accepts no empty kustomization, and no untyped list of other kinds.
            if !patches.is_empty()
                && let Some(built) = kustomized(&text, &component)
            {
                let key = |value: &Value| format!("{} {}", value["kind"], value["metadata"]["name"]);
                for wanted in values(|document| document.value()) {
                    let built = built.iter().find(|built| key(built) == key(&wanted));
                    assert_eq!(built.map(normalized), Some(normalized(&wanted)), "{name}, {bundle}");
                }
            }
        }
    }
    assert!(strategic > 10, "{strategic}");
}

#[test]
fn what_cannot_be_edited_is_written_anew_and_reported() {
    let mesh = mesh("");
    let rewritten = |text: &str| -> Vec<(usize, String)> {
        let manifest = inject(text, &options(&mesh));
        assert!(manifest.is_changed(), "{text}");
        let again = inject(&manifest.to_text(), &options(&mesh)).documents[0].original.clone();
        assert_eq!(again, *manifest.documents[0].value());
        manifest.rewrites().map(|rewritten| (rewritten.line, rewritten.path.clone())).collect()
    };
    let aliased = "# first\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  selector:\n    \
                   matchLabels: &labels {app: web}\n  template:\n    metadata:\n      labels: *labels\n    spec:\n      \
                   containers: [{name: app, image: i}]\n";
    let manifest = inject(aliased, &options(&mesh));
    let paths: Vec<_> =
        manifest.rewrites().map(|rewritten| (rewritten.line, rewritten.path.as_str())).collect();
    assert_eq!(paths, [(11, "spec.template.metadata.labels")]);
    assert!(manifest.to_text().starts_with("# first\n---\napiVersion: apps/v1\n"));
    // Lone carriage returns are line breaks that nothing else here counts.
    assert_eq!(rewritten(&DEPLOYMENT.replace('\n', "\r")), [(1, String::new())]);
}
