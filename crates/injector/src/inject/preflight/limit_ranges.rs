//! Whether the LimitRanges of the namespace allow the proxy's requests and limits (`PodValidateLimitFunc` of the admission plugin
//! LimitRanger).

use std::collections::BTreeSet;

use super::resources::{PodResources, Resources};
use crate::config::{Amounts, LimitRange, Limits};
use crate::inject::template_containers::TemplateContainers;
use crate::names;
use crate::quantity::{Amount, CPU};
use crate::warning::{Warning, shown};

const VIOLATED: &str = "LIMIT_RANGE_VIOLATED";
/// The maximum number of warnings.
const MOST: usize = 4;

/// A field of a container or of the pod that a LimitRange does not allow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation<'a> {
    range: &'a str,
    /// The container; empty for the whole pod.
    container: &'a str,
    resource: &'a str,
    constraint: Constraint,
    /// The fields of the proxy that can avoid it.
    fields: &'static [Field],
    problem: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Constraint {
    Min,
    Max,
    Ratio,
    Default,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Field {
    Request,
    Limit,
}

/// Warnings about what injection adds and a LimitRange forbids. `without` is the pod without its proxy.
pub(super) fn warnings(
    ranges: &[LimitRange],
    without: &PodResources<'_>,
    merged: &PodResources<'_>,
    made: &TemplateContainers,
) -> Vec<Warning> {
    let own = violations(ranges, without);
    let is_own = |violation: &Violation<'_>| {
        let key = |it: &Violation<'_>| {
            (it.range.to_owned(), it.container.to_owned(), it.resource.to_owned(), it.constraint)
        };
        own.iter().any(|other| key(other) == key(violation))
    };
    let mut added = violations(ranges, merged);
    added.retain(|violation| !is_own(violation));
    let subjects: BTreeSet<(&str, &str)> = added.iter().map(|it| (it.range, it.container)).collect();
    let is_rejected_anyway = if own.is_empty() { "" } else { "; the pod violates it without a proxy, too" };
    let warning = |(range, container): (&str, &str)| {
        let of_subject = || added.iter().filter(move |it| it.range == range && it.container == container);
        let problems: Vec<&str> = of_subject().map(|it| it.problem.as_str()).collect();
        let is_ours = |name: &str| {
            name.is_empty() || made.containers.iter().chain(&made.init_containers).any(|made| made == name)
        };
        let mut remedies: Vec<&str> = Vec::new();
        for violation in of_subject().filter(|it| is_ours(it.container)) {
            for field in violation.fields {
                let annotation = annotation(*field, violation.resource);
                remedies.extend(annotation.filter(|annotation| !remedies.contains(annotation)));
            }
        }
        let subject = match container {
            "" => "the pod".to_owned(),
            name => format!("container {}", shown(name)),
        };
        let remedies = match remedies.as_slice() {
            [] => String::new(),
            some => format!("; avoided by {} or global.proxy.resources", some.join(", ")),
        };
        let problems = problems.join(", ");
        let message = format!(
            "LimitRange {} forbids {subject}: {problems}{remedies}{is_rejected_anyway}",
            shown(range)
        );
        Warning::new(VIOLATED, message)
    };
    subjects.into_iter().take(MOST).map(warning).collect()
}

/// The annotation for a field of the proxy.
fn annotation(field: Field, resource: &str) -> Option<&'static str> {
    match (field, resource) {
        (Field::Request, CPU) => Some(names::ANNOTATION_PROXY_CPU),
        (Field::Request, "memory") => Some(names::ANNOTATION_PROXY_MEMORY),
        (Field::Limit, CPU) => Some(names::ANNOTATION_PROXY_CPU_LIMIT),
        (Field::Limit, "memory") => Some(names::ANNOTATION_PROXY_MEMORY_LIMIT),
        _ => None,
    }
}

fn violations<'a>(ranges: &'a [LimitRange], pod: &'a PodResources<'_>) -> Vec<Violation<'a>> {
    let mut found = Vec::new();
    for range in ranges {
        for row in &range.rows {
            if row.of_containers {
                for container in &pod.containers {
                    compare(&range.name, container.name, row, &container.resources, &mut found);
                }
            } else {
                compare(&range.name, "", row, &pod.of_limit_ranges(), &mut found);
            }
        }
    }
    // A default limit below a request makes the pod invalid (`validateContainerResourceRequirements`).
    for container in &pod.containers {
        for (resource, range) in &container.defaults {
            let Resources { requests, limits } = &container.resources;
            if let (Some(request), Some(limit)) = (requests.get(resource), limits.get(resource))
                && request > limit
            {
                let (request, limit) = (request.text(resource), limit.text(resource));
                found.push(Violation {
                    range,
                    container: container.name,
                    resource,
                    constraint: Constraint::Default,
                    fields: &[Field::Limit],
                    problem: format!("{resource} request {request} is above the default limit {limit}"),
                });
            }
        }
    }
    found
}

/// The fields that violate a constraint on a resource, and how; `None` if none does.
type Problem<'a> = dyn Fn(&str, Amount) -> Option<(&'static [Field], String)> + 'a;

/// The constraints of a row (`minConstraint`, `maxConstraint`, `limitRequestRatioConstraint`).
fn compare<'a>(
    range: &'a str,
    container: &'a str,
    row: &'a Limits,
    resources: &Resources,
    found: &mut Vec<Violation<'a>>,
) {
    let Resources { requests, limits } = resources;
    let mut check = |constraint, amounts: &'a Amounts, problem: &Problem<'_>| {
        for (resource, amount) in amounts {
            if let Some((fields, problem)) = problem(resource, *amount) {
                found.push(Violation { range, container, resource, constraint, fields, problem });
            }
        }
    };
    let get = |amounts: &Amounts, resource: &str| amounts.get(resource).copied();
    check(Constraint::Min, &row.min, &|resource, min| {
        let text = min.text(resource);
        match (get(requests, resource), get(limits, resource)) {
            (None, _) => Some((&[Field::Request], format!("no {resource} request; at least {text}"))),
            (Some(request), _) if request.milli() < min.milli() => {
                let request = request.text(resource);
                Some((&[Field::Request], format!("{resource} request {request}; at least {text}")))
            }
            (_, Some(limit)) if limit.milli() < min.milli() => {
                let limit = limit.text(resource);
                Some((&[Field::Limit], format!("{resource} limit {limit}; at least {text}")))
            }
            _ => None,
        }
    });
    check(Constraint::Max, &row.max, &|resource, max| {
        let text = max.text(resource);
        match (get(requests, resource), get(limits, resource)) {
            (_, None) => Some((&[Field::Limit], format!("no {resource} limit; at most {text}"))),
            (_, Some(limit)) if limit.milli() > max.milli() => {
                let limit = limit.text(resource);
                Some((&[Field::Limit], format!("{resource} limit {limit}; at most {text}")))
            }
            (Some(request), _) if request.milli() > max.milli() => {
                let request = request.text(resource);
                Some((&[Field::Request], format!("{resource} request {request}; at most {text}")))
            }
            _ => None,
        }
    });
    check(Constraint::Ratio, &row.max_limit_request_ratio, &|resource, ratio| {
        let text = ratio.text(CPU);
        let request = get(requests, resource).filter(|request| request.milli() > 0);
        let limit = get(limits, resource).filter(|limit| limit.milli() > 0);
        let (Some(request), Some(limit)) = (request, limit) else {
            let missing = if request.is_none() { "request" } else { "limit" };
            let fields: &[Field] = if request.is_none() { &[Field::Request] } else { &[Field::Limit] };
            return Some((fields, format!("no {resource} {missing}; at most {text} times the request")));
        };
        (limit.milli() as f64 / request.milli() as f64 * 1000.0 > ratio.milli() as f64).then(|| {
            let (request, limit) = (request.text(resource), limit.text(resource));
            let problem = format!("{resource} limit {limit} for request {request}; at most {text} times");
            (&[Field::Request, Field::Limit][..], problem)
        })
    });
}
