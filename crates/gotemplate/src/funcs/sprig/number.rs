//! Parses numbers like Go (`strconv`).

/// `strconv.Atoi` with its error ignored: 0 for an invalid number, the nearest `int` on overflow.
pub(super) fn atoi(text: &str) -> i64 {
    if let Ok(number) = text.parse() {
        return number;
    }
    let (negative, digits) = sign(text);
    match (!digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()), negative) {
        (false, _) => 0,
        (true, false) => i64::MAX,
        (true, true) => i64::MIN,
    }
}

/// `strconv.ParseInt`; base 0 reads a prefix (`0x`, `0o`, `0`, `0b`) and allows underscores.
pub(super) fn parse_int(text: &str, base: u32) -> Option<i64> {
    let (negative, digits) = sign(text);
    let (base, digits) = if base == 0 { prefixed(digits) } else { (base, digits.to_owned()) };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(&digits, base).ok()?);
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// `strconv.ParseFloat`; `None` if it returns an error, including for numbers that are too large.
pub(super) fn parse_float(text: &str) -> Option<f64> {
    let (negative, magnitude) = sign(text);
    let lower = magnitude.to_ascii_lowercase();
    let number = match lower.as_str() {
        "inf" | "infinity" => f64::INFINITY,
        "nan" => f64::NAN,
        _ if lower.starts_with("0x") => hexadecimal(lower.get(2..)?)?,
        _ => {
            let digits = without_underscores(&lower, false)?;
            if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
                return None;
            }
            digits.parse().ok().filter(|number: &f64| number.is_finite())?
        }
    };
    Some(if negative { -number } else { number })
}

/// Go's conversion of a float to `int64` on amd64: the fraction is truncated, and overflow gives the smallest number.
pub(super) fn truncate(number: f64) -> i64 {
    let limit = 9_223_372_036_854_775_808_f64;
    if number >= -limit && number < limit { number as i64 } else { i64::MIN }
}

/// cast's `trimDecimal`: the part before the point of a text that looks like a decimal number.
pub(super) fn whole_part(text: &str) -> &str {
    let Some((whole, fraction)) = text.split_once('.') else { return text };
    let (_, digits) = sign(whole);
    let all_digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    match (all_digits(digits) && all_digits(fraction), digits.is_empty()) {
        (false, _) => text,
        (true, true) => "0",
        (true, false) => whole,
    }
}

fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// The base and digits of a literal with an optional prefix and underscores; no digits if it is malformed.
fn prefixed(text: &str) -> (u32, String) {
    let lower = text.to_ascii_lowercase();
    let (base, digits, after_prefix) = if let Some(digits) = lower.strip_prefix("0x") {
        (16, digits, true)
    } else if let Some(digits) = lower.strip_prefix("0o") {
        (8, digits, true)
    } else if let Some(digits) = lower.strip_prefix("0b") {
        (2, digits, true)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, lower.get(1..).unwrap_or_default(), true)
    } else {
        (10, lower.as_str(), false)
    };
    (base, without_underscores(digits, after_prefix).unwrap_or_default())
}

/// Underscores are only allowed between digits, or between a prefix and a digit.
fn without_underscores(digits: &str, after_prefix: bool) -> Option<String> {
    if !digits.contains('_') {
        return Some(digits.to_owned());
    }
    let mut after_digit = after_prefix;
    let mut after_underscore = false;
    for c in digits.chars() {
        match (c, c.is_ascii_hexdigit()) {
            ('_', _) if !after_digit => return None,
            ('_', _) => (after_digit, after_underscore) = (false, true),
            (_, false) if after_underscore => return None,
            (_, is_digit) => (after_digit, after_underscore) = (is_digit, false),
        }
    }
    if after_underscore { None } else { Some(digits.replace('_', "")) }
}

/// A hexadecimal float without its `0x`; the exponent is required.
fn hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once('p')?;
    let mantissa = without_underscores(mantissa, true)?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((&mantissa, ""));
    let digits = format!("{whole}{fraction}");
    // More than 15 digits would have to be rounded, which is unrealistic.
    if digits.is_empty() || digits.len() > 15 || digits.starts_with('+') {
        return None;
    }
    let bits = u64::from_str_radix(&digits, 16).ok()?;
    let exponent: i32 = exponent.parse().ok()?;
    let scale = exponent.checked_sub(i32::try_from(fraction.len()).ok()?.checked_mul(4)?)?;
    let number = (bits as f64) * 2_f64.powi(scale);
    number.is_finite().then_some(number)
}
