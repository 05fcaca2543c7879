//! Scalars: plain and quoted ones on one line, and `|` blocks.

use std::borrow::Cow;

use super::{Reader, Scalar, Style};

impl<'t> Reader<'t> {
    /// A plain scalar in block context. If it continues on the next line, this is detected there: the line is indented
    /// more than any content that may follow.
    pub(super) fn plain(&mut self) -> Option<Scalar<'t>> {
        if !starts_plain(self.peek()) || self.is_entry() {
            return None;
        }
        let (mut at, mut end) = (self.at, self.at);
        loop {
            match self.byte(at) {
                b'\n' | 0 => break,
                b' ' => at += 1,
                b'\t' => return None,
                b'#' if at > end => break,
                b':' if matches!(self.byte(at + 1), b' ' | b'\n' | b'\t' | 0) => break,
                _ => {
                    at += 1;
                    end = at;
                }
            }
        }
        self.plain_to(end)
    }

    pub(super) fn plain_to(&mut self, end: usize) -> Option<Scalar<'t>> {
        let mark = self.mark();
        let text = self.text.get(self.at..end).filter(|text| !text.is_empty())?;
        self.to(end);
        self.scalar(mark, text, Style::Plain)
    }

    /// A quoted scalar on one line.
    pub(super) fn quoted(&mut self) -> Option<Scalar<'t>> {
        let mark = self.mark();
        let single = self.peek() == b'\'';
        // Copied only if there is an escape to resolve.
        let mut text = String::new();
        let mut copied = self.at + 1;
        let start = copied;
        let mut at = copied;
        loop {
            match self.byte(at) {
                b'\n' | b'\t' | 0 => return None,
                b'\'' if single && self.byte(at + 1) == b'\'' => {
                    text.push_str(self.text.get(copied..=at)?);
                    at += 2;
                    copied = at;
                }
                b'\'' if single => break,
                b'"' if !single => break,
                b'\\' if !single => {
                    text.push_str(self.text.get(copied..at)?);
                    let (character, length) = self.escape(at + 1)?;
                    text.push(character);
                    at += 1 + length;
                    copied = at;
                }
                _ => at += 1,
            }
        }
        let last = self.text.get(copied..at)?;
        let text = if copied == start {
            Cow::Borrowed(last)
        } else {
            text.push_str(last);
            Cow::Owned(text)
        };
        self.to(at + 1);
        self.scalar(mark, text, if single { Style::SingleQuoted } else { Style::DoubleQuoted })
    }

    /// The character of an escape, and its length.
    fn escape(&self, at: usize) -> Option<(char, usize)> {
        let digits = match self.byte(at) {
            b'n' => return Some(('\n', 1)),
            b't' => return Some(('\t', 1)),
            b'r' => return Some(('\r', 1)),
            b'b' => return Some(('\u{8}', 1)),
            b'f' => return Some(('\u{c}', 1)),
            b'0' => return Some(('\0', 1)),
            same @ (b'"' | b'\\' | b'/') => return Some((char::from(same), 1)),
            b'x' => 2,
            b'u' => 4,
            b'U' => 8,
            _ => return None,
        };
        let text = self.text.get(at + 1..at + 1 + digits)?;
        let code =
            text.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(text, 16).ok());
        Some((char::from_u32(code??)?, 1 + digits))
    }

    /// A `|` block. In the event parser, it starts where its text does.
    pub(super) fn literal(&mut self, parent: usize) -> Option<Scalar<'t>> {
        self.at += 1;
        let chomping = self.peek();
        if matches!(chomping, b'-' | b'+') {
            self.at += 1;
        }
        if self.peek() != b'\n' {
            return None;
        }
        self.line_break();
        let mut text = String::new();
        let mut blank = 0;
        let indent = loop {
            let spaces = self.spaces();
            match self.peek() {
                b'\n' => {
                    blank = blank.max(spaces);
                    text.push('\n');
                    self.line_break();
                }
                b'\t' | 0 => return None,
                _ => break spaces,
            }
        };
        // Without text, or with a blank line that is indented more, the indentation is determined differently.
        if indent <= parent || blank > indent {
            return None;
        }
        let mark = self.mark();
        loop {
            let end = self.line_end();
            text.push_str(self.text.get(self.at..end)?);
            // A last line without a line break has special rules.
            if end == self.bytes.len() {
                return None;
            }
            self.at = end;
            self.line_break();
            let (breaks, goes_on) = self.literal_indent(indent)?;
            if goes_on || chomping == b'+' {
                text.extend(std::iter::repeat_n('\n', breaks));
            } else if chomping != b'-' {
                text.push('\n');
            }
            if !goes_on {
                break;
            }
        }
        self.find_content()?;
        self.scalar(mark, text, Style::Literal)
    }

    /// Advances past the indentation of the next line of a literal: returns the number of line breaks, including the
    /// one before it, and whether there is such a line.
    fn literal_indent(&mut self, indent: usize) -> Option<(usize, bool)> {
        let mut breaks = 1;
        loop {
            let start = self.at;
            while self.at - start < indent && self.peek() == b' ' {
                self.at += 1;
            }
            match self.peek() {
                b'\n' => {
                    breaks += 1;
                    self.line_break();
                }
                0 if self.at > start => return None,
                0 => return Some((breaks, false)),
                _ => return Some((breaks, self.at - start == indent)),
            }
        }
    }
}

/// Whether a byte, unless it is a `-` before a space, certainly starts a plain scalar.
pub(super) fn starts_plain(byte: u8) -> bool {
    !matches!(
        byte,
        b'?' | b':'
            | b','
            | b'['
            | b']'
            | b'{'
            | b'}'
            | b'#'
            | b'&'
            | b'*'
            | b'!'
            | b'|'
            | b'>'
            | b'\''
            | b'"'
            | b'%'
            | b'@'
            | b'`'
            | b' '
            | b'\t'
            | b'\n'
            | 0
    )
}
