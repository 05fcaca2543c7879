//! Documents of a manifest: parsed from a text, and written back with the changes.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, HashSet},
};

use serde_json::Value;

use super::{Row, written};
use crate::manifest::{self, Corrections, Misfit};
use kubernetes_yaml::{self as yaml, Edit, Limits, Syntax};

/// A manifest is a file of the user's own: its memory is proportional to its size, whatever that is. Only what aliases add
/// is limited as elsewhere.
const LIMITS: Limits =
    Limits { depth: 100, nodes: usize::MAX, alias_nodes: 10_000, bytes: 1 << 30, syntax: Syntax::Full };

/// A document of a manifest.
#[derive(Debug)]
pub struct Document<'t> {
    /// The `---` line before it, with directives.
    pub separator: &'t str,
    /// The offset of `text` in the manifest, in bytes.
    pub start: usize,
    /// The number of line breaks before `text` in the manifest.
    lines_before: usize,
    /// Its text.
    pub text: &'t str,
    /// The format of its text.
    pub format: Format,
    /// The value of its text; null if the text is empty.
    pub original: Value,
    /// The value according to Go's decoder, if it differs.
    pub corrected: Option<Value>,
    /// The corrections, by JSON pointer of the object.
    pub(super) corrections: HashMap<String, Corrections>,
    /// The document with injected pod templates and corrected values, if these changed it.
    pub injected: Option<Value>,
    /// Where its nodes are in its text; `None` if that is not known.
    outline: Option<yaml::Outline>,
    /// The edits of its text that give it the value `injected`; `None` if it is written anew as a whole.
    edits: Option<Vec<Edit>>,
    /// Parts whose comments and layout are lost.
    pub rewrites: Vec<Rewritten>,
    /// The results for its objects.
    pub rows: Vec<Row>,
    /// Duplicate keys in it.
    pub duplicates: Vec<DuplicateKey>,
}

/// A duplicate key: its earlier value is ignored, as by the API server, and is lost if the document is rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuplicateKey {
    /// The line of the duplicate, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The key with its path, such as `spec.template.spec.containers[0].image`.
    pub path: String,
}

/// A part of a document that is written anew, because its text cannot be edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The line of the part, from 1.
    pub line: usize,
    /// The part, such as `spec.template.metadata.labels`; empty for the whole document.
    pub path: String,
    /// The reason.
    pub reason: &'static str,
}

/// The format of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML.
    Yaml,
    /// JSON, which is written as JSON again.
    Json,
}

/// Why a text is not a manifest: the position, the value found and the values expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct SyntaxError {
    /// The line in the text, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The value found and the values expected.
    pub message: String,
}

impl Document<'_> {
    /// The current value.
    pub fn value(&self) -> &Value {
        self.injected.as_ref().unwrap_or(&self.original)
    }

    /// The original value, as Go's decoder reads it.
    pub(super) fn as_read(&self) -> &Value {
        self.corrected.as_ref().unwrap_or(&self.original)
    }

    /// Finds the edits that give the text its new value. They are used only if the edited text has exactly this value.
    pub(super) fn edit(&mut self) {
        let Some(injected) = &self.injected else { return };
        let edits = self.outline.take().and_then(|outline| {
            let edits =
                yaml::edits(self.text, &outline, &self.original, injected, self.format == Format::Json)?;
            drop(outline);
            let is_right = self.has_value(&yaml::apply(self.text, &edits.list), injected);
            is_right.then_some(edits)
        });
        let Some(edits) = edits else {
            let reason = "its layout cannot be edited";
            self.rewrites.push(Rewritten { line: self.lines_before + 1, path: String::new(), reason });
            return;
        };
        let (mut line, mut position) = (self.lines_before + 1, 0);
        for yaml::Rewrite { offset, pointer, reason } in edits.rewrites {
            line += self.text.get(position..offset).unwrap_or_default().matches('\n').count();
            position = offset;
            self.rewrites.push(Rewritten { line, path: manifest::dotted(&pointer), reason });
        }
        self.edits = Some(edits.list);
    }

    /// Whether a text has this value, read as this document was.
    fn has_value(&self, text: &str, value: &Value) -> bool {
        match self.format {
            Format::Json => serde_json::from_str::<Value>(text).is_ok_and(|read| read == *value),
            Format::Yaml => yaml::parse(&with_last_line_ended(text), &LIMITS)
                .and_then(yaml::Node::into_value)
                .is_ok_and(|read| read == *value),
        }
    }

    /// The changes of the document as edits of the manifest.
    pub(super) fn changes(&self) -> Vec<Edit> {
        let end = self.start + self.text.len();
        match (&self.injected, &self.edits) {
            (None, _) => Vec::new(),
            (Some(_), None) => {
                vec![Edit { start: self.start - self.separator.len(), end, text: self.to_text() }]
            }
            (Some(_), Some(edits)) => edits
                .iter()
                .map(|edit| Edit {
                    start: self.start + edit.start,
                    end: self.start + edit.end,
                    text: edit.text.clone(),
                })
                .collect(),
        }
    }

    pub(super) fn to_text(&self) -> String {
        let Some(value) = &self.injected else { return format!("{}{}", self.separator, self.text) };
        if let Some(edits) = &self.edits {
            return format!("{}{}", self.separator, yaml::apply(self.text, edits));
        }
        let mut text = String::from(without_byte_order_mark(self.separator));
        if !text.is_empty() && !text.ends_with('\n') {
            // The content started on the separator's line, where a block mapping is not allowed.
            text.truncate(text.trim_end().len());
            text.push_str(line_break(self.text));
        }
        let line_break = line_break(self.text);
        let value = written(value, self.format);
        text.push_str(&if line_break == "\n" { value } else { value.replace('\n', line_break) });
        text.push_str(end_of_document(self.text));
        text
    }

    /// Always YAML, as Istio writes it; `None` for an empty document.
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

/// Parses the documents of a text.
pub(super) fn read<'t>(text: &'t str, how: &manifest::Options) -> Result<Vec<Document<'t>>, SyntaxError> {
    let mut lines = LineCounter { text, position: 0, lines: 0 };
    if let Some(documents) = read_json(text) {
        let mark = text.len() - without_byte_order_mark(text).len();
        return documents
            .into_iter()
            .map(|(start, document, value)| {
                let separator = if start == mark { text.get(..mark).unwrap_or_default() } else { "" };
                let parts = Parts { text, start, lines: lines.up_to(start), separator, document };
                parts.json(value, how)
            })
            .collect();
    }
    yaml::split_documents(text)
        .into_iter()
        .map(|document| {
            let parts = Parts {
                text,
                start: document.start,
                lines: lines.up_to(document.start),
                separator: document.separator,
                document: document.text,
            };
            if let Some(value) = json(document.text) {
                return parts.json(value, how);
            }
            let refused = |error: yaml::Error| {
                let (line, column) = position(text, document.start, error.mark());
                SyntaxError {
                    line,
                    column,
                    message: format!("{}; expected {}", error.found(), error.accepted()),
                }
            };
            let (node, outline) =
                yaml::parse_outlined(&with_last_line_ended(document.text), &LIMITS).map_err(refused)?;
            let value = node.to_value().map_err(refused)?;
            parts.read(Format::Yaml, value, node, Some(outline), how)
        })
        .collect()
}

/// kubectl and Istio read lines and terminate each of them (apimachinery's `NewYAMLReader`), so that a block after `|`
/// ends with a line feed even if the file does not.
fn with_last_line_ended(text: &str) -> Cow<'_, str> {
    if text.is_empty() || text.ends_with('\n') {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("{text}\n"))
    }
}

/// A document of a text and its position.
struct Parts<'t> {
    text: &'t str,
    start: usize,
    /// The number of line breaks before it.
    lines: usize,
    separator: &'t str,
    document: &'t str,
}

/// Counts the line breaks before increasing offsets, each only once.
struct LineCounter<'t> {
    text: &'t str,
    position: usize,
    lines: usize,
}

impl LineCounter<'_> {
    fn up_to(&mut self, offset: usize) -> usize {
        self.lines += self.text.get(self.position..offset).unwrap_or_default().matches('\n').count();
        self.position = offset;
        self.lines
    }
}

impl<'t> Parts<'t> {
    /// Parses JSON again as YAML, which preserves duplicate keys and positions; if that fails, the document has none.
    fn json(self, value: Value, how: &manifest::Options) -> Result<Document<'t>, SyntaxError> {
        match yaml::parse_outlined(self.document, &LIMITS) {
            Ok((node, outline)) => self.read(Format::Json, value, node, Some(outline), how),
            Err(_) => {
                let node = yaml::Node::from_value(&value);
                self.read(Format::Json, value, node, None, how)
            }
        }
    }

    fn read(
        self,
        format: Format,
        original: Value,
        mut node: yaml::Node,
        outline: Option<yaml::Outline>,
        how: &manifest::Options,
    ) -> Result<Document<'t>, SyntaxError> {
        let duplicates = duplicates(self.text, self.start, self.lines, &node);
        let misfit = |misfit: Misfit| {
            let (line, column) = position(self.text, self.start, misfit.mark);
            let message = format!("{}: found {}; expected {}", misfit.path, misfit.found, misfit.accepted);
            SyntaxError { line, column, message }
        };
        let corrections = manifest::decode(&mut node, &original, how).map_err(misfit)?;
        let corrected = (!corrections.is_empty()).then(|| node.into_value().ok()).flatten();
        Ok(Document {
            separator: self.separator,
            start: self.start,
            lines_before: self.lines,
            text: self.document,
            format,
            original,
            corrected,
            corrections: corrections.into_iter().collect(),
            injected: None,
            outline,
            edits: None,
            rewrites: Vec::new(),
            rows: Vec::new(),
            duplicates,
        })
    }
}

/// Consecutive JSON values, as written by `kubectl get -o json` and `jq`; `None` if the text contains anything else.
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
    // Trailing blanks belong to the last document.
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

fn duplicates(text: &str, start: usize, lines: usize, node: &yaml::Node) -> Vec<DuplicateKey> {
    let mut found = Vec::new();
    let mut known = HashSet::new();
    find_duplicates(node, "", &mut |mark, path| {
        // The target of an alias exists once.
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

/// Converts a position in a document to line and column in the whole text.
fn position(text: &str, start: usize, mark: yaml::Mark) -> (usize, usize) {
    let before = text.get(..start).unwrap_or_default();
    (before.matches('\n').count() + mark.line as usize, column(text, start, mark))
}

fn column(text: &str, start: usize, mark: yaml::Mark) -> usize {
    let before = text.get(..start).unwrap_or_default();
    let behind = if mark.line == 1 { before.chars().rev().take_while(|c| *c != '\n').count() } else { 0 };
    behind + mark.column as usize
}

/// The line ending of a text: that of its first line.
fn line_break(text: &str) -> &'static str {
    let first = text.find('\n').and_then(|end| text.get(..end));
    if first.is_some_and(|line| line.ends_with('\r')) { "\r\n" } else { "\n" }
}

/// The `...` line of a document and the comments after it: the rest may be a document without its own separator, or a
/// directive.
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
