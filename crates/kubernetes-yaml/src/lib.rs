//! YAML as Kubernetes' tools read and write it.
//!
//! Kubernetes users get YAML as `sigs.k8s.io/yaml` reads it: YAML 1.1 scalars (`yes` is true, `017` is fifteen),
//! merge keys, silent duplicate keys. This crate gives the same answers, with positions, with limits on every
//! resource that a hostile text could exhaust, and without panics.
//!
//! The grammar is go-yaml v2's, YAML 1.1: no YAML 1.2 parser accepts everything that kubectl and Istio accept. The
//! differences are listed, with reasons, in the tests `agrees_with_sigs_yaml` and
//! `layouts_are_read_as_sigs_yaml_reads_them`.
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
mod edit;
mod error;
mod number;
mod outline;
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
pub use edit::{Edit, Edits, Rewrite, apply, edits};
pub use error::Error;
pub use outline::Outline;
pub use rendered::{Scalar as RenderedScalar, Tree, read as read_rendered};
pub use write::to_string;

use resolve::Scalar;

/// Limits on the resources of parsing a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum nesting of sequences and mappings.
    pub depth: usize,
    /// Maximum number of nodes (scalars, sequences, mappings), including those of expanded aliases.
    pub nodes: usize,
    /// Maximum number of nodes from expanded aliases.
    pub alias_nodes: usize,
    /// Maximum size of the text; also the maximum number of bytes of scalars that aliases may copy.
    pub bytes: usize,
    /// The allowed parts of YAML.
    pub syntax: Syntax,
}

/// The allowed parts of YAML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// Everything, as in files that people write.
    Full,
    /// No anchors, aliases or tags, and only one document: the output of a template.
    Rendered,
}

impl Limits {
    /// The limits for template output: one document of at most 1 MiB, without anchors, aliases and tags.
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

/// The style of a scalar.
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

/// A part of a document and its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The start of the node; for an expanded alias, where its anchor was written.
    pub mark: Mark,
    /// The content of the node.
    pub kind: Kind,
}

/// The content of a node. Aliases are expanded and `<<` keys are merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A scalar as text: quotes and escapes are resolved, but not its type (see [`Node::to_value`]).
    Scalar {
        /// The text.
        text: String,
        /// Its style.
        style: Style,
        /// The tag in its short form (`!!int`, `!mine`, `!`).
        tag: Option<String>,
    },
    /// The items, in order.
    Sequence(Vec<Node>),
    /// Keys (always scalars) and values, in order; duplicate keys are preserved.
    Mapping(Vec<(Node, Node)>),
}

impl Node {
    /// Converts the tree to JSON like `convertToJSONableObject` in `sigs.k8s.io/yaml`: keys become strings, and the
    /// last value of a duplicate key wins.
    ///
    /// # Errors
    /// A scalar without a JSON form (`.inf`), or that its tag does not allow, or a null key.
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

    /// Like [`Node::to_value`], for an owned tree: its texts are moved, not copied.
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

    /// The node at the end of a path of keys and decimal list indices, if it exists.
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

    /// [`Node::at`], mutably.
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

    /// Whether this is null, in any notation.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, style, tag }
            if matches!(resolve::scalar(text, *style, tag.as_deref(), self.mark), Ok(Scalar::Null)))
    }

    /// The string that `sigs.k8s.io/yaml` makes of a number or a boolean where a string is expected
    /// (`convertToJSONableObject`); `None` for other nodes.
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

    /// Replaces the node by a scalar with this text.
    pub fn set_text(&mut self, text: String, style: Style) {
        self.kind = Kind::Scalar { text, style, tag: None };
    }

    /// The tree of a JSON value, without positions.
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

    /// The type of the node for an error: `a mapping`, `a list`, `a string`, `a number`, `true or false`, `null`.
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

    /// The text of a mapping key in JSON: `1`, `true` and `1.5` become strings.
    ///
    /// # Errors
    /// If the key is null, a list, a mapping, or an integer that does not fit in 64 bits with a sign.
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

    /// Like [`Node::key_text`], for an owned key.
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

/// Parses exactly one document into a tree with positions; an empty text is a null scalar.
///
/// # Errors
/// If the text is not YAML, exceeds a limit, uses syntax that the limits forbid, or has a second document that is not
/// empty.
pub fn parse(text: &str, limits: &Limits) -> Result<Node, Error> {
    tree(text, limits, parse::Documents::One)
}

/// [`parse`], with the outline that [`edits`] needs.
///
/// # Errors
/// As [`parse`].
pub fn parse_outlined(text: &str, limits: &Limits) -> Result<(Node, Outline), Error> {
    build::outlined(text, limits)
}

/// Parses YAML like `yaml.YAMLToJSON` of `sigs.k8s.io/yaml`: the first document of the text, as JSON. With
/// [`Syntax::Rendered`], a second document is rejected.
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

/// Template output is parsed by the fast path, unless it uses syntax that the fast path does not support.
fn tree(text: &str, limits: &Limits, documents: parse::Documents) -> Result<Node, Error> {
    let fast = match limits.syntax {
        Syntax::Full => None,
        Syntax::Rendered => rendered::read(text, limits),
    };
    fast.map_or_else(|| build::node(text, limits, documents), Ok)
}

/// The JSON value of an unquoted scalar by go-yaml v2's rules (`resolve`). Text without a JSON form (`.inf`, `.nan`)
/// stays a string.
pub fn resolve_plain(text: &str) -> Value {
    resolve::plain(text).into_value(text, Mark::START).unwrap_or_else(|_| Value::String(text.to_owned()))
}
