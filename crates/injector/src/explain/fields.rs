//! Documents as flat maps from field paths to values, with list elements addressed as people do: by name.
//!
//! `spec.containers[istio-proxy].env[POD_NAME].valueFrom.fieldRef.fieldPath`, `spec.initContainers[istio-init].args[6]`,
//! `metadata.annotations[sidecar.istio.io/status]`.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;

use gotemplate::Placeholder;
use kubernetes_yaml::{Kind, Node};

/// Every scalar, empty list and empty map of a document by its path.
pub(crate) fn of(document: &Value) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    collect(document, "", "", &mut fields);
    fields
}

/// Whether a value is one that Go's types write for a field that is not set, or leave out. Numbers and booleans never
/// are: a `0` or `false` behind a pointer is a value.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn collect(value: &Value, path: &str, key: &str, fields: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                collect(value, &join(path, key), key, fields);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (item, element) in items.iter().zip(names_of(key, items)) {
                collect(item, &format!("{path}[{element}]"), "", fields);
            }
        }
        leaf => {
            fields.insert(path.to_owned(), leaf.clone());
        }
    }
}

/// The same paths for a rendered text, each with the part of the text that contains its value.
pub(super) fn of_rendered(
    node: &Node,
    text: &str,
    placeholders: &[Placeholder],
) -> BTreeMap<String, Range<usize>> {
    let mut starts = Vec::new();
    marks(node, &mut starts);
    starts.sort_unstable();
    let mut leaves = Vec::new();
    collect_rendered(node, "", "", placeholders, &mut leaves);
    leaves
        .into_iter()
        .map(|(path, start)| {
            let next = starts.get(starts.partition_point(|other| *other <= start)).copied();
            (path, start..next.unwrap_or(text.len()))
        })
        .collect()
}

fn marks(node: &Node, starts: &mut Vec<usize>) {
    starts.push(node.mark.offset);
    match &node.kind {
        Kind::Scalar { .. } => {}
        Kind::Sequence(items) => items.iter().for_each(|item| marks(item, starts)),
        Kind::Mapping(entries) => entries.iter().for_each(|(key, value)| {
            marks(key, starts);
            marks(value, starts);
        }),
    }
}

fn collect_rendered(
    node: &Node,
    path: &str,
    key: &str,
    placeholders: &[Placeholder],
    leaves: &mut Vec<(String, usize)>,
) {
    match &node.kind {
        Kind::Mapping(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                let key = scalar(key, placeholders).unwrap_or_default();
                collect_rendered(value, &join(path, &key), &key, placeholders, leaves);
            }
        }
        Kind::Sequence(items) if !items.is_empty() => {
            let name = |item: &Node| match &item.kind {
                Kind::Mapping(entries) => entries.iter().find_map(|(entry, value)| {
                    (scalar(entry, placeholders)? == name_key(key)).then(|| scalar(value, placeholders))?
                }),
                _ => None,
            };
            for (item, element) in items.iter().zip(elements(items.iter().map(name))) {
                collect_rendered(item, &format!("{path}[{element}]"), "", placeholders, leaves);
            }
        }
        _ => leaves.push((path.to_owned(), node.mark.offset)),
    }
}

/// The text of a scalar, with the pod's strings in it.
fn scalar(node: &Node, placeholders: &[Placeholder]) -> Option<String> {
    let Kind::Scalar { text, .. } = &node.kind else { return None };
    let mut full = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('\u{E000}') {
        let (index, tail) = after.split_once('\u{E001}')?;
        full.push_str(before);
        full.push_str(&placeholders.get(index.parse::<usize>().ok()?)?.raw);
        rest = tail;
    }
    full.push_str(rest);
    Some(full)
}

/// The field that identifies the elements of a list (Kubernetes' merge keys, where they are strings).
pub(crate) fn name_key(list: &str) -> &'static str {
    match list {
        "volumeMounts" => "mountPath",
        "volumeDevices" => "devicePath",
        "hostAliases" => "ip",
        _ => "name",
    }
}

/// How the elements of a list under this key are addressed: by their names, or by their indices.
pub(crate) fn names_of(key: &str, items: &[Value]) -> Vec<String> {
    let name = |item: &Value| item.get(name_key(key)).and_then(Value::as_str).map(str::to_owned);
    elements(items.iter().map(name))
}

/// The names of a list's elements if all have one and no two have the same; otherwise their indices.
fn elements(names: impl Iterator<Item = Option<String>>) -> Vec<String> {
    let names: Vec<Option<String>> = names.collect();
    let mut seen = std::collections::HashSet::new();
    let are_unique = names.iter().all(|name| name.as_ref().is_some_and(|name| seen.insert(name.clone())));
    names
        .into_iter()
        .enumerate()
        .map(|(index, name)| name.filter(|_| are_unique).unwrap_or_else(|| index.to_string()))
        .collect()
}

/// A path with one more key.
pub(crate) fn join(path: &str, key: &str) -> String {
    let is_plain =
        !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$'));
    match (path.is_empty(), is_plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{key}]"),
    }
}

/// Splits a path into keys and elements, in the same way for every spelling: `a.b[c]`, `a[b][c]` and `a["b"]['c']`.
pub(crate) fn split(path: &str) -> Vec<String> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (step, tail) = inside.split_once(']').unwrap_or((inside, ""));
            let unquoted = step.trim_matches(['"', '\'']);
            steps.push(unquoted.to_owned());
            rest = tail.strip_prefix('.').unwrap_or(tail);
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (step, tail) = rest.split_at(end);
            if !step.is_empty() {
                steps.push(step.to_owned());
            }
            rest = tail.strip_prefix('.').unwrap_or(tail);
        }
    }
    steps
}

/// A sort key that puts elements in the order of their indices.
pub(crate) fn order(path: &str) -> Vec<(usize, String)> {
    split(path).into_iter().map(|step| (step.parse().unwrap_or_default(), step)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use kubernetes_yaml::{self as yaml, Limits};

    #[test]
    fn elements_have_their_names() {
        let fields = of(&json!({
            "metadata": {"annotations": {"a.b/c": "x"}, "labels": {}},
            "spec": {"containers": [
                {"name": "web", "args": ["a", "b"], "env": [{"name": "E", "value": "1"}],
                 "volumeMounts": [{"mountPath": "/etc/x", "name": "v"}, {"mountPath": "/etc/y", "name": "v"}]},
                {"name": "proxy", "ports": [{"containerPort": 1}]},
            ]},
        }));
        let paths: Vec<&str> = fields.keys().map(String::as_str).collect();
        assert_eq!(
            paths,
            [
                "metadata.annotations[a.b/c]",
                "metadata.labels",
                "spec.containers[proxy].name",
                "spec.containers[proxy].ports[0].containerPort",
                "spec.containers[web].args[0]",
                "spec.containers[web].args[1]",
                "spec.containers[web].env[E].name",
                "spec.containers[web].env[E].value",
                "spec.containers[web].name",
                "spec.containers[web].volumeMounts[/etc/x].mountPath",
                "spec.containers[web].volumeMounts[/etc/x].name",
                "spec.containers[web].volumeMounts[/etc/y].mountPath",
                "spec.containers[web].volumeMounts[/etc/y].name",
            ]
        );
    }

    #[test]
    fn two_elements_of_one_name_have_indices() {
        let fields = of(&json!({"env": [{"name": "A"}, {"name": "A"}]}));
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["env[0].name", "env[1].name"]);
    }

    #[test]
    fn rendered_texts_have_the_paths_of_their_documents() {
        let text = "spec:\n  containers:\n  - name: \u{E000}0\u{E001}\n    args: [a, \"b c\"]\n    env: []\n  x: |\n    1\n    2\n";
        let placeholders = [Placeholder { raw: "web".to_owned(), escaped: false }];
        let node = yaml::parse(text, &Limits::rendered()).unwrap();
        let found: Vec<(String, &str)> = of_rendered(&node, text, &placeholders)
            .into_iter()
            .map(|(path, part)| (path, text[part].trim()))
            .collect();
        let wanted = [
            ("spec.containers[web].args[0]", "a,"),
            ("spec.containers[web].args[1]", "\"b c\"]"),
            ("spec.containers[web].env", "[]"),
            ("spec.containers[web].name", "\u{E000}0\u{E001}"),
            ("spec.x", "1\n    2"),
        ];
        assert_eq!(found, wanted.map(|(path, part)| (path.to_owned(), part)));
    }

    #[test]
    fn every_spelling_of_a_path_is_split_alike() {
        for path in ["a.b[c/d.e].f[0]", "a[b][c/d.e].f[0]", "a.b[\"c/d.e\"].f[0]", "a.b['c/d.e']f[0]"] {
            assert_eq!(split(path), ["a", "b", "c/d.e", "f", "0"], "{path}");
        }
    }
}
