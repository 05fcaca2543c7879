//! Values of the annotations that are read: any text in each of them.

use std::collections::BTreeMap;

use outrigger::{
    annotation::{Group, Kind, Row, TABLE},
    inject::Outcome,
};
use serde_json::{Map, Value, json};

use super::promises;
use crate::{Fate, generators, meshes, random::Random};

/// Kinds whose values are passed on as they are.
const PASSED_ON: &[Kind] = &[Kind::Text, Kind::Image, Kind::ImageType, Kind::Interfaces, Kind::ConfigMapName];

pub(super) fn check(bytes: &[u8]) -> Fate {
    let mut random = Random::new(bytes);
    let configuration = random.pick(&meshes::ALL);
    let rows: Vec<&Row> = TABLE.iter().filter(|row| row.group != Group::Namespace).collect();
    let mut values = BTreeMap::new();
    let mut is_text = true;
    for _ in 0..=random.below(4) {
        let row = random.pick(&rows);
        let text = match random.below(3) {
            0 => generators::annotations::of_kind(&mut random, row),
            _ => random.text(400),
        };
        // An empty value counts as unset.
        is_text &= PASSED_ON.contains(&row.kind) && row.group != Group::Written && !text.trim().is_empty();
        values.insert(row.key, text);
    }
    let pod = |value: &dyn Fn(&str) -> String| {
        let annotations: Map<String, Value> =
            values.iter().map(|(key, text)| ((*key).to_owned(), json!(value(text)))).collect();
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a", "namespace": "shop", "labels": {"app": "a"}, "annotations": annotations},
            "spec": {
                "containers": [{
                    "name": "app", "image": "example.com/app:1", "ports": [{"containerPort": 8080, "name": "http"}],
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
                }],
                "volumes": [{"name": "data", "emptyDir": {}}],
            },
        })
    };
    let written = pod(&str::to_owned);
    let injection = promises::injected(configuration, &written);
    if is_text
        && let Some(injection) = &injection
        && let Ok(Outcome::Injected(plain)) = configuration.run(&pod(&|_| "harmless".to_owned()))
    {
        let texts: Vec<&str> = values.values().map(|text| text.trim()).collect();
        assert_eq!(
            shape(&injection.pod, &texts),
            shape(&plain.pod, &[]),
            "{}: {values:?}",
            configuration.name
        );
    }
    if configuration.is_ours()
        && let Some(pod) = promises::admitted(&written)
        && let Some(injection) = promises::injected(configuration, &pod)
    {
        promises::once_is_enough(configuration, &injection);
        promises::stays_valid(configuration, &pod, &injection);
    }
    Fate::Keep
}

/// Keys, list lengths and types, also of JSON in strings, but not in the values themselves.
fn shape(value: &Value, texts: &[&str]) -> Value {
    match value {
        Value::Null => json!("null"),
        Value::Bool(_) => json!("bool"),
        Value::Number(_) => json!("number"),
        Value::String(text) if texts.contains(&text.trim()) => json!("string"),
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(inner @ (Value::Object(_) | Value::Array(_))) => json!({"json": shape(&inner, texts)}),
            _ => json!("string"),
        },
        Value::Array(items) => items.iter().map(|item| shape(item, texts)).collect(),
        Value::Object(map) => {
            Value::Object(map.iter().map(|(key, value)| (key.clone(), shape(value, texts))).collect())
        }
    }
}
