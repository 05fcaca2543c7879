//! Determines the type of scalars: go-yaml v2's `resolve`, and the two conversions in `sigs.k8s.io/yaml`.

use base64::Engine;
use serde_json::Value;

use super::number::{self, Whole};
use super::timestamp::is_timestamp;
use super::{Error, Mark, Style};

/// A resolved scalar. Variants whose value is the text itself do not repeat it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text,
    /// A date or time; a string in JSON.
    Timestamp,
    /// The bytes of a `!!binary`, converted to a string like `encoding/json`.
    Binary(String),
}

impl Scalar {
    /// The JSON value; `text` is the scalar's own text.
    pub(super) fn into_value(self, text: &str, mark: Mark) -> Result<Value, Error> {
        Ok(match self {
            Scalar::Null => Value::Null,
            Scalar::Bool(value) => Value::Bool(value),
            Scalar::Int(value) => Value::from(value),
            Scalar::Uint(value) => Value::from(value),
            Scalar::Float(value) => number::float_value(value).ok_or_else(|| {
                Error::at(
                    mark,
                    format!("found {}, which JSON cannot represent", excerpt(text)),
                    "a finite number",
                )
            })?,
            Scalar::Text | Scalar::Timestamp => Value::String(text.to_owned()),
            Scalar::Binary(text) => Value::String(text),
        })
    }

    /// The text of a mapping key, or what it is if it cannot be a key.
    pub(super) fn into_key(self, text: &str) -> Result<String, &'static str> {
        Ok(match self {
            Scalar::Null => return Err("null"),
            Scalar::Uint(_) => return Err("an integer above 9223372036854775807"),
            Scalar::Bool(value) => value.to_string(),
            Scalar::Int(value) => value.to_string(),
            Scalar::Float(value) => number::format_f32(value),
            Scalar::Text | Scalar::Timestamp => text.to_owned(),
            Scalar::Binary(text) => text,
        })
    }

    /// The name of its implicit tag.
    fn tag(&self) -> &'static str {
        match self {
            Scalar::Null => "!!null",
            Scalar::Bool(_) => "!!bool",
            Scalar::Int(_) | Scalar::Uint(_) => "!!int",
            Scalar::Float(_) => "!!float",
            Scalar::Text => "!!str",
            Scalar::Timestamp => "!!timestamp",
            Scalar::Binary(_) => "!!binary",
        }
    }
}

/// Resolves a scalar with its style and tag.
///
/// # Errors
/// If the tag does not allow the text.
pub(super) fn scalar(text: &str, style: Style, tag: Option<&str>, mark: Mark) -> Result<Scalar, Error> {
    let Some(tag) = tag else {
        return Ok(if style == Style::Plain { plain(text) } else { Scalar::Text });
    };
    let refused = |found: &Scalar| {
        Error::at(
            mark,
            format!("found {} ({}) under the tag {tag}", excerpt(text), found.tag()),
            accepted(tag),
        )
    };
    match tag {
        "!!binary" => decode_binary(text).map(Scalar::Binary).ok_or_else(|| refused(&Scalar::Text)),
        "!!bool" | "!!int" | "!!null" | "!!timestamp" | "!!float" => match (tag, plain_under(text, tag)) {
            #[allow(clippy::cast_precision_loss, reason = "go-yaml converts the same way")]
            ("!!float", Scalar::Int(number)) => Ok(Scalar::Float(number as f64)),
            (_, found) if found.tag() == tag => Ok(found),
            (_, found) => Err(refused(&found)),
        },
        // `!!str`, the non-specific `!`, and unknown tags.
        _ => Ok(Scalar::Text),
    }
}

/// Resolves an unquoted scalar without a tag.
pub(super) fn plain(text: &str) -> Scalar {
    match text.as_bytes().first() {
        None => Scalar::Null,
        Some(b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'~') => named(text),
        // `strconv.ParseFloat` gets the original text, and has its own rule for underscores.
        Some(b'.') => match named(text) {
            Scalar::Text if number::underscores_separate_digits(text) => decimal(&text.replace('_', "")),
            special => special,
        },
        Some(b'+' | b'-' | b'0'..=b'9') => match named(text) {
            Scalar::Text if is_timestamp(text) => Scalar::Timestamp,
            Scalar::Text => numeric(text),
            special => special,
        },
        Some(_) => Scalar::Text,
    }
}

/// Like [`plain`], for a scalar with a tag: then only `!!timestamp` recognizes timestamps.
fn plain_under(text: &str, tag: &str) -> Scalar {
    match plain(text) {
        // No timestamp is also a number.
        Scalar::Timestamp if tag != "!!timestamp" => Scalar::Text,
        found => found,
    }
}

/// The words with a special meaning (go-yaml's `resolveMap`).
fn named(text: &str) -> Scalar {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Scalar::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Scalar::Bool(false)
        }
        "~" | "null" | "Null" | "NULL" => Scalar::Null,
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Scalar::Float(f64::NEG_INFINITY),
        _ => Scalar::Text,
    }
}

fn numeric(text: &str) -> Scalar {
    let text = text.replace('_', "");
    match number::parse_whole(&text) {
        Some(Whole::Int(number)) => Scalar::Int(number),
        Some(Whole::Uint(number)) => Scalar::Uint(number),
        None => decimal(&text),
    }
}

fn decimal(text: &str) -> Scalar {
    number::parse_decimal(text).map_or(Scalar::Text, Scalar::Float)
}

/// Decodes standard base64 (line breaks allowed, as in Go) and replaces invalid UTF-8 byte by byte.
fn decode_binary(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let bytes = BASE64.decode(text).ok()?;
    let mut decoded = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        decoded.push_str(chunk.valid());
        decoded.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Some(decoded)
}

/// Go's `StdEncoding`: padding is required, stray bits at the end are not an error.
const BASE64: base64::engine::GeneralPurpose = base64::engine::GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    base64::engine::GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

fn accepted(tag: &str) -> &'static str {
    match tag {
        "!!bool" => "true or false",
        "!!int" => "an integer",
        "!!float" => "a number",
        "!!null" => "null, ~ or nothing",
        "!!binary" => "base64 text",
        _ => "a date as 2006-01-02, with a time as 2006-01-02T15:04:05Z",
    }
}

/// The start of a text, quoted: enough to find it without leaking all of it.
pub(super) fn excerpt(text: &str) -> String {
    let mut start: String = text.chars().take(20).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    format!("{start:?}")
}
