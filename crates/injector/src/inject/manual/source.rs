//! Documents of a manifest as text, and their values.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    ops::Range,
};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::manifest::{self, Corrections, Misfit};
use kubernetes_yaml::{self as yaml, Edit, Limits, Syntax};

/// The limits for a manifest, which is a file of the user's own: parsing it may take memory in proportion to its size,
/// however large. Only the nodes that aliases add are limited as elsewhere.
pub const LIMITS: Limits =
    Limits { depth: 100, nodes: usize::MAX, alias_nodes: 10_000, bytes: 1 << 30, syntax: Syntax::Full };

/// A document of a manifest, or an item of a List in one, as text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'t> {
    /// The whole manifest.
    manifest: &'t str,
    /// The offset of `text` in the manifest, in bytes.
    pub(super) start: usize,
    /// The number of line breaks before `text` in the manifest.
    pub(super) lines_before: usize,
    /// The `---` line before it, with directives.
    pub(super) separator: &'t str,
    /// Its text.
    pub(super) text: &'t str,
    /// The format of its text.
    pub(super) format: Format,
    /// The number of the item, if it is one.
    item: Option<usize>,
}

/// The format of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
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

/// The value of a document or item, with what is needed to edit its text.
pub(super) struct Parsed<'t> {
    source: Source<'t>,
    /// The value of the text; null if the text is empty.
    pub(super) original: Value,
    /// The value according to Go's decoder, if it differs.
    pub(super) corrected: Option<Value>,
    /// The corrections, by JSON pointer of the object.
    pub(super) corrections: HashMap<String, Corrections>,
    /// Where its nodes are in its text; `None` if that is not known.
    outline: Option<yaml::Outline>,
    /// Duplicate keys in it.
    pub(super) duplicates: Vec<DuplicateKey>,
}

/// Splits a text into its documents.
pub(super) fn split(text: &str) -> Vec<Source<'_>> {
    let mut lines = LineCounter { text, position: 0, lines: 0 };
    let of = |start: usize, lines_before: usize, separator, text_of, format| Source {
        manifest: text,
        start,
        lines_before,
        separator,
        text: text_of,
        format,
        item: None,
    };
    if let Some(documents) = split_json(text) {
        let mark = text.len() - without_byte_order_mark(text).len();
        return documents
            .into_iter()
            .map(|(start, document)| {
                let separator = if start == mark { text.get(..mark).unwrap_or_default() } else { "" };
                of(start, lines.up_to(start), separator, document, Format::Json)
            })
            .collect();
    }
    yaml::split_documents(text)
        .into_iter()
        .map(|yaml::Document { text, start, separator }| {
            let format = if is_json(text) { Format::Json } else { Format::Yaml };
            of(start, lines.up_to(start), separator, text, format)
        })
        .collect()
}

impl<'t> Source<'t> {
    /// An item of this List. `lines` counts the lines up to the items, in their order.
    pub(super) fn item(
        &self,
        number: usize,
        place: &Range<usize>,
        lines: &mut LineCounter<'t>,
    ) -> Source<'t> {
        Source {
            start: self.start + place.start,
            lines_before: self.lines_before + lines.up_to(place.start),
            separator: "",
            text: self.text.get(place.clone()).unwrap_or_default(),
            item: Some(number),
            ..*self
        }
    }

    /// The text of this List without its items.
    pub(super) fn frame<'f>(&self, text: &'f str) -> Source<'f> {
        Source {
            manifest: text,
            start: 0,
            lines_before: 0,
            separator: "",
            text,
            format: self.format,
            item: None,
        }
    }

    pub(super) fn line_counter(&self) -> LineCounter<'t> {
        LineCounter { text: self.text, position: 0, lines: 0 }
    }

    /// The value of a text that is known to have one, in the format of this one.
    pub(super) fn value(&self, text: &str) -> Value {
        self.read(text).unwrap_or_default()
    }

    /// The value of another text in the format of this one.
    fn read(&self, text: &str) -> Option<Value> {
        match self.format {
            Format::Json => serde_json::from_str(text).ok(),
            Format::Yaml => {
                yaml::parse(&with_last_line_ended(text), &LIMITS).and_then(yaml::Node::into_value).ok()
            }
        }
    }

    /// [`Source::value`] of the text of an item in this List.
    pub(super) fn item_value(&self, text: &str) -> Value {
        match (self.format, self.value(text)) {
            (Format::Yaml, Value::Array(items)) => items.into_iter().next().unwrap_or_default(),
            (_, value) => value,
        }
    }

    /// Parses the text, and decodes its objects like Go.
    pub(super) fn parse(self, search: &manifest::Options) -> Result<Parsed<'t>, SyntaxError> {
        match self.format {
            Format::Json => {
                let value = serde_json::from_str(self.text).unwrap_or_default();
                // Again as YAML, which preserves duplicate keys and positions; if that fails, there are none.
                match yaml::parse_outlined(self.text, &LIMITS) {
                    Ok((node, outline)) => self.decode(value, node, Some(outline), search),
                    Err(_) => {
                        let node = yaml::Node::from_value(&value);
                        self.decode(value, node, None, search)
                    }
                }
            }
            Format::Yaml => {
                let refused = |error: yaml::Error| {
                    let message = format!("{}; expected {}", error.found(), error.accepted());
                    self.error(error.mark(), message)
                };
                let (node, outline) =
                    yaml::parse_outlined(&with_last_line_ended(self.text), &LIMITS).map_err(refused)?;
                let node = match (self.item, node.kind) {
                    (None, kind) => yaml::Node { kind, ..node },
                    (Some(_), yaml::Kind::Sequence(items)) if items.len() == 1 => {
                        items.into_iter().next().ok_or_else(|| self.error(node.mark, String::new()))?
                    }
                    (Some(_), _) => return Err(self.error(node.mark, "expected one item".to_owned())),
                };
                let value = node.to_value().map_err(refused)?;
                self.decode(value, node, Some(outline), search)
            }
        }
    }

    fn error(&self, mark: yaml::Mark, message: String) -> SyntaxError {
        let (line, column) = position(self.manifest, self.start, mark);
        SyntaxError { line, column, message }
    }

    fn decode(
        self,
        original: Value,
        mut node: yaml::Node,
        outline: Option<yaml::Outline>,
        search: &manifest::Options,
    ) -> Result<Parsed<'t>, SyntaxError> {
        let root = self.item.map_or(String::new(), |number| format!("items[{number}]"));
        let duplicates = duplicates(&self, &root, &node);
        let misfit = |misfit: Misfit| {
            let message = format!("{}: found {}; expected {}", misfit.path, misfit.found, misfit.accepted);
            self.error(misfit.mark, message)
        };
        let corrections = manifest::decode(&mut node, &original, search).map_err(misfit)?;
        let corrected = (!corrections.is_empty()).then(|| node.into_value().ok()).flatten();
        let corrections = corrections.into_iter().collect();
        Ok(Parsed { source: self, original, corrected, corrections, outline, duplicates })
    }
}

impl Parsed<'_> {
    /// The original value, as Go's decoder reads it.
    pub(super) fn as_read(&self) -> &Value {
        self.corrected.as_ref().unwrap_or(&self.original)
    }

    /// The edits that give the text a new value, and the parts of it that they write anew; `None` if the edited text does
    /// not have exactly this value.
    pub(super) fn edits(self, new: &Value) -> Option<(Vec<Edit>, Vec<Rewritten>)> {
        let Parsed { source, original, outline, .. } = self;
        let is_dashed = source.item.is_some() && source.format == Format::Yaml;
        let is_json = source.format == Format::Json;
        let outline = outline?;
        // The text of an item in YAML is a list with one item.
        let edits = if is_dashed {
            let (old, new) = (Value::Array(vec![original]), Value::Array(vec![new.clone()]));
            yaml::edits(source.text, &outline, &old, &new, is_json)?
        } else {
            yaml::edits(source.text, &outline, &original, new, is_json)?
        };
        drop(outline);
        let edited = source.read(&yaml::apply(source.text, &edits.list))?;
        let is_right = match &edited {
            Value::Array(items) if is_dashed => items.as_slice() == std::slice::from_ref(new),
            value => value == new,
        };
        if !is_right {
            return None;
        }
        let (mut line, mut position) = (source.lines_before + 1, 0);
        let mut rewrites = Vec::new();
        for yaml::Rewrite { offset, pointer, reason } in edits.rewrites {
            line += source.text.get(position..offset).unwrap_or_default().matches('\n').count();
            position = offset;
            let pointer = match source.item {
                Some(number) => {
                    let inside =
                        if is_dashed { pointer.strip_prefix("/0").unwrap_or(&pointer) } else { &pointer };
                    format!("/items/{number}{inside}")
                }
                None => pointer,
            };
            rewrites.push(Rewritten { line, path: manifest::dotted(&pointer), reason });
        }
        Some((edits.list, rewrites))
    }
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

/// Counts the line breaks before increasing offsets, each only once.
pub(super) struct LineCounter<'t> {
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

/// Consecutive JSON values, as written by `kubectl get -o json` and `jq`; `None` if the text contains anything else.
fn split_json(text: &str) -> Option<Vec<(usize, &str)>> {
    let body = without_byte_order_mark(text);
    if !begins_json(body) {
        return None;
    }
    let mut stream = serde_json::Deserializer::from_str(body).into_iter::<Json>();
    let mut documents = Vec::new();
    let mark = text.len() - body.len();
    let mut start = mark;
    while let Some(value) = stream.next() {
        let end = mark + stream.byte_offset();
        value.ok()?;
        documents.push((start, end));
        start = end;
    }
    // Trailing blanks belong to the last document.
    if let Some((_, end)) = documents.last_mut() {
        *end = text.len();
    }
    documents.into_iter().map(|(start, end)| Some((start, text.get(start..end)?))).collect()
}

pub(super) fn without_byte_order_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// A JSON value that is read and dropped: with everything that a [`Value`] is checked for, and without its memory.
struct Json;

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(Json)
    }
}

impl<'de> Visitor<'de> for Json {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
        Ok(Json)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json)
    }

    fn visit_str<E>(self, _: &str) -> Result<Json, E> {
        Ok(Json)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        while items.next_element::<Json>()?.is_some() {}
        Ok(Json)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        while entries.next_entry::<Json, Json>()?.is_some() {}
        Ok(Json)
    }
}

fn is_json(text: &str) -> bool {
    begins_json(text) && serde_json::from_str::<Json>(text).is_ok()
}

fn begins_json(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

fn duplicates(source: &Source<'_>, root: &str, node: &yaml::Node) -> Vec<DuplicateKey> {
    let mut found = Vec::new();
    let mut known = HashSet::new();
    find_duplicates(node, root, &mut |mark, path| {
        // The target of an alias exists once.
        if known.insert(mark.offset) {
            let column = column(source.manifest, source.start, mark);
            found.push(DuplicateKey { line: source.lines_before + mark.line as usize, column, path });
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
pub(super) fn line_break(text: &str) -> &'static str {
    let first = text.find('\n').and_then(|end| text.get(..end));
    if first.is_some_and(|line| line.ends_with('\r')) { "\r\n" } else { "\n" }
}

/// The `...` line of a document and the comments after it: the rest may be a document without its own separator, or a
/// directive.
pub(super) fn end_of_document(text: &str) -> &str {
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
