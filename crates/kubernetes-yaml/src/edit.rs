//! Changes the value of a document by edits of its text: everything that does not change keeps its bytes.
//!
//! The text's outline and the two values are walked together. Values that the document already has get the smallest
//! edit; new ones are written in the document's own layout. A place whose text cannot be edited (an alias whose value
//! changes, a merged key that disappears) is written anew, as the smallest node that contains it, and reported. Nothing
//! here proves that the result has the new value: callers parse it again.

mod align;
mod block;
mod flow;
mod layout;

use std::collections::HashMap;

use serde_json::{Map, Value};

use self::{align::align, layout::Layout};
use super::outline::{Outline, Span, SpanKind};
use super::{Kind, Limits, Mark, Node, Style, write};

/// A replacement of a part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The offset of the replaced text, in bytes.
    pub start: usize,
    /// The offset after the replaced text.
    pub end: usize,
    /// The text in its place.
    pub text: String,
}

/// A part of a document that had to be written anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// The offset of the part in the text.
    pub offset: usize,
    /// JSON pointer to it.
    pub pointer: String,
    /// The reason.
    pub reason: &'static str,
}

/// The edits that change a text, in the order of the text; they do not overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// The edits.
    pub list: Vec<Edit>,
    /// The parts that were written anew, with their comments and layout lost.
    pub rewrites: Vec<Rewrite>,
}

/// The edits of a document from its value to another one; `None` if its text cannot be edited. With `json`, the text is
/// JSON and stays so.
pub fn edits(text: &str, outline: &Outline, old: &Value, new: &Value, json: bool) -> Option<Edits> {
    // Lone carriage returns are line breaks, too; nobody writes them on purpose.
    let lone = text.matches('\r').count() > text.matches("\r\n").count();
    if lone || u32::try_from(text.len()).is_err() {
        return None;
    }
    let mut editor = Editor {
        text,
        outline,
        layout: Layout::of(text, outline, json),
        edits: Vec::new(),
        rewrites: Vec::new(),
        changed: HashMap::new(),
        path: Vec::new(),
    };
    editor.node(0, Parent::Root, old, new).ok()?;
    let Editor { edits, rewrites, .. } = editor;
    let is_ordered = edits.is_sorted_by(|a, b| a.start <= a.end && a.end <= b.start);
    is_ordered.then_some(Edits { list: edits, rewrites })
}

/// The text with the edits applied.
pub fn apply(text: &str, edits: &[Edit]) -> String {
    let added: usize = edits.iter().map(|edit| edit.text.len()).sum();
    let mut out = String::with_capacity(text.len() + added);
    let mut position = 0;
    for Edit { start, end, text: replacement } in edits {
        out.push_str(text.get(position..*start).unwrap_or_default());
        out.push_str(replacement);
        position = *end;
    }
    out.push_str(text.get(position..).unwrap_or_default());
    out
}

/// Why a node cannot be edited in place: a reason to report, or `None` if writing it anew loses nothing.
type Unfit = Option<&'static str>;

const UNFAMILIAR: Unfit = Some("its layout cannot be edited");

/// The context of a node.
#[derive(Clone, Copy)]
enum Parent {
    /// It is the document.
    Root,
    /// It is a value in a block mapping with keys in this column; the offset after the colon.
    Value { column: usize, colon: usize },
    /// It is an item of a block sequence; the offset of its dash, and its column.
    Item { dash: usize, column: usize },
    /// It is in brackets.
    Flow,
}

struct Editor<'a> {
    text: &'a str,
    outline: &'a Outline,
    layout: Layout,
    edits: Vec<Edit>,
    rewrites: Vec<Rewrite>,
    /// The new values of anchored nodes that change: an alias must not change with them.
    changed: HashMap<u32, &'a Value>,
    path: Vec<String>,
}

/// An entry of a mapping in the text.
struct Entry {
    key: Span,
    value: usize,
    text: String,
    /// The offset after the colon, if it follows the key.
    colon: Option<usize>,
    /// The offset after its value.
    end: usize,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Its key stays.
    Stays,
    /// It is not a key of the value: a merge, or a duplicate that a later key replaces.
    Untouched,
    Goes,
    /// Its key is replaced by an added one.
    Becomes(usize),
}

impl<'a> Editor<'a> {
    fn node(&mut self, at: usize, parent: Parent, old: &'a Value, new: &'a Value) -> Result<(), Unfit> {
        let span = self.span(at)?;
        let is_same = old == new;
        if is_same && !span.has_alias {
            return Ok(());
        }
        if span.anchored && !is_same {
            self.changed.insert(u32::try_from(at).map_err(|_| UNFAMILIAR)?, new);
        }
        let (edits, rewrites) = (self.edits.len(), self.rewrites.len());
        self.in_place(at, span, parent, old, new).or_else(|reason| {
            self.edits.truncate(edits);
            self.rewrites.truncate(rewrites);
            self.rewrite(span, parent, new, reason)
        })
    }

    fn in_place(
        &mut self,
        at: usize,
        span: Span,
        parent: Parent,
        old: &'a Value,
        new: &'a Value,
    ) -> Result<(), Unfit> {
        match (span.kind, old, new) {
            (SpanKind::Alias(target), ..) => {
                let start = self.span(target as usize)?.start as usize;
                let is_kept = match self.changed.get(&target) {
                    Some(value) => *value == new,
                    None => old == new && !self.is_replaced(start),
                };
                if is_kept { Ok(()) } else { Err(Some("an alias whose value changes")) }
            }
            (SpanKind::Mapping { flow }, Value::Object(old), Value::Object(new)) => {
                self.mapping(at, span, flow, parent, old, new)
            }
            (SpanKind::Sequence { flow }, Value::Array(old), Value::Array(new)) => {
                self.sequence(at, span, flow, parent, old, new)
            }
            (SpanKind::Scalar(style), ..) => self.scalar(span, style, parent, new),
            _ => Err(None),
        }
    }

    fn scalar(&mut self, span: Span, style: Style, parent: Parent, new: &Value) -> Result<(), Unfit> {
        let is_block = matches!(style, Style::Literal | Style::Folded);
        if is_block || layout::is_filled(new) {
            return Err(None);
        }
        let is_empty = span.content == span.end;
        let (start, end) = (if span.tagged { span.start } else { span.content } as usize, span.end as usize);
        let in_flow = matches!(parent, Parent::Flow);
        let text = self.layout.scalar(new, Some(style), in_flow);
        if is_empty {
            let is_after_indicator = start
                .checked_sub(1)
                .and_then(|at| self.byte(at))
                .is_some_and(|byte| !matches!(byte, b' ' | b'\n'));
            if in_flow || !is_after_indicator {
                return Err(UNFAMILIAR);
            }
            self.replace(start, end, &format!(" {text}"));
        } else {
            self.replace(start, end, &text);
        }
        Ok(())
    }

    // ---- mappings ----

    fn mapping(
        &mut self,
        at: usize,
        span: Span,
        flow: bool,
        parent: Parent,
        old: &'a Map<String, Value>,
        new: &'a Map<String, Value>,
    ) -> Result<(), Unfit> {
        let mut entries = self.entries(at)?;
        let merges = self.merges(&mut entries)?;
        let mut last: HashMap<&str, usize> = HashMap::new();
        for (index, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.fate != Fate::Untouched) {
            last.insert(&entry.text, index);
        }
        let is_own = |key: &String| last.contains_key(key.as_str());
        if old.keys().any(|key| !is_own(key) && !new.contains_key(key)) {
            return Err(Some("a key of a merged mapping disappears"));
        }
        let mut added: Vec<&'a String> =
            new.keys().filter(|key| !is_own(key) && old.get(*key) != new.get(*key)).collect();
        // As people write it.
        added.sort_by_key(|key| *key != "name");
        let fates: Vec<Fate> = entries
            .iter()
            .enumerate()
            .map(|(index, entry)| match last.get(entry.text.as_str()) {
                _ if entry.fate == Fate::Untouched => Fate::Untouched,
                _ if !new.contains_key(&entry.text) => Fate::Goes,
                Some(last) if *last != index => Fate::Untouched,
                _ => Fate::Stays,
            })
            .collect();
        for (entry, fate) in entries.iter_mut().zip(fates) {
            entry.fate = fate;
        }
        pair(&mut entries, &added, old, new);
        let renamed: Vec<usize> = entries
            .iter()
            .filter_map(|entry| match entry.fate {
                Fate::Becomes(index) => Some(index),
                _ => None,
            })
            .collect();
        let rest: Vec<&'a String> = added
            .iter()
            .enumerate()
            .filter(|(index, _)| !renamed.contains(index))
            .map(|(_, key)| *key)
            .collect();
        if !merges && entries.iter().all(|entry| entry.fate == Fate::Goes) {
            return Err(None);
        }
        let change = Change { entries: &entries, added: &added, rest: &rest, old, new };
        if flow { self.flow_mapping(span, &change) } else { self.block_mapping(parent, &change) }
    }

    /// The entries of a mapping as written.
    fn entries(&self, at: usize) -> Result<Vec<Entry>, Unfit> {
        let mut children = self.outline.children(at);
        let mut entries = Vec::new();
        while let (Some(key), Some(value)) = (children.next(), children.next()) {
            let (key, value_span) = (self.span(key)?, self.span(value)?);
            let text = self.key_text(key).ok_or(UNFAMILIAR)?;
            let mut colon = key.end as usize;
            while matches!(self.byte(colon), Some(b' ' | b'\t')) {
                colon += 1;
            }
            let colon = (self.byte(colon) == Some(b':')).then_some(colon + 1);
            let is_empty = value_span.start == value_span.end;
            let end = match colon {
                Some(colon) => colon.max(value_span.end as usize),
                None if is_empty => key.end as usize,
                None => value_span.end as usize,
            };
            entries.push(Entry { key, value, text, colon, end, fate: Fate::Stays });
        }
        Ok(entries)
    }

    /// Marks the entries with merge keys; returns whether there are any.
    fn merges(&self, entries: &mut [Entry]) -> Result<bool, Unfit> {
        let mut found = false;
        for entry in entries {
            let is_plain = entry.key.kind == SpanKind::Scalar(Style::Plain);
            if entry.text != "<<" || !is_plain || entry.key.tagged {
                continue;
            }
            found = true;
            entry.fate = Fate::Untouched;
            let end = self.span(entry.value)?.next as usize;
            for span in self.outline.spans.get(entry.value..end).unwrap_or_default() {
                let SpanKind::Alias(target) = span.kind else { continue };
                let start = self.span(target as usize)?.start as usize;
                if self.changed.contains_key(&target) || self.is_replaced(start) {
                    return Err(Some("it merges a mapping that changes"));
                }
            }
        }
        Ok(found)
    }

    /// The text of a key in the value.
    fn key_text(&self, key: Span) -> Option<String> {
        let SpanKind::Scalar(style) = key.kind else { return None };
        let written = self.slice(if key.tagged { key.start } else { key.content } as usize, key.end as usize);
        let inner = written.get(1..written.len().saturating_sub(1)).unwrap_or_default();
        match style {
            _ if key.tagged || written.contains('\n') => {}
            Style::Plain => {
                let kind = Kind::Scalar { text: written.to_owned(), style, tag: None };
                return Node { mark: Mark::START, kind }.into_key_text().ok();
            }
            Style::DoubleQuoted if !inner.contains('\\') => return Some(inner.to_owned()),
            Style::SingleQuoted if !inner.contains('\'') => return Some(inner.to_owned()),
            _ => {}
        }
        super::parse(written, &Limits::default()).ok()?.into_key_text().ok()
    }

    fn sequence(
        &mut self,
        at: usize,
        span: Span,
        flow: bool,
        parent: Parent,
        old: &'a [Value],
        new: &'a [Value],
    ) -> Result<(), Unfit> {
        let items: Vec<usize> = self.outline.children(at).collect();
        if items.len() != old.len() {
            return Err(UNFAMILIAR);
        }
        let kept = align(old, new);
        if kept.iter().all(Option::is_none) {
            return Err(None);
        }
        let items = Items { items: &items, kept: &kept, old, new };
        if flow { self.flow_sequence(span, &items) } else { self.block_sequence(parent, &items) }
    }

    // ---- writing anew ----

    /// Writes a node anew. The document itself is left to the caller.
    fn rewrite(&mut self, span: Span, parent: Parent, new: &Value, reason: Unfit) -> Result<(), Unfit> {
        let start = span.start as usize;
        let mut end = (span.end as usize).min(self.text.len());
        if matches!(span.kind, SpanKind::Scalar(Style::Literal | Style::Folded)) {
            end = start + self.slice(start, end).trim_end().len();
        }
        match parent {
            Parent::Root => return Err(reason),
            Parent::Flow => {
                let text = self.layout.flow(new, None);
                self.replace(start, end, &text);
            }
            Parent::Value { column, colon } => {
                let is_alone = self.slice(end, self.line_end(end)).trim().is_empty();
                let is_on_one_line = !self.slice(colon, end).contains('\n');
                let lines = self.layout.after_colon(new, column, is_alone);
                if layout::is_filled(new) && is_on_one_line && !is_alone {
                    // A comment stays on the key's line.
                    self.replace(colon, end, "");
                    self.insert_lines(self.line_end(end), lines.trim_start_matches('\n'));
                } else {
                    self.replace(colon, end, lines.trim_end_matches('\n'));
                }
            }
            Parent::Item { dash, column } => {
                let is_alone = self.slice(end, self.line_end(end)).trim().is_empty();
                if !is_alone && layout::is_filled(new) {
                    return Err(reason.or(UNFAMILIAR));
                }
                let lines = self.layout.after_dash(new, column, 2);
                self.replace(dash + 1, end, lines.trim_end_matches('\n'));
            }
        }
        if let Some(reason) = reason {
            self.rewrites.push(Rewrite { offset: start, pointer: self.pointer(), reason });
        }
        Ok(())
    }

    fn pointer(&self) -> String {
        self.path.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect()
    }

    /// Edits a part below a key or an index.
    fn below(
        &mut self,
        step: String,
        at: usize,
        parent: Parent,
        old: &'a Value,
        new: &'a Value,
    ) -> Result<(), Unfit> {
        self.path.push(step);
        let result = self.node(at, parent, old, new);
        self.path.pop();
        result
    }

    // ---- the text ----

    fn span(&self, at: usize) -> Result<Span, Unfit> {
        self.outline.span(at).copied().ok_or(UNFAMILIAR)
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    fn slice(&self, start: usize, end: usize) -> &'a str {
        self.text.get(start..end.min(self.text.len())).unwrap_or_default()
    }

    fn replace(&mut self, start: usize, end: usize, text: &str) {
        let text = if self.layout.crlf { text.replace('\n', "\r\n") } else { text.to_owned() };
        self.edits.push(Edit { start, end: end.min(self.text.len()), text });
    }

    /// Whether an edit so far replaces the text at an offset.
    fn is_replaced(&self, at: usize) -> bool {
        let before = self.edits.partition_point(|edit| edit.start <= at);
        let mut edits = self.edits.iter().take(before).rev();
        edits.find(|edit| edit.start < edit.end).is_some_and(|edit| at < edit.end)
    }
}

/// The changes in a mapping.
struct Change<'a, 'c> {
    entries: &'c [Entry],
    /// The new keys.
    added: &'c [&'a String],
    /// Those of the new keys that replace no other.
    rest: &'c [&'a String],
    old: &'a Map<String, Value>,
    new: &'a Map<String, Value>,
}

impl<'a> Change<'a, '_> {
    /// The values before and after of an entry that stays under this or another key, and the other key.
    fn values(&self, entry: &Entry) -> Option<(Option<&'a String>, &'a Value, &'a Value)> {
        let key = match entry.fate {
            Fate::Stays => None,
            Fate::Becomes(index) => Some(*self.added.get(index)?),
            Fate::Goes | Fate::Untouched => return None,
        };
        Some((key, self.old.get(&entry.text)?, self.new.get(key.unwrap_or(&entry.text))?))
    }
}

/// The changes in a sequence.
struct Items<'a, 'c> {
    items: &'c [usize],
    /// The new index of every item that stays.
    kept: &'c [Option<usize>],
    old: &'a [Value],
    new: &'a [Value],
}

/// Turns a removed key into an added one, so that its place and its comments stay: the same key in a different case, or
/// another kind of the same thing, such as a probe's handler.
fn pair(entries: &mut [Entry], added: &[&String], old: &Map<String, Value>, new: &Map<String, Value>) {
    let mut taken: Vec<bool> = vec![false; added.len()];
    let goes: Vec<usize> =
        entries.iter().enumerate().filter(|(_, e)| e.fate == Fate::Goes).map(|(index, _)| index).collect();
    // Many keys that are removed and added at once are different things.
    if goes.len() > 16 || added.len() > 16 {
        return;
    }
    let is_one = goes.len() == 1;
    for index in goes {
        let Some(entry) = entries.get_mut(index) else { continue };
        let is_mapping = |value: Option<&Value>| value.is_some_and(Value::is_object);
        let fits = |key: &String| {
            key.eq_ignore_ascii_case(&entry.text)
                || is_one && is_mapping(old.get(&entry.text)) && is_mapping(new.get(key))
        };
        let mut free =
            added.iter().enumerate().filter(|(at, key)| taken.get(*at) == Some(&false) && fits(key));
        if let (Some((at, _)), None) = (free.next(), free.next()) {
            drop(free);
            entry.fate = Fate::Becomes(at);
            taken.iter_mut().skip(at).take(1).for_each(|taken| *taken = true);
        }
    }
}

/// A key as it is written in a block or in brackets.
fn key_to_string(key: &str) -> String {
    write::scalar_to_string(&Value::String(key.to_owned()))
}

#[cfg(test)]
mod tests;
