//! Guard rails: rules about which pods are injected, and how, and the policy about what pods may change.
//!
//! Both are lists in the bundle, read with all their problems at once, compiled once, and evaluated for each pod in the
//! order in which they are written.

mod condition;
mod glob;
mod matcher;
mod policy;
mod rule;

#[cfg(test)]
mod tests;

use serde_json::Value;

pub use condition::{MOST_CONDITIONS, MatchCondition, NotCommon, RuleExpression};
pub use glob::Glob;
pub use matcher::{Candidate, Match, MatchError};
pub use policy::{Action, Allowed, Bounds, Check, PolicyRule, Prefix};
pub use rule::{InjectRule, RuleAction};

use super::decode::{At, Decoder};
use super::namespace_defaults;
use crate::cel::Reads;

/// The rules and the policy of a configuration.
#[derive(Debug)]
pub struct Guard {
    /// The rules, in order: the first that matches a pod applies.
    pub rules: Vec<InjectRule>,
    /// The policy, in order: every entry that matches a pod applies.
    pub policy: Vec<PolicyRule>,
    /// What the expressions of both read.
    reads: Reads,
    /// Both as written.
    pub(super) written: [Value; 2],
}

impl Default for Guard {
    fn default() -> Guard {
        Guard {
            rules: Vec::new(),
            policy: Vec::new(),
            reads: Reads::default(),
            written: std::array::from_fn(|_| Value::Array(Vec::new())),
        }
    }
}

impl Guard {
    /// Reads both lists.
    pub(super) fn read(decoder: &mut Decoder<'_>, rules: Option<&At<'_>>, policy: Option<&At<'_>>) -> Guard {
        let written = |at: Option<&At<'_>>| at.map_or_else(|| Value::Array(Vec::new()), At::value);
        let mut guard = Guard {
            rules: rules.map(|at| rule::read(decoder, at)).unwrap_or_default(),
            policy: policy.map(|at| policy::read(decoder, at)).unwrap_or_default(),
            reads: Reads::default(),
            written: [written(rules), written(policy)],
        };
        let mut reads = Reads::default();
        guard.matchers().filter_map(|matches| matches.cel.as_ref()).for_each(|cel| reads.extend(cel.parts()));
        guard.reads = reads;
        guard
    }

    /// What the expressions of the rules and of the policy read.
    pub(crate) fn reads(&self) -> &Reads {
        &self.reads
    }

    /// The match conditions with which API servers skip pods that a rule leaves alone anyway, at most as many as fit
    /// in addition to the `existing` ones; `fails_closed` says whether the webhook has `failurePolicy: Fail`.
    pub fn match_conditions(&self, fails_closed: bool, existing: usize) -> Vec<MatchCondition> {
        condition::match_conditions(&self.rules, fails_closed, existing)
    }

    /// The rules as expressions of a ValidatingAdmissionPolicy, in order.
    ///
    /// # Errors
    /// If an API server cannot evaluate one to the same result.
    pub fn rule_expressions(&self) -> Result<Vec<RuleExpression>, NotCommon> {
        condition::rule_expressions(&self.rules)
    }

    /// The pods that the policy denies because of a warning with this code or, with `also_opt_out`, because they opt
    /// out, as expressions of a ValidatingAdmissionPolicy.
    ///
    /// # Errors
    /// If an API server cannot evaluate one to the same result.
    pub fn denied_pods(&self, code: &str, also_opt_out: bool) -> Result<Vec<String>, NotCommon> {
        let denies = |check: &Check| match check {
            Check::OptOut => also_opt_out,
            Check::Warnings(globs) => globs.iter().any(|glob| glob.matches(code)),
            _ => false,
        };
        let entries = self.policy.iter().filter(|entry| entry.action == Action::Deny);
        entries.filter(|entry| entry.checks.iter().any(denies)).map(condition::policy_expression).collect()
    }

    /// Whether API servers must send pods that opt out by their label, although Istio's webhooks do not select them: a
    /// rule injects them nevertheless, or the policy does not allow them.
    pub fn needs_opt_outs(&self) -> bool {
        let is_forced = self.rules.iter().any(|rule| rule.inject == Some(RuleAction::Force));
        let looks = |check: &Check| match check {
            Check::OptOut => true,
            Check::Warnings(globs) => globs.iter().any(|glob| glob.matches("BYPASS_OPTED_OUT")),
            _ => false,
        };
        is_forced || self.policy.iter().any(|entry| entry.checks.iter().any(looks))
    }

    /// Every matcher.
    fn matchers(&self) -> impl Iterator<Item = &Match> {
        let of_policy =
            self.policy.iter().flat_map(|entry| std::iter::once(&entry.matches).chain(&entry.except));
        self.rules.iter().map(|rule| &rule.matches).chain(of_policy)
    }

    /// Whether an entry of the policy denies pods whose proxies are privileged or run as root.
    pub fn denies_privileges(&self) -> bool {
        let checks = |check: &Check| matches!(check, Check::Privileged | Check::Root);
        self.policy.iter().any(|entry| entry.action == Action::Deny && entry.checks.iter().any(checks))
    }

    /// Whether a result depends on who creates the pod. Whether a pod is a node's mirror of a static pod, which may be without a
    /// proxy, does.
    pub fn reads_user(&self) -> bool {
        let forbids_skips = |check: &Check| matches!(check, Check::OptOut | Check::Warnings(_));
        self.matchers().any(Match::reads_user)
            || self.policy.iter().any(|entry| entry.checks.iter().any(forbids_skips))
    }

    /// Whether a result depends on parts of a pod that its [outline](crate::inject::limits::outline) does not have.
    pub fn reads_more_than_an_outline(&self) -> bool {
        self.matchers().any(Match::reads_more_than_an_outline)
    }

    /// Whether a result depends on the labels of the namespace.
    pub fn reads_namespace_labels(&self) -> bool {
        self.matchers().any(Match::reads_namespace_labels)
    }
}
