//! LimitRanges and ResourceQuotas of a namespace, as far as they are about the resources of pods.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::quantity::Amount;

/// Amounts by resource.
pub(crate) type Amounts = BTreeMap<String, Amount>;

/// A LimitRange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitRange {
    /// Its name.
    pub name: String,
    /// The rows about containers and pods, in order.
    pub(crate) rows: Vec<Limits>,
    /// All rows as written.
    written: Value,
}

/// A row of a LimitRange (`LimitRangeItem`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Whether it is about each container; otherwise it is about the sum of a pod.
    pub(crate) of_containers: bool,
    pub(crate) min: Amounts,
    pub(crate) max: Amounts,
    /// Limits of containers that have none.
    pub(crate) default: Amounts,
    /// Requests of containers that have none.
    pub(crate) default_request: Amounts,
    pub(crate) max_limit_request_ratio: Amounts,
}

/// A ResourceQuota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceQuota {
    /// Its name.
    pub name: String,
    /// The amounts that may be used (`status.hard`).
    pub(crate) hard: Amounts,
    /// The amounts in use (`status.used`), as far as they are known.
    pub(crate) used: Amounts,
    /// The pods that it counts: those that are in all of these scopes.
    pub(crate) scopes: Vec<Scope>,
    written: Map<String, Value>,
}

/// A condition for the pods that a quota counts (`ScopedResourceSelectorRequirement`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    /// Such as `NotTerminating` or `PriorityClass`.
    pub(crate) name: String,
    /// `Exists`, `DoesNotExist`, `In` or `NotIn`.
    pub(crate) operator: String,
    pub(crate) values: Vec<String>,
}

impl LimitRange {
    /// A LimitRange with the `limits` of its spec; `None` if an API server would refuse them.
    pub fn new(name: impl Into<String>, limits: &Value) -> Option<LimitRange> {
        let mut rows = Vec::new();
        for row in limits.as_array()? {
            let of_containers = match row.get("type")?.as_str()? {
                "Container" => true,
                "Pod" => false,
                _ => continue,
            };
            rows.push(Limits {
                of_containers,
                min: amounts(row.get("min"))?,
                max: amounts(row.get("max"))?,
                default: amounts(row.get("default"))?,
                default_request: amounts(row.get("defaultRequest"))?,
                max_limit_request_ratio: amounts(row.get("maxLimitRequestRatio"))?,
            });
        }
        rows.iter_mut().for_each(Limits::complete);
        Some(LimitRange { name: name.into(), rows, written: limits.clone() })
    }

    /// The LimitRange as it appears in a bundle.
    pub fn to_value(&self) -> Value {
        json!({"name": self.name, "limits": self.written})
    }
}

impl Limits {
    /// Fills in the defaults that an API server fills in (`SetDefaults_LimitRangeItem`).
    fn complete(&mut self) {
        if !self.of_containers {
            return;
        }
        let fill = |into: &mut Amounts, from: &Amounts| {
            for (resource, amount) in from {
                into.entry(resource.clone()).or_insert(*amount);
            }
        };
        fill(&mut self.default, &self.max);
        fill(&mut self.default_request, &self.default);
        fill(&mut self.default_request, &self.min);
    }
}

impl ResourceQuota {
    /// A quota with the fields of its status and of its spec: `hard`, `used`, `scopes`, `scopeSelector`. `None` if an API server
    /// would refuse them.
    pub fn new(name: impl Into<String>, fields: &Map<String, Value>) -> Option<ResourceQuota> {
        let text = |value: &Value, key: &str| Some(value.get(key)?.as_str()?.to_owned());
        let mut scopes = Vec::new();
        for name in list(fields.get("scopes")) {
            let name = name.as_str()?.to_owned();
            scopes.push(Scope { name, operator: "Exists".to_owned(), values: Vec::new() });
        }
        let selector = fields.get("scopeSelector").and_then(|selector| selector.get("matchExpressions"));
        for requirement in list(selector) {
            scopes.push(Scope {
                name: text(requirement, "scopeName")?,
                operator: text(requirement, "operator")?,
                values: list(requirement.get("values"))
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
            });
        }
        let (hard, used) = (amounts(fields.get("hard"))?, amounts(fields.get("used"))?);
        Some(ResourceQuota { name: name.into(), hard, used, scopes, written: fields.clone() })
    }

    /// The quota as it appears in a bundle.
    pub fn to_value(&self) -> Value {
        let mut fields = self.written.clone();
        fields.insert("name".to_owned(), Value::String(self.name.clone()));
        Value::Object(fields)
    }
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A ResourceList; `None` if it is not one.
pub(crate) fn amounts(value: Option<&Value>) -> Option<Amounts> {
    match value {
        None | Some(Value::Null) => Some(Amounts::new()),
        Some(Value::Object(list)) => {
            list.iter().map(|(resource, amount)| Some((resource.clone(), Amount::of(amount)?))).collect()
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_containers_get_the_defaults_of_api_servers() {
        let limits = json!([
            {"type": "Container", "max": {"cpu": "1", "memory": "1Gi"}, "min": {"cpu": "10m", "ephemeral-storage": 1},
             "default": {"memory": "512Mi"}},
            {"type": "Pod", "max": {"cpu": "2"}},
            {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}},
        ]);
        let range = LimitRange::new("a", &limits).unwrap();
        let [containers, pods] = range.rows.as_slice() else { panic!("{range:?}") };
        let text = |amounts: &Amounts| {
            let all: Vec<String> =
                amounts.iter().map(|(name, amount)| format!("{name}={}", amount.text(name))).collect();
            all.join(",")
        };
        assert_eq!(text(&containers.default), "cpu=1,memory=512Mi");
        assert_eq!(text(&containers.default_request), "cpu=1,ephemeral-storage=1,memory=512Mi");
        assert!(!pods.of_containers && pods.default.is_empty());
        assert_eq!(range.to_value()["limits"], limits);
    }

    #[test]
    fn what_no_api_server_has_is_refused() {
        for limits in [
            json!({}),
            json!([{}]),
            json!([{"type": "Pod", "max": {"cpu": "much"}}]),
            json!([{"type": "Pod", "min": []}]),
        ] {
            assert_eq!(LimitRange::new("a", &limits), None, "{limits}");
        }
        for quota in [
            json!({"hard": {"cpu": {}}}),
            json!({"scopes": [1]}),
            json!({"scopeSelector": {"matchExpressions": [{}]}}),
        ] {
            assert_eq!(ResourceQuota::new("a", quota.as_object().unwrap()), None, "{quota}");
        }
    }
}
