//! Whether an injected sample still has what it came with, and nothing twice over.
//!
//! A template that renders an empty list, or an element under somebody else's name, takes containers, volumes or
//! tolerations away from every pod, and nobody is told: the pod is created.

use serde_json::Value;

use crate::{inject::unions, pod};

/// What a sample has lost, or what an API server would refuse of the result, in a sentence.
pub(super) fn loss(sample: &Value, injected: &Value) -> Option<String> {
    lost_by_name(sample, injected)
        .or_else(|| lost_toleration(sample, injected))
        .or_else(|| several(sample, injected))
}

/// Lists of elements with names, each with the lists where the element may be afterwards.
const NAMED: [(&str, &[&str]); 4] = [
    // The proxy changes its list when it becomes a native sidecar.
    ("containers", &["containers", "initContainers"]),
    ("initContainers", &["containers", "initContainers"]),
    ("volumes", &["volumes"]),
    ("imagePullSecrets", &["imagePullSecrets"]),
];

fn lost_by_name(sample: &Value, injected: &Value) -> Option<String> {
    NAMED.iter().find_map(|(list, places)| {
        let is_lost = |element: &&Value| {
            !places
                .iter()
                .any(|place| pod::find(pod::spec_list(injected, place), pod::name(element)).is_some())
        };
        let lost = pod::spec_list(sample, list).iter().find(is_lost)?;
        Some(format!("spec.{list} of the pod would lose its own {}", pod::name(lost)))
    })
}

/// Tolerations have no names and are not merged: those of a template take the place of the pod's, as its author may wish.
/// That none are left is nobody's wish.
fn lost_toleration(sample: &Value, injected: &Value) -> Option<String> {
    if !pod::spec_list(injected, "tolerations").is_empty() {
        return None;
    }
    let lost = pod::spec_list(sample, "tolerations").first()?;
    let key = lost.get("key").and_then(Value::as_str).unwrap_or_default();
    Some(format!("spec.tolerations of the pod would lose its own {key}"))
}

fn several(sample: &Value, injected: &Value) -> Option<String> {
    let own = unions::offences(sample);
    unions::offences(injected).iter().find(|offence| !own.contains(offence)).map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(before: Value, after: Value) -> String {
        loss(&json!({"spec": before}), &json!({"spec": after})).unwrap_or_default()
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
    fn a_second_source_is_found_unless_the_pod_came_with_it() {
        let volumes = json!({"volumes": [{"name": "v", "emptyDir": {}, "secret": {}}]});
        let wanted = "volume \"v\": has emptyDir and secret, of which an API server takes one";
        assert_eq!(said(json!({"volumes": [{"name": "v"}]}), volumes.clone()), wanted);
        assert_eq!(said(volumes.clone(), volumes), "");
    }
}
