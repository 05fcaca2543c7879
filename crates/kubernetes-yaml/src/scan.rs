//! Converts characters to tokens, by the rules of YAML 1.1 and go-yaml v2 (`scannerc.go`).
//!
//! The difficulty is that a key is recognized only by the colon after it: the position of a scalar that may be a key is
//! remembered, and when the colon comes, a token is inserted before it. Such a key is on one line and has at most 1024
//! characters before its colon, so little is buffered and the time is linear in the text.

mod cursor;
mod property;
mod scalar;

use std::collections::VecDeque;

use self::cursor::Cursor;
use super::{Error, Mark, Style};

/// A token and where it starts.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) mark: Mark,
    /// The position after the token; undefined for tokens without a text.
    pub(super) end: Mark,
    /// The offset of its first character; of a block scalar that is its `|`, not its text.
    pub(super) begin: usize,
    pub(super) kind: Kind,
}

/// The kind of a token.
#[derive(Debug, PartialEq)]
pub(super) enum Kind {
    StreamEnd,
    /// `%YAML`, or `%TAG` with the handle and its prefix.
    Directive(Option<(String, String)>),
    /// `---`
    DocumentStart,
    /// `...`
    DocumentEnd,
    BlockSequenceStart,
    BlockMappingStart,
    BlockEnd,
    FlowSequenceStart,
    FlowSequenceEnd,
    FlowMappingStart,
    FlowMappingEnd,
    /// `-`
    BlockEntry,
    /// `,`
    FlowEntry,
    Key,
    Value,
    Alias(String),
    Anchor(String),
    /// The handle (`!`, `!!`, `!x!`; empty for a complete tag) and the suffix.
    Tag(String, String),
    Scalar(String, Style),
}

/// The maximum number of characters in a key.
const KEY_CHARACTERS: usize = 1024;

/// A position where a key may have started.
struct SimpleKey {
    /// The number of its token.
    token: usize,
    /// The number of enclosing brackets.
    level: usize,
    /// Whether only a key is possible there.
    required: bool,
    /// Its place.
    mark: Mark,
    /// The number of characters before it.
    index: usize,
}

pub(super) struct Scanner<'a> {
    at: Cursor<'a>,
    tokens: VecDeque<Token>,
    /// The number of tokens consumed.
    taken: usize,
    /// The number of open brackets.
    level: usize,
    /// The column of the innermost block, from 0; -1 outside of all blocks.
    indent: i64,
    /// The columns of the enclosing blocks.
    indents: Vec<i64>,
    /// Whether a key may start here.
    key_allowed: bool,
    /// The possible keys, outermost first, at most one on each level.
    keys: VecDeque<SimpleKey>,
    done: bool,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Scanner {
            at: Cursor::new(text),
            tokens: VecDeque::new(),
            taken: 0,
            level: 0,
            indent: -1,
            indents: Vec::new(),
            key_allowed: true,
            keys: VecDeque::new(),
            done: false,
        }
    }

    /// The next token, without consuming it.
    pub(super) fn peek(&mut self) -> Result<&Token, Error> {
        self.fill()?;
        // `fill` leaves at least one token, at the end of the text the final one.
        self.tokens.front().ok_or_else(|| self.at.error("a value"))
    }

    /// Consumes the next token.
    pub(super) fn next(&mut self) -> Result<Token, Error> {
        self.fill()?;
        self.taken += 1;
        self.tokens.pop_front().ok_or_else(|| self.at.error("a value"))
    }

    /// Rejects the text at a position.
    pub(super) fn error_at(&self, mark: Mark, accepted: &str) -> Error {
        self.at.error_at(mark, accepted)
    }

    /// Scans until no token can be inserted before the first one.
    fn fill(&mut self) -> Result<(), Error> {
        while !self.done {
            if !self.tokens.is_empty() {
                let Some(key) = self.keys.front().filter(|key| key.token == self.taken) else { break };
                if !self.is_stale(key) {
                    // The colon may still come.
                } else if key.required {
                    return Err(self.no_colon(key.mark));
                } else {
                    self.keys.pop_front();
                    break;
                }
            }
            self.scan()?;
        }
        if self.tokens.is_empty() {
            self.put(Kind::StreamEnd, self.at.mark());
        }
        Ok(())
    }

    fn put(&mut self, kind: Kind, mark: Mark) {
        self.tokens.push_back(Token { mark, end: self.at.mark(), begin: mark.offset, kind });
    }

    // ---- keys ----

    fn is_stale(&self, key: &SimpleKey) -> bool {
        key.mark.line < self.at.mark().line || key.index + KEY_CHARACTERS < self.at.index()
    }

    fn no_colon(&self, mark: Mark) -> Error {
        self.at.error_at(mark, "a ':' after the key, before its line ends and at most 1024 characters on")
    }

    /// Remembers that the next token may be a key.
    fn save_key(&mut self) -> Result<(), Error> {
        if !self.key_allowed {
            return Ok(());
        }
        let required = self.level == 0 && self.indent == self.at.column();
        self.remove_key()?;
        self.keys.push_back(SimpleKey {
            token: self.taken + self.tokens.len(),
            level: self.level,
            required,
            mark: self.at.mark(),
            index: self.at.index(),
        });
        Ok(())
    }

    /// Discards the possible key of this level.
    fn remove_key(&mut self) -> Result<(), Error> {
        match self.keys.pop_back() {
            Some(key) if key.level == self.level && key.required => Err(self.no_colon(key.mark)),
            Some(key) if key.level < self.level => {
                self.keys.push_back(key);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    // ---- blocks ----

    /// Starts a block if the column is deeper than the innermost one. Its token is inserted before the token with this
    /// number, or after all others.
    fn roll(&mut self, column: i64, number: Option<usize>, kind: Kind, mark: Mark) {
        if self.level > 0 || self.indent >= column {
            return;
        }
        self.indents.push(self.indent);
        self.indent = column;
        let token = Token { mark, end: mark, begin: mark.offset, kind };
        match number {
            Some(number) => self.tokens.insert(number.saturating_sub(self.taken), token),
            None => self.tokens.push_back(token),
        }
    }

    /// Ends the blocks that are deeper than the column.
    fn unroll(&mut self, column: i64) {
        while self.level == 0 && self.indent > column {
            self.put(Kind::BlockEnd, self.at.mark());
            self.indent = self.indents.pop().unwrap_or(-1);
        }
    }

    // ---- tokens ----

    /// Scans the next token, or several.
    fn scan(&mut self) -> Result<(), Error> {
        self.blanks();
        self.unroll(self.at.column());
        let mark = self.at.mark();
        let blank_follows = self.at.is_blank_or_end(1);
        match self.at.byte(0) {
            0 => {
                self.unroll(-1);
                self.remove_key()?;
                self.key_allowed = false;
                self.done = true;
                self.put(Kind::StreamEnd, mark);
                Ok(())
            }
            b'%' if self.at.column() == 0 => {
                self.unroll(-1);
                self.remove_key()?;
                self.key_allowed = false;
                self.directive()
            }
            byte @ (b'-' | b'.') if self.at.is_document_indicator() => {
                self.unroll(-1);
                self.remove_key()?;
                self.key_allowed = false;
                self.at.skip(3);
                self.put(if byte == b'-' { Kind::DocumentStart } else { Kind::DocumentEnd }, mark);
                Ok(())
            }
            b'[' => self.flow_start(Kind::FlowSequenceStart),
            b'{' => self.flow_start(Kind::FlowMappingStart),
            b']' => self.flow_end(Kind::FlowSequenceEnd),
            b'}' => self.flow_end(Kind::FlowMappingEnd),
            b',' => {
                self.remove_key()?;
                self.key_allowed = true;
                self.indicator(Kind::FlowEntry)
            }
            b'-' if blank_follows => self.entry(),
            b'?' if self.level > 0 || blank_follows => self.key(),
            b':' if self.level > 0 || blank_follows => self.value(),
            b'*' | b'&' => {
                self.save_key()?;
                self.key_allowed = false;
                self.anchor()
            }
            b'!' => {
                self.save_key()?;
                self.key_allowed = false;
                self.tag()
            }
            b'|' | b'>' if self.level == 0 => {
                self.remove_key()?;
                self.key_allowed = true;
                self.block_scalar()
            }
            b'\'' | b'"' => {
                self.save_key()?;
                self.key_allowed = false;
                self.quoted()
            }
            // Unlike elsewhere, a dash before a line break counts as followed by something.
            b'-' if !matches!(self.at.byte(1), b' ' | b'\t') => self.plain_token(),
            b'?' | b':' if self.level == 0 && !blank_follows => self.plain_token(),
            b'-' | b'?' | b':' | b'#' | b'|' | b'>' | b'%' | b'@' | b'`' | b' ' | b'\t' => {
                Err(self.at.error("a character that a value can start with, or quotes"))
            }
            _ => self.plain_token(),
        }
    }

    fn plain_token(&mut self) -> Result<(), Error> {
        self.save_key()?;
        self.key_allowed = false;
        self.plain()
    }

    fn indicator(&mut self, kind: Kind) -> Result<(), Error> {
        let mark = self.at.mark();
        self.at.skip(1);
        self.put(kind, mark);
        Ok(())
    }

    fn flow_start(&mut self, kind: Kind) -> Result<(), Error> {
        self.save_key()?;
        self.level += 1;
        self.key_allowed = true;
        self.indicator(kind)
    }

    fn flow_end(&mut self, kind: Kind) -> Result<(), Error> {
        self.remove_key()?;
        self.level = self.level.saturating_sub(1);
        self.key_allowed = false;
        self.indicator(kind)
    }

    fn entry(&mut self) -> Result<(), Error> {
        if self.level == 0 {
            if !self.key_allowed {
                return Err(self.at.error("list items on lines of their own"));
            }
            self.roll(self.at.column(), None, Kind::BlockSequenceStart, self.at.mark());
        }
        self.remove_key()?;
        self.key_allowed = true;
        self.indicator(Kind::BlockEntry)
    }

    fn key(&mut self) -> Result<(), Error> {
        if self.level == 0 {
            if !self.key_allowed {
                return Err(self.at.error("keys on lines of their own"));
            }
            self.roll(self.at.column(), None, Kind::BlockMappingStart, self.at.mark());
        }
        self.remove_key()?;
        self.key_allowed = self.level == 0;
        self.indicator(Kind::Key)
    }

    /// A colon: the preceding scalar was a key.
    fn value(&mut self) -> Result<(), Error> {
        let key = match self.keys.pop_back() {
            Some(key) if key.level < self.level => {
                self.keys.push_back(key);
                None
            }
            Some(key) if self.is_stale(&key) => {
                if key.required {
                    return Err(self.no_colon(key.mark));
                }
                None
            }
            key => key,
        };
        if let Some(key) = key {
            let token = Token { mark: key.mark, end: key.mark, begin: key.mark.offset, kind: Kind::Key };
            self.tokens.insert(key.token.saturating_sub(self.taken), token);
            self.roll(i64::from(key.mark.column) - 1, Some(key.token), Kind::BlockMappingStart, key.mark);
            self.key_allowed = false;
        } else {
            if self.level == 0 {
                if !self.key_allowed {
                    return Err(self
                        .at
                        .error("no mapping here: quotes around it, or a mapping that is indented below"));
                }
                self.roll(self.at.column(), None, Kind::BlockMappingStart, self.at.mark());
            }
            self.key_allowed = self.level == 0;
        }
        self.indicator(Kind::Value)
    }

    /// Skips blanks, comments and line breaks.
    fn blanks(&mut self) {
        loop {
            self.at.skip_byte_order_mark();
            loop {
                match self.at.byte(0) {
                    b' ' => self.at.skip(1),
                    b'\t' if self.level > 0 || !self.key_allowed || self.at.rest_is_blank() => {
                        self.at.skip(1)
                    }
                    _ => break,
                }
            }
            // A comment needs no blank before it: it may directly follow quotes and brackets.
            if self.at.byte(0) == b'#' {
                self.at.skip_line();
            }
            if !self.at.skip_break() {
                return;
            }
            if self.level == 0 {
                self.key_allowed = true;
            }
        }
    }
}
