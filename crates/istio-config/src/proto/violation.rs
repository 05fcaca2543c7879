//! Problems of a document, with their places and the expected values.

use std::fmt;

use serde_json::Value;

use kubernetes_yaml::{self as yaml, Mark};

/// A rejected document, with all its violations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtoError {
    /// The file, ConfigMap key or annotation.
    pub source: String,
    /// The problems; never empty.
    pub violations: Vec<Violation>,
}

impl fmt::Display for ProtoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, violation) in self.violations.iter().enumerate() {
            write!(f, "{}{}: {violation}", if at == 0 { "" } else { "; " }, self.source)?;
        }
        Ok(())
    }
}

impl std::error::Error for ProtoError {}

/// A problem in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The place.
    pub path: Path,
    /// Line and column, when the document was text.
    pub mark: Option<Mark>,
    /// The problem.
    pub fault: Fault,
}

/// The problem at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A key that the message does not define; Istio ignores it.
    Unknown {
        /// The most similar known key.
        nearest: Option<&'static str>,
    },
    /// A key without an effect; Istio ignores it silently.
    Ignored {
        /// Why it has none.
        because: String,
    },
    /// The text is not YAML.
    Unreadable {
        /// The reader's error, with line and column.
        why: String,
    },
    /// A value of the wrong type or format.
    Invalid {
        /// The value, truncated.
        found: String,
        /// The expected value.
        accepted: String,
    },
}

/// Keys and indices from the root of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(pub Vec<Step>);

/// One step into a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The value of a key.
    Key(String),
    /// An element of a list.
    Index(usize),
}

impl Violation {
    /// Whether Istio accepts the document nevertheless.
    pub fn is_tolerated(&self) -> bool {
        matches!(self.fault, Fault::Unknown { .. } | Fault::Ignored { .. })
    }

    /// Adds the line and column of the violation in the text.
    pub fn located(mut self, document: &yaml::Node) -> Violation {
        self.mark = Some(self.path.mark(document, self.is_tolerated()));
        self
    }

    /// An unexpected value.
    pub fn invalid(path: &Path, found: String, accepted: impl Into<String>) -> Violation {
        Violation {
            path: path.clone(),
            mark: None,
            fault: Fault::Invalid { found, accepted: accepted.into() },
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(mark) = self.mark {
            write!(f, "line {}, column {}: ", mark.line, mark.column)?;
        }
        match &self.fault {
            Fault::Unknown { nearest } => {
                write!(f, "found unknown field {}", self.path)?;
                match nearest {
                    Some(nearest) => write!(f, ", the nearest known one is {nearest:?}"),
                    None => Ok(()),
                }
            }
            Fault::Ignored { because } => write!(f, "{} has no effect: {because}", self.path),
            Fault::Unreadable { why } => f.write_str(why),
            Fault::Invalid { found, accepted } if self.path.0.is_empty() => {
                write!(f, "found {found}, expected {accepted}")
            }
            Fault::Invalid { found, accepted } => {
                write!(f, "{}: found {found}, expected {accepted}", self.path)
            }
        }
    }
}

impl Path {
    /// The position of a path in a text: that of the key if `at_key`, else of the value; of the closest existing parent
    /// if necessary.
    fn mark(&self, document: &yaml::Node, at_key: bool) -> Mark {
        let mut node = document;
        let mut mark = node.mark;
        for (at, step) in self.0.iter().enumerate() {
            let next = match (step, &node.kind) {
                (Step::Index(index), yaml::Kind::Sequence(items)) => {
                    items.get(*index).map(|item| (item, item))
                }
                (Step::Key(key), yaml::Kind::Mapping(entries)) => {
                    let named = |(known, _): &&(yaml::Node, yaml::Node)| {
                        known.key_text().is_ok_and(|text| text == *key)
                    };
                    // The last of several equal keys is the one that is used.
                    entries.iter().rev().find(named).map(|(known, value)| (known, value))
                }
                _ => None,
            };
            let Some((key, value)) = next else { return mark };
            mark = if at_key && at + 1 == self.0.len() { key.mark } else { value.mark };
            node = value;
        }
        mark
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if at == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A value for an error: its kind, and its text if short.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => format!("the boolean {value}"),
        Value::Number(_) => format!("the number {value}"),
        Value::String(text) => {
            let short: String = text.chars().take(64).collect();
            format!("{short:?}{}", if short.len() < text.len() { "…" } else { "" })
        }
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "a mapping".to_owned(),
    }
}

/// The candidate that a word is a misspelling of, if any: at most a third of it differs, and at most three letters. A
/// field of a newer Istio is not a misspelling, even if its name resembles others.
pub(crate) fn nearest(word: &str, candidates: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let most = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .map(|candidate| (edits(word, candidate), candidate))
        .filter(|(edits, _)| *edits <= most)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The number of single-character edits between two words, ignoring case.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().flat_map(char::to_lowercase).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().flat_map(char::to_lowercase).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let above = *cell;
            left = (diagonal + usize::from(from != *to)).min(above + 1).min(left + 1);
            diagonal = above;
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}
