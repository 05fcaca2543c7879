//! Splits a template into tokens, like Go's `text/template/parse`: text, and actions between `{{` and `}}`.

/// The kind of a token. The order of Go's token types is irrelevant here, only whether a token is a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Tokenization failed; [`Lexed::problem`] has the reason.
    Error,
    Bool,
    /// A single character such as a comma.
    Char,
    CharConstant,
    /// A complex number, which is rejected.
    Complex,
    Assign,
    Declare,
    Eof,
    Field,
    Identifier,
    LeftDelim,
    LeftParen,
    Number,
    Pipe,
    RawString,
    RightDelim,
    RightParen,
    Space,
    String,
    Text,
    Variable,
    Dot,
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

impl Kind {
    fn of_word(word: &str) -> Option<Kind> {
        Some(match word {
            "block" => Kind::Block,
            "break" => Kind::Break,
            "continue" => Kind::Continue,
            "define" => Kind::Define,
            "else" => Kind::Else,
            "end" => Kind::End,
            "if" => Kind::If,
            "range" => Kind::Range,
            "nil" => Kind::Nil,
            "template" => Kind::Template,
            "with" => Kind::With,
            "true" | "false" => Kind::Bool,
            _ => return None,
        })
    }

    pub(super) fn is_keyword(self) -> bool {
        matches!(
            self,
            Kind::Dot
                | Kind::Block
                | Kind::Break
                | Kind::Continue
                | Kind::Define
                | Kind::Else
                | Kind::End
                | Kind::If
                | Kind::Nil
                | Kind::Range
                | Kind::Template
                | Kind::With
        )
    }
}

/// A piece of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
    /// 1-based.
    pub(super) line: u32,
}

/// All tokens of a source; the last one is [`Kind::Eof`] or [`Kind::Error`].
#[derive(Debug)]
pub(super) struct Lexed {
    pub(super) tokens: Vec<Token>,
    /// Why the last token is an error.
    pub(super) problem: String,
}

/// Tokenizes the whole source.
pub(super) fn lex(source: &str) -> Lexed {
    let mut lexer = Lexer {
        source,
        position: 0,
        start: 0,
        line: 1,
        start_line: 1,
        parentheses: 0,
        tokens: Vec::with_capacity(source.len() / 8),
    };
    let problem = lexer.text().err().unwrap_or_default();
    if !problem.is_empty() {
        lexer.emit(Kind::Error);
    }
    Lexed { tokens: lexer.tokens, problem }
}

/// A character as Go's `%#U` prints it.
pub(super) fn code_point(character: char) -> String {
    let code = u32::from(character);
    if super::format::is_printable(character) {
        format!("U+{code:04X} '{character}'")
    } else {
        format!("U+{code:04X}")
    }
}

const LEFT: &str = "{{";
const RIGHT: &str = "}}";
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];
/// A trim marker is a minus sign and a space.
const MARKER: usize = 2;

type Step = Result<(), String>;

struct Lexer<'s> {
    source: &'s str,
    position: usize,
    start: usize,
    line: u32,
    start_line: u32,
    parentheses: usize,
    tokens: Vec<Token>,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        self.source.get(self.position..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.position += character.len_utf8();
        if character == '\n' {
            self.line += 1;
        }
        Some(character)
    }

    /// Advances over bytes of the current token, counting lines.
    fn advance(&mut self, bytes: usize) {
        let skipped = self.rest().get(..bytes).unwrap_or_default();
        self.line += skipped.bytes().filter(|byte| *byte == b'\n').count() as u32;
        self.position += bytes;
    }

    fn emit(&mut self, kind: Kind) {
        self.tokens.push(Token { kind, start: self.start, end: self.position, line: self.start_line });
        self.ignore();
    }

    fn ignore(&mut self) {
        self.start = self.position;
        self.start_line = self.line;
    }

    fn accept(&mut self, valid: &str) -> bool {
        let found = self.peek().is_some_and(|character| valid.contains(character));
        if found {
            self.next();
        }
        found
    }

    fn accept_run(&mut self, valid: &str) {
        while self.accept(valid) {}
    }

    /// Whether a right delimiter comes next, and whether it trims the text after it.
    fn right_delim(&self) -> Option<bool> {
        let rest = self.rest();
        if trims_after(rest) && rest.get(MARKER..).is_some_and(|rest| rest.starts_with(RIGHT)) {
            Some(true)
        } else if rest.starts_with(RIGHT) {
            Some(false)
        } else {
            None
        }
    }

    fn text(&mut self) -> Step {
        loop {
            let Some(length) = self.rest().find(LEFT) else {
                let length = self.rest().len();
                self.advance(length);
                if length > 0 {
                    self.emit(Kind::Text);
                }
                self.emit(Kind::Eof);
                return Ok(());
            };
            let (text, action) = self.rest().split_at(length);
            let trims = action.get(LEFT.len()..).is_some_and(trims_before);
            let kept = if trims { text.trim_end_matches(SPACES).len() } else { length };
            self.advance(kept);
            if kept > 0 {
                self.emit(Kind::Text);
            }
            self.advance(length - kept);
            self.ignore();
            self.left_delim(trims)?;
        }
    }

    fn left_delim(&mut self, trims: bool) -> Step {
        let marker = if trims { MARKER } else { 0 };
        let after = self.rest().get(LEFT.len() + marker..).unwrap_or_default();
        if after.starts_with("/*") {
            self.advance(LEFT.len() + marker);
            self.ignore();
            return self.comment();
        }
        self.advance(LEFT.len());
        self.emit(Kind::LeftDelim);
        self.advance(marker);
        self.ignore();
        self.parentheses = 0;
        self.action()
    }

    fn comment(&mut self) -> Step {
        let close = self.rest().get(2..).and_then(|rest| rest.find("*/")).ok_or("unclosed comment")?;
        self.advance(2 + close + 2);
        let trims = self.right_delim().ok_or("comment ends before closing delimiter")?;
        self.close(trims);
        Ok(())
    }

    /// Advances past a right delimiter without emitting a token.
    fn close(&mut self, trims: bool) {
        self.advance(RIGHT.len() + if trims { MARKER } else { 0 });
        if trims {
            let rest = self.rest();
            self.advance(rest.len() - rest.trim_start_matches(SPACES).len());
        }
        self.ignore();
    }

    fn end_action(&mut self, trims: bool) {
        if trims {
            self.advance(MARKER);
            self.ignore();
        }
        self.advance(RIGHT.len());
        self.emit(Kind::RightDelim);
        if trims {
            let rest = self.rest();
            self.advance(rest.len() - rest.trim_start_matches(SPACES).len());
            self.ignore();
        }
    }

    fn action(&mut self) -> Step {
        loop {
            if let Some(trims) = self.right_delim() {
                if self.parentheses > 0 {
                    return Err("unclosed left paren".to_owned());
                }
                self.end_action(trims);
                return Ok(());
            }
            let Some(character) = self.next() else { return Err("unclosed action".to_owned()) };
            match character {
                ' ' | '\t' | '\r' | '\n' => {
                    if self.space() {
                        return Ok(());
                    }
                }
                '=' => self.emit(Kind::Assign),
                ':' => {
                    if self.next() != Some('=') {
                        return Err("expected :=".to_owned());
                    }
                    self.emit(Kind::Declare);
                }
                '|' => self.emit(Kind::Pipe),
                '"' => self.quoted('"', "unterminated quoted string", Kind::String)?,
                '\'' => self.quoted('\'', "unterminated character constant", Kind::CharConstant)?,
                '`' => {
                    let length = self.rest().find('`').ok_or("unterminated raw quoted string")?;
                    self.advance(length + 1);
                    self.emit(Kind::RawString);
                }
                '$' => self.field_or_variable(Kind::Variable)?,
                '.' if !self.peek().is_some_and(|next| next.is_ascii_digit()) => {
                    self.field_or_variable(Kind::Field)?;
                }
                '.' | '+' | '-' | '0'..='9' => {
                    self.position = self.start;
                    self.number()?;
                }
                '(' => {
                    self.parentheses += 1;
                    self.emit(Kind::LeftParen);
                }
                ')' => {
                    self.parentheses = self.parentheses.checked_sub(1).ok_or("unexpected right paren")?;
                    self.emit(Kind::RightParen);
                }
                _ if is_alphanumeric(character) => self.identifier()?,
                _ if character.is_ascii_graphic() => self.emit(Kind::Char),
                _ => return Err(format!("unrecognized character in action: {}", code_point(character))),
            }
        }
    }

    /// A run of spaces, the first of which was consumed. The last one may belong to a right delimiter; if it is the
    /// only one, that delimiter is consumed too and the action ends.
    fn space(&mut self) -> bool {
        let mut spaces = 1;
        while self.peek().is_some_and(is_space) {
            self.next();
            spaces += 1;
        }
        let last = self.source.get(self.position - 1..).unwrap_or_default();
        if trims_after(last) && last.get(MARKER..).is_some_and(|rest| rest.starts_with(RIGHT)) {
            self.position -= 1;
            if last.starts_with('\n') {
                self.line -= 1;
            }
            if spaces == 1 {
                self.end_action(true);
                return true;
            }
        }
        self.emit(Kind::Space);
        false
    }

    fn quoted(&mut self, quote: char, unterminated: &str, kind: Kind) -> Step {
        loop {
            match self.next() {
                Some('\\') => {
                    if matches!(self.next(), None | Some('\n')) {
                        return Err(unterminated.to_owned());
                    }
                }
                None | Some('\n') => return Err(unterminated.to_owned()),
                Some(character) if character == quote => break,
                Some(_) => {}
            }
        }
        self.emit(kind);
        Ok(())
    }

    fn identifier(&mut self) -> Step {
        while self.peek().is_some_and(is_alphanumeric) {
            self.next();
        }
        self.check_terminator()?;
        let word = self.source.get(self.start..self.position).unwrap_or_default();
        self.emit(Kind::of_word(word).unwrap_or(Kind::Identifier));
        Ok(())
    }

    fn field_or_variable(&mut self, kind: Kind) -> Step {
        if self.is_at_terminator() {
            self.emit(if kind == Kind::Field { Kind::Dot } else { kind });
            return Ok(());
        }
        while self.peek().is_some_and(is_alphanumeric) {
            self.next();
        }
        self.check_terminator()?;
        self.emit(kind);
        Ok(())
    }

    fn is_at_terminator(&self) -> bool {
        match self.peek() {
            None | Some(' ' | '\t' | '\r' | '\n' | '.' | ',' | '|' | ':' | ')' | '(') => true,
            Some(_) => self.rest().starts_with(RIGHT),
        }
    }

    fn check_terminator(&self) -> Step {
        match self.peek() {
            Some(character) if !self.is_at_terminator() => {
                Err(format!("bad character {}", code_point(character)))
            }
            _ => Ok(()),
        }
    }

    fn number(&mut self) -> Step {
        let mut good = self.scan_number();
        let mut kind = Kind::Number;
        if good && matches!(self.peek(), Some('+' | '-')) {
            // A complex constant such as 1+2i.
            kind = Kind::Complex;
            good = self.scan_number()
                && self.source.get(..self.position).is_some_and(|before| before.ends_with('i'));
        }
        if !good {
            let text = self.source.get(self.start..self.position).unwrap_or_default();
            return Err(format!("bad number syntax: {}", super::format::quote(text)));
        }
        self.emit(kind);
        Ok(())
    }

    fn scan_number(&mut self) -> bool {
        let mut digits = "0123456789_";
        self.accept("+-");
        if self.accept("0") {
            if self.accept("xX") {
                digits = "0123456789abcdefABCDEF_";
            } else if self.accept("oO") {
                digits = "01234567_";
            } else if self.accept("bB") {
                digits = "01_";
            }
        }
        self.accept_run(digits);
        if self.accept(".") {
            self.accept_run(digits);
        }
        let exponent = match digits.len() {
            11 => self.accept("eE"),
            23 => self.accept("pP"),
            _ => false,
        };
        if exponent {
            self.accept("+-");
            self.accept_run("0123456789_");
        }
        self.accept("i");
        if self.peek().is_some_and(is_alphanumeric) {
            self.next();
            return false;
        }
        true
    }
}

fn is_space(character: char) -> bool {
    SPACES.contains(&character)
}

fn is_alphanumeric(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

/// Whether the text after a left delimiter starts with a trim marker.
fn trims_before(rest: &str) -> bool {
    rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(SPACES))
}

/// Whether the text before a right delimiter ends with a trim marker.
fn trims_after(rest: &str) -> bool {
    rest.strip_prefix(SPACES).is_some_and(|rest| rest.starts_with('-'))
}
