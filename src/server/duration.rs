//! Durations in Go's notation.

use std::time::Duration;

/// Parses a duration such as `500ms`, `5s`, `1.5s`, `2m`, `1m30s` or `0`, in Go's notation.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("found {text:?}; expected a duration such as 500ms, 5s, 2m or 1h, up to 87840h");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = 0.0_f64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(refused)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let scale = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(refused()),
        };
        total += number.parse::<f64>().map_err(|_| refused())? * scale;
        rest = tail;
    }
    if text.is_empty() || total > 86_400.0 * 3660.0 {
        return Err(refused());
    }
    Duration::try_from_secs_f64(total).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations() {
        for (text, milliseconds) in
            [("0", 0), ("5s", 5000), ("500ms", 500), ("1.5s", 1500), ("1m30s", 90_000), ("1h", 3_600_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "5", "s", "-1s", "5 s", "5d", "1..5s", "99999999h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
