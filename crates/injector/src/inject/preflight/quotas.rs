//! Whether the quotas of the namespace have room for the proxy (the admission plugin ResourceQuota and its evaluator of pods).
//!
//! The known usage of a quota is always older than the API server's, so this only warns.

use serde_json::Value;

use super::resources::PodResources;
use crate::{
    config::{Amounts, QuotaScope, ResourceQuota},
    names, pod,
    quantity::{Amount, CPU},
    warning::{Warning, shown},
};

const EXCEEDED: &str = "QUOTA_EXCEEDED";
/// The maximum number of warnings.
const MOST: usize = 4;

/// The resources that each container has to have if a quota counts them (`validationSet`): the name of the quota's resource,
/// whether it is a limit, and the resource.
const REQUIRED: [(&str, bool, &str); 6] = [
    ("cpu", false, CPU),
    ("memory", false, "memory"),
    ("requests.cpu", false, CPU),
    ("requests.memory", false, "memory"),
    ("limits.cpu", true, CPU),
    ("limits.memory", true, "memory"),
];

/// A pod and its resources.
#[derive(Clone, Copy)]
pub(super) struct Measured<'a> {
    pub(super) pod: &'a Value,
    pub(super) resources: &'a PodResources<'a>,
}

/// Warnings about quotas that a pod exceeds with its proxy, and not without it.
pub(super) fn warnings(
    quotas: &[ResourceQuota],
    without: Measured<'_>,
    merged: Measured<'_>,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for quota in quotas.iter().filter(|quota| matches(quota, merged)) {
        let counted = matches(quota, without);
        let name = shown(&quota.name);
        for (resource, problem) in exceeded(quota, merged) {
            if !(counted && exceeded(quota, without).iter().any(|(other, _)| *other == resource)) {
                let remedy = remedy(resource);
                let message = format!("ResourceQuota {name} has too little {resource}: {problem}{remedy}");
                warnings.push(Warning::new(EXCEEDED, message));
            }
        }
        let own = if counted { missing(quota, without) } else { Vec::new() };
        for (resource, container) in missing(quota, merged) {
            if !own.iter().any(|(_, other)| *other == container) {
                let remedy = remedy(resource);
                let container = shown(container);
                let message =
                    format!("ResourceQuota {name} requires {resource} of container {container}{remedy}");
                warnings.push(Warning::new(EXCEEDED, message));
            }
        }
    }
    warnings.truncate(MOST);
    warnings
}

fn remedy(resource: &str) -> String {
    let annotation = match resource {
        "cpu" | "requests.cpu" => names::ANNOTATION_PROXY_CPU,
        "memory" | "requests.memory" => names::ANNOTATION_PROXY_MEMORY,
        "limits.cpu" => names::ANNOTATION_PROXY_CPU_LIMIT,
        "limits.memory" => names::ANNOTATION_PROXY_MEMORY_LIMIT,
        _ => return String::new(),
    };
    format!("; see {annotation}, global.proxy.resources")
}

/// The resources of a quota that a pod exceeds.
fn exceeded<'q>(quota: &'q ResourceQuota, measured: Measured<'_>) -> Vec<(&'q str, String)> {
    let usage = usage(measured.resources);
    let of_resource = |(resource, hard): (&'q String, &Amount)| {
        let used = quota.used.get(resource)?;
        let more = usage.get(resource)?;
        (*used + *more > *hard).then(|| {
            let text = |amount: &Amount| amount.text(if resource.ends_with(CPU) { CPU } else { resource });
            let problem = format!(
                "{} used of {}, and the pod with its proxy needs {}",
                text(used),
                text(hard),
                text(more)
            );
            (resource.as_str(), problem)
        })
    };
    quota.hard.iter().filter_map(of_resource).collect()
}

/// The usage that a pod adds to a quota (`podComputeUsageHelper`).
fn usage(resources: &PodResources<'_>) -> Amounts {
    let sum = resources.of_quotas();
    let one = Amount::parse("1").unwrap_or_default();
    let mut usage = Amounts::from([("pods".to_owned(), one), ("count/pods".to_owned(), one)]);
    for (resource, amount) in &sum.requests {
        if matches!(resource.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            usage.insert(resource.clone(), *amount);
            usage.insert(format!("requests.{resource}"), *amount);
        }
    }
    for (resource, amount) in &sum.limits {
        usage.insert(format!("limits.{resource}"), *amount);
    }
    usage
}

/// The first resource that a quota requires of each container that lacks one.
fn missing<'q, 'p>(quota: &'q ResourceQuota, measured: Measured<'p>) -> Vec<(&'q str, &'p str)> {
    if measured.resources.has_own() {
        return Vec::new();
    }
    let lacks = |container: &'p super::resources::Container<'_>| {
        let lacks = |resource: &&'q String| {
            let required = REQUIRED.iter().find(|(name, ..)| name == resource);
            required.is_some_and(|(_, is_limit, resource)| {
                let resources = &container.resources;
                let list = if *is_limit { &resources.limits } else { &resources.requests };
                !list.contains_key(*resource)
            })
        };
        quota.hard.keys().find(lacks).map(|resource| (resource.as_str(), container.name))
    };
    measured.resources.containers.iter().filter_map(lacks).collect()
}

/// Whether a quota counts a pod (`podMatchesScopeFunc`); one with a scope that is not known here counts none.
fn matches(quota: &ResourceQuota, measured: Measured<'_>) -> bool {
    quota.scopes.iter().all(|scope| is_in(scope, measured))
}

fn is_in(scope: &QuotaScope, measured: Measured<'_>) -> bool {
    let spec = |key: &str| pod::at(measured.pod, &["spec", key]);
    let is_terminating = || spec("activeDeadlineSeconds").and_then(Value::as_i64).is_some_and(|it| it >= 0);
    match scope.name.as_str() {
        "Terminating" => is_terminating(),
        "NotTerminating" => !is_terminating(),
        "BestEffort" => is_best_effort(measured.resources),
        "NotBestEffort" => !is_best_effort(measured.resources),
        "PriorityClass" => {
            let class = spec("priorityClassName").and_then(Value::as_str).filter(|class| !class.is_empty());
            let is_listed = class.is_some_and(|class| scope.values.iter().any(|value| value == class));
            match scope.operator.as_str() {
                "Exists" => class.is_some(),
                "DoesNotExist" => class.is_none(),
                "In" => is_listed,
                "NotIn" => !is_listed,
                _ => false,
            }
        }
        _ => false,
    }
}

/// Whether nothing is requested or limited (`GetPodQOS`).
fn is_best_effort(resources: &PodResources<'_>) -> bool {
    let is_set = |amounts: &Amounts| {
        [CPU, "memory"].iter().any(|key| amounts.get(*key).is_some_and(|amount| amount.milli() > 0))
    };
    let own = &resources.own;
    let containers = resources.containers.iter().map(|container| &container.resources);
    !containers.chain([own]).any(|resources| is_set(&resources.requests) || is_set(&resources.limits))
}
