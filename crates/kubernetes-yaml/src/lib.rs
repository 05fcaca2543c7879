//! YAML as Kubernetes' tools read and write it.
//!
//! Kubernetes users get YAML as `sigs.k8s.io/yaml` reads it: YAML 1.1 scalars (`yes` is true, `017` is fifteen),
//! merge keys, silent duplicate keys. This crate gives the same answers, with positions, with limits on everything
//! a hostile text could blow up, and without a panic for any text.
//!
//! The grammar is go-yaml v2's, YAML 1.1: no parser of YAML 1.2 reads all that kubectl and Istio read. Where this one parts
//! from it is listed, with reasons, in the tests `agrees_with_sigs_yaml` and `layouts_are_read_as_sigs_yaml_reads_them`.
//!
//! ```
//! use kubernetes_yaml::{Limits, load, to_string};
//! use serde_json::json;
//!
//! let value = load("on: 017\nname: !!str 1\n", &Limits::default())?;
//! assert_eq!(value, json!({"true": 15, "name": "1"}));
//! assert_eq!(to_string(&value), "name: \"1\"\n\"true\": 15\n");
//!
//! let error = load("a: [1, 2", &Limits::default()).unwrap_err();
//! assert_eq!(error.mark().line, 1);
//! # Ok::<(), kubernetes_yaml::Error>(())
//! ```

mod build;
mod documents;
mod error;
mod number;
mod parse;
mod rendered;
mod resolve;
mod scan;
mod timestamp;
mod write;

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

pub use documents::{Document, split_documents};
pub use error::Error;
pub use rendered::{Scalar as RenderedScalar, Tree, read as read_rendered};
pub use write::to_string;

use resolve::Scalar;

/// What a text may use up before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How deep sequences and mappings may nest.
    pub depth: usize,
    /// How many nodes (scalars, sequences, mappings) a text may have, those of expanded aliases included.
    pub nodes: usize,
    /// How many of these nodes may come from expanded aliases.
    pub alias_nodes: usize,
    /// The size of the text; also how many bytes of scalars aliases may copy.
    pub bytes: usize,
    /// Which parts of YAML may be used.
    pub syntax: Syntax,
}

/// Which parts of YAML a text may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// Everything, as in files that people write.
    Full,
    /// No anchors, aliases or tags, and one document only: what a template renders.
    Rendered,
}

impl Limits {
    /// The limits for what a template renders: one document of at most 1 MiB, without anchors, aliases and tags.
    pub const fn rendered() -> Limits {
        Limits { depth: 100, nodes: 500_000, alias_nodes: 0, bytes: 1 << 20, syntax: Syntax::Rendered }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits { depth: 100, nodes: 500_000, alias_nodes: 10_000, bytes: 8 << 20, syntax: Syntax::Full }
    }
}

/// A place in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// The offset in bytes, from 0.
    pub offset: usize,
}

impl Mark {
    /// The first character of a text.
    pub const START: Mark = Mark { line: 1, column: 1, offset: 0 };
}

/// How a scalar was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// Between `'`.
    SingleQuoted,
    /// Between `"`.
    DoubleQuoted,
    /// A `|` block.
    Literal,
    /// A `>` block.
    Folded,
}

/// A part of a document and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where the node starts; for what an alias stands for, where that was written.
    pub mark: Mark,
    /// What the node is.
    pub kind: Kind,
}

/// What a node is. Aliases are expanded and `<<` keys are merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A scalar as text: quotes and escapes are resolved, its type is not (see [`Node::to_value`]).
    Scalar {
        /// The text.
        text: String,
        /// How it was written.
        style: Style,
        /// The tag in its short form (`!!int`, `!mine`, `!`).
        tag: Option<String>,
    },
    /// The items, in order.
    Sequence(Vec<Node>),
    /// Keys (always scalars) and values, in order; a key that was written twice is here twice.
    Mapping(Vec<(Node, Node)>),
}

impl Node {
    /// Converts the tree to JSON as `sigs.k8s.io/yaml`'s `convertToJSONableObject` does: keys become strings, a key
    /// that was given twice has its last value.
    ///
    /// # Errors
    /// A scalar that has no JSON form (`.inf`), that its tag does not allow, or a key that is null.
    pub fn to_value(&self) -> Result<Value, Error> {
        match &self.kind {
            Kind::Scalar { text, style, tag } => {
                resolve::scalar(text, *style, tag.as_deref(), self.mark)?.into_value(text, self.mark)
            }
            Kind::Sequence(items) => items.iter().map(Node::to_value).collect(),
            Kind::Mapping(entries) => {
                let mut map = Map::new();
                for (key, value) in entries {
                    map.insert(key.key_text()?, value.to_value()?);
                }
                Ok(Value::Object(map))
            }
        }
    }

    /// As [`Node::to_value`] for a tree that is not needed any more: its texts are moved, not copied.
    ///
    /// # Errors
    /// As [`Node::to_value`].
    pub fn into_value(self) -> Result<Value, Error> {
        match self.kind {
            Kind::Scalar { text, style, tag } => {
                match resolve::scalar(&text, style, tag.as_deref(), self.mark)? {
                    Scalar::Text | Scalar::Timestamp => Ok(Value::String(text)),
                    other => other.into_value(&text, self.mark),
                }
            }
            Kind::Sequence(items) => items.into_iter().map(Node::into_value).collect(),
            Kind::Mapping(entries) => {
                let mut map = Map::new();
                for (key, value) in entries {
                    map.insert(key.into_key_text()?, value.into_value()?);
                }
                Ok(Value::Object(map))
            }
        }
    }

    /// The node at the end of a path of keys and decimal list indices, if there is one.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, step| match &node.kind {
            Kind::Scalar { .. } => None,
            Kind::Sequence(items) => items.get(step.parse::<usize>().ok()?),
            Kind::Mapping(entries) => entries
                .iter()
                .rev()
                .find(|(key, _)| key.key_text().is_ok_and(|text| text == *step))
                .map(|(_, value)| value),
        })
    }

    /// [`Node::at`] for a change.
    pub fn at_mut(&mut self, path: &[&str]) -> Option<&mut Node> {
        path.iter().try_fold(self, |node, step| match &mut node.kind {
            Kind::Scalar { .. } => None,
            Kind::Sequence(items) => items.get_mut(step.parse::<usize>().ok()?),
            Kind::Mapping(entries) => entries
                .iter_mut()
                .rev()
                .find(|(key, _)| key.key_text().is_ok_and(|text| text == *step))
                .map(|(_, value)| value),
        })
    }

    /// Whether this is null, however it is written.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, style, tag }
            if matches!(resolve::scalar(text, *style, tag.as_deref(), self.mark), Ok(Scalar::Null)))
    }

    /// The string that `sigs.k8s.io/yaml` makes of a number or a boolean where a string is wanted
    /// (`convertToJSONableObject`); nothing for other nodes.
    pub fn string_of_scalar(&self) -> Option<String> {
        let Kind::Scalar { text, style, tag } = &self.kind else { return None };
        match resolve::scalar(text, *style, tag.as_deref(), self.mark).ok()? {
            Scalar::Bool(value) => Some(value.to_string()),
            Scalar::Int(value) => Some(value.to_string()),
            Scalar::Uint(value) => Some(value.to_string()),
            Scalar::Float(value) => Some(number::format_f32(value)),
            Scalar::Null | Scalar::Text | Scalar::Timestamp | Scalar::Binary(_) => None,
        }
    }

    /// Makes the node a scalar with this text in its place.
    pub fn set_text(&mut self, text: String, style: Style) {
        self.kind = Kind::Scalar { text, style, tag: None };
    }

    /// The tree of a JSON value, which has no places in a text.
    pub fn from_value(value: &Value) -> Node {
        let plain = |text: String| Kind::Scalar { text, style: Style::Plain, tag: None };
        let quoted =
            |text: &str| Kind::Scalar { text: text.to_owned(), style: Style::DoubleQuoted, tag: None };
        let kind = match value {
            Value::Null => plain("null".to_owned()),
            Value::Bool(value) => plain(value.to_string()),
            Value::Number(number) => plain(number.to_string()),
            Value::String(text) => quoted(text),
            Value::Array(items) => Kind::Sequence(items.iter().map(Node::from_value).collect()),
            Value::Object(map) => Kind::Mapping(
                map.iter()
                    .map(|(key, value)| {
                        (Node { mark: Mark::START, kind: quoted(key) }, Node::from_value(value))
                    })
                    .collect(),
            ),
        };
        Node { mark: Mark::START, kind }
    }

    /// What the node is, in words for an error: `a mapping`, `a list`, `a string`, `a number`, `true or false`, `null`.
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a mapping",
            Kind::Scalar { text, style, tag } => {
                match resolve::scalar(text, *style, tag.as_deref(), self.mark) {
                    Ok(Scalar::Null) => "null",
                    Ok(Scalar::Bool(_)) => "true or false",
                    Ok(Scalar::Int(_) | Scalar::Uint(_) | Scalar::Float(_)) => "a number",
                    Ok(Scalar::Text | Scalar::Timestamp | Scalar::Binary(_)) | Err(_) => "a string",
                }
            }
        }
    }

    /// The text a mapping key has in JSON: `1`, `true` and `1.5` become strings.
    ///
    /// # Errors
    /// The key is null, a list, a mapping, or an integer that does not fit in 64 bits with a sign.
    pub fn key_text(&self) -> Result<String, Error> {
        let refused = |found: &str| {
            Error::at(self.mark, format!("found {found} as a key"), "a string, a number, true or false")
        };
        match &self.kind {
            Kind::Scalar { text, style, tag } => {
                resolve::scalar(text, *style, tag.as_deref(), self.mark)?.into_key(text).map_err(refused)
            }
            Kind::Sequence(_) => Err(refused("a list")),
            Kind::Mapping(_) => Err(refused("a mapping")),
        }
    }

    /// As [`Node::key_text`] for a key that is not needed any more.
    ///
    /// # Errors
    /// As [`Node::key_text`].
    pub fn into_key_text(self) -> Result<String, Error> {
        match self.kind {
            Kind::Scalar { text, style, tag: None }
                if matches!(resolve::scalar(&text, style, None, self.mark), Ok(Scalar::Text)) =>
            {
                Ok(text)
            }
            _ => self.key_text(),
        }
    }
}

/// Reads exactly one document into a tree with positions; an empty text is a null scalar.
///
/// # Errors
/// The text is not YAML, is over a limit, uses syntax the limits forbid, or has a second document that is not empty.
pub fn parse(text: &str, limits: &Limits) -> Result<Node, Error> {
    tree(text, limits, parse::Documents::One)
}

/// Reads YAML as `yaml.YAMLToJSON` of `sigs.k8s.io/yaml` does: the first document of the text, as JSON.
/// With [`Syntax::Rendered`] a second document is refused.
///
/// # Errors
/// As [`parse`] and [`Node::to_value`].
pub fn load(text: &str, limits: &Limits) -> Result<Value, Error> {
    let documents = match limits.syntax {
        Syntax::Full => parse::Documents::First,
        Syntax::Rendered => parse::Documents::One,
    };
    tree(text, limits, documents)?.into_value()
}

/// What templates render is read by the fast path, where that knows all of it.
fn tree(text: &str, limits: &Limits, documents: parse::Documents) -> Result<Node, Error> {
    let fast = match limits.syntax {
        Syntax::Full => None,
        Syntax::Rendered => rendered::read(text, limits),
    };
    fast.map_or_else(|| build::node(text, limits, documents), Ok)
}

/// The JSON value of an unquoted scalar under go-yaml v2's rules (`resolve`). Text that has no JSON form (`.inf`,
/// `.nan`) stays a string.
pub fn resolve_plain(text: &str) -> Value {
    resolve::plain(text).into_value(text, Mark::START).unwrap_or_else(|_| Value::String(text.to_owned()))
}
