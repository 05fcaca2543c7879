//! JSON as Go's `encoding/json` reads and writes it.
//!
//! Structure is clean: braces, colons and quotes are ours; a text from the pod is one placeholder between the quotes.
//! This also applies to keys, and to numbers under such a key.

use serde_json::{Number, Value as Json};

use super::super::{Call, FuncError, Param, Row};
use super::argument::{Outcome, bounded, real, value};
use crate::value::{DEPTH, Segment, Text, Value};

use Param::{Any, String as Str};

pub(super) const ROWS: &[Row] = &[
    Row::new("toJson", &[Any], |call, args| lenient(call, args, Format { escape_html: true, pretty: false })),
    Row::new("mustToJson", &[Any], |call, args| {
        strict(call, args, Format { escape_html: true, pretty: false })
    }),
    Row::new("toPrettyJson", &[Any], |call, args| {
        lenient(call, args, Format { escape_html: true, pretty: true })
    }),
    Row::new("mustToPrettyJson", &[Any], |call, args| {
        strict(call, args, Format { escape_html: true, pretty: true })
    }),
    Row::new("toRawJson", &[Any], |call, args| {
        strict(call, args, Format { escape_html: false, pretty: false })
    }),
    Row::new("mustToRawJson", &[Any], |call, args| {
        strict(call, args, Format { escape_html: false, pretty: false })
    }),
    Row::new("fromJson", &[Str], |call, args| {
        let tainted = value(args, 0)?.is_tainted();
        Ok(parsed(&real(call, args, 0)?).map_or(Value::Nil, |json| Value::from_json(json, tainted)))
    }),
    Row::new("mustFromJson", &[Str], |call, args| {
        let tainted = value(args, 0)?.is_tainted();
        let json = parsed(&real(call, args, 0)?).map_err(|error| error.to_string())?;
        Ok(Value::from_json(json, tainted))
    }),
];

/// Formatting options.
#[derive(Clone, Copy)]
pub struct Format {
    /// Write `<`, `>` and `&` as `\u003c` and so on.
    pub escape_html: bool,
    /// Indent by two blanks.
    pub pretty: bool,
}

/// Parses JSON like `json.Unmarshal`: the last of equal keys wins, and a lone surrogate becomes U+FFFD.
pub fn parsed(text: &str) -> Result<Json, serde_json::Error> {
    serde_json::from_str(text).or_else(|error| match with_lone_surrogates_replaced(text) {
        Some(repaired) => serde_json::from_str(&repaired),
        None => Err(error),
    })
}

/// Writes a value as JSON.
///
/// # Errors
/// If it contains a number without a JSON form (`NaN`), or is nested too deeply or too large.
pub fn write<'a>(call: &mut Call<'_, 'a>, value: &Value<'a>, format: Format) -> Result<Text<'a>, FuncError> {
    let mut writer = Writer { out: String::new(), format, level: 0 };
    writer.value(call, value)?;
    Ok(call.mixed(writer.out))
}

/// Writes a JSON value of the input as JSON.
///
/// # Errors
/// As [`write()`].
pub fn write_json<'a>(
    call: &mut Call<'_, 'a>,
    json: &Json,
    tainted: bool,
    format: Format,
) -> Result<Text<'a>, FuncError> {
    let mut writer = Writer { out: String::new(), format, level: 0 };
    writer.json(call, json, tainted)?;
    Ok(call.mixed(writer.out))
}

fn strict<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>], format: Format) -> Outcome<'a> {
    Ok(Value::String(write(call, value(args, 0)?, format)?))
}

/// A value that cannot be written gives an empty string; exceeded limits remain errors.
fn lenient<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>], format: Format) -> Outcome<'a> {
    match strict(call, args, format) {
        Err(FuncError::Message(_)) => Ok(Value::string("")),
        other => other,
    }
}

struct Writer {
    out: String,
    format: Format,
    level: usize,
}

impl Writer {
    fn value<'a>(&mut self, call: &mut Call<'_, 'a>, value: &Value<'a>) -> Result<(), FuncError> {
        call.spend(1)?;
        bounded(call, self.out.len())?;
        match value {
            value if value.is_nil() => self.out.push_str("null"),
            Value::Bool(value) => self.out.push_str(if *value { "true" } else { "false" }),
            Value::Int(number, _) => self.out.push_str(&number.to_string()),
            Value::Uint(number, _) => self.out.push_str(&number.to_string()),
            Value::Enum(_, number) => self.out.push_str(&number.to_string()),
            Value::Float(number) => self.out.push_str(&float(*number)?),
            Value::String(text) => self.text(call, text),
            Value::List(list) if list.is_nil() => self.out.push_str("null"),
            Value::List(list) => {
                self.open('[')?;
                for (index, item) in list.iter().enumerate() {
                    self.next(index);
                    self.value(call, &item)?;
                }
                self.close(']', list.is_empty());
            }
            Value::Map(map) if map.is_nil() => self.out.push_str("null"),
            Value::Map(map) => {
                self.open('{')?;
                for (index, (key, item)) in map.entries().iter().enumerate() {
                    self.next(index);
                    if let Value::String(key) = key.to_value() {
                        self.text(call, &key);
                    }
                    self.colon();
                    self.value(call, item)?;
                }
                self.close('}', map.is_empty());
            }
            Value::Struct(value) => match value.json {
                Some(json) => self.json(call, json, value.tainted)?,
                None => self.out.push_str(if value.pointer { "null" } else { "{}" }),
            },
            Value::Pointer(pointer) => match pointer.json {
                Some(json) => self.json(call, json, pointer.tainted)?,
                None => self.out.push_str("null"),
            },
            Value::Special(special) => match special.json {
                Some(json) => self.json(call, json, special.tainted)?,
                None => self.out.push_str("null"),
            },
            Value::Record(record) => {
                // A type that prints as text, such as a version, is marshaled as that text.
                if let Some(printed) = &record.printed {
                    self.text(call, printed);
                    return Ok(());
                }
                self.open('{')?;
                for (index, (name, item)) in record.fields.iter().enumerate() {
                    self.next(index);
                    self.text(call, &Text::clean(*name));
                    self.colon();
                    self.value(call, item)?;
                }
                self.close('}', record.fields.is_empty());
            }
            Value::Missing | Value::Nil => {}
        }
        Ok(())
    }

    /// Writes a part of the input, with numbers formatted like Go.
    fn json<'a>(&mut self, call: &mut Call<'_, 'a>, json: &Json, tainted: bool) -> Result<(), FuncError> {
        call.spend(1)?;
        bounded(call, self.out.len())?;
        match json {
            Json::Null => self.out.push_str("null"),
            Json::Bool(value) => self.out.push_str(if *value { "true" } else { "false" }),
            Json::Number(number) => self.out.push_str(&go_number(number)?),
            Json::String(text) => self.input_text(call, text, tainted),
            Json::Array(items) => {
                self.open('[')?;
                for (index, item) in items.iter().enumerate() {
                    self.next(index);
                    self.json(call, item, tainted)?;
                }
                self.close(']', items.is_empty());
            }
            Json::Object(entries) => {
                self.open('{')?;
                for (index, (key, item)) in entries.iter().enumerate() {
                    self.next(index);
                    self.input_text(call, key, tainted);
                    self.colon();
                    match item {
                        // Except under a key that is already a placeholder: pods with different ports should render to
                        // the same text.
                        Json::Number(number) if tainted => {
                            call.spend(1)?;
                            call.push_placeholder(&mut self.out, &go_number(number)?, false);
                        }
                        item => self.json(call, item, tainted)?,
                    }
                }
                self.close('}', entries.is_empty());
            }
        }
        Ok(())
    }

    fn text<'a>(&mut self, call: &mut Call<'_, 'a>, text: &Text<'a>) {
        self.out.push('"');
        for segment in call.segments(text) {
            match segment {
                Segment::Clean(clean) => escape(&mut self.out, clean, self.format.escape_html),
                Segment::Tainted(raw) => call.push_placeholder(&mut self.out, &raw, true),
            }
        }
        self.out.push('"');
    }

    fn input_text<'a>(&mut self, call: &mut Call<'_, 'a>, text: &str, tainted: bool) {
        self.text(call, &Text::new(text.to_owned(), tainted));
    }

    fn open(&mut self, bracket: char) -> Result<(), FuncError> {
        self.level += 1;
        if self.level > DEPTH {
            return Err(format!("a value nested deeper than {DEPTH} levels has no JSON form").into());
        }
        self.out.push(bracket);
        Ok(())
    }

    fn next(&mut self, index: usize) {
        if index > 0 {
            self.out.push(',');
        }
        self.line_end();
    }

    fn colon(&mut self) {
        self.out.push_str(if self.format.pretty { ": " } else { ":" });
    }

    fn close(&mut self, bracket: char, empty: bool) {
        self.level -= 1;
        if !empty {
            self.line_end();
        }
        self.out.push(bracket);
    }

    fn line_end(&mut self) {
        if self.format.pretty {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n("  ", self.level));
        }
    }
}

/// Escapes the content of a JSON string like Go.
fn escape(out: &mut String, text: &str, html: bool) {
    use std::fmt::Write as _;
    for c in text.chars() {
        // Writing to a string cannot fail.
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            '\u{8}' => write!(out, "\\b"),
            '\t' => write!(out, "\\t"),
            '\n' => write!(out, "\\n"),
            '\u{c}' => write!(out, "\\f"),
            '\r' => write!(out, "\\r"),
            '\0'..='\u{1f}' | '\u{2028}' | '\u{2029}' => write!(out, "\\u{:04x}", c as u32),
            '<' | '>' | '&' if html => write!(out, "\\u{:04x}", c as u32),
            c => write!(out, "{c}"),
        };
    }
}

/// A number of the input in Go's notation.
fn go_number(number: &Number) -> Result<String, FuncError> {
    if number.is_f64() { float(number.as_f64().unwrap_or_default()) } else { Ok(number.to_string()) }
}

/// A float in the notation of `encoding/json`: with an exponent only below 1e-6 and from 1e21 on.
fn float(number: f64) -> Result<String, FuncError> {
    if !number.is_finite() {
        let name = if number.is_nan() {
            "NaN"
        } else if number > 0.0 {
            "+Inf"
        } else {
            "-Inf"
        };
        return Err(format!("json: unsupported value: {name}").into());
    }
    let size = number.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{number:e}");
        return Ok(match text.split_once('e') {
            Some((mantissa, exponent)) if !exponent.starts_with('-') => format!("{mantissa}e+{exponent}"),
            _ => text,
        });
    }
    Ok(number.to_string())
}

/// The text with `\uXXXX` escapes of lone surrogates replaced by U+FFFD; `None` if there are none.
fn with_lone_surrogates_replaced(text: &str) -> Option<String> {
    let surrogate = |text: &str| {
        let digits = text.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(digits, 16).ok().filter(|unit| (0xd800..0xe000).contains(unit))
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut replaced = false;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at_checked(at)?;
        out.push_str(before);
        let length = match surrogate(escape) {
            Some(0xd800..=0xdbff) if escape.get(6..).and_then(surrogate).is_some_and(|low| low >= 0xdc00) => {
                12
            }
            Some(_) => {
                replaced = true;
                out.push('\u{fffd}');
                rest = escape.get(6..)?;
                continue;
            }
            None => escape.chars().take(2).map(char::len_utf8).sum(),
        };
        out.push_str(escape.get(..length)?);
        rest = escape.get(length..)?;
    }
    out.push_str(rest);
    replaced.then_some(out)
}
