//! Documents of a manifest with the results for their objects: the text, and what changes in it.

use std::{fmt, ops::Range};

use serde_json::Value;

use super::{
    Row,
    lines::{Lines, Text},
    source::{DuplicateKey, Format, Rewritten, Source, end_of_document, line_break, without_byte_order_mark},
    written,
};
use kubernetes_yaml::Edit;

/// A document of a manifest. Its values are not kept, only their text: see [`Manifest`](super::Manifest).
#[derive(Debug)]
pub struct Document<'t> {
    pub(super) source: Source<'t>,
    /// Where the items are in the text, if it is a List whose items were processed one after the other.
    pub(super) items: Vec<Range<usize>>,
    pub(super) change: Change,
    /// Parts whose comments and layout are lost.
    pub(super) rewrites: Vec<Rewritten>,
    /// The results for its objects.
    pub(super) rows: Vec<Row>,
    /// Duplicate keys in it.
    pub(super) duplicates: Vec<DuplicateKey>,
}

/// What changes in a document.
#[derive(Debug)]
pub(super) enum Change {
    Unchanged,
    /// Edits of its text, in order.
    Edits(Vec<Replacement>),
    /// It is written anew as a whole.
    Written(Text),
}

/// An edit of the text of a document.
#[derive(Debug)]
pub(super) struct Replacement {
    start: u32,
    end: u32,
    text: Text,
}

impl Replacement {
    /// An edit of a part of the document that starts at an offset. Only texts below 4 GiB are edited
    /// ([`kubernetes_yaml::edits`]).
    pub(super) fn of(edit: &Edit, offset: usize, lines: &mut Lines) -> Replacement {
        let place = |at: usize| u32::try_from(offset + at).unwrap_or(u32::MAX);
        Replacement { start: place(edit.start), end: place(edit.end), text: lines.add(&edit.text) }
    }

    fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl Document<'_> {
    /// Writes the text of the document to the end of another one.
    pub(super) fn write(&self, lines: &Lines, out: &mut impl fmt::Write) -> fmt::Result {
        let Source { separator, text, .. } = self.source;
        match &self.change {
            Change::Unchanged => {
                out.write_str(separator)?;
                out.write_str(text)
            }
            Change::Edits(edits) => {
                out.write_str(separator)?;
                write_edited(text, 0..text.len(), edits, lines, out)
            }
            Change::Written(value) => {
                let line_break = line_break(text);
                let separator = without_byte_order_mark(separator);
                if separator.is_empty() || separator.ends_with('\n') {
                    out.write_str(separator)?;
                } else {
                    // The content started on the separator's line, where a block mapping is not allowed.
                    out.write_str(separator.trim_end())?;
                    out.write_str(line_break)?;
                }
                for line in lines.of(value) {
                    out.write_str(line.trim_end_matches('\n'))?;
                    if line.ends_with('\n') {
                        out.write_str(line_break)?;
                    }
                }
                out.write_str(end_of_document(text))
            }
        }
    }

    /// Writes the document as istioctl does: always YAML, followed by `---`; nothing for an empty one.
    pub(super) fn write_terminated(&self, lines: &Lines, out: &mut impl fmt::Write) -> fmt::Result {
        let Source { separator, text, .. } = self.source;
        let is_changed = self.is_changed();
        if !is_changed && text.is_empty() {
            return Ok(());
        }
        if separator.starts_with('%') {
            out.write_str(separator)?;
        }
        match &self.change {
            Change::Written(value) => lines.of(value).try_for_each(|line| out.write_str(line))?,
            Change::Edits(edits) => write_edited(text, 0..text.len(), edits, lines, out)?,
            Change::Unchanged => out.write_str(text)?,
        }
        if !is_changed && !text.ends_with('\n') {
            out.write_char('\n')?;
        }
        out.write_str("---\n")
    }

    /// The changes of the document as edits of the manifest.
    pub(super) fn changes(&self, lines: &Lines) -> Vec<Edit> {
        let Source { start, separator, text, .. } = self.source;
        match &self.change {
            Change::Unchanged => Vec::new(),
            Change::Written(_) => {
                let mut written = String::new();
                // Writing to a String does not fail.
                let _ = self.write(lines, &mut written);
                vec![Edit { start: start - separator.len(), end: start + text.len(), text: written }]
            }
            Change::Edits(edits) => edits
                .iter()
                .map(|edit| Edit {
                    start: start + edit.start as usize,
                    end: start + edit.end as usize,
                    text: lines.of(&edit.text).collect(),
                })
                .collect(),
        }
    }

    pub(super) fn is_changed(&self) -> bool {
        !matches!(self.change, Change::Unchanged)
    }

    /// The value of its text; null if the text is empty.
    pub(super) fn original(&self) -> Value {
        self.source.value(self.source.text)
    }

    /// The value after the change.
    pub(super) fn value(&self, lines: &Lines) -> Value {
        let text = self.source.text;
        match &self.change {
            Change::Unchanged => self.original(),
            Change::Edits(edits) => self.source.value(&edited(text, 0..text.len(), edits, lines)),
            Change::Written(value) => self.source.value(&lines.of(value).collect::<String>()),
        }
    }

    /// Calls the function with the values before and after the change: of the document, or of every item that changes if
    /// it is a List whose items were processed one after the other.
    pub(super) fn each_change(&self, lines: &Lines, visit: &mut impl FnMut(&Value, &Value)) {
        let Change::Edits(edits) = &self.change else {
            if self.is_changed() {
                visit(&self.original(), &self.value(lines));
            }
            return;
        };
        if self.items.is_empty() {
            return visit(&self.original(), &self.value(lines));
        }
        let mut rest = edits.as_slice();
        for item in &self.items {
            let inside = rest.iter().take_while(|edit| (edit.end as usize) <= item.end).count();
            let (own, others) = rest.split_at(inside);
            rest = others;
            if !own.is_empty() {
                let text = self.source.text.get(item.clone()).unwrap_or_default();
                let new = edited(self.source.text, item.clone(), own, lines);
                visit(&self.source.item_value(text), &self.source.item_value(&new));
            }
        }
    }
}

/// A part of a text with the edits inside of it.
fn edited(text: &str, part: Range<usize>, edits: &[Replacement], lines: &Lines) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = write_edited(text, part, edits, lines, &mut out);
    out
}

fn write_edited(
    text: &str,
    part: Range<usize>,
    edits: &[Replacement],
    lines: &Lines,
    out: &mut impl fmt::Write,
) -> fmt::Result {
    let mut position = part.start;
    for edit in edits {
        let range = edit.range();
        out.write_str(text.get(position..range.start).unwrap_or_default())?;
        lines.of(&edit.text).try_for_each(|line| out.write_str(line))?;
        position = range.end;
    }
    out.write_str(text.get(position..part.end).unwrap_or_default())
}

/// The text of a value that is written anew.
pub(super) fn anew(value: &Value, format: Format, lines: &mut Lines) -> Change {
    Change::Written(lines.add(&written(value, format)))
}
