//! Problems of a configuration, reported so that the person on call can go straight to the place.
//!
//! A configuration is rejected as a whole, with *all* its problems at once; anything odd but usable is a [`Warning`].

use std::fmt;

use serde_json::Value;

use kubernetes_yaml::{self as yaml, Kind, Mark, Node};

/// All problems of a rejected configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

/// One problem and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file or ConfigMap key.
    pub source: String,
    /// Line and column, 1-based, the column in characters; absent if the value does not come from a text.
    pub place: Option<Place>,
    /// The field, such as `injector.neverInjectSelector[0].matchLabels`; empty for the document itself.
    pub path: String,
    /// The problem.
    pub fault: Fault,
}

/// A line and a column, both 1-based.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The column, in characters.
    pub column: u32,
}

/// A problem at a place of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The text is not YAML (or JSON), or exceeds a limit of the loader.
    #[error("{0}")]
    Syntax(String),
    /// An unknown key.
    #[error("found the unknown key {}; expected {accepted}{}", quoted(.found), near(.nearest))]
    UnknownKey {
        /// The key.
        found: String,
        /// The known keys, separated by commas.
        accepted: String,
        /// The known key that was probably meant.
        nearest: Option<String>,
    },
    /// A key that occurs twice in one map.
    #[error("found the key {} again, first given at {first}; expected each key once", quoted(.found))]
    DuplicateKey {
        /// The key.
        found: String,
        /// The place of the first occurrence.
        first: Place,
    },
    /// An unexpected value.
    #[error("found {found}; expected {accepted}{}", near(.nearest))]
    NotAccepted {
        /// The value, described.
        found: String,
        /// The expected values.
        accepted: String,
        /// The expected value that was probably meant.
        nearest: Option<String>,
    },
    /// A required key is absent.
    #[error("found no {found}; expected {accepted}")]
    Missing {
        /// The key.
        found: &'static str,
        /// Its expected value.
        accepted: String,
    },
    /// A second entry for a name that may occur only once.
    #[error("found {} again, first given at {first}; expected each name once", quoted(.found))]
    DuplicateName {
        /// The name.
        found: String,
        /// The place of the first occurrence.
        first: Place,
    },
    /// A character that marks placeholders during rendering.
    #[error("found the character U+{:04X}; expected any text without U+E000 and U+E001, which are reserved for placeholders", u32::from(*.0))]
    ReservedCharacter(char),
    /// A template that does not parse.
    #[error("{0}")]
    Template(String),
    /// A problem inside MeshConfig or ProxyConfig.
    #[error("{0}")]
    Proto(String),
}

/// Something odd in a configuration that is used nevertheless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The field.
    pub path: String,
    /// The oddity and its consequence.
    pub message: String,
}

impl ConfigError {
    /// An error with the given problems.
    pub fn new(problems: Vec<Problem>) -> ConfigError {
        ConfigError { problems }
    }

    /// An error with one problem.
    pub fn one(source: &str, mark: Option<Mark>, path: impl Into<String>, fault: Fault) -> ConfigError {
        let place = mark.map(Place::from);
        ConfigError::new(vec![Problem { source: source.to_owned(), place, path: path.into(), fault }])
    }

    /// The problems, in the order of the document.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The problems by value, for merging them with others.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

impl Problem {
    /// The problem of a text that is not valid YAML.
    pub(crate) fn syntax(source: &str, error: &yaml::Error) -> Problem {
        // The parser's message starts with its position, which is reported separately.
        let place = Place::from(error.mark());
        let text = error.to_string();
        let message = text.strip_prefix(&format!("{place}: ")).unwrap_or(&text).to_owned();
        Problem {
            source: source.to_owned(),
            place: Some(place),
            path: String::new(),
            fault: Fault::Syntax(message),
        }
    }
}

impl Fault {
    /// `found` was not expected; no guess at what was meant.
    pub(super) fn not_accepted(found: impl Into<String>, accepted: impl Into<String>) -> Fault {
        Fault::NotAccepted { found: found.into(), accepted: accepted.into(), nearest: None }
    }

    /// The required key `found` is absent.
    pub(super) fn missing(found: &'static str, accepted: impl Into<String>) -> Fault {
        Fault::Missing { found, accepted: accepted.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Enough for any reader; a wrong file can have a problem on every line.
        const SHOWN: usize = 50;
        for (index, problem) in self.problems.iter().take(SHOWN).enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        match self.problems.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more problems"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some(place) = self.place {
            write!(f, ":{}:{}", place.line, place.column)?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.fault)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

impl From<Mark> for Place {
    fn from(mark: Mark) -> Place {
        Place { line: mark.line, column: mark.column }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// A node as named in errors: scalars with their text, the rest by kind.
pub(super) fn describe(node: &Node) -> String {
    match node.to_value() {
        Ok(Value::String(text)) => quoted(&text),
        Ok(Value::Number(number)) => format!("the number {number}"),
        Ok(Value::Bool(value)) => value.to_string(),
        Ok(Value::Null) => "null".to_owned(),
        Ok(Value::Array(items)) if items.is_empty() => "an empty list".to_owned(),
        Ok(Value::Array(_)) => "a list".to_owned(),
        Ok(Value::Object(_)) => "a map".to_owned(),
        Err(_) => match &node.kind {
            Kind::Scalar { text, .. } => quoted(text),
            _ => node.kind_name().to_owned(),
        },
    }
}

/// A string in double quotes, truncated to fit in a message.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    let cut = match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    };
    Value::String(cut).to_string()
}

fn near(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!("; nearest: {}", quoted(name))).unwrap_or_default()
}
