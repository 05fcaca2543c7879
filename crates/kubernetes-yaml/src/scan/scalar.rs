//! Scalars: plain, quoted and block.

use super::{Kind, Scanner, Token};
use crate::{Error, Style};

impl Scanner<'_> {
    /// An unquoted scalar, which may span several lines.
    pub(super) fn plain(&mut self) -> Result<(), Error> {
        let (start, least) = (self.at.mark(), self.indent + 1);
        let mut text = String::new();
        let mut between = Between::default();
        let mut end = start;
        loop {
            if self.at.is_document_indicator() || self.at.byte(0) == b'#' {
                break;
            }
            while !self.at.is_blank_or_end(0) {
                let byte = self.at.byte(0);
                // go-yaml also ends a scalar in brackets at a question mark, which breaks URLs.
                if byte == b':' && self.at.is_blank_or_end(1)
                    || self.level > 0 && matches!(byte, b',' | b'[' | b']' | b'{' | b'}')
                {
                    break;
                }
                between.fold_into(&mut text);
                text.extend(self.at.take());
                end = self.at.mark();
            }
            if !(self.at.is_blank(0) || self.at.is_break()) {
                break;
            }
            while self.at.is_blank(0) || self.at.is_break() {
                if self.at.byte(0) == b'\t'
                    && between.breaks
                    && self.at.column() < least
                    && !self.at.rest_is_blank()
                {
                    return Err(self.at.error("spaces as indentation"));
                }
                self.between(&mut between);
            }
            if self.level == 0 && self.at.column() < least {
                break;
            }
        }
        let kind = Kind::Scalar(text, Style::Plain);
        self.tokens.push_back(Token { mark: start, end, begin: start.offset, kind });
        if between.breaks {
            self.key_allowed = true;
        }
        Ok(())
    }

    /// A quoted scalar; its continuation lines may have any indentation.
    pub(super) fn quoted(&mut self) -> Result<(), Error> {
        let start = self.at.mark();
        let single = self.at.byte(0) == b'\'';
        let quote = if single { b'\'' } else { b'"' };
        self.at.skip(1);
        let mut text = String::new();
        loop {
            if self.at.is_document_indicator() {
                return Err(self.at.error("the end of the quoted text before the document's"));
            }
            if self.at.is_end() {
                return Err(self.at.error("the end of the quoted text"));
            }
            let mut between = Between::default();
            while !self.at.is_blank_or_end(0) {
                match (self.at.byte(0), self.at.byte(1)) {
                    (b'\'', b'\'') if single => {
                        text.push('\'');
                        self.at.skip(2);
                    }
                    (byte, _) if byte == quote => break,
                    (b'\\', _) if !single => {
                        if self.at.is_break_or_end(1) {
                            self.at.skip(1);
                            self.at.skip_break();
                            between.breaks = true;
                            break;
                        }
                        text.push(self.escape()?);
                    }
                    _ => text.extend(self.at.take()),
                }
            }
            if self.at.byte(0) == quote && !self.at.is_end() {
                break;
            }
            while self.at.is_blank(0) || self.at.is_break() {
                self.between(&mut between);
            }
            between.fold_into(&mut text);
        }
        self.at.skip(1);
        self.put(Kind::Scalar(text, if single { Style::SingleQuoted } else { Style::DoubleQuoted }), start);
        Ok(())
    }

    fn between(&mut self, between: &mut Between) {
        if self.at.is_blank(0) {
            let blank = self.at.take();
            if !between.breaks {
                between.blanks.extend(blank);
            }
        } else if between.breaks {
            self.at.take_break(&mut between.more);
        } else {
            between.blanks.clear();
            between.breaks = true;
            self.at.take_break(&mut between.first);
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        let character = match self.at.byte(1) {
            b'0' => '\0',
            b'a' => '\u{7}',
            b'b' => '\u{8}',
            b't' | b'\t' => '\t',
            b'n' => '\n',
            b'v' => '\u{b}',
            b'f' => '\u{c}',
            b'r' => '\r',
            b'e' => '\u{1b}',
            b' ' => ' ',
            // JSON has an escaped slash, go-yaml does not.
            byte @ (b'"' | b'\'' | b'\\' | b'/') => char::from(byte),
            b'N' => '\u{85}',
            b'_' => '\u{a0}',
            b'L' => '\u{2028}',
            b'P' => '\u{2029}',
            b'x' => return self.code(2),
            b'u' => return self.code(4),
            b'U' => return self.code(8),
            _ => return Err(self.at.error("an escape such as \\n; a backslash is \\\\")),
        };
        self.at.skip(2);
        Ok(character)
    }

    /// The character with the given number of hexadecimal digits.
    fn code(&mut self, digits: usize) -> Result<char, Error> {
        let code = self.at.rest().get(2..2 + digits);
        let code = code.filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let character = code.and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32);
        let Some(character) = character else {
            return Err(self.at.error("the hexadecimal number of a Unicode character"));
        };
        self.at.skip(2 + digits);
        Ok(character)
    }

    /// A block after `|` or `>`. Its position is that of its text.
    pub(super) fn block_scalar(&mut self) -> Result<(), Error> {
        let mut start = self.at.mark();
        let begin = start.offset;
        let literal = self.at.byte(0) == b'|';
        self.at.skip(1);
        let (mut chomping, mut increment) = (None, 0);
        for _ in 0..2 {
            match self.at.byte(0) {
                byte @ (b'+' | b'-') if chomping.is_none() => chomping = Some(byte),
                b'0' if increment == 0 => return Err(self.at.error("an indentation from 1 to 9")),
                byte @ b'1'..=b'9' if increment == 0 => increment = i64::from(byte - b'0'),
                _ => break,
            }
            self.at.skip(1);
        }
        while self.at.is_blank(0) {
            self.at.skip(1);
        }
        if self.at.byte(0) == b'#' {
            self.at.skip_line();
        }
        if !self.at.is_break_or_end(0) {
            return Err(self.at.error("a comment or the end of the line after | or >"));
        }
        self.at.skip_break();
        let mut end = self.at.mark();

        let mut indent = if increment > 0 { self.indent.max(0) + increment } else { 0 };
        let (mut text, mut first, mut more) = (String::new(), String::new(), String::new());
        self.block_breaks(&mut indent, &mut more)?;
        if self.at.column() == indent && !self.at.is_end() {
            start = self.at.mark();
        }
        let mut leading_blank = false;
        while self.at.column() == indent && !self.at.is_end() {
            let blank = self.at.is_blank(0);
            // Two lines of text are joined; lines that start with blanks stay separate.
            if !literal && !leading_blank && !blank && first == "\n" {
                if more.is_empty() {
                    text.push(' ');
                }
            } else {
                text.push_str(&first);
            }
            first.clear();
            text.push_str(&more);
            more.clear();
            leading_blank = blank;
            while !self.at.is_break_or_end(0) {
                text.extend(self.at.take());
            }
            self.at.take_break(&mut first);
            end = self.at.mark();
            self.block_breaks(&mut indent, &mut more)?;
        }
        if chomping != Some(b'-') {
            text.push_str(&first);
        }
        if chomping == Some(b'+') {
            text.push_str(&more);
            // Blank lines are part of the text, the indentation of the next line is not.
            end = self.at.mark();
            end.offset = end.offset.saturating_sub(usize::try_from(self.at.column()).unwrap_or(0));
        }
        let kind = Kind::Scalar(text, if literal { Style::Literal } else { Style::Folded });
        self.tokens.push_back(Token { mark: start, end, begin, kind });
        Ok(())
    }

    /// Skips blank lines and the indentation of the next line; determines the indentation if it is not known.
    fn block_breaks(&mut self, indent: &mut i64, breaks: &mut String) -> Result<(), Error> {
        let mut deepest = 0;
        loop {
            while (*indent == 0 || self.at.column() < *indent) && self.at.byte(0) == b' ' {
                self.at.skip(1);
            }
            deepest = deepest.max(self.at.column());
            let is_short = if *indent == 0 {
                self.at.column() <= self.indent.max(0)
            } else {
                self.at.column() < *indent
            };
            if self.at.byte(0) == b'\t' && is_short {
                return Err(self.at.error("spaces as indentation"));
            }
            if !self.at.is_break() {
                break;
            }
            self.at.take_break(breaks);
        }
        if *indent == 0 {
            *indent = deepest.max(self.indent + 1).max(1);
        }
        Ok(())
    }
}

/// The separator between two words of a scalar.
#[derive(Default)]
struct Between {
    /// Blanks, if there is no line break.
    blanks: String,
    /// Whether there is a line break.
    breaks: bool,
    /// The first line break, unless it was escaped.
    first: String,
    /// The other line breaks.
    more: String,
}

impl Between {
    /// Writes the folded separator: one line break becomes a space; if there are several, the first one is dropped.
    fn fold_into(&mut self, text: &mut String) {
        if !self.breaks {
            text.push_str(&self.blanks);
        } else if self.first != "\n" {
            text.push_str(&self.first);
            text.push_str(&self.more);
        } else if self.more.is_empty() {
            text.push(' ');
        } else {
            text.push_str(&self.more);
        }
        self.blanks.clear();
        self.first.clear();
        self.more.clear();
        self.breaks = false;
    }
}
