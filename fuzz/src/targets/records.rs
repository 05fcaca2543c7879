//! The annotations in which an injector remembers what it did, forged: anybody who can create pods can write them.

use std::collections::BTreeSet;

use outrigger::{names, pod};
use serde_json::{Value, json};

use super::promises;
use crate::{Fate, generators::typed, input, meshes, random::Random};

pub(super) fn check(bytes: &[u8]) -> Fate {
    let mut random = Random::new(bytes);
    let configuration = *random.pick(&meshes::OURS);
    let status = record(&mut random, false);
    let overrides = record(&mut random, true);
    let after = random.percent(40);
    let Some(mut pod) = input::pod(&mut random) else { return Fate::Drop };
    if after {
        // The record of an injection that took place, rewritten.
        match promises::injected(configuration, &pod) {
            Some(injection) => pod = injection.pod,
            None => return Fate::Keep,
        }
    }
    let known: Vec<String> = ["containers", "initContainers", "volumes"]
        .iter()
        .flat_map(|list| pod::spec_list(&pod, list).iter().map(|item| pod::name(item).to_owned()))
        .collect();
    // A number in a record stands for a name of the pod.
    let name = |text: String| {
        let index = text.strip_prefix('#').and_then(|index| index.parse::<usize>().ok());
        index.and_then(|index| known.get(index).cloned()).unwrap_or(text)
    };
    if !pod["metadata"].is_object() {
        return Fate::Keep;
    }
    let annotations = pod::annotations_mut(&mut pod);
    for (key, record) in [(names::ANNOTATION_STATUS, status), (names::ANNOTATION_OVERRIDES, overrides)] {
        match record {
            Some(Record::Text(text)) => {
                annotations.insert(key.to_owned(), json!(text));
            }
            Some(Record::Json(value)) => {
                annotations.insert(key.to_owned(), json!(with_names(value, &name).to_string()));
            }
            None => {}
        }
    }
    if let Some(injection) = promises::injected(configuration, &pod) {
        promises::once_is_enough(configuration, &injection);
    }
    if let Some(pod) = promises::admitted(&pod)
        && let Some(injection) = promises::injected(configuration, &pod)
    {
        promises::once_is_enough(configuration, &injection);
        // An API server accepts any text in the record; its containers count as written by the pod's author, too.
        if recorded(&pod).is_none_or(|own| promises::admitted(&own).is_some()) {
            promises::stays_valid(configuration, &pod, &injection);
        }
    }
    Fate::Keep
}

/// The pod with the containers that its record calls the user's own, in place of those of the same name; `None` without a record.
/// Which of several containers of one name the injector takes is not this check's business: each has to be valid.
fn recorded(pod: &Value) -> Option<Value> {
    let record: Value = serde_json::from_str(pod::annotation(pod, names::ANNOTATION_OVERRIDES)?).ok()?;
    let mut own = pod.clone();
    let mut seen = BTreeSet::new();
    for list in ["containers", "initContainers"] {
        for container in record[list].as_array().into_iter().flatten() {
            let mut container = container.clone();
            if let Some(fields) = container.as_object_mut() {
                fields.entry("image").or_insert_with(|| json!("own"));
            }
            if !seen.insert(pod::name(&container).to_owned()) {
                container["name"] = json!(format!("{}-{}", pod::name(&container), seen.len()));
                seen.insert(pod::name(&container).to_owned());
            }
            for list in ["containers", "initContainers"] {
                if let Some(present) = own["spec"][list].as_array_mut() {
                    present.retain(|other| other["name"] != container["name"]);
                }
            }
            match own["spec"][list].as_array_mut() {
                Some(present) => present.push(container),
                None => own["spec"][list] = json!([container]),
            }
        }
    }
    Some(own)
}

enum Record {
    Text(String),
    Json(Value),
}

fn record(random: &mut Random<'_>, whole: bool) -> Option<Record> {
    if random.percent(15) {
        return None;
    }
    if random.percent(20) {
        return Some(Record::Text(random.text(200)));
    }
    let mut record = json!({});
    for list in ["containers", "initContainers", "volumes", "imagePullSecrets"] {
        if random.percent(50) {
            let items: Vec<Value> = (0..random.below(4)).map(|_| item(random, list, whole)).collect();
            record[list] = json!(items);
        }
    }
    if random.percent(20) {
        record["revision"] = json!(*random.pick(typed::STRINGS));
    }
    Some(Record::Json(record))
}

fn item(random: &mut Random<'_>, list: &str, whole: bool) -> Value {
    const NAMES: &[&str] = &[
        "istio-proxy",
        "istio-init",
        "istio-validation",
        "istio-envoy",
        "istio-data",
        "stranger",
        "#0",
        "#1",
        "#2",
        "#3",
        "#4",
        "#5",
        "",
    ];
    let name = *random.pick(NAMES);
    if whole == random.percent(5) {
        return json!(name);
    }
    let mut item = json!({"name": name});
    if list != "imagePullSecrets" && random.percent(70) {
        let list = if list == "volumes" { "volumes" } else { "containers" };
        let ty = typed::element(&outrigger::gotypes::POD_SPEC, list);
        item = typed::structure(random, ty, 3);
        item["name"] = json!(name);
    }
    item
}

fn with_names(value: Value, name: &impl Fn(String) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(name(text)),
        Value::Array(items) => items.into_iter().map(|item| with_names(item, name)).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, with_names(value, name))).collect(),
        scalar => scalar,
    }
}
