//! Manifests edited by position: the rest stays byte for byte; `uninject`, and patches for kustomize.

use outrigger::{
    inject::manual::{self, Verdict},
    yaml::{self, Limits},
};
use serde_json::{Value, json};

use super::{
    manual::{DEPLOYMENT, folder, inject, mesh, names, options, read},
    own_recordings::RECORDINGS,
};

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
            let written = manifest.to_string();
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
            let read: Vec<Value> = inject(&written, &options(&mesh)).originals().collect();
            let computed: Vec<Value> = manifest.values().collect();
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
                let injected = inject(&text, &options).to_string();
                let manifest = manual::uninject(&injected, &options.template_paths).unwrap();
                assert_eq!(manifest.to_string(), text, "{context}");
                assert_eq!(manifest.rewrites().count(), 0, "{context}");
                assert_eq!(manifest.is_changed(), injected != text, "{context}");
                let again = manifest.to_string();
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
        let is_equal =
            without_zeros(&manifest.values().next().unwrap()) == without_zeros(&with_type(&call.pod));
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
    assert_eq!(silent, Vec::<&String>::new());
    assert!(equal > 350 && remarked < 220, "{equal} equal, {remarked} with warnings");
}

#[test]
fn uninjecting_makes_patches_for_live_objects() {
    let mesh = mesh("");
    let text = read("deployment.yaml");
    let injected = inject(&text, &options(&mesh)).to_string();
    let manifest = manual::uninject(&injected, &[]).unwrap();
    let patches = manifest.patches();
    assert_eq!(patches.len(), 1);
    let operations: json_patch::Patch = serde_json::from_value(patches[0]["patch"].clone()).unwrap();
    let mut live = manifest.originals().next().unwrap();
    json_patch::patch(&mut live, &operations).unwrap();
    assert_eq!(live, yaml::load(&text, &Limits::default()).unwrap());
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
fn strategic_merge_patches_of_kustomize_make_the_injected_objects() {
    let mut strategic = 0;
    for bundle in ["", "nativeSidecars: disabled"] {
        let mesh = mesh(bundle);
        for name in names(&folder()) {
            let text = read(&name);
            let manifest = inject(&text, &options(&mesh));
            let component = manual::component(std::slice::from_ref(&manifest)).unwrap();
            let patches = component["patches"].as_array().unwrap();
            assert_eq!(patches.len(), manifest.patches().len(), "{name}");
            let objects = |values: Vec<Value>| -> Vec<Value> {
                let all = values.into_iter().filter(|value| !value.is_null());
                all.flat_map(|value| match value["kind"] == "List" {
                    true => value["items"].as_array().unwrap().clone(),
                    false => vec![value.clone()],
                })
                .collect()
            };
            let changed =
                objects(manifest.originals().collect()).into_iter().zip(objects(manifest.values().collect()));
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
        let again = inject(&manifest.to_string(), &options(&mesh)).originals().next().unwrap();
        assert_eq!(again, manifest.values().next().unwrap());
        manifest.rewrites().map(|rewritten| (rewritten.line, rewritten.path.clone())).collect()
    };
    let aliased = "# first\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  selector:\n    \
                   matchLabels: &labels {app: web}\n  template:\n    metadata:\n      labels: *labels\n    spec:\n      \
                   containers: [{name: app, image: i}]\n";
    let manifest = inject(aliased, &options(&mesh));
    let paths: Vec<_> =
        manifest.rewrites().map(|rewritten| (rewritten.line, rewritten.path.as_str())).collect();
    assert_eq!(paths, [(11, "spec.template.metadata.labels")]);
    assert!(manifest.to_string().starts_with("# first\n---\napiVersion: apps/v1\n"));
    // Lone carriage returns are line breaks that nothing else here counts.
    assert_eq!(rewritten(&DEPLOYMENT.replace('\n', "\r")), [(1, String::new())]);
}
