//! Numbers as Go parses and prints them: `strconv.ParseInt` with base 0, `FormatFloat` with `g`, and the floats of
//! `encoding/json`.

use serde_json::{Number, Value};

/// A whole number in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    Int(i64),
    Uint(u64),
}

/// Parses an integer with Go's prefixes (`0x`, `0o`, `0b`, and `0` for octal), like `strconv.ParseInt(text, 0, 64)` and
/// then `ParseUint`. Underscores must have been removed. A sign may also follow the prefix `0b`, whose rest go-yaml parses as a
/// number of its own.
pub(super) fn parse_whole(text: &str) -> Option<Whole> {
    if let Some(signed) = text.strip_prefix("0b").filter(|rest| rest.starts_with(['-', '+'])) {
        // Rust, too, accepts one sign and then digits.
        return i64::from_str_radix(signed, 2).ok().map(Whole::Int);
    }
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (Some('-'), text.get(1..)?),
        b'+' => (Some('+'), text.get(1..)?),
        _ => (None, text),
    };
    let (radix, digits) = radix_and_digits(digits)?;
    if radix != 10 && digits.is_empty() {
        // A lone `0`: the prefix took the only digit.
        return Some(Whole::Int(0));
    }
    if digits.is_empty() || !digits.bytes().all(|digit| char::from(digit).is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    match sign {
        Some('-') => 0i64.checked_sub_unsigned(magnitude).map(Whole::Int),
        _ => match i64::try_from(magnitude) {
            Ok(number) => Some(Whole::Int(number)),
            // ParseUint does not accept a sign.
            Err(_) => sign.is_none().then_some(Whole::Uint(magnitude)),
        },
    }
}

fn radix_and_digits(text: &str) -> Option<(u32, &str)> {
    let Some(rest) = text.strip_prefix('0') else { return Some((10, text)) };
    let prefixed = |letter: char| {
        rest.strip_prefix([letter, letter.to_ascii_uppercase()]).filter(|digits| !digits.is_empty())
    };
    for (letter, radix) in [('x', 16), ('o', 8), ('b', 2)] {
        if let Some(digits) = prefixed(letter) {
            return Some((radix, digits));
        }
    }
    Some((8, rest))
}

/// Whether the text is a decimal float as go-yaml accepts it (its `yamlStyleFloat`).
fn is_decimal_float(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, rest) = split_digits(text);
    let rest = match rest.strip_prefix('.') {
        Some(rest) => {
            let (fraction, rest) = split_digits(rest);
            if whole.is_empty() && fraction.is_empty() {
                return false;
            }
            rest
        }
        None if whole.is_empty() => return false,
        None => rest,
    };
    match rest.strip_prefix(['e', 'E']) {
        None => rest.is_empty(),
        Some(exponent) => {
            let (digits, rest) = split_digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent));
            !digits.is_empty() && rest.is_empty()
        }
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Parses a decimal float; `None` if out of range, like Go's `ErrRange`.
pub(super) fn parse_decimal(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| is_decimal_float(text) && number.is_finite())
}

/// Go's `underscoreOK` for a number without a prefix.
pub(super) fn underscores_separate_digits(text: &str) -> bool {
    let between = |part: &str| part.ends_with(|c: char| c.is_ascii_digit());
    let mut parts = text.split('_').peekable();
    let mut first = true;
    while let Some(part) = parts.next() {
        let starts = first || part.starts_with(|c: char| c.is_ascii_digit());
        if !starts || (parts.peek().is_some() && !between(part)) {
            return false;
        }
        first = false;
    }
    true
}

/// The JSON value of a float: `encoding/json` prints whole floats without a fraction, so they become integers. `None`
/// for infinities and NaN.
pub(super) fn float_value(number: f64) -> Option<Value> {
    if !number.is_finite() {
        return None;
    }
    // Display gives the shortest digits without an exponent, which is Go's output up to 1e21.
    let text = number.to_string();
    if number.fract() == 0.0 && text != "-0" {
        if let Ok(whole) = text.parse::<i64>() {
            return Some(Value::from(whole));
        }
        if let Ok(whole) = text.parse::<u64>() {
            return Some(Value::from(whole));
        }
    }
    Number::from_f64(number).map(Value::Number)
}

/// `strconv.FormatFloat(number, 'g', -1, 64)`, with YAML's names for infinities and NaN.
pub(super) fn format_f64(number: f64) -> String {
    name_of_special(number).map_or_else(|| shortest(&format!("{number:e}")), str::to_owned)
}

/// `strconv.FormatFloat(number, 'g', -1, 32)`: this is how mapping keys lose digits in `sigs.k8s.io/yaml`.
pub(super) fn format_f32(number: f64) -> String {
    #[allow(clippy::cast_possible_truncation, reason = "the loss is intended")]
    let number = number as f32;
    name_of_special(f64::from(number)).map_or_else(|| shortest(&format!("{number:e}")), str::to_owned)
}

fn name_of_special(number: f64) -> Option<&'static str> {
    match number {
        n if n.is_nan() => Some(".nan"),
        f64::INFINITY => Some(".inf"),
        f64::NEG_INFINITY => Some("-.inf"),
        _ => None,
    }
}

/// Converts Rust's `1.25e7` to Go's `%g` with the shortest digits: `1.25e+07`, with an exponent if it is below -4 or at
/// least 6.
fn shortest(scientific: &str) -> String {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let digits = mantissa.replace('.', "");
    let Ok(point) = usize::try_from(exponent + 1) else {
        let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
        return format!("{sign}0.{zeros}{digits}");
    };
    match digits.split_at_checked(point) {
        Some(("", digits)) => format!("{sign}0.{digits}"),
        Some((whole, "")) => format!("{sign}{whole}"),
        Some((whole, fraction)) => format!("{sign}{whole}.{fraction}"),
        None => format!("{sign}{digits}{}", "0".repeat(point - digits.len())),
    }
}
