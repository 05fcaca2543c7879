//! Texts kept by their lines, each different line once.
//!
//! Injection adds nearly the same lines to every pod template, many times the size of a small manifest. Keeping them
//! once makes the memory for a long manifest a small multiple of its own size.

use std::{collections::HashMap, ops::Range, sync::Arc};

/// A set of lines, and texts as sequences of them.
#[derive(Debug, Default)]
pub(super) struct Lines {
    known: HashMap<Arc<str>, u32>,
    lines: Vec<Arc<str>>,
    /// The lines of all texts, one text after the other.
    sequence: Vec<u32>,
}

/// A text: a part of the sequence.
pub(super) type Text = Range<u32>;

impl Lines {
    /// Keeps a text.
    pub(super) fn add(&mut self, text: &str) -> Text {
        let start = number(self.sequence.len());
        for line in text.split_inclusive('\n') {
            let index = match self.known.get(line) {
                Some(index) => *index,
                None => {
                    let (index, line) = (number(self.lines.len()), Arc::<str>::from(line));
                    self.lines.push(Arc::clone(&line));
                    self.known.insert(line, index);
                    index
                }
            };
            self.sequence.push(index);
        }
        start..number(self.sequence.len())
    }

    /// The lines of a text.
    pub(super) fn of(&self, text: &Text) -> impl Iterator<Item = &str> {
        let indices = self.sequence.get(text.start as usize..text.end as usize).unwrap_or_default();
        indices.iter().filter_map(|index| self.lines.get(*index as usize)).map(AsRef::as_ref)
    }
}

/// A line takes more than a byte of memory, and the text of a manifest is smaller than 4 GiB.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_kept_as_they_are_and_lines_once() {
        let mut lines = Lines::default();
        let texts = ["", "a\nb\n", "\n", "b\na", "a\r\nb\n"];
        let kept: Vec<Text> = texts.iter().map(|text| lines.add(text)).collect();
        for (text, kept) in texts.iter().zip(&kept) {
            assert_eq!(lines.of(kept).collect::<String>(), *text);
        }
        assert_eq!(lines.lines.len(), 5, "{:?}", lines.lines);
    }
}
