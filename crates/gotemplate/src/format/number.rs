//! Numbers as Go prints them: `strconv.FormatFloat` and `fmt`'s integers.

/// A `float64` as `%v` prints it: the shortest text that parses back, `1e+06` from a million on.
pub fn float(value: f64) -> String {
    float_as(value, 'g', None)
}

/// `strconv.FormatFloat`; without a precision, the shortest text that parses back.
pub(super) fn float_as(value: f64, verb: char, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let value = value.abs();
    let text = match verb {
        'b' => binary(value),
        'x' | 'X' => hexadecimal(value, precision),
        'e' | 'E' => {
            let (digits, exponent) = digits(value, precision.map(|precision| precision + 1));
            scientific(&digits, exponent)
        }
        'f' => match precision {
            Some(precision) => fixed(value, precision),
            None => format!("{value}"),
        },
        _ => general(value, precision),
    };
    let text = format!("{sign}{text}");
    if verb.is_ascii_uppercase() { text.to_ascii_uppercase() } else { text }
}

/// An integer's digits in a base.
pub(super) fn integer(mut value: u64, base: u64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = u32::try_from(value % base).unwrap_or_default();
        digits.push(char::from_digit(digit, 16).unwrap_or('0'));
        value /= base;
        if value == 0 {
            break;
        }
    }
    digits.iter().rev().collect()
}

/// No `f64` has more significant digits or decimals; all further ones are zeros.
const EXACT: usize = 1100;

/// Significant digits (at least one) and the decimal exponent of the first.
fn digits(value: f64, count: Option<usize>) -> (String, i32) {
    let text = match count {
        Some(count) => format!("{value:.*e}", count.saturating_sub(1).min(EXACT)),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mut digits = mantissa.replace('.', "");
    if let Some(count) = count {
        digits.extend(std::iter::repeat_n('0', count.saturating_sub(digits.len())));
    }
    (digits, exponent.parse().unwrap_or_default())
}

fn fixed(value: f64, precision: usize) -> String {
    let mut text = format!("{value:.*}", precision.min(EXACT));
    text.extend(std::iter::repeat_n('0', precision.saturating_sub(EXACT)));
    text
}

fn scientific(digits: &str, exponent: i32) -> String {
    let (first, rest) = digits.split_at(1.min(digits.len()));
    let point = if rest.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{first}{point}{rest}e{sign}{:02}", exponent.unsigned_abs())
}

/// `%g`: `%e` for small and large exponents, else `%f`, without trailing zeros.
fn general(value: f64, precision: Option<usize>) -> String {
    let (all, exponent) = digits(value, precision.map(|precision| precision.max(1)));
    let trimmed = all.trim_end_matches('0');
    let digits = if trimmed.is_empty() { "0" } else { trimmed };
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let mut limit = precision.map_or(6, |precision| i32::try_from(precision.max(1)).unwrap_or(i32::MAX));
    if limit > count && count > exponent {
        limit = count;
    }
    if precision.is_none() {
        limit = 6;
    }
    if exponent < -4 || exponent >= limit {
        return scientific(digits, exponent);
    }
    let point = exponent + 1;
    if point <= 0 {
        let zeros = "0".repeat(usize::try_from(-point).unwrap_or_default());
        return format!("0.{zeros}{digits}");
    }
    let point = usize::try_from(point).unwrap_or_default();
    if digits.len() <= point {
        return format!("{digits}{}", "0".repeat(point - digits.len()));
    }
    let (whole, fraction) = digits.split_at(point);
    format!("{whole}.{fraction}")
}

/// The integer mantissa and binary exponent of a positive float: `value = mantissa * 2^exponent`.
fn parts(value: f64) -> (u64, i32) {
    let bits = value.to_bits();
    let biased = i32::try_from((bits >> 52) & 0x7ff).unwrap_or_default();
    let fraction = bits & ((1 << 52) - 1);
    if biased == 0 { (fraction, -1074) } else { (fraction | 1 << 52, biased - 1075) }
}

fn binary(value: f64) -> String {
    let (mantissa, exponent) = parts(value);
    format!("{mantissa}p{exponent:+}")
}

/// `%x`: a mantissa with one hexadecimal digit before the point, and a binary exponent.
fn hexadecimal(value: f64, precision: Option<usize>) -> String {
    let (mut mantissa, mut exponent) = parts(value);
    if mantissa == 0 {
        exponent = 0;
    } else {
        // One bit before the point, 60 after it.
        let shift = mantissa.leading_zeros().saturating_sub(3);
        mantissa <<= shift;
        exponent += 60 - i32::try_from(shift).unwrap_or_default();
    }
    if let Some(precision) = precision.filter(|precision| *precision < 15) {
        let shift = 60 - 4 * u32::try_from(precision).unwrap_or_default();
        let rest = mantissa & ((1 << shift) - 1);
        let half = 1 << (shift - 1);
        mantissa >>= shift;
        // Rounds to nearest, halves to even.
        if rest > half || rest == half && mantissa & 1 == 1 {
            mantissa += 1;
        }
        mantissa <<= shift;
        if mantissa & (1 << 61) != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let first = mantissa >> 60;
    let fraction = format!("{:015x}", mantissa & ((1 << 60) - 1));
    let fraction = match precision {
        None => fraction.trim_end_matches('0').to_owned(),
        Some(precision) => {
            let mut fraction = fraction;
            fraction.truncate(precision);
            fraction.extend(std::iter::repeat_n('0', precision.saturating_sub(15)));
            fraction
        }
    };
    let point = if fraction.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("0x{first}{point}{fraction}p{sign}{:02}", exponent.unsigned_abs())
}
