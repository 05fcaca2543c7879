//! Reconciles pod-level resources (`spec.resources`) with the proxy's own: a pod that fits its budget without the proxy
//! also fits it with the proxy, and keeps the requests it would have had.
//!
//! The API server compares the requests and limits of a pod with those of all its containers
//! (`validatePodResourceConsistency`), and derives absent values of the pod from its containers
//! (`defaultPodLevelRequests`), including the proxy. A pod with only limits would therefore request no more than its
//! proxy, and a pod whose budget is too small could not be created. Values that are too small are raised by the proxy's
//! share, unless the pod or the values choose otherwise ([`Policy`]).
//!
//! If requests or limits are entirely absent, the API server's own sums are right, and nothing is done.

use std::fmt;

use serde_json::{Map, Value, json};

use super::{Error, PostContext};
use crate::{
    names, pod,
    quantity::{Amount, CPU, HUGE_PAGES, MEMORY},
    quirks::Quirk,
    warning::{Warning, shown_within},
};

mod parts;

use parts::{Parts, Unreadable};

const LISTS: [&str; 2] = ["containers", "initContainers"];

/// How to treat pod-level resources that are too small for the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    /// Raise them by the proxy's share.
    Add,
    /// Leave them as they are without the proxy.
    Keep,
    /// Deny the pod.
    Refuse,
}

impl Policy {
    /// The pod's annotation, else the values; both were validated before.
    fn of(pod: &Value, values: &Value) -> Policy {
        let configured = pod::at(values, &["sidecarInjectorWebhook", "podLevelResources"]);
        let configured = || configured.and_then(Value::as_str);
        let own = pod::annotation(pod, names::ANNOTATION_POD_LEVEL_RESOURCES).filter(|own| !own.is_empty());
        match own.or_else(configured) {
            Some("keep") => Policy::Keep,
            Some("refuse") => Policy::Refuse,
            _ => Policy::Add,
        }
    }
}

/// Adjusts the pod's resources and the proxy's to each other. Under `compat: istio`, only warns.
pub(super) fn fit(
    pod: &mut Value,
    context: &PostContext<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<(), Error> {
    let resources = resources(pod);
    if resources.is_empty() {
        return Ok(());
    }
    let policy = Policy::of(context.received, context.values);
    let plans: Vec<Plan> =
        resources.into_iter().filter_map(|name| Plan::of(name, pod, context, policy)).collect();
    if context.keeps(Quirk::IgnorePodLevelResources) {
        warnings.extend(shrinking(&plans));
        warnings.extend(too_small(&plans));
        warnings.extend(above_pod(&plans, pod, context));
        return Ok(());
    }
    match policy {
        Policy::Add => {
            let raised: Vec<String> =
                plans.iter().flat_map(Plan::raises).map(|raise| raise.to_string()).collect();
            if !raised.is_empty() {
                let message = format!("spec.resources is raised for the proxy: {}", raised.join(", "));
                warnings.push(Warning::new("POD_RESOURCES_RAISED", message));
            }
        }
        Policy::Keep => warnings.extend(too_small(&plans)),
        Policy::Refuse => {
            let needs = needs(&plans);
            if !needs.is_empty() {
                return Err(Error::PodTooSmall { needs });
            }
        }
    }
    for plan in &plans {
        plan.write(pod, policy);
        plan.cap(pod, context, policy);
    }
    Ok(())
}

/// The resources with requests or limits of the pod, as far as pods can have them (`IsSupportedPodLevelResource`).
fn resources(pod: &Value) -> Vec<String> {
    let mut names: Vec<String> = ["requests", "limits"]
        .into_iter()
        .filter_map(|kind| pod::at(pod, &["spec", "resources", kind])?.as_object())
        .flat_map(Map::keys)
        .filter(|name| matches!(name.as_str(), CPU | MEMORY) || name.starts_with(HUGE_PAGES))
        .cloned()
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// One resource of the pod: its current values, and those needed with the proxy.
struct Plan {
    name: String,
    /// The pod's request.
    requested: Option<Amount>,
    /// The pod's limit.
    limited: Option<Amount>,
    /// The request that it would have without the proxy.
    own: Amount,
    /// The containers' total request with the proxy, if the API server derives the pod's request from it.
    together: Option<Amount>,
    /// The lowest valid request with the proxy.
    least: Amount,
    /// The lowest valid limit with the proxy.
    least_limit: Amount,
    /// The request after adding the proxy's share where necessary.
    wanted: Amount,
    /// The limit after adding the proxy's share where necessary.
    wanted_limit: Option<Amount>,
}

impl Plan {
    /// `None` if there is nothing to plan: a quantity is invalid, or the pod could not be created even without the
    /// proxy.
    fn of(name: String, pod: &Value, context: &PostContext<'_>, policy: Policy) -> Option<Plan> {
        let spec = pod.get("spec")?;
        let requested = parts::amount(spec, "requests", &name).ok()?;
        let limited = parts::amount(spec, "limits", &name).ok()?;
        let is_huge = name.starts_with(HUGE_PAGES);
        let with = Parts::received(pod);
        // An explicit request of the pod was right for the containers it came with; a derived one depends on its own
        // containers, and so does one that was not raised for the proxy of an earlier injection.
        let base = match requested {
            Some(_) if policy != Policy::Keep || context.keeps(Quirk::IgnorePodLevelResources) => {
                Parts::received(context.received)
            }
            _ => Parts::without_earlier(context.received, context.earlier),
        };
        let (least, base_requests) = (with.requests(&name).ok()?, base.requests(&name).ok()?);
        let together = least.filter(|_| !is_huge);
        let own = requested.or(base_requests.filter(|_| !is_huge)).or(limited)?;
        let (least, base_requests) = (least.unwrap_or_default(), base_requests.unwrap_or_default());
        let is_refused = |limit: Amount| if is_huge { limit != own } else { limit < own };
        if own < base_requests || limited.is_some_and(is_refused) {
            return None;
        }

        let share = least.less(base_requests);
        let mut wanted = if own >= least { own } else { own + share };
        // Huge pages cannot be overcommitted: their limits are compared like requests. For other resources, each
        // container's limit counts separately.
        let (bound, bound_share) = if is_huge {
            let bound = with.limits(&name).ok()?.unwrap_or_default();
            (bound, bound.less(base.limits(&name).ok()?.unwrap_or_default()))
        } else {
            let fixed = fixed_limit(&name, pod, context).ok()?.unwrap_or_default();
            (fixed, fixed)
        };
        let raised = |limit: Amount| {
            if limit >= wanted.max(bound) { limit } else { limit + share.max(bound_share) }
        };
        let wanted_limit = limited.map(raised);
        if is_huge {
            wanted = wanted_limit.unwrap_or(wanted);
        }
        let least_limit = own.max(least).max(bound);
        Some(Plan { name, requested, limited, own, together, least, least_limit, wanted, wanted_limit })
    }

    /// The values raised under [`Policy::Add`].
    fn raises(&self) -> impl Iterator<Item = Change<'_>> {
        let request = self.requested.map(|requested| ("requests", requested, self.wanted));
        let limit = self.limited.zip(self.wanted_limit).map(|(limit, wanted)| ("limits", limit, wanted));
        self.changes([request, limit])
    }

    /// The values that are too small, with sufficient ones.
    fn needs(&self) -> impl Iterator<Item = Change<'_>> {
        let request = self.requested.map(|requested| ("requests", requested, self.least));
        let limit = self.limited.map(|limit| ("limits", limit, self.least_limit));
        self.changes([request, limit])
    }

    fn changes(&self, all: [Option<(&'static str, Amount, Amount)>; 2]) -> impl Iterator<Item = Change<'_>> {
        let up = all.into_iter().flatten().filter(|(_, from, to)| to > from);
        up.map(|(kind, from, to)| Change { name: &self.name, kind, from, to })
    }

    /// The pod's final limit.
    fn limit(&self, policy: Policy) -> Option<Amount> {
        if policy == Policy::Add { self.wanted_limit } else { self.limited }
    }

    /// The request that the API server derives if none is written.
    fn given(&self, limit: Option<Amount>) -> Option<Amount> {
        self.requested.or(self.together).or(limit)
    }

    /// Writes the pod's request and limit.
    fn write(&self, pod: &mut Value, policy: Policy) {
        let limit = self.limit(policy);
        if limit != self.limited
            && let Some(limit) = limit
        {
            self.set(pod, "limits", limit);
        }
        let request = if policy == Policy::Add { self.wanted } else { self.own };
        if request >= self.least && self.given(limit) != Some(request) {
            self.set(pod, "requests", request);
        }
    }

    fn set(&self, pod: &mut Value, kind: &str, amount: Amount) {
        let resources = pod::spec_mut(pod).get_mut("resources").and_then(Value::as_object_mut);
        let Some(entry) = resources.map(|resources| resources.entry(kind).or_insert(Value::Null)) else {
            return;
        };
        if !entry.is_object() {
            *entry = json!({});
        }
        if let Some(entry) = entry.as_object_mut() {
            entry.insert(self.name.clone(), json!(amount.text(&self.name)));
        }
    }

    /// Lowers a configured limit of our containers that exceeds the pod's limit: for an ordinary container the pod
    /// would be rejected, and on nodes with cgroup v1 no container starts with more CPUs than its pod.
    fn cap(&self, pod: &mut Value, context: &PostContext<'_>, policy: Policy) {
        let Some(limit) = self.limit(policy).filter(|_| !self.name.starts_with(HUGE_PAGES)) else { return };
        let spelled = pod::at(pod, &["spec", "resources", "limits", &self.name]).cloned();
        for list in LISTS {
            let containers =
                pod.get_mut("spec").and_then(|spec| spec.get_mut(list)).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                let Ok(Some(Limit::Configured { limit: own, request })) =
                    Limit::of(container, list, &self.name, context)
                else {
                    continue;
                };
                let most = limit.max(request);
                let limits = container.get_mut("resources").and_then(|resources| resources.get_mut("limits"));
                if own > most
                    && let Some(limits) = limits.and_then(Value::as_object_mut)
                {
                    let spelled = spelled.clone().filter(|_| most == limit);
                    limits.insert(self.name.clone(), spelled.unwrap_or_else(|| json!(most.text(&self.name))));
                }
            }
        }
    }
}

/// An amount of the pod that changes, or has to change.
struct Change<'a> {
    name: &'a str,
    kind: &'static str,
    from: Amount,
    to: Amount,
}

impl Change<'_> {
    fn place(&self) -> String {
        match self.name {
            CPU | MEMORY => format!("{}.{}", self.kind, self.name),
            other => format!("{}.{}", self.kind, shown_within(other, 24)),
        }
    }
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |amount: Amount| amount.text(self.name);
        write!(f, "{} from {} to {}", self.place(), text(self.from), text(self.to))
    }
}

/// The values that are too small, as a list for people; empty if there are none.
fn needs(plans: &[Plan]) -> String {
    let need = |need: Change<'_>| {
        let (from, to) = (need.from.text(need.name), need.to.text(need.name));
        format!("{} is {from}, but needs to be at least {to} with the proxy", need.place())
    };
    plans.iter().flat_map(Plan::needs).map(need).collect::<Vec<_>>().join("; ")
}

fn too_small(plans: &[Plan]) -> Option<Warning> {
    let needs = needs(plans);
    (!needs.is_empty()).then(|| Warning::new("POD_RESOURCES_TOO_SMALL", format!("spec.resources: {needs}")))
}

/// The requests that are lower than without the proxy, in a pod with only limits.
fn shrinking(plans: &[Plan]) -> Option<Warning> {
    let lowered = |plan: &Plan| {
        let given = plan.given(plan.limited).filter(|given| plan.own >= plan.least && *given < plan.own)?;
        Some(Change { name: &plan.name, kind: "requests", from: plan.own, to: given }.to_string())
    };
    let changes: Vec<String> = plans.iter().filter_map(lowered).collect();
    let message =
        || format!("spec.resources has no requests, so those of the proxy lower {}", changes.join(", "));
    (!changes.is_empty()).then(|| Warning::new("POD_REQUESTS_LOWERED", message()))
}

/// The configured limits of the proxy that exceed the pod's limit.
fn above_pod(plans: &[Plan], pod: &Value, context: &PostContext<'_>) -> Option<Warning> {
    let above = |plan: &Plan| {
        let limit = plan.limited?;
        let all = LISTS.iter().flat_map(|list| {
            let limits = pod::spec_list(pod, list).iter().map(|it| Limit::of(it, list, &plan.name, context));
            limits.filter_map(Result::ok).flatten().collect::<Vec<_>>()
        });
        let configured = all.filter_map(|limit| match limit {
            Limit::Configured { limit, .. } => Some(limit),
            Limit::Fixed(_) => None,
        });
        let largest = configured.max().filter(|largest| *largest > limit)?;
        let change = Change { name: &plan.name, kind: "limits", from: largest, to: limit };
        Some(format!(
            "{} of the proxy is {}, but the pod's is {}",
            change.place(),
            largest.text(&plan.name),
            limit.text(&plan.name)
        ))
    };
    let all: Vec<String> =
        plans.iter().filter(|plan| !plan.name.starts_with(HUGE_PAGES)).filter_map(above).collect();
    (!all.is_empty()).then(|| Warning::new("PROXY_LIMIT_ABOVE_POD", all.join(", ")))
}

/// The limit of a container of ours.
enum Limit {
    /// Set by the pod's annotations, or configured without a request, in which case it is also the request.
    Fixed(Amount),
    /// Set by the configuration.
    Configured { limit: Amount, request: Amount },
}

impl Limit {
    /// `None` if the container has no limit, is not ours, or has its limit from the user.
    fn of(
        container: &Value,
        list: &str,
        resource: &str,
        context: &PostContext<'_>,
    ) -> Result<Option<Limit>, Unreadable> {
        let name = pod::name(container);
        let made =
            if list == "containers" { &context.made.containers } else { &context.made.init_containers };
        let Some(limit) = parts::amount(container, "limits", resource)? else { return Ok(None) };
        if !made.iter().any(|made| made == name) {
            return Ok(None);
        }
        let own = if context.earlier.has_injected(name) {
            context.earlier.overrides.find(name)
        } else {
            pod::find_container(context.received, name)
        };
        if own.map(|own| parts::amount(own, "limits", resource)).transpose()?.flatten().is_some() {
            return Ok(None);
        }
        let annotation = match resource {
            CPU => names::ANNOTATION_PROXY_CPU_LIMIT,
            _ => names::ANNOTATION_PROXY_MEMORY_LIMIT,
        };
        let is_asked_for = pod::annotation(context.asked, annotation).is_some();
        let request = parts::amount(container, "requests", resource)?;
        Ok(Some(match request.filter(|_| !is_asked_for) {
            Some(request) => Limit::Configured { limit, request },
            None => Limit::Fixed(limit),
        }))
    }
}

/// The largest of our limits that the pod has to accommodate.
fn fixed_limit(resource: &str, pod: &Value, context: &PostContext<'_>) -> Result<Option<Amount>, Unreadable> {
    let mut largest = None;
    for list in LISTS {
        for container in pod::spec_list(pod, list) {
            if let Some(Limit::Fixed(limit)) = Limit::of(container, list, resource, context)? {
                largest = largest.max(Some(limit));
            }
        }
    }
    Ok(largest)
}

#[cfg(test)]
mod tests;
