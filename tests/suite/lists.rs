//! Lists, which are processed item by item: the same results as for their items alone, and memory for one item.

#[cfg(target_os = "linux")]
use std::{
    fs,
    io::Read,
    process::{Command, Stdio},
};

use outrigger::{
    inject::manual::{self, Manifest},
    yaml::{self, Limits},
};
use serde_json::{Value, json};

use super::manual::{folder, inject, mesh, names, options, read};

/// The objects of a manifest, one for one.
fn objects(manifest: &Manifest<'_>) -> Vec<Value> {
    let values = manifest.values().filter(|value| !value.is_null());
    values
        .flat_map(|mut value| match value["kind"] == "List" {
            true => value["items"].as_array_mut().map(std::mem::take).unwrap(),
            false => vec![value],
        })
        .collect()
}

/// The results, without places in the document.
fn results(manifest: &Manifest<'_>) -> Vec<String> {
    manifest
        .rows()
        .map(|row| {
            let (object, place) = (&row.object, &row.place);
            format!("{} {} {place:?} {:?} {:?}", object.kind, object.name, row.verdict, row.warnings)
        })
        .collect()
}

#[test]
fn a_list_gives_what_its_items_give_alone() {
    let mesh = mesh("");
    let options = options(&mesh);
    for name in names(&folder()) {
        let text = read(&name);
        let alone = inject(&text, &options);
        let items: Vec<Value> = alone.originals().filter(|value| !value.is_null()).collect();
        if items.len() < 2 || items.iter().any(|item| item["kind"] == "List") {
            continue;
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items});
        let marshaled = yaml::to_string(&list);
        let indented: String = marshaled
            .lines()
            .map(|line| match line.starts_with(['-', ' ']) {
                true => format!("  {line}\n"),
                false => format!("{line}\n"),
            })
            .collect();
        let frame = "apiVersion: v1\nkind: List\nmetadata: {}\n";
        let body = marshaled.strip_prefix("apiVersion: v1\n").unwrap();
        let last = format!("{frame}{}", body.strip_suffix("kind: List\nmetadata: {}\n").unwrap());
        for text in [
            marshaled.clone(),
            marshaled.replace('\n', "\r\n"),
            indented,
            last,
            format!("---\n{marshaled}---\n{marshaled}"),
            format!("{list:#}\n"),
            list.to_string(),
        ] {
            let manifest = inject(&text, &options);
            let times = if text.starts_with("---") { 2 } else { 1 };
            let expected: Vec<Value> = (0..times).flat_map(|_| objects(&alone)).collect();
            assert_eq!(objects(&manifest), expected, "{name}: {text}");
            assert_eq!(manifest.rewrites().count(), 0, "{name}: {text}");
            let elsewhere = manifest.rows().find(|row| !row.object.object.starts_with("/items/"));
            assert!(elsewhere.is_none(), "{name}: {elsewhere:?}");
            assert_eq!(manifest.patches().len(), times * alone.patches().len(), "{name}: {text}");
            let injected = manifest.to_string();
            assert_eq!(manual::uninject(&injected, &options.template_paths).unwrap().to_string(), text);
        }
    }
}

/// Texts that look like Lists of several items, or are, in ways that a split by lines gets wrong.
const TRICKY: [&str; 10] = [
    // A quoted text over lines that look like items.
    "kind: List\napiVersion: v1\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, image: \"b\n- c\n- d\"}]}}\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: b}\n  spec: {containers: [{name: a, image: i}]}\n",
    // An anchor that another item uses.
    "kind: List\napiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n  spec: &spec {containers: [{name: a, image: i}]}\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: b}\n  spec: *spec\n",
    // Items without a kind of their own.
    "kind: PodList\napiVersion: v1\nitems:\n- metadata: {name: a}\n  spec: {containers: [{name: a, image: i}]}\n- metadata: {name: b}\n  spec: {containers: [{name: a, image: i}]}\n",
    // Another kind with a field of that name.
    "kind: Other\napiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Pod\n  spec: {containers: [{name: a, image: i}]}\n- apiVersion: v1\n  kind: Pod\n  spec: {containers: [{name: a, image: i}]}\n",
    // The last key counts.
    "kind: List\napiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n  spec: {containers: [{name: a, image: i}]}\n- null\nitems: []\n",
    // A List in a List, and a null item.
    "kind: List\napiVersion: v1\nitems:\n- kind: List\n  apiVersion: v1\n  items:\n  - apiVersion: v1\n    kind: Pod\n    metadata: {name: a}\n    spec: {containers: [{name: a, image: i}]}\n-\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: b}\n  spec: {containers: [{name: a, image: i}]}\n",
    // A block text with lines that look like keys and items.
    "kind: List\napiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: a\n    annotations:\n      a: |\n       items:\n       - b\n\n       # c\n  spec: {containers: [{name: a, image: i}]}\n# between\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: b}\n  spec: {containers: [{name: a, image: i}]}\nmetadata: {}",
    // Items with a merge, a tag and an explicit key.
    "kind: List\napiVersion: v1\nitems:\n- <<: &base {apiVersion: v1, kind: Pod}\n  metadata: {name: !!str a}\n  ? spec\n  : {containers: [{name: a, image: i}]}\n- <<: *base\n  metadata: {name: b}\n  spec: {containers: [{name: a, image: i}]}\n",
    // Duplicate keys in JSON, of which the last one counts.
    "{\"items\": [{\"kind\": \"Pod\"}, {\"kind\": \"Pod\"}], \"kind\": \"List\", \"apiVersion\": \"v1\", \"items\": [{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"spec\": {\"containers\": [{\"name\": \"a\", \"image\": \"i\"}]}}]}",
    // A value of the wrong type in one item, reported with its place.
    "kind: List\napiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n  spec: {containers: [{name: a, image: i}]}\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: b}\n  spec: {hostNetwork: \"a\", containers: [{name: a, image: i}]}\n",
];

#[test]
fn lists_that_cannot_be_split_by_lines_give_what_their_values_give() {
    let mesh = mesh("");
    let options = options(&mesh);
    for text in TRICKY {
        let value = yaml::load(text, &Limits::default()).unwrap();
        let plain = value.to_string();
        match (manual::inject(text, &options), manual::inject(&plain, &options)) {
            (Ok(manifest), Ok(of_value)) => {
                assert_eq!(objects(&manifest), objects(&of_value), "{text}");
                assert_eq!(results(&manifest), results(&of_value), "{text}");
                assert_eq!(
                    manifest.is_changed(),
                    !text.contains("items: []") && !text.contains("Other"),
                    "{text}"
                );
                let again = manifest.to_string();
                let restored = manual::uninject(&again, &[]).unwrap();
                assert_eq!(restored.values().collect::<Vec<_>>(), [value], "{text}");
            }
            (Err(error), Err(_)) => {
                let (line, column) = (text.lines().count(), "  spec: {hostNetwork: ".len() + 1);
                assert_eq!((error.line, error.column), (line, column), "{error}");
            }
            (one, two) => panic!("{text}: {one:?}, but {two:?}"),
        }
    }
}

#[test]
fn places_in_lists_are_those_of_the_text() {
    let mesh = mesh("");
    let item = |name: &str, more: &str| {
        format!(
            "- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: {name}\n    labels: {more}\n    annotations:\n      {name}: \"\"\n      \
             {name}: x\n  spec:\n    containers:\n    - name: a\n      image: i\n"
        )
    };
    let text = format!(
        "# first\n---\nkind: List\napiVersion: v1\nitems:\n{}# b\n{}",
        item("a", "{app: a}"),
        item("b", "&labels {app: b}").replace("annotations:", "annotations:\n      <<: *labels")
    );
    let manifest = inject(&text, &options(&mesh));
    let keys: Vec<_> = manifest.duplicates().map(|key| (key.line, key.column, key.path.as_str())).collect();
    let line = |wanted: &str| text.lines().position(|line| line == wanted).unwrap() + 1;
    assert_eq!(
        keys,
        [
            (line("      a: x"), 7, "items[0].metadata.annotations.a"),
            (line("      b: x"), 7, "items[1].metadata.annotations.b"),
        ]
    );
    let rewrites: Vec<_> = manifest.rewrites().map(|part| (part.line, part.path.as_str())).collect();
    assert_eq!(rewrites, [(line("      <<: *labels"), "items[1].metadata.annotations")]);
}

/// The kernel's peak measurement of a command that has read a file and waits for someone to read its output.
#[cfg(target_os = "linux")]
fn peak(arguments: &[&str], text: &str) -> (usize, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("list.yaml");
    fs::write(&file, text).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .args(arguments)
        .arg(&file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0];
    stdout.read_exact(&mut first).unwrap();
    // It writes when all is computed, and has more than fits into a pipe.
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let mut output = String::from_utf8(first.to_vec()).unwrap();
    stdout.read_to_string(&mut output).unwrap();
    assert!(child.wait().unwrap().success());
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    (line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<usize>().unwrap() << 10, output)
}

#[cfg(target_os = "linux")]
#[test]
fn a_long_list_takes_no_more_than_six_times_its_size() {
    let item = |number: usize| {
        format!(
            "- apiVersion: apps/v1\n  kind: Deployment\n  metadata:\n    name: web-{number}\n    namespace: shop\n    labels:\n      app: \
             web-{number}\n  spec:\n    replicas: 2\n    selector:\n      matchLabels:\n        app: web-{number}\n    template:\n      \
             metadata:\n        labels:\n          app: web-{number}\n      spec:\n        containers:\n        - name: app\n          \
             image: registry.example/web:{number}\n          ports:\n          - containerPort: 8080\n          env:\n          - name: \
             LOG_LEVEL\n            value: info\n          resources:\n            requests:\n              cpu: 100m\n              \
             memory: 64Mi\n"
        )
    };
    let list = |items: usize| {
        let items: String = (0..items).map(item).collect();
        format!("apiVersion: v1\nkind: List\nitems:\n{items}")
    };
    // The allocator keeps some memory more or less: the difference is large enough for that not to count. The short one is more than
    // fits into a pipe.
    let (short, long) = (list(200), list(2000));
    let slope = |small: usize, large: usize, more: usize| large.saturating_sub(small) as f64 / more as f64;
    let more = long.len() - short.len();
    let ((small, injected), (large, all)) =
        (peak(&["inject", "-q", "-f"], &short), peak(&["inject", "-q", "-f"], &long));
    let ratio = slope(small, large, more);
    assert!(ratio < 6.0, "inject: {small} and {large} bytes, {ratio} per byte of the manifest");
    let more = all.len() - injected.len();
    let ((small, _), (large, restored)) =
        (peak(&["uninject", "-q", "-f"], &injected), peak(&["uninject", "-q", "-f"], &all));
    let ratio = slope(small, large, more);
    assert!(ratio < 6.0, "uninject: {small} and {large} bytes, {ratio} per byte of the manifest");
    assert_eq!(restored, long);
}
