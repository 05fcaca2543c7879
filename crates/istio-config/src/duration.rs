//! Go's `time.Duration` as text, and durations in protobuf's JSON.
//!
//! Istio's documents may contain any duration that Go can parse (`1h30m`); templates and the proxy read the canonical
//! form (`5400s`). Both are implemented here, so other modules need not distinguish them.

use std::fmt;

/// A span of time in whole nanoseconds, as in Go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration {
    nanos: i64,
}

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found {found:?}, expected {}", self.accepted())]
pub struct DurationError {
    /// The text.
    pub found: String,
    /// The problem.
    pub fault: DurationFault,
}

/// The problem of a text that should be a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurationFault {
    /// It is not a sequence of numbers with units.
    Syntax,
    /// A number has no unit, a common mistake.
    MissingUnit,
    /// It exceeds 64 bits of nanoseconds.
    Overflow,
}

impl DurationError {
    /// The expected value.
    pub fn accepted(&self) -> &'static str {
        match self.fault {
            DurationFault::Syntax => "a duration such as \"10s\", \"1.5s\", \"2m30s\" or \"100ms\"",
            DurationFault::MissingUnit => {
                "a duration with a unit, such as \"10s\" (units: ns, us, ms, s, m, h)"
            }
            DurationFault::Overflow => "a duration of at most 292 years",
        }
    }
}

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
/// The magnitude of the smallest `i64`, the largest sum that Go allows for a duration's parts.
const MOST: u64 = 1 << 63;

impl Duration {
    /// A duration of this many nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Duration {
        Duration { nanos }
    }

    /// Its length in nanoseconds.
    pub const fn nanos(self) -> i64 {
        self.nanos
    }

    /// Parses the syntax of `time.ParseDuration`: signed numbers with units, or `0` alone.
    ///
    /// # Errors
    /// If the text is anything else, or exceeds 64 bits of nanoseconds.
    pub fn parse(text: &str) -> Result<Duration, DurationError> {
        let refused = |fault| DurationError { found: text.to_owned(), fault };
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, text.get(1..).unwrap_or_default()),
            Some(b'+') => (false, text.get(1..).unwrap_or_default()),
            _ => (false, text),
        };
        let total = magnitude(unsigned).map_err(refused)?;
        let nanos = if negative { 0i64.checked_sub_unsigned(total) } else { i64::try_from(total).ok() };
        nanos.map(Duration::from_nanos).ok_or_else(|| refused(DurationFault::Overflow))
    }

    /// The canonical form in protobuf's JSON: seconds with 0, 3, 6 or 9 decimals and the letter `s`.
    pub fn to_proto(self) -> String {
        let sign = if self.nanos < 0 { "-" } else { "" };
        let (seconds, nanos) = (self.nanos.unsigned_abs() / SECOND, self.nanos.unsigned_abs() % SECOND);
        let text = format!("{sign}{seconds}.{nanos:09}");
        let text = text.strip_suffix("000").unwrap_or(&text);
        let text = text.strip_suffix("000").unwrap_or(text);
        format!("{}s", text.strip_suffix(".000").unwrap_or(text))
    }
}

impl fmt::Display for Duration {
    /// As Go's `Duration.String`: `1h0m0s`, `1.5s`, `10ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.nanos.unsigned_abs();
        if self.nanos < 0 {
            f.write_str("-")?;
        }
        match total {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{total}ns"),
            1_000..1_000_000 => write!(f, "{}µs", decimal(total, 1_000)),
            1_000_000..SECOND => write!(f, "{}ms", decimal(total, 1_000_000)),
            _ => {
                let (hours, minutes) = (total / HOUR, total % HOUR / MINUTE);
                if hours > 0 {
                    write!(f, "{hours}h")?;
                }
                if total >= MINUTE {
                    write!(f, "{minutes}m")?;
                }
                write!(f, "{}s", decimal(total % MINUTE, SECOND))
            }
        }
    }
}

/// Numbers with units, added up, without a sign.
fn magnitude(text: &str) -> Result<u64, DurationFault> {
    if text == "0" {
        return Ok(0);
    }
    if text.is_empty() {
        return Err(DurationFault::Syntax);
    }
    let mut rest = text;
    let mut total = 0u64;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split_digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(DurationFault::Syntax);
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit = match unit {
            "" => return Err(DurationFault::MissingUnit),
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND,
            "m" => MINUTE,
            "h" => HOUR,
            _ => return Err(DurationFault::Syntax),
        };
        let whole =
            if whole.is_empty() { 0 } else { whole.parse::<u64>().map_err(|_| DurationFault::Overflow)? };
        total = whole
            .checked_mul(unit)
            .and_then(|part| part.checked_add(fraction_of(fraction, unit)))
            .filter(|part| *part <= MOST)
            .and_then(|part| part.checked_add(total))
            .filter(|sum| *sum <= MOST)
            .ok_or(DurationFault::Overflow)?;
        rest = after;
    }
    Ok(total)
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// The decimals of a unit, computed with Go's floating-point arithmetic (`leadingFraction`): digits beyond 63 bits are
/// ignored.
fn fraction_of(digits: &str, unit: u64) -> u64 {
    let (mut value, mut scale) = (0u64, 1f64);
    for digit in digits.bytes() {
        let next = value.checked_mul(10).and_then(|next| next.checked_add(u64::from(digit - b'0')));
        match next {
            Some(next) if value <= (MOST - 1) / 10 && next <= MOST => value = next,
            _ => break,
        }
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
}

/// A quotient as a decimal without trailing zeros; `unit` is a power of ten.
fn decimal(value: u64, unit: u64) -> String {
    let rest = value % unit;
    if rest == 0 {
        return (value / unit).to_string();
    }
    let width = unit.ilog10() as usize;
    format!("{}.{}", value / unit, format!("{rest:0width$}").trim_end_matches('0'))
}

#[cfg(test)]
mod tests;
