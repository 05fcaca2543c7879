//! Compares what two configurations do to the same pods ([`what_if`]), and running pods with the result of an injection
//! today ([`stale`]). Equal differences are grouped, because most pods of a cluster differ in the same way.
//!
//! The pipeline of the webhook runs for both sides, so nothing here can disagree with what is injected.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    config::InjectorConfig,
    explain::{self, Difference, fields},
    inject::{self, Facts, Outcome, PodRequest, Rules, Selection, manual::explained},
    names,
};

mod compare;
#[cfg(test)]
mod tests;

pub use compare::{ANSWERED, Answer, compare};

/// What happens to a pod under one configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// It gets a proxy.
    Injected,
    /// It is left unchanged, for the reason with this code.
    Skipped(&'static str),
    /// It is denied, for the reason with this code; the text is for people.
    Denied(&'static str, String),
}

impl Effect {
    /// What happens, in words: `skipped (HOST_NETWORK)`.
    pub fn described(&self) -> String {
        match self {
            Effect::Injected => "injected".to_owned(),
            Effect::Skipped(BARE) => "running without a proxy".to_owned(),
            Effect::Skipped(ANSWERED) => "not injected".to_owned(),
            Effect::Denied(ANSWERED, text) => format!("denied: {text}"),
            Effect::Skipped(reason) => format!("skipped ({reason})"),
            Effect::Denied(reason, text) => format!("denied ({reason}): {text}"),
        }
    }
}

/// The part of a pod that a difference is about, most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The proxy is missing, or should not be there.
    Missing,
    /// Users, capabilities and everything else in a security context.
    Security,
    /// The image of a container.
    Image,
    /// Requests and limits.
    Resources,
    /// Arguments, command and environment.
    Args,
    /// Anything else.
    Other,
}

/// Pods that differ in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group<S> {
    /// What happened, or happens under the first configuration.
    pub before: Effect,
    /// What would happen now, or under the second configuration.
    pub after: Effect,
    /// The differing fields; `running` is the first side, `now` the second.
    pub differences: Vec<Difference>,
    /// The pods.
    pub subjects: Vec<S>,
}

/// The groups, and how many pods do not differ.
#[derive(Clone, Debug)]
pub struct Report<S> {
    /// Pods that do not differ.
    pub identical: usize,
    groups: BTreeMap<String, Group<S>>,
}

/// How one pod differs; `None` if it does not.
pub type Change = Option<(Effect, Effect, Vec<Difference>)>;

/// What changes for a pod if the configuration `new` replaces `old`.
pub fn what_if(old: &InjectorConfig, new: &InjectorConfig, request: &PodRequest) -> Change {
    let (before, one) = effect_by_labels(old, request);
    let (after, two) = effect_by_labels(new, request);
    let differences = match (&one, &two) {
        (Some(one), Some(two)) => between(one, two),
        _ => Vec::new(),
    };
    // The text of a denial may name a place in the configuration.
    let is_same = match (&before, &after) {
        (Effect::Denied(one, _), Effect::Denied(two, _)) => one == two,
        (one, two) => one == two,
    };
    (!is_same || !differences.is_empty()).then_some((before, after, differences))
}

/// How a running pod differs from one that is created now; `None` if it does not.
pub fn stale(config: &InjectorConfig, request: &PodRequest) -> Change {
    let Some((original, containers)) = inject::without_injection(config, &request.pod) else {
        // It runs without a proxy.
        let (after, _) = effect_by_labels(config, request);
        return (after == Effect::Injected).then_some((Effect::Skipped(BARE), after, Vec::new()));
    };
    let created_again = PodRequest { pod: original, ..request.clone() };
    let (after, now) = effect_by_labels(config, &created_again);
    let differences = match &now {
        Some(now) => explain::running_differences(&request.pod, &created_again.pod, now, &containers),
        None => Vec::new(),
    };
    (after != Effect::Injected || !differences.is_empty()).then_some((Effect::Injected, after, differences))
}

/// The "reason" of a running pod without a proxy; the answer to the request that created it is not known.
pub const BARE: &str = "RUNS_WITHOUT_PROXY";

/// What happens to a pod.
pub fn effect(config: &InjectorConfig, request: &PodRequest, facts: &Facts<'_>) -> Effect {
    effect_if_selected(config, request, facts).0
}

fn effect_by_labels(config: &InjectorConfig, request: &PodRequest) -> (Effect, Option<Value>) {
    let facts = Facts::of(config, &request.namespace);
    // The labels of an unknown namespace cannot be evaluated, but the pod's own labels can.
    let selection = facts.namespace.map_or(Selection::ByPodAlone, |_| Selection::ByLabels);
    effect_if_selected(config, request, &Facts { selection, ..facts })
}

fn effect_if_selected(
    config: &InjectorConfig,
    request: &PodRequest,
    facts: &Facts<'_>,
) -> (Effect, Option<Value>) {
    match inject::run_by(Rules::Configured, config, request, facts) {
        Ok(Outcome::Injected(injection)) => (Effect::Injected, Some(injection.whole_pod(&request.pod))),
        Ok(Outcome::Skipped(skip)) => (Effect::Skipped(skip.decision.reason.key()), None),
        Err(refusal) => (Effect::Denied(refusal.reason(), explained(&refusal)), None),
    }
}

/// The fields in which two pods differ, by path.
fn between(one: &Value, two: &Value) -> Vec<Difference> {
    let (one, two) = (fields::of(one), fields::of(two));
    // The record of the injection differs whenever anything does.
    let record = fields::join("metadata.annotations", names::ANNOTATION_STATUS);
    let mut differences: Vec<Difference> = Vec::new();
    for (path, value) in &one {
        let other = two.get(path);
        if other != Some(value) && *path != record {
            differences.push(Difference {
                path: path.clone(),
                running: Some(value.clone()),
                now: other.cloned(),
            });
        }
    }
    let added = two.iter().filter(|(path, _)| !one.contains_key(*path) && **path != record);
    differences.extend(added.map(|(path, value)| Difference {
        path: path.clone(),
        running: None,
        now: Some(value.clone()),
    }));
    differences.sort_by_cached_key(|difference| fields::order(&difference.path));
    differences
}

/// The part of a pod that a field belongs to.
pub fn class(path: &str) -> Class {
    let steps = fields::split(path);
    let is = |wanted: &[&str]| steps.iter().any(|step| wanted.contains(&step.as_str()));
    let in_container = matches!(steps.get(1).map(String::as_str), Some("containers" | "initContainers"));
    match steps.get(3).map(String::as_str).filter(|_| in_container) {
        Some("image") => Class::Image,
        Some("resources") => Class::Resources,
        Some("args" | "command" | "env" | "envFrom") => Class::Args,
        Some("securityContext") => Class::Security,
        _ if is(&[
            "securityContext",
            "hostNetwork",
            "hostPID",
            "hostIPC",
            "serviceAccountName",
            "automountServiceAccountToken",
        ]) =>
        {
            Class::Security
        }
        _ => Class::Other,
    }
}

impl<S> Group<S> {
    /// The parts that differ, most important first.
    pub fn classes(&self) -> Vec<Class> {
        let mut classes: Vec<Class> = self.differences.iter().map(|one| class(&one.path)).collect();
        if self.before != self.after {
            classes.push(Class::Missing);
        }
        classes.sort_unstable();
        classes.dedup();
        classes
    }

    /// Whether pods that got a proxy before would be denied afterward.
    pub fn breaks(&self) -> bool {
        matches!(self.after, Effect::Denied(..)) && !matches!(self.before, Effect::Denied(..))
    }
}

impl<S> Default for Report<S> {
    fn default() -> Report<S> {
        Report { identical: 0, groups: BTreeMap::new() }
    }
}

impl<S> Report<S> {
    /// Adds a pod.
    pub fn add(&mut self, subject: S, change: Change) {
        let Some((before, after, differences)) = change else {
            self.identical += 1;
            return;
        };
        let key = format!("{before:?} {after:?} {differences:?}");
        let group = self.groups.entry(key);
        let group = group.or_insert_with(|| Group { before, after, differences, subjects: Vec::new() });
        group.subjects.push(subject);
    }

    /// Adds the pods of another report after its own.
    pub fn merge(&mut self, other: Report<S>) {
        self.identical += other.identical;
        for (key, group) in other.groups {
            match self.groups.get_mut(&key) {
                Some(known) => known.subjects.extend(group.subjects),
                None => {
                    self.groups.insert(key, group);
                }
            }
        }
    }

    /// The groups: denials first, then by number of pods.
    pub fn groups(&self) -> Vec<&Group<S>> {
        let mut groups: Vec<&Group<S>> = self.groups.values().collect();
        let rank = |group: &Group<S>| match group.after {
            _ if group.breaks() => 0,
            _ if group.before != group.after => 1,
            _ => 2,
        };
        groups.sort_by_key(|group| (rank(group), std::cmp::Reverse(group.subjects.len())));
        groups
    }

    /// How many pods there are.
    pub fn subjects(&self) -> usize {
        self.identical + self.groups.values().map(|group| group.subjects.len()).sum::<usize>()
    }
}

impl Class {
    /// Its name, for people and for JSON.
    pub const fn key(self) -> &'static str {
        match self {
            Class::Missing => "missing",
            Class::Security => "security",
            Class::Image => "image",
            Class::Resources => "resources",
            Class::Args => "args",
            Class::Other => "other",
        }
    }
}
