//! Compares what another injector made of a pod with what this one makes of it ([`compare`]).
//!
//! Both pods are canonicalized: an injector in Go writes its answer through Kubernetes' types, so that empty values appear
//! and quantities change their spelling, which makes no difference to an API server.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Change, Effect, effect_if_selected};
use crate::{
    config::InjectorConfig,
    explain::{Difference, fields},
    inject::{Facts, PodRequest, Selection},
    quantity,
};

/// The answer of another injector for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The pod with its patch applied.
    Injected(Value),
    /// No patch.
    Skipped,
    /// The pod was denied with this message.
    Denied(String),
}

/// The "reason" of another injector's answer: it has none that could be compared.
pub const ANSWERED: &str = "ANSWERED";

/// How the answer of another injector differs from what this configuration makes of the pod; `None` if it does not. Reasons
/// and messages are not compared. The pod counts as selected, because an API server sent it.
pub fn compare(config: &InjectorConfig, request: &PodRequest, answer: &Answer) -> Change {
    let facts = Facts { selection: Selection::ByApiServer, ..Facts::of(config, &request.namespace) };
    let (after, now) = effect_if_selected(config, request, &facts);
    let before = match answer {
        Answer::Injected(_) => Effect::Injected,
        Answer::Skipped => Effect::Skipped(ANSWERED),
        Answer::Denied(message) => Effect::Denied(ANSWERED, message.clone()),
    };
    match (answer, &after, now) {
        (Answer::Injected(answered), Effect::Injected, Some(now)) => {
            let differences = between(answered, &now);
            (!differences.is_empty()).then_some((before, after, differences))
        }
        (Answer::Skipped, Effect::Skipped(_), _) | (Answer::Denied(_), Effect::Denied(..), _) => None,
        _ => Some((before, after, Vec::new())),
    }
}

/// The fields in which two canonicalized pods differ, in the order of a pod.
fn between(answered: &Value, now: &Value) -> Vec<Difference> {
    let (one, two) = (canonical(answered, ""), canonical(now, ""));
    let (one, two) = (with_orders(&one), with_orders(&two));
    let paths = one.keys().chain(two.keys().filter(|path| !one.contains_key(*path)));
    let mut differences: Vec<Difference> = paths
        .filter(|path| !is_equal(one.get(*path), two.get(*path)))
        .map(|path| Difference {
            path: path.clone(),
            running: one.get(path).cloned(),
            now: two.get(path).cloned(),
        })
        .collect();
    differences.sort_by_cached_key(|difference| fields::order(&difference.path));
    differences
}

/// The fields of a pod, and the order of its containers, which paths by name do not show.
fn with_orders(pod: &Value) -> BTreeMap<String, Value> {
    let mut all = fields::of(pod);
    for list in ["initContainers", "containers"] {
        let containers = pod.pointer(&format!("/spec/{list}")).and_then(Value::as_array);
        if let Some(containers) = containers {
            let names = containers.iter().map(|container| container.get("name").cloned().unwrap_or_default());
            all.insert(format!("spec.{list}"), names.collect());
        }
    }
    all
}

/// Whether two values are equal; texts that are JSON, as in annotations and variables, are compared as such.
fn is_equal(one: Option<&Value>, two: Option<&Value>) -> bool {
    let json = |value: Option<&Value>| {
        let text = value.and_then(Value::as_str)?.trim();
        text.starts_with(['{', '[']).then(|| serde_json::from_str::<Value>(text).ok())?
    };
    one == two || json(one).is_some_and(|one| json(two) == Some(one))
}

/// Maps whose values are the user's texts: an empty one has a meaning.
const TEXTS: [&str; 4] = ["labels", "annotations", "nodeSelector", "matchLabels"];

/// A value without the differences that Go's types cannot express.
fn canonical(value: &Value, key: &str) -> Value {
    match value {
        Value::Object(map) if TEXTS.contains(&key) => Value::Object(map.clone()),
        Value::Object(map) if key == "limits" || key == "requests" => {
            map.iter().map(|(name, value)| (name.clone(), of_quantity(value))).collect()
        }
        Value::Object(map) => Value::Object(of_map(map, key)),
        Value::Array(items) => items.iter().map(|item| canonical(item, "")).collect(),
        other if key == "divisor" || key == "sizeLimit" => of_quantity(other),
        other => other.clone(),
    }
}

fn of_map(map: &Map<String, Value>, inside: &str) -> Map<String, Value> {
    let is_set_by_servers = |key: &str| {
        inside == "metadata" && ["creationTimestamp", "managedFields"].contains(&key)
            || inside.is_empty() && key == "status"
    };
    map.iter()
        .filter(|(key, _)| !is_set_by_servers(key))
        .map(|(key, value)| (key.clone(), canonical(value, key)))
        // A quantity is not a pointer in Go: an absent one is written as 0.
        .filter(|(key, value)| !(key == "divisor" && *value == json!("0")))
        .filter(|(key, value)| !fields::is_empty(value) || key == "emptyDir" && value.is_object())
        .collect()
}

fn of_quantity(value: &Value) -> Value {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Value::String(quantity::canonical(&text).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(one: Value, two: Value) -> Vec<String> {
        between(&one, &two).into_iter().map(|one| one.path).collect()
    }

    #[test]
    fn only_what_makes_a_difference_to_an_api_server_is_one() {
        let pod = |container: Value| json!({"metadata": {"name": "a"}, "spec": {"containers": [container]}});
        let one = pod(json!({"name": "a", "resources": {}, "env": [{"name": "A", "value": ""}], "x": null}));
        assert_eq!(paths(one, pod(json!({"name": "a", "env": [{"name": "A"}]}))), Vec::<String>::new());
        let cpu = |cpu: Value| pod(json!({"name": "a", "resources": {"limits": {"cpu": cpu}}}));
        assert_eq!(paths(cpu(json!("2000m")), cpu(json!(2))), Vec::<String>::new());
        assert_eq!(paths(cpu(json!("2")), cpu(json!(3))), ["spec.containers[a].resources.limits.cpu"]);
        let record = |text: &str| json!({"metadata": {"name": "a", "annotations": {"a": text}}});
        assert_eq!(paths(record("{\"a\": 1}"), record("{\"a\":1}\n")), Vec::<String>::new());
        assert_eq!(paths(record("{\"a\": 1}"), record("{\"a\":2}")).len(), 1);
        assert_eq!(
            paths(record(""), json!({"metadata": {"name": "a"}})).len(),
            1,
            "an empty annotation is one"
        );
        let volume = |volume: Value| json!({"spec": {"volumes": [volume]}});
        assert_eq!(
            paths(volume(json!({"name": "a", "emptyDir": {}})), volume(json!({"name": "a"}))).len(),
            1
        );
    }

    #[test]
    fn the_order_of_containers_counts() {
        let pod =
            |names: [&str; 2]| json!({"spec": {"initContainers": names.map(|name| json!({"name": name}))}});
        assert_eq!(paths(pod(["a", "b"]), pod(["b", "a"])), ["spec.initContainers"]);
        assert_eq!(paths(pod(["a", "b"]), pod(["a", "b"])), Vec::<String>::new());
    }

    #[test]
    fn answers_are_compared_with_outcomes() {
        let config = InjectorConfig::embedded().unwrap();
        let pod = |labels: Value| {
            PodRequest::new(
                "shop",
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": labels},
                    "spec": {"containers": [{"name": "web", "image": "web"}]}}),
            )
        };
        let (own, out) = (pod(json!({})), pod(json!({"sidecar.istio.io/inject": "false"})));
        let facts = Facts { selection: Selection::ByApiServer, ..Facts::of(&config, "shop") };
        let (_, injected) = effect_if_selected(&config, &own, &facts);
        let mut injected = injected.unwrap();
        assert_eq!(compare(&config, &own, &Answer::Injected(injected.clone())), None);
        assert_eq!(compare(&config, &out, &Answer::Skipped), None);
        injected["spec"]["initContainers"][1]["image"] = json!("other");
        let (before, after, differences) = compare(&config, &own, &Answer::Injected(injected)).unwrap();
        assert_eq!((before, after), (Effect::Injected, Effect::Injected));
        assert_eq!(differences[0].path, "spec.initContainers[istio-proxy].image");
        assert!(compare(&config, &own, &Answer::Skipped).is_some());
        assert!(compare(&config, &out, &Answer::Denied("no".to_owned())).is_some());
    }
}
