//! Edits of collections in brackets: JSON, and YAML's flow style.

use std::ops::Range;

use serde_json::Value;

use super::super::outline::Span;
use super::{Change, Editor, Fate, Items, Parent, UNFAMILIAR, Unfit};

/// A part between the brackets: an item, or an entry.
struct Part {
    text: Range<usize>,
    is_kept: bool,
    /// New parts before it.
    before: Vec<String>,
}

/// The text between two parts after their comma.
struct Separator {
    text: String,
    /// The indentation of the parts, if each is on its own line.
    indent: Option<String>,
}

impl<'a> Editor<'a> {
    pub(super) fn flow_mapping(&mut self, span: Span, change: &Change<'a, '_>) -> Result<(), Unfit> {
        let ranges: Vec<Range<usize>> =
            change.entries.iter().map(|entry| entry.key.start as usize..entry.end).collect();
        let separator = self.separator(span, &ranges)?;
        let indent = separator.indent.as_deref();
        let value = |key: &&'a String| change.new.get(*key).unwrap_or(&Value::Null);
        let added: Vec<String> =
            change.rest.iter().map(|key| self.layout.flow_entry(key, value(key), indent)).collect();
        let parts: Vec<Part> = change
            .entries
            .iter()
            .zip(ranges)
            .map(|(entry, text)| Part { text, is_kept: entry.fate != Fate::Goes, before: Vec::new() })
            .collect();
        self.parts(&parts, &added, &separator, &mut |editor, index| {
            let Some(entry) = change.entries.get(index) else { return Ok(()) };
            let Some((key, old, new)) = change.values(entry) else { return Ok(()) };
            if let Some(key) = key {
                // Without a blank after the colon, only a quoted key is read as a key.
                let is_tight = matches!(editor.byte(entry.key.end as usize + 1), Some(byte) if !byte.is_ascii_whitespace());
                let text =
                    if is_tight { Value::from(key.as_str()).to_string() } else { editor.layout.flow_key(key) };
                editor.replace(entry.key.start as usize, entry.key.end as usize, &text);
            }
            editor.below(key.unwrap_or(&entry.text).clone(), entry.value, Parent::Flow, old, new)
        })
    }

    pub(super) fn flow_sequence(&mut self, span: Span, items: &Items<'a, '_>) -> Result<(), Unfit> {
        let range = |at: &usize| self.span(*at).map(|span| span.start as usize..span.end as usize);
        let ranges: Vec<Range<usize>> = items.items.iter().map(range).collect::<Result<_, Unfit>>()?;
        let separator = self.separator(span, &ranges)?;
        let write = |value: &Value| self.layout.flow(value, separator.indent.as_deref());
        let mut next = 0;
        let mut parts = Vec::new();
        for (text, kept) in ranges.into_iter().zip(items.kept) {
            let mut before = Vec::new();
            if let Some(kept) = *kept {
                before = items.new.get(next..kept).unwrap_or_default().iter().map(write).collect();
                next = kept + 1;
            }
            parts.push(Part { text, is_kept: kept.is_some(), before });
        }
        let added: Vec<String> = items.new.get(next..).unwrap_or_default().iter().map(write).collect();
        self.parts(&parts, &added, &separator, &mut |editor, index| {
            let at = items.items.get(index).copied().ok_or(UNFAMILIAR)?;
            let new = items.kept.get(index).copied().flatten().and_then(|kept| items.new.get(kept));
            match (items.old.get(index), new) {
                (Some(old), Some(new)) => editor.below(index.to_string(), at, Parent::Flow, old, new),
                _ => Ok(()),
            }
        })
    }

    /// Edits the parts in the order of the text; removed parts take a comma with them.
    fn parts(
        &mut self,
        parts: &[Part],
        added: &[String],
        separator: &Separator,
        edit: &mut dyn FnMut(&mut Self, usize) -> Result<(), Unfit>,
    ) -> Result<(), Unfit> {
        let mut last_kept: Option<usize> = None;
        for (index, part) in parts.iter().enumerate().filter(|(_, part)| part.is_kept) {
            let start = part.text.start;
            let is_gap = last_kept.map_or(index > 0, |last| index > last + 1);
            match last_kept.and_then(|last| parts.get(last)) {
                Some(last) => {
                    for text in &part.before {
                        self.replace(last.text.end, last.text.end, &format!(",{}{text}", separator.text));
                    }
                    let next = last_kept.and_then(|last| parts.get(last + 1)).filter(|_| is_gap);
                    if let Some(next) = next {
                        self.replace(next.text.start, start, "");
                    }
                }
                None => {
                    if let Some(first) = parts.first().filter(|_| is_gap) {
                        self.replace(first.text.start, start, "");
                    }
                    for text in &part.before {
                        self.replace(start, start, &format!("{text},{}", separator.text));
                    }
                }
            }
            edit(self, index)?;
            last_kept = Some(index);
        }
        let (Some(kept), Some(last)) = (last_kept.and_then(|kept| parts.get(kept)), parts.last()) else {
            return Err(None);
        };
        for text in added {
            self.replace(kept.text.end, kept.text.end, &format!(",{}{text}", separator.text));
        }
        if kept.text.end < last.text.end {
            self.replace(kept.text.end, last.text.end, "");
        }
        Ok(())
    }

    /// How the parts of a collection are separated.
    fn separator(&self, span: Span, parts: &[Range<usize>]) -> Result<Separator, Unfit> {
        let open = span.content as usize;
        if !matches!(self.byte(open), Some(b'{' | b'[')) {
            // A single entry in a list, without braces.
            return Err(UNFAMILIAR);
        }
        let first = parts.first().ok_or(None)?;
        // Between the first two parts if there are two, otherwise before the first one.
        let (gap, is_before_first) = match parts.get(1) {
            Some(second) => (self.slice(first.end, second.start), false),
            None => (self.slice(open + 1, first.start), true),
        };
        Ok(match gap.rsplit_once('\n') {
            Some((_, indent)) if indent.trim().is_empty() => {
                Separator { text: format!("\n{indent}"), indent: Some(indent.to_owned()) }
            }
            Some(_) => return Err(UNFAMILIAR),
            None if is_before_first => {
                let blank = if self.layout.compact { "" } else { " " };
                Separator { text: blank.to_owned(), indent: None }
            }
            None => {
                let is_close = !gap.contains([' ', '\t']);
                Separator { text: if is_close { "" } else { " " }.to_owned(), indent: None }
            }
        })
    }
}
