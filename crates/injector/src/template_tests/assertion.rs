//! Assertions about fields of a pod.

use regex::Regex;
use serde_json::Value;

use crate::explain::fields::{name_key, split};

/// An expectation about a field.
#[derive(Clone, Debug)]
pub struct Assertion {
    /// The path, such as `spec.initContainers[istio-init].args`.
    pub path: String,
    /// The expectation.
    pub check: Check,
}

/// An expectation.
#[derive(Clone, Debug)]
pub enum Check {
    /// The value is equal.
    Equal(Value),
    /// A list has the item, a text has the part, or a map has the entries.
    Contains(Value),
    /// The text, or a number's or boolean's text, matches.
    Matches(Regex),
    /// The field exists.
    Exists,
    /// The field does not exist.
    Absent,
}

impl Assertion {
    /// Every expectation that the pod does not meet, one line each.
    pub(super) fn failure(&self, pod: &Value) -> Option<String> {
        let found = field(pod, &self.path);
        let expected = match (&self.check, found) {
            (Check::Equal(wanted), Some(found)) if found == wanted => return None,
            (Check::Contains(wanted), Some(found)) if contains(found, wanted) => return None,
            (Check::Matches(wanted), Some(found)) if wanted.is_match(&text(found)) => return None,
            (Check::Exists, Some(_)) | (Check::Absent, None) => return None,
            (Check::Equal(wanted), _) => wanted.to_string(),
            (Check::Contains(wanted), _) => format!("something that contains {wanted}"),
            (Check::Matches(wanted), _) => format!("a match of {:?}", wanted.as_str()),
            (Check::Exists, _) => "the field to exist".to_owned(),
            (Check::Absent, _) => "the field to be absent".to_owned(),
        };
        let found = found.map_or_else(|| "nothing".to_owned(), ToString::to_string);
        Some(format!("{}: found {found}; expected {expected}", self.path))
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn contains(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Array(items), wanted) => items.iter().any(|item| item == wanted || has_entries(item, wanted)),
        (Value::String(text), Value::String(part)) => text.contains(part.as_str()),
        _ => has_entries(found, wanted),
    }
}

/// Whether a map has all entries of another one.
fn has_entries(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| found.get(key) == Some(value))
        }
        _ => false,
    }
}

/// The field at a path; elements of lists are named by their name or their index. Null counts as absent.
fn field<'p>(pod: &'p Value, path: &str) -> Option<&'p Value> {
    let mut value = pod;
    let mut list = String::new();
    for step in split(path) {
        value = match value {
            Value::Object(map) => map.get(&step)?,
            Value::Array(items) => {
                let is_named =
                    |item: &&Value| item.get(name_key(&list)).and_then(Value::as_str) == Some(step.as_str());
                match items.iter().find(is_named) {
                    Some(item) => item,
                    None => items.get(step.parse::<usize>().ok()?)?,
                }
            }
            _ => return None,
        };
        list = step;
    }
    (!value.is_null()).then_some(value)
}
