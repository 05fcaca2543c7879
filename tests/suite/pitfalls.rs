//! Warnings about pitfalls over every pod of the fixtures: how often each fires is known, so that a warning that begins
//! to fire for ordinary pods is noticed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use outrigger::{
    config::{InjectorConfig, Source},
    inject::{self, Facts, PodRequest, Selection},
    yaml,
};
use serde_json::{Value, json};

/// Each code, and for how many pods it fires: with native proxies, with ordinary ones, and with ordinary ones behind the
/// CNI plugin.
const EXPECTED: [(&str, [usize; 3]); 9] = [
    ("DISCOVERY_UNRESOLVED", [0, 0, 0]),
    ("DUPLICATE_VOLUME", [0, 0, 0]),
    ("HOST_USERS_WITH_CNI", [0, 0, 0]),
    ("INIT_WITHOUT_NETWORK", [0, 0, 10]),
    ("ORDINARY_PROXY_IN_JOB", [0, 12, 12]),
    ("PROBE_BEFORE_PROXY", [0, 4, 7]),
    ("REQUEST_ABOVE_LIMIT", [0, 0, 0]),
    ("RESOURCE_DEFAULTS_DROPPED", [3, 3, 3]),
    ("UNKNOWN_REVISION", [4, 4, 4]),
];
const BUNDLES: [&str; 3] = [
    "nativeSidecars: enabled",
    "nativeSidecars: disabled",
    "nativeSidecars: disabled\nvalues: {pilot: {cni: {enabled: true}}}",
];

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Everything in a document that has the shape of a pod or a pod template.
fn pods(value: &Value, found: &mut Vec<Value>) {
    match value {
        Value::Object(fields) => {
            let containers = value.pointer("/spec/containers").and_then(Value::as_array);
            if containers.is_some_and(|containers| !containers.is_empty()) {
                let metadata = fields.get("metadata").filter(|metadata| metadata.is_object());
                let metadata = metadata.cloned().unwrap_or_else(|| json!({}));
                found.push(json!({"metadata": metadata, "spec": fields["spec"]}));
            }
            fields.values().for_each(|field| pods(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| pods(item, found)),
        _ => {}
    }
}

#[test]
fn warnings_about_pitfalls_fire_for_these_pods_of_the_fixtures_and_no_others() {
    let mut all = Vec::new();
    for path in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")) {
        // Outputs of an injection, and files that are not text.
        if path.components().any(|part| part.as_os_str() == "expected") {
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for document in yaml::split_documents(&text) {
            if let Ok(value) = yaml::load(document.text, &yaml::Limits::default()) {
                pods(&value, &mut all);
            }
        }
    }
    assert!(all.len() > 200, "{}", all.len());
    let mut counts: BTreeMap<&str, [usize; 3]> = EXPECTED.iter().map(|(code, _)| (*code, [0; 3])).collect();
    let mut injected = 0;
    for (column, bundle) in BUNDLES.iter().enumerate() {
        let text = format!("apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\n{bundle}");
        let mesh = InjectorConfig::from_bundle(Source { name: "bundle", text: &text }).unwrap().0;
        let facts = Facts { selection: Selection::ByApiServer, ..Facts::of(&mesh, "shop") };
        for pod in &all {
            let Ok(outcome) = inject::run(&mesh, &PodRequest::new("shop", pod.clone()), &facts) else {
                continue;
            };
            injected += usize::from(matches!(outcome, inject::Outcome::Injected(_)));
            for (code, count) in &mut counts {
                count[column] += usize::from(outcome.warnings().iter().any(|warning| warning.code == *code));
            }
        }
    }
    let expected: BTreeMap<&str, [usize; 3]> = EXPECTED.into_iter().collect();
    assert_eq!(counts, expected, "of {} pods, {injected} injections", all.len());
}
