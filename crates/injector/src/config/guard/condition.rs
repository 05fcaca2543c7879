//! Rules as match conditions of a webhook, so that API servers do not send pods that are left alone anyway.
//!
//! Only an exemption that changes no result is one: the rules before the first one that does anything else than
//! `inject: never`, and of these only what a match condition can see. An expression fails here and there alike, if the
//! webhook has `failurePolicy: Fail`; because nothing is known of the rules after one that fails, none is moved after it.

use super::glob::Glob;
use super::matcher::Match;
use super::rule::{InjectRule, RuleAction};
use crate::config::selector::{Operator, Selector};

/// The most match conditions of a webhook (`ValidatingWebhook` and `MutatingWebhook` of `admissionregistration.k8s.io/v1`).
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

/// The match conditions that exempt pods as the rules do, at most as many as fit beside the existing ones.
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

/// An expression that is false for the pods that match; `None` if there is none.
fn expression(matches: &Match, fails_closed: bool) -> Option<String> {
    if matches.namespace_labels.is_some() || matches.is_empty() {
        return None;
    }
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
        let owners = matches.owners.iter().map(|(kind, name)| {
            format!(
                "({} && {})",
                fits("o.kind", std::slice::from_ref(kind)),
                fits("o.name", std::slice::from_ref(name))
            )
        });
        let owners = owners.collect::<Vec<_>>().join(" || ");
        let list = "object.metadata.ownerReferences";
        parts.push(format!("(has({list}) && {list}.exists(o, {owners}))"));
    }
    if let Some(selector) = &matches.labels {
        parts.push(labels(selector));
    }
    if !matches.images.is_empty() {
        let image = format!("has(c.image) && {}", fits("c.image", &matches.images));
        let init = "object.spec.initContainers";
        parts.push(format!(
            "(object.spec.containers.exists(c, {image}) || (has({init}) && {init}.exists(c, {image})))"
        ));
    }
    if let Some(cel) = &matches.cel {
        if !fails_closed || !cel.is_match_condition() {
            return None;
        }
        parts.push(format!("({})", cel.text()));
    }
    let expression = format!("!({})", parts.join(" && "));
    (expression.len() <= LONGEST).then_some(expression)
}

/// Whether a text fits one of the patterns.
fn fits(text: &str, globs: &[Glob]) -> String {
    let all: Vec<String> = globs.iter().map(Glob::to_regex).collect();
    format!("{text}.matches(r'{}')", all.join("|"))
}

/// Whether the pod's labels match a selector.
fn labels(selector: &Selector) -> String {
    let labels = "object.metadata.labels";
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
