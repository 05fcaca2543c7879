//! Documents of a manifest: read from a text, and written back with what changed.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, HashSet},
};

use serde_json::Value;

use super::{Row, written};
use crate::manifest::{self, Corrections, Misfit};
use kubernetes_yaml::{self as yaml, Limits};

/// A document of a manifest.
#[derive(Debug)]
pub struct Document<'t> {
    /// The `---` line before it, with directives.
    pub separator: &'t str,
    /// Its text.
    pub text: &'t str,
    /// The language of its text.
    pub format: Format,
    /// What its text says; null if it says nothing.
    pub original: Value,
    /// What Go's decoder makes of it, if that is something else.
    pub corrected: Option<Value>,
    /// What had to be corrected, by the JSON pointer of the object.
    pub(super) corrections: HashMap<String, Corrections>,
    /// The document with injected pod templates and corrected values, if they changed it.
    pub injected: Option<Value>,
    /// What came of its objects.
    pub rows: Vec<Row>,
    /// Keys it gives more than once.
    pub duplicates: Vec<DuplicateKey>,
}

/// A key that a document gives again: what it said before does not count, as for the API server, and is not there any
/// more if the document is written anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuplicateKey {
    /// The line of the text where the key stands again, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The key with the keys and indices that lead to it, such as `spec.template.spec.containers[0].image`.
    pub path: String,
}

/// The language of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML.
    Yaml,
    /// JSON, which is written as JSON again.
    Json,
}

/// Why a text is no manifest: where in it, what was found and what is accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct SyntaxError {
    /// The line in the text, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What was found and what is accepted.
    pub message: String,
}

impl Document<'_> {
    /// What the document says now.
    pub fn value(&self) -> &Value {
        self.injected.as_ref().unwrap_or(&self.original)
    }

    /// What the document said, as Go's decoder reads it.
    pub(super) fn as_read(&self) -> &Value {
        self.corrected.as_ref().unwrap_or(&self.original)
    }

    pub(super) fn to_text(&self) -> String {
        let Some(value) = &self.injected else { return format!("{}{}", self.separator, self.text) };
        let mut text = String::from(without_byte_order_mark(self.separator));
        if !text.is_empty() && !text.ends_with('\n') {
            // The content began on the separator's line, where a mapping cannot be written as a block.
            text.truncate(text.trim_end().len());
            text.push_str(line_break(self.text));
        }
        let line_break = line_break(self.text);
        let value = written(value, self.format);
        text.push_str(&if line_break == "\n" { value } else { value.replace('\n', line_break) });
        text.push_str(end_of_document(self.text));
        text
    }

    /// Always YAML, as Istio writes it; nothing for a document of no bytes.
    pub(super) fn to_terminated_text(&self) -> Option<String> {
        let mut text = match &self.injected {
            Some(value) => written(value, Format::Yaml),
            None if self.text.is_empty() => return None,
            None => self.text.to_owned(),
        };
        if self.separator.starts_with('%') {
            text.insert_str(0, self.separator);
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str("---\n");
        Some(text)
    }
}

/// Reads the documents of a text.
pub(super) fn read<'t>(text: &'t str, how: &manifest::Options) -> Result<Vec<Document<'t>>, SyntaxError> {
    if let Some(documents) = read_json(text) {
        let mark = text.len() - without_byte_order_mark(text).len();
        return documents
            .into_iter()
            .map(|(start, document, value)| {
                let separator = if start == mark { text.get(..mark).unwrap_or_default() } else { "" };
                json_document(text, start, separator, document, value, how)
            })
            .collect();
    }
    yaml::split_documents(text)
        .into_iter()
        .map(|document| {
            if let Some(value) = json(document.text) {
                return json_document(text, document.start, document.separator, document.text, value, how);
            }
            let refused = |error: yaml::Error| {
                let (line, column) = position(text, document.start, error.mark());
                SyntaxError {
                    line,
                    column,
                    message: format!("{}; accepted: {}", error.found(), error.accepted()),
                }
            };
            let node =
                yaml::parse(&with_last_line_ended(document.text), &Limits::default()).map_err(refused)?;
            let value = node.to_value().map_err(refused)?;
            let parts =
                Parts { text, start: document.start, separator: document.separator, document: document.text };
            parts.read(Format::Yaml, value, node, how)
        })
        .collect()
}

/// kubectl and Istio read lines and end each of them (apimachinery's `NewYAMLReader`), so that a block after `|` ends with a
/// line feed even where the file does not.
fn with_last_line_ended(text: &str) -> Cow<'_, str> {
    if text.is_empty() || text.ends_with('\n') {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("{text}\n"))
    }
}

/// JSON is read as YAML once more, which keeps what is given twice and the places; a text that is too odd for that has
/// none.
fn json_document<'t>(
    text: &'t str,
    start: usize,
    separator: &'t str,
    document: &'t str,
    value: Value,
    how: &manifest::Options,
) -> Result<Document<'t>, SyntaxError> {
    let node = yaml::parse(document, &Limits::default()).unwrap_or_else(|_| yaml::Node::from_value(&value));
    Parts { text, start, separator, document }.read(Format::Json, value, node, how)
}

/// A document of a text and where it stands.
struct Parts<'t> {
    text: &'t str,
    start: usize,
    separator: &'t str,
    document: &'t str,
}

impl<'t> Parts<'t> {
    fn read(
        self,
        format: Format,
        original: Value,
        mut node: yaml::Node,
        how: &manifest::Options,
    ) -> Result<Document<'t>, SyntaxError> {
        let duplicates = duplicates(self.text, self.start, &node);
        let misfit = |misfit: Misfit| {
            let (line, column) = position(self.text, self.start, misfit.mark);
            let message = format!("{}: found {}; accepted: {}", misfit.path, misfit.found, misfit.accepted);
            SyntaxError { line, column, message }
        };
        let corrections = manifest::decode(&mut node, &original, how).map_err(misfit)?;
        let corrected = (!corrections.is_empty()).then(|| node.into_value().ok()).flatten();
        Ok(Document {
            separator: self.separator,
            text: self.document,
            format,
            original,
            corrected,
            corrections: corrections.into_iter().collect(),
            injected: None,
            rows: Vec::new(),
            duplicates,
        })
    }
}

/// JSON values one after another, as `kubectl get -o json` and `jq` write them; nothing if the text is not just that.
fn read_json(text: &str) -> Option<Vec<(usize, &str, Value)>> {
    let body = without_byte_order_mark(text);
    if !begins_json(body) {
        return None;
    }
    let mut stream = serde_json::Deserializer::from_str(body).into_iter::<Value>();
    let mut documents = Vec::new();
    let mark = text.len() - body.len();
    let mut start = mark;
    while let Some(value) = stream.next() {
        let end = mark + stream.byte_offset();
        documents.push((start, end, value.ok()?));
        start = end;
    }
    // Blanks at the end belong to the last one.
    if let Some((_, end, _)) = documents.last_mut() {
        *end = text.len();
    }
    documents.into_iter().map(|(start, end, value)| Some((start, text.get(start..end)?, value))).collect()
}

fn without_byte_order_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn json(text: &str) -> Option<Value> {
    begins_json(text).then(|| serde_json::from_str(text).ok())?
}

fn begins_json(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

fn duplicates(text: &str, start: usize, node: &yaml::Node) -> Vec<DuplicateKey> {
    let mut found = Vec::new();
    let mut known = HashSet::new();
    let lines = text.get(..start).unwrap_or_default().matches('\n').count();
    find_duplicates(node, "", &mut |mark, path| {
        // What an alias stands for is there once.
        if known.insert(mark.offset) {
            let column = column(text, start, mark);
            found.push(DuplicateKey { line: lines + mark.line as usize, column, path });
        }
    });
    found
}

fn find_duplicates(node: &yaml::Node, path: &str, found: &mut impl FnMut(yaml::Mark, String)) {
    match &node.kind {
        yaml::Kind::Scalar { .. } => {}
        yaml::Kind::Sequence(items) => {
            for (index, item) in items.iter().enumerate() {
                find_duplicates(item, &format!("{path}[{index}]"), found);
            }
        }
        yaml::Kind::Mapping(entries) => {
            let mut seen = BTreeSet::new();
            for (key, value) in entries {
                let Ok(name) = key.key_text() else { continue };
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                if !seen.insert(name) {
                    found(key.mark, path.clone());
                }
                find_duplicates(value, &path, found);
            }
        }
    }
}

/// The line and column in the whole text of a place in one of its documents.
fn position(text: &str, start: usize, mark: yaml::Mark) -> (usize, usize) {
    let before = text.get(..start).unwrap_or_default();
    (before.matches('\n').count() + mark.line as usize, column(text, start, mark))
}

fn column(text: &str, start: usize, mark: yaml::Mark) -> usize {
    let before = text.get(..start).unwrap_or_default();
    let behind = if mark.line == 1 { before.chars().rev().take_while(|c| *c != '\n').count() } else { 0 };
    behind + mark.column as usize
}

/// How the lines of a text end: as its first one does.
fn line_break(text: &str) -> &'static str {
    let first = text.find('\n').and_then(|end| text.get(..end));
    if first.is_some_and(|line| line.ends_with('\r')) { "\r\n" } else { "\n" }
}

/// The `...` line of a document and the comments behind it: what follows them may be a document without a separator of
/// its own, or a directive.
fn end_of_document(text: &str) -> &str {
    let mut end = text.len();
    for line in text.split_inclusive('\n').rev() {
        end -= line.len();
        let is_marker = line
            .strip_prefix("...")
            .is_some_and(|rest| rest.trim_start().len() < rest.len() || rest.is_empty());
        if is_marker {
            return text.get(end..).unwrap_or_default();
        }
        let line = line.trim_start();
        if !line.is_empty() && !line.starts_with('#') {
            break;
        }
    }
    ""
}
