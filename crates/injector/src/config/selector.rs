//! Kubernetes label selectors (`metav1.LabelSelector`): validation and matching.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value, json};

use super::Source;
use super::decode::{At, Decoder, Unknown};
use super::error::{Fault, Problem, quoted};
use super::label::{is_label_key, is_label_value};
use crate::warning::shown;
use kubernetes_yaml::{self as yaml, Limits};

/// A valid label selector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    match_labels: BTreeMap<String, String>,
    match_expressions: Vec<Requirement>,
}

/// One entry of `matchExpressions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: BTreeSet<String>,
}

/// The operator of a [`Requirement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The label is present with one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label is present.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

const OPERATORS: [(&str, Operator); 4] = [
    ("In", Operator::In),
    ("NotIn", Operator::NotIn),
    ("Exists", Operator::Exists),
    ("DoesNotExist", Operator::DoesNotExist),
];

impl Selector {
    /// Parses a selector from an object in the cluster, if it is valid.
    pub fn from_value(value: &Value) -> Option<Selector> {
        let text = value.to_string();
        let node = yaml::parse(&text, &Limits::default()).ok()?;
        let mut decoder = Decoder::new(Source { name: "selector", text: &text });
        match read(&mut decoder, &At::root(&node)) {
            Read::Valid(selector) => Some(selector),
            Read::Undecodable | Read::Invalid(_) => None,
        }
    }

    /// Whether it has no requirements. Such a selector matches everything in Kubernetes and is ignored by the injector
    /// (`injectRequired`).
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// Whether an object with these labels is selected, as in apimachinery's `labels.Selector.Matches`.
    pub fn matches(&self, labels: &Map<String, Value>) -> bool {
        self.unmet(labels).is_none()
    }

    /// The first requirement that these labels do not meet.
    pub fn unmet(&self, labels: &Map<String, Value>) -> Option<Unmet<'_>> {
        let label = |key: &str| labels.get(key).and_then(Value::as_str);
        let equal = self.match_labels.iter().find(|(key, value)| label(key) != Some(value));
        let unmet = || {
            self.match_expressions.iter().find(|requirement| {
                let found = label(&requirement.key);
                let among = found.is_some_and(|value| requirement.values.contains(value));
                !match requirement.operator {
                    Operator::In => among,
                    Operator::NotIn => !among,
                    Operator::Exists => found.is_some(),
                    Operator::DoesNotExist => found.is_none(),
                }
            })
        };
        equal.map(|(key, value)| Unmet::Label { key, value }).or_else(|| unmet().map(Unmet::Expression))
    }

    /// Every requirement: key, operator and values; an entry of `matchLabels` is an `In` with one value.
    pub(crate) fn requirements(&self) -> impl Iterator<Item = (&str, Operator, Vec<&str>)> {
        let labels = self.match_labels.iter();
        let labels = labels.map(|(key, value)| (key.as_str(), Operator::In, vec![value.as_str()]));
        labels.chain(self.match_expressions.iter().map(|Requirement { key, operator, values }| {
            (key.as_str(), *operator, values.iter().map(String::as_str).collect())
        }))
    }

    /// The selector as it appears in a manifest.
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        if !self.match_labels.is_empty() {
            map.insert("matchLabels".to_owned(), json!(self.match_labels));
        }
        if !self.match_expressions.is_empty() {
            let all: Vec<Value> = self.match_expressions.iter().map(Requirement::to_value).collect();
            map.insert("matchExpressions".to_owned(), Value::Array(all));
        }
        Value::Object(map)
    }
}

/// A requirement that labels do not meet; displayed as `KEY must be "VALUE"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet<'s> {
    /// An entry of `matchLabels`.
    Label {
        /// The label.
        key: &'s str,
        /// Its only accepted value.
        value: &'s str,
    },
    /// An entry of `matchExpressions`.
    Expression(&'s Requirement),
}

impl Unmet<'_> {
    /// The label that does not meet it.
    pub fn key(&self) -> &str {
        match self {
            Unmet::Label { key, .. } => key,
            Unmet::Expression(requirement) => &requirement.key,
        }
    }
}

impl fmt::Display for Unmet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Requirement { key, operator, values } = match self {
            Unmet::Label { key, value } => return write!(f, "{key} must be {}", shown(value)),
            Unmet::Expression(requirement) => requirement,
        };
        let values = values.iter().map(|value| shown(value)).collect::<Vec<_>>().join(" or ");
        match operator {
            Operator::In => write!(f, "{key} must be {values}"),
            Operator::NotIn => write!(f, "{key} must not be {values}"),
            Operator::Exists => write!(f, "{key} must be set"),
            Operator::DoesNotExist => write!(f, "{key} must not be set"),
        }
    }
}

impl Requirement {
    fn to_value(&self) -> Value {
        let operator = OPERATORS.iter().find(|(_, operator)| *operator == self.operator);
        let mut value = json!({"key": self.key, "operator": operator.map(|(word, _)| *word)});
        if !self.values.is_empty()
            && let Some(map) = value.as_object_mut()
        {
            map.insert("values".to_owned(), json!(self.values));
        }
        value
    }
}

/// The result of reading a selector.
pub(super) enum Read {
    /// A valid selector.
    Valid(Selector),
    /// Not decodable, even by Go; the problems were reported.
    Undecodable,
    /// A selector that decodes but that `metav1.LabelSelectorAsSelector` rejects, for these reasons.
    Invalid(Vec<Problem>),
}

/// Reads a selector. Unknown keys are ignored with a warning, like in Go's decoder.
pub(super) fn read(decoder: &mut Decoder<'_>, at: &At<'_>) -> Read {
    let before = decoder.problems.len();
    let mut fields = decoder.fields(at, &["matchLabels", "matchExpressions"], Unknown::Warn);
    let labels = fields.take("matchLabels").map(|at| decoder.free_map(&at)).unwrap_or_default();
    let mut labels_read = Vec::new();
    for (key, at) in labels {
        if let Some(value) = decoder.go_string(&at, "a label value") {
            labels_read.push((key, value, at));
        }
    }
    let expressions = fields.take("matchExpressions");
    let expressions = expressions.map(|at| decoder.list(&at, "a list of requirements")).unwrap_or_default();
    let raw: Vec<RawRequirement<'_>> =
        expressions.iter().filter_map(|at| RawRequirement::read(decoder, at)).collect();
    if decoder.problems.len() > before {
        return Read::Undecodable;
    }

    let mut selector = Selector::default();
    for (key, value, at) in labels_read {
        check_key(decoder, &at, &key);
        check_value(decoder, &at, &value);
        selector.match_labels.insert(key, value);
    }
    selector.match_expressions = raw.into_iter().filter_map(|raw| raw.check(decoder)).collect();
    match decoder.problems.split_off(before) {
        invalid if invalid.is_empty() => Read::Valid(selector),
        invalid => Read::Invalid(invalid),
    }
}

/// A requirement as decoded, before Kubernetes' rules are applied.
struct RawRequirement<'n> {
    at: At<'n>,
    key: Option<(String, At<'n>)>,
    operator: Option<At<'n>>,
    values: Vec<(String, At<'n>)>,
    values_at: Option<At<'n>>,
}

impl<'n> RawRequirement<'n> {
    fn read(decoder: &mut Decoder<'_>, at: &At<'n>) -> Option<RawRequirement<'n>> {
        let before = decoder.problems.len();
        let mut fields = decoder.fields(at, &["key", "operator", "values"], Unknown::Warn);
        let key = fields.take("key").and_then(|at| Some((decoder.go_string(&at, "a label key")?, at)));
        let operator = fields.take("operator");
        if let Some(at) = &operator {
            decoder.go_string(at, "a string");
        }
        let values_at = fields.take("values");
        let items =
            values_at.as_ref().map(|at| decoder.list(at, "a list of label values")).unwrap_or_default();
        let values =
            items.into_iter().filter_map(|at| Some((decoder.go_string(&at, "a label value")?, at))).collect();
        let raw = RawRequirement { at: at.clone(), key, operator, values, values_at };
        (decoder.problems.len() == before).then_some(raw)
    }

    /// Kubernetes' rules for a requirement (`labels.NewRequirement`).
    fn check(self, decoder: &mut Decoder<'_>) -> Option<Requirement> {
        let before = decoder.problems.len();
        match &self.key {
            Some((key, at)) => check_key(decoder, at, key),
            None => decoder.problem(&self.at, Fault::missing("key", "a label key")),
        }
        let operator = match &self.operator {
            Some(at) => decoder.one_of(at, &OPERATORS),
            None => {
                let words = OPERATORS.map(|(word, _)| word).join(", ");
                decoder.problem(&self.at, Fault::missing("operator", words));
                None
            }
        };
        let empty = self.values.is_empty();
        match operator {
            Some(Operator::In | Operator::NotIn) if empty => match &self.values_at {
                Some(at) => decoder.refuse(at, "at least one value for the operators In and NotIn"),
                None => {
                    let accepted = "at least one value for the operators In and NotIn";
                    decoder.problem(&self.at, Fault::missing("values", accepted));
                }
            },
            Some(Operator::Exists | Operator::DoesNotExist) if !empty => {
                if let Some(at) = &self.values_at {
                    decoder.refuse(at, "no values for the operators Exists and DoesNotExist");
                }
            }
            _ => {}
        }
        for (value, at) in &self.values {
            check_value(decoder, at, value);
        }
        if decoder.problems.len() > before {
            return None;
        }
        let values = self.values.into_iter().map(|(value, _)| value).collect();
        Some(Requirement { key: self.key?.0, operator: operator?, values })
    }
}

fn check_key(decoder: &mut Decoder<'_>, at: &At<'_>, key: &str) {
    if !is_label_key(key) {
        let accepted = "a label key: an optional DNS subdomain and \"/\", then up to 63 of A-Z a-z 0-9 - _ ., \
                        beginning and ending with a letter or digit";
        decoder.problem(at, Fault::not_accepted(format!("the key {}", quoted(key)), accepted));
    }
}

fn check_value(decoder: &mut Decoder<'_>, at: &At<'_>, value: &str) {
    if !is_label_value(value) {
        let accepted = "a label value: empty, or up to 63 of A-Z a-z 0-9 - _ ., beginning and ending with a \
                        letter or digit";
        decoder.problem(at, Fault::not_accepted(quoted(value), accepted));
    }
}

/// The reasons for ignoring a selector, for a warning.
pub(super) fn reasons(problems: &[Problem]) -> String {
    let all: Vec<String> =
        problems.iter().map(|problem| format!("{}: {}", problem.path, problem.fault)).collect();
    all.join("; ")
}

#[cfg(test)]
mod tests;
