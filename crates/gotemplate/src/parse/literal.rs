//! Go's constants: quoted strings, characters and numbers.

use crate::ast::Number;

/// The text of a string constant with its quotes (`strconv.Unquote`), or an error.
pub(super) fn string(quoted: &str) -> Result<String, String> {
    let inside = |quote: char| quoted.strip_prefix(quote)?.strip_suffix(quote);
    if let Some(raw) = inside('`') {
        return Ok(raw.replace('\r', ""));
    }
    let mut rest = inside('"').ok_or("invalid syntax")?;
    let mut text = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let (unit, after) = unquote(rest, '"').ok_or("invalid syntax")?;
        match unit {
            Unit::Char(character) => text.extend(character.encode_utf8(&mut [0; 4]).bytes()),
            Unit::Byte(byte) => text.push(byte),
        }
        rest = after;
    }
    // Go's strings are bytes, ours are text. No YAML could hold what such a constant prints.
    String::from_utf8(text)
        .map_err(|_| format!("string constant {quoted} is not UTF-8: write a character as \\u00e9"))
}

/// The number of a character constant with its quotes, or an error.
pub(super) fn character(quoted: &str) -> Result<Number, String> {
    let inside = quoted.strip_prefix('\'').unwrap_or_default();
    let (unit, rest) = unquote(inside, '\'').ok_or("invalid syntax")?;
    if rest != "'" {
        return Err(format!("malformed character constant: {quoted}"));
    }
    let code = match unit {
        Unit::Char(character) => u32::from(character),
        Unit::Byte(byte) => u32::from(byte),
    };
    Ok(Number {
        int: Some(i64::from(code)),
        uint: Some(u64::from(code)),
        float: Some(f64::from(code)),
        is_float: false,
    })
}

/// A numeric constant, or an error.
pub(super) fn number(text: &str) -> Result<Number, String> {
    if text.ends_with('i') {
        return Err(format!("complex constants are not supported: {}", crate::format::quote(text)));
    }
    let mut number = Number { uint: unsigned(text), int: signed(text), ..Number::default() };
    if number.int == Some(0) {
        number.uint = Some(0);
    }
    let looks_float = text.contains(['.', 'e', 'E', 'p', 'P']);
    let is_hex = text.len() > 2 && (text.starts_with("0x") || text.starts_with("0X"));
    number.is_float = looks_float && (!is_hex || text.contains(['p', 'P']));
    // Go uses the same conversion as `as`: these floats are only used where they are exact enough for it.
    number.float = match (number.int, number.uint) {
        (Some(int), _) => Some(int as f64),
        (None, Some(uint)) => Some(uint as f64),
        (None, None) => {
            let float = float(text)
                .ok_or_else(|| format!("illegal number syntax: {}", crate::format::quote(text)))?;
            if !looks_float {
                return Err(format!("integer overflow: {}", crate::format::quote(text)));
            }
            if (float as i64) as f64 == float {
                number.int = Some(float as i64);
            }
            if (float as u64) as f64 == float {
                number.uint = Some(float as u64);
            }
            Some(float)
        }
    };
    Ok(number)
}

enum Unit {
    Char(char),
    Byte(u8),
}

/// The first character of a constant's content, and the rest (`strconv.UnquoteChar`).
fn unquote(text: &str, quote: char) -> Option<(Unit, &str)> {
    let mut characters = text.chars();
    let first = characters.next()?;
    if first == quote || first == '\n' {
        return None;
    }
    if first != '\\' {
        return Some((Unit::Char(first), characters.as_str()));
    }
    let escape = characters.next()?;
    let rest = characters.as_str();
    let simple = match escape {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '\\' => '\\',
        '\'' | '"' if escape == quote => escape,
        'x' => {
            return hex(rest, 2).and_then(|(code, rest)| Some((Unit::Byte(u8::try_from(code).ok()?), rest)));
        }
        'u' => return hex(rest, 4).and_then(|(code, rest)| Some((Unit::Char(char::from_u32(code)?), rest))),
        'U' => return hex(rest, 8).and_then(|(code, rest)| Some((Unit::Char(char::from_u32(code)?), rest))),
        '0'..='7' => {
            let digits = text.get(1..4)?;
            let code =
                u32::from_str_radix(digits, 8).ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?;
            return Some((Unit::Byte(u8::try_from(code).ok()?), text.get(4..)?));
        }
        _ => return None,
    };
    Some((Unit::Char(simple), rest))
}

fn hex(text: &str, digits: usize) -> Option<(u32, &str)> {
    let code = text.get(..digits).filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    Some((u32::from_str_radix(code, 16).ok()?, text.get(digits..)?))
}

/// `strconv.ParseUint(text, 0, 64)`.
fn unsigned(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = if let Some(digits) = lower.strip_prefix("0x") {
        (digits, 16)
    } else if let Some(digits) = lower.strip_prefix("0o") {
        (digits, 8)
    } else if let Some(digits) = lower.strip_prefix("0b") {
        (digits, 2)
    } else if let Some(digits) = lower.strip_prefix('0').filter(|digits| !digits.is_empty()) {
        (digits, 8)
    } else {
        (lower.as_str(), 10)
    };
    if !underscores_separate(&lower) || digits.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(&digits.replace('_', ""), radix).ok()
}

/// `strconv.ParseInt(text, 0, 64)`.
fn signed(text: &str) -> Option<i64> {
    match text.strip_prefix('-') {
        Some(text) => 0i64.checked_sub_unsigned(unsigned(text)?),
        None => i64::try_from(unsigned(text.strip_prefix('+').unwrap_or(text))?).ok(),
    }
}

/// `strconv.ParseFloat(text, 64)` for the texts that the lexer accepts.
fn float(text: &str) -> Option<f64> {
    let (negative, magnitude) = match text.strip_prefix(['-', '+']) {
        Some(magnitude) => (text.starts_with('-'), magnitude),
        None => (false, text),
    };
    let lower = magnitude.to_ascii_lowercase();
    if !underscores_separate(&lower) {
        return None;
    }
    let digits = lower.replace('_', "");
    let value = match digits.strip_prefix("0x") {
        Some(hex) => hex_float(hex)?,
        None => digits.parse::<f64>().ok().filter(|value| value.is_finite())?,
    };
    Some(if negative { -value } else { value })
}

fn hex_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once('p')?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0_f64;
    for digit in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let exponent = exponent.saturating_sub(4 * i32::try_from(fraction.len()).ok()?);
    Some(value * f64::from(exponent).exp2()).filter(|value| value.is_finite())
}

/// Underscores may only separate digits, or follow a base prefix (`strconv`'s `underscoreOK`).
fn underscores_separate(text: &str) -> bool {
    let has_prefix = ["0x", "0o", "0b"].iter().any(|prefix| text.starts_with(prefix));
    let is_hex = text.starts_with("0x");
    let body = if has_prefix { text.get(2..).unwrap_or_default() } else { text };
    let mut after_digit = has_prefix;
    let mut after_underscore = false;
    for byte in body.bytes() {
        let is_digit = byte.is_ascii_digit() || is_hex && byte.is_ascii_hexdigit();
        match byte {
            b'_' if !after_digit => return false,
            b'_' => {
                after_digit = false;
                after_underscore = true;
                continue;
            }
            _ if !is_digit && after_underscore => return false,
            _ => {}
        }
        after_digit = is_digit;
        after_underscore = false;
    }
    !after_underscore
}
