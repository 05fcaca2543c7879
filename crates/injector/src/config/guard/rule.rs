//! Rules: which pods are never injected, always injected, or injected with other defaults.

use std::collections::{BTreeMap, BTreeSet};

use super::matcher::{self, Candidate, Match, MatchError};
use super::namespace_defaults;
use crate::config::decode::{At, Decoder};
use crate::config::error::{Fault, quoted};
use crate::config::label::is_dns_label;
use crate::names;

/// A rule.
#[derive(Debug)]
pub struct InjectRule {
    /// Its name, a DNS label.
    pub name: String,
    /// The pods that it is about.
    pub matches: Match,
    /// Whether they are injected; `None` leaves that to the other steps of the decision.
    pub inject: Option<RuleAction>,
    /// Annotations for pods that do not have their own.
    pub defaults: BTreeMap<&'static str, String>,
    /// The reason, for people; may be empty.
    pub reason: String,
}

/// What a rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// The pod is not injected.
    Never,
    /// The pod is injected, even if it opts out.
    Force,
}

const KEYS: [&str; 6] = ["name", "match", "inject", "templates", "defaults", "reason"];
/// The maximum number of rules.
pub(super) const MOST: usize = 1000;
/// The maximum length of a reason, so that a warning stays within the length that Kubernetes recommends.
const LONGEST_REASON: usize = 120;
const NAME: &str = "a DNS label: up to 63 of a-z 0-9 -, beginning and ending with a letter or digit";

impl InjectRule {
    /// The text about a pod that it applies to: the rule's name and its reason.
    pub fn describe(&self) -> String {
        match self.reason.as_str() {
            "" => format!("rule {}", self.name),
            reason => format!("rule {}: {reason}", self.name),
        }
    }

    /// The first rule that matches a pod.
    ///
    /// # Errors
    /// The first rule for which it is not known whether it matches, unless an earlier one does.
    pub fn first<'r>(
        rules: &'r [InjectRule],
        pod: &Candidate<'_>,
    ) -> Result<Option<&'r InjectRule>, (&'r InjectRule, MatchError)> {
        for rule in rules {
            match rule.matches.matches(pod) {
                Ok(false) => {}
                Ok(true) => return Ok(Some(rule)),
                Err(error) => return Err((rule, error)),
            }
        }
        Ok(None)
    }
}

/// Reads the rules.
pub(super) fn read(decoder: &mut Decoder<'_>, at: &At<'_>) -> Vec<InjectRule> {
    let items = decoder.list(at, "a list of rules");
    if items.len() > MOST {
        decoder.problem(at, Fault::not_accepted(format!("{} rules", items.len()), format!("at most {MOST}")));
    }
    let mut names = BTreeSet::new();
    items.iter().filter_map(|at| read_rule(decoder, at, &mut names)).collect()
}

fn read_rule(decoder: &mut Decoder<'_>, at: &At<'_>, names: &mut BTreeSet<String>) -> Option<InjectRule> {
    let mut fields = decoder.record(at, &KEYS)?;
    let name = read_name(decoder, at, fields.take("name"), names);
    let matches = match take_raw(at, "match") {
        Some(at) => matcher::read(decoder, &at),
        None => {
            decoder.problem(at, Fault::missing("match", "conditions, {} for every pod"));
            Match::default()
        }
    };
    let inject = fields
        .take("inject")
        .and_then(|at| decoder.one_of(&at, &[("never", RuleAction::Never), ("force", RuleAction::Force)]));
    let mut defaults = BTreeMap::new();
    let templates = fields.take("templates");
    if let Some(at) = &templates {
        let names: Vec<String> = decoder
            .list(at, "a list of template names")
            .iter()
            .filter_map(|at| decoder.string(at, "a template name"))
            .collect();
        if names.is_empty() {
            decoder.refuse(at, "a list of template names");
        }
        defaults.insert(names::ANNOTATION_TEMPLATES, names.join(","));
    }
    for (key, at) in fields.take("defaults").map(|at| decoder.free_map(&at)).unwrap_or_default() {
        let Some(value) = decoder.string(&at, "a string") else { continue };
        match namespace_defaults::find(&key) {
            Some(names::ANNOTATION_TEMPLATES) if templates.is_some() => {
                decoder.problem(&at, Fault::not_accepted(quoted(&value), "only one of it and templates"));
            }
            Some(key) => {
                defaults.insert(key, value);
            }
            None => decoder.problem(&at, namespace_defaults::not_a_default(&key)),
        }
    }
    let reason = fields.take("reason").and_then(|at| read_reason(decoder, &at)).unwrap_or_default();
    if inject.is_none() && defaults.is_empty() {
        let fault = Fault::not_accepted("a rule without effect", "one of inject, templates, defaults");
        decoder.problem(at, fault);
    }
    if inject == Some(RuleAction::Never) && !defaults.is_empty() {
        let fault = Fault::not_accepted("inject: never with templates or defaults", "one of them");
        decoder.problem(at, fault);
    }
    Some(InjectRule { name, matches, inject, defaults, reason })
}

/// An entry that may be an empty map, which is not the same as an absent one.
pub(super) fn take_raw<'n>(at: &At<'n>, key: &str) -> Option<At<'n>> {
    at.node.at(&[key]).map(|node| at.key(key, node))
}

/// Reads the name of an entry, which is unique.
pub(super) fn read_name(
    decoder: &mut Decoder<'_>,
    entry: &At<'_>,
    at: Option<At<'_>>,
    names: &mut BTreeSet<String>,
) -> String {
    let Some(at) = at else {
        decoder.problem(entry, Fault::missing("name", NAME));
        return String::new();
    };
    let name = decoder.string(&at, NAME).unwrap_or_default();
    if !name.is_empty() && !is_dns_label(&name) {
        decoder.refuse(&at, NAME);
    } else if !name.is_empty() && !names.insert(name.clone()) {
        decoder.refuse(&at, "a name that no other entry of the list has");
    }
    name
}

/// Reads the reason of an entry.
pub(super) fn read_reason(decoder: &mut Decoder<'_>, at: &At<'_>) -> Option<String> {
    let accepted = "one line of at most 120 characters";
    let reason = decoder.string(at, accepted)?;
    if reason.chars().count() > LONGEST_REASON || reason.chars().any(char::is_control) {
        decoder.refuse(at, accepted);
    }
    Some(reason)
}
