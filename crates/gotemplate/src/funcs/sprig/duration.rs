//! Durations as Go prints and parses them.

use super::super::{Call, Param, Row};
use super::argument::{Outcome, computed, value};
use super::number;
use crate::value::{IntType, Value};

pub(super) const ROWS: &[Row] = &[
    Row::new("duration", &[Param::Any], duration),
    Row::new("durationRound", &[Param::Any], duration_round),
];

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// `time.Duration.String` of nanoseconds.
pub fn print(nanoseconds: i64) -> String {
    let size = nanoseconds.unsigned_abs();
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let second = SECOND.unsigned_abs();
    if size == 0 {
        return "0s".to_owned();
    }
    let with_fraction = |unit: u64, name: &str| {
        let width = unit.ilog10() as usize;
        let fraction = if width == 0 { String::new() } else { format!(".{:0width$}", size % unit) };
        format!("{sign}{}{}{name}", size / unit, fraction.trim_end_matches('0').trim_end_matches('.'))
    };
    match size {
        0..1_000 => with_fraction(1, "ns"),
        1_000..1_000_000 => with_fraction(1_000, "µs"),
        1_000_000..1_000_000_000 => with_fraction(1_000_000, "ms"),
        _ => {
            let (hours, minutes) = (size / second / 3_600, size / second / 60 % 60);
            let fraction = format!(".{:09}", size % second);
            let seconds =
                format!("{}{}s", size / second % 60, fraction.trim_end_matches('0').trim_end_matches('.'));
            match (hours, minutes) {
                (0, 0) => format!("{sign}{seconds}"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}"),
            }
        }
    }
}

/// `time.ParseDuration` in nanoseconds.
pub fn parse(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at_checked(number_end)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit_end)?;
        let unit = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND.unsigned_abs(),
            "m" => MINUTE.unsigned_abs(),
            "h" => HOUR.unsigned_abs(),
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let fraction = format!("0.{fraction}0").parse::<f64>().ok()? * unit as f64;
        total = total.checked_add(whole.checked_mul(unit)?)?.checked_add(fraction as u64)?;
        rest = after;
    }
    let total = i128::from(total);
    i64::try_from(if negative { -total } else { total }).ok()
}

fn duration<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let seconds = match value(args, 0)? {
        Value::Int(number, IntType::Int64) => *number,
        Value::String(text) => {
            let text = call.real(text);
            number::parse_int(&text, 10).unwrap_or_else(|| number::atoi(&text))
        }
        _ => 0,
    };
    computed(call, print(seconds.wrapping_mul(SECOND)), args)
}

/// The largest unit that fits more than once, truncated: `2h10m5s` is `2h`.
fn duration_round<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let nanoseconds = match value(args, 0)? {
        Value::Int(number, IntType::Int64) => *number,
        Value::String(text) => parse(&call.real(text)).unwrap_or(0),
        _ => 0,
    };
    let size = nanoseconds.unsigned_abs();
    let hour = HOUR.unsigned_abs();
    let units = [
        (hour * 24 * 365, "y"),
        (hour * 24 * 30, "mo"),
        (hour * 24, "d"),
        (hour, "h"),
        (MINUTE.unsigned_abs(), "m"),
        (SECOND.unsigned_abs(), "s"),
    ];
    let rounded = units
        .iter()
        .find(|(unit, _)| size > *unit)
        .map_or_else(|| "0s".to_owned(), |(unit, name)| format!("{}{name}", size / unit));
    computed(call, rounded, args)
}
