//! Edits of block collections: whole lines are added and removed.

use serde_json::Value;

use super::super::outline::SpanKind;
use super::{Change, Editor, Entry, Fate, Items, Parent, UNFAMILIAR, Unfit, key_to_string};

/// Where a key or a dash is on its line.
struct Line {
    /// The offset of the line.
    start: usize,
    /// The column of the key or dash, from 0.
    column: usize,
    /// Whether only blanks precede it.
    is_first: bool,
}

impl<'a> Editor<'a> {
    pub(super) fn block_mapping(&mut self, parent: Parent, change: &Change<'a, '_>) -> Result<(), Unfit> {
        let entries = change.entries;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Err(None) };
        let Line { column, .. } = self.line(first.key.start as usize)?;
        let mut removed_up_to = 0;
        for (index, entry) in entries.iter().enumerate() {
            let start = entry.key.start as usize;
            if let Some((key, old, new)) = change.values(entry) {
                if let Some(key) = key {
                    self.replace(start, entry.key.end as usize, &key_to_string(key));
                }
                let colon = entry.colon;
                // If the colon is not found, only edits that do not need it are possible.
                if colon.is_none() && old != new {
                    return Err(UNFAMILIAR);
                }
                let parent = Parent::Value { column, colon: colon.unwrap_or(entry.end) };
                self.below(key.unwrap_or(&entry.text).clone(), entry.value, parent, old, new)?;
            } else if entry.fate == Fate::Goes && index >= removed_up_to {
                let line = self.line(start)?;
                if line.is_first {
                    self.remove_lines(line.start, entry.end);
                } else {
                    // The first key after a dash: the next one takes its place.
                    let next = |entry: &&Entry| entry.fate != Fate::Goes;
                    let Some(next) = entries.iter().skip(index).find(next) else { return Err(UNFAMILIAR) };
                    self.replace(start, next.key.start as usize, "");
                    removed_up_to = entries.iter().take_while(|entry| !std::ptr::eq(*entry, next)).count();
                }
            }
        }
        if !change.rest.is_empty() {
            let value = |key: &&'a String| change.new.get(*key).unwrap_or(&Value::Null);
            let lines: String =
                change.rest.iter().map(|key| self.layout.entry(key, value(key), column)).collect();
            if matches!(parent, Parent::Root) && self.has_text_after(last.end) {
                return Err(UNFAMILIAR);
            }
            self.insert_lines(self.line_end(last.end), &lines);
        }
        Ok(())
    }

    pub(super) fn block_sequence(&mut self, parent: Parent, items: &Items<'a, '_>) -> Result<(), Unfit> {
        let dash = |at: usize| self.span(at)?.dash.map(|dash| dash as usize).ok_or(UNFAMILIAR);
        let dashes: Vec<usize> = items.items.iter().map(|item| dash(*item)).collect::<Result<_, Unfit>>()?;
        let first = dashes.first().copied().ok_or(UNFAMILIAR)?;
        let Line { column, .. } = self.line(first)?;
        let width = self.item_width(items);
        let mut next = 0;
        // Where to insert items before the next one.
        let mut place = match parent {
            Parent::Value { colon, .. } => Some(self.line_end(colon)),
            Parent::Root => Some(self.line(first)?.start),
            Parent::Item { .. } | Parent::Flow => None,
        };
        let is_first_alone = self.line(first)?.is_first;
        for (index, (at, dash)) in items.items.iter().zip(&dashes).enumerate() {
            let kept = items.kept.get(index).copied().flatten();
            if let Some(kept) = kept {
                self.insert_items(items, next..kept, place.filter(|_| is_first_alone), column, width)?;
                next = kept + 1;
            }
            let end = (self.span(*at)?.end as usize).max(dash + 1);
            let old = items.old.get(index).ok_or(UNFAMILIAR)?;
            match kept.and_then(|kept| items.new.get(kept)) {
                Some(new) => {
                    let parent = Parent::Item { dash: *dash, column };
                    self.below(index.to_string(), *at, parent, old, new)?;
                }
                None => {
                    let line = self.line(*dash)?;
                    if !line.is_first {
                        return Err(UNFAMILIAR);
                    }
                    self.remove_lines(line.start, end);
                }
            }
            place = Some(self.line_end(end));
        }
        self.insert_items(items, next..items.new.len(), place, column, width)
    }

    fn insert_items(
        &mut self,
        items: &Items<'a, '_>,
        range: std::ops::Range<usize>,
        place: Option<usize>,
        column: usize,
        width: usize,
    ) -> Result<(), Unfit> {
        if range.is_empty() {
            return Ok(());
        }
        let place = place.ok_or(UNFAMILIAR)?;
        let mut lines = String::new();
        for new in items.new.get(range).unwrap_or_default() {
            match self.moved(items, new) {
                Some(written) => lines.push_str(&written),
                None => lines.push_str(&self.layout.item(new, column, width)),
            }
        }
        self.insert_lines(place, &lines);
        Ok(())
    }

    /// The text of an item that is only moved.
    fn moved(&self, items: &Items<'a, '_>, new: &Value) -> Option<String> {
        let goes = items.old.iter().zip(items.kept).zip(items.items);
        let (_, at) = goes.filter(|((_, kept), _)| kept.is_none()).find(|((old, _), _)| *old == new)?;
        let span = self.span(*at).ok()?;
        let line = self.line(span.dash? as usize).ok().filter(|line| line.is_first && !span.has_alias)?;
        let written = self.slice(line.start, self.line_end(span.end as usize));
        let mut written = written.replace("\r\n", "\n");
        if !written.ends_with('\n') {
            written.push('\n');
        }
        Some(written)
    }

    /// The distance from the dash of the first mapping to its keys.
    fn item_width(&self, items: &Items<'a, '_>) -> usize {
        let width = items.items.iter().find_map(|at| {
            let span = self.span(*at).ok()?;
            let dash = span.dash? as usize;
            let between = self.slice(dash + 1, span.content as usize);
            let is_on_line =
                span.kind == SpanKind::Mapping { flow: false } && between.trim_matches(' ').is_empty();
            is_on_line.then(|| between.len() + 1)
        });
        width.filter(|width| (2..=9).contains(width)).unwrap_or(2)
    }

    // ---- lines ----

    /// Where a key or a dash is; only indentation and dashes may precede it.
    fn line(&self, offset: usize) -> Result<Line, Unfit> {
        let (mut start, mut is_first) = (offset, true);
        while let Some(before) = start.checked_sub(1) {
            match self.byte(before) {
                Some(b'\n') => break,
                Some(b' ') => {}
                Some(b'-') => is_first = false,
                // A byte order mark.
                Some(0xbf) if before == 2 && self.text.starts_with('\u{feff}') => break,
                _ => return Err(UNFAMILIAR),
            }
            start = before;
        }
        Ok(Line { start, column: offset - start, is_first })
    }

    /// The offset of the line after an offset; at the start of a line, that line.
    pub(super) fn line_end(&self, offset: usize) -> usize {
        let offset = offset.min(self.text.len());
        if offset.checked_sub(1).and_then(|before| self.byte(before)) == Some(b'\n') {
            return offset;
        }
        let rest = self.text.get(offset..).unwrap_or_default();
        rest.find('\n').map_or(self.text.len(), |end| offset + end + 1)
    }

    /// Whether something other than a comment follows on the line, so that lines cannot be inserted after it. (`...`
    /// cannot follow there, but a separator's line may be shared.)
    fn has_text_after(&self, offset: usize) -> bool {
        let rest = self.slice(offset, self.line_end(offset)).trim();
        !rest.is_empty() && !rest.starts_with('#')
    }

    /// Inserts lines at the start of a line, or after a last line without a line break.
    pub(super) fn insert_lines(&mut self, at: usize, lines: &str) {
        if at == self.text.len() && !self.text.is_empty() && !self.text.ends_with('\n') {
            self.replace(at, at, &format!("\n{}", lines.trim_end_matches('\n')));
        } else {
            self.replace(at, at, lines);
        }
    }

    /// Removes the lines from the start of a line to the one that contains an offset.
    fn remove_lines(&mut self, start: usize, end: usize) {
        let end = self.line_end(end);
        if end < self.text.len() || self.text.ends_with('\n') {
            self.replace(start, end, "");
            return;
        }
        // The last line has no line break, so the line that becomes the last must not have one, either.
        let mut start = start;
        while let Some(last) = self.edits.last()
            && last.end == start
            && last.start < start
            && last.text.is_empty()
        {
            start = last.start;
            self.edits.pop();
        }
        let before = self.slice(0, start);
        let bare = before.strip_suffix('\n').map_or(before, |line| line.strip_suffix('\r').unwrap_or(line));
        let is_free = self.edits.last().is_none_or(|last| last.end <= bare.len());
        self.replace(if is_free { bare.len() } else { start }, end, "");
    }
}
