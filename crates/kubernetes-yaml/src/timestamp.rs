//! The texts that go-yaml v2 recognizes as timestamps (`parseTimestamp`). Their value stays a string, but the writer
//! quotes strings that look like one, and `!!timestamp` rejects others.

/// Whether Go's `time.Parse` accepts the text under one of go-yaml's four layouts.
pub(super) fn is_timestamp(text: &str) -> bool {
    date(text).is_some_and(|rest| {
        rest.is_empty()
            || rest.strip_prefix(['T', 't']).and_then(time).is_some_and(is_zone)
            || rest.starts_with(' ') && time(rest.trim_start_matches(' ')).is_some_and(str::is_empty)
    })
}

/// Consumes `2006-1-2` and returns the rest.
fn date(text: &str) -> Option<&str> {
    let (year, rest) = text.split_at_checked(4)?;
    if !year.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let year: u32 = year.parse().ok()?;
    let (month, rest) = number(rest.strip_prefix('-')?)?;
    let (day, rest) = number(rest.strip_prefix('-')?)?;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    (1..=days).contains(&day).then_some(rest)
}

/// Consumes `15:4:5` with any fraction and returns the rest.
fn time(text: &str) -> Option<&str> {
    let (hour, rest) = number(text)?;
    let (minute, rest) = number(rest.strip_prefix(':')?)?;
    let (second, rest) = number(rest.strip_prefix(':')?)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let fraction =
        rest.strip_prefix(['.', ',']).filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    Some(fraction.map_or(rest, |digits| digits.trim_start_matches(|c: char| c.is_ascii_digit())))
}

/// Whether the text is `Z` or `+07:00`.
fn is_zone(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(['+', '-']) else { return text == "Z" };
    // Go's test uses `>` here, because some people write offsets of 24 hours.
    rest.split_once(':').is_some_and(|(hours, minutes)| {
        two_digits(hours).is_some_and(|hours| hours <= 24)
            && two_digits(minutes).is_some_and(|minutes| minutes <= 60)
    })
}

fn two_digits(text: &str) -> Option<u32> {
    (text.len() == 2)
        .then(|| number(text))
        .flatten()
        .filter(|(_, rest)| rest.is_empty())
        .map(|(value, _)| value)
}

/// Consumes one or two digits.
fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.bytes().take(2).take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, rest))
}
