//! Rules as match conditions of a webhook, so that API servers do not send pods that are left alone anyway.
//!
//! A rule becomes a match condition only if that changes no result: it comes before the first rule that does anything
//! other than `inject: never`, and a match condition can see everything that it reads. If the webhook has
//! `failurePolicy: Fail`, an expression that fails denies the pod in both places. Nothing is known about the rules
//! after one that fails, so none after it is moved.

use super::glob::Glob;
use super::matcher::Match;
use super::policy::PolicyRule;
use super::rule::{InjectRule, RuleAction};
use crate::config::selector::{Operator, Selector};

/// The maximum number of match conditions of a webhook (`ValidatingWebhook` and `MutatingWebhook` of
/// `admissionregistration.k8s.io/v1`).
pub const MOST_CONDITIONS: usize = 64;
/// Prefix of the names of conditions.
const PREFIX: &str = "rules.outrigger.dev/";
/// The longest expression that is moved, in bytes.
const LONGEST: usize = 4 << 10;

/// A match condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchCondition {
    /// Its name.
    pub name: String,
    /// Its CEL expression: true for pods that have to be sent.
    pub expression: String,
}

/// The match conditions that exempt pods as the rules do, at most as many as fit in addition to the existing ones.
pub(super) fn match_conditions(
    rules: &[InjectRule],
    fails_closed: bool,
    existing: usize,
) -> Vec<MatchCondition> {
    let mut conditions = Vec::new();
    for rule in rules.iter().take_while(|rule| rule.inject == Some(RuleAction::Never)) {
        let has_expression = rule.matches.cel.is_some();
        if let Some(expression) = expression(&rule.matches, fails_closed)
            && existing + conditions.len() < MOST_CONDITIONS
        {
            conditions.push(MatchCondition { name: format!("{PREFIX}{}", rule.name), expression });
        }
        if has_expression {
            break;
        }
    }
    conditions
}

/// Where an expression is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// In a match condition of a webhook, which does not see the namespace.
    Condition {
        /// Whether a failure of the expression denies the pod.
        fails_closed: bool,
    },
    /// In a ValidatingAdmissionPolicy.
    Policy,
}

/// The rule whose condition an API server cannot evaluate to the same result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{list} {name}: found an expression with a function that API servers do not have; expected only functions of both, or another condition"
)]
pub struct NotCommon {
    /// `rule` or `overridePolicy`.
    pub list: &'static str,
    /// The name of the entry.
    pub name: String,
}

/// A rule as an expression of a ValidatingAdmissionPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleExpression {
    /// Its decision; `None` if the later steps decide.
    pub action: Option<RuleAction>,
    /// Its CEL expression: true for pods that it is about.
    pub expression: String,
}

/// The rules as expressions, in order, up to the last one that says whether pods are injected.
///
/// # Errors
/// If an API server cannot evaluate one to the same result.
pub(super) fn rule_expressions(rules: &[InjectRule]) -> Result<Vec<RuleExpression>, NotCommon> {
    let last = rules.iter().rposition(|rule| rule.inject.is_some()).map_or(0, |last| last + 1);
    let expression = |rule: &InjectRule| {
        let holds = holds(&rule.matches, Scope::Policy);
        let holds = holds.ok_or_else(|| NotCommon { list: "rule", name: rule.name.clone() })?;
        Ok(RuleExpression { action: rule.inject, expression: holds })
    };
    rules.iter().take(last).map(expression).collect()
}

/// The pods that an entry of the policy is about, as an expression.
///
/// # Errors
/// If an API server cannot evaluate it to the same result.
pub(super) fn policy_expression(entry: &PolicyRule) -> Result<String, NotCommon> {
    let not_common = || NotCommon { list: "overridePolicy", name: entry.name.clone() };
    let matches = holds(&entry.matches, Scope::Policy).ok_or_else(not_common)?;
    let Some(except) = &entry.except else { return Ok(matches) };
    let except = holds(except, Scope::Policy).ok_or_else(not_common)?;
    Ok(format!("({matches} && !({except}))"))
}

/// An expression that is false for the pods that match; `None` if there is none.
fn expression(matches: &Match, fails_closed: bool) -> Option<String> {
    if matches.is_empty() {
        return None;
    }
    let expression = format!("!({})", holds(matches, Scope::Condition { fails_closed })?);
    (expression.len() <= LONGEST).then_some(expression)
}

/// An expression that is true for the pods that match; `None` if there is none.
fn holds(matches: &Match, scope: Scope) -> Option<String> {
    let mut parts = Vec::new();
    if !matches.namespaces.is_empty() {
        parts.push(fits("request.namespace", &matches.namespaces));
    }
    if !matches.service_accounts.is_empty() {
        let account = "(has(object.spec.serviceAccountName) ? object.spec.serviceAccountName : 'default')";
        parts.push(fits(account, &matches.service_accounts));
    }
    if !matches.users.is_empty() {
        parts.push(fits("request.userInfo.username", &matches.users));
    }
    if !matches.owners.is_empty() {
        let owners: Vec<String> =
            matches.owners.iter().flat_map(|(kind, name)| owner(kind, name, scope)).collect();
        let list = "object.metadata.ownerReferences";
        parts.push(format!("(has({list}) && {list}.exists(o, {}))", owners.join(" || ")));
    }
    if let Some(selector) = &matches.labels {
        parts.push(labels("object.metadata.labels", selector));
    }
    if let Some(selector) = &matches.namespace_labels {
        if scope != Scope::Policy {
            return None;
        }
        parts.push(labels("namespaceObject.metadata.labels", selector));
    }
    if !matches.images.is_empty() {
        let image = format!("has(c.image) && {}", fits("c.image", &matches.images));
        let init = "object.spec.initContainers";
        parts.push(format!(
            "(object.spec.containers.exists(c, {image}) || (has({init}) && {init}.exists(c, {image})))"
        ));
    }
    if let Some(cel) = &matches.cel {
        let is_known = match scope {
            Scope::Condition { fails_closed } => fails_closed && cel.is_match_condition(),
            Scope::Policy => cel.is_common(),
        };
        if !is_known {
            return None;
        }
        parts.push(format!("({})", cel.text()));
    }
    if parts.is_empty() {
        parts.push("true".to_owned());
    }
    Some(parts.join(" && "))
}

/// Kinds of controllers, the kinds of workloads behind them, and what follows the workload's name in the controller's.
const BEHIND: [(&str, &[&str], &str); 2] =
    [("ReplicaSet", &["Deployment", "Rollout"], "-[a-z0-9]+"), ("Job", &["CronJob"], "-[0-9]{8,10}")];

/// Whether an owner, or in a policy the workload behind it, has such a kind and name.
fn owner(kind: &Glob, name: &Glob, scope: Scope) -> Vec<String> {
    let one = std::slice::from_ref;
    let mut all = vec![format!("({} && {})", fits("o.kind", one(kind)), fits("o.name", one(name)))];
    if scope == Scope::Policy {
        for (controller, workloads, end) in BEHIND {
            if workloads.iter().any(|workload| kind.matches(workload)) {
                let regex = name.to_regex_before(end);
                all.push(format!("(o.kind == '{controller}' && o.name.matches(r'{regex}'))"));
            }
        }
    }
    all
}

/// Whether a text matches one of the patterns.
fn fits(text: &str, globs: &[Glob]) -> String {
    let all: Vec<String> = globs.iter().map(Glob::to_regex).collect();
    format!("{text}.matches(r'{}')", all.join("|"))
}

/// Whether the labels at a place match a selector.
fn labels(labels: &str, selector: &Selector) -> String {
    let has = |key: &str| format!("(has({labels}) && '{key}' in {labels})");
    let one_of = |key: &str, values: &[&str]| {
        let values: Vec<String> = values.iter().map(|value| format!("'{value}'")).collect();
        format!("(has({labels}) && '{key}' in {labels} && {labels}['{key}'] in [{}])", values.join(", "))
    };
    let parts: Vec<String> = selector
        .requirements()
        .map(|(key, operator, values)| match operator {
            Operator::In => one_of(key, &values),
            Operator::NotIn => format!("!{}", one_of(key, &values)),
            Operator::Exists => has(key),
            Operator::DoesNotExist => format!("!{}", has(key)),
        })
        .collect();
    format!("({})", parts.join(" && "))
}
