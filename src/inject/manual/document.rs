//! Documents of a manifest: read from a text, and written back with what changed.

use serde_json::Value;

use super::{Row, written};
use crate::yaml::{self, Limits};

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
    /// The document with injected pod templates, if they changed it.
    pub injected: Option<Value>,
    /// What came of its objects.
    pub rows: Vec<Row>,
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

    pub(super) fn to_text(&self) -> String {
        let Some(value) = &self.injected else { return format!("{}{}", self.separator, self.text) };
        let mut text = String::from(self.separator);
        if !text.is_empty() && !text.ends_with('\n') {
            // The content began on the separator's line, where a mapping cannot be written as a block.
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text.push_str(&written(value, self.format));
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
pub(super) fn read(text: &str) -> Result<Vec<Document<'_>>, SyntaxError> {
    if let Some(documents) = read_json(text) {
        return Ok(documents);
    }
    yaml::split_documents(text)
        .into_iter()
        .map(|document| {
            let (format, original) = match json(document.text) {
                Some(value) => (Format::Json, value),
                None => {
                    let value = yaml::parse(document.text, &Limits::default())
                        .and_then(|node| node.to_value())
                        .map_err(|error| placed(text, document.start, &error))?;
                    (Format::Yaml, value)
                }
            };
            Ok(new(document.separator, document.text, format, original))
        })
        .collect()
}

/// JSON values one after another, as `kubectl get -o json` and `jq` write them; nothing if the text is not just that.
fn read_json(text: &str) -> Option<Vec<Document<'_>>> {
    if !begins_json(text) {
        return None;
    }
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut documents = Vec::new();
    let mut start = 0;
    while let Some(value) = stream.next() {
        let end = stream.byte_offset();
        documents.push((start, end, value.ok()?));
        start = end;
    }
    // Blanks at the end belong to the last one.
    if let Some((_, end, _)) = documents.last_mut() {
        *end = text.len();
    }
    documents
        .into_iter()
        .map(|(start, end, value)| Some(new("", text.get(start..end)?, Format::Json, value)))
        .collect()
}

fn json(text: &str) -> Option<Value> {
    begins_json(text).then(|| serde_json::from_str(text).ok())?
}

fn begins_json(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

fn new<'t>(separator: &'t str, text: &'t str, format: Format, original: Value) -> Document<'t> {
    Document { separator, text, format, original, injected: None, rows: Vec::new() }
}

/// The error at its place in the whole text.
fn placed(text: &str, start: usize, error: &yaml::Error) -> SyntaxError {
    let before = text.get(..start).unwrap_or_default();
    let mark = error.mark();
    let column = mark.column as usize;
    let behind = if mark.line == 1 { before.chars().rev().take_while(|c| *c != '\n').count() } else { 0 };
    SyntaxError {
        line: before.matches('\n').count() + mark.line as usize,
        column: behind + column,
        message: format!("{}; accepted: {}", error.found(), error.accepted()),
    }
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
