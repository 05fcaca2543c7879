//! Which scalars fit which of Go's types (`encoding/json`, and the `UnmarshalJSON` of Kubernetes' own).

use serde_json::Value;

use crate::gotypes::Kind;

/// Whether a scalar that is not null fits a field.
pub(super) fn fits(value: &Value, kind: &Kind, narrow: bool) -> bool {
    match (kind, value) {
        (Kind::Bool, value) => value.is_boolean(),
        (Kind::Int, Value::Number(number)) => {
            number.as_i64().is_some_and(|number| !narrow || i32::try_from(number).is_ok())
        }
        (Kind::Uint, Value::Number(number)) => number.is_u64(),
        (Kind::Float, value) => value.is_number(),
        (Kind::Quantity, Value::String(text)) => is_quantity(text.trim()),
        (Kind::Quantity, Value::Number(number)) => is_quantity(&number.to_string()),
        (Kind::IntOrString, Value::Number(number)) => {
            number.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
        }
        (Kind::Time, Value::String(text)) => is_time(text),
        (Kind::String | Kind::Bytes | Kind::IntOrString, Value::String(_)) | (Kind::Any, _) => true,
        _ => false,
    }
}

/// What fits a field that takes a scalar.
pub(super) fn accepted(kind: &Kind, narrow: bool) -> &'static str {
    match kind {
        Kind::Bool => "true or false, without quotes",
        Kind::Int | Kind::Uint if narrow => "an integer of 32 bits, without quotes",
        Kind::Int | Kind::Uint => "an integer, without quotes",
        Kind::Float => "a number, without quotes",
        Kind::Quantity => "a quantity such as 500m, 2 or 1Gi",
        Kind::IntOrString => "an integer of 32 bits or a string",
        Kind::Time => "a time such as 2006-01-02T15:04:05Z",
        _ => "a string (in quotes, or a block after |)",
    }
}

/// Whether Go's `resource.ParseQuantity` takes a text. It does not ask for digits: `.` and `E` are zero.
pub(super) fn is_quantity(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if text.is_empty() {
        return false;
    }
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (_, rest) = unsigned.split_at(digits(unsigned));
    let suffix = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)).1,
        None => rest,
    };
    const SUFFIXES: [&str; 16] =
        ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    SUFFIXES.contains(&suffix)
        || suffix.strip_prefix(['e', 'E']).is_some_and(|exponent| exponent.parse::<i64>().is_ok())
}

/// Whether Go's `time.Parse` takes a text as RFC 3339.
fn is_time(text: &str) -> bool {
    time(text.as_bytes()).is_some_and(<[u8]>::is_empty)
}

/// Takes `2006-01-02T15:04:05.0Z` and returns the rest.
fn time(text: &[u8]) -> Option<&[u8]> {
    let (year, text) = number(text, 4, 4, b'-')?;
    let (month, text) = number(text, 2, 2, b'-')?;
    let (day, text) = number(text, 2, 2, b'T')?;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    let (hour, text) = number(text, 1, 2, b':')?;
    let (minute, text) = number(text, 2, 2, b':')?;
    let (second, mut text) = digits(text, 2, 2)?;
    if !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    if let Some((b'.' | b',', fraction)) = text.split_first() {
        let length = fraction.iter().take_while(|digit| digit.is_ascii_digit()).count();
        text = fraction.get(length..).filter(|_| length > 0)?;
    }
    match text.split_first()? {
        (b'Z', rest) => Some(rest),
        (b'+' | b'-', zone) => {
            let (hour, zone) = number(zone, 2, 2, b':')?;
            let (minute, zone) = digits(zone, 2, 2)?;
            (hour <= 24 && minute < 60).then_some(zone)
        }
        _ => None,
    }
}

/// Takes digits and the byte that follows them.
fn number(text: &[u8], least: usize, most: usize, then: u8) -> Option<(u32, &[u8])> {
    let (number, rest) = digits(text, least, most)?;
    let (next, rest) = rest.split_first()?;
    (*next == then).then_some((number, rest))
}

fn digits(text: &[u8], least: usize, most: usize) -> Option<(u32, &[u8])> {
    let length = text.iter().take(most).take_while(|digit| digit.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(length).filter(|_| length >= least)?;
    let number = digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
    Some((number, rest))
}
