//! Which webhooks an API server calls for a new pod: the rules of MutatingWebhookConfigurations and
//! MutatingAdmissionPolicies, of any product.
//!
//! The order of evaluation is the API server's (`ShouldCallHook` in `plugin/webhook/generic`): rules, namespace selector,
//! object selector, match conditions. Match conditions are CEL; the caller evaluates them.

use std::fmt;

use serde_json::{Map, Value};

use crate::{config::Selector, warning::shown};

/// The creation of a pod, as an API server sees it.
#[derive(Clone, Copy, Debug)]
pub struct Creation<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// Its labels; `None` if they are not known.
    pub namespace_labels: Option<&'a Map<String, Value>>,
    /// The pod.
    pub pod: &'a Value,
}

/// Whether a webhook or policy is called for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// It is called.
    Yes,
    /// It is not called.
    No(Mismatch),
    /// It cannot be said, for this reason.
    Unknown(String),
}

/// The first rule of a webhook that excludes a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// No rule is for the creation of pods.
    Rules,
    /// A requirement of a selector on the labels of the namespace or of the pod.
    Label {
        /// `namespaceSelector` or `objectSelector`.
        selector: &'static str,
        /// `the namespace` or `the pod`.
        holder: &'static str,
        /// The requirement, such as `istio-injection must be "enabled"`.
        requirement: String,
        /// The label's value, if it has one.
        found: Option<String>,
    },
    /// A match condition that is false.
    Condition {
        /// Its name.
        name: String,
        /// Its CEL expression.
        expression: String,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Rules => f.write_str("no rule is for the creation of pods"),
            Mismatch::Label { selector, holder, requirement, found } => {
                write!(f, "{selector}: label {requirement}, ")?;
                match found {
                    Some(value) => write!(f, "but {holder} has {}", shown(value)),
                    None => write!(f, "but {holder} does not have it"),
                }
            }
            Mismatch::Condition { name, expression } => {
                write!(f, "matchConditions[{name}] is false: {expression}")
            }
        }
    }
}

/// Evaluates one match condition; an error says why it cannot be evaluated.
pub type Condition<'c> = &'c dyn Fn(&str) -> Result<bool, String>;

/// Whether an API server calls an entry of a MutatingWebhookConfiguration for a pod.
pub fn webhook(entry: &Value, creation: Creation<'_>, condition: Condition<'_>) -> Selected {
    let rules = entry.get("rules").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !rules.iter().any(is_for_new_pods) {
        return Selected::No(Mismatch::Rules);
    }
    by_selectors(entry, creation).unwrap_or_else(|| by_conditions(entry, condition))
}

/// Whether a MutatingAdmissionPolicy is applied to a pod through a binding.
pub fn policy(policy: &Value, binding: &Value, creation: Creation<'_>, condition: Condition<'_>) -> Selected {
    let none = Value::Null;
    let spec = policy.get("spec").unwrap_or(&none);
    let constraints = spec.get("matchConstraints").unwrap_or(&none);
    let resources = binding.pointer("/spec/matchResources").unwrap_or(&none);
    let rules = |holder: &Value, key: &str| {
        holder.get(key).and_then(Value::as_array).is_some_and(|rules| rules.iter().any(is_for_new_pods))
    };
    let has_rules = |holder: &Value| {
        holder.get("resourceRules").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty())
    };
    let is_excluded = |holder: &Value| rules(holder, "excludeResourceRules");
    let is_bound = !has_rules(resources) || rules(resources, "resourceRules");
    if !rules(constraints, "resourceRules") || !is_bound || is_excluded(constraints) || is_excluded(resources)
    {
        return Selected::No(Mismatch::Rules);
    }
    let selected = by_selectors(constraints, creation)
        .or_else(|| by_selectors(resources, creation))
        .unwrap_or_else(|| by_conditions(spec, condition));
    // Without a `paramRef`, the policy is evaluated once, with `params` null (`CollectParams`).
    let kind = spec.pointer("/paramKind/kind").and_then(Value::as_str);
    match (selected, kind, binding.pointer("/spec/paramRef")) {
        (Selected::Yes, Some(kind), Some(_)) => Selected::Unknown(format!(
            "its paramRef is for objects of kind {}, which are not read",
            shown(kind)
        )),
        (selected, ..) => selected,
    }
}

/// Whether a rule is for `CREATE` of `pods` in the core group. With `matchPolicy: Equivalent` no other group counts: the core
/// group's pods have no equivalent.
fn is_for_new_pods(rule: &Value) -> bool {
    let has = |key: &str, wanted: &[&str]| {
        let items = rule.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(Value::as_str).any(|item| wanted.contains(&item))
    };
    let scope = rule.get("scope").and_then(Value::as_str).unwrap_or("*");
    has("operations", &["CREATE", "*"])
        && has("apiGroups", &["", "*"])
        && has("apiVersions", &["v1", "*"])
        // The matcher takes no subresource for one of all subresources, whatever the documentation says of `pods/*`.
        && has("resources", &["pods", "*", "*/*", "pods/*"])
        && matches!(scope, "*" | "Namespaced")
}

/// The answer of the two selectors; `None` if both match.
fn by_selectors(holder: &Value, creation: Creation<'_>) -> Option<Selected> {
    let nothing = Map::new();
    let of_pod = creation.pod.pointer("/metadata/labels").and_then(Value::as_object).unwrap_or(&nothing);
    let read = |key: &str| match holder.get(key) {
        Some(selector) => Selector::from_value(selector).ok_or_else(|| format!("{key} cannot be read")),
        None => Ok(Selector::default()),
    };
    let (namespace, object) = match (read("namespaceSelector"), read("objectSelector")) {
        (Ok(namespace), Ok(object)) => (namespace, object),
        (Err(problem), _) | (_, Err(problem)) => return Some(Selected::Unknown(problem)),
    };
    if !namespace.is_empty() {
        let Some(labels) = creation.namespace_labels else {
            return Some(Selected::Unknown("the labels of the namespace are not known".to_owned()));
        };
        // Every namespace has this label, even if a manifest does not say so.
        let mut labels = labels.clone();
        labels.entry(crate::names::LABEL_NAMESPACE_NAME).or_insert_with(|| creation.namespace.into());
        if let Some(mismatch) = mismatch("namespaceSelector", "the namespace", &namespace, &labels) {
            return Some(Selected::No(mismatch));
        }
    }
    mismatch("objectSelector", "the pod", &object, of_pod).map(Selected::No)
}

fn mismatch(
    selector: &'static str,
    holder: &'static str,
    requirements: &Selector,
    labels: &Map<String, Value>,
) -> Option<Mismatch> {
    let unmet = requirements.unmet(labels)?;
    let found = labels.get(unmet.key()).and_then(Value::as_str).map(str::to_owned);
    Some(Mismatch::Label { selector, holder, requirement: unmet.to_string(), found })
}

/// Any false condition excludes the pod, even if another one fails.
fn by_conditions(holder: &Value, condition: Condition<'_>) -> Selected {
    let conditions =
        holder.get("matchConditions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut unknown = None;
    for entry in conditions {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (name, expression) = (text("name"), text("expression"));
        match condition(&expression) {
            Ok(true) => {}
            Ok(false) => return Selected::No(Mismatch::Condition { name, expression }),
            Err(problem) => {
                unknown.get_or_insert(format!("matchConditions[{name}] cannot be evaluated: {problem}"));
            }
        }
    }
    unknown.map_or(Selected::Yes, Selected::Unknown)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(more: Value) -> Value {
        let mut entry = json!({"name": "a.b.c", "rules": [
            {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]},
        ]});
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    }

    fn asked(entry: &Value, namespace: Option<&Value>, labels: &Value) -> Selected {
        let pod = json!({"metadata": {"labels": labels}});
        let creation = Creation {
            namespace: "shop",
            namespace_labels: namespace.map(|labels| labels.as_object().unwrap()),
            pod: &pod,
        };
        let condition = |text: &str| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(format!("no such function {other}")),
        };
        webhook(entry, creation, &condition)
    }

    #[test]
    fn parameters_of_a_policy_are_not_read() {
        let rule = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]});
        let of = |parameters: Value, reference: Value, conditions: Value| {
            let constraints = json!({"resourceRules": [rule]});
            let bound = json!({"spec": {"matchConstraints": constraints, "paramKind": parameters, "matchConditions": conditions}});
            let pod = json!({"metadata": {}});
            let creation = Creation { namespace: "shop", namespace_labels: None, pod: &pod };
            let condition = |text: &str| Ok(text == "true");
            policy(&bound, &json!({"spec": {"paramRef": reference}}), creation, &condition)
        };
        let (kind, by_name) = (json!({"apiVersion": "v1", "kind": "ConfigMap"}), json!({"name": "a"}));
        let no = json!([{"name": "never", "expression": "false"}]);
        assert_eq!(
            of(kind.clone(), by_name.clone(), json!([])),
            Selected::Unknown(
                "its paramRef is for objects of kind \"ConfigMap\", which are not read".to_owned()
            )
        );
        assert!(matches!(of(kind, by_name.clone(), no), Selected::No(Mismatch::Condition { .. })));
        assert_eq!(of(Value::Null, by_name, json!([])), Selected::Yes, "an API server ignores the reference");
        let without = json!({"spec": {"matchConstraints": {"resourceRules": [rule]}, "paramKind": {"kind": "ConfigMap"}}});
        let pod = json!({"metadata": {}});
        let creation = Creation { namespace: "shop", namespace_labels: None, pod: &pod };
        assert_eq!(policy(&without, &json!({"spec": {}}), creation, &|_| Ok(true)), Selected::Yes);
    }

    #[test]
    fn rules_have_to_be_for_new_pods() {
        for (rule, wanted) in [
            (
                json!({"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}),
                true,
            ),
            (
                json!({"operations": ["UPDATE", "CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["*/*"], "scope": "*"}),
                true,
            ),
            (
                json!({"operations": ["UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}),
                false,
            ),
            (
                json!({"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["pods"]}),
                false,
            ),
            (
                json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/*"]}),
                true,
            ),
            (
                json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/binding", "nodes/*"]}),
                false,
            ),
            (
                json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "scope": "Cluster"}),
                false,
            ),
        ] {
            let selected = asked(&json!({"rules": [rule]}), Some(&json!({})), &json!({}));
            let expected = if wanted { Selected::Yes } else { Selected::No(Mismatch::Rules) };
            assert_eq!(selected, expected, "{rule}");
        }
        assert_eq!(asked(&json!({}), Some(&json!({})), &json!({})), Selected::No(Mismatch::Rules));
    }

    #[test]
    fn the_requirement_that_fails_is_named() {
        let selected = |namespace: Value, labels: Value| {
            let entry = entry(json!({
                "namespaceSelector": {"matchLabels": {"istio-injection": "enabled"}},
                "objectSelector": {"matchExpressions": [
                    {"key": "sidecar.istio.io/inject", "operator": "NotIn", "values": ["false"]},
                    {"key": "app", "operator": "Exists"},
                ]},
            }));
            match asked(&entry, Some(&namespace), &labels) {
                Selected::No(mismatch) => mismatch.to_string(),
                other => format!("{other:?}"),
            }
        };
        let enabled = json!({"istio-injection": "enabled"});
        assert_eq!(selected(enabled.clone(), json!({"app": "a"})), "Yes");
        assert_eq!(
            selected(json!({}), json!({})),
            "namespaceSelector: label istio-injection must be \"enabled\", but the namespace does not have it"
        );
        assert_eq!(
            selected(json!({"istio-injection": "enable"}), json!({})),
            "namespaceSelector: label istio-injection must be \"enabled\", but the namespace has \"enable\""
        );
        assert_eq!(
            selected(enabled.clone(), json!({"sidecar.istio.io/inject": "false"})),
            "objectSelector: label sidecar.istio.io/inject must not be \"false\", but the pod has \"false\""
        );
        assert_eq!(
            selected(enabled, json!({})),
            "objectSelector: label app must be set, but the pod does not have it"
        );
    }

    #[test]
    fn unknown_labels_of_a_namespace_are_said_to_be() {
        let selector = entry(json!({"namespaceSelector": {"matchLabels": {"a": "b"}}}));
        assert!(matches!(asked(&selector, None, &json!({})), Selected::Unknown(_)));
        assert_eq!(asked(&entry(json!({})), None, &json!({})), Selected::Yes);
        let by_name =
            entry(json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}));
        assert_eq!(asked(&by_name, Some(&json!({})), &json!({})), Selected::Yes);
    }

    #[test]
    fn a_false_condition_wins_over_one_that_fails() {
        let conditions = |all: &[&str]| {
            let all: Vec<Value> = all.iter().map(|text| json!({"name": text, "expression": text})).collect();
            asked(&entry(json!({"matchConditions": all})), Some(&json!({})), &json!({}))
        };
        assert_eq!(conditions(&["true", "true"]), Selected::Yes);
        assert!(matches!(conditions(&["broken", "true"]), Selected::Unknown(_)));
        assert!(matches!(conditions(&["broken", "false"]), Selected::No(Mismatch::Condition { .. })));
    }

    #[test]
    fn policies_are_bound() {
        let rules = json!([{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]);
        let pod = json!({"metadata": {"labels": {"app": "a"}}});
        let labels = Map::new();
        let creation = Creation { namespace: "shop", namespace_labels: Some(&labels), pod: &pod };
        let asked = |constraints: Value, resources: Value| {
            let policy_ = json!({"spec": {"matchConstraints": constraints}});
            policy(&policy_, &json!({"spec": {"matchResources": resources}}), creation, &|_| Ok(true))
        };
        assert_eq!(asked(json!({"resourceRules": rules}), json!({})), Selected::Yes);
        assert_eq!(asked(json!({}), json!({})), Selected::No(Mismatch::Rules));
        assert_eq!(
            asked(json!({"resourceRules": rules, "excludeResourceRules": rules}), json!({})),
            Selected::No(Mismatch::Rules)
        );
        let selector = json!({"objectSelector": {"matchLabels": {"app": "b"}}});
        assert!(matches!(
            asked(json!({"resourceRules": rules}), selector),
            Selected::No(Mismatch::Label { .. })
        ));
    }
}
