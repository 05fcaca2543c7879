//! The requests and limits of a pod as an API server completes them, before it compares them with LimitRanges and quotas.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::config::{Amounts, LimitRange, amounts};
use crate::inject::aggregate::{self, InitContainer};
use crate::pod;
use crate::quantity::{CPU, HUGE_PAGES, MEMORY};

/// Requests and limits.
#[derive(Clone, Debug, Default)]
pub(super) struct Resources {
    pub(super) requests: Amounts,
    pub(super) limits: Amounts,
}

/// A container with its resources.
#[derive(Debug)]
pub(super) struct Container<'p> {
    pub(super) name: &'p str,
    pub(super) resources: Resources,
    /// Limits that a LimitRange gave it, with the name of the range.
    pub(super) defaults: BTreeMap<String, String>,
    is_init: bool,
    is_sidecar: bool,
}

/// A pod with its resources.
#[derive(Debug)]
pub(super) struct PodResources<'p> {
    pub(super) containers: Vec<Container<'p>>,
    /// `spec.resources`.
    pub(super) own: Resources,
    overhead: Amounts,
}

impl Resources {
    fn of(holder: Option<&Value>) -> Option<Resources> {
        let list = |kind: &str| amounts(holder.and_then(|holder| pod::at(holder, &["resources", kind])));
        Some(Resources { requests: list("requests")?, limits: list("limits")? })
    }
}

impl<'p> PodResources<'p> {
    /// The resources of a pod in a namespace with these LimitRanges; `None` if the API server will refuse one of its
    /// quantities.
    pub(super) fn of(pod: &'p Value, ranges: &[LimitRange]) -> Option<PodResources<'p>> {
        let mut containers = Vec::new();
        for (list, is_init) in [("containers", false), ("initContainers", true)] {
            for container in pod::spec_list(pod, list) {
                let mut resources = Resources::of(Some(container))?;
                // `SetDefaults_Pod`: a limit without a request is one.
                fill(&mut resources.requests, &resources.limits, &mut |_| {});
                // LimitRanger, which sees the pod again after webhooks (`mergeContainerResources`).
                let mut defaults = BTreeMap::new();
                for range in ranges {
                    // An API server accepts one row about containers.
                    for row in &range.rows {
                        fill(&mut resources.limits, &row.default, &mut |resource| {
                            defaults.insert(resource.to_owned(), range.name.clone());
                        });
                        fill(&mut resources.requests, &row.default_request, &mut |_| {});
                    }
                }
                containers.push(Container {
                    name: pod::name(container),
                    resources,
                    defaults,
                    is_init,
                    is_sidecar: is_init
                        && container.get("restartPolicy").and_then(Value::as_str) == Some("Always"),
                });
            }
        }
        let (spec, overhead) = (pod.get("spec"), pod::at(pod, &["spec", "overhead"]));
        Some(PodResources { containers, own: Resources::of(spec)?, overhead: amounts(overhead)? })
    }

    /// The total need of the containers.
    fn sum(&self) -> Resources {
        Resources { requests: self.sum_of(|it| &it.requests), limits: self.sum_of(|it| &it.limits) }
    }

    fn sum_of(&self, kind: impl Fn(&Resources) -> &Amounts) -> Amounts {
        let (init_containers, containers): (Vec<_>, Vec<_>) =
            self.containers.iter().partition(|container| container.is_init);
        let resources: BTreeSet<&String> =
            self.containers.iter().flat_map(|container| kind(&container.resources).keys()).collect();
        let total = |resource: &String| {
            let amount = |container: &Container<'_>| kind(&container.resources).get(resource).copied();
            let of_init = |container: &&Container<'_>| InitContainer {
                amount: amount(container),
                is_sidecar: container.is_sidecar,
            };
            aggregate::peak(
                containers.iter().map(|container| amount(container)),
                init_containers.iter().map(of_init),
            )
        };
        resources.into_iter().filter_map(|resource| Some((resource.clone(), total(resource)?))).collect()
    }

    /// The amount that a LimitRange compares with rows about pods (`podRequests`, `podLimits`).
    pub(super) fn of_limit_ranges(&self) -> Resources {
        self.with_own(|resource| matches!(resource, CPU | MEMORY))
    }

    /// The amount that a quota counts (`PodRequests`, `PodLimits`).
    pub(super) fn of_quotas(&self) -> Resources {
        let is_of_pods =
            |resource: &str| matches!(resource, CPU | MEMORY) || resource.starts_with(HUGE_PAGES);
        let mut sum = self.with_own(is_of_pods);
        add(&mut sum.requests, &self.overhead);
        for (resource, amount) in &self.overhead {
            if let Some(limit) = sum.limits.get_mut(resource) {
                *limit = *limit + *amount;
            }
        }
        sum
    }

    fn with_own(&self, is_of_pods: impl Fn(&str) -> bool) -> Resources {
        let mut sum = self.sum();
        for (into, own) in [(&mut sum.requests, &self.own.requests), (&mut sum.limits, &self.own.limits)] {
            for (resource, amount) in own.iter().filter(|(resource, _)| is_of_pods(resource)) {
                into.insert(resource.clone(), *amount);
            }
        }
        sum
    }

    /// Whether it has pod-level resources (`IsPodLevelResourcesSet`).
    pub(super) fn has_own(&self) -> bool {
        !self.own.requests.is_empty() || !self.own.limits.is_empty()
    }
}

fn fill(into: &mut Amounts, from: &Amounts, filled: &mut dyn FnMut(&str)) {
    for (resource, amount) in from {
        if !into.contains_key(resource) {
            into.insert(resource.clone(), *amount);
            filled(resource);
        }
    }
}

fn add(into: &mut Amounts, other: &Amounts) {
    for (resource, amount) in other {
        let sum = into.entry(resource.clone()).or_default();
        *sum = *sum + *amount;
    }
}
