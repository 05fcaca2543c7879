//! Times as Go's `time.Parse` reads them with the RFC 3339 layout: `metav1.Time` in JSON.

/// The expected value, for error messages.
pub(crate) const ACCEPTED: &str = "a time such as 2026-01-02T03:04:05Z";

/// Whether Go parses a text as a time. Like Go, it accepts an hour with one digit, a comma before fractions of a
/// second, and offsets of 24 hours.
pub(crate) fn is_time(text: &str) -> bool {
    read(text).is_some()
}

fn read(text: &str) -> Option<()> {
    let (year, rest) = number(text, 4, 4, 0..=9999)?;
    let (month, rest) = number(rest.strip_prefix('-')?, 2, 2, 1..=12)?;
    let (_, rest) = number(rest.strip_prefix('-')?, 2, 2, 1..=days(year, month))?;
    let (_, rest) = number(rest.strip_prefix('T')?, 1, 2, 0..=23)?;
    let (_, rest) = number(rest.strip_prefix(':')?, 2, 2, 0..=59)?;
    let (_, rest) = number(rest.strip_prefix(':')?, 2, 2, 0..=59)?;
    let rest = match rest.strip_prefix(['.', ',']) {
        Some(fraction) if fraction.starts_with(|c: char| c.is_ascii_digit()) => {
            fraction.trim_start_matches(|c: char| c.is_ascii_digit())
        }
        _ => rest,
    };
    if rest == "Z" {
        return Some(());
    }
    let (_, rest) = number(rest.strip_prefix(['+', '-'])?, 2, 2, 0..=24)?;
    let (_, rest) = number(rest.strip_prefix(':')?, 2, 2, 0..=60)?;
    rest.is_empty().then_some(())
}

/// A number with the given number of digits, and the rest of the text.
fn number(
    text: &str,
    fewest: usize,
    most: usize,
    range: std::ops::RangeInclusive<u32>,
) -> Option<(u32, &str)> {
    let digits = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at_checked(digits).filter(|_| digits >= fewest)?;
    Some((number.parse().ok().filter(|number| range.contains(number))?, rest))
}

fn days(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn reads_times_as_go_does() {
        let fixture: Value = serde_json::from_str(include_str!("../tests/fixtures/formats.json")).unwrap();
        for row in fixture["times"].as_array().unwrap() {
            let text = row[0].as_str().unwrap();
            assert_eq!(is_time(text), row[1].as_bool().unwrap(), "{text:?}");
        }
    }
}
