//! How many pods a rollout takes down at once, against the PodDisruptionBudgets. Controllers do not ask for budgets when they
//! replace pods; evictions do. So the budgets are compared before a restart.

use serde_json::{Map, Value};

use super::{number, selects, text};

/// Why a rollout would disrupt more pods than a budget allows, if it would.
pub(super) fn forbidden(object: &Value, budgets: &[Value]) -> Option<String> {
    let nothing = Map::new();
    let labels =
        object.pointer("/spec/template/metadata/labels").and_then(Value::as_object).unwrap_or(&nothing);
    let namespace = text(object, "/metadata/namespace");
    let takes_down = taken_down_at_once(object);
    if takes_down == 0 {
        return None;
    }
    let applies = |budget: &&Value| {
        text(budget, "/metadata/namespace") == namespace && selects(budget.pointer("/spec/selector"), labels)
    };
    budgets.iter().filter(applies).find_map(|budget| {
        let name = text(budget, "/metadata/name");
        let of = |pointer: &str| number(budget, pointer).unwrap_or(0);
        // A status of an earlier spec says nothing.
        if of("/status/observedGeneration") < of("/metadata/generation") {
            return Some(format!("the status of PodDisruptionBudget {name} is not known yet"));
        }
        let allowed = of("/status/disruptionsAllowed");
        (allowed < takes_down).then(|| {
            let disruptions = if allowed == 1 { "disruption" } else { "disruptions" };
            format!(
                "PodDisruptionBudget {name} allows {allowed} {disruptions} now, and its rollout takes down up to {takes_down} at once"
            )
        })
    })
}

/// How many pods may be missing during a rollout.
fn taken_down_at_once(object: &Value) -> u64 {
    let wanted = match text(object, "/kind") {
        "DaemonSet" => number(object, "/status/desiredNumberScheduled").unwrap_or(0),
        _ => number(object, "/spec/replicas").unwrap_or(1),
    };
    let at = |pointer: &str| object.pointer(pointer);
    let most = match text(object, "/kind") {
        "Deployment" => {
            if text(object, "/spec/strategy/type") == "Recreate" {
                return wanted;
            }
            // `ResolveFenceposts`: 25 % each by default; one pod if both are 0.
            let surge = scaled(at("/spec/strategy/rollingUpdate/maxSurge"), 25, wanted, Round::Up);
            match scaled(at("/spec/strategy/rollingUpdate/maxUnavailable"), 25, wanted, Round::Down) {
                0 if surge == 0 => 1,
                unavailable => unavailable,
            }
        }
        // The default is 1 (`getStatefulSetMaxUnavailable`; ignored without the feature gate MaxUnavailableStatefulSet).
        "StatefulSet" => match at("/spec/updateStrategy/rollingUpdate/maxUnavailable") {
            None => 1,
            given => scaled(given, 0, wanted, Round::Down).max(1),
        },
        // The default is 1 (`unavailableCount`), and 0 is only valid with a surge.
        _ => match at("/spec/updateStrategy/rollingUpdate/maxUnavailable") {
            None => 1,
            given => scaled(given, 0, wanted, Round::Up),
        },
    };
    most.min(wanted)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    Up,
    Down,
}

/// A number, or a percentage of the wanted pods (`intstr.GetScaledValueFromIntOrPercent`).
fn scaled(value: Option<&Value>, default_percent: u64, wanted: u64, round: Round) -> u64 {
    let percent = match value {
        Some(Value::Number(number)) => return number.as_u64().unwrap_or(0),
        Some(Value::String(text)) => text.strip_suffix('%').and_then(|text| text.parse().ok()).unwrap_or(0),
        _ => default_percent,
    };
    let hundredths = percent * wanted;
    if round == Round::Up { hundredths.div_ceil(100) } else { hundredths / 100 }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workload(kind: &str, replicas: u64, strategy: Value) -> Value {
        let key = if kind == "Deployment" { "strategy" } else { "updateStrategy" };
        json!({
            "kind": kind, "metadata": {"namespace": "shop"},
            "spec": {"replicas": replicas, key: strategy, "template": {"metadata": {"labels": {"app": "web"}}}},
            "status": {"desiredNumberScheduled": replicas},
        })
    }

    #[test]
    fn a_rollout_takes_down_what_its_strategy_says() {
        let rolling = |fields: Value| json!({"type": "RollingUpdate", "rollingUpdate": fields});
        for (kind, replicas, strategy, expected) in [
            ("Deployment", 3, json!(null), 0),
            ("Deployment", 4, json!(null), 1),
            ("Deployment", 10, rolling(json!({"maxUnavailable": "35%"})), 3),
            ("Deployment", 10, rolling(json!({"maxUnavailable": 0, "maxSurge": 1})), 0),
            ("Deployment", 10, rolling(json!({"maxUnavailable": "5%", "maxSurge": 0})), 1),
            ("Deployment", 2, rolling(json!({"maxUnavailable": 5})), 2),
            ("Deployment", 7, json!({"type": "Recreate"}), 7),
            ("StatefulSet", 5, json!(null), 1),
            ("StatefulSet", 5, rolling(json!({"maxUnavailable": "50%"})), 2),
            ("StatefulSet", 5, rolling(json!({"maxUnavailable": "1%"})), 1),
            ("DaemonSet", 9, json!(null), 1),
            ("DaemonSet", 9, rolling(json!({"maxUnavailable": "34%"})), 4),
            ("DaemonSet", 9, rolling(json!({"maxUnavailable": 0, "maxSurge": 1})), 0),
            ("DaemonSet", 0, json!(null), 0),
        ] {
            let object = workload(kind, replicas, strategy.clone());
            assert_eq!(taken_down_at_once(&object), expected, "{kind} {replicas} {strategy}");
        }
    }

    #[test]
    fn every_budget_of_the_pods_has_to_allow_it() {
        let budget = |name: &str, namespace: &str, selector: Value, allowed: u64, observed: u64| {
            json!({
                "metadata": {"name": name, "namespace": namespace, "generation": 2},
                "spec": {"selector": selector}, "status": {"disruptionsAllowed": allowed, "observedGeneration": observed},
            })
        };
        let web = || json!({"matchLabels": {"app": "web"}});
        let object = workload("Deployment", 8, json!(null));
        let refused = |budgets: &[Value]| forbidden(&object, budgets);
        assert_eq!(refused(&[]), None);
        assert_eq!(refused(&[budget("a", "shop", web(), 2, 2)]), None);
        assert_eq!(
            refused(&[budget("a", "shop", web(), 2, 2), budget("b", "shop", json!({}), 1, 2)]).as_deref(),
            Some("PodDisruptionBudget b allows 1 disruption now, and its rollout takes down up to 2 at once")
        );
        // An empty selector selects all pods, none at all selects none (policy/v1).
        assert_eq!(refused(&[budget("a", "shop", json!(null), 0, 2)]), None);
        assert_eq!(refused(&[budget("a", "other", web(), 0, 2)]), None);
        assert_eq!(refused(&[budget("a", "shop", json!({"matchLabels": {"app": "db"}}), 0, 2)]), None);
        assert_eq!(
            refused(&[budget("a", "shop", web(), 5, 1)]).as_deref(),
            Some("the status of PodDisruptionBudget a is not known yet")
        );
        let surging = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}});
        let careful = workload("Deployment", 8, surging);
        assert_eq!(forbidden(&careful, &[budget("a", "shop", web(), 0, 2)]), None, "no pod is missing");
        assert_eq!(
            forbidden(&careful, &[budget("a", "shop", web(), 0, 1)]),
            None,
            "whatever the status says"
        );
    }
}
