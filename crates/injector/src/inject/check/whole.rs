//! Checks that an injected sample has kept its content, and contains nothing twice.
//!
//! A template that renders an empty list, or an element with another one's name, removes containers, volumes or
//! tolerations from every pod without any error: the pod is created.

use serde_json::Value;

use crate::{
    inject::{post::Amount, unions},
    pod, quantity,
};

/// Something that a sample has lost, or that an API server would reject in the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    /// What it is.
    pub(super) sentence: String,
    /// Texts in the template line that is likely to blame, the most telling ones first.
    pub(super) clues: Vec<String>,
}

impl Loss {
    fn new(sentence: String, clues: &[&str]) -> Loss {
        Loss { sentence, clues: clues.iter().map(|clue| (*clue).to_owned()).collect() }
    }
}

/// What a sample has lost, or what an API server would reject in the result.
pub(super) fn loss(sample: &Value, injected: &Value) -> Option<Loss> {
    lost_metadata(sample, injected)
        .map(|sentence| Loss::new(sentence, &["$patch"]))
        .or_else(|| lost_by_name(sample, injected))
        .or_else(|| lost_toleration(sample, injected))
        .or_else(|| several(sample, injected))
        .or_else(|| impossible_resources(sample, injected).map(|sentence| Loss::new(sentence, &[])))
}

fn lost_metadata(sample: &Value, injected: &Value) -> Option<String> {
    let field = |pod: &Value, key: &str| pod::at(pod, &["metadata", key]).cloned();
    let names = ["name", "generateName"].into_iter();
    let lost = names.filter(|key| field(sample, key).is_some()).find(|key| field(injected, key).is_none());
    if let Some(key) = lost {
        return Some(format!("the pod would lose its metadata.{key}"));
    }
    ["labels", "annotations"].into_iter().find_map(|map| {
        let (own, kept) = (field(sample, map)?, field(injected, map).unwrap_or_default());
        let lost = own.as_object()?.keys().find(|key| kept.get(key.as_str()).is_none())?;
        Some(format!("metadata.{map} of the pod would lose its own {lost}"))
    })
}

/// Requests above limits, or negative amounts, in a container that templates create: every API server rejects them.
fn impossible_resources(sample: &Value, injected: &Value) -> Option<String> {
    let is_own = |list: &str, name: &str| pod::find(pod::spec_list(sample, list), name).is_some();
    ["containers", "initContainers"].into_iter().find_map(|list| {
        let made =
            pod::spec_list(injected, list).iter().filter(|container| !is_own(list, pod::name(container)));
        made.into_iter().find_map(|container| {
            let amounts = |kind: &str| pod::at(container, &["resources", kind]).and_then(Value::as_object);
            let place = |kind: &str, key: &str| {
                format!("spec.{list}[{}].resources.{kind}.{key}", pod::name(container))
            };
            let negative = ["requests", "limits"].into_iter().find_map(|kind| {
                let is_negative =
                    |value: &Value| quantity::sign(&written(value)) == Some(quantity::Sign::Negative);
                let (key, value) = amounts(kind)?.iter().find(|(_, value)| is_negative(value))?;
                Some(format!("{} would be {}, which is below zero", place(kind, key), written(value)))
            });
            negative.or_else(|| {
                amounts("requests")?.iter().find_map(|(key, request)| {
                    let limit = amounts("limits")?.get(key)?;
                    (Amount::of(request)? > Amount::of(limit)?).then(|| {
                        let (request, limit) = (written(request), written(limit));
                        format!("{} would be {request}, above the limit of {limit}", place("requests", key))
                    })
                })
            })
        })
    })
}

fn written(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Lists of named elements, each with the lists that may contain the element afterwards.
const NAMED: [(&str, &[&str]); 4] = [
    // The proxy changes its list when it becomes a native sidecar.
    ("containers", &["containers", "initContainers"]),
    ("initContainers", &["containers", "initContainers"]),
    ("volumes", &["volumes"]),
    ("imagePullSecrets", &["imagePullSecrets"]),
];

fn lost_by_name(sample: &Value, injected: &Value) -> Option<Loss> {
    NAMED.iter().find_map(|(list, places)| {
        let is_lost = |element: &&Value| {
            !places
                .iter()
                .any(|place| pod::find(pod::spec_list(injected, place), pod::name(element)).is_some())
        };
        let lost = pod::spec_list(sample, list).iter().find(is_lost)?;
        let name = pod::name(lost);
        let sentence = format!("spec.{list} of the pod would lose its own {name}");
        Some(Loss::new(sentence, &["$patch", &format!("name: {name}"), &format!("{list}:")]))
    })
}

/// Tolerations have no names and are not merged: a template's replace the pod's, which its author may intend. Removing
/// all of them is certainly unintended.
fn lost_toleration(sample: &Value, injected: &Value) -> Option<Loss> {
    if !pod::spec_list(injected, "tolerations").is_empty() {
        return None;
    }
    let lost = pod::spec_list(sample, "tolerations").first()?;
    let key = lost.get("key").and_then(Value::as_str).unwrap_or_default();
    let sentence = format!("spec.tolerations of the pod would lose its own {key}");
    Some(Loss::new(sentence, &["tolerations:", "$patch"]))
}

fn several(sample: &Value, injected: &Value) -> Option<Loss> {
    let own = unions::violations(sample);
    let sentence = unions::violations(injected).iter().find(|found| !own.contains(found))?.to_string();
    // The names in a sentence are in quotes.
    let name = sentence.split('"').nth(1).map(|name| format!("name: {name}")).unwrap_or_default();
    Some(Loss::new(sentence, &[&name]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(before: Value, after: Value) -> String {
        loss(&json!({"spec": before}), &json!({"spec": after})).map(|loss| loss.sentence).unwrap_or_default()
    }

    #[test]
    fn a_list_that_shrinks_is_found() {
        let containers = || json!([{"name": "app"}]);
        assert_eq!(
            said(json!({"containers": containers()}), json!({})),
            "spec.containers of the pod would lose its own app"
        );
        assert_eq!(
            said(json!({"containers": containers()}), json!({"initContainers": containers()})),
            "",
            "it changed its list"
        );
        for list in ["initContainers", "volumes", "imagePullSecrets"] {
            let said = said(json!({list: [{"name": "a"}, {"name": "b"}]}), json!({list: [{"name": "b"}]}));
            assert_eq!(said, format!("spec.{list} of the pod would lose its own a"));
        }
        let tolerations = json!({"tolerations": [{"key": "k", "operator": "Exists"}]});
        assert_eq!(
            said(tolerations.clone(), json!({"tolerations": []})),
            "spec.tolerations of the pod would lose its own k"
        );
        assert_eq!(
            said(tolerations, json!({"tolerations": [{"key": "other"}]})),
            "",
            "a template has its own"
        );
    }

    #[test]
    fn metadata_that_goes_is_found() {
        let before = json!({"metadata": {"generateName": "a-", "labels": {"app": "a"}}, "spec": {}});
        let said = |after: Value| loss(&before, &after).map(|loss| loss.sentence).unwrap_or_default();
        assert_eq!(said(before.clone()), "");
        assert_eq!(said(json!({"spec": {}})), "the pod would lose its metadata.generateName");
        assert_eq!(
            said(json!({"metadata": {"generateName": "a-", "labels": {"x": "y"}}, "spec": {}})),
            "metadata.labels of the pod would lose its own app"
        );
    }

    #[test]
    fn resources_that_cannot_be_are_found_in_what_templates_make() {
        let made = |requests: Value, limits: Value| json!({"containers": [{"name": "made", "resources": {"requests": requests, "limits": limits}}]});
        for (requests, limits, wanted) in [
            (json!({"cpu": "2"}), json!({"cpu": "2000m"}), ""),
            (json!({"cpu": 3}), json!({"memory": "1Gi"}), ""),
            (
                json!({"cpu": 3, "memory": "1Gi"}),
                json!({"cpu": "2000m"}),
                "spec.containers[made].resources.requests.cpu would be 3, above the limit of 2000m",
            ),
            (
                json!({"memory": "-1"}),
                json!({}),
                "spec.containers[made].resources.requests.memory would be -1, which is below zero",
            ),
        ] {
            assert_eq!(said(json!({}), made(requests, limits)), wanted);
        }
        let own = made(json!({"cpu": 3}), json!({"cpu": 1}));
        assert_eq!(said(own.clone(), own), "", "what the pod came with is the API server's to refuse");
    }

    #[test]
    fn a_second_source_is_found_unless_the_pod_came_with_it() {
        let volumes = json!({"volumes": [{"name": "v", "emptyDir": {}, "secret": {}}]});
        let wanted = "volume \"v\": has emptyDir and secret; an API server accepts only one";
        assert_eq!(said(json!({"volumes": [{"name": "v"}]}), volumes.clone()), wanted);
        assert_eq!(said(volumes.clone(), volumes), "");
    }
}
