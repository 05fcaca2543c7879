//! Writes YAML with the same text as `Marshal` of `sigs.k8s.io/yaml`, so that users' files do not change without
//! reason. The rules are those of go-yaml v2's encoder and emitter: keys sorted with numbers in order, lists not
//! indented under their key, lines folded after column 80.
//!
//! It differs where that text would not parse as the same value; the test `writes_what_marshal_writes` lists these
//! cases.

use serde_json::{Map, Value};

use super::Style;
use super::number;
use super::resolve::{self, Scalar};

/// After this column, a line is folded at the next space.
const BEST_WIDTH: usize = 80;
/// Longer keys are written after `?`.
const SIMPLE_KEY_BYTES: usize = 128;
/// Spaces per level.
const INDENT: usize = 2;

/// Writes a value as a YAML document, with a line break at its end.
pub fn to_string(value: &Value) -> String {
    let mut writer = Writer::new(BEST_WIDTH);
    writer.node(value, Place::Other);
    writer.write_indent();
    writer.out
}

/// Writes a scalar, or an empty collection, on one line, without a line break at its end.
pub(crate) fn scalar_to_string(value: &Value) -> String {
    let mut writer = Writer::new(usize::MAX);
    match value {
        // A place in which a text cannot be a block.
        Value::String(text) => writer.string(text, Place::SimpleKey),
        other => writer.node(other, Place::Other),
    }
    writer.out
}

/// Writes a text in the given quotes if they can hold it, otherwise in others; on one line.
pub(crate) fn quoted_to_string(text: &str, style: Style) -> String {
    let mut writer = Writer::new(usize::MAX);
    match style {
        Style::SingleQuoted if Form::of(text).single && !text.contains('\n') => {
            writer.single_quoted(text, Place::SimpleKey);
        }
        Style::SingleQuoted | Style::DoubleQuoted => writer.double_quoted(text, Place::SimpleKey),
        _ => writer.string(text, Place::SimpleKey),
    }
    writer.out
}

/// Whether a text is preserved as the lines of a `|` block.
pub(crate) fn fits_literal(text: &str) -> bool {
    text.contains('\n') && !text.starts_with([' ', '\n']) && Form::of(text).literal
}

/// The position of a node, as far as its form depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A key on the same line as its value.
    SimpleKey,
    /// Anything else in a mapping.
    InMapping,
    /// The whole document or an item of a list.
    Other,
}

struct Writer {
    out: String,
    column: usize,
    /// After this column, a line is folded at the next space.
    width: usize,
    /// The column of the enclosing collection, `None` around the document.
    indent: Option<usize>,
    /// Whether the last character was a separating space.
    whitespace: bool,
    /// Whether the line contains only indentation, `-`, `?` and `:` so far.
    indention: bool,
}

impl Writer {
    fn new(width: usize) -> Writer {
        Writer { out: String::new(), column: 0, width, indent: None, whitespace: true, indention: true }
    }

    fn node(&mut self, value: &Value, place: Place) {
        match value {
            Value::Null => self.plain("null", place),
            Value::Bool(true) => self.plain("true", place),
            Value::Bool(false) => self.plain("false", place),
            Value::Number(number) => self.plain(&number_text(number), place),
            Value::String(text) => self.string(text, place),
            Value::Array(items) if items.is_empty() => self.indicator("[]", true, false),
            Value::Array(items) => self.sequence(items, place),
            Value::Object(map) if map.is_empty() => self.indicator("{}", true, false),
            Value::Object(map) => self.mapping(map),
        }
    }

    fn sequence(&mut self, items: &[Value], place: Place) {
        let outer = self.indent;
        // A list directly after its key stays in the key's column.
        if place != Place::InMapping || self.indention {
            self.indent = Some(outer.map_or(0, |indent| indent + INDENT));
        }
        for item in items {
            self.write_indent();
            self.indicator("-", true, true);
            self.node(item, Place::Other);
        }
        self.indent = outer;
    }

    fn mapping(&mut self, map: &Map<String, Value>) {
        let outer = self.indent;
        self.indent = Some(outer.map_or(0, |indent| indent + INDENT));
        for (key, value) in sorted(map) {
            self.write_indent();
            if key.len() <= SIMPLE_KEY_BYTES && !key.contains(is_break) {
                self.string(key, Place::SimpleKey);
                self.indicator(":", false, false);
            } else {
                self.indicator("?", true, true);
                self.string(key, Place::InMapping);
                self.write_indent();
                self.indicator(":", true, true);
            }
            self.node(value, Place::InMapping);
        }
        self.indent = outer;
    }

    fn string(&mut self, text: &str, place: Place) {
        let form = Form::of(text);
        let wanted = if text.contains('\n') {
            Quotes::Literal
        } else if stays_a_string(text) && !(place == Place::SimpleKey && text == "<<") {
            // (go-yaml writes the key `<<` without quotes, and reads it as a merge.)
            Quotes::None
        } else {
            Quotes::Double
        };
        match wanted {
            Quotes::None if form.plain => self.plain(text, place),
            Quotes::None if form.single => self.single_quoted(text, place),
            Quotes::Literal if form.literal && place != Place::SimpleKey => self.literal(text),
            _ => self.double_quoted(text, place),
        }
    }

    fn plain(&mut self, text: &str, place: Place) {
        if !self.whitespace {
            self.put(' ');
        }
        let inner = self.inner();
        let mut spaces = false;
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let folds = !spaces && self.may_fold(place) && characters.peek() != Some(&' ');
            self.text_or_fold(character, folds, inner);
            spaces = character == ' ';
        }
        self.whitespace = false;
        self.indention = false;
    }

    fn single_quoted(&mut self, text: &str, place: Place) {
        self.indicator("'", true, false);
        let inner = self.inner();
        let mut spaces = false;
        let mut first = true;
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            if character == '\'' {
                self.put('\'');
            }
            let inside = !first && characters.peek().is_some_and(|next| *next != ' ');
            self.text_or_fold(character, !spaces && inside && self.may_fold(place), inner);
            spaces = character == ' ';
            first = false;
        }
        self.indicator("'", false, false);
    }

    fn double_quoted(&mut self, text: &str, place: Place) {
        self.indicator("\"", true, false);
        let inner = self.inner();
        // go-yaml's `is_bom` checks the start of the text at every position, so such a text is completely escaped.
        let escape_all = text.starts_with('\u{feff}');
        let mut spaces = false;
        let mut first = true;
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            if escape_all
                || !is_printable(character)
                || is_break(character)
                || matches!(character, '"' | '\\')
            {
                self.escape(character);
                spaces = false;
            } else {
                let folds = !spaces && !first && characters.peek().is_some() && self.may_fold(place);
                self.text_or_fold(character, folds, inner);
                if character == ' ' && folds && characters.peek() == Some(&' ') {
                    self.put('\\');
                }
                spaces = character == ' ';
            }
            first = false;
        }
        self.indicator("\"", false, false);
    }

    fn escape(&mut self, character: char) {
        let short = match character {
            '\0' => '0',
            '\u{7}' => 'a',
            '\u{8}' => 'b',
            '\t' => 't',
            '\n' => 'n',
            '\u{b}' => 'v',
            '\u{c}' => 'f',
            '\r' => 'r',
            '\u{1b}' => 'e',
            '"' => '"',
            '\\' => '\\',
            '\u{85}' => 'N',
            '\u{a0}' => '_',
            '\u{2028}' => 'L',
            '\u{2029}' => 'P',
            _ => {
                let code = u32::from(character);
                let long = match code {
                    0..=0xff => format!("\\x{code:02X}"),
                    0x100..=0xffff => format!("\\u{code:04X}"),
                    _ => format!("\\U{code:08X}"),
                };
                long.chars().for_each(|character| self.put(character));
                return;
            }
        };
        self.put('\\');
        self.put(short);
    }

    fn literal(&mut self, text: &str) {
        self.indicator("|", true, false);
        if text.starts_with([' ', '\n']) {
            // In that case the first line does not show the indentation.
            self.put('2');
        }
        if !text.ends_with('\n') {
            self.put('-');
        } else if text == "\n" || text.ends_with("\n\n") {
            self.put('+');
        }
        self.put_break();
        self.whitespace = true;
        let inner = self.inner();
        let mut at_start = true;
        for character in text.chars() {
            if character == '\n' {
                self.put_break();
                at_start = true;
            } else {
                if at_start {
                    self.indent_to(inner);
                }
                self.put(character);
                self.indention = false;
                at_start = false;
            }
        }
    }

    /// The column of a scalar's continuation lines.
    fn inner(&self) -> usize {
        self.indent.map_or(INDENT, |indent| indent + INDENT)
    }

    fn may_fold(&self, place: Place) -> bool {
        place != Place::SimpleKey && self.column > self.width
    }

    /// Writes a character, or a line break instead of a space.
    fn text_or_fold(&mut self, character: char, folds: bool, inner: usize) {
        if character == ' ' {
            if folds {
                self.indent_to(inner);
            } else {
                self.put(' ');
            }
        } else {
            self.put(character);
            self.indention = false;
        }
    }

    fn write_indent(&mut self) {
        self.indent_to(self.indent.unwrap_or(0));
    }

    /// Moves to a column, on a new line unless the current one is empty.
    fn indent_to(&mut self, indent: usize) {
        if !self.indention || self.column > indent || (self.column == indent && !self.whitespace) {
            self.put_break();
        }
        while self.column < indent {
            self.put(' ');
        }
        self.whitespace = true;
        self.indention = true;
    }

    fn indicator(&mut self, text: &str, need_whitespace: bool, is_indention: bool) {
        if need_whitespace && !self.whitespace {
            self.put(' ');
        }
        text.chars().for_each(|character| self.put(character));
        self.whitespace = false;
        self.indention &= is_indention;
    }

    fn put(&mut self, character: char) {
        self.out.push(character);
        self.column += 1;
    }

    fn put_break(&mut self) {
        self.out.push('\n');
        self.column = 0;
        self.indention = true;
    }
}

/// The preferred quotes of a string; [`Form`] determines which are possible.
enum Quotes {
    None,
    Double,
    Literal,
}

/// The forms in which a text is preserved (go-yaml's `analyze_scalar`).
struct Form {
    plain: bool,
    single: bool,
    literal: bool,
}

impl Form {
    fn of(text: &str) -> Form {
        // Only go-yaml treats line breaks other than \n as breaks, so they are always escaped here.
        let special = text.chars().any(|c| !is_printable(c) || is_break(c) && c != '\n');
        let breaks = text.contains('\n');
        let break_space = text.contains("\n ");
        let space_break = text.contains(" \n");
        let edges = text.starts_with([' ', '\n']) || text.ends_with([' ', '\n']);
        Form {
            plain: !special && !breaks && !edges && !has_indicators(text),
            single: !special && !break_space && !space_break,
            literal: !special && !space_break && !text.ends_with(' ') && !text.is_empty(),
        }
    }
}

/// Whether an unquoted text would be parsed as structure.
fn has_indicators(text: &str) -> bool {
    if text.starts_with("---") || text.starts_with("...") {
        return true;
    }
    let mut before = None;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let space_behind = matches!(characters.peek(), None | Some(' ' | '\t'));
        let indicator = match (before, character) {
            (
                None,
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
                | '`',
            ) => true,
            (None, '?' | '-') | (_, ':') => space_behind,
            (Some(before), '#') => before == ' ' || is_break(before),
            _ => false,
        };
        if indicator {
            return true;
        }
        before = Some(character);
    }
    false
}

/// Whether an unquoted text is read as a string, both by go-yaml and by parsers that support base 60 numbers.
fn stays_a_string(text: &str) -> bool {
    resolve::plain(text) == Scalar::Text && !is_base_60(text)
}

/// Whether the text is a base 60 number in YAML 1.1: `12:30:45`, `1:30.5`.
fn is_base_60(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.split(':');
    let head = parts.next().unwrap_or_default();
    let is_head = head.starts_with(|c: char| c.is_ascii_digit()) && is_digits(head);
    let mut count = 0;
    let sixtieths = parts.all(|part| {
        count += 1;
        matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9'])
    });
    is_head && sixtieths && count > 0 && is_digits(fraction)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_')
}

/// Characters that go-yaml prints unescaped: no tabs, and nothing outside the basic plane.
fn is_printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{a0}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}

fn is_break(character: char) -> bool {
    matches!(character, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn number_text(number: &serde_json::Number) -> String {
    // Through JSON text, like Marshal: a whole float becomes an integer, a large one has an exponent.
    match number.as_f64() {
        Some(float) if number.is_f64() => match number::float_value(float) {
            Some(Value::Number(whole)) if !whole.is_f64() => whole.to_string(),
            _ if float == 0.0 => "0".to_owned(),
            _ => number::format_f64(float),
        },
        _ => number.to_string(),
    }
}

/// The entries in go-yaml's order. For some sets of keys this is not a total order, for which Rust's sort may panic; a
/// merge sort tolerates it.
fn sorted(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = map.iter().collect();
    let mut width = 1;
    while width < entries.len() {
        entries = entries.chunks(width * 2).flat_map(|pair| merged(pair, width)).collect();
        width *= 2;
    }
    entries
}

type Entry<'a> = (&'a String, &'a Value);

fn merged<'a>(pair: &[Entry<'a>], width: usize) -> Vec<Entry<'a>> {
    let (left, right) = pair.split_at(width.min(pair.len()));
    let (mut left, mut right) = (left.iter().copied().peekable(), right.iter().copied().peekable());
    std::iter::from_fn(|| match (left.peek(), right.peek()) {
        (Some((a, _)), Some((b, _))) if key_less(b, a) => right.next(),
        (Some(_), _) => left.next(),
        (None, _) => right.next(),
    })
    .collect()
}

/// go-yaml's `keyList.Less` for strings: letters last, runs of digits by their number.
fn key_less(a: &str, b: &str) -> bool {
    let (mut left, mut right) = (a.chars(), b.chars());
    // Whether a digit other than 0 precedes the position, with only digits in between.
    let mut in_number = false;
    loop {
        let (rest_left, rest_right) = (left.clone(), right.clone());
        let (x, y) = match (left.next(), right.next()) {
            (Some(x), Some(y)) => (x, y),
            (x, y) => return x.is_none() && y.is_some(),
        };
        if x == y {
            in_number = x.is_ascii_digit() && (in_number || x != '0');
            continue;
        }
        return match (x.is_alphabetic(), y.is_alphabetic()) {
            (true, true) => x < y,
            (true, false) | (false, true) => y.is_alphabetic(),
            (false, false) => {
                let leading = i64::from(in_number && (x == '0' || y == '0'));
                let (x_number, x_digits) = digits(rest_left, leading);
                let (y_number, y_digits) = digits(rest_right, leading);
                (x_number, x_digits, x) < (y_number, y_digits, y)
            }
        };
    }
}

/// The number at the start (wrapping, as in Go), and its length in digits.
fn digits(text: std::str::Chars<'_>, leading: i64) -> (i64, usize) {
    text.map_while(|c| c.to_digit(10)).fold((leading, 0), |(number, count), digit| {
        (number.wrapping_mul(10).wrapping_add(i64::from(digit)), count + 1)
    })
}
