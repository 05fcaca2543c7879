//! The override policy: what pods may change about their injection, and whether they may do without it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::glob::Glob;
use super::matcher::{self, Candidate, Match};
use super::rule::{read_name, read_reason, take_raw};
use crate::annotation;
use crate::codes::CORE;
use crate::config::decode::{At, Decoder};
use crate::config::error::{Fault, quoted};
use crate::config::suggest;
use crate::quantity::Amount;

/// An entry of the policy.
#[derive(Debug)]
pub struct PolicyRule {
    /// Its name, a DNS label.
    pub name: String,
    /// The consequence of a violation.
    pub action: Action,
    /// The pods that it is about.
    pub matches: Match,
    /// Exceptions among the pods that match.
    pub except: Option<Match>,
    /// The checks, in order.
    pub checks: Vec<Check>,
    /// The reason, for people; may be empty.
    pub reason: String,
}

/// The consequence of a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is recorded: log, audit annotation and counter.
    Audit,
    /// The user who creates the pod is warned, too.
    Warn,
    /// The pod is denied.
    Deny,
}

/// One check.
#[derive(Debug)]
pub enum Check {
    /// No pod goes without its proxy: by its label or annotation, by templates without a proxy, or by marks of pods
    /// that are left alone.
    OptOut,
    /// No container of ours is privileged beyond the configuration.
    Privileged,
    /// No container of ours runs as root beyond the configuration.
    Root,
    /// Annotations that configure injection.
    Annotations(Allowed),
    /// The pod's own containers with these names.
    Containers(Vec<Glob>),
    /// Templates that the pod requests.
    Templates(Allowed),
    /// Images of the containers of ours.
    Images(Allowed),
    /// Variables of the agent that the pod sets.
    ProxyMetadata(Allowed),
    /// Warnings that no pod may cause.
    Warnings(Vec<Glob>),
    /// Ports that the pod may exempt from redirection, as ranges.
    ExcludedPorts(Vec<(u16, u16)>),
    /// Destinations that the pod may exempt from redirection.
    ExcludedRanges(Vec<Prefix>),
    /// The largest request and limit of each container of ours.
    Resources(Vec<Bounds>),
}

/// Patterns of texts that are allowed, or of texts that are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Only what matches.
    Only(Vec<Glob>),
    /// Everything except what matches.
    Except(Vec<Glob>),
}

/// The largest amount of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// `requests` or `limits`.
    pub kind: &'static str,
    /// `cpu` or `memory`.
    pub resource: &'static str,
    /// The amount as written.
    pub text: String,
    /// The amount.
    pub(crate) most: Amount,
}

/// A range of IP addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    bits: u128,
    length: u32,
    is_v4: bool,
}

impl Allowed {
    /// Whether a text is allowed.
    pub fn allows(&self, text: &str) -> bool {
        match self {
            Allowed::Only(globs) => globs.iter().any(|glob| glob.matches(text)),
            Allowed::Except(globs) => !globs.iter().any(|glob| glob.matches(text)),
        }
    }
}

impl Prefix {
    /// Parses an address or a range in CIDR notation.
    pub fn parse(text: &str) -> Option<Prefix> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let (bits, width, is_v4) = match address.parse().ok()? {
            IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 32, true),
            IpAddr::V6(address) => (u128::from(address), 128, false),
        };
        let length = length.unwrap_or(width);
        (length <= width).then_some(Prefix { bits, length, is_v4 })
    }

    /// Whether another range lies within this one.
    pub fn contains(&self, other: &Prefix) -> bool {
        let mask = u128::MAX.checked_shl(128 - self.length).unwrap_or(0);
        self.is_v4 == other.is_v4 && self.length <= other.length && (self.bits ^ other.bits) & mask == 0
    }
}

impl PolicyRule {
    /// Whether it is about a pod. If an expression fails, it is: otherwise a pod could escape by making it fail. For
    /// the same reason, an exception whose expression fails does not count.
    pub fn applies(&self, pod: &Candidate<'_>) -> Result<bool, matcher::MatchError> {
        let holds = |matches: &Match, otherwise: bool| match matches.matches(pod) {
            Err(matcher::MatchError::Cel(_)) => Ok(otherwise),
            known => known,
        };
        if !holds(&self.matches, true)? {
            return Ok(false);
        }
        Ok(!self.except.as_ref().map(|except| holds(except, false)).transpose()?.unwrap_or(false))
    }
}

const KEYS: [&str; 8] = ["name", "action", "match", "except", "forbid", "allowOnly", "limit", "reason"];
const FORBID: [&str; 9] = [
    "optOut",
    "privileged",
    "root",
    "annotations",
    "containers",
    "templates",
    "images",
    "proxyMetadata",
    "warnings",
];
const ALLOW_ONLY: [&str; 6] =
    ["annotations", "templates", "images", "proxyMetadata", "excludedPorts", "excludedRanges"];

/// Reads the policy.
pub(super) fn read(decoder: &mut Decoder<'_>, at: &At<'_>) -> Vec<PolicyRule> {
    let items = decoder.list(at, "a list of entries");
    if items.len() > super::rule::MOST {
        let most = super::rule::MOST;
        decoder
            .problem(at, Fault::not_accepted(format!("{} entries", items.len()), format!("at most {most}")));
    }
    let mut names = BTreeSet::new();
    items.iter().filter_map(|at| read_entry(decoder, at, &mut names)).collect()
}

fn read_entry(decoder: &mut Decoder<'_>, at: &At<'_>, names: &mut BTreeSet<String>) -> Option<PolicyRule> {
    let mut fields = decoder.record(at, &KEYS)?;
    let name = read_name(decoder, at, fields.take("name"), names);
    let words = [("audit", Action::Audit), ("warn", Action::Warn), ("deny", Action::Deny)];
    let action = match fields.take("action") {
        Some(at) => decoder.one_of(&at, &words),
        None => {
            decoder.problem(at, Fault::missing("action", "audit, warn, deny"));
            None
        }
    };
    let matches = take_raw(at, "match").map(|at| matcher::read(decoder, &at)).unwrap_or_default();
    let except = fields.take("except").map(|at| {
        let except = matcher::read(decoder, &at);
        if except.is_empty() {
            decoder.refuse(&at, "at least one condition: without any, every pod is an exception");
        }
        except
    });
    let mut checks = Vec::new();
    if let Some(at) = fields.take("forbid") {
        forbidden(decoder, &at, &mut checks);
    }
    if let Some(at) = fields.take("allowOnly") {
        allowed(decoder, &at, &mut checks);
    }
    if let Some(at) = fields.take("limit") {
        checks.extend(bounds(decoder, &at).map(Check::Resources));
    }
    if checks.is_empty() {
        decoder
            .problem(at, Fault::not_accepted("an entry without effect", "one of forbid, allowOnly, limit"));
    }
    let reason = fields.take("reason").and_then(|at| read_reason(decoder, &at)).unwrap_or_default();
    Some(PolicyRule { name, action: action.unwrap_or(Action::Audit), matches, except, checks, reason })
}

fn forbidden(decoder: &mut Decoder<'_>, at: &At<'_>, checks: &mut Vec<Check>) {
    let mut fields = decoder.fields(at, &FORBID, super::super::decode::Unknown::Refuse);
    for (key, check) in [("optOut", Check::OptOut), ("privileged", Check::Privileged), ("root", Check::Root)]
    {
        let Some(at) = fields.take(key) else { continue };
        match at.value() {
            Value::Bool(true) => checks.push(check),
            _ => decoder.refuse(&at, "true"),
        }
    }
    let mut globs = |decoder: &mut Decoder<'_>, key: &str| {
        fields
            .take(key)
            .map(|at| (matcher::read_globs(decoder, &at, "a pattern in which * stands for any text"), at))
    };
    if let Some((globs, at)) = globs(decoder, "annotations") {
        without_effect(decoder, &at, &globs, "forbids", true);
        checks.push(Check::Annotations(Allowed::Except(globs)));
    }
    if let Some((globs, _)) = globs(decoder, "containers") {
        checks.push(Check::Containers(globs));
    }
    if let Some((globs, _)) = globs(decoder, "templates") {
        checks.push(Check::Templates(Allowed::Except(globs)));
    }
    if let Some((globs, _)) = globs(decoder, "images") {
        checks.push(Check::Images(Allowed::Except(globs)));
    }
    if let Some((globs, _)) = globs(decoder, "proxyMetadata") {
        checks.push(Check::ProxyMetadata(Allowed::Except(globs)));
    }
    if let Some((globs, at)) = globs(decoder, "warnings") {
        let is_known = |glob: &Glob| CORE.iter().any(|code| code.is_warning() && glob.matches(code.key));
        if let Some(unknown) = globs.iter().find(|glob| !is_known(glob)) {
            let found = quoted(unknown.as_str());
            decoder.problem(
                &at,
                Fault::not_accepted(found, "a pattern for the code of a warning, such as BYPASS_*"),
            );
        }
        checks.push(Check::Warnings(globs));
    }
}

/// Warns of patterns that match no annotation that the policy checks.
///
/// They are not errors: a version of Istio may bring annotations that only a later version of this program knows, and
/// the same bundle has to load in both, or the rest of the policy would not apply either. The policy allows every
/// annotation that it does not check, so below `allowOnly` only patterns that are `near` another one are worth a
/// warning.
fn without_effect(decoder: &mut Decoder<'_>, at: &At<'_>, globs: &[Glob], does: &str, also_far: bool) {
    for (index, glob) in globs.iter().enumerate() {
        if annotation::settings().any(|key| glob.matches(key)) {
            continue;
        }
        // A pattern for annotations that have a meaning, but for something else, is not a typo.
        let is_known = annotation::TABLE.iter().any(|row| glob.matches(row.key));
        let near = if is_known { None } else { nearest_pattern(glob.as_str()) };
        if near.is_none() && !also_far {
            continue;
        }
        let path = match at.node.kind {
            kubernetes_yaml::Kind::Sequence(_) => format!("{}[{index}]", at.path),
            _ => at.path.clone(),
        };
        let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        let found = quoted(glob.as_str());
        decoder.warn(
            &path,
            format!("{found} matches no annotation that configures injection, so it {does} nothing{near}"),
        );
    }
}

/// The pattern that a pattern without effect was probably meant to be: up to its first `*`, it is the beginning of an
/// annotation.
fn nearest_pattern(text: &str) -> Option<String> {
    let Some((start, rest)) = text.split_once('*') else {
        return annotation::misspelt_setting(false, text)
            .filter(|near| annotation::settings().any(|key| key == *near))
            .or_else(|| suggest::nearest(text, annotation::settings()))
            .map(str::to_owned);
    };
    let starts = annotation::settings().filter_map(|key| key.get(..=key.find('/')?));
    let near = suggest::nearest(start, starts.chain(annotation::settings()))?;
    let near = format!("{near}*{rest}");
    annotation::settings().any(|key| Glob::new(&*near).matches(key)).then_some(near)
}

fn allowed(decoder: &mut Decoder<'_>, at: &At<'_>, checks: &mut Vec<Check>) {
    type Make = fn(Allowed) -> Check;
    let mut fields = decoder.fields(at, &ALLOW_ONLY, super::super::decode::Unknown::Refuse);
    let lists: [(&str, Make); 4] = [
        ("annotations", Check::Annotations),
        ("templates", Check::Templates),
        ("images", Check::Images),
        ("proxyMetadata", Check::ProxyMetadata),
    ];
    for (key, make) in lists {
        let Some(at) = fields.take(key) else { continue };
        let is_none = matches!(&at.node.kind, kubernetes_yaml::Kind::Sequence(items) if items.is_empty());
        let globs = match is_none {
            true => Vec::new(),
            false => matcher::read_globs(decoder, &at, "a pattern in which * stands for any text"),
        };
        if key == "annotations" {
            without_effect(decoder, &at, &globs, "allows", false);
        }
        checks.push(make(Allowed::Only(globs)));
    }
    if let Some(at) = fields.take("excludedPorts") {
        let accepted = "a port or a range of ports, such as 3306 or \"9000-9100\"";
        let ports = decoder.list(&at, "a list of ports").into_iter().filter_map(|at| {
            let text = match at.value() {
                Value::Number(number) => number.to_string(),
                Value::String(text) => text,
                _ => String::new(),
            };
            let range = text.split_once('-').unwrap_or((&text, &text));
            let range = (range.0.parse().ok(), range.1.parse().ok());
            let range = if let (Some(from), Some(to)) = range { Some((from, to)) } else { None };
            if range.is_none_or(|(from, to)| from > to) {
                decoder.refuse(&at, accepted);
            }
            range
        });
        checks.push(Check::ExcludedPorts(ports.collect()));
    }
    if let Some(at) = fields.take("excludedRanges") {
        let ranges = decoder.list(&at, "a list of ranges").into_iter().filter_map(|at| {
            let range = at.value().as_str().and_then(Prefix::parse);
            if range.is_none() {
                decoder.refuse(&at, "a range in CIDR notation, such as 10.0.0.0/8");
            }
            range
        });
        checks.push(Check::ExcludedRanges(ranges.collect()));
    }
}

fn bounds(decoder: &mut Decoder<'_>, at: &At<'_>) -> Option<Vec<Bounds>> {
    let mut all = Vec::new();
    let mut kinds = decoder.fields(at, &["requests", "limits"], super::super::decode::Unknown::Refuse);
    for kind in ["requests", "limits"] {
        let Some(at) = kinds.take(kind) else { continue };
        let mut resources = decoder.fields(&at, &["cpu", "memory"], super::super::decode::Unknown::Refuse);
        for resource in ["cpu", "memory"] {
            let Some(at) = resources.take(resource) else { continue };
            let value = at.value();
            match Amount::of(&value) {
                Some(most) => {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    all.push(Bounds { kind, resource, text, most });
                }
                None => decoder.refuse(&at, crate::quantity::ACCEPTED),
            }
        }
    }
    (!all.is_empty()).then_some(all)
}
