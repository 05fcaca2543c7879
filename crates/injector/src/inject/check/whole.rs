//! Checks that an injected sample has kept its content, and contains nothing twice.
//!
//! A template that renders an empty list, or an element with another one's name, removes containers, volumes or
//! tolerations from every pod without any error: the pod is created. So does a list of its own where Kubernetes does not
//! merge lists: `tolerations:` in a template replaces all of the pod's.

use serde_json::Value;
use strategic_merge::merge::key_of_list;

use crate::{pod, quantity, quantity::Amount, unions};

/// Something that a sample has lost, or that an API server would reject in the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    /// What it is.
    pub(super) sentence: String,
    /// Texts in the template line that is likely to blame, the most telling ones first.
    pub(super) clues: Vec<String>,
    /// Whether pods can still run, perhaps as the template's author intends: a server accepts such a configuration.
    pub(super) may_be_intended: bool,
}

impl Loss {
    fn new(sentence: String, clues: &[&str]) -> Loss {
        let clues = clues.iter().map(|clue| (*clue).to_owned()).collect();
        Loss { sentence, clues, may_be_intended: false }
    }
}

/// What a sample has lost, or what an API server would reject in the result.
pub(super) fn loss(sample: &Value, injected: &Value) -> Option<Loss> {
    lost_metadata(sample, injected)
        .map(|sentence| Loss::new(sentence, &["$patch"]))
        .or_else(|| lost_by_name(sample, injected))
        .or_else(|| all_tolerations(sample, injected))
        .or_else(|| several(sample, injected))
        .or_else(|| impossible_resources(sample, injected).map(|sentence| Loss::new(sentence, &[])))
        .or_else(|| lost_element(sample, injected))
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

/// Lists of named elements, each with the lists that may contain the element afterward.
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

/// A pod without any of its tolerations leaves the nodes that it was meant for.
fn all_tolerations(sample: &Value, injected: &Value) -> Option<Loss> {
    if !pod::spec_list(injected, "tolerations").is_empty() {
        return None;
    }
    let lost = pod::spec_list(sample, "tolerations").first()?;
    let sentence = format!("spec.tolerations of the pod would lose its own {}", label(lost));
    Some(Loss::new(sentence, &["tolerations:", "$patch"]))
}

/// An element of any list of the pod, or an entry of its node selector. What an element contains may change.
fn lost_element(sample: &Value, injected: &Value) -> Option<Loss> {
    let mut kept = pod::at(injected, &["spec"]).cloned().unwrap_or_default();
    // The proxy changes its list when it becomes a native sidecar.
    let containers = [pod::containers(injected), pod::init_containers(injected)].concat();
    for list in ["containers", "initContainers"] {
        kept.as_object_mut()?.insert(list.to_owned(), Value::Array(containers.clone()));
    }
    let (place, lost) = lost_below("spec", pod::at(sample, &["spec"])?, &kept)?;
    let list = place.rsplit('.').next().unwrap_or(&place);
    let sentence = format!("{place} of the pod would lose its own {lost}");
    let loss = Loss::new(sentence, &[&format!("{list}:"), "$patch", &format!("name: {lost}")]);
    Some(Loss { may_be_intended: true, ..loss })
}

/// Handlers that the injector itself rewrites.
const HANDLERS: [&str; 4] = ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle"];

/// The place of the first list, or node selector, that lacks something of `own`, and what it lacks.
fn lost_below(place: &str, own: &Value, kept: &Value) -> Option<(String, String)> {
    match own {
        Value::Object(fields) if place.ends_with(".nodeSelector") => {
            let lost = fields.keys().find(|key| kept.get(key.as_str()).is_none())?;
            Some((place.to_owned(), lost.clone()))
        }
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(field, _)| !HANDLERS.contains(&field.as_str()));
            fields.into_iter().find_map(|(field, own)| {
                lost_below(&format!("{place}.{field}"), own, kept.get(field).unwrap_or(&Value::Null))
            })
        }
        Value::Array(elements) => {
            // Elements without a merge key, and those of lists that are not merged, are what they contain.
            let key = place.rsplit('.').next().and_then(key_of_list);
            let kept = kept.as_array().map(Vec::as_slice).unwrap_or_default();
            elements.iter().find_map(|element| match key.and_then(|key| Some((key, element.get(key)?))) {
                Some((key, name)) => match kept.iter().find(|kept| kept.get(key) == Some(name)) {
                    Some(kept) => lost_below(&format!("{place}[{}]", written(name)), element, kept),
                    None => Some((place.to_owned(), written(name))),
                },
                None => (!kept.contains(element)).then(|| (place.to_owned(), label(element))),
            })
        }
        _ => None,
    }
}

/// The name of an element that has no merge key.
fn label(element: &Value) -> String {
    let name = ["name", "key"].into_iter().find_map(|field| element.get(field));
    written(name.unwrap_or(element))
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
    }

    #[test]
    fn an_element_of_any_list_is_found() {
        let web = |fields: Value| {
            let mut web = json!({"name": "web"});
            web.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            json!({"containers": [web]})
        };
        for (before, after, wanted) in [
            (
                json!({"tolerations": [{"key": "k", "operator": "Exists"}]}),
                json!({"tolerations": []}),
                "spec.tolerations of the pod would lose its own k",
            ),
            (
                json!({"tolerations": [{"key": "k"}, {"key": "l"}]}),
                json!({"tolerations": [{"key": "made"}, {"key": "k"}]}),
                "spec.tolerations of the pod would lose its own l",
            ),
            (
                json!({"tolerations": [{"operator": "Exists"}]}),
                json!({"tolerations": [{"key": "made"}]}),
                "spec.tolerations of the pod would lose its own {\"operator\":\"Exists\"}",
            ),
            (
                json!({"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a", "b"]}]}),
                json!({"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["b"]}]}),
                "spec.hostAliases[10.0.0.1].hostnames of the pod would lose its own a",
            ),
            (
                json!({"nodeSelector": {"a": "b"}}),
                json!({"nodeSelector": {"c": "d"}}),
                "spec.nodeSelector of the pod would lose its own a",
            ),
            (
                web(json!({"env": [{"name": "A"}, {"name": "B"}]})),
                web(json!({"env": [{"name": "B"}]})),
                "spec.containers[web].env of the pod would lose its own A",
            ),
            (
                web(json!({"ports": [{"containerPort": 80}]})),
                web(json!({})),
                "spec.containers[web].ports of the pod would lose its own 80",
            ),
            (
                web(json!({"args": ["--port", "80"]})),
                web(json!({"args": ["--port", "81"]})),
                "spec.containers[web].args of the pod would lose its own 80",
            ),
        ] {
            assert_eq!(said(before, after), wanted);
        }
    }

    #[test]
    fn what_an_element_contains_may_change() {
        for (before, after) in [
            (
                json!({"containers": [{"name": "web", "env": [{"name": "A", "value": "x"}], "args": ["-v"]}]}),
                json!({"containers": [{"name": "made"}, {"name": "web", "env": [{"name": "A", "value": "y"}], "args": ["wrapped", "-v"]}]}),
            ),
            (
                json!({"containers": [{"name": "p", "env": [{"name": "A"}]}]}),
                json!({"initContainers": [{"name": "p", "env": [{"name": "A"}]}]}),
            ),
            (
                json!({"containers": [{"name": "a", "livenessProbe": {"httpGet": {"httpHeaders": [{"name": "x"}]}}}]}),
                json!({"containers": [{"name": "a", "livenessProbe": {"httpGet": {"path": "/app-health/a/livez"}}}]}),
            ),
        ] {
            assert_eq!(said(before, after), "");
        }
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
