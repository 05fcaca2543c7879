//! The reading position in a text.

use super::super::{Error, Mark};

/// The bytes of U+FEFF.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

pub(in super::super) struct Cursor<'a> {
    text: &'a str,
    offset: usize,
    line: u32,
    /// From 0, in characters.
    column: u32,
    /// The number of characters consumed.
    index: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Cursor { text, offset: 0, line: 1, column: 0, index: 0 }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { line: self.line, column: self.column.saturating_add(1), offset: self.offset }
    }

    pub(super) fn column(&self) -> i64 {
        i64::from(self.column)
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    /// The byte at an offset; after the end it is 0, which no text contains here.
    pub(super) fn byte(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.offset + ahead).copied().unwrap_or(0)
    }

    pub(super) fn is_end(&self) -> bool {
        self.offset >= self.text.len()
    }

    /// The length in bytes of the line break at an offset; 0 if there is none.
    pub(super) fn break_at(&self, ahead: usize) -> usize {
        match (self.byte(ahead), self.byte(ahead + 1), self.byte(ahead + 2)) {
            (b'\r', b'\n', _) => 2,
            (b'\r' | b'\n', ..) => 1,
            // The line breaks of YAML 1.1: next line, line separator, paragraph separator.
            (0xc2, 0x85, _) => 2,
            (0xe2, 0x80, 0xa8 | 0xa9) => 3,
            _ => 0,
        }
    }

    pub(super) fn is_blank(&self, ahead: usize) -> bool {
        matches!(self.byte(ahead), b' ' | b'\t')
    }

    pub(super) fn is_break(&self) -> bool {
        self.break_at(0) > 0
    }

    pub(super) fn is_break_or_end(&self, ahead: usize) -> bool {
        self.offset + ahead >= self.text.len() || self.break_at(ahead) > 0
    }

    pub(super) fn is_blank_or_end(&self, ahead: usize) -> bool {
        self.is_blank(ahead) || self.is_break_or_end(ahead)
    }

    /// Whether `---` or `...` stands alone at the start of the line.
    pub(super) fn is_document_indicator(&self) -> bool {
        self.column == 0
            && matches!([self.byte(0), self.byte(1), self.byte(2)], [b'-', b'-', b'-'] | [b'.', b'.', b'.'])
            && self.is_blank_or_end(3)
    }

    /// Whether only blanks and a comment follow on the line.
    pub(super) fn rest_is_blank(&self) -> bool {
        let mut ahead = 0;
        while self.is_blank(ahead) {
            ahead += 1;
        }
        self.byte(ahead) == b'#' || self.is_break_or_end(ahead)
    }

    /// Skips the given number of characters, none of which is a line break.
    pub(super) fn skip(&mut self, characters: usize) {
        for character in self.rest().chars().take(characters) {
            self.offset += character.len_utf8();
            self.column = self.column.saturating_add(1);
            self.index += 1;
        }
    }

    /// Consumes a character other than a line break, and returns it.
    pub(super) fn take(&mut self) -> Option<char> {
        let character = self.rest().chars().next()?;
        self.skip(1);
        Some(character)
    }

    /// Skips the rest of the line.
    pub(super) fn skip_line(&mut self) {
        while !self.is_break_or_end(0) {
            self.skip(1);
        }
    }

    /// Skips a line break, if any.
    pub(super) fn skip_break(&mut self) -> bool {
        let length = self.break_at(0);
        if length == 0 {
            return false;
        }
        self.offset += length;
        self.index += if self.text.as_bytes().get(self.offset - length) == Some(&b'\r') { length } else { 1 };
        self.line = self.line.saturating_add(1);
        self.column = 0;
        true
    }

    /// Consumes a line break and writes it: as `\n`, except for line and paragraph separators.
    pub(super) fn take_break(&mut self, into: &mut String) {
        let length = self.break_at(0);
        match (length, self.rest().get(..length)) {
            (3, Some(separator)) => into.push_str(separator),
            (1 | 2, _) => into.push('\n'),
            _ => {}
        }
        self.skip_break();
    }

    /// A byte order mark may start any line, because files are sometimes concatenated.
    pub(super) fn skip_byte_order_mark(&mut self) {
        if self.column == 0 && self.rest().as_bytes().starts_with(BYTE_ORDER_MARK) {
            self.offset += BYTE_ORDER_MARK.len();
        }
    }

    /// Rejects the text at the current position.
    pub(super) fn error(&self, accepted: &str) -> Error {
        self.error_at(self.mark(), accepted)
    }

    /// Rejects the text at a position.
    pub(super) fn error_at(&self, mark: Mark, accepted: &str) -> Error {
        let found = match self.text.get(mark.offset..).and_then(|rest| rest.chars().next()) {
            None => "found the end of the text".to_owned(),
            Some('\n' | '\r') => "found the end of the line".to_owned(),
            Some('\t') => "found a tab".to_owned(),
            Some(other) => format!("found {other:?}"),
        };
        Error::at(mark, found, format!("YAML ({accepted})"))
    }
}
